//! One event as one line, in logfmt or JSON.
//!
//! Names in events come from outside. Whatever could end a line, move a cursor or turn the direction of
//! text is escaped in both forms, so that no name can forge a line or hide one.

use std::error::Error;
use std::fmt;

use jiff::fmt::temporal::DateTimePrinter;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::Chain;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` pairs, as Prometheus' own programs write them.
    #[default]
    Logfmt,
    /// One JSON object a line.
    Json,
}

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        let mut pairs = Pairs { writer: writer.by_ref(), format: *self, first: true, result: Ok(()) };
        if *self == Self::Json {
            pairs.writer.write_char('{')?;
        }
        pairs.text("ts", &now());
        pairs.text("level", level(*meta.level()));
        pairs.text("target", meta.target());
        event.record(&mut pairs);
        pairs.result?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>() {
                writer.write_str(fields)?;
            }
        }
        writer.write_str(if *self == Self::Json { "}\n" } else { "\n" })
    }
}

/// Writes the fields of spans, each with the separator before it, so that they can follow an event's.
impl<'writer> FormatFields<'writer> for LogFormat {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut pairs = Pairs { writer, format: *self, first: false, result: Ok(()) };
        fields.record(&mut pairs);
        pairs.result
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

/// RFC 3339 with milliseconds, in UTC.
fn now() -> String {
    static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    PRINTER.timestamp_to_string(&jiff::Timestamp::now())
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Writes pairs one after the other, and remembers the first failure, since a visitor cannot return one.
struct Pairs<'a> {
    writer: Writer<'a>,
    format: LogFormat,
    first: bool,
    result: fmt::Result,
}

impl Pairs<'_> {
    fn pair(&mut self, key: &str, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.key(key).and_then(|()| write(&mut self.writer));
        }
    }

    /// Keys are names in code, yet not only in ours: what a logfmt key cannot hold becomes `_`.
    fn key(&mut self, key: &str) -> fmt::Result {
        let first = std::mem::replace(&mut self.first, false);
        let (separator, quote, equals) = match self.format {
            LogFormat::Logfmt => (" ", "", "="),
            LogFormat::Json => (",", "\"", ":"),
        };
        self.writer.write_str(if first { "" } else { separator })?;
        self.writer.write_str(quote)?;
        let key = if key == "message" { "msg" } else { key.strip_prefix("r#").unwrap_or(key) };
        for c in key.chars() {
            let plain = c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            self.writer.write_char(if plain { c } else { '_' })?;
        }
        self.writer.write_str(quote)?;
        self.writer.write_str(equals)
    }

    fn text(&mut self, key: &str, value: &str) {
        let quoted = self.format == LogFormat::Json || needs_quotes(value);
        self.pair(key, |writer| if quoted { write_quoted(writer, value) } else { writer.write_str(value) });
    }

    fn number(&mut self, key: &str, value: impl fmt::Display) {
        self.pair(key, |writer| write!(writer, "{value}"));
    }
}

impl Visit for Pairs<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.number(field.name(), value);
        } else {
            // JSON has no such numbers.
            self.text(field.name(), &value.to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field.name(), &Chain(value).to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.chars().any(|c| matches!(c, ' ' | '=' | '"' | '\\') || is_dangerous(c))
}

/// Whether a character ends a line, steers a terminal, or is not seen for what it is.
pub(crate) fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Writes a JSON string, which is also what readers of logfmt take between quotes.
fn write_quoted(writer: &mut Writer<'_>, value: &str) -> fmt::Result {
    writer.write_char('"')?;
    for c in value.chars() {
        match c {
            '"' => writer.write_str("\\\"")?,
            '\\' => writer.write_str("\\\\")?,
            '\n' => writer.write_str("\\n")?,
            '\r' => writer.write_str("\\r")?,
            '\t' => writer.write_str("\\t")?,
            c if is_dangerous(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            c => writer.write_char(c)?,
        }
    }
    writer.write_char('"')
}
