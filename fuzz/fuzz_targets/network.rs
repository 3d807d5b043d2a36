//! Fuzz target: programs on the simulated network, whose guarantees must hold for any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sim-tests/tests/fuzz/programs.rs"]
#[allow(dead_code)]
mod programs;
#[path = "../../sim-tests/tests/fuzz/forgetful_store.rs"]
#[allow(dead_code)]
mod forgetful_store;

fuzz_target!(|bytes: &[u8]| programs::fuzz_network(bytes));
