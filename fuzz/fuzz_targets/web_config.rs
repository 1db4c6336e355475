#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heartbeat_fuzz::web_config::run(data));
