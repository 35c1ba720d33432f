//! Calls of the reduced API.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::app::fuzzing::api(data));
