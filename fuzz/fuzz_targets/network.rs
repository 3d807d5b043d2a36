//! Fuzz target: programs on the simulated network, whose guarantees must hold for any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sim-tests/tests/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;
#[path = "../../sim-tests/tests/shelf.rs"]
#[allow(dead_code)]
mod shelf;

fuzz_target!(|bytes: &[u8]| fuzzed::network(bytes));
