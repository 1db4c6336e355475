//! Which key somebody may have meant by another.

use std::cmp::Reverse;

/// Keys that people write for the known ones.
const ALIASES: &[(&str, &str)] = &[
    ("address", "host"),
    ("hostname", "host"),
    ("ip", "host"),
    ("consumers", "rmq_consumers"),
    ("queues", "rmq_consumers"),
    ("rmq", "rmq_consumers"),
    ("consumer_tag", "tag"),
    ("pattern", "tag"),
    ("consumers", "listeners"),
    ("queue_name", "queue"),
    ("deadline", "timeout"),
    ("interval", "period"),
    ("every", "period"),
    ("grace_time", "grace"),
    ("max_run_time", "max_runtime"),
    ("cronjobs", "jobs"),
    ("body", "fail_if_body_not_matches_regexp"),
    ("expected_body", "fail_if_body_not_matches_regexp"),
    ("body_regexp", "fail_if_body_not_matches_regexp"),
    ("regexp", "fail_if_body_not_matches_regexp"),
    ("token", "bearer_token_file"),
    ("username", "basic_auth"),
    ("password", "basic_auth"),
    ("expected_ip", "expected_answers"),
    ("records", "expected_answers"),
    ("nameserver", "server"),
    ("resolver", "server"),
    ("until", "ends"),
    ("duration", "lasts"),
];

/// Words that many keys have, so that one alone says nothing.
const WEAK_WORDS: &[&str] = &["file", "name", "min", "max", "limit", "valid", "if", "not", "key"];

/// The one of `known` that has most words in common with `key`, and of these the fewest others.
pub(super) fn of_like_words<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    fn words(key: &str) -> Vec<String> {
        let word = |word: &str| word.strip_suffix('s').unwrap_or(word).to_owned();
        key.to_lowercase().split(['_', '-', '.', ' ']).map(word).collect()
    }
    let key = words(key);
    let like = known.filter_map(|known| {
        let known_words = words(known);
        let common = known_words.iter().filter(|word| key.contains(word));
        let (strong, all) = common.fold((0, 0), |(strong, all), word| {
            (strong + usize::from(!WEAK_WORDS.contains(&word.as_str())), all + 1)
        });
        (strong > 0).then_some(((all, Reverse(known_words.len())), known))
    });
    like.min_by_key(|(likeness, _)| Reverse(*likeness)).map(|(_, known)| known)
}

/// Whether one who wrote `key` may have meant `known`: another name for it, or a letter or two off.
pub(super) fn is_meant(key: &str, known: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    key == known
        || ALIASES.contains(&(key.as_str(), known))
        || (key.len() <= 2 * known.len() && strsim::osa_distance(&key, known) <= known.len().min(6) / 3)
}

#[cfg(test)]
mod tests {
    use crate::config::targets::{Form, parse};

    /// What is said of the first unknown key of an entry.
    fn said(list: &str, entry: &str) -> String {
        let problems = parse(&format!("heartbeat: {{{list}: [{{{entry}}}]}}"), Form::Yaml).unwrap_err();
        let unknown = problems.iter().find(|problem| problem.why.contains("is not known"));
        unknown.unwrap_or_else(|| panic!("{problems:?}")).why.clone()
    }

    #[test]
    fn a_key_is_guessed_by_the_words_that_it_shares() {
        for (list, key, meant) in [
            ("http", "expected_status", "valid_status_codes"),
            ("http", "status", "valid_status_codes"),
            ("http", "Status-Code", "valid_status_codes"),
            ("http", "ca", "ca_file"),
            ("http", "tls_ca_cert", "ca_file"),
            ("http", "body", "fail_if_body_not_matches_regexp"),
            ("http", "expected_body", "fail_if_body_not_matches_regexp"),
            ("http", "redirects", "follow_redirects"),
            ("http", "token", "bearer_token_file"),
            ("tls", "min_days", "min_certificate_days"),
            ("dns", "expected_records", "expected_answers"),
            ("dns", "rcode", "valid_rcodes"),
            ("jobs", "runtime_limit", "max_runtime"),
        ] {
            let said = said(list, &format!("{key}: 1"));
            assert!(said.starts_with(&format!("is not known; is `{meant}` meant?")), "{key}: {said}");
        }
        for (list, key) in [("http", "colour"), ("http", "log_file"), ("tls", "max_size"), ("http", "_")] {
            let said = said(list, &format!("{key}: 1"));
            assert!(said.starts_with("is not known; there are "), "{key}: {said}");
        }
    }

    #[test]
    fn the_keys_that_there_are_are_told_once() {
        let expected = "is not known; there are name, period, grace, max_runtime";
        assert_eq!(said("jobs", "colour: 1, name: a, period: 1h, grace: 1h"), expected);
        let problems =
            parse("heartbeat: {jobs: [{a1: 1, a2: 1, name: a, period: 1h, grace: 1h}]}", Form::Yaml);
        let told = problems.unwrap_err().iter().filter(|problem| problem.why.contains("here are")).count();
        assert_eq!(told, 1);
    }
}
