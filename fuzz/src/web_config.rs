//! The file that puts TLS and basic auth before `/metrics`, in exporter-toolkit's form.

use std::path::Path;

use heartbeat_bridge::config::web::parse;

use super::configuration::are_on_a_line_each;

/// What is taken keeps the rules; what is not is said on one line each.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text, Path::new("/etc/heartbeat")) {
        Ok(file) => {
            assert!(file.files().iter().all(|path| path.is_absolute()));
            let header_is_plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            assert!(file.headers.iter().all(|(name, value)| header_is_plain(name) && header_is_plain(value)));
            assert!(file.rate_limit.is_none_or(|limit| !limit.interval.is_zero() && limit.burst > 0));
            assert_eq!(file.asks_less_than(&file), None);
        }
        Err(problems) => are_on_a_line_each(&problems),
    }
}
