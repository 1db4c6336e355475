//! What a command says to whoever called it: text on a stream, in colours where those are seen.
//!
//! The stream is handed down by `main`, which alone knows of stdout. What is written may hold names from outside: a
//! [`Cell`] shows them as they are, and whoever makes a line of his own does it by [`visible`](crate::telemetry::visible).

mod table;

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use unicode_width::UnicodeWidthStr;

pub use table::{Cell, Table};

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
    pub fn line(&mut self, text: &str) {
        self.text(&format!("{text}\n"));
    }

    /// Writes a text that ends its lines itself.
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
    pub fn finish(self) -> Result<(), NotWritten> {
        match self.failed {
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
    pub fn redraw(&mut self, text: &str) {
        // Home, the text, and whatever is left below it away: nothing flickers.
        let lines = text.replace('\n', "\u{1b}[K\n");
        let text =
            if self.is_screen { format!("\u{1b}[H{lines}\u{1b}[K\u{1b}[J") } else { format!("{text}\n") };
        self.line(&text);
    }

    /// Whether nobody takes the text any more, as after `| head` or on a disk that is full.
    pub fn is_closed(&self) -> bool {
        self.failed.is_some()
    }

    /// The text as it is shown here.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.colours && style != Style::Plain && !text.is_empty() {
            format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
        } else {
            text.to_owned()
        }
    }
}

/// Text in lines of at most so many columns, each after `indent`. What has no blank is not broken.
pub fn wrapped(text: &str, indent: &str, columns: usize) -> String {
    let mut lines = vec![indent.to_owned()];
    let mut column = indent.width();
    for word in text.split(' ') {
        let is_first = column == indent.width();
        if !is_first && column + 1 + word.width() > columns {
            lines.push(indent.to_owned());
            column = indent.width();
        }
        if let Some(line) = lines.last_mut() {
            if column > indent.width() {
                line.push(' ');
                column += 1;
            }
            line.push_str(word);
            column += word.width();
        }
    }
    lines.join("\n")
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
            terminal.line(&text);
            assert_eq!(terminal.paint(Style::Bad, ""), "");
            assert_eq!(terminal.paint(Style::Plain, "x"), "x");
        }
        assert_eq!(kept.0.lock().unwrap().as_slice(), b"\x1b[31mdown\x1b[0m\ndown\ndown\n");
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
        assert_eq!(wrapped("a bb ccc dddd", "> ", 7), "> a bb\n> ccc\n> dddd");
        assert_eq!(wrapped("unbreakable x", "", 5), "unbreakable\nx");
        assert_eq!(wrapped("", "> ", 7), "> ");
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
