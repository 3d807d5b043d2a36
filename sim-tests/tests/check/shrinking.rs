//! What a report of a failing seed says, and what shrinking leaves of it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::check::{Check, Isolation, Report};
use virtnet::simnet::{ClockSkew, Config, FaultKind, Faults, Latency, Network};
use virtnet::{Host, RecordKind, Run, Sim, Trace};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);
/// Real time that no busy machine uses up.
const LONG: Duration = Duration::from_secs(600);

/// The fault records of a trace: the second and the text.
fn fault_records(trace: &Trace) -> Vec<String> {
    let faults =
        trace.records().iter().filter(|record| matches!(record.kind, RecordKind::Fault(_)));
    faults
        .map(|record| format!("{} {}", record.at.as_nanos() / 1_000_000_000, record.text))
        .collect()
}

#[test]
fn fault_record_of_a_node_has_its_amount_and_its_undo() {
    let outcome = Run::new(0).keep_trace().execute(async |sim| {
        let node = Network::new("t").node("s", async |_| {});
        sim.sleep(SEC).await;
        node.set_clock(ClockSkew::none());
        node.set_poll_cost(Duration::ZERO);
        node.set_clock(ClockSkew::behind(Duration::from_secs(5)));
        sim.sleep(SEC).await;
        node.set_clock(ClockSkew::none());
        sim.sleep(SEC).await;
        node.set_clock(ClockSkew::ahead(Duration::from_millis(1500)).drift_ppm(20_000));
        sim.sleep(SEC).await;
        node.set_clock(ClockSkew::none().drift_ppm(-100));
        sim.sleep(SEC).await;
        node.set_clock(ClockSkew::none());
        node.set_poll_cost(5 * MS);
        sim.sleep(SEC).await;
        node.set_poll_cost(Duration::ZERO);
        node.set_poll_cost(Duration::ZERO);
    });
    let expected = [
        "1 clock s: offset -5s, drift 0 ppm; the wall clock steps by -5s",
        "2 clock s: undone, offset 0ns, drift 0 ppm; the wall clock steps by 5s",
        "3 clock s: offset 1.5s, drift 20000 ppm; the wall clock steps by 1.5s",
        // It has gained 20 ms meanwhile.
        "4 clock s: offset 0ns, drift -100 ppm; the wall clock steps by -1.52s",
        "5 clock s: undone, offset 0ns, drift 0 ppm; the wall clock steps by 100µs",
        "5 slow_node s: 5ms a poll",
        "6 slow_node s: undone, 0ns a poll",
    ];
    assert_eq!(fault_records(&outcome.trace.unwrap()), expected);
}

#[test]
fn fault_record_of_a_link_has_the_value_that_applies() {
    let outcome = Run::new(0).keep_trace().execute(async |_| {
        let net = Network::with("t", Config::new().bandwidth(Some(9_000)));
        for host in ["a", "b"] {
            net.new_host(host).await.unwrap();
        }
        net.link("a", "b").latency(Latency::constant(300 * MS)).loss(0.015).short_io(1.0);
        net.link("a", "b").latency(Latency::uniform(MS, 3 * MS)).bandwidth(4_000);
        net.link("a", "b").latency(Latency::exponential(MS, 5 * MS)).loss(0.0);
        net.link("a", "b").latency(Latency::log_normal(MS, 5 * MS));
    });
    let expected = [
        "0 latency a b: 300ms",
        "0 loss a b: 1.5 %",
        "0 short_io a b: 100 %",
        "0 latency a b: 1ms to 3ms",
        "0 bandwidth a b: 4000 bytes a second",
        "0 latency a b: 1ms at least, 5ms on average",
        "0 loss a b: 0 %",
        "0 latency a b: 1ms at least, 5ms as median",
    ];
    assert_eq!(fault_records(&outcome.trace.unwrap()), expected);
}

/// A plan of some families on two nodes that talk.
async fn run_plan_of(families: &'static [&'static str], sim: Sim) -> Vec<String> {
    let net = Network::new("t");
    for node in ["a", "b"] {
        net.node(node, async |_| {});
    }
    let client = net.new_host("c").await.unwrap();
    sim.sleep(SEC).await;
    for node in ["a:1", "b:1"] {
        client.dial(node).await.unwrap_err();
    }
    let faults =
        families.iter().fold(Faults::none(), |faults, family| faults.with(family.parse().unwrap()));
    let mut plan = net.fault_plan(faults);
    plan.run_for(60 * SEC).await;
    plan.applied_faults().iter().map(|(_, what)| what.clone()).collect()
}

