//! Fuzz target: the reply line of a lonet acceptor, as arbitrary bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sim-tests/tests/fuzz/lonet_parsers.rs"]
#[allow(dead_code)]
mod lonet_parsers;

fuzz_target!(|bytes: &[u8]| {
    lonet_parsers::check_reply(bytes);
});
