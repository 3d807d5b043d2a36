//! Fuzz target: a Go-quoted string of lonet's handshake, as arbitrary bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sim-tests/tests/lines.rs"]
#[allow(dead_code)]
mod lines;

fuzz_target!(|bytes: &[u8]| {
    lines::string(bytes);
});
