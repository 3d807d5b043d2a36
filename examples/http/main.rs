//! A real HTTP service on a simulated network, and a server that is closed in mid-answer.
//!
//! Unmodified hyper serves on the hosts α and β; its clients run on γ. The clients keep their
//! connections alive, send and receive bodies in chunks, and fail over when an answer breaks off.
//! At an instant that the seed decides, an operator closes one of the servers with `Host::close`
//! while it is sending an answer. At the end an oracle compares what the servers sent with what
//! the clients received: every request must have been answered exactly once, byte for byte, or
//! reported as failed.
//!
//! ```sh
//! cargo run --release --example http -- --seed 7        # the timeline of one run
//! cargo run --release --example http -- --seeds 1000    # a thousand runs, on all cores
//! ```
//!
//! The same seed is the same run, event for event: it prints the same bytes on every machine. The
//! files in reading order: `cli` and `digest` (helpers), `plan` (the requests), `journal` (the
//! events), `hyper_io` (hyper on virtnet), `body`, `service`, `client`, `oracle`, `scenario` (one
//! run), `sweep` (many runs).

mod cli;
mod digest;
mod plan;
mod journal;
mod hyper_io;
mod body;
mod service;
mod client;
mod oracle;
mod scenario;
mod sweep;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use virtnet::Schedule;

use cli::{parse_seed, parse_seeds};
use sweep::SweepConfig;

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
    #[arg(long, value_name = "N", value_parser = parse_seed, default_value = "0")]
    #[arg(allow_negative_numbers = true)]
    seed: u64,
    /// Play the seeds 0..N, or A..B (without B), on all cores, and print what came of them
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds)]
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
struct PlantedBugs {
    /// Clients take an answer that was cut off for a whole one.
    accept_truncated: bool,
    /// Servers send the body of every answer twice.
    answer_twice: bool,
    /// Clients settle every request twice.
    settle_twice: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::silence_panics_in_runs();
    let (text, code) = match args.seeds {
        Some(seeds) => run_many_seeds(seeds, args.schedule),
        None => run_one_seed(args.seed, args.schedule, args.trace),
    };
    cli::print(&text, code)
}

/// Plays one seed.
fn run_one_seed(seed: u64, schedule: Schedule, trace: bool) -> (String, ExitCode) {
    let run = scenario::new_run(seed, schedule);
    let run = if trace { run.keep_trace() } else { run };
    let result = scenario::run_scenario(run, PlantedBugs::default());
    let mut text = result.to_string();
    if let Some(trace) = &result.outcome.trace {
        text += &format!("\ntrace\n{trace}");
    }
    let code = if result.outcome.is_done() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    (text, code)
}

/// Plays many seeds.
fn run_many_seeds(seeds: Range<u64>, schedule: Schedule) -> (String, ExitCode) {
    let config = SweepConfig { seeds, schedule, replay_options: "" };
    let run_seed = |seed| {
        scenario::run_scenario(scenario::new_run(seed, schedule), PlantedBugs::default()).outcome
    };
    let report = sweep::sweep(config, cli::stop_on_ctrl_c(), run_seed);
    (report.to_string(), cli::exit_code(report.passed()))
}
