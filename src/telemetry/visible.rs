//! Names as a person can tell them apart: what turns text round or is not seen is shown by its number, as in the log.

use std::borrow::Cow;
use std::fmt::Write as _;

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

/// JSON on one line, in which nothing deceives whoever has it on a terminal: it says the same to every parser.
pub fn visible_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Between tokens; within strings they are escaped.
            '\n' | '\r' | '\t' => shown.push(' '),
            c if is_dangerous(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_on_one_line() {
        let json = "{\n\t\"a\": \"\u{202e}\u{9b}\u{e0041}b\"}";
        let shown = visible_json(json);
        assert_eq!(shown, "{  \"a\": \"\\u202e\\u009b\\udb40\\udc41b\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(json));
    }

    #[test]
    fn what_deceives_is_shown_by_its_number() {
        assert_eq!(visible("\u{202e}gpj.exe\u{2066}"), "\\u{202e}gpj.exe\\u{2066}");
        for plain in ["", "sda-db", "blåbær", "\u{1f600}", "<b>", "back\\slash"] {
            assert_eq!(visible(plain), plain);
        }
    }
}
