//! Figures as Markdown.

use std::fmt::Write as _;

use super::statistics::{Interval, median};
use super::{Figure, Goal, Row, Verdict};

/// All of them, on one page.
pub fn markdown(figures: &[Figure]) -> String {
    let mut text = String::from(
        "# Figures\n\nEach value is the median of its rounds, with their range. A ratio is ours divided by the other, \
         measured in turn: the median of the rounds' ratios, with its 95 % interval. A goal is met, or missed, when all \
         of the interval says so.\n",
    );
    for figure in figures {
        text.push('\n');
        text.push_str(&section(figure));
    }
    text
}

/// One of them.
pub fn section(figure: &Figure) -> String {
    let Figure { title, how, rounds, machine, rows, .. } = figure;
    let mut text = format!(
        "## {title}\n\n{how}\n\n| what | ours | beside | ratio | goal | |\n|---|---|---|---|---|---|\n"
    );
    for row in rows {
        text.push_str(&line(row));
    }
    for curve in &figure.curves {
        write!(text, "\n![{}]({})\n", curve.title, curve.file(&figure.name)).unwrap();
    }
    writeln!(
        text,
        "\n{rounds} rounds, {}, source {}, {}, load {}; {}.",
        machine.at, machine.source, machine.processors, machine.load, machine.versions
    )
    .unwrap();
    text
}

fn line(row: &Row) -> String {
    let beside = row
        .beside
        .as_ref()
        .map_or_else(String::new, |beside| format!("{}: {}", beside.name, values(&beside.values, &row.unit)));
    let ratio = row.ratio.map_or_else(String::new, |Interval { median, low, high }| {
        format!("**{}** ({}–{})", number(median), number(low), number(high))
    });
    let goal = match row.goal {
        None => String::new(),
        Some(Goal::RatioAtMost(most)) => format!("ratio ≤ {}", number(most)),
        Some(Goal::AtMost(most)) => format!("≤ {} {}", number(most), row.unit),
        Some(Goal::AtLeast(least)) => format!("≥ {} {}", number(least), row.unit),
    };
    let verdict = match row.verdict {
        None => "",
        Some(Verdict::Met) => "met",
        Some(Verdict::Open) => "open",
        Some(Verdict::Missed) => "missed",
    };
    format!("| {} | {} | {beside} | {ratio} | {goal} | {verdict} |\n", row.what, values(&row.ours, &row.unit))
}

fn values(values: &[f64], unit: &str) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} {unit} ({}–{})", number(median(values)), number(least), number(most))
}

/// Three digits that count, thousands apart.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, reason = "a handful of digits")]
    let whole_digits = value.abs().log10().floor() as i32 + 1;
    if whole_digits >= 4 {
        return grouped(&format!("{value:.0}"));
    }
    let text = format!("{value:.*}", usize::try_from((3 - whole_digits).clamp(0, 9)).unwrap());
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
