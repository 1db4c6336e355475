//! Writes families and samples, in both formats, into bytes.

use super::Format;
use crate::exposition::family::{Family, FamilyType, Number};

/// Writes families one after the other.
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    open_metrics: bool,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, format: Format) -> Self {
        Self { out, open_metrics: format.is_open_metrics() }
    }

    /// Writes one family with the samples that `write` adds; nothing at all if it adds none.
    pub(super) fn family(&mut self, family: &Family, write: impl FnOnce(&mut Samples<'_>)) {
        let start = self.out.len();
        self.header(family);
        let headed = self.out.len();
        let name = [family.name, family.suffix()].concat();
        write(&mut Samples { out: self.out, labelled: format!("{name}{{"), name });
        if self.out.len() == headed {
            self.out.truncate(start);
        }
    }

    /// The classic format knows a counter by its samples' name, and no `info` and no units.
    fn header(&mut self, family: &Family) {
        let suffix = if self.open_metrics { "" } else { family.suffix() };
        let kind = match family.kind {
            FamilyType::Counter(_) => "counter",
            FamilyType::Info if self.open_metrics => "info",
            FamilyType::Info | FamilyType::Gauge => "gauge",
        };
        self.line(&["# HELP ", family.name, suffix, " ", family.help]);
        self.line(&["# TYPE ", family.name, suffix, " ", kind]);
        if let Some(unit) = family.unit.filter(|_| self.open_metrics) {
            self.line(&["# UNIT ", family.name, " ", unit]);
        }
    }

    fn line(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.out.push(b'\n');
    }
}

/// Writes the samples of one family.
pub(super) struct Samples<'a> {
    out: &'a mut Vec<u8>,
    name: String,
    /// The name and an opening brace, as one piece to copy.
    labelled: String,
}

impl Samples<'_> {
    /// Writes one sample; `labels` is as [`push_label`] makes it, without braces.
    pub(super) fn sample(&mut self, labels: &[u8], value: Number) {
        if labels.is_empty() {
            self.out.extend_from_slice(self.name.as_bytes());
            self.out.push(b' ');
        } else {
            self.out.extend_from_slice(self.labelled.as_bytes());
            self.out.extend_from_slice(labels);
            self.out.extend_from_slice(b"} ");
        }
        self.finish(value);
    }

    /// As [`Samples::sample`], with one more label after the others, of which there must be some.
    pub(super) fn sample_with(&mut self, labels: &[u8], (name, text): (&str, &str), value: Number) {
        self.out.extend_from_slice(self.labelled.as_bytes());
        self.out.extend_from_slice(labels);
        self.out.push(b',');
        push_label(self.out, name, text);
        self.out.extend_from_slice(b"} ");
        self.finish(value);
    }

    fn finish(&mut self, value: Number) {
        push_number(self.out, value);
        self.out.push(b'\n');
    }
}

/// Appends `name="value"`, with the three escapes that both formats have.
pub(super) fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    let mut rest = value.as_bytes();
    // Almost no name has one of these, so that most are copied in one piece.
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'"' => b"\\\"",
            _ => b"\\n",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, value: Number) {
    match value {
        Number::Whole(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Number::Thousandths(value) => push_thousandths(out, value),
        Number::Real(value) if value.is_finite() => {
            out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
        }
        Number::Real(value) if value.is_nan() => out.extend_from_slice(b"NaN"),
        Number::Real(value) => out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" }),
    }
}

fn push_thousandths(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    let value = value.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(value / 1000).as_bytes());
    let rest = value % 1000;
    if rest != 0 {
        let digit = |by: u64| b'0' + (rest / by % 10) as u8;
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: Number) -> String {
        let mut out = Vec::new();
        push_number(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_exactly() {
        let cases = [
            (Number::Whole(u64::MAX), "18446744073709551615"),
            (Number::Thousandths(1_795_451_095_123), "1795451095.123"),
            (Number::Thousandths(1_795_451_095_000), "1795451095"),
            (Number::Thousandths(1_050), "1.050"),
            (Number::Thousandths(-7), "-0.007"),
            (Number::Thousandths(i64::MIN), "-9223372036854775.808"),
            (Number::Real(0.25), "0.25"),
            (Number::Real(60.0), "60.0"),
            (Number::Real(f64::NAN), "NaN"),
            (Number::Real(f64::INFINITY), "+Inf"),
            (Number::Real(f64::NEG_INFINITY), "-Inf"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_family_without_samples_leaves_nothing() {
        let family =
            Family { name: "x_seconds", kind: FamilyType::Gauge, unit: Some("seconds"), help: "Help." };
        let mut out = Vec::new();
        Encoder::new(&mut out, Format::OpenMetrics1).family(&family, |_| {});
        assert_eq!(out, b"");
    }
}
