//! Unpacking bytes as they come.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::image::fuzzing::archive(data));
