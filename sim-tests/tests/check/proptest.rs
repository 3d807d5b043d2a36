//! Tests with generated inputs: operations and faults are drawn, and a bug is shrunk in both its
//! input and its choices.

use std::cell::Cell;
use std::collections::HashSet;

use proptest::prelude::*;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestError, TestRunner};
use virtnet::check::{Check, Isolation, Report};
use virtnet::proptest::{faults, faults_among, operations};
use virtnet::simnet::{FaultKind, Faults};
use virtnet::{Run, Sim, Tape};

use crate::fuzz::forgetful_store::{Op, Store, run_workload};

fn any_op() -> impl Strategy<Value = Op> {
    let op_fields = || (0..300u16, 0..3u8);
    prop_oneof![
        op_fields().prop_map(|(at, key)| Op::Put { at, key }),
        op_fields().prop_map(|(at, key)| Op::Delete { at, key }),
    ]
}

/// What a run is given: up to forty operations, and which faults there may be.
fn inputs() -> impl Strategy<Value = (Vec<Op>, Faults)> {
    let kinds =
        Faults::none().with(FaultKind::Latency).with(FaultKind::Hold).with(FaultKind::Restart);
    let sort_by_time = |mut ops: Vec<Op>| {
        ops.sort_by_key(|op| op.at());
        ops
    };
    (operations(any_op(), 1..40).prop_map(sort_by_time), faults_among(kinds))
}

fn sweep(check: Check, store: Store) -> Report {
    check.run_with(inputs, move |sim, (ops, faults)| run_workload(sim, store, ops, faults))
}

/// Of the first seed from here on at which the store that forgets fails, little remains. Of others
/// more operations do: as many as it takes for the message that comes late to be the how-manieth it
/// is.
fn store_check() -> Check {
    Check::new("shelf").seeds(3500..4500)
}

/// Whether the store that forgets fails on this tape.
fn fails_on(tape: &Tape) -> bool {
    let check = Check::new("once").tape(tape.clone()).shrink(0);
    !sweep(check.isolate(Isolation::Shared), Store::Forgetful).is_ok()
}

#[test]
fn planted_bug_is_shrunk_to_minimal_operations_and_choices() {
    let report = sweep(store_check(), Store::Forgetful);
    let text = report.to_string();
    println!("{text}"); // shown with `--nocapture`
    assert!(text.contains("was deleted and is back"), "{text}");
    // A connection that is open already, what comes late, and what must not be undone.
    let input = report.input().unwrap_or_default();
    assert!(input.starts_with("([Put { at: "), "{text}");
    assert!((2..=3).contains(&input.matches(" at: ").count()), "{text}");
    assert_eq!(input.matches("Delete").count(), 1, "{text}");
    assert!(input.ends_with("}], Faults::none().with(FaultKind::Latency))"), "{text}");
    let (remaining, total) = report.choices().unwrap();
    assert!(remaining <= 5 && total >= 100, "{text}");
    assert!(text.contains("latency#"), "{text}");
    assert!(text.contains("of simt/client/store takes "), "{text}");

    let tape = report.tape().unwrap();
    assert!(fails_on(tape));
    let lines: Vec<String> = tape.to_string().lines().map(String::from).collect();
    let choices = lines.iter().filter(|line| line.contains(" = ") && !line.starts_with("input"));
    assert_eq!(choices.clone().count(), remaining, "{tape}");
    for choice in choices {
        let other_lines: Vec<&str> =
            lines.iter().filter(|line| *line != choice).map(|s| &**s).collect();
        assert!(!fails_on(&other_lines.join("\n").parse().unwrap()), "it fails without {choice}");
    }
}

