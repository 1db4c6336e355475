//! Which key somebody may have meant by another.

/// Keys that people write for the known ones. For a rule on a body that is the one that asks for what is to be there: who writes
/// of what must not be there says so.
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
    ("runtime_limit", "max_runtime"),
    ("max_run_time", "max_runtime"),
    ("cronjobs", "jobs"),
    ("status", "valid_status_codes"),
    ("status_code", "valid_status_codes"),
    ("status_codes", "valid_status_codes"),
    ("expected_status", "valid_status_codes"),
    ("expected_status_codes", "valid_status_codes"),
    ("redirects", "follow_redirects"),
    ("body", "fail_if_body_not_matches_regexp"),
    ("expected_body", "fail_if_body_not_matches_regexp"),
    ("body_regexp", "fail_if_body_not_matches_regexp"),
    ("body_regex", "fail_if_body_not_matches_regexp"),
    ("body_matches", "fail_if_body_not_matches_regexp"),
    ("body_matches_regexp", "fail_if_body_not_matches_regexp"),
    ("regexp", "fail_if_body_not_matches_regexp"),
    ("ca", "ca_file"),
    ("ca_cert", "ca_file"),
    ("tls_ca_cert", "ca_file"),
    ("min_days", "min_certificate_days"),
    ("token", "bearer_token_file"),
    ("username", "basic_auth"),
    ("password", "basic_auth"),
    ("expected_ip", "expected_answers"),
    ("rcode", "valid_rcodes"),
    ("rcodes", "valid_rcodes"),
    ("expected_records", "expected_answers"),
    ("records", "expected_answers"),
    ("nameserver", "server"),
    ("resolver", "server"),
    ("from", "begins"),
    ("until", "ends"),
    ("duration", "lasts"),
];

/// The one of `known` that who wrote `key` most likely meant: what people write for it, or what is nearest by a letter or two.
pub(super) fn meant<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().filter_map(|known| Some((remoteness(key, known)?, known)));
    near.min_by_key(|(remoteness, _)| *remoteness).map(|(_, known)| known)
}

/// In letters to insert, drop, replace or swap; `None`: too far.
fn remoteness(key: &str, known: &str) -> Option<usize> {
    let key = key.to_lowercase().replace('-', "_");
    if key == known || ALIASES.contains(&(key.as_str(), known)) {
        return Some(0);
    }
    let is_comparable = key.len() <= 2 * known.len();
    let distance = is_comparable.then(|| strsim::osa_distance(&key, known));
    distance.filter(|distance| *distance <= known.len().min(6) / 3)
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
    fn a_key_is_guessed_by_what_people_write_for_it_or_by_its_letters() {
        for (list, key, meant) in [
            ("http", "expected_status", "valid_status_codes"),
            ("http", "status", "valid_status_codes"),
            ("http", "Status-Code", "valid_status_codes"),
            ("http", "ca", "ca_file"),
            ("http", "tls_ca_cert", "ca_file"),
            ("http", "body", "fail_if_body_not_matches_regexp"),
            ("http", "expected_body", "fail_if_body_not_matches_regexp"),
            ("http", "body_matches", "fail_if_body_not_matches_regexp"),
            ("http", "body-regex", "fail_if_body_not_matches_regexp"),
            ("http", "fail_if_body_match_regexp", "fail_if_body_matches_regexp"),
            ("http", "cart_file", "cert_file"),
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
        for (list, key) in [
            ("http", "colour"),
            ("http", "log_file"),
            ("http", "body_limit"),
            ("tls", "max_size"),
            ("http", "_"),
        ] {
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
