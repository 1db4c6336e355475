//! Whether bindings lead a routing key on, by the type of the exchange.

/// Whether a message with this key goes the way of one of these bindings; `None` where the type has rules of its own.
pub(super) fn leads_on(kind: &str, bindings: &[String], key: &str) -> Option<bool> {
    match kind {
        "topic" => Some(bindings.iter().any(|pattern| matches_topic(pattern, key))),
        "direct" => Some(bindings.iter().any(|bound| bound == key)),
        "fanout" => Some(!bindings.is_empty()),
        _ => None,
    }
}

/// Words between dots; `*` stands for one, and `#` for any number of them.
fn matches_topic(pattern: &str, key: &str) -> bool {
    let words = |text: &'_ str| -> Vec<String> {
        if text.is_empty() { Vec::new() } else { text.split('.').map(str::to_owned).collect() }
    };
    let (pattern, key) = (words(pattern), words(key));
    // Which prefixes of the key the pattern's words so far match: no number of `#` makes this long.
    let mut reached = vec![false; key.len() + 1];
    reached[0] = true;
    for word in pattern {
        let mut next = vec![false; key.len() + 1];
        for at in 0..=key.len() {
            next[at] = match word.as_str() {
                "#" => reached[at] || (at > 0 && next[at - 1]),
                _ => at > 0 && reached[at - 1] && (word == "*" || word == key[at - 1]),
            };
        }
        reached = next;
    }
    reached[key.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_matched_as_the_broker_does() {
        for (pattern, key, matches) in [
            ("service.heartbeat", "service.heartbeat", true),
            ("service.*", "service.heartbeat", true),
            ("service.*", "service", false),
            ("service.*", "service.a.b", false),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("service.#", "service", true),
            ("service.#", "service.a.b", true),
            ("#.heartbeat", "heartbeat", true),
            ("*.#.x", "a.b.c.x", true),
            ("*.#.x", "x", false),
            ("", "a", false),
            ("", "", true),
        ] {
            assert_eq!(matches_topic(pattern, key), matches, "{pattern} {key}");
        }
        let bindings = ["other".to_owned()];
        assert_eq!(leads_on("direct", &bindings, "key"), Some(false));
        assert_eq!(leads_on("fanout", &bindings, "key"), Some(true));
        assert_eq!(leads_on("headers", &bindings, "key"), None);
    }
}
