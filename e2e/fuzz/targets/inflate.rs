//! Gzip and Zstandard.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::image::fuzzing::packed(data));
