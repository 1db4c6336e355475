//! Patterns of consumer tags, as Python's `re.search` reads them.
//!
//! Deployments have such patterns in their files, so they must go on meaning what they mean there. The
//! engine reads nearly the same language; [`translate`] bridges what it reads otherwise. One difference is
//! left: `$` matches at the very end only, and not also before a line feed that ends the tag.

use std::fmt;

use fancy_regex::{Regex, RegexBuilder};

/// Longest pattern, in bytes of UTF-8. The longest tag that AMQP carries has 255.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Steps back that one match may take: some milliseconds. A pattern that needs more is not decided.
const BACKTRACK_LIMIT: usize = 100_000;

/// Bytes that a compiled automaton may take; `(\w{1000}){1000}` would otherwise take gigabytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Instructions that a compiled pattern may have, for the same reason.
const PROGRAM_SIZE_MAX: usize = 1 << 16;

/// A pattern that finds its listener's consumers by their tags.
#[derive(Clone)]
pub struct TagPattern {
    source: Box<str>,
    regex: Regex,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// Not a pattern, or one that compiles to more than the limits allow.
    #[error("the pattern does not compile: {0}")]
    Syntax(String),
}

/// The match was given up: whether the tag matches cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern needs more than {BACKTRACK_LIMIT} steps back to be decided")]
pub struct Undecided;

impl TagPattern {
    /// Compiles a pattern in the language of Python's `re`.
    ///
    /// # Errors
    /// Where it is too long or no pattern.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let (translated, asked_for) = translate(pattern);
        let regex = RegexBuilder::new(&translated)
            .backtrack_limit(BACKTRACK_LIMIT)
            .delegate_size_limit(COMPILED_BYTES_MAX)
            .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
            .max_prog_size(PROGRAM_SIZE_MAX)
            .build()
            .map_err(|error| PatternError::Syntax(one_line(&error.to_string())))?;
        // As Python has it. The engine does not look, and panics at a match.
        if asked_for >= regex.captures_len() {
            return Err(PatternError::Syntax(format!("it asks for group {asked_for}, which there is not")));
        }
        Ok(Self { source: pattern.into(), regex })
    }

    /// Whether the pattern matches anywhere in the tag.
    ///
    /// # Errors
    /// Where that cannot be told within bounds; it is then no "no".
    pub fn is_match(&self, tag: &str) -> Result<bool, Undecided> {
        self.regex.is_match(tag).map_err(|_| Undecided)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TagPattern({:?})", self.source)
    }
}

impl PartialEq for TagPattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// The engine draws the pattern over several lines; a message about a configuration has one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Rewrites what Python reads otherwise than the engine: `\Z` is the very end, an escaped punctuation mark
/// is itself (`\<` is no word boundary), a comment is nothing, and within `[...]` only ranges, escapes and
/// the closing bracket are special (`[`, `&&` and `--` are not). Says, too, which is the highest group that is asked for
/// as in `(?(1)yes|no)`; 0 if none is.
fn translate(pattern: &str) -> (String, usize) {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut asked_for = 0;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("(?#") {
            match comment.split_once(')') {
                Some((_, after)) => rest = after,
                None => {
                    // Left as it is, so that the engine reports the missing parenthesis.
                    out.push_str(rest);
                    break;
                }
            }
        } else if c == '[' {
            rest = class(&rest[1..], &mut out);
        } else if let Some(after) = rest.strip_prefix("\\Z") {
            out.push_str("\\z");
            rest = after;
        } else if c == '\\' {
            rest = escape(&rest[1..], &mut out);
        } else {
            asked_for = asked_for.max(condition(rest));
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    (out, asked_for)
}

/// The group that is asked for by number, where a text begins so; 0 if it does not.
fn condition(text: &str) -> usize {
    let group = text.strip_prefix("(?(").and_then(|rest| rest.split_once(')')).map_or("", |(group, _)| group);
    let is_number = !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    // One that no number holds is not there either.
    if is_number { group.parse().unwrap_or(usize::MAX) } else { 0 }
}

/// One `[...]`, from after its opening bracket; returns what follows it.
fn class<'a>(mut rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    // A closing bracket in the first place is an ordinary character.
    let mut first = true;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !first) {
            out.push(']');
            return after;
        }
        first = false;
        rest = class_item(rest, out);
        if let Some(end) = rest.strip_prefix('-').filter(|end| !end.is_empty() && !end.starts_with(']')) {
            out.push('-');
            rest = class_item(end, out);
        }
    }
    rest
}

/// One character or escape within a class; returns what follows it.
fn class_item<'a>(rest: &'a str, out: &mut String) -> &'a str {
    if let Some(after) = rest.strip_prefix("\\b") {
        out.push_str("\\x{8}");
        return after;
    }
    if let Some(escaped) = rest.strip_prefix('\\') {
        return escape(escaped, out);
    }
    let Some(c) = rest.chars().next() else { return rest };
    literal(c, out);
    &rest[c.len_utf8()..]
}

/// An escape, from after its backslash; returns what follows it.
fn escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    match rest.chars().next() {
        Some(c) if c.is_ascii_alphanumeric() => {
            out.push('\\');
            out.push(c);
            &rest[1..]
        }
        Some(c) => {
            literal(c, out);
            &rest[c.len_utf8()..]
        }
        None => {
            out.push('\\');
            rest
        }
    }
}

