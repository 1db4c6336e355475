//! Reads an exposition, classic text or OpenMetrics, into samples. Strict: a line that it cannot read is an error.

use std::collections::BTreeMap;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name, with suffixes.
    pub name: String,
    /// The labels, unescaped.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// In the order of the exposition.
    pub samples: Vec<Sample>,
    /// The type of each family.
    pub types: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads an exposition.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some((family, kind)) =
                    comment.strip_prefix(" TYPE ").and_then(|rest| rest.split_once(' '))
                {
                    let twice = scrape.types.insert(family.to_owned(), kind.to_owned());
                    if twice.is_some() {
                        return Err(format!("family {family} is there twice"));
                    }
                }
                continue;
            }
            let sample = parse_sample(line).ok_or_else(|| format!("cannot read the line {line:?}"))?;
            scrape.samples.push(sample);
        }
        Ok(scrape)
    }

    /// The value of the sample with this name that has at least these labels; panics when several have.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found: Vec<&Sample> = self.matching(name, labels).collect();
        assert!(found.len() < 2, "{name}{labels:?} stands for several samples: {found:?}");
        found.first().map(|sample| sample.value)
    }

    /// All samples of a name.
    pub fn all(&self, name: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.name == name).collect()
    }

    /// The sum over all samples that have at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The samples with this name that have at least these labels.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|seen| seen == value))
        })
    }
}

fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    // A timestamp or an exemplar may follow the value.
    let value = match rest.split_whitespace().next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    (!name.is_empty()).then(|| Sample { name: name.to_owned(), labels, value })
}

/// The labels, and what follows the closing brace.
fn parse_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = parse_value(after)?;
        // The same label twice is an error to Prometheus too.
        if labels.insert(label.to_owned(), value).is_some() {
            return None;
        }
        rest = after;
    }
}

fn parse_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other @ ('\\' | '"') => other,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

#[test]
fn both_formats_are_read() {
    let text = "# HELP a b\n# TYPE a gauge\na{x=\"1\\\"\\\\\\n,}\",y=\"\"} 2.5 17\nb 1e3\n\
                c_bucket{le=\"+Inf\"} +Inf # {trace_id=\"x\"} 1\n# EOF\n";
    let scrape = Scrape::parse(text).unwrap();
    assert_eq!(scrape.value("a", &[("x", "1\"\\\n,}"), ("y", "")]), Some(2.5));
    assert_eq!(scrape.value("a", &[("y", "other")]), None);
    assert_eq!(scrape.value("b", &[]), Some(1000.0));
    assert_eq!(scrape.all("c_bucket")[0].value, f64::INFINITY);
    assert_eq!(scrape.types["a"], "gauge");
    assert!(Scrape::parse("a{x=\"1\\z\"} 1").is_err(), "an unknown escape");
    assert!(Scrape::parse("a{x=\"1\",x=\"1\"} 1").is_err(), "a label twice");
    assert!(Scrape::parse("a").is_err(), "no value");
}
