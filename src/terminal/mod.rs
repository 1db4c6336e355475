//! What a command says to whoever called it: text on a stream, in colours where those are seen.
//!
//! The stream is handed down by `main`, which alone knows of stdout. What is written may hold names and words from outside, which
//! steer no terminal: a line is [`Painted`].

mod painted;
mod table;

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

pub use painted::Painted;
pub use table::{Cell, Table};

use crate::telemetry::{visible, visible_json};

/// What a piece of text means, which a colour may show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Nothing of its own.
    #[default]
    Plain,
    /// It is as it should be.
    Good,
    /// It may be wrong, or nobody knows.
    Odd,
    /// It is wrong.
    Bad,
    /// Less than the rest.
    Faint,
    /// More than the rest.
    Strong,
}

impl Style {
    /// The parameter of "select graphic rendition" (ECMA-48). Colours of the terminal's own palette, which its owner
    /// can read.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Good => "32",
            Self::Odd => "33",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// A command's answer did not arrive where it was to go.
#[derive(Debug, thiserror::Error)]
#[error("the output cannot be written")]
pub struct NotWritten(#[source] io::Error);

/// Where a command's text goes.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    is_screen: bool,
    colours: bool,
    failed: Option<io::Error>,
}

impl Terminal {
    /// Text goes to `out`, a screen or not; on a screen, in colours where its owner wants them.
    pub fn new(out: Box<dyn Write + Send>, is_screen: bool, wants_colours: bool) -> Self {
        Self { out, is_screen, colours: is_screen && wants_colours, failed: None }
    }

    /// Writes a line, or several, at once.
    pub fn line(&mut self, text: impl Into<Painted>) {
        self.text(&format!("{}\n", text.into().as_str()));
    }

    /// Writes JSON on a line, which says the same to every parser.
    pub fn json(&mut self, value: &impl Serialize) {
        // Nothing that is told here can fail to be written, and memory takes it.
        let json = serde_json::to_string(value).unwrap_or_default();
        self.text(&format!("{}\n", visible_json(&json)));
    }

    /// Writes a text that ends its lines itself, as it is: one of the program's own, or one that others read in.
    pub fn text(&mut self, text: &str) {
        // After an error nothing more is written: an answer with a hole in it would look whole.
        if self.failed.is_none() {
            let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
            self.failed = written.err();
        }
    }

    /// Says whether all of it was taken, or as much as was asked for: whoever reads no further, as `head`, has enough.
    ///
    /// # Errors
    /// It was not, as on a disk that is full.
    pub fn finish(&mut self) -> Result<(), NotWritten> {
        match self.failed.take() {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(NotWritten(error)),
            _ => Ok(()),
        }
    }

    /// Makes room for what will be drawn again and again.
    pub fn clear(&mut self) {
        if self.is_screen {
            self.text("\x1b[2J\x1b[H");
        }
    }

    /// Begins anew at the top, where that is a screen; elsewhere, an empty line parts one from the next.
    pub fn redraw(&mut self, text: &Painted) {
        let text = text.as_str();
        // Home, the text, and whatever is left below it away: nothing flickers.
        let lines = text.replace('\n', "\u{1b}[K\n");
        let text =
            if self.is_screen { format!("\u{1b}[H{lines}\u{1b}[K\u{1b}[J\n") } else { format!("{text}\n\n") };
        self.text(&text);
    }

    /// Whether nobody takes the text any more, as after `| head` or on a disk that is full.
    pub fn is_closed(&self) -> bool {
        self.failed.is_some()
    }

    /// The text as it is shown here.
    pub fn paint(&self, style: Style, text: impl Into<Painted>) -> Painted {
        let text = text.into();
        if self.colours && style != Style::Plain && !text.as_str().is_empty() {
            text.between(&format!("\u{1b}[{}m", style.code()), "\u{1b}[0m")
        } else {
            text
        }
    }
}

/// Text in lines of at most so many columns, that begin at one of them: the first, which something may stand before, too. What
/// has no blank is not broken.
pub fn wrapped(text: &str, begin_at: usize, columns: usize) -> Painted {
    let text = visible(text);
    let mut lines = vec![String::new()];
    let mut column = begin_at;
    for word in text.split(' ') {
        if column > begin_at && column + 1 + word.width() > columns {
            lines.push(" ".repeat(begin_at));
            column = begin_at;
        }
        if let Some(line) = lines.last_mut() {
            if column > begin_at {
                line.push(' ');
                column += 1;
            }
            line.push_str(word);
            column += word.width();
        }
    }
    Painted::lines(lines)
}

/// A name as a shell takes it.
pub fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

/// How long something took, to what a person looks at.
pub fn took(time: Duration) -> String {
    match time.as_millis() {
        0 => "under 1 ms".into(),
        ms @ 1..1000 => format!("{ms} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// How many of something there are; `one` is what one of them is called.
pub fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Gone(ErrorKind);

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn colours_are_there_only_where_they_are_seen() {
        let kept = Kept::default();
        for (is_screen, wanted) in [(true, true), (true, false), (false, true)] {
            let mut terminal = Terminal::new(Box::new(kept.clone()), is_screen, wanted);
            let text = terminal.paint(Style::Bad, "down");
            terminal.line(text);
            assert_eq!(terminal.paint(Style::Bad, "").as_str(), "");
            assert_eq!(terminal.paint(Style::Plain, "x").as_str(), "x");
        }
        assert_eq!(kept.0.lock().unwrap().as_slice(), b"\x1b[31mdown\x1b[0m\ndown\ndown\n");
    }

    #[test]
    fn what_others_wrote_steers_nothing() {
        let kept = Kept::default();
        let mut terminal = Terminal::new(Box::new(kept.clone()), true, true);
        terminal.line("a\u{1b}[2Jb\nc");
        let text = Painted::lines([terminal.paint(Style::Bad, "\u{9b}2J"), "\u{202e}".into()]);
        terminal.line(text);
        terminal.json(&serde_json::json!({"a": "\u{9b}\u{202e}"}));
        terminal.line(wrapped("a\u{1b} b", 2, 10));
        let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let told = "a\\u{1b}[2Jb\\u{a}c\n\u{1b}[31m\\u{9b}2J\u{1b}[0m\n\\u{202e}\n{\"a\":\"\\u009b\\u202e\"}\na\\u{1b}\n  b\n";
        assert_eq!(written, told);
    }

    #[test]
    fn a_reader_that_went_away_is_noticed() {
        for (kind, is_wrong) in [(ErrorKind::BrokenPipe, false), (ErrorKind::StorageFull, true)] {
            let mut terminal = Terminal::new(Box::new(Gone(kind)), false, false);
            assert!(!terminal.is_closed());
            terminal.line("x");
            assert!(terminal.is_closed());
            assert_eq!(terminal.finish().is_err(), is_wrong, "{kind}");
        }
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrapped("a bb ccc dddd", 2, 7).as_str(), "a bb\n  ccc\n  dddd");
        assert_eq!(wrapped("unbreakable x", 0, 5).as_str(), "unbreakable\nx");
        assert_eq!(wrapped("", 2, 7).as_str(), "");
    }

    #[test]
    fn one_of_something_is_one() {
        let told = [0, 1, 2].map(|count| counted(count, "message"));
        assert_eq!(told, ["0 messages", "1 message", "2 messages"]);
    }

    #[test]
    fn times_are_told_to_what_a_person_looks_at() {
        for (micros, told) in
            [(999, "under 1 ms"), (1_000, "1 ms"), (999_999, "999 ms"), (1_250_000, "1.2 s")]
        {
            assert_eq!(took(Duration::from_micros(micros)), told);
        }
    }
}
