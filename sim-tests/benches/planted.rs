//! How soon each planted bug is found, and what is left of its choices: `cargo bench -p sim-tests`.
//!
//! Each is swept twenty times from different seeds on. What is printed is the table of the README:
//! medians, but for the time, of which it is the longest.

#[allow(dead_code, reason = "some of it only the tests use")]
#[path = "../tests/planted/programs.rs"]
mod programs;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use virtnet::Sim;
use virtnet::check::{Check, Report};

use programs::{Noise, PROGRAMS};

const SWEEPS: u64 = 20;

/// What came of a sweep.
struct Found {
    seeds: u64,
    choices: Option<(usize, usize)>,
    runs: u64,
    took: Duration,
}

impl Found {
    fn new(start: u64, report: &Report, took: Duration) -> Self {
        let Some(seed) = report.failed_seed else { panic!("it was not found:\n{report}") };
        let seeds = seed - start + 1;
        Self { seeds, choices: report.choices(), runs: report.shrink_runs(), took }
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Sweeps twenty times, and prints a line of the table.
fn row(name: &str, sweep: impl Fn(Check) -> Report) {
    let found: Vec<Found> = (0..SWEEPS)
        .map(|n| {
            let start = n * 1_000_000;
            let begun = Instant::now();
            let report = sweep(Check::new(name).seeds(start..start + 100_000).jobs(1));
            Found::new(start, &report, begun.elapsed())
        })
        .collect();
    let seeds = median(found.iter().map(|found| found.seeds));
    let longest = found.iter().map(|found| found.took).max().unwrap_or_default().as_secs_f64();
    let name = name.replace('_', " ");
    if found.iter().all(|found| found.choices.is_none()) {
        println!("| {name} | {seeds} | | | | {longest:.1} s |");
        return;
    }
    let of = |pick: fn(&(usize, usize)) -> usize| {
        found.iter().filter_map(|found| found.choices.as_ref()).map(pick).collect::<Vec<_>>()
    };
    let (left, all) = (of(|choices| choices.0), of(|choices| choices.1));
    let most = left.iter().max().copied().unwrap_or(0);
    let runs = median(found.iter().map(|found| found.runs));
    let (left, all) = (median(left.into_iter()), median(all.into_iter()));
    println!("| {name} | {seeds} | {all} | {left} (at most {most}) | {runs} | {longest:.1} s |");
}

fn main() {
    println!("| bug | seeds until found | choices | that matter | runs of shrinking | longest |");
    println!("|---|---|---|---|---|---|");
    for program in PROGRAMS {
        let play = program.play;
        row(program.name, |check| check.run(move |sim: Sim| play(sim, Noise::None)));
    }
    // These are found by repeating each seed, and there is nothing to cut down.
    row("a HashMap iterated into the protocol", |check| {
        check.check_determinism().run(|sim| async move {
            let peers: HashMap<u32, &str> = (0..20).map(|number| (number, "peer")).collect();
            peers.keys().for_each(|number| sim.note(format!("send to {number}")));
        })
    });
    row("Instant::now in a decision", |check| {
        check.check_determinism().run(|sim| async move {
            let start = Instant::now();
            sim.sleep(Duration::from_nanos(1 + start.elapsed().as_nanos() as u64)).await;
        })
    });
    row("thread::spawn", |check| {
        check.check_determinism().run(|sim| async move {
            let (sender, receiver) = futures::channel::oneshot::channel();
            let thread = std::thread::spawn(move || sender.send(()));
            let mut waits = Box::pin(receiver);
            while futures::poll!(&mut waits).is_pending() {
                sim.sleep(Duration::from_micros(1)).await;
            }
            drop(thread.join());
        })
    });
}
