//! A real HTTP service on a simulated network, and a server that dies in mid-answer.
//!
//! Hyper, unmodified, serves on the hosts α and β; its clients run on γ. They keep their
//! connections alive, send and receive bodies in chunks, and fail over when an answer breaks. At
//! a moment that the seed decides, an operator closes one of the servers with `Host::close` while
//! it is sending an answer. In the end an oracle compares what the servers did with what the
//! clients got: every request must have been answered exactly once, byte for byte, or reported as
//! failed.
//!
//! ```sh
//! cargo run --release --example http -- --seed 7        # the timeline of one run
//! cargo run --release --example http -- --seeds 1000    # a thousand runs, on all cores
//! ```
//!
//! The same seed is the same run, event for event: it prints the same bytes, everywhere. The
//! files in reading order: `plan` (what is asked), `journal` (what is written down), `io` (hyper
//! on virtnet), `body`, `service`, `client`, `oracle`, `story` (one run), `sweep` (many).

mod plan;
mod journal;
mod io;
mod body;
mod service;
mod client;
mod oracle;
mod story;
mod sweep;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use clap::Parser;
use virtnet::{Schedule, Sim};

/// A real HTTP service on a simulated network: one server dies in mid-answer, and the clients
/// fail over.
///
/// Without --seed or --seeds it plays seed 0.
#[derive(Parser)]
#[command(
    name = "http",
    after_help = "\
Exit codes: 0 all went well, 1 a run failed, 2 bad arguments, 130 stopped by Ctrl-C.
The same build, seed and schedule print the same bytes, wherever they run."
)]
struct Args {
    /// Play one seed, decimal or 0x hexadecimal, and print its timeline
    #[arg(long, value_name = "N", value_parser = seed, default_value = "0")]
    #[arg(allow_negative_numbers = true)]
    seed: u64,
    /// Play the seeds 0..N, or A..B (without B), on all cores, and print what came of them
    #[arg(long, value_name = "N|A..B", value_parser = seeds)]
    #[arg(allow_negative_numbers = true)]
    #[arg(conflicts_with_all = ["seed", "trace"])]
    seeds: Option<Range<u64>>,
    /// How orders are explored: first come, at random, or for bugs that N constraints bring about
    #[arg(long, value_name = "fifo|random|pct:N", default_value = "random")]
    schedule: Schedule,
    /// Print the records of the run's trace after the timeline
    #[arg(long)]
    trace: bool,
}

/// What is done wrong on purpose, so that tests can see the oracle object.
#[derive(Clone, Copy, Default)]
struct Lies {
    /// Clients take an answer that was cut off for a whole one.
    accept_truncated: bool,
    /// Servers send the body of every answer twice.
    answer_twice: bool,
    /// Clients settle every request twice.
    settle_twice: bool,
}

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let args = Args::parse();
    keep_panics_of_runs_quiet();
    let (text, code) = match args.seeds {
        Some(seeds) => many(seeds, args.schedule),
        None => one(args.seed, args.schedule, args.trace),
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads may have read enough: `| head`.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: cannot print the result: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Plays one seed.
fn one(seed: u64, schedule: Schedule, trace: bool) -> (String, ExitCode) {
    let run = story::run(seed, schedule);
    let run = if trace { run.keep_trace() } else { run };
    let story = story::play(run, Lies::default());
    let mut text = story.to_string();
    if let Some(trace) = &story.outcome.trace {
        text += &format!("\ntrace\n{trace}");
    }
    let code = if story.outcome.is_done() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    (text, code)
}

/// Plays many seeds.
fn many(seeds: Range<u64>, schedule: Schedule) -> (String, ExitCode) {
    let caught = ctrlc::set_handler(|| {
        // The second time is meant.
        if STOP.swap(true, Relaxed) {
            std::process::exit(130);
        }
    });
    if let Err(error) = caught {
        eprintln!("warning: Ctrl-C will lose the result: {error}");
    }
    let report = sweep::sweep(seeds, schedule, Lies::default(), &STOP);
    let code = match (report.passed(), STOP.load(Relaxed)) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(130),
        (true, false) => ExitCode::SUCCESS,
    };
    (report.to_string(), code)
}

/// A panic inside a run is that run's ending, and is printed as such; once is enough.
fn keep_panics_of_runs_quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if Sim::try_current().is_none() {
            usual(panic);
        }
    }));
}

/// Reads a seed, as it is printed in either of two ways.
fn seed(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    u64::from_str_radix(digits, radix).map_err(|error| {
        format!("a seed is a number from 0 to {}, or 0x and hex: {error}", u64::MAX)
    })
}

/// Reads a range of seeds.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = match text.split_once("..") {
        Some((start, end)) => seed(start)?..seed(end)?,
        None => 0..seed(text)?,
    };
    if range.is_empty() {
        return Err("there is no seed in it: give a number from 1, or A..B with A below B".into());
    }
    Ok(range)
}

/// Says what went wrong, and what was behind it, unless that has been said already.
fn why(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let behind = error.to_string();
        if !text.ends_with(&behind) {
            text += &format!(": {behind}");
        }
        source = error.source();
    }
    text
}
