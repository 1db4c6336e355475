//! What was measured: figures with rows, each a value a round, beside a limit or a neighbour where there is one. Kept as
//! JSON, and told as a table and as pictures.

mod curve;
mod machine;
mod statistics;
mod table;

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use curve::{Curve, Line};
pub use machine::Machine;
use statistics::Interval;
pub use statistics::{median, quantile};

/// One question, answered by rows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figure {
    /// By which it is asked for.
    pub name: String,
    /// What it is about, in a line.
    pub title: String,
    /// How it was measured, in sentences.
    pub how: String,
    /// Rounds of each row.
    pub rounds: usize,
    /// Where and when, and of which source.
    pub machine: Machine,
    /// The answers.
    pub rows: Vec<Row>,
    /// Pictures.
    pub curves: Vec<Curve>,
}

/// One thing measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// What, and under which circumstances.
    pub what: String,
    /// Of the values.
    pub unit: String,
    /// Ours, a value a round.
    pub ours: Vec<f64>,
    /// What it is held against, in turn with ours.
    pub beside: Option<Beside>,
    /// Ours divided by the other, round by round: the median, and its 95 % interval.
    pub ratio: Option<Interval>,
    /// What is to be reached.
    pub goal: Option<Goal>,
    /// Whether it was.
    pub verdict: Option<Verdict>,
}

/// A limit or a neighbour.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Beside {
    /// Which.
    pub name: String,
    /// A value a round.
    pub values: Vec<f64>,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Of the ratio.
    RatioAtMost(f64),
    /// Of the value itself.
    AtMost(f64),
    /// Of the value itself.
    AtLeast(f64),
}

/// Whether a goal was reached. It counts only where the whole interval is on its side.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is.
    Met,
    /// The rounds do not tell.
    Open,
    /// The whole interval is beyond it.
    Missed,
}

impl Row {
    /// A value of ours, alone.
    pub fn new(what: impl Into<String>, unit: &str, ours: Vec<f64>) -> Self {
        assert!(!ours.is_empty(), "no round was measured");
        Self {
            what: what.into(),
            unit: unit.to_owned(),
            ours,
            beside: None,
            ratio: None,
            goal: None,
            verdict: None,
        }
    }

    /// Held against another, measured in the same rounds.
    pub fn beside(mut self, name: impl Into<String>, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), self.ours.len(), "as many rounds of each");
        let ratios: Vec<f64> = self.ours.iter().zip(&values).map(|(ours, other)| ours / other).collect();
        self.ratio = Some(statistics::interval(&ratios));
        self.beside = Some(Beside { name: name.into(), values });
        self
    }

    /// Judged.
    pub fn goal(mut self, goal: Goal) -> Self {
        let values = || statistics::interval(&self.ours);
        self.verdict = Some(match goal {
            Goal::RatioAtMost(most) => at_most(self.ratio.unwrap(), most),
            Goal::AtMost(most) => at_most(values(), most),
            Goal::AtLeast(least) => at_most(values().negated(), -least),
        });
        self.goal = Some(goal);
        self
    }
}

fn at_most(interval: Interval, most: f64) -> Verdict {
    if interval.high <= most {
        Verdict::Met
    } else if interval.low > most {
        Verdict::Missed
    } else {
        Verdict::Open
    }
}

/// The folder of all that is told.
fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench"))
}

/// Keeps a figure in place of its last measurement, and tells all there are: `results.json`, `results.md` and a picture a
/// curve. So one figure can be measured again by itself, and each says of which source it is.
pub fn keep(figure: Figure, order: &[&str]) {
    let folder = folder();
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("results.json");
    let held = fs::read_to_string(&path).ok();
    let mut figures: Vec<Figure> = held.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    figures.retain(|held| held.name != figure.name);
    for curve in &figure.curves {
        fs::write(folder.join(curve.file(&figure.name)), curve.svg()).unwrap();
    }
    figures.push(figure);
    figures.sort_by_key(|figure| order.iter().position(|name| *name == figure.name));
    fs::write(&path, serde_json::to_string_pretty(&figures).unwrap()).unwrap();
    fs::write(folder.join("results.md"), table::markdown(&figures)).unwrap();
}

/// One figure as it stands in the table, for whoever waits at the terminal.
pub fn told(figure: &Figure) -> String {
    table::section(figure)
}
