//! Tests of the example: it is what it says, and its oracle can say no.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use virtnet::simnet::FaultKind;
use virtnet::{Ending, Schedule};

use crate::story::{On, Story, play, run};
use crate::{Args, Lies, idle_faults, sweep};

fn honest(seed: u64, on: On) -> Story {
    play(run(seed, Schedule::Random), on, Lies::default())
}

/// Plays seeds until the oracle objects, and gives what it says.
fn objection(on: On, lies: Lies, seeds: u64) -> String {
    (0..seeds)
        .find_map(|seed| match play(run(seed, Schedule::Random), on, lies).outcome.ending {
            Ending::Panicked(panic) => Some(panic.message),
            _ => None,
        })
        .unwrap_or_else(|| panic!("the oracle has seen nothing wrong in {seeds} seeds"))
}

#[test]
fn the_same_seed_prints_the_same_story_after_any_other_on_each_network() {
    for on in [On::Sim, On::Pipe] {
        let first = honest(7, on);
        assert!(first.outcome.is_done(), "{first}");
        assert_ne!(honest(8, on).to_string(), first.to_string());
        assert_eq!(honest(7, on).to_string(), first.to_string());
    }
}

#[test]
fn forty_seeds_pass_in_as_many_orders() {
    for on in [On::Sim, On::Pipe] {
        let mut orders = BTreeSet::new();
        for seed in 0..40 {
            let outcome = honest(seed, on).outcome;
            assert!(outcome.is_done(), "{outcome}");
            assert_eq!(outcome.foreign_wakes, 0);
            orders.insert(outcome.fingerprint);
        }
        assert_eq!(orders.len(), 40);
    }
}

#[test]
fn first_come_first_served_passes() {
    for seed in 0..20 {
        let outcome = play(run(seed, Schedule::Fifo), On::Sim, Lies::default()).outcome;
        assert!(outcome.is_done(), "{outcome}");
    }
}

#[test]
fn on_pipenet_the_standby_takes_over_from_a_primary_that_is_closed() {
    let Ending::Done(tally) = honest(7, On::Pipe).outcome.ending else {
        panic!("seed 7 failed");
    };
    assert_eq!((tally.turns, tally.faults, tally.answered), (1, 1, tally.requests));
}

#[test]
fn an_answer_that_comes_before_the_standby_has_the_record_is_lost_and_found_out() {
    let lies = Lies { acknowledge_early: true, ..Lies::default() };
    let said = objection(On::Sim, lies, 200);
    assert!(said.starts_with("request #"), "{said}");
    assert!(said.contains("LOST") || said.contains("another past"), "{said}");
    assert!(said.contains("the outcome: Added"), "{said}");
}

#[test]
fn a_read_from_a_primary_that_leads_no_more_is_found_out() {
    let lies = Lies { read_unconfirmed: true, ..Lies::default() };
    let said = objection(On::Sim, lies, 1_000);
    assert!(said.contains("which was answered"), "{said}");
}

#[test]
fn a_request_that_is_applied_twice_is_found_out() {
    let lies = Lies { forget_requests: true, ..Lies::default() };
    let said = objection(On::Sim, lies, 50);
    assert!(said.contains("was applied twice"), "{said}");
}

#[test]
fn a_failure_that_is_not_reported_is_found_out() {
    let lies = Lies { swallow_failures: true, ..Lies::default() };
    let said = objection(On::Sim, lies, 50);
    assert!(said.starts_with("no progress: "), "{said}");
    assert!(said.contains(" requests are not settled\n#"), "{said}");
}

#[test]
fn a_sweep_sums_what_its_seeds_felt_and_names_the_replay_of_a_failure() {
    let go_on = AtomicBool::new(false);
    let report = sweep(0..200, On::Sim, Schedule::Random, Lies::default(), &go_on);
    assert!(report.passed(), "{report}");
    assert_eq!(idle_faults(&report), []);
    let text = report.to_string();
    assert!(text.contains("200 passed, 0 failed; 200 distinct orders"), "{text}");
    assert!(text.contains("\nfault       requested      drawn    applied  effective\n"), "{text}");
    let seeds = report.tally.answered_seeds + report.tally.explained_seeds;
    assert_eq!(seeds, 200);

    let lies = Lies { forget_requests: true, ..Lies::default() };
    let text = sweep(0..100, On::Pipe, Schedule::Random, lies, &go_on).to_string();
    assert!(text.contains(" FAILED: task main panicked: the standby's log: request #"), "{text}");
    let replay = "replay it:\n  cargo run --release --example failover -- --seed ";
    assert!(text.contains(replay) && text.contains(" --on pipe\n"), "{text}");
}

#[test]
fn a_fault_that_never_had_an_effect_fails_a_large_sweep_only() {
    let stopped = AtomicBool::new(true);
    let mut report = sweep(0..400, On::Sim, Schedule::Random, Lies::default(), &stopped);
    let Ending::Done(tally) = honest(1, On::Sim).outcome.ending else {
        panic!("seed 1 failed");
    };
    report.tally = tally;
    assert_eq!(idle_faults(&report), []);
    report.played = 400;
    assert!(idle_faults(&report).contains(&FaultKind::Partition));
}

#[test]
fn bad_arguments_are_named_and_end_with_code_2() {
    for (wrong, named) in [
        ("--seed=seven", "invalid value 'seven' for '--seed <N>': a seed is a number from 0"),
        ("--seeds=9..3", "there is no seed in it: give a number from 1"),
        ("--on=wire", "invalid value 'wire' for '--on <sim|pipe>'"),
        ("--schedule=pct:3", "expected `fifo` or `random`: no progress can be demanded"),
        ("--sed", "a similar argument exists: '--seed'"),
    ] {
        let Err(error) = Args::try_parse_from(["failover", wrong]) else {
            panic!("{wrong} was accepted");
        };
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
