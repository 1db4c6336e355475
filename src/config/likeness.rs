//! How like one name is to another, which somebody may have meant by it.

// Letters to insert, drop, replace or swap with their neighbour.
use strsim::osa_distance as distance;

use super::setting::Setting;

/// Names longer than this many letters may differ by two from what was meant, shorter ones by one.
const SHORT_NAME: usize = 12;

/// A first word of fewer letters must be right: `WEB_`, `LOG_` and `USER_` are one letter from anybody's.
const TELLING_WORD: usize = 7;

/// How the variable ends that names the file of a secret.
pub(super) const FILE: &str = "_FILE";

/// How far a name is from the nearest of a setting's; `None`: too far.
pub(super) fn nearness(name: &str, setting: &Setting) -> Option<usize> {
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
        let like = begins_alike(&name, &variable) || joined(&name) == joined(&variable);
        let near = name.len().abs_diff(variable.len()) <= 1 && distance(&name, &variable) <= 1;
        (setting.protects && like && near).then_some(1)
    })
}

/// How far a name is from a variable that may be meant by it; `None`: too far.
fn remoteness(name: &str, variable: &str) -> Option<usize> {
    if !begins_alike(name, variable) {
        return None;
    }
    // RABBITMQ_PASSWORD for RABBITMQ_PASS, REDIS_PASS for REDIS_PASSWORD.
    let (short, long) = if name.len() < variable.len() { (name, variable) } else { (variable, name) };
    let rest = long.strip_prefix(short).filter(|_| short.len() > first_word(variable).len() + 2);
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

/// The part before the first underscore, which says whose variable it is.
fn first_word(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

/// Whether the first word may be that of the variable: a long one with a letter too many, too few or wrong, or its ending
/// left out. A number makes it another server's.
fn begins_alike(name: &str, variable: &str) -> bool {
    let (word, meant) = (first_word(name), first_word(variable));
    if word == meant {
        return word.len() < name.len();
    }
    let letters = word.bytes().all(|byte| byte.is_ascii_alphabetic());
    let ending_left_out =
        (word.starts_with(meant) || meant.starts_with(word)) && word.len().abs_diff(meant.len()) <= 2;
    let long_enough = meant.len() >= TELLING_WORD && word.len().abs_diff(meant.len()) <= 2;
    letters && long_enough && (ending_left_out || distance(word, meant) <= 1)
}

/// A name without what separates its words, of which one may have been left out.
fn joined(name: &str) -> String {
    name.replace('_', "")
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
        let distance = distance(&name, &known_plain);
        (distance <= known.len().min(9) / 3).then_some((distance, known))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