#[test]
fn trace_has_the_end_of_each_planned_fault() {
    const FAMILIES: &[&str] =
        &["clock", "slow_node", "latency", "loss", "bandwidth", "short_io", "partition", "one_way"];
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let run = Run::new(seed).keep_trace();
        let outcome = run.execute(async |sim| run_plan_of(FAMILIES, sim).await);
        // ConnectedPair faults alike end one after the other.
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for fault in fault_records(outcome.trace.as_ref().unwrap()) {
            let (_, text) = fault.split_once(' ').unwrap();
            let (what, details) = text.split_once(": ").unwrap_or((text, ""));
            let (family, _) = what.split_once(' ').unwrap();
            if details.starts_with("undone") {
                let count = open.remove(what);
                let count = count.unwrap_or_else(|| panic!("seed {seed}: {text} ends nothing"));
                if count > 1 {
                    open.insert(what.to_string(), count - 1);
                }
                seen.insert(family.to_string());
            } else {
                *open.entry(what.to_string()).or_default() += 1;
            }
        }
        assert_eq!(open, BTreeMap::new(), "seed {seed}: {:?}", outcome.unwrap());
    }
    assert_eq!(seen, FAMILIES.iter().map(ToString::to_string).collect());
}

/// Says that all of these stand in a report, in this order.
#[track_caller]
fn assert_has_in_order(report: &Report, texts: &[&str]) {
    let report_text = report.to_string();
    let mut rest = report_text.as_str();
    for text in texts {
        rest = rest
            .split_once(text)
            .unwrap_or_else(|| panic!("{text:?} is missing:\n{report_text}"))
            .1;
    }
}

/// Says that none of these stand in a report.
#[track_caller]
fn assert_has_none_of(report: &Report, texts: &[&str]) {
    let report_text = report.to_string();
    for text in texts {
        assert!(!report_text.contains(text), "{text:?} is there:\n{report_text}");
    }
}

#[test]
fn failure_by_a_static_of_an_earlier_run_has_a_replay_line_that_fails() {
    static FIRST: OnceLock<u64> = OnceLock::new();
    let report = Check::new("left-static").seeds(0..50).jobs(1).shrink_time(LONG).run(
        |sim: Sim| async move {
            let first = *FIRST.get_or_init(|| sim.seed());
            sim.sleep(SEC).await;
            assert!(first == sim.seed() || sim.seed() < 20, "seed {} after {first}", sim.seed());
        },
    );
    assert_has_in_order(
        &report,
        &[
            "left-static failed with seed 0x14, run 21:\n\ntask main panicked: seed 20 after 0\n",
            "\n\nseed 0x14 fails only after other seeds ran in this process: a static",
            "fails there after seed 0x13.\n\n",
            "the same seed was not the same run",
            "Run again, it failed in the same way 2 of 2 times;\nin a fresh process, it passed.",
            "what led to it:",
            "replay: VIRTNET_SEEDS=0x13..0x15 VIRTNET_JOBS=1 cargo test",
        ],
    );
    assert_has_none_of(&report, &["all of them at 0"]);
}

#[test]
fn failure_by_a_static_set_by_an_early_seed_names_all_seeds_up_to_it() {
    static FIVE: AtomicU64 = AtomicU64::new(0);
    let report = Check::new("left-early").seeds(0..50).jobs(1).shrink_time(LONG).run(
        |sim: Sim| async move {
            if sim.seed() == 5 {
                FIVE.store(1, Relaxed);
            }
            assert!(sim.seed() < 9 || FIVE.load(Relaxed) == 0, "it meets what seed 5 has left");
        },
    );
    assert_has_in_order(
        &report,
        &["fails there after seeds 0x0 to 0x8.", "replay: VIRTNET_SEEDS=0x0..0xa VIR"],
    );
}

