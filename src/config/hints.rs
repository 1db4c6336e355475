//! Guesses about what an operator meant, and about names that machines make up.

use super::parse;
use super::problem::{Problem, Warning};
use super::setting::{Kind, Setting};
use super::settings;

/// Names longer than this many letters may differ by two from what was meant, shorter ones by one.
const SHORT_NAME: usize = 12;

/// Names of fewer letters must begin with the very word before the underscore: `LOG_` and `WEB_` are anybody's.
const TELLING_NAME: usize = 9;

/// How the variable ends that names the file of a secret.
const FILE: &str = "_FILE";

/// What other programs put behind the name of a switch, as Bitnami's Redis has `REDIS_TLS_ENABLED`.
const SWITCH_ENDS: [&str; 3] = ["_ENABLED", "_ENABLE", "_ON"];

/// What other programs put before the last word of a switch: `RABBITMQ_USE_TLS`.
const SWITCH_WORDS: [&str; 2] = ["_USE_", "_ENABLE_"];

/// How OpenTelemetry's variables begin.
pub(crate) const OTEL: &str = "OTEL_";

/// Variables of OpenTelemetry's specification that are not settings, and what counts in their place.
const REPLACED: &[(&str, &str)] = &[
    ("OTEL_BSP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT bounds each request"),
    ("OTEL_BLRP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT bounds each request"),
];

/// Variables that begin like a setting's and are most likely a misspelt one, and, where something is exported,
/// all of OpenTelemetry's that are no setting. A misspelt protection is a problem, anything else a warning.
///
/// `value_of` is the value of a variable that is set and not empty. Whoever has set the protection itself too means
/// something else by the other name, and whoever has turned a switch off wants none.
///
/// Only near misses count among the others: `RABBITMQ_NODENAME` is the broker's own,
/// `REDIS_SERVICE_HOST` comes from Kubernetes, and neither is anybody's mistake.
pub(crate) fn unread_variables(
    names: &[String],
    value_of: impl Fn(&str) -> Option<String>,
    exports: bool,
) -> (Vec<Problem>, Vec<Warning>) {
    let is_set = |name: &str| value_of(name).is_some();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_unstable();
    for name in names {
        if settings::ALL.iter().any(|setting| names_of(setting).any(|known| known == *name)) {
            continue;
        }
        let plain = without_switch_words(name);
        if plain.is_some() && value_of(name).is_some_and(|value| parse::boolean(&value) == Ok(false)) {
            continue;
        }
        let near = settings::ALL.iter().filter_map(|setting| {
            let plain = plain.as_deref().filter(|_| setting.kind == Kind::Boolean);
            Some((nearness(name, setting).or_else(|| nearness(plain?, setting))?, setting))
        });
        // REDIS_NODE is one letter from REDIS_MODE, too, and begins REDIS_NODES.
        let begun = |setting: &Setting| setting.variable.starts_with(name.as_str());
        let meant = near.min_by_key(|(remoteness, setting)| (*remoteness, !begun(setting)));
        let meant = meant.map(|(_, setting)| setting);
        // Others' names may hold anything; this goes to a terminal.
        let shown = name.escape_debug().to_string();
        let text = match meant {
            Some(meant) if protects(name, meant) && !names_of(meant).any(|name| is_set(&name)) => {
                let meant = names_of(meant).last().unwrap_or_default();
                let why =
                    format!("it is not a setting, and {meant} protects; write that, or take this one away");
                problems.push(Problem { name: shown, value: None, why, example: String::new() });
                continue;
            }
            Some(meant) if name.starts_with(OTEL) => format!("{UNSUPPORTED}; is {} meant?", meant.variable),
            Some(meant) => format!("it is not a setting and is not read; is {} meant?", meant.variable),
            None if exports && name.starts_with(OTEL) => unsupported(name),
            None => continue,
        };
        warnings.push(Warning::new(shown, text));
    }
    (problems, warnings)
}

const UNSUPPORTED: &str = "it is not supported and has no effect";

fn unsupported(name: &str) -> String {
    let replaced = REPLACED.iter().find(|(replaced, _)| *replaced == name);
    replaced.map_or_else(|| UNSUPPORTED.into(), |(_, instead)| format!("{UNSUPPORTED}; {instead}"))
}

/// The variable of a setting and, of a secret's, that of its file.
fn names_of(setting: &Setting) -> impl Iterator<Item = String> {
    [setting.variable.to_owned()].into_iter().chain(setting.file_variable())
}

/// Whether one who misspelt a setting so is without what was to protect: a secret in a file protects, too, while a name
/// that is a secret's own, in another program's words, may be that program's.
fn protects(name: &str, meant: &Setting) -> bool {
    meant.protects || (meant.is_secret() && name.ends_with(FILE))
}

