//! The attribute `test` on functions of every form it takes.

use std::cell::Cell;
use std::future::pending;
use std::panic::{catch_unwind, resume_unwind};
use std::time::Duration;

use virtnet::check::{Check, Isolation, always, eventually, sometimes};
use virtnet::{Sim, Tape};

#[virtnet::test]
async fn a_test_takes_a_sim(sim: Sim) {
    sim.sleep(Duration::from_secs(1)).await;
    sometimes!(sim.choose("coin", 2) == 1, "heads");
}

#[virtnet::test(seeds = 3)]
async fn a_test_takes_nothing_and_returns_a_result() -> Result<(), String> {
    virtnet::time::sleep(Duration::from_millis(1)).await;
    Ok(())
}

#[virtnet::test(
    seeds = "5..7",
    schedule = "pct:3",
    time_limit = "5min",
    step_limit = 1000,
    jobs = 1,
    shrink = 10,
    isolate = "shared",
    check_determinism
)]
async fn all_options_are_taken(sim: Sim) {
    assert!((5..7).contains(&sim.seed()));
}

#[virtnet::test(seeds = 2)]
#[should_panic(
    expected = "replay: VIRTNET_SEED=0x0 cargo test -p sim-tests --test sim attribute::other"
)]
async fn other_attributes_stay_as_they_are(_sim: Sim) {
    panic!("this is expected");
}

#[virtnet::test(seeds = 2)]
#[should_panic(expected = "the test returned an error: \"no\"")]
async fn an_error_fails_the_test() -> Result<(), &'static str> {
    Err("no")
}

#[virtnet::test(seeds = 2, time_limit = "soon")]
#[should_panic(expected = "virtnet: time_limit = \"soon\": expected a duration, as 5min")]
async fn a_malformed_option_is_one_sentence() {}

#[virtnet::test(jobs = 0)]
#[should_panic(expected = "virtnet: jobs = \"0\": expected a number of threads from 1")]
async fn no_thread_runs_no_seed() {}

#[virtnet::test(budget = "0s")]
#[should_panic(expected = "virtnet: budget = \"0s\": expected a duration, as 60s")]
async fn no_time_runs_no_seed() {}

/// What stands in `refused/` does not compile, and what the compiler says stands beside it. All of
/// it is the attribute's own words: another compiler says the same.
#[test]
fn what_the_attribute_refuses_it_refuses_in_one_sentence() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}

#[test]
fn a_sometimes_that_is_never_reached_fails_the_sweep_and_no_replay() {
    let check = || Check::new("never").seeds(0..20);
    let report = check().run(|_| async { sometimes!(false, "the moon") });
    assert!(report.to_string().contains("sometimes! was never reached: the moon"), "{report}");
    let well = check().run(|sim| async move { sometimes!(sim.seed() == 7, "seven") });
    assert!(well.is_ok(), "{well}");
    assert_eq!(well.reached().collect::<Vec<_>>(), [("seven", 1)]);
}

#[test]
#[expect(clippy::if_same_then_else, reason = "the places differ, which is the point")]
fn an_always_is_the_same_failure_wherever_it_breaks() {
    let report = Check::new("always").seeds(0..100).run(|sim| async move {
        let coin = sim.choose("coin", 4);
        if sim.choose("way", 2) == 0 {
            always!(coin < 3, "less than three");
        } else {
            always!(coin < 3, "less than three");
        }
    });
    assert!(report.to_string().contains("always! does not hold: less than three"), "{report}");
    assert_eq!(report.choices().map(|(matter, _)| matter), Some(1), "{report}");
}

/// Panics where nobody wants it.
struct Bad;

impl Drop for Bad {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn a_panic_is_told_by_its_own_place_whatever_else_panics() {
    let line = line!() + 6;
    let report = Check::new("places").shrink(0).run(|sim| async move {
        let _ = catch_unwind(|| panic!("caught"));
        let bad = Bad;
        sim.task("holder").spawn(async move { drop((pending::<()>().await, bad)) });
        sim.sleep(Duration::from_secs(1)).await;
        panic!("this one");
    });
    let expected = format!("this one\n  panicked at {}:{line}:", file!());
    assert!(report.to_string().contains(&expected), "{report}");
}

#[test]
fn failures_are_not_the_same_because_nobody_says_where_they_are() {
    let tape = Tape::zero().with("choose main one", 0, 1).with("choose main other", 0, 1);
    let report = Check::new("nowhere").tape(tape).run(|sim| async move {
        let _ = catch_unwind(|| panic!("caught"));
        match (sim.choose("one", 2), sim.choose("other", 2)) {
            (0, 0) => {}
            (1, 1) => resume_unwind(Box::new("both")),
            _ => resume_unwind(Box::new("one of them")),
        }
    });
    assert!(report.to_string().contains("task main panicked: both\n\n2 of 2 choices"), "{report}");
}

#[test]
fn the_smallest_seed_that_fails_is_reported_whatever_the_threads_do() {
    for isolation in [Isolation::Shared, Isolation::Thread] {
        for jobs in [1, 2, 4] {
            let report = Check::new("smallest")
                .seeds(0..400)
                .jobs(jobs)
                .isolate(isolation)
                .shrink(0)
                .run(|sim| async move { assert!(sim.seed() < 123 || sim.seed() % 2 == 0) });
            assert_eq!(report.failed_seed, Some(123));
        }
    }
}

#[test]
fn a_thread_local_does_not_survive_into_the_next_run() {
    thread_local!(static RUNS: Cell<u64> = const { Cell::new(0) });
    let count = |isolation| {
        let report = Check::new("isolated").seeds(0..50).jobs(1).isolate(isolation).shrink(0);
        report.run(|_| async {
            RUNS.set(RUNS.get() + 1);
            assert_eq!(RUNS.get(), 1);
        })
    };
    assert!(count(Isolation::Thread).is_ok());
    assert_eq!(count(Isolation::Shared).failed_seed, Some(1));
}

#[test]
fn eventually_waits_and_gives_up() {
    virtnet::Run::new(1)
        .execute(async |sim| {
            let start = sim.now();
            let in_time = eventually(Duration::from_secs(2), || async {
                sim.now() - start >= Duration::from_secs(1)
            });
            assert!(in_time.await.is_ok());
            assert!(eventually(Duration::from_secs(2), || async { false }).await.is_err());
        })
        .unwrap();
}
