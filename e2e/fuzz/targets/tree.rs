//! Unpacking archives made of few names, against a model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::image::fuzzing::tree(data));
