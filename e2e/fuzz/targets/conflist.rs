//! Network configurations.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::cni::fuzzing::configuration(data));
