//! Reads what prometheus-client writes: the program's own metrics, to be told in another form too.
//!
//! The library has no other way to its values: its protobuf form wants a compiler at build time.

use std::borrow::Cow;

/// One family with its samples.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Family<'a> {
    /// Without the suffix of its type, with its unit.
    pub(super) name: &'a str,
    pub(super) help: Cow<'a, str>,
    /// `counter`, `gauge`, `histogram`, `info` or another word.
    pub(super) kind: &'a str,
    pub(super) unit: Option<&'a str>,
    pub(super) samples: Vec<Sample<'a>>,
}

/// Names and values of labels.
pub(super) type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// One sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample<'a> {
    /// What its name has beyond the family's: `_total`, `_bucket`, nothing.
    pub(super) suffix: &'a str,
    pub(super) labels: Labels<'a>,
    pub(super) value: f64,
    pub(super) exemplar: Option<Exemplar<'a>>,
}

/// What a sample is an example of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar<'a> {
    pub(super) labels: Labels<'a>,
    pub(super) value: f64,
    /// In seconds since the Unix epoch.
    pub(super) at: Option<f64>,
}

/// Every family of a text; what cannot be read is left out.
pub(super) fn read(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (Some(keyword), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if families.last().is_none_or(|family| family.name != name) {
                families.push(Family { name, ..Family::default() });
            }
            let Some(family) = families.last_mut() else { continue };
            match keyword {
                "HELP" => family.help = unescaped(value),
                "TYPE" => family.kind = value,
                "UNIT" => family.unit = Some(value),
                _ => {}
            }
        } else if let Some(family) = families.last_mut() {
            family.samples.extend(sample(family.name, line));
        }
    }
    families
}

fn sample<'a>(family: &str, line: &'a str) -> Option<Sample<'a>> {
    let after_family = line.strip_prefix(family)?;
    let end = after_family.find(['{', ' '])?;
    let (suffix, rest) = after_family.split_at(end);
    let (labels, rest) = labels(rest)?;
    let (value, exemplar) = match rest.split_once(" # ") {
        Some((value, exemplar)) => (value, self::exemplar(exemplar)),
        None => (rest, None),
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Sample { suffix, labels, value, exemplar })
}

fn exemplar(text: &str) -> Option<Exemplar<'_>> {
    let (labels, rest) = labels(text)?;
    let mut numbers = rest.split_whitespace();
    let value = numbers.next()?.parse().ok()?;
    let at = numbers.next().and_then(|at| at.parse().ok());
    Some(Exemplar { labels, value, at })
}

/// The labels that a text begins with, if it begins with any, and what follows them.
fn labels(text: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Some((labels, text)) };
    loop {
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let end = end_of_quoted(quoted)?;
        labels.push((name, unescaped(&quoted[..end])));
        rest = &quoted[end + 1..];
    }
}

/// Where the closing quote is.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_what_belongs_to_them() {
        let text = "# HELP a A \"thing\" \\\\ more.\n# TYPE a counter\n\
                    a_total{x=\"1 # {y=\\\"} \\n \\\\\",z=\"\"} 3 # {trace_id=\"4b\"} 2.5 17.25\na_total 1\n\
                    # HELP b_seconds B.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\n\
                    b_seconds_bucket{le=\"+Inf\"} 7\nunreadable\nb_seconds_sum\n# EOF\n";
        let families = read(text);
        assert_eq!(families.len(), 2);
        let (a, b) = (&families[0], &families[1]);
        assert_eq!((a.name, a.kind, a.unit, &*a.help), ("a", "counter", None, "A \"thing\" \\ more."));
        let labels = vec![("x", "1 # {y=\"} \n \\".into()), ("z", "".into())];
        let exemplar = Exemplar { labels: vec![("trace_id", "4b".into())], value: 2.5, at: Some(17.25) };
        let first = Sample { suffix: "_total", labels, value: 3.0, exemplar: Some(exemplar) };
        assert_eq!(a.samples[0], first);
        assert_eq!(a.samples[1], Sample { suffix: "_total", value: 1.0, ..Sample::default() });
        assert_eq!((b.name, b.kind, b.unit), ("b_seconds", "histogram", Some("seconds")));
        assert_eq!((b.samples.len(), b.samples[0].suffix), (1, "_bucket"));
    }
}
