//! Regression tests from fuzzing: each corpus file passes, and known failing files still fail.
//!
//! The fuzz targets themselves are in `fuzz/`.

use std::path::Path;

use virtnet::{Run, Tape};

use crate::fuzz::forgetful_store::Store;
use crate::fuzz::lonet_parsers;
use crate::fuzz::programs::{fuzz_network, fuzz_store};

/// The files of a folder of `fuzz/`, by name.
fn read_folder(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let name_and_bytes = |file: std::fs::DirEntry| {
        (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).unwrap())
    };
    let mut files: Vec<_> = files.map(|file| name_and_bytes(file.unwrap())).collect();
    files.sort();
    assert!(files.len() >= 3, "{folder:?} has nearly nothing in it");
    files
}

#[test]
fn network_guarantees_hold_for_every_corpus_file() {
    for (name, bytes) in read_folder("corpus/network") {
        println!("{name}"); // shown only if it fails
        fuzz_network(&bytes);
    }
}

#[test]
fn forgetful_store_fails_only_on_the_known_failing_files() {
    for (name, bytes) in read_folder("corpus/shelf") {
        let report = fuzz_store(&bytes, Store::Forgetful);
        assert!(report.is_ok(), "{name}: {report}");
    }
    for (name, bytes) in read_folder("failing/shelf") {
        let report = fuzz_store(&bytes, Store::Correct);
        assert!(report.is_ok(), "{name}: {report}");
        let report = fuzz_store(&bytes, Store::Forgetful);
        let text = report.to_string();
        assert!(text.contains("was deleted and is back"), "{name}: {text}");
        let (matter, _) = report.choices().unwrap();
        assert!((4..=20).contains(&matter), "{name}: {text}");
        assert!(text.contains("main chooses 2 as `what`"), "{name}: {text}");
    }
}

#[test]
fn lonet_parser_guarantees_hold_for_every_corpus_file() {
    fn check(folder: &str, parse: impl Fn(&[u8]) -> bool) {
        let files = read_folder(folder);
        let accepted = files.iter().filter(|(_, bytes)| parse(bytes)).count();
        assert!(
            accepted >= 3 && accepted < files.len(),
            "{folder}: {accepted} of {} are good",
            files.len()
        );
    }
    check("corpus/lonet_request", lonet_parsers::check_request);
    check("corpus/lonet_reply", lonet_parsers::check_reply);
    check("corpus/lonet_string", lonet_parsers::check_string);
}

#[test]
fn empty_and_zero_byte_tapes_give_the_zero_run() {
    let fingerprint = |tape: Tape| {
        let outcome = Run::new(0).tape(tape).execute(async |sim| {
            let worker = sim.task("worker").spawn(async move {
                sim.sleep(std::time::Duration::from_millis(1)).await;
                sim.choose("side", 1000)
            });
            (worker.await.unwrap(), sim.now().as_nanos())
        });
        (outcome.fingerprint, outcome.unwrap())
    };
    let zero = fingerprint(Tape::zero());
    assert_eq!(zero.1, (0, 1_000_000));
    assert_eq!(fingerprint(Tape::from_bytes(&[])), zero);
    assert_eq!(fingerprint(Tape::from_bytes(&[0; 100])), zero);
    // What is left over is no matter, and what is missing is zero.
    let some: Vec<u8> = (0..40).map(|place| 250 - place).collect();
    let (short, long) = (Tape::from_bytes(&some), Tape::from_bytes(&[&some[..], &[7; 9]].concat()));
    assert_eq!(fingerprint(short.clone()), fingerprint(long));
    assert_ne!(fingerprint(short), zero);
}
