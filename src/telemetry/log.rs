//! The log: to stderr, filtered, one line an event.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub use super::line::LogFormat;
use super::stderr::Lines;

/// The way of the lines, once there is a log.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Longest wait at the end for lines that are not written yet.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// Crates that tell much of little; below warnings they are heard only when named.
const CHATTY: &[&str] =
    &["fred", "hickory_proto", "hyper", "hyper_util", "hyper_rustls", "rustls", "h2", "tonic"];

/// Tells errors of what is none, such as a look at a queue that is missing, in each round anew. All that it could
/// tell is in its errors, which are logged where they are handled. Heard only when named.
const MUTE: &str = "lapin";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is none.
    #[error(
        "log level {level:?} is not one of error, warn, info, debug, trace, off, nor a list of target=level"
    )]
    Level {
        /// As it was given.
        level: String,
        /// What the parser found.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is no thread to write it.
    #[error("the log's thread could not be started")]
    Thread(#[source] io::Error),
    /// A log was set up before.
    #[error("the log is set up already")]
    Again(#[source] tracing_subscriber::util::TryInitError),
}

/// Where events go beside stderr, with a filter of its own.
pub type Beside = Box<dyn Layer<Registry> + Send + Sync>;

/// Sends events of this process to stderr from now on.
///
/// # Errors
/// Where the level cannot be read, or a log is set up already.
pub fn init(level: &str, format: LogFormat, beside: Option<Beside>) -> Result<(), InitError> {
    let filter = filter(level)?;
    let registry = tracing_subscriber::registry();
    let lines = Lines::to(io::stderr()).map_err(InitError::Thread)?;
    let written = lines.clone();
    let writer = move || written.clone();
    // A layer that is not there would still be asked at each event of each crate.
    match beside {
        Some(beside) => registry.with(beside).with(layer(format, writer).with_filter(filter)).try_init(),
        None => registry.with(layer(format, writer).with_filter(filter)).try_init(),
    }
    .map_err(InitError::Again)?;
    let _ = LINES.set(lines);
    Ok(())
}

/// Waits a moment for lines that are not written yet: the program is about to end.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH_MAX);
    }
}

/// Reads a level (`info`) or directives (`info,lapin=debug`) as a filter, with chatty crates held to warnings
/// unless a directive names them.
///
/// # Errors
/// Where it is neither.
pub fn filter(level: &str) -> Result<EnvFilter, InitError> {
    let word = level.trim();
    // The standard parser takes nothing for "error".
    let parsed = word.parse::<LevelFilter>().ok().filter(|_| !word.is_empty());
    let own = match parsed {
        Some(level) => level.to_string(),
        None if word.contains(['=', ',']) => word.to_owned(),
        // Any other word would pass for the name of a target, and a typing error for none: let the parser
        // say which levels there are.
        None => "heartbeat=not-a-level".to_owned(),
    };
    let chatty = parsed.unwrap_or(LevelFilter::WARN).min(LevelFilter::WARN);
    // Later directives replace earlier ones for the same target.
    let mut directives = vec![LevelFilter::INFO.to_string()];
    directives.extend(CHATTY.iter().map(|target| format!("{target}={chatty}")));
    directives.push(format!("{MUTE}=off"));
    directives.push(own);
    EnvFilter::builder()
        .parse(directives.join(","))
        .map_err(|source| InitError::Level { level: level.to_owned(), source })
}

