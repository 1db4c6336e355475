//! Guesses about what an operator meant, and about names that machines make up.

use super::likeness::{FILE, nearness};
use super::parse;
use super::problem::{Problem, Warning};
use super::reader::Reader;
use super::setting::{Kind, Setting};
use super::settings;

/// What other programs put behind the name of a switch, as Bitnami's Redis has `REDIS_TLS_ENABLED`.
const SWITCH_ENDS: [&str; 3] = ["_ENABLED", "_ENABLE", "_ON"];

/// What other programs put within the name of a switch: `RABBITMQ_USE_TLS`.
const SWITCH_WORDS: [&str; 2] = ["_USE_", "_ENABLE_"];

/// How OpenTelemetry's variables begin.
pub(crate) const OTEL: &str = "OTEL_";

/// Variables of OpenTelemetry's specification that are not settings, and what counts in their place.
const REPLACED: &[(&str, &str)] = &[
    ("OTEL_BSP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT bounds each request"),
    ("OTEL_BLRP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT bounds each request"),
];

/// Variables that are most likely a misspelt setting, and, where something is exported, all of OpenTelemetry's that are no
/// setting. A misspelt protection is a problem, anything else a warning.
///
/// Whoever has set the protection itself too means something else by the other name, whoever has turned a switch off
/// wants none, and a switch in other programs' words is nothing to a role that has no such switch.
///
/// Only near misses count among the others: `RABBITMQ_NODENAME` is the broker's own,
/// `REDIS_SERVICE_HOST` comes from Kubernetes, and neither is anybody's mistake.
pub(crate) fn unread_variables(r: &Reader<'_>, exports: bool) -> (Vec<Problem>, Vec<Warning>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut names = r.source.names();
    names.retain(|name| r.variable(name).is_some());
    names.sort_unstable();
    for name in &names {
        if settings::ALL.iter().any(|setting| names_of(setting).any(|known| known == *name)) {
            continue;
        }
        // Others' names may hold anything; this goes to a terminal.
        let shown = name.escape_debug().to_string();
        let text = match meant_by(name) {
            Some((meant, _)) if meant.protects && is_off(r, name, meant) => continue,
            Some((meant, others))
                if protects(name, meant) && !is_set(r, meant) && (!others || r.reads(meant)) =>
            {
                let meant = names_of(meant).last().unwrap_or_default();
                let why =
                    format!("it is not a setting, and {meant} protects; write that, or take this one away");
                problems.push(Problem { name: shown, value: None, why, example: String::new() });
                continue;
            }
            Some((meant, _)) if name.starts_with(OTEL) => {
                format!("{UNSUPPORTED}; is {} meant?", meant.variable)
            }
            Some((meant, _)) => format!("it is not a setting and is not read; is {} meant?", meant.variable),
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

/// The setting that is most likely meant by a name, and whether it is a switch in other programs' words.
fn meant_by(name: &str) -> Option<(&'static Setting, bool)> {
    let switch = without_switch_words(name);
    let near = settings::ALL.iter().filter_map(|setting| {
        if let Some(remoteness) = nearness(name, setting) {
            return Some((remoteness, setting, false));
        }
        let switch = switch.as_deref().filter(|_| setting.kind == Kind::Boolean)?;
        Some((nearness(switch, setting)?, setting, true))
    });
    // REDIS_NODE is one letter from REDIS_MODE, too, and begins REDIS_NODES.
    let begun = |setting: &Setting| setting.variable.starts_with(name);
    let meant = near.min_by_key(|(remoteness, setting, _)| (*remoteness, !begun(setting)))?;
    Some((meant.1, meant.2))
}

/// The name of a switch as this program would have it; `None`: there is nothing that says that it is one.
fn without_switch_words(name: &str) -> Option<String> {
    let end = SWITCH_ENDS.iter().find_map(|end| name.strip_suffix(end));
    let word = SWITCH_WORDS.iter().find(|word| name.contains(*word));
    end.map(str::to_owned).or_else(|| Some(name.replacen(*word?, "_", 1)))
}

/// Whether the variable turns off what is off anyway.
fn is_off(r: &Reader<'_>, name: &str, meant: &Setting) -> bool {
    meant.kind == Kind::Boolean && r.variable(name).is_some_and(|value| parse::boolean(&value) == Ok(false))
}

/// Whether somebody set it, for whatever role.
fn is_set(r: &Reader<'_>, setting: &Setting) -> bool {
    r.has_flag(setting) || names_of(setting).any(|name| r.variable(&name).is_some())
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
    use crate::config::{Flags, MapSource, Scopes};

    /// What is said to a subscriber.
    fn found(variables: &[(&str, &str)], exports: bool) -> (Vec<Problem>, Vec<Warning>) {
        let (flags, source) = (Flags::new(), MapSource::new(variables));
        unread_variables(&Reader::new(Scopes::SUBSCRIBER, &flags, &source), exports)
    }

    fn hint(name: &str) -> Option<String> {
        let (problems, warnings) = found(&[(name, "x")], false);
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
                let (problems, warnings) = found(&[(&name, "x")], true);
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
            assert_eq!(found(&[(name, "x")], false).0.len(), 1, "{name}");
        }
        for name in
            ["REDIS_TLS_PORT", "RABBITMQ_SSL_CACERTFILE", "REDIS_AOF_ENABLED", "LIMIT", "REDIS_PID_FILE"]
        {
            assert_eq!(found(&[(name, "x")], false), (vec![], vec![]), "{name}");
        }
        let beside = [("SIGNATURES_POLICY", "warn"), ("SIGNATURE_POLICY", "refuse")];
        let (problems, warnings) = found(&beside, false);
        assert_eq!((problems.len(), warnings.len()), (0, 1));
        let flags = Flags::from([(settings::SIGNATURE_POLICY.flag, "refuse".to_owned())]);
        let source = MapSource::new(&beside[..1]);
        let (problems, _) = unread_variables(&Reader::new(Scopes::SUBSCRIBER, &flags, &source), false);
        assert_eq!(problems, [], "a flag protects, too");
    }

    #[test]
    fn a_switch_in_other_programs_words_protects_nobody() {
        for name in [
            "RABBITMQ_TLS_ENABLED",
            "REDIS_TLS_ENABLED",
            "REDIS_SSL_ON",
            "RABBITMQ_USE_TLS",
            "REDIS_ENABLE_SSL",
            "REDIS_SSL",
            "RABBITMQ_MANAGEMENT_SSL",
        ] {
            for (value, problems) in [("true", 1), ("yes", 1), ("ture", 1), ("no", 0), ("false", 0)] {
                let found = found(&[(name, value)], false);
                assert_eq!((found.0.len(), found.1.len()), (problems, 0), "{name}={value}");
            }
        }
        // Redis is nothing to a publisher, which may share its variables with others.
        let (flags, source) = (Flags::new(), MapSource::new(&[("REDIS_TLS_ENABLED", "yes")]));
        let (problems, warnings) = unread_variables(&Reader::new(Scopes::PUBLISHER, &flags, &source), false);
        assert_eq!((problems.len(), warnings.len()), (0, 1));
        assert_eq!(
            found(&[("OTEL_SDK_ENABLED", "false")], true).1.len(),
            1,
            "the specification has no such name"
        );
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
            "DB_MAX_CONNECTIONS",
            "DEV_MAX_CONNECTIONS",
            "ES_CONFIG_FILE",
            "AWS_CONFIG_FILE",
            "REDIS2_TLS",
            "RABBITMQ1_TLS",
            "GREDIS_TLS",
            "REDIS1_HOST",
            "REDIS0_PASSWORD_FILE",
            "GLOG_LEVEL",
            "DB_LISTEN_ADDRESS",
            "CLOCK_TIMEOUT",
            "OTEL_CONFIG_FILE",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_EXPORTER_OTLP_HEADERS_FILE",
            "OTEL_RESOURCE_ATTRIBUTES_POD_NAME",
        ] {
            assert_eq!(hint(name), None, "{name}");
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
