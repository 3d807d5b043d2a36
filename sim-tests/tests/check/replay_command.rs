//! The replay command in the last line of a report: running it reproduces the report.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use virtnet::Sim;

use crate::support::subprocess::{
    replay_line, run_test, run_test_with_args, stderr_text, test_command,
};

/// Says which tests are to fail, in a process of their own.
const FAIL_VARIABLE: &str = "VIRTNET_TESTS_FAILS";

fn fails_on_request() -> bool {
    std::env::var_os(FAIL_VARIABLE).is_some()
}

/// Executes a test, and then what its report says.
fn run_and_replay(test: &str, variables: &[(&str, &str)]) -> [String; 2] {
    let fails = [(FAIL_VARIABLE, "1")];
    let first = stderr_text(&run_test(test, &[&fails, variables].concat()));
    let (again, _) = replay_line(&first).split_once("cargo ").expect(&first);
    let again: Vec<_> = again.split(' ').filter_map(|word| word.split_once('=')).collect();
    let second = stderr_text(&run_test(test, &[&fails, &again[..]].concat()));
    [first, second]
}

/// A global counter, which no seed decides.
async fn note_run_count(sim: Sim) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    if fails_on_request() {
        sim.note(RUNS.fetch_add(1, Relaxed));
    }
}

#[virtnet::test(seeds = "7..9", check_determinism)]
async fn counting_test_with_determinism_check(sim: Sim) {
    note_run_count(sim).await;
}

#[virtnet::test(seeds = "7..9")]
async fn counting_test_without_determinism_check(sim: Sim) {
    note_run_count(sim).await;
}

#[test]
fn replay_line_of_nondeterministic_seed_reports_it_again() {
    let differs = "failed with seed 0x7, run 1:\n\nthe same seed was not the same run";
    let [first, again] =
        run_and_replay("check::replay_command::counting_test_with_determinism_check", &[]);
    assert!(first.contains(differs) && again.contains(differs), "{first}\n{again}");
    let [first, again] = run_and_replay(
        "check::replay_command::counting_test_without_determinism_check",
        &[("VIRTNET_CHECK_DETERMINISM", "1")],
    );
    assert!(first.contains(differs) && again.contains(differs), "{first}\n{again}");
}

#[virtnet::test]
async fn test_fails_only_on_request() {
    assert!(!fails_on_request(), "it was asked for");
}

#[test]
fn replay_line_keeps_include_ignored_argument() {
    let test = "check::replay_command::test_fails_only_on_request";
    for (extra_args, expected) in
        [(&[][..], ""), (&["--include-ignored"][..], " --include-ignored")]
    {
        let text = stderr_text(&run_test_with_args(extra_args, test, &[(FAIL_VARIABLE, "1")]));
        assert!(text.contains("it was asked for"), "{text}");
        let line = replay_line(&text);
        assert!(line.ends_with(&format!(" {test} -- --exact{expected}")), "{line}");
    }
}

#[test]
#[cfg(unix)]
fn seed_variable_that_is_not_utf8_is_rejected() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = test_command(
        &std::env::current_exe().unwrap(),
        "check::replay_command::test_fails_only_on_request",
    );
    let seed = std::ffi::OsStr::from_bytes(b"\xff");
    let output = command.env("VIRTNET_SEED", seed).output().unwrap();
    let expected = "virtnet: VIRTNET_SEED=\"\u{fffd}\": expected a seed, decimal or 0x..";
    assert!(stderr_text(&output).contains(expected), "{}", stderr_text(&output));
}
