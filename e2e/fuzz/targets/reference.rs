//! Names of images.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::image::fuzzing::reference(data));
