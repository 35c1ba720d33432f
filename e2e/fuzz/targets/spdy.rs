//! What a client sends on a SPDY connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::streaming::fuzzing::spdy(data));
