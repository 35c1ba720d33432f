//! Records of the store.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::app::fuzzing::records(data));
