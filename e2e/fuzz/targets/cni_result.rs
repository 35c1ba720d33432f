//! What plugins answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::cni::fuzzing::result(data));
