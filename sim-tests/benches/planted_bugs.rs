//! Detection and shrinking of the planted bugs: `cargo bench -p sim-tests`.
//!
//! Each bug is swept 20 times from different first seeds. The output is the table of
//! benches/README.md, with medians; the time column is the maximum.

#[allow(dead_code, reason = "some of it only the tests use")]
#[path = "../tests/check/planted/programs.rs"]
mod programs;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use virtnet::Sim;
use virtnet::check::{Check, Report};

use programs::{Noise, PROGRAMS};

const SWEEPS: u64 = 20;

/// What came of a sweep.
struct SweepResult {
    seeds: u64,
    choices: Option<(usize, usize)>,
    runs: u64,
    elapsed: Duration,
}

impl SweepResult {
    fn new(first_seed: u64, report: &Report, elapsed: Duration) -> Self {
        let Some(seed) = report.failed_seed else { panic!("it was not found:\n{report}") };
        let seeds = seed - first_seed + 1;
        Self { seeds, choices: report.choices(), runs: report.shrink_runs(), elapsed }
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Sweeps twenty times, and prints a line of the table.
fn print_row(name: &str, sweep: impl Fn(Check) -> Report) {
    let found: Vec<SweepResult> = (0..SWEEPS)
        .map(|n| {
            let first_seed = n * 1_000_000;
            let started_at = Instant::now();
            let report = sweep(Check::new(name).seeds(first_seed..first_seed + 100_000).jobs(1));
            SweepResult::new(first_seed, &report, started_at.elapsed())
        })
        .collect();
    let seeds = median(found.iter().map(|found| found.seeds));
    let longest = found.iter().map(|found| found.elapsed).max().unwrap_or_default().as_secs_f64();
    let name = name.replace('_', " ");
    if found.iter().all(|found| found.choices.is_none()) {
        println!("| {name} | {seeds} | | | | {longest:.1} s |");
        return;
    }
    let column = |pick: fn(&(usize, usize)) -> usize| {
        found.iter().filter_map(|found| found.choices.as_ref()).map(pick).collect::<Vec<_>>()
    };
    let (remaining, total) = (column(|choices| choices.0), column(|choices| choices.1));
    let max_remaining = remaining.iter().max().copied().unwrap_or(0);
    let runs = median(found.iter().map(|found| found.runs));
    let (remaining, total) = (median(remaining.into_iter()), median(total.into_iter()));
    println!(
        "| {name} | {seeds} | {total} | {remaining} (at most {max_remaining}) | {runs} | \
         {longest:.1} s |"
    );
}

fn main() {
    println!("| bug | seeds until found | choices | that matter | runs of shrinking | longest |");
    println!("|---|---|---|---|---|---|");
    for program in PROGRAMS {
        let main_fn = program.main;
        print_row(program.name, |check| check.run(move |sim: Sim| main_fn(sim, Noise::None)));
    }
    // These are found by repeating each seed, and there is nothing to cut down.
    print_row("a HashMap iterated into the protocol", |check| {
        check.check_determinism().run(|sim| async move {
            let peers: HashMap<u32, &str> = (0..20).map(|number| (number, "peer")).collect();
            peers.keys().for_each(|number| sim.note(format!("send to {number}")));
        })
    });
    print_row("Instant::now in a decision", |check| {
        check.check_determinism().run(|sim| async move {
            let start = Instant::now();
            sim.sleep(Duration::from_nanos(1 + start.elapsed().as_nanos() as u64)).await;
        })
    });
    print_row("thread::spawn", |check| {
        check.check_determinism().run(|sim| async move {
            let (sender, receiver) = futures::channel::oneshot::channel();
            let thread = std::thread::spawn(move || sender.send(()));
            let mut waiting = Box::pin(receiver);
            while futures::poll!(&mut waiting).is_pending() {
                sim.sleep(Duration::from_micros(1)).await;
            }
            drop(thread.join());
        })
    });
}