/// A sweep whose thirtieth run fails, and what its report says.
#[track_caller]
fn assert_thirtieth_run_fails(runs: &'static AtomicU64, isolation: Isolation) {
    let check = Check::new("thirtieth").seeds(0..50).jobs(1).shrink_time(LONG).isolate(isolation);
    let report = check.run(|_| async {
        assert!(runs.fetch_add(1, Relaxed) != 29, "the thirtieth run");
    });
    assert_has_in_order(
        &report,
        &[
            "thirtieth failed with seed 0x1d, run 30:\n\ntask main panicked: the thirtieth",
            "\n\nseed 0x1d fails only after other seeds ran in this process: a static",
            "fails there after seeds 0x0 to 0x1c.\n\n",
            "Run again, it passed 2 of 2 times;\nin a fresh process, it passed.",
            "replay: VIRTNET_SEEDS=0x0..0x1e VIRTNET_JOBS=1 cargo test",
        ],
    );
}

#[test]
fn failure_of_the_thirtieth_run_on_fresh_threads_names_the_seeds_before_it() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    assert_thirtieth_run_fails(&RUNS, Isolation::Thread);
}

#[test]
fn failure_of_the_thirtieth_run_on_shared_workers_names_the_seeds_before_it() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    assert_thirtieth_run_fails(&RUNS, Isolation::Shared);
}

#[test]
fn failure_by_state_of_another_sweep_is_not_attributed_to_other_seeds() {
    static SWEEPS: AtomicU64 = AtomicU64::new(0);
    let check = || Check::new("another").seeds(0..3).jobs(1).shrink_time(LONG);
    check().run(|sim: Sim| async move { SWEEPS.store(1 + sim.seed(), Relaxed) }).assert();
    let report = check().run(|_| async { assert_eq!(SWEEPS.load(Relaxed), 0, "something") });
    assert_has_in_order(
        &report,
        &[
            "another failed with seed 0x0, run 1:\n\ntask main panicked:",
            "\n\nseed 0x0 passed alone in a fresh process.\nWhat decides may be left in",
            "The replay line need not fail.",
            "Run again, it failed in the same way 2 of 2 times;\nin a fresh process, it passed.",
        ],
    );
    assert_has_none_of(&report, &["only after other seeds", "all of them at 0"]);
}

#[test]
fn failure_by_a_thread_local_of_an_earlier_run_has_a_replay_line_that_fails() {
    thread_local!(static FIRST: Cell<Option<u64>> = const { Cell::new(None) });
    let check =
        Check::new("left-local").seeds(0..50).jobs(1).shrink_time(LONG).isolate(Isolation::Shared);
    let report = check.run(|sim: Sim| async move {
        let first = FIRST.get().unwrap_or(sim.seed());
        FIRST.set(Some(first));
        sim.sleep(SEC).await;
        assert!(first == sim.seed() || sim.seed() < 20, "seed {} after {first}", sim.seed());
    });
    assert_has_in_order(
        &report,
        &[
            "failed with seed 0x14, run 21:\n\ntask main panicked: seed 20 after 0\n",
            "\n\nseed 0x14 fails only after other seeds ran in this process: a thread-local",
            "It passes alone on a fresh thread, and fails there after seed 0x13.",
            "Run again, it passed 2 of 2 times",
            "So it was not shrunk.",
            "replay: VIRTNET_SEEDS=0x13..0x15 VIRTNET_JOBS=1 cargo test",
        ],
    );
}

#[test]
fn nondeterministic_run_that_always_fails_is_reported_and_shrunk() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let report = Check::new("differs-fails").seeds(0..5).run(|sim: Sim| async move {
        sim.note(RUNS.fetch_add(1, Relaxed));
        let sum: usize = (0..9).map(|_| sim.choose("die", 6)).sum();
        assert!(sum < 5, "more than four");
    });
    assert_has_in_order(
        &report,
        &[
            "differs-fails failed with seed 0x0, run 1:\n\ntask main panicked: more than four\n",
            "the same seed was not the same run",
            "first difference at record 1:",
            "Run again, it failed in the same way 2 of 2 times.\n",
            "What is said of choices may change",
            "2 of 8 choices matter (",
            "what led to it:",
            "replay: VIRTNET_SEED=0x0 cargo test",
        ],
    );
}

