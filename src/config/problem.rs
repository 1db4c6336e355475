//! What is wrong with a configuration, said all at once.

use std::fmt;

/// Longest part of a wrong value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// One thing that must be mended before the program can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong: `RABBITMQ_PORT (--rabbitmq.port)`, or a place in a file.
    pub name: String,
    /// The value as it was found; `None` for a secret's, and where there is none.
    pub value: Option<String>,
    /// Why it cannot be used: a clause about "it".
    pub why: String,
    /// What would be right; empty where there is nothing to show.
    pub example: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)?;
        // One of which the reason speaks by its name was just read.
        if let Some(value) = self.value.as_deref().map(shown).filter(|value| !self.why.contains(value)) {
            write!(f, "\n    value:   {value}")?;
        }
        if !self.example.is_empty() {
            write!(f, "\n    example: {}", self.example)?;
        }
        Ok(())
    }
}

/// Every problem of one start, and what was odd beside them. Never empty when it is handed out as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    all: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.all.push(problem);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.all.iter()
    }

    /// These, with what else the operator should know: a misspelt name may be the reason why another is not set.
    pub(crate) fn beside(self, warnings: Vec<Warning>) -> Self {
        Self { warnings, ..self }
    }
}

impl Extend<Problem> for Problems {
    fn extend<T: IntoIterator<Item = Problem>>(&mut self, problems: T) {
        self.all.extend(problems);
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.all.len() {
            1 => writeln!(f, "1 problem in the configuration:")?,
            count => writeln!(f, "{count} problems in the configuration:")?,
        }
        for problem in &self.all {
            write!(f, "\n{problem}\n")?;
        }
        for (i, warning) in self.warnings.iter().enumerate() {
            let gap = if i == 0 { "\n" } else { "" };
            writeln!(f, "{gap}warning: {warning}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Something that the program can live with, and the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about: a variable, or a place in a file.
    pub name: String,
    /// What to know, and what to do: a clause about "it".
    pub text: String,
}

impl Warning {
    /// A warning about `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

/// A value as it may be printed: quoted, without control characters, not endless, and without
/// the credentials that a URL in the wrong place would bring along.
pub(crate) fn shown(value: &str) -> String {
    let safe = without_credentials(value);
    let mut short: String = safe.chars().take(SHOWN_CHARS_MAX).collect();
    if short.len() < safe.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// `amqp://user:pass@host` becomes `amqp://<redacted>@host`, and so without a scheme.
pub(crate) fn without_credentials(value: &str) -> String {
    // What a URL asks for may be a key.
    let value = match value.find('?') {
        Some(query) if value.contains("://") || value.contains('=') => {
            &format!("{}?<redacted>", &value[..query])
        }
        _ => value,
    };
    let Some(at) = value.rfind('@') else { return value.to_owned() };
    let start = value.find("://").map_or(0, |scheme| scheme + 3);
    // An `@` in front of the scheme's end belongs to no credentials that could be told apart.
    let kept = if start <= at { &value[..start] } else { "" };
    format!("{kept}<redacted>{}", &value[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(value: Option<&str>) -> Problem {
        Problem {
            name: "RABBITMQ_PORT (--rabbitmq.port)".into(),
            value: value.map(str::to_owned),
            why: "it is not a whole number".into(),
            example: "RABBITMQ_PORT=5672".into(),
        }
    }

    #[test]
    fn a_problem_is_a_block() {
        assert_eq!(
            problem(Some("x")).to_string(),
            "RABBITMQ_PORT (--rabbitmq.port): it is not a whole number\n    \
             value:   \"x\"\n    example: RABBITMQ_PORT=5672"
        );
    }

    #[test]
    fn problems_count_themselves() {
        let mut problems = Problems::default();
        problems.push(problem(None));
        assert!(problems.to_string().starts_with("1 problem in"));
        problems.push(problem(None));
        assert!(problems.to_string().starts_with("2 problems in"));
    }

    #[test]
    fn warnings_stand_below_the_problems() {
        let mut problems = Problems::default();
        problems.push(problem(None));
        let text = problems
            .beside(vec![Warning::new("A", "it is odd"), Warning::new("B", "it is, too")])
            .to_string();
        assert!(
            text.ends_with("RABBITMQ_PORT=5672\n\nwarning: A: it is odd\nwarning: B: it is, too\n"),
            "{text}"
        );
    }

    #[test]
    fn shown_values_are_harmless() {
        assert_eq!(shown("a\nb\u{1b}"), "\"a\\nb\\u{1b}\"");
        assert!(shown(&"ø".repeat(1000)).chars().count() < 130);
        for value in ["amqp://me:canary@host/", "me:canary@host", "canary@://x", "amqp://a:can@ary@host"] {
            let text = shown(value);
            assert!(!text.contains("canary") && !text.contains("can@"), "{text}");
            assert!(text.contains('@'), "{text}");
        }
        assert_eq!(shown("http://c:99999/x?api_key=canary"), "\"http://c:99999/x?<redacted>\"");
    }
}
