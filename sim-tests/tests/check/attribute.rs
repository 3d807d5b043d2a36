//! The attribute `#[virtnet::test]`: every form of function and every option that it accepts.

use std::cell::Cell;
use std::future::pending;
use std::panic::{catch_unwind, resume_unwind};
use std::time::Duration;

use virtnet::check::{Check, Isolation, always, eventually, sometimes};
use virtnet::{Sim, Tape};

#[virtnet::test]
async fn async_test_with_sim_argument_runs(sim: Sim) {
    sim.sleep(Duration::from_secs(1)).await;
    sometimes!(sim.choose("coin", 2) == 1, "heads");
}

#[virtnet::test(seeds = 3)]
async fn async_test_without_argument_may_return_a_result() -> Result<(), String> {
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
async fn test_attribute_accepts_every_option(sim: Sim) {
    assert!((5..7).contains(&sim.seed()));
}

#[virtnet::test(seeds = 2)]
#[should_panic(expected = "replay: VIRTNET_SEED=0x0 cargo test -p sim-tests --test sim \
    check::attribute::should_panic")]
async fn should_panic_attribute_is_kept(_sim: Sim) {
    panic!("this is expected");
}

#[virtnet::test(seeds = 2)]
#[should_panic(expected = "the test returned an error: \"no\"")]
async fn returned_error_fails_the_test() -> Result<(), &'static str> {
    Err("no")
}

#[virtnet::test(seeds = 2, time_limit = "soon")]
#[should_panic(expected = "virtnet: time_limit = \"soon\": expected a duration, as 5min")]
async fn malformed_time_limit_panics_with_one_sentence() {}

#[virtnet::test(jobs = 0)]
#[should_panic(expected = "virtnet: jobs = \"0\": expected a number of threads from 1")]
async fn zero_jobs_are_rejected() {}

#[virtnet::test(budget = "0s")]
#[should_panic(expected = "virtnet: budget = \"0s\": expected a duration, as 60s")]
async fn zero_budget_is_rejected() {}

/// What stands in `refused/` does not compile, and what the compiler says stands beside it. All of
/// it is the attribute's own words: another compiler says the same.
#[test]
fn invalid_attribute_use_fails_to_compile_with_recorded_error() {
    trybuild::TestCases::new().compile_fail("tests/check/attribute_errors/*.rs");
}

#[test]
fn unreached_sometimes_fails_the_sweep() {
    let check = || Check::new("never").seeds(0..20);
    let report = check().run(|_| async { sometimes!(false, "the moon") });
    assert!(report.to_string().contains("sometimes! was never reached: the moon"), "{report}");
    let passing = check().run(|sim| async move { sometimes!(sim.seed() == 7, "seven") });
    assert!(passing.is_ok(), "{passing}");
    assert_eq!(passing.reached().collect::<Vec<_>>(), [("seven", 1)]);
}

#[test]
#[expect(clippy::if_same_then_else, reason = "the places differ, which is the point")]
fn always_of_one_label_is_one_failure_at_any_location() {
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
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn reported_panic_location_ignores_caught_and_destructor_panics() {
    let line = line!() + 6;
    let report = Check::new("places").shrink(0).run(|sim| async move {
        let _ = catch_unwind(|| panic!("caught"));
        let panics_on_drop = PanicsOnDrop;
        sim.task("holder").spawn(async move { drop((pending::<()>().await, panics_on_drop)) });
        sim.sleep(Duration::from_secs(1)).await;
        panic!("this one");
    });
    let expected = format!("this one\n  panicked at {}:{line}:", file!());
    assert!(report.to_string().contains(&expected), "{report}");
}

#[test]
fn failures_without_location_are_told_apart_by_message() {
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
fn smallest_failing_seed_is_reported_for_any_isolation_and_jobs() {
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
fn thread_local_survives_into_next_run_only_if_shared() {
    thread_local!(static RUNS: Cell<u64> = const { Cell::new(0) });
    let sweep = |isolation| {
        let check = Check::new("isolated").seeds(0..50).jobs(1).isolate(isolation).shrink(0);
        check.run(|_| async {
            RUNS.set(RUNS.get() + 1);
            assert_eq!(RUNS.get(), 1);
        })
    };
    assert!(sweep(Isolation::Thread).is_ok());
    assert_eq!(sweep(Isolation::Shared).failed_seed, Some(1));
}

#[test]
fn eventually_is_ok_once_true_and_elapsed_at_the_limit() {
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
