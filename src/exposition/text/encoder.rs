//! Writes the lines of one family, in both formats.

use super::Format;
use super::gzip::{Compressor, Text};
use crate::exposition::family::{Family, FamilyType, Number};

/// Writes one family: its header before its first sample, and nothing at all if it has none.
pub(super) struct FamilyWriter {
    family: Family,
    format: Format,
    /// The name of a sample and an opening brace.
    labelled: Vec<u8>,
    out: Text,
}

impl FamilyWriter {
    /// With room for so much text that is not compressed.
    pub(super) fn new(family: &Family, format: Format, room: usize) -> Self {
        let labelled = [family.name.as_bytes(), family.suffix().as_bytes(), b"{"].concat();
        Self { family: *family, format, labelled, out: Text::with_room(room) }
    }

    /// Writes one sample without labels.
    pub(super) fn bare(&mut self, value: Number) {
        self.begin();
        self.out.rest.extend_from_slice(&self.labelled[..self.labelled.len() - 1]);
        self.out.rest.push(b' ');
        self.finish_line(value);
    }

    /// Writes one sample; `labels` is as [`push_label`] makes it, with the [`END_OF_LABELS`].
    pub(super) fn sample(&mut self, labels: &[u8], value: Number) {
        self.begin();
        self.out.rest.extend_from_slice(&self.labelled);
        self.out.rest.extend_from_slice(labels);
        self.finish_line(value);
    }

    /// Writes one sample with one more label after `labels`, which come without their end.
    pub(super) fn sample_with(&mut self, labels: &[u8], (name, text): (&str, &str), value: Number) {
        self.begin();
        let out = &mut self.out.rest;
        out.extend_from_slice(&self.labelled);
        out.extend_from_slice(labels);
        out.push(b',');
        push_label(out, name, text);
        out.extend_from_slice(END_OF_LABELS);
        self.finish_line(value);
    }

    fn finish_line(&mut self, value: Number) {
        push_number(&mut self.out.rest, value);
        self.out.rest.push(b'\n');
    }

    /// Compresses what was written, if that is much by now.
    pub(super) fn stroke(&mut self, compressor: &mut Compressor) {
        compressor.stroke(&mut self.out);
    }

    /// The classic format knows a counter by its samples' name, and no `info` and no units.
    fn begin(&mut self) {
        if !self.out.is_empty() {
            return;
        }
        let Self { family, format, .. } = self;
        let (name, help, unit, suffix) = (family.name, family.help, family.unit, family.suffix());
        let open_metrics = format.is_open_metrics();
        let suffix = if open_metrics { "" } else { suffix };
        let kind = match family.kind {
            FamilyType::Counter(_) => "counter",
            FamilyType::Info if open_metrics => "info",
            FamilyType::Info | FamilyType::Gauge => "gauge",
        };
        self.line(&["# HELP ", name, suffix, " ", help]);
        self.line(&["# TYPE ", name, suffix, " ", kind]);
        if let Some(unit) = unit.filter(|_| open_metrics) {
            self.line(&["# UNIT ", name, " ", unit]);
        }
    }

    fn line(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.rest.extend_from_slice(part.as_bytes());
        }
        self.out.rest.push(b'\n');
    }

    /// What was written; `None` if that is nothing.
    pub(super) fn finish(self) -> Option<Text> {
        (!self.out.is_empty()).then_some(self.out)
    }
}

/// What stands between the last label and the value.
pub(super) const END_OF_LABELS: &[u8] = b"} ";

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
        assert!(FamilyWriter::new(&family, Format::OpenMetrics1, 0).finish().is_none());
    }
}
