//! A program with a planted bug, as a fuzzer of your own may look: what it finds is explained.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sim-tests/tests/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;
#[path = "../../sim-tests/tests/shelf.rs"]
#[allow(dead_code)]
mod shelf;

fuzz_target!(|bytes: &[u8]| {
    let report = fuzzed::shelf(bytes, shelf::Store::Forgets);
    assert!(report.is_ok(), "{report}");
});
