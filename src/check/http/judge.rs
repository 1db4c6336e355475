//! What is right about an answer.

use std::fmt;
use std::ops::RangeInclusive;

use http::StatusCode;

use crate::check::pattern::TagPattern;
use crate::check::{Finding, Verdict};
use crate::heartbeat::Reason;

/// Statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCodes(Vec<RangeInclusive<u16>>);

impl StatusCodes {
    /// Those of all ranges.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Self(ranges)
    }

    /// Whether a status is one of them.
    pub fn contains(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

/// As the publisher's file has them: `200, 3xx`.
impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match (range.start(), range.end()) {
                (one, other) if one == other => write!(f, "{comma}{one}")?,
                (first, last) if (first % 100, last - first) == (0, 99) => {
                    write!(f, "{comma}{}xx", first / 100)?;
                }
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// 200 to 299.
impl Default for StatusCodes {
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

/// What a body must hold, and must not.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyRules {
    /// None of them may be found.
    pub fail_if_matches: Vec<TagPattern>,
    /// Each of them must be found.
    pub fail_if_not_matches: Vec<TagPattern>,
    /// How much of it is looked at.
    pub bytes_max: usize,
}

/// How much of a body is looked at, unless it is set: a page of people has some hundred kilobytes.
const BODY_BYTES: usize = 1 << 20;

impl Default for BodyRules {
    fn default() -> Self {
        Self { fail_if_matches: Vec::new(), fail_if_not_matches: Vec::new(), bytes_max: BODY_BYTES }
    }
}

impl BodyRules {
    /// Whether the body needs to be read at all.
    pub fn is_empty(&self) -> bool {
        self.fail_if_matches.is_empty() && self.fail_if_not_matches.is_empty()
    }

    /// Judges what was read of a body. What is found settles a pattern; what is not found does so only in a body that
    /// is whole. What cannot be decided is unknown, unless something else is wrong.
    pub(super) fn judge(&self, text: &str, is_whole: bool) -> Result<(), Finding> {
        let found = |pattern: &TagPattern| match pattern.is_match(text) {
            Ok(true) => Some(true),
            Ok(false) => is_whole.then_some(false),
            Err(_) => None,
        };
        let amiss = |wanted: bool| {
            move |pattern: &TagPattern| {
                let (verdict, what) = match found(pattern) {
                    Some(found) if found == wanted => return None,
                    Some(true) => (Verdict::down(Reason::Content), "is in the body"),
                    Some(false) => (Verdict::down(Reason::Content), "is not in the body"),
                    None if is_whole => (
                        Verdict::unknown(Reason::Content),
                        "may be in the body or not: to look for it takes too long",
                    ),
                    None => (
                        Verdict::unknown(Reason::Content),
                        "may be in the body or not: the body is too long to tell",
                    ),
                };
                Some(verdict.because(format!("`{}` {what}", short(pattern.as_str()))))
            }
        };
        let unwanted = self.fail_if_matches.iter().filter_map(amiss(false));
        let wanted = self.fail_if_not_matches.iter().filter_map(amiss(true));
        let worse = |first: Finding, next: Finding| {
            if next.verdict.outcome > first.verdict.outcome { next } else { first }
        };
        unwanted.chain(wanted).reduce(worse).map_or(Ok(()), Err)
    }
}

/// Characters of a pattern that are told.
const SHOWN_MAX: usize = 80;

fn short(pattern: &str) -> String {
    match pattern.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &pattern[..end]),
        None => pattern.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[&str]) -> Vec<TagPattern> {
        texts.iter().map(|text| TagPattern::new(text).unwrap()).collect()
    }

    fn rules(unwanted: &[&str], wanted: &[&str]) -> BodyRules {
        BodyRules {
            fail_if_matches: patterns(unwanted),
            fail_if_not_matches: patterns(wanted),
            ..BodyRules::default()
        }
    }

    fn judged(rules: &BodyRules, text: &str, is_whole: bool) -> Result<(), Verdict> {
        rules.judge(text, is_whole).map_err(|finding| finding.verdict)
    }

    const DOWN: Result<(), Verdict> = Err(Verdict::down(Reason::Content));
    const UNKNOWN: Result<(), Verdict> = Err(Verdict::unknown(Reason::Content));

    #[test]
    fn statuses_are_ranges() {
        let codes = StatusCodes::new(vec![200..=299, 401..=401]);
        for (status, right) in
            [(199, false), (200, true), (299, true), (300, false), (401, true), (402, false)]
        {
            assert_eq!(codes.contains(StatusCode::from_u16(status).unwrap()), right, "{status}");
        }
        assert!(StatusCodes::default().contains(StatusCode::NO_CONTENT));
    }

    #[test]
    fn what_is_found_decides_and_what_is_not_only_in_a_whole_body() {
        let rules = rules(&["error"], &["ready"]);
        assert_eq!(judged(&rules, "all ready", true), Ok(()));
        assert_eq!(judged(&rules, "ready, with an error", true), DOWN);
        assert_eq!(judged(&rules, "starting", true), DOWN);
        // The rest may hold it.
        assert_eq!(judged(&rules, "all ready", false), UNKNOWN);
        assert_eq!(judged(&rules, "starting", false), UNKNOWN);
        assert_eq!(judged(&rules, "error", false), DOWN, "whatever else is in it");
    }

    #[test]
    fn which_pattern_it_was_is_told_and_nothing_of_the_body() {
        let detail = |unwanted: &[&str], wanted: &[&str], is_whole| {
            rules(unwanted, wanted).judge("canary, ready", is_whole).unwrap_err().detail.unwrap()
        };
        assert_eq!(&*detail(&["can.ry"], &["gone"], true), "`can.ry` is in the body");
        assert_eq!(&*detail(&["gone"], &["ready", "^up$"], true), "`^up$` is not in the body");
        let part = "`gone` may be in the body or not: the body is too long to tell";
        assert_eq!(&*detail(&["gone"], &[], false), part);
        assert_eq!(StatusCodes::new(vec![200..=299, 401..=401, 500..=501]).to_string(), "2xx, 401, 500-501");
    }

    #[test]
    fn a_pattern_that_takes_too_long_is_undecided() {
        let rules = rules(&[r"^(a|aa)+\1$"], &[]);
        let finding = rules.judge(&format!("{}b", "a".repeat(4000)), true).unwrap_err();
        assert_eq!(finding.verdict, Verdict::unknown(Reason::Content));
        let detail = finding.detail.unwrap();
        assert!(detail.ends_with("takes too long"), "it is the pattern's fault: {detail}");
    }

    proptest! {
        /// As the words say, in a whole body.
        #[test]
        fn as_the_words_say(body in "[abc]{0,6}", unwanted in prop::collection::vec("[abc]{1,2}", 0..3), wanted in prop::collection::vec("[abc]{1,2}", 0..3)) {
            let texts = |list: &[String]| list.iter().map(|text| TagPattern::new(text).unwrap()).collect();
            let rules = BodyRules {
                fail_if_matches: texts(&unwanted),
                fail_if_not_matches: texts(&wanted),
                ..BodyRules::default()
            };
            let right = !unwanted.iter().any(|text| body.contains(text)) && wanted.iter().all(|text| body.contains(text));
            prop_assert_eq!(judged(&rules, &body, true), if right { Ok(()) } else { DOWN });
            // Of a part nothing is claimed that the rest could refute.
            if judged(&rules, &body, false) == DOWN {
                prop_assert!(unwanted.iter().any(|text| body.contains(text)));
            }
        }
    }
}
