//! What YAML is kept from before it is parsed.

/// Levels of a file that nobody wrote by hand. The parser refuses more than 128, and takes a stack and a time for each that is
/// opened before it does.
const LEVELS_MAX: usize = 1000;

/// Whether it is nested deeper than any file that is meant. Brackets in a text are counted as others are.
pub(super) fn is_too_deep(text: &str) -> bool {
    let mut open = 0_usize;
    let is_deep = |byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > LEVELS_MAX
    };
    text.bytes().any(is_deep) || text.lines().any(|line| lists(line) > LEVELS_MAX)
}

/// How many lists and keys begin with this line, each within the one before: `- - ? - a`.
fn lists(line: &str) -> usize {
    fn within(rest: &str) -> Option<&str> {
        rest.strip_prefix("- ").or_else(|| rest.strip_prefix("? ")).map(str::trim_start)
    }
    let mut rest = line.trim_start();
    let mut levels = 0;
    while let Some(next) = within(rest) {
        rest = next;
        levels += 1;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_for_ever_is_not_parsed() {
        for deep in ["[", "{a: ", "- ", "? ", "- {a: "] {
            assert!(is_too_deep(&format!("a: b\n{}", deep.repeat(LEVELS_MAX + 1))), "{deep}");
            assert!(!is_too_deep(&deep.repeat(LEVELS_MAX / 2)), "{deep}");
        }
        let long = "- {a: [b], c: '}}]'}\n".repeat(10 * LEVELS_MAX);
        assert!(!is_too_deep(&long) && !is_too_deep(&format!("{}\n- a\n", "-".repeat(2 * LEVELS_MAX))));
    }
}