/// The name of a switch as this program would have it; `None`: there is nothing that says that it is one.
fn without_switch_words(name: &str) -> Option<String> {
    let end = SWITCH_ENDS.iter().find_map(|end| name.strip_suffix(end));
    let word = SWITCH_WORDS.iter().find(|word| name.contains(*word));
    end.map(str::to_owned).or_else(|| Some(name.replacen(*word?, "_", 1)))
}

/// How far a name is from the nearest of a setting's; `None`: too far.
fn nearness(name: &str, setting: &Setting) -> Option<usize> {
    let file = setting.file_variable().filter(|_| name.ends_with(FILE));
    let near = file.map_or_else(
        || remoteness(name, setting.variable),
        |file| remoteness(name.strip_suffix(FILE)?, file.strip_suffix(FILE)?),
    );
    near.or_else(|| {
        // One letter anywhere, what kind of thing it names left out or another, and the old name of TLS.
        let stem = |name: &str| {
            let name = name.replace("_SSL", "_TLS");
            [FILE, "_PATH"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name).to_owned()
        };
        let (name, variable) = (stem(name), stem(setting.variable));
        let near = name.len().abs_diff(variable.len()) <= 1 && distance(&name, &variable) <= 1;
        (setting.protects && near).then_some(1)
    })
}

/// How far a name is from a variable that may be meant by it; `None`: too far.
fn remoteness(name: &str, variable: &str) -> Option<usize> {
    // The part before the first underscore says whose variable it is.
    let prefix = variable.split_inclusive('_').next().unwrap_or(variable);
    let begins = prefix.ends_with('_') && name.starts_with(prefix);
    if !begins && variable.len() < TELLING_NAME {
        return None;
    }
    // RABBITMQ_PASSWORD for RABBITMQ_PASS, REDIS_PASS for REDIS_PASSWORD.
    let (short, long) = if name.len() < variable.len() { (name, variable) } else { (variable, name) };
    let rest = long.strip_prefix(short).filter(|_| begins && short.len() > prefix.len() + 1);
    if rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphabetic())) {
        return Some(1);
    }
    let allowed = if variable.len() > SHORT_NAME { 2 } else { 1 };
    // Lengths alone rule most names out, however long a stranger's may be.
    if long.len() - short.len() > allowed {
        return None;
    }
    Some(distance(name, variable)).filter(|distance| *distance <= allowed)
}

