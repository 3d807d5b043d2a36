//! Planted bugs: each is found, shrunk and explained.
//!
//! A program makes its bug possible. `Noise` adds what an edit may add to a program (a log line, a
//! timer, an unrelated task); a shrunk tape must fail with it too.

mod nondeterminism;
pub(crate) mod programs;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use virtnet::check::{Check, Report};
use virtnet::{Run, Sim};

use crate::check::planted::programs::{Noise, PROGRAMS, Program};

/// Sweeps a program until a seed fails.
fn sweep(program: &Program, seeds: Range<u64>) -> Report {
    let main = program.main;
    Check::new(program.name).seeds(seeds).run(move |sim: Sim| main(sim, Noise::None))
}

#[test]
fn planted_bugs_are_found_shrunk_and_explained() {
    for program in PROGRAMS {
        let report = sweep(program, 0..20_000);
        let text = report.to_string();
        assert!(report.failed_seed.is_some(), "{}: not found\n{text}", program.name);
        let (remaining, total) = report.choices().unwrap_or_else(|| panic!("not shrunk: {text}"));
        assert!(remaining <= 8, "{remaining} of {total} choices:\n{text}");
        for phrase in program.expected_phrases {
            assert!(text.contains(phrase), "{}: `{phrase}` is not said in\n{text}", program.name);
        }
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("replay: VIRTNET_SEED=0x"), "{last}");
    }
}

#[test]
fn shrunk_tape_still_fails_after_the_program_is_edited() {
    for program in PROGRAMS {
        let report = sweep(program, 0..20_000);
        let tape = report.tape().unwrap().clone();
        let main = program.main;
        for noise in [Noise::None, Noise::LogLine, Noise::Timer, Noise::Task, Noise::All] {
            let outcome = Run::new(0).tape(tape.clone()).execute(|sim| main(sim, noise));
            let failed = !matches!(outcome.ending, virtnet::Ending::Done(Ok(())));
            assert!(failed, "{} does not fail any more after {noise:?}:\n{tape}", program.name);
        }
    }
}

#[test]
#[should_panic(expected = "virtnet: `seeds(5..3)`: there is no seed in it")]
fn empty_seed_range_is_refused() {
    let (from, to) = (5, 3);
    let _ = Check::new("none").seeds(from..to);
}

#[test]
fn run_with_interdependent_choices_is_shrunk_below_ten() {
    const CHOICES: usize = 500;
    let report = Check::new("chaos").seeds(0..200).run(|sim| async move {
        let mut state = 0_u64;
        for n in 0..CHOICES {
            // Another value, and all that comes after it is another.
            state ^= sim.choose(&format!("die-{n}"), 6) as u64;
            state = state.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        }
        assert_ne!(state % 16, 7, "it came to this");
    });
    let (remaining, total) = report.choices().unwrap();
    assert!(total > 300 && remaining < 10, "{remaining} of {total} choices:\n{report}");
}

#[test]
fn early_failure_is_shrunk_without_a_run_that_continues_past_it() {
    static LONG: AtomicU64 = AtomicU64::new(0);
    let report = Check::new("early").seeds(0..1).run(|sim| async move {
        let faces = (0..9).filter(|_| sim.choose("die", 6) > 0).count();
        sim.sleep(Duration::from_secs(1)).await;
        assert!(faces < 3, "three");
        sim.sleep(Duration::from_secs(60)).await;
        LONG.fetch_add(1, Relaxed);
    });
    assert_eq!(report.choices().unwrap().0, 3, "{report}");
    assert_eq!(LONG.load(Relaxed), 0);
}

#[test]
fn run_of_a_million_steps_is_reported_without_its_records() {
    let endless = Check::new("endless").seeds(0..1).step_limit(1_000_001).shrink(0);
    // Its repetitions have that much real time, too.
    let endless = endless.shrink_time(Duration::from_secs(600));
    let run = |name: &'static str| {
        let check = endless.clone().check_determinism();
        let report = check.run(move |sim| async move {
            if name == "differs" {
                static RUNS: AtomicU64 = AtomicU64::new(0);
                sim.note(RUNS.fetch_add(1, Relaxed));
            }
            // No livelock: a timer fires now and then.
            loop {
                for _ in 0..1_000 {
                    sim.yield_now().await;
                }
                sim.sleep(Duration::from_nanos(1)).await;
            }
        });
        report.to_string()
    };
    let reason =
        "is not told: a run of 1000001 steps has too many records; step_limit ends it sooner";
    let (failing, nondeterministic) = (run("fails"), run("differs"));
    // Who makes the main task is no matter of the test.
    assert!(failing.contains("1 task(s):\n  main was woken by task main\n\n"), "{failing}");
    assert!(failing.contains(&format!("\n\nwhat led to it {reason}\n")), "{failing}");
    assert!(
        nondeterministic.contains(&format!("\n\nwhere they part {reason}\n")),
        "{nondeterministic}"
    );
}

#[test]
fn shrinking_stops_when_its_runs_are_used_up() {
    const CHOICES: u64 = 3_000;
    let start = Instant::now();
    let report = Check::new("large").seeds(0..1).shrink(3).run(|sim| async move {
        // They matter all of them, and each may be smaller.
        let ones = (0..CHOICES).map(|_| sim.choose("die", usize::MAX)).filter(|die| *die > 0);
        assert!((ones.count() as u64) < CHOICES, "all of them");
    });
    assert_eq!(report.choices(), Some((CHOICES as usize, CHOICES as usize)));
    assert!(report.to_string().contains("the runs for shrinking are used up"), "{report}");
    // To look at each choice when no run is left for it took more than a minute.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
