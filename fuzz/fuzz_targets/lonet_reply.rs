//! Fuzz target: the reply line of a lonet acceptor, as arbitrary bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sim-tests/tests/lines.rs"]
#[allow(dead_code)]
mod lines;

fuzz_target!(|bytes: &[u8]| {
    lines::reply(bytes);
});
