//! Tests of the example: runs reproduce and pass, and the oracle detects planted bugs.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use virtnet::{Ending, Schedule};

use crate::oracle::Tally;
use crate::scenario::{ScenarioResult, new_run, run_scenario};
use crate::sweep::{SweepConfig, SweepReport, sweep};
use crate::{Args, PlantedBugs, parse_seed, parse_seeds};

fn run_without_bugs(seed: u64) -> ScenarioResult {
    run_scenario(new_run(seed, Schedule::Random), PlantedBugs::default())
}

fn run_sweep(
    seeds: Range<u64>,
    schedule: Schedule,
    bugs: PlantedBugs,
    stop: bool,
) -> SweepReport<Tally> {
    let config = SweepConfig { seeds, schedule, replay_options: "" };
    sweep(config, &AtomicBool::new(stop), |seed| {
        run_scenario(new_run(seed, schedule), bugs).outcome
    })
}

/// Plays seeds until the oracle objects, and gives what it says.
fn find_violation(bugs: PlantedBugs) -> String {
    (0..100)
        .find_map(|seed| match run_scenario(new_run(seed, Schedule::Random), bugs).outcome.ending {
            Ending::Panicked(panic) => Some(panic.message),
            _ => None,
        })
        .expect("the oracle has seen nothing wrong in 100 seeds")
}

#[test]
fn same_seed_after_another_seed_prints_same_timeline() {
    let first = run_without_bugs(7);
    assert_ne!(run_without_bugs(8).to_string(), first.to_string());
    let second = run_without_bugs(7);
    assert_eq!(second.outcome.fingerprint, first.outcome.fingerprint);
    assert_eq!(second.to_string(), first.to_string());
}

#[test]
fn two_hundred_seeds_pass_with_distinct_fingerprints() {
    let mut fingerprints = BTreeSet::new();
    for seed in 0..200 {
        let outcome = run_without_bugs(seed).outcome;
        assert!(outcome.is_done(), "{outcome}");
        assert_eq!(outcome.foreign_wakes, 0);
        fingerprints.insert(outcome.fingerprint);
    }
    assert_eq!(fingerprints.len(), 200);
}

#[test]
fn fifo_and_pct_schedules_pass() {
    for schedule in [Schedule::Fifo, Schedule::Pct { depth: 3 }] {
        for seed in 0..50 {
            let outcome = run_scenario(new_run(seed, schedule), PlantedBugs::default()).outcome;
            assert!(outcome.is_done(), "{schedule}: {outcome}");
        }
    }
}

#[test]
fn accepted_truncated_answer_is_detected() {
    let message = find_violation(PlantedBugs { accept_truncated: true, ..PlantedBugs::default() });
    assert!(message.starts_with("request #"), "{message}");
    assert!(message.contains("took a wrong answer"), "{message}");
    assert!(message.contains("what the client saw, in ms:\n"), "{message}");
    assert!(message.contains("never completed"), "{message}");
}

#[test]
fn answer_sent_twice_is_detected() {
    let message = find_violation(PlantedBugs { answer_twice: true, ..PlantedBugs::default() });
    assert!(message.contains("took a wrong answer"), "{message}");
}

#[test]
fn request_settled_twice_is_detected() {
    let message = find_violation(PlantedBugs { settle_twice: true, ..PlantedBugs::default() });
    assert!(message.contains("has 2 outcomes, not one"), "{message}");
}

#[test]
fn sweep_report_sums_its_seeds_and_names_the_replay_command() {
    let report = run_sweep(20..40, Schedule::Random, PlantedBugs::default(), false);
    assert!(report.passed());
    let text = report.to_string();
    assert!(text.contains("20 passed, 0 failed; 20 distinct orders"), "{text}");

    let bugs = PlantedBugs { settle_twice: true, ..PlantedBugs::default() };
    let report = run_sweep(20..40, Schedule::Fifo, bugs, false);
    assert!(!report.passed());
    let text = report.to_string();
    assert!(text.starts_with("seed 20 FAILED: task main panicked: request #0"), "{text}");
    assert!(text.contains("\n  cargo run --release --example http -- --seed 20 --schedule fifo\n"));
    assert!(text.contains("and 17 more failed: 23, 24"), "{text}");
}

#[test]
fn stopped_sweep_reports_where_to_continue() {
    let report = run_sweep(0..1_000_000, Schedule::Random, PlantedBugs::default(), true);
    let text = report.to_string();
    let expected = "stopped after 0 seeds; go on with --seeds 0..1000000\n0 passed, 0 failed; ";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn invalid_arguments_are_named_and_exit_with_code_2() {
    for (argument, expected) in [
        ("--seed=seven", "invalid value 'seven' for '--seed <N>': a seed is a number from 0"),
        ("--seeds=9..3", "there is no seed in it: give a number from 1"),
        ("--schedule=pct:0", "expected `fifo`, `random` or `pct:N` with N from 1"),
        ("--sed", "a similar argument exists: '--seed'"),
    ] {
        let Err(error) = Args::try_parse_from(["http", argument]) else {
            panic!("{argument} was accepted");
        };
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn seed_arguments_are_decimal_hexadecimal_or_ranges() {
    assert_eq!(parse_seed("0x1f4"), Ok(500));
    assert_eq!(parse_seeds("1000"), Ok(0..1000));
    assert_eq!(parse_seeds("5..105"), Ok(5..105));
    for invalid in ["", "0", "7..7", "9..3", "..", "-1", "1e3", "0x", "18446744073709551616"] {
        assert!(parse_seeds(invalid).is_err(), "{invalid}");
    }
}
