//! Tests of the example: runs reproduce and pass, and the oracle detects planted bugs.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use virtnet::simnet::FaultKind;
use virtnet::{Ending, Schedule};

use crate::scenario::{NetworkKind, ScenarioResult, new_run, run_scenario};
use crate::{Args, PlantedBugs, ineffective_faults, sweep};

fn run_without_bugs(seed: u64, network: NetworkKind) -> ScenarioResult {
    run_scenario(new_run(seed, Schedule::Random), network, PlantedBugs::default())
}

/// Plays seeds until the oracle objects, and gives what it says.
fn find_violation(network: NetworkKind, bugs: PlantedBugs, seeds: u64) -> String {
    (0..seeds)
        .find_map(|seed| {
            match run_scenario(new_run(seed, Schedule::Random), network, bugs).outcome.ending {
                Ending::Panicked(panic) => Some(panic.message),
                _ => None,
            }
        })
        .unwrap_or_else(|| panic!("the oracle has seen nothing wrong in {seeds} seeds"))
}

#[test]
fn same_seed_after_another_seed_prints_same_timeline_on_each_network() {
    for network in [NetworkKind::Sim, NetworkKind::Pipe] {
        let first = run_without_bugs(7, network);
        assert!(first.outcome.is_done(), "{first}");
        assert_ne!(run_without_bugs(8, network).to_string(), first.to_string());
        assert_eq!(run_without_bugs(7, network).to_string(), first.to_string());
    }
}

#[test]
fn forty_seeds_pass_with_distinct_fingerprints() {
    for network in [NetworkKind::Sim, NetworkKind::Pipe] {
        let mut fingerprints = BTreeSet::new();
        for seed in 0..40 {
            let outcome = run_without_bugs(seed, network).outcome;
            assert!(outcome.is_done(), "{outcome}");
            assert_eq!(outcome.foreign_wakes, 0);
            fingerprints.insert(outcome.fingerprint);
        }
        assert_eq!(fingerprints.len(), 40);
    }
}

#[test]
fn fifo_schedule_passes() {
    for seed in 0..20 {
        let outcome =
            run_scenario(new_run(seed, Schedule::Fifo), NetworkKind::Sim, PlantedBugs::default())
                .outcome;
        assert!(outcome.is_done(), "{outcome}");
    }
}

#[test]
fn standby_on_pipenet_takes_over_from_closed_primary() {
    let Ending::Done(tally) = run_without_bugs(7, NetworkKind::Pipe).outcome.ending else {
        panic!("seed 7 failed");
    };
    assert_eq!((tally.takeovers, tally.faults, tally.answered), (1, 1, tally.requests));
}

#[test]
fn answer_acknowledged_before_replication_is_detected_as_lost() {
    let bugs = PlantedBugs { acknowledge_early: true, ..PlantedBugs::default() };
    let message = find_violation(NetworkKind::Sim, bugs, 200);
    assert!(message.starts_with("request #"), "{message}");
    assert!(message.contains("LOST") || message.contains("another past"), "{message}");
    assert!(message.contains("the outcome: Added"), "{message}");
}

#[test]
fn read_from_deposed_primary_is_detected() {
    let bugs = PlantedBugs { read_unconfirmed: true, ..PlantedBugs::default() };
    let message = find_violation(NetworkKind::Sim, bugs, 1_000);
    assert!(message.contains("which was answered"), "{message}");
}

#[test]
fn request_applied_twice_is_detected() {
    let bugs = PlantedBugs { forget_requests: true, ..PlantedBugs::default() };
    let message = find_violation(NetworkKind::Sim, bugs, 50);
    assert!(message.contains("was applied twice"), "{message}");
}

#[test]
fn unreported_failure_is_detected() {
    let bugs = PlantedBugs { swallow_failures: true, ..PlantedBugs::default() };
    let message = find_violation(NetworkKind::Sim, bugs, 50);
    assert!(message.starts_with("no progress: "), "{message}");
    assert!(message.contains(" requests are not settled\n#"), "{message}");
}

#[test]
fn sweep_report_sums_fault_stats_and_names_the_replay_command() {
    let stop = AtomicBool::new(false);
    let report = sweep(0..200, NetworkKind::Sim, Schedule::Random, PlantedBugs::default(), &stop);
    assert!(report.passed(), "{report}");
    assert_eq!(ineffective_faults(&report), []);
    let text = report.to_string();
    assert!(text.contains("200 passed, 0 failed; 200 distinct orders"), "{text}");
    assert!(text.contains("\nfault       requested      drawn    applied  effective\n"), "{text}");
    let seeds = report.tally.answered_seeds + report.tally.explained_seeds;
    assert_eq!(seeds, 200);

    let bugs = PlantedBugs { forget_requests: true, ..PlantedBugs::default() };
    let text = sweep(0..100, NetworkKind::Pipe, Schedule::Random, bugs, &stop).to_string();
    assert!(text.contains(" FAILED: task main panicked: the standby's log: request #"), "{text}");
    let replay = "replay it:\n  cargo run --release --example failover -- --seed ";
    assert!(text.contains(replay) && text.contains(" --on pipe\n"), "{text}");
}

#[test]
fn ineffective_fault_fails_only_a_large_sweep() {
    let stopped = AtomicBool::new(true);
    let mut report =
        sweep(0..400, NetworkKind::Sim, Schedule::Random, PlantedBugs::default(), &stopped);
    let Ending::Done(tally) = run_without_bugs(1, NetworkKind::Sim).outcome.ending else {
        panic!("seed 1 failed");
    };
    report.tally = tally;
    assert_eq!(ineffective_faults(&report), []);
    report.seeds_run = 400;
    assert!(ineffective_faults(&report).contains(&FaultKind::Partition));
}

#[test]
fn invalid_arguments_are_named_and_exit_with_code_2() {
    for (argument, expected) in [
        ("--seed=seven", "invalid value 'seven' for '--seed <N>': a seed is a number from 0"),
        ("--seeds=9..3", "there is no seed in it: give a number from 1"),
        ("--on=wire", "invalid value 'wire' for '--on <sim|pipe>'"),
        ("--schedule=pct:3", "expected `fifo` or `random`: no progress can be demanded"),
        ("--sed", "a similar argument exists: '--seed'"),
    ] {
        let Err(error) = Args::try_parse_from(["failover", argument]) else {
            panic!("{argument} was accepted");
        };
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