#[test]
fn nondeterministic_run_that_sometimes_passes_is_reported_and_not_shrunk() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let report = Check::new("differs-passes").seeds(0..5).run(|sim: Sim| async move {
        let run = RUNS.fetch_add(1, Relaxed);
        sim.choose("die", 6);
        assert!(run % 2 == 1, "every other time");
    });
    assert_has_in_order(
        &report,
        &[
            "failed with seed 0x0, run 1:\n\ntask main panicked: every other time\n",
            "the same seed was not the same run",
            "Run again, it failed in the same way 1 of 2 times and passed 1 of 2 times",
            "So it was not shrunk.",
            "replay: VIRTNET_CHECK_DETERMINISM=1 VIRTNET_SEED=0x0 cargo test",
        ],
    );
    assert_eq!(report.choices(), None);
}

#[test]
fn seed_that_passes_and_fails_when_repeated_reports_the_failure() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let check = Check::new("passes-first").seeds(0..5).check_determinism();
    let report = check.run(|sim: Sim| async move {
        sim.note("before");
        assert!(RUNS.fetch_add(1, Relaxed) == 0, "the second time");
    });
    assert_has_in_order(
        &report,
        &[
            "it passed, and failed when it was repeated:\ntask main panicked: the second time",
            "the same seed was not the same run",
            "replay: VIRTNET_CHECK_DETERMINISM=1 VIRTNET_SEED=0x0 cargo test",
        ],
    );
}

#[test]
fn note_of_a_causing_task_is_in_the_causal_past_however_old_it_is() {
    let report = Check::new("notes").seeds(0..1).run(|sim: Sim| async move {
        let leader = sim.task("leader").spawn(async move {
            sim.note("n1 leads term 7");
            sim.sleep(10 * SEC).await;
        });
        sim.task("other").spawn(async move { sim.note("nobody waits for this task") });
        leader.await.unwrap();
        for second in 0..40 {
            if second == 20 {
                sim.note("half of it");
            }
            sim.sleep(SEC).await;
        }
        panic!("at last");
    });
    let expected =
        ["what led to it:", "note    main/leader n1 leads term 7\n", "note    main half of it\n"];
    assert_has_in_order(&report, &expected);
    assert_has_none_of(&report, &["note    main/other"]);
}

#[test]
fn equal_consecutive_records_are_one_line_with_their_count_and_time() {
    let report = Check::new("alike").seeds(0..1).run(|sim: Sim| async move {
        for _ in 0..1_000 {
            sim.yield_now().await;
        }
        panic!("at last");
    });
    assert_has_in_order(
        &report,
        &["what led to it:", " poll    main by main 0  (1 000 times until 0.0"],
    );
    let text = report.to_string();
    let polls = text.lines().filter(|line| line.contains(" poll ")).count();
    assert!(polls <= 2, "{text}");
}

#[test]
fn spin_on_a_closed_host_is_two_lines_with_their_count() {
    let check = Check::new("spin").seeds(0..1).shrink_time(LONG);
    let report = check.run(|sim: Sim| async move {
        let host = Network::new("t").new_host("a").await.unwrap();
        let listener = host.listen(":1").await.unwrap();
        sim.task("server").spawn(async move {
            while listener.accept().await.is_err() {
                virtnet::time::yield_now().await;
            }
        });
        sim.sleep(SEC).await;
        host.close().unwrap();
        std::future::pending::<()>().await;
    });
    assert_has_in_order(
        &report,
        &["spin failed with seed 0x0, run 1:\n\nlivelock", " (these 2 ", " times until "],
    );
    let text = report.to_string();
    let server = text.lines().filter(|line| line.contains("main/server by main/server")).count();
    assert!(server <= 2 && text.lines().count() < 40, "{text}");
}

#[test]
fn choice_drawn_twice_is_recorded_once() {
    let mut has_many_choices = false;
    for seed in 0..40 {
        let outcome = Run::new(seed).record_choices().execute(async |sim| {
            run_plan_of(&["loss", "partition", "crash", "latency", "registry"], sim).await
        });
        let keys = outcome.choices.iter().map(|choice| (choice.subject.clone(), choice.ordinal));
        let distinct: BTreeSet<_> = keys.collect();
        has_many_choices |= distinct.len() > 20;
        assert_eq!(distinct.len(), outcome.choices.len(), "seed {seed}");
    }
    assert!(has_many_choices);
}

