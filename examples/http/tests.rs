//! Tests of the example: it is what it says, and its oracle can say no.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use virtnet::{Ending, Schedule};

use crate::oracle::Tally;
use crate::story::{Story, play, run};
use crate::sweep::{Asked, Report, sweep};
use crate::{Args, Lies, seed, seeds};

fn honest(seed: u64) -> Story {
    play(run(seed, Schedule::Random), Lies::default())
}

fn swept(seeds: Range<u64>, schedule: Schedule, lies: Lies, stop: bool) -> Report<Tally> {
    let asked = Asked { seeds, schedule, options: "" };
    sweep(asked, &AtomicBool::new(stop), |seed| play(run(seed, schedule), lies).outcome)
}

/// Plays seeds until the oracle objects, and gives what it says.
fn objection(lies: Lies) -> String {
    (0..100)
        .find_map(|seed| match play(run(seed, Schedule::Random), lies).outcome.ending {
            Ending::Panicked(panic) => Some(panic.message),
            _ => None,
        })
        .expect("the oracle has seen nothing wrong in 100 seeds")
}

#[test]
fn the_same_seed_prints_the_same_story_after_any_other() {
    let first = honest(7);
    assert_ne!(honest(8).to_string(), first.to_string());
    let again = honest(7);
    assert_eq!(again.outcome.fingerprint, first.outcome.fingerprint);
    assert_eq!(again.to_string(), first.to_string());
}

#[test]
fn two_hundred_seeds_pass_in_as_many_orders() {
    let mut orders = BTreeSet::new();
    for seed in 0..200 {
        let outcome = honest(seed).outcome;
        assert!(outcome.is_done(), "{outcome}");
        assert_eq!(outcome.foreign_wakes, 0);
        orders.insert(outcome.fingerprint);
    }
    assert_eq!(orders.len(), 200);
}

#[test]
fn every_schedule_passes() {
    for schedule in [Schedule::Fifo, Schedule::Pct { depth: 3 }] {
        for seed in 0..50 {
            let outcome = play(run(seed, schedule), Lies::default()).outcome;
            assert!(outcome.is_done(), "{schedule}: {outcome}");
        }
    }
}

#[test]
fn a_truncated_answer_that_is_accepted_is_found() {
    let said = objection(Lies { accept_truncated: true, ..Lies::default() });
    assert!(said.starts_with("request #"), "{said}");
    assert!(said.contains("took a wrong answer"), "{said}");
    assert!(said.contains("what the client saw, in ms:\n"), "{said}");
    assert!(said.contains("never completed"), "{said}");
}

#[test]
fn an_answer_that_is_sent_twice_is_found() {
    let said = objection(Lies { answer_twice: true, ..Lies::default() });
    assert!(said.contains("took a wrong answer"), "{said}");
}

#[test]
fn a_request_that_is_settled_twice_is_found() {
    let said = objection(Lies { settle_twice: true, ..Lies::default() });
    assert!(said.contains("has 2 outcomes, not one"), "{said}");
}

#[test]
fn a_sweep_says_the_same_as_its_seeds_and_names_the_replay_of_a_failure() {
    let report = swept(20..40, Schedule::Random, Lies::default(), false);
    assert!(report.passed());
    let text = report.to_string();
    assert!(text.contains("20 passed, 0 failed; 20 distinct orders"), "{text}");

    let lies = Lies { settle_twice: true, ..Lies::default() };
    let report = swept(20..40, Schedule::Fifo, lies, false);
    assert!(!report.passed());
    let text = report.to_string();
    assert!(text.starts_with("seed 20 FAILED: task main panicked: request #0"), "{text}");
    assert!(text.contains("\n  cargo run --release --example http -- --seed 20 --schedule fifo\n"));
    assert!(text.contains("and 17 more failed: 23, 24"), "{text}");
}

#[test]
fn a_sweep_that_is_stopped_says_how_far_it_came() {
    let report = swept(0..1_000_000, Schedule::Random, Lies::default(), true);
    let text = report.to_string();
    let how_far = "stopped after 0 seeds; go on with --seeds 0..1000000\n0 passed, 0 failed; ";
    assert!(text.contains(how_far), "{text}");
}

#[test]
fn bad_arguments_are_named_and_end_with_code_2() {
    for (wrong, named) in [
        ("--seed=seven", "invalid value 'seven' for '--seed <N>': a seed is a number from 0"),
        ("--seeds=9..3", "there is no seed in it: give a number from 1"),
        ("--schedule=pct:0", "expected `fifo`, `random` or `pct:N` with N from 1"),
        ("--sed", "a similar argument exists: '--seed'"),
    ] {
        let Err(error) = Args::try_parse_from(["http", wrong]) else {
            panic!("{wrong} was accepted");
        };
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn seeds_are_read_as_people_write_them() {
    assert_eq!(seed("0x1f4"), Ok(500));
    assert_eq!(seeds("1000"), Ok(0..1000));
    assert_eq!(seeds("5..105"), Ok(5..105));
    for wrong in ["", "0", "7..7", "9..3", "..", "-1", "1e3", "0x", "18446744073709551616"] {
        assert!(seeds(wrong).is_err(), "{wrong}");
    }
}