/// The layer that writes lines to `writer`, each in one write.
pub fn layer<S, W>(format: LogFormat, writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        // It would say on stderr that stderr is gone, and panic for it.
        .log_internal_errors(false)
        .with_ansi(false)
        .event_format(format)
        .fmt_fields(format)
        .with_writer(writer)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `events` runs.
    fn logged(level: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let layer = layer(format, move || writer.clone()).with_filter(filter(level).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const FORGERIES: &[&str] = &[
        "x\nts=2026-01-01T00:00:00Z level=error msg=\"forged\"",
        "x\r\nlevel=error",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{9b}31m",
        "\u{85}next",
        "\u{2028}line\u{2029}",
        "\u{202e}txet\u{2066}",
        "\u{feff}\u{200b}",
        "\u{e0041}",
        "quote\" level=error \\",
        "",
        "\u{0}\u{7f}",
        "æøå 😀",
    ];

    fn log_everywhere(text: &str) {
        let span = tracing::info_span!("span", of_span = text, later = tracing::field::Empty);
        let _entered = span.enter();
        span.record("later", text);
        let error = io::Error::other(text.to_owned());
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::info!(text, shown = %text, debugged = ?text, error, "Said {text}");
    }

    #[test]
    fn no_value_forges_a_line_or_steers_a_terminal() {
        for format in [LogFormat::Logfmt, LogFormat::Json] {
            for text in FORGERIES {
                let line = logged("info", format, || log_everywhere(text));
                let body = line.strip_suffix('\n').unwrap();
                let harmful = |c: char| {
                    c.is_control()
                        || ('\u{200b}'..='\u{206f}').contains(&c)
                        || c == '\u{feff}'
                        || c == '\u{e0041}'
                };
                assert!(!body.contains(harmful), "{text:?} in {line:?}");
            }
        }
    }

    #[test]
    fn json_lines_are_objects_with_flat_fields() {
        for text in FORGERIES {
            let line = logged("info", LogFormat::Json, || log_everywhere(text));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            for key in ["text", "shown", "error", "of_span", "later"] {
                assert_eq!(value[key], *text, "{key}");
            }
            assert_eq!(value["debugged"], format!("{text:?}"));
            assert_eq!(value["msg"], format!("Said {text}"));
            assert_eq!(value["level"], "info");
            let ts: jiff::Timestamp = value["ts"].as_str().unwrap().parse().unwrap();
            assert!(ts.as_second() > 1_700_000_000);
        }
        let line = logged("info", LogFormat::Json, || {
            tracing::warn!(count = 3, rate = 0.5, odd = f64::NAN, yes = true, r#type = "x", "Figures");
        });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["count"], &value["rate"], &value["yes"]), (&3.into(), &0.5.into(), &true.into()));
        assert_eq!((&value["odd"], &value["type"]), (&"NaN".into(), &"x".into()));
    }

    /// Reads pairs as logfmt readers do: a bare word, or a JSON string between quotes.
    fn read_logfmt(line: &str) -> Vec<(String, String)> {
        let mut rest = line.strip_suffix('\n').unwrap();
        let mut pairs = Vec::new();
        while let Some((key, after)) = rest.split_once('=') {
            let value;
            if after.starts_with('"') {
                let mut stream = serde_json::Deserializer::from_str(after).into_iter::<String>();
                value = stream.next().unwrap().unwrap();
                rest = &after[stream.byte_offset()..];
            } else {
                let end = after.find(' ').unwrap_or(after.len());
                value = after[..end].to_owned();
                rest = &after[end..];
            }
            pairs.push((key.to_owned(), value));
            rest = rest.strip_prefix(' ').unwrap_or(rest);
        }
        assert_eq!(rest, "");
        pairs
    }

    #[test]
    fn logfmt_lines_are_read_back() {
        for text in FORGERIES {
            let pairs = read_logfmt(&logged("info", LogFormat::Logfmt, || log_everywhere(text)));
            let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
            let order =
                ["ts", "level", "target", "msg", "text", "shown", "debugged", "error", "of_span", "later"];
            assert_eq!(keys, order);
            for (key, value) in &pairs[4..] {
                let expected = if key == "debugged" { format!("{text:?}") } else { (*text).to_owned() };
                assert_eq!(*value, expected, "{key}");
            }
        }
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot listen")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("in use"));
        for format in [LogFormat::Logfmt, LogFormat::Json] {
            let line = logged("info", format, || {
                tracing::error!(error = &error as &(dyn std::error::Error + 'static), "No server");
            });
            assert!(line.contains("\"cannot listen: in use\""), "{line}");
        }
    }

    #[test]
    fn chatty_crates_are_held_to_warnings_unless_named() {
        let events = || {
            tracing::debug!("ours debug");
            tracing::info!("ours info");
            tracing::info!(target: "fred::router", "theirs info");
            tracing::warn!(target: "fred::router", "theirs warn");
        };
        let said = |level: &str| {
            let log = logged(level, LogFormat::Logfmt, events);
            ["ours debug", "ours info", "theirs info", "theirs warn"].map(|text| log.contains(text))
        };
        assert_eq!(said("info"), [false, true, false, true]);
        assert_eq!(said("debug"), [true, true, false, true]);
        assert_eq!(said("ERROR"), [false; 4]);
        assert_eq!(said("off"), [false; 4]);
        assert_eq!(said("debug,fred=info"), [true, true, true, true]);
        assert_eq!(said("fred=error"), [false, true, false, false]);
        let muted = |level: &str| {
            logged(level, LogFormat::Logfmt, || tracing::error!(target: "lapin::channel", "Channel closed"))
        };
        assert_eq!(muted("debug"), "");
        assert!(muted("info,lapin=error").contains("Channel closed"));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for level in ["", "loud", "info,lapin=loud", "heartbeat=="] {
            let error = filter(level).expect_err(level).to_string();
            assert!(error.contains(&format!("{level:?}")), "{error}");
        }
    }
}