#[test]
fn shrunk_tape_reproduces_the_shrunk_input() {
    let report = sweep(store_check(), Store::Forgetful);
    let again = sweep(Check::new("shelf").tape(report.tape().unwrap().clone()), Store::Forgetful);
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
fn correct_store_passes_every_seed() {
    sweep(store_check(), Store::Correct).assert();
}

#[test]
fn input_of_a_run_depends_only_on_its_seed() {
    let drawn_inputs = |check: Check| {
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
    let first = drawn_inputs(Check::new("one").jobs(1));
    assert_eq!(first.len(), 40);
    assert_eq!(first, drawn_inputs(Check::new("two").jobs(2).isolate(Isolation::Shared)));
    let inputs: HashSet<&String> = first.iter().map(|(_, input)| input).collect();
    assert!(inputs.len() > 35, "{first:?}");
}

#[test]
fn nondeterministic_input_is_reported() {
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
fn strategy_that_gives_up_is_reported_and_one_that_panics_ends_no_sweep() {
    let never = || any::<u8>().prop_filter("nothing is good enough", |_| false);
    let text = Check::new("never").run_with(never, |_, _| async {}).to_string();
    for reason in ["the strategy has made no input of seed 0x0", "nothing is good enough"] {
        assert!(text.contains(reason), "{text}");
    }

    let panicking = || (0..1000u32).prop_map(|n| if n < 5 { panic!("too small") } else { n });
    let report =
        Check::new("fussy").run_with(panicking, |_, n| async move { assert!(n < 10, "ten") });
    assert_eq!(report.input(), Some("10"), "{report}");
}

#[test]
fn input_reaches_an_isolated_process_and_is_shrunk_there() {
    let check = Check::new("process").seeds(0..3).isolate(Isolation::Process);
    let numbers = || 0..1000u32;
    let report = check.run_with(numbers, |_, n| async move { assert!(n < 10, "ten or more") });
    assert_eq!(report.input(), Some("10"), "{report}");
}

#[test]
fn operations_are_removed_in_ranges_and_never_below_the_minimum() {
    let shrink = |min_len: usize, fails: &dyn Fn(&[u8]) -> bool| {
        let tried = Cell::new(0);
        let strategy = operations(any::<u8>(), min_len..60);
        let mut runner = TestRunner::new_with_rng(
            Config { failure_persistence: None, ..Config::default() },
            TestRunner::deterministic().new_rng(),
        );
        let error = runner.run(&strategy, |ops| {
            tried.set(tried.get() + 1);
            if fails(&ops) { Err(TestCaseError::fail("it fails")) } else { Ok(()) }
        });
        match error {
            Err(TestError::Fail(_, remaining)) => (remaining, tried.get()),
            other => panic!("{other:?}"),
        }
    };
    let has_two_large = |ops: &[u8]| ops.iter().filter(|op| **op >= 200).count() >= 2;
    let (remaining, tried) = shrink(0, &has_two_large);
    assert_eq!(remaining, [200, 200]);
    assert!(tried < 80, "{tried}");
    assert_eq!(shrink(4, &has_two_large).0, [0, 0, 200, 200]);
    // Whether one may be left out hangs on how simple another is.
    assert_eq!(shrink(0, &|ops| ops.len() > usize::from(ops.contains(&0))).0, [1]);
    assert_eq!(shrink(3, &|_| true).0, [0, 0, 0]);
    assert_eq!(shrink(0, &|_| true).0, [0; 0]);
}

#[test]
fn faults_among_draws_allowed_kinds_and_shrinks_to_none() {
    let mut runner = TestRunner::deterministic();
    let allowed =
        Faults::none().with(FaultKind::Crash).with(FaultKind::Partition).max_down(2).swarm();
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let mut tree = faults_among(allowed.clone()).new_tree(&mut runner).unwrap();
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
fn fault_plan_without_a_possible_target_fails_the_sweep() {
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
    fn proptest_macro_with_a_seed_runs_the_correct_store(
        ops in operations(any_op(), 1..10),
        seed in any::<u64>().no_shrink(),
    ) {
        let run = Run::new(seed);
        let run = run.execute(|sim| run_workload(sim, Store::Correct, ops, Faults::none()));
        prop_assert_eq!(run.unwrap(), Ok(()));
    }
}
