//! What was found, told as it is found: a line for each step, and for what fails what was attempted, why it failed, and
//! what to do.

use crate::terminal::{Painted, Style, Terminal, counted, wrapped};

/// Columns of a line at most; longer ones are hard to read.
const COLUMNS: usize = 100;

/// Where the names of steps begin, and what is told of them.
const TOLD_AT: usize = 29;

/// Longest part of what others said that is shown, in characters.
const SAID_CHARS_MAX: usize = 500;

/// Tells of steps, and counts them.
pub(super) struct Report<'a> {
    terminal: &'a mut Terminal,
    /// The server whose steps are told.
    part: String,
    /// What failed in this part, since which the rest is skipped.
    since: Option<String>,
    steps: usize,
    failures: Vec<String>,
    warnings: Vec<String>,
    unknown: usize,
}

/// What is wrong with a step.
pub(super) struct Fault<'a> {
    /// What was attempted, and on what.
    pub(super) attempted: &'a str,
    /// Why it failed.
    pub(super) why: &'a str,
    /// What to do.
    pub(super) to_do: &'a str,
}

impl<'a> Report<'a> {
    /// Tells on `terminal`.
    pub(super) fn new(terminal: &'a mut Terminal) -> Self {
        let (part, failures, warnings) = (String::new(), Vec::new(), Vec::new());
        Self { terminal, part, since: None, steps: 0, failures, warnings, unknown: 0 }
    }

    /// Begins with another server, or another matter.
    pub(super) fn part(&mut self, name: &str) {
        if !self.part.is_empty() {
            self.terminal.line("");
        }
        self.part = name.to_owned();
        self.since = None;
        let head = self.terminal.paint(Style::Strong, name);
        self.terminal.line(head);
    }

    /// It is as it should be.
    pub(super) fn ok(&mut self, step: &str, found: &str) {
        self.step(Style::Good, "ok", step, found);
    }

    /// It works, and may not for ever.
    pub(super) fn warn(&mut self, step: &str, found: &str, to_do: &str) {
        self.warnings.push(format!("{step} ({})", self.part));
        self.step(Style::Odd, "warning", step, found);
        self.detail("to do:", to_do);
    }

    /// It does not work; what builds upon it is to be skipped.
    pub(super) fn fail(&mut self, step: &str, fault: &Fault<'_>) {
        self.failures.push(format!("{step} ({})", self.part));
        self.since.get_or_insert_with(|| step.to_owned());
        self.step(Style::Bad, "failed", step, fault.attempted);
        self.detail("why:", fault.why);
        self.detail("to do:", fault.to_do);
    }

    /// It cannot be known without changing something, or is not told to this user.
    pub(super) fn unknown(&mut self, step: &str, why: &str) {
        self.unknown += 1;
        self.step(Style::Faint, "unknown", step, why);
    }

    /// They were not looked at, since something before them failed.
    pub(super) fn skip(&mut self, steps: &[&str]) {
        let since = self.since.clone().unwrap_or_default();
        for step in steps {
            self.step(Style::Faint, "skipped", step, &format!("since {since} failed"));
        }
    }

    /// Tells all of it in a sentence, and whether something failed or is to be warned of.
    pub(super) fn end(self) -> Worst {
        let Self { terminal, failures, warnings, unknown, steps, .. } = self;
        let mut text = match failures.first() {
            Some(first) => {
                format!("{} of {steps} steps failed, first: {first}. Begin there.", failures.len())
            }
            None if warnings.is_empty() => "Nothing is wrong, as far as can be seen from here.".to_owned(),
            None => "Nothing failed.".to_owned(),
        };
        if let Some(first) = warnings.first() {
            text.push_str(&format!(" {}, first: {first}.", counted(warnings.len() as u64, "warning")));
        }
        if unknown > 0 {
            text.push_str(&format!(" {} cannot be known.", counted(unknown as u64, "step")));
        }
        text.push_str(" Nothing was changed.");
        terminal.line("");
        terminal.line(wrapped(&text, 0, COLUMNS));
        match (failures.is_empty(), warnings.is_empty()) {
            (false, _) => Worst::Failed,
            (true, false) => Worst::Warned,
            (true, true) => Worst::Nothing,
        }
    }

    fn step(&mut self, style: Style, word: &str, step: &str, found: &str) {
        self.steps += 1;
        let mut line = Painted::from("  ");
        line.push(self.terminal.paint(style, format!("{word:<7}")));
        line.push(format!("  {step:<17} "));
        line.push(wrapped(&short(found), TOLD_AT, COLUMNS));
        self.terminal.line(line);
    }

    fn detail(&mut self, label: &str, text: &str) {
        let mut line = Painted::from(format!("{}{label:<7}", " ".repeat(TOLD_AT)));
        line.push(wrapped(&short(text), TOLD_AT + 7, COLUMNS));
        self.terminal.line(line);
    }
}

/// The worst that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worst {
    /// All is well.
    Nothing,
    /// Something is to be looked at.
    Warned,
    /// Something does not work.
    Failed,
}

/// Text in which names and words of others stand, and not endless ones.
fn short(text: &str) -> String {
    let mut short: String = text.chars().take(SAID_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
