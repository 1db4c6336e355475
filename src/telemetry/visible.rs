//! Names as a person can tell them apart: what turns text round or is not seen is shown by its number, as in the log.

use std::borrow::Cow;

use super::is_dangerous;

/// The text with each character that would deceive written as `\u{202e}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_dangerous(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_shown_by_its_number() {
        assert_eq!(visible("\u{202e}gpj.exe\u{2066}"), "\\u{202e}gpj.exe\\u{2066}");
        for plain in ["", "sda-db", "blåbær", "\u{1f600}", "<b>", "back\\slash"] {
            assert_eq!(visible(plain), plain);
        }
    }
}
