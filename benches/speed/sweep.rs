//! The cost of a sweep beyond its runs: on one thread, on two, and over a million seeds.
//!
//! `Check` is timed as users call it, beside bare calls of `Run`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use virtnet::Run;
use virtnet::check::{Check, Isolation};

/// Work that takes a millisecond of a processor to itself, a part of it, or none: so many turns.
fn spin(iterations: u64) {
    for iteration in 0..iterations {
        black_box(iteration);
    }
}

/// How many turns take a millisecond.
fn iterations_per_millisecond() -> u64 {
    const ITERATIONS: u64 = 10_000_000;
    let took = (0..9).map(|_| {
        let start = Instant::now();
        spin(ITERATIONS);
        start.elapsed()
    });
    let min = took.min().unwrap_or_default();
    (ITERATIONS as f64 * 1e6 / min.as_nanos() as f64) as u64
}

fn sweep(seeds: u64, jobs: usize, isolation: Isolation, iterations: u64) -> Duration {
    let start = Instant::now();
    let check = Check::new("bench-sweep").seeds(0..seeds).jobs(jobs).isolate(isolation);
    let report = check.run(move |_| async move {
        spin(iterations);
    });
    assert!(report.is_ok(), "{report}");
    start.elapsed()
}

fn bare_runs(seeds: u64, iterations: u64) -> Duration {
    let start = Instant::now();
    for seed in 0..seeds {
        let run = Run::new(black_box(seed)).execute(async move |_| spin(iterations));
        run.unwrap();
    }
    start.elapsed()
}

/// The least of some passes, in microseconds a run, of the sweep and of the bare runs, which take
/// turns: what else the machine does can only add to it.
fn min_micros(seeds: u64, isolation: Isolation, iterations: u64) -> (f64, f64) {
    let micros = |took: Duration| took.as_nanos() as f64 / 1000.0 / seeds as f64;
    (0..9).fold((f64::MAX, f64::MAX), |(min_sweep, min_bare), _| {
        let pass = (sweep(seeds, 1, isolation, iterations), bare_runs(seeds, iterations));
        (min_sweep.min(micros(pass.0)), min_bare.min(micros(pass.1)))
    })
}

/// How many times as fast two threads are as one: by the clock, which needs two idle cores, and by
/// the processor time that a run takes on each, which does not.
fn two_job_speedup(iterations: u64, seeds: u64, processor: &impl Fn() -> u64) -> (f64, f64) {
    let min_times = |jobs| {
        let passes = (0..9).map(|_| {
            let before = processor();
            let took = sweep(seeds, jobs, Isolation::Shared, iterations).as_secs_f64();
            (took, (processor() - before) as f64)
        });
        passes.fold((f64::MAX, f64::MAX), |(took, cpu), pass| (took.min(pass.0), cpu.min(pass.1)))
    };
    let (one, two) = (min_times(1), min_times(2));
    (one.0 / two.0, 2.0 * one.1 / two.1)
}

/// Reports all of it.
pub(crate) fn report(resident_kib: impl Fn() -> u64, cpu_ticks: impl Fn() -> u64) {
    const NO_WORK: u64 = 0;
    println!("{:<42} {:>9} {:>9}", "a run, in microseconds", "sweep", "bare");
    let row = |name, isolation, iterations, seeds| {
        let (sweep_micros, bare_micros) = min_micros(seeds, isolation, iterations);
        println!("{name:<42} {sweep_micros:>9.2} {bare_micros:>9.2}");
    };
    // First, because in each process all that stands above it is done once more.
    row("of nothing, a fresh process", Isolation::Process, NO_WORK, 50);
    let millisecond = iterations_per_millisecond();
    for (name, isolation, iterations, seeds) in [
        ("of nothing, no isolation (at most 2 more)", Isolation::Shared, NO_WORK, 50_000),
        ("of 1 ms, no isolation (at most 1250)", Isolation::Shared, millisecond, 100),
        ("of 1 ms, a fresh thread (at most 1250)", Isolation::Thread, millisecond, 100),
        ("of nothing, a fresh thread", Isolation::Thread, NO_WORK, 2_000),
    ] {
        row(name, isolation, iterations, seeds);
    }
    println!("\n{:<42} {:>9} {:>9}", "two jobs to one (at least 1.8)", "clock", "processor");
    for (name, work, seeds) in
        [("runs of nothing", NO_WORK, 500_000), ("runs of 0.1 ms", millisecond / 10, 5_000)]
    {
        let (clock, cpu) = two_job_speedup(work, seeds, &cpu_ticks);
        println!("{name:<42} {clock:>9.2} {cpu:>9.2}");
    }
    println!("\nresident memory, in KiB");
    for thousands in [1, 10, 100, 1000] {
        sweep(thousands * 1000, 1, Isolation::Shared, NO_WORK);
        println!("after {thousands:>4} 000 seeds: {}", resident_kib());
    }
}
