//! The last line of a report: whoever runs it sees what the report says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use virtnet::Sim;

use crate::process::{command, execute, execute_with, replay_line, said};

/// Says which tests are to fail, in a process of their own.
const FAILS: &str = "VIRTNET_TESTS_FAILS";

fn fails() -> bool {
    std::env::var_os(FAILS).is_some()
}

/// Executes a test, and then what its report says.
fn twice(test: &str, variables: &[(&str, &str)]) -> [String; 2] {
    let fails = [(FAILS, "1")];
    let first = said(&execute(test, &[&fails, variables].concat()));
    let (again, _) = replay_line(&first).split_once("cargo ").expect(&first);
    let again: Vec<_> = again.split(' ').filter_map(|word| word.split_once('=')).collect();
    let second = said(&execute(test, &[&fails, &again[..]].concat()));
    [first, second]
}

/// A global counter, which no seed decides.
async fn counts(sim: Sim) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    if fails() {
        sim.note(RUNS.fetch_add(1, Relaxed));
    }
}

#[virtnet::test(seeds = "7..9", check_determinism)]
async fn counts_and_is_checked(sim: Sim) {
    counts(sim).await;
}

#[virtnet::test(seeds = "7..9")]
async fn counts_and_is_not_checked(sim: Sim) {
    counts(sim).await;
}

#[test]
fn a_seed_that_is_not_the_same_run_is_not_when_it_is_run_alone() {
    let differs = "failed with seed 0x7, run 1:\n\nthe same seed was not the same run";
    let [first, again] = twice("replays::counts_and_is_checked", &[]);
    assert!(first.contains(differs) && again.contains(differs), "{first}\n{again}");
    let [first, again] =
        twice("replays::counts_and_is_not_checked", &[("VIRTNET_CHECK_DETERMINISM", "1")]);
    assert!(first.contains(differs) && again.contains(differs), "{first}\n{again}");
}

#[virtnet::test]
async fn ignored_or_not() {
    assert!(!fails(), "it was asked for");
}

#[test]
fn where_ignored_tests_are_run_the_replay_line_runs_them_too() {
    let test = "replays::ignored_or_not";
    for (more, expected) in [(&[][..], ""), (&["--include-ignored"][..], " --include-ignored")] {
        let text = said(&execute_with(more, test, &[(FAILS, "1")]));
        assert!(text.contains("it was asked for"), "{text}");
        let line = replay_line(&text);
        assert!(line.ends_with(&format!(" {test} -- --exact{expected}")), "{line}");
    }
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_no_text_is_not_ignored() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = command(&std::env::current_exe().unwrap(), "replays::ignored_or_not");
    let seed = std::ffi::OsStr::from_bytes(b"\xff");
    let output = command.env("VIRTNET_SEED", seed).output().unwrap();
    let expected = "virtnet: VIRTNET_SEED=\"\u{fffd}\": expected a seed, decimal or 0x..";
    assert!(said(&output).contains(expected), "{}", said(&output));
}
