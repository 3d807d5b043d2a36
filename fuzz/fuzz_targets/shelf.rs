//! A program with a planted bug, as a fuzzer of your own may look: what it finds is explained.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sim-tests/tests/fuzz/programs.rs"]
#[allow(dead_code)]
mod programs;
#[path = "../../sim-tests/tests/fuzz/forgetful_store.rs"]
#[allow(dead_code)]
mod forgetful_store;

fuzz_target!(|bytes: &[u8]| {
    let report = programs::fuzz_store(bytes, forgetful_store::Store::Forgetful);
    assert!(report.is_ok(), "{report}");
});
