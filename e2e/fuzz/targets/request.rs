//! CRI requests to OCI configurations.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::app::fuzzing::request(data));