/// A server that writes a message of 300 bytes, and a client that takes one read for one message.
async fn one_read_is_one_message(sim: Sim) {
    let net = Network::new("t");
    net.node("server", async |host: Host| {
        let listener = host.listen(":1").await.unwrap();
        while let Ok(mut conn) = listener.accept().await {
            virtnet::spawn(async move {
                if conn.write_all(&[7; 300]).await.is_ok() {
                    let _ = conn.read(&mut [0]).await;
                }
            });
        }
    });
    let client = net.new_host("client").await.unwrap();
    sim.sleep(SEC).await;
    let mut plan = net.fault_plan(Faults::none().with(FaultKind::ShortIo));
    let work = async {
        for _ in 0..20 {
            let mut conn = client.dial("server:1").await.unwrap();
            let n = conn.read(&mut [0; 4096]).await.unwrap();
            assert_eq!(n, 300, "one read, one message");
            sim.sleep(100 * MS).await;
        }
    };
    virtnet::join!(work, plan.run_for(5 * SEC));
}

#[test]
fn shrinking_drops_latencies_that_only_pass_time_until_a_fault() {
    let mut shrunk = Vec::new();
    for start in [2, 3000, 4000, 5000, 8000] {
        let check = Check::new("strike").seeds(start..start + 300).shrink_time(LONG);
        let report = check.run(one_read_is_one_message);
        shrunk.push((start, report.choices().unwrap(), report.shrink_runs()));
    }
    let is_small =
        |(_, (relevant, _), runs): &(u64, (usize, usize), u64)| *relevant <= 10 && *runs <= 700;
    assert!(shrunk.iter().all(is_small), "{shrunk:?}");
}

#[test]
fn run_of_over_a_million_steps_is_not_shrunk_and_the_report_says_why() {
    let check = Check::new("long").seeds(0..1).step_limit(1_000_001).shrink_time(LONG);
    let report = check.run(move |sim: Sim| async move {
        let coin = sim.choose("coin", usize::MAX);
        // No livelock: a timer fires now and then.
        loop {
            if coin == 0 {
                return;
            }
            for _ in 0..1_000 {
                sim.yield_now().await;
            }
            sim.sleep(MS).await;
        }
    });
    let reason =
        "it was not shrunk: a run of 1000001 steps makes too many choices; step_limit ends";
    assert_has_in_order(&report, &["long failed with seed 0x0, run 1:\n\nstep limit", reason]);
    assert_eq!(report.choices(), None);
    assert!(report.to_string().lines().count() < 20, "{report}");
}

#[test]
fn repetition_that_takes_too_long_is_stopped_and_reported() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let report = Check::new("slow-again").seeds(0..1).shrink_time(SEC).run(|sim: Sim| async move {
        // It goes on for ever from the second run on, poll after poll.
        while RUNS.load(Relaxed) > 0 {
            std::thread::sleep(MS);
            sim.sleep(MS).await;
        }
        RUNS.fetch_add(1, Relaxed);
        panic!("at once");
    });
    assert_has_in_order(
        &report,
        &["task main panicked: at once", "it was neither repeated nor shrunk: a repet"],
    );
    assert_has_none_of(&report, &["was not the same run", "virtnet: the run was stopped"]);
}

#[test]
fn shrink_attempt_that_takes_too_long_is_stopped_and_reported() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let check = Check::new("slow").seeds(0..1).shrink_time(SEC);
    let report = check.run(|sim: Sim| async move {
        let sum: usize = (0..9).map(|_| sim.choose("die", 6)).sum();
        // From the fourth run on it goes on for an hour of real time, poll after poll.
        while RUNS.load(Relaxed) >= 3 {
            std::thread::sleep(MS);
            sim.yield_now().await;
        }
        RUNS.fetch_add(1, Relaxed);
        assert!(sum < 5, "more than four");
    });
    assert_has_in_order(
        &report,
        &["at most ", " choices matter (", "the time for shrinking is used up"],
    );
}

#[test]
fn shrink_time_of_zero_or_maximum_still_reports_the_failure() {
    for time in [Duration::ZERO, Duration::MAX] {
        let report = Check::new("any-time").seeds(0..1).shrink_time(time).run(|sim| async move {
            assert_eq!(sim.choose("die", 2), 2, "never");
        });
        assert_has_in_order(
            &report,
            &["any-time failed with seed 0x0, run 1:\n\ntask main panicked", "never"],
        );
    }
}
