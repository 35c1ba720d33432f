//! Descriptions of devices.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::spec::fuzzing::devices(data));
