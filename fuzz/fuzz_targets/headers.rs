#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heartbeat_fuzz::headers::run(data));
