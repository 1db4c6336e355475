//! Patterns of consumer tags, which come from a file, on tags, which come from anybody.

use std::time::{Duration, Instant};

use heartbeat_bridge::check::pattern::TagPattern;

/// Far above what the bounds allow, and far below what would be noticed.
const SOON: Duration = Duration::from_secs(10);

/// The first line is the pattern, the rest the tag. Both end soon, and in little memory.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (pattern, tag) = text.split_once('\n').unwrap_or((&text, "ctag-1"));
    // AMQP carries no longer one.
    let end = tag.char_indices().map(|(end, _)| end).take_while(|end| *end <= 255).last();
    let tag = if tag.len() > 255 { &tag[..end.unwrap_or(0)] } else { tag };
    let began = Instant::now();
    match TagPattern::new(pattern) {
        Ok(compiled) => {
            assert_eq!(compiled.as_str(), pattern);
            let _ = compiled.is_match(tag);
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
    assert!(began.elapsed() < SOON, "took {:?}", began.elapsed());
}
