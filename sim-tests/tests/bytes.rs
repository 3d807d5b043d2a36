//! What fuzzers have found, as ordinary tests: each file of the corpus is run, and those that are
//! known to fail still do. The fuzzers themselves are in `fuzz/`.

use std::path::Path;

use virtnet::{Run, Tape};

use crate::fuzzed::{network, shelf};
use crate::lines;
use crate::shelf::Store;

/// The files of a folder of `fuzz/`, by name.
fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let read = |file: std::fs::DirEntry| {
        (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).unwrap())
    };
    let mut files: Vec<_> = files.map(|file| read(file.unwrap())).collect();
    files.sort();
    assert!(files.len() >= 3, "{folder:?} has nearly nothing in it");
    files
}

#[test]
fn the_network_keeps_its_promises_on_every_file_of_the_corpus() {
    for (name, bytes) in files("corpus/network") {
        println!("{name}"); // shown only if it fails
        network(&bytes);
    }
}

#[test]
fn the_store_that_remembers_survives_every_file_and_the_other_fails_on_those_known_to() {
    for (name, bytes) in files("corpus/shelf") {
        let report = shelf(&bytes, Store::Forgets);
        assert!(report.is_ok(), "{name}: {report}");
    }
    for (name, bytes) in files("failing/shelf") {
        let report = shelf(&bytes, Store::Remembers);
        assert!(report.is_ok(), "{name}: {report}");
        let report = shelf(&bytes, Store::Forgets);
        let text = report.to_string();
        assert!(text.contains("was deleted and is back"), "{name}: {text}");
        let (matter, _) = report.choices().unwrap();
        assert!((4..=20).contains(&matter), "{name}: {text}");
        assert!(text.contains("main chooses 2 as `what`"), "{name}: {text}");
    }
}

#[test]
fn the_parsers_of_lonet_keep_their_promises_on_every_file_of_the_corpus() {
    fn check(folder: &str, parse: impl Fn(&[u8]) -> bool) {
        let files = files(folder);
        let good = files.iter().filter(|(_, bytes)| parse(bytes)).count();
        assert!(good >= 3 && good < files.len(), "{folder}: {good} of {} are good", files.len());
    }
    check("corpus/lonet_request", lines::request);
    check("corpus/lonet_reply", lines::reply);
    check("corpus/lonet_string", lines::string);
}

#[test]
fn no_bytes_are_the_run_in_which_nothing_happens_and_so_are_zeros() {
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
