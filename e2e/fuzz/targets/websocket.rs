//! What a client sends behind a WebSocket handshake.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coracle::streaming::fuzzing::websocket(data));