/// A character that stands for itself, written so that no reading makes it special.
fn literal(c: char, out: &mut String) {
    if c.is_alphanumeric() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_group_that_is_asked_for_is_there() {
        for pattern in ["a(?(9)b)*c", "(a)?(?(2)b|c)"] {
            let error = TagPattern::new(pattern).expect_err(pattern).to_string();
            assert!(error.contains("which there is not"), "{pattern}: {error}");
        }
        for (pattern, tag) in
            [("(a)?(?(1)b|c)d", "abd"), ("[(?(9)]", "9"), (r"\(?(9)", "9"), (r"\(?(9)x", "9x")]
        {
            assert_eq!(TagPattern::new(pattern).expect(pattern).is_match(tag), Ok(true), "{pattern}");
        }
    }

    /// Pattern, tag, and what Python 3.11 says of `re.search(pattern, tag) is not None`.
    const AS_PYTHON: &[(&str, &str, bool)] = &[
        ("sda-ingest", "ctag-sda-ingest-1", true),
        ("sda-ingest", "sda-verify", false),
        ("", "anything", true),
        ("^sda", "x-sda", false),
        ("sda$", "sda", true),
        (r"sda\Z", "sda", true),
        (r"sda\Z", "sda\n", false),
        (r"\Asda", "sda-1", true),
        (r"(?P<n>ab)-(?P=n)", "x ab-ab", true),
        (r"(?P<n>ab)-(?P=n)", "ab-cd", false),
        (r"(a)\1", "aa", true),
        (r"sda-(?=ingest)", "sda-ingest", true),
        (r"sda-(?!ingest)", "sda-ingest", false),
        (r"(?<=sda-)ingest", "sda-ingest", true),
        (r"(?<!sda-)ingest", "sda-ingest", false),
        (r"(?i)SDA", "sda", true),
        (r"(?i:SDA)-x", "sda-x", true),
        (r"(?s)a.b", "a\nb", true),
        (r"(?m)^b", "a\nb", true),
        (r"(?x) a b # comment", "ab", true),
        (r"(?x)[ ]", "a b", true),
        (r"a(?#comment [ )b", "ab", true),
        (r"[[]x", "[x", true),
        (r"[]x]", "]", true),
        (r"[^]x]", "]x", false),
        (r"[[:alpha:]]", "a]", true),
        (r"[[:alpha:]]", "b]", false),
        (r"[[:alpha:]]", "a", false),
        (r"[a&&b]", "&", true),
        (r"[a&&b]", "a", true),
        (r"[+--]", ",", true),
        (r"[--a]", "A", true),
        (r"[a-]", "-", true),
        (r"[a~~b]", "~", true),
        (r"[\w-]+$", "sda-ingest", true),
        (r"[\]\[]", "[", true),
        (r"[\b]", "\u{8}", true),
        (r"[a\-z]", "m", false),
        (r"\<sda\>", "<sda>", true),
        (r"\<sda\>", "sda", false),
        (r"\-\.\_\/\#\&\~\'\`", "-._/#&~'`", true),
        (r"a{,2}b", "b", true),
        (r"^a{,2}$", "aaa", false),
        (r"a{b}", "a{b}", true),
        (r"a{", "a{", true),
        (r"a{1,b", "a{1,b", true),
        (r"\d+", "٣", true),
        (r"\w", "é", true),
        (r"(a)?(?(1)b|c)", "c", true),
        (r"\x41\u00e9", "Aé", true),
        (r"a++b", "aab", true),
        (r"(?>a|ab)c", "abc", false),
        (r"a|b*?c", "c", true),
        (r"é[ø-ü]", "éù", true),
        (r"\é", "é", true),
        ("a/b", "a/b", true),
    ];

    #[test]
    fn patterns_mean_what_python_says() {
        for (pattern, tag, expected) in AS_PYTHON {
            let compiled = TagPattern::new(pattern).unwrap_or_else(|error| panic!("{pattern:?}: {error}"));
            assert_eq!(compiled.is_match(tag), Ok(*expected), "{pattern:?} in {tag:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["(", ")", "[", "a\\", "*", "(?P<n>", "(?P=n)", "[b-a]", "(?#"] {
            assert!(matches!(TagPattern::new(bad), Err(PatternError::Syntax(_))), "{bad:?}");
        }
        assert_eq!(TagPattern::new(&"a".repeat(1025)).unwrap_err(), PatternError::TooLong);
        assert!(TagPattern::new(&"a".repeat(1024)).is_ok());
    }

    #[test]
    fn patterns_that_compile_to_much_are_refused() {
        for bad in [r"(\w{1000}){1000}", r"(?:(?=a)\w{1000}){1000}"] {
            assert!(matches!(TagPattern::new(bad), Err(PatternError::Syntax(_))), "{bad:?}");
        }
    }

    #[test]
    fn hitting_the_backtrack_limit_is_no_answer() {
        let pattern = TagPattern::new(r"^(a|aa)+(?=b)\1$").unwrap();
        assert_eq!(pattern.is_match(&"a".repeat(60)), Err(Undecided));
    }

    proptest! {
        #[test]
        fn no_text_panics(pattern in r"[\[\](){}?*+^$|\\<>=!:#P\-&~,a-c0-9Zbdwxéu]{0,40}|.{0,40}", tag in ".{0,20}") {
            if let Ok(pattern) = TagPattern::new(&pattern) {
                let _ = pattern.is_match(&tag);
            }
        }
    }
}