/// The name that one who wrote `name` most likely meant; `None`: nothing is near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let name = plain(name);
    let near = known.into_iter().filter(|known| name.len() <= 2 * known.len()).filter_map(|known| {
        let known_plain = plain(known);
        if known_plain.starts_with(&name) && name.len() * 2 > known.len() {
            return Some((1, known));
        }
        let distance = strsim::osa_distance(&name, &known_plain);
        (distance <= known.len().min(9) / 3).then_some((distance, known))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Number of letters to insert, drop, replace or swap with their neighbour to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Whether a host's name is one that a container runtime or Kubernetes made up, and that will be
/// another one after the next start: 12 hex digits, or a Deployment's pod (`x-7d4b9c6f5d-x2x9z`).
pub(crate) fn is_random_host_name(name: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    if name.len() == 12 && name.bytes().all(hex) {
        return true;
    }
    // Kubernetes draws both parts from letters that form no words.
    let drawn = |part: &str| part.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    let mut parts = name.rsplit('-');
    let (pod, set) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    parts.next().is_some() && pod.len() == 5 && (6..=10).contains(&set.len()) && drawn(pod) && drawn(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(name: &str) -> Option<String> {
        let (problems, warnings) = unread_variables(&[name.to_owned()], |_| None, false);
        assert_eq!(problems, [], "{name}");
        warnings.first().map(ToString::to_string)
    }

    /// However one letter of one is left out.
    #[test]
    fn a_misspelt_protection_is_a_problem() {
        for setting in settings::ALL.iter().filter(|setting| setting.protects) {
            let (prefix, _) = setting.variable.split_once('_').unwrap();
            for left_out in prefix.len() + 1..setting.variable.len() {
                let mut name = setting.variable.to_owned();
                name.remove(left_out);
                let (problems, warnings) = unread_variables(std::slice::from_ref(&name), |_| None, true);
                assert_eq!((problems.len(), warnings.len()), (1, 0), "{name}");
                assert!(problems[0].why.contains(" protects;"), "{name}: {}", problems[0]);
            }
        }
    }

    #[test]
    fn near_misses_are_told() {
        for (name, meant) in [
            ("RABBITMQ_POT", "RABBITMQ_PORT"),
            ("RABBITMQ_PASSWORD", "RABBITMQ_PASS"),
            ("RABBITMQ_USERNAME", "RABBITMQ_USER"),
            ("RABBITMQ_ROUTINGKEY", "RABBITMQ_ROUTING_KEY"),
            ("REDIS_PASS", "REDIS_PASSWORD"),
            ("REDIS_HSOT", "REDIS_HOST"),
            ("PUBLISH_INTERVALL", "PUBLISH_INTERVAL"),
            ("PUBLISHER_INTERVAL", "PUBLISH_INTERVAL"),
            ("PUBLISHERS_ID", "PUBLISHER_ID"),
            ("RETENTON", "RETENTION"),
            ("REDIS_NODE", "REDIS_NODES"),
            ("OTEL_EXPORTER_OTLP_ENDPOINTS", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("OTEL_EXPORTER_OTLP_TRACE_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            ("OTEL_SERVICENAME", "OTEL_SERVICE_NAME"),
        ] {
            let hint = hint(name);
            assert!(
                hint.as_deref().is_some_and(|hint| hint.contains(&format!("is {meant} meant"))),
                "{hint:?}"
            );
        }
    }

    #[test]
    fn a_misspelt_protection_is_seen_in_its_first_word_and_is_none_beside_the_right_one() {
        for name in [
            "SIGNATURES_POLICY",
            "RABITMQ_TLS",
            "USERID_POLICY",
            "RABBITMQ_SSL",
            "REDIS_CA_CERT",
            "REDIS_CA_CERT_FILE",
            "WEB_CONFIG",
            "WEB_CONFIG_PATH",
            "SIGNING_KEY",
            "TRUSTED_KEYS",
            "RABBITMQ_CLIENT_CERT",
            "REDIS_PASWORD_FILE",
            "REDIS_PASS_FILE",
            "RABBITMQ_PASSWORD_FILE",
        ] {
            assert_eq!(unread_variables(&[name.to_owned()], |_| None, false).0.len(), 1, "{name}");
        }
        for name in
            ["REDIS_TLS_PORT", "RABBITMQ_SSL_CACERTFILE", "REDIS_AOF_ENABLED", "LIMIT", "REDIS_PID_FILE"]
        {
            assert_eq!(unread_variables(&[name.to_owned()], |_| None, false), (vec![], vec![]), "{name}");
        }
        let name = ["SIGNATURES_POLICY".to_owned()];
        let beside = |variable: &str| (variable == "SIGNATURE_POLICY").then(|| "refuse".to_owned());
        let (problems, warnings) = unread_variables(&name, beside, false);
        assert_eq!((problems.len(), warnings.len()), (0, 1));
    }

    #[test]
    fn a_switch_in_other_programs_words_protects_nobody() {
        for name in [
            "RABBITMQ_TLS_ENABLED",
            "REDIS_TLS_ENABLED",
            "REDIS_SSL_ON",
            "RABBITMQ_USE_TLS",
            "REDIS_ENABLE_SSL",
        ] {
            for (value, problems) in [("true", 1), ("yes", 1), ("ture", 1), ("no", 0), ("false", 0)] {
                let of = |variable: &str| (variable == name).then(|| value.to_owned());
                let found = unread_variables(&[name.to_owned()], of, false);
                assert_eq!((found.0.len(), found.1.len()), (problems, 0), "{name}={value}");
            }
        }
    }

    #[test]
    fn a_name_is_shown_without_what_steers_a_terminal() {
        assert!(hint("RABBITMQ_POT\u{1b}").unwrap().starts_with("RABBITMQ_POT\\u{1b}: "));
    }

    #[test]
    fn others_variables_are_left_alone() {
        for name in [
            "PATH",
            "RABBITMQ_HOST",
            "RABBITMQ_PASS_FILE",
            "RABBITMQ_NODENAME",
            "REDIS_SERVICE_HOST",
            "REDIS_PORT_6379_TCP_ADDR",
            "REDIS_URL",
            "LOG_DIR",
            "WEB_CONCURRENCY",
            "RETRIES",
            "OTEL_CONFIG_FILE",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_EXPORTER_OTLP_HEADERS_FILE",
            "OTEL_RESOURCE_ATTRIBUTES_POD_NAME",
        ] {
            assert_eq!(hint(name), None, "{name}");
        }
    }

    #[test]
    fn the_nearest_name_is_meant() {
        let known = ["basic_auth_users", "rate_limit", "client_auth_type", "http2"];
        for (name, meant) in [
            ("basic_auth_user", Some("basic_auth_users")),
            ("Basic-Auth-Users", Some("basic_auth_users")),
            ("ratelimit", Some("rate_limit")),
            ("client_auth", Some("client_auth_type")),
            ("http", Some("http2")),
            ("http_server", None),
            ("users", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("", "ab", 2), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn made_up_host_names() {
        for name in ["3f2a9c0d1e4b", "heartbeat-7d4b9c6f5d-x2x9z", "a-b-c-6b4f8d-bcdfg"] {
            assert!(is_random_host_name(name), "{name}");
        }
        for name in
            ["", "oslo", "heartbeat-0", "3f2a9c0d1e4", "3F2A9C0D1E4B", "mq-production-node1", "-7d4b9c6f5d"]
        {
            assert!(!is_random_host_name(name), "{name}");
        }
    }
}
