//! What `heartbeat doctor` prints, as if the terminal were as wide as it likes.

/// Where the text of a finding begins.
const INDENT: usize = 29;

/// Lines that go on further to the right belong to the one before.
pub(crate) fn unfolded(text: &str) -> String {
    let mut whole = String::new();
    for line in text.lines() {
        let told = line.trim_start();
        let is_more =
            line.len() - told.len() >= INDENT && !told.starts_with("why:") && !told.starts_with("to do:");
        if is_more {
            whole.pop();
            whole.push(' ');
        }
        whole.push_str(if is_more { told } else { line });
        whole.push('\n');
    }
    whole
}
