//! Messages between daemon and monitor.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::monitor::fuzzing::frame(data));
