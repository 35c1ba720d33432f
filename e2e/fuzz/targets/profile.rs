//! Profiles of system calls, account files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::spec::fuzzing::profile(data));
