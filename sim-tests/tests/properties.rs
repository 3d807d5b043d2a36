//! Tests that are given inputs: operations and faults are drawn, a bug is found, and of both the
//! input and the choices only those remain that it takes.

use std::cell::Cell;
use std::collections::HashSet;

use proptest::prelude::*;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestError, TestRunner};
use virtnet::check::{Check, Isolation, Report};
use virtnet::proptest::{faults, faults_among, operations};
use virtnet::simnet::{FaultKind, Faults};
use virtnet::{Run, Sim, Tape};

use crate::shelf::{Op, Store, play};

fn op() -> impl Strategy<Value = Op> {
    let place = || (0..300u16, 0..3u8);
    prop_oneof![
        place().prop_map(|(at, key)| Op::Put { at, key }),
        place().prop_map(|(at, key)| Op::Delete { at, key }),
    ]
}

/// What a run is given: up to forty operations, and which faults there may be.
fn inputs() -> impl Strategy<Value = (Vec<Op>, Faults)> {
    let families =
        Faults::none().with(FaultKind::Latency).with(FaultKind::Hold).with(FaultKind::Restart);
    let in_order = |mut ops: Vec<Op>| {
        ops.sort_by_key(|op| op.at());
        ops
    };
    (operations(op(), 1..40).prop_map(in_order), faults_among(families))
}

fn run(check: Check, store: Store) -> Report {
    check.run_with(inputs, move |sim, (ops, faults)| play(sim, store, ops, faults))
}

/// Of the first seed from here on at which the store that forgets fails, little remains. Of others
/// more operations do: as many as it takes for the message that comes late to be the how-manieth it
/// is.
fn shelf() -> Check {
    Check::new("shelf").seeds(3500..4500)
}

/// Whether the store that forgets fails on this tape.
fn fails(tape: &Tape) -> bool {
    let check = Check::new("once").tape(tape.clone()).shrink(0);
    !run(check.isolate(Isolation::Shared), Store::Forgets).is_ok()
}

#[test]
fn of_a_planted_bug_the_operations_and_the_choices_remain_that_it_takes() {
    let report = run(shelf(), Store::Forgets);
    let text = report.to_string();
    println!("{text}"); // shown with `--nocapture`
    assert!(text.contains("was deleted and is back"), "{text}");
    // A connection that is open already, what comes late, and what must not be undone.
    let input = report.input().unwrap_or_default();
    assert!(input.starts_with("([Put { at: "), "{text}");
    assert!((2..=3).contains(&input.matches(" at: ").count()), "{text}");
    assert_eq!(input.matches("Delete").count(), 1, "{text}");
    assert!(input.ends_with("}], Faults::none().with(FaultKind::Latency))"), "{text}");
    let (matter, of) = report.choices().unwrap();
    assert!(matter <= 5 && of >= 100, "{text}");
    assert!(text.contains("latency#"), "{text}");
    assert!(text.contains("of simt/client/store takes "), "{text}");

    let tape = report.tape().unwrap();
    assert!(fails(tape));
    let lines: Vec<String> = tape.to_string().lines().map(String::from).collect();
    let choices = lines.iter().filter(|line| line.contains(" = ") && !line.starts_with("input"));
    assert_eq!(choices.clone().count(), matter, "{tape}");
    for choice in choices {
        let others: Vec<&str> = lines.iter().filter(|line| *line != choice).map(|s| &**s).collect();
        assert!(!fails(&others.join("\n").parse().unwrap()), "it fails without {choice}");
    }
}

#[test]
fn the_tape_brings_back_the_input_that_is_left() {
    let report = run(shelf(), Store::Forgets);
    let again = run(Check::new("shelf").tape(report.tape().unwrap().clone()), Store::Forgets);
    assert_eq!(again.input(), report.input());
    assert_eq!(again.choices().map(|(matter, _)| matter), report.choices().map(|(m, _)| m));
    assert_eq!(again.tape().map(Tape::to_string), report.tape().map(Tape::to_string));
    let text = again.to_string();
    let replay = text.lines().last().unwrap_or_default();
    assert!(replay.starts_with("replay: VIRTNET_TAPE="), "{text}");
    let file = replay.split(['=', ' ']).nth(2).unwrap();
    let tape = std::fs::read_to_string(file).unwrap();
    assert!(tape.contains(&format!("# input: {}\n", report.input().unwrap())), "{tape}");
}

#[test]
fn a_store_that_remembers_survives_all_of_it() {
    run(shelf(), Store::Remembers).assert();
}

#[test]
fn what_a_run_is_given_hangs_on_its_seed_alone() {
    let notes = |check: Check| {
        let drawn = std::sync::Mutex::new(Vec::new());
        let report = check.seeds(0..40).check_determinism().run_with(inputs, |sim, input| {
            drawn.lock().unwrap().push((sim.seed(), format!("{input:?}")));
            async {}
        });
        assert!(report.is_ok(), "{report}");
        let mut drawn = drawn.into_inner().unwrap();
        drawn.sort();
        // Each seed was run three times.
        drawn.dedup();
        drawn
    };
    let one = notes(Check::new("one").jobs(1));
    assert_eq!(one.len(), 40);
    assert_eq!(one, notes(Check::new("two").jobs(2).isolate(Isolation::Shared)));
    let inputs: HashSet<&String> = one.iter().map(|(_, input)| input).collect();
    assert!(inputs.len() > 35, "{one:?}");
}

#[test]
fn an_input_that_is_another_each_time_is_reported_as_such() {
    // The bug: an order that is another in each process and each set.
    let any_order = || {
        any::<u8>().prop_map(|_| {
            let names: HashSet<u32> = (0..20).collect();
            names.into_iter().collect::<Vec<_>>()
        })
    };
    let report = Check::new("order").check_determinism().run_with(any_order, |_, _| async {});
    let text = report.to_string();
    assert!(text.contains("the same seed was not the same run"), "{text}");
    assert!(text.contains("first difference at record 1"), "{text}");
    assert!(text.contains("note    main input ["), "{text}");
}

#[test]
fn a_strategy_that_gives_up_fails_in_words_and_one_that_panics_does_not_take_the_sweep_along() {
    let never = || any::<u8>().prop_filter("nothing is good enough", |_| false);
    let text = Check::new("never").run_with(never, |_, _| async {}).to_string();
    for why in ["the strategy has made no input of seed 0x0", "nothing is good enough"] {
        assert!(text.contains(why), "{text}");
    }

    let fussy = || (0..1000u32).prop_map(|n| if n < 5 { panic!("too small") } else { n });
    let report = Check::new("fussy").run_with(fussy, |_, n| async move { assert!(n < 10, "ten") });
    assert_eq!(report.input(), Some("10"), "{report}");
}

#[test]
fn an_input_reaches_a_run_in_a_process_of_its_own_and_so_does_a_simpler_one() {
    let check = Check::new("process").seeds(0..3).isolate(Isolation::Process);
    let numbers = || 0..1000u32;
    let report = check.run_with(numbers, |_, n| async move { assert!(n < 10, "ten or more") });
    assert_eq!(report.input(), Some("10"), "{report}");
}

#[test]
fn operations_are_left_out_in_stretches_and_never_below_the_least() {
    let shrink = |least: usize, fails: &dyn Fn(&[u8]) -> bool| {
        let tried = Cell::new(0);
        let strategy = operations(any::<u8>(), least..60);
        let mut runner = TestRunner::new_with_rng(
            Config { failure_persistence: None, ..Config::default() },
            TestRunner::deterministic().new_rng(),
        );
        let error = runner.run(&strategy, |ops| {
            tried.set(tried.get() + 1);
            if fails(&ops) { Err(TestCaseError::fail("it fails")) } else { Ok(()) }
        });
        match error {
            Err(TestError::Fail(_, left)) => (left, tried.get()),
            other => panic!("{other:?}"),
        }
    };
    let two = |ops: &[u8]| ops.iter().filter(|op| **op >= 200).count() >= 2;
    let (left, tried) = shrink(0, &two);
    assert_eq!(left, [200, 200]);
    assert!(tried < 80, "{tried}");
    assert_eq!(shrink(4, &two).0, [0, 0, 200, 200]);
    // Whether one may be left out hangs on how simple another is.
    assert_eq!(shrink(0, &|ops| ops.len() > usize::from(ops.contains(&0))).0, [1]);
    assert_eq!(shrink(3, &|_| true).0, [0, 0, 0]);
    assert_eq!(shrink(0, &|_| true).0, [0; 0]);
}

#[test]
fn faults_are_drawn_among_those_allowed_and_shrink_to_none() {
    let mut runner = TestRunner::deterministic();
    let among =
        Faults::none().with(FaultKind::Crash).with(FaultKind::Partition).max_down(2).swarm();
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let mut tree = faults_among(among.clone()).new_tree(&mut runner).unwrap();
        seen.insert(format!("{:?}", tree.current()));
        while tree.simplify() {}
        assert_eq!(format!("{:?}", tree.current()), "Faults::none().max_down(2).swarm()");
    }
    let mut seen: Vec<String> = seen.into_iter().collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "Faults::none().max_down(2).swarm()",
            "Faults::none().with(FaultKind::Crash).max_down(2).swarm()",
            "Faults::none().with(FaultKind::Partition).max_down(2).swarm()",
            "Faults::none().with(FaultKind::Partition).with(FaultKind::Crash).max_down(2).swarm()",
        ]
    );
    assert!(format!("{:?}", faults().new_tree(&mut runner).unwrap().current()).contains("Faults"));
    assert_eq!(
        format!("{:?}", Faults::all().without(FaultKind::Crash).with(FaultKind::Crash)),
        "Faults::all()"
    );
}

#[test]
fn a_plan_that_asks_for_what_it_cannot_hit_fails_the_sweep() {
    let only_crashes = || faults_among(Faults::none().with(FaultKind::Crash));
    let report = Check::new("nobody").run_with(only_crashes, |sim: Sim, faults| async move {
        let net = virtnet::simnet::Network::new("t");
        let _ = net.new_host("a host that is no node").await;
        net.fault_plan(faults).run_for(std::time::Duration::from_secs(1)).await;
        sim.yield_now().await;
    });
    let text = report.to_string();
    assert!(text.contains("faults were requested that never had an effect: crash"), "{text}");
}

proptest! {
    #![proptest_config(Config { cases: 16, failure_persistence: None, ..Config::default() })]

    #[test]
    fn proptests_own_macro_works_with_a_seed(
        ops in operations(op(), 1..10),
        seed in any::<u64>().no_shrink(),
    ) {
        let run = Run::new(seed).execute(|sim| play(sim, Store::Remembers, ops, Faults::none()));
        prop_assert_eq!(run.unwrap(), Ok(()));
    }
}
