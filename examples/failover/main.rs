//! A replicated HTTP service under a swarm of faults: a primary, a standby, and clients.
//!
//! Unmodified hyper serves a log on two nodes; its clients run on a third. The primary sends each
//! record to the standby before it acknowledges it. When the primary is silent, the standby takes
//! over, and gives the lead back when the primary returns. For half a minute all three nodes are
//! partitioned, held, reset, crashed, paused, closed and restarted as the seed decides. Then
//! everything is healed, and the run must make progress. At the end an oracle compares the
//! clients' answers with the disks: every request must have been answered once and be in the log
//! once, or have been reported as failed because of a fault that is named.
//!
//! ```sh
//! cargo run --release --example failover -- --seed 7        # the timeline of one run
//! cargo run --release --example failover -- --seeds 2000    # many, and what the faults did
//! cargo run --release --example failover -- --on pipe       # the same programs, in memory
//! ```
//!
//! The files in reading order: `plan` (the requests), `disk` (what survives a crash), `journal`
//! (the events), `http_client` and `service` (HTTP), `primary`, `standby`, `client`, `tally`,
//! `oracle`, `scenario` (one run). The files shared with `examples/http` are in that folder.

#[path = "../http/cli.rs"]
mod cli;
#[path = "../http/digest.rs"]
mod digest;
#[path = "../http/hyper_io.rs"]
mod hyper_io;
#[path = "../http/body.rs"]
mod body;
#[path = "../http/sweep.rs"]
mod sweep;
mod plan;
mod disk;
mod journal;
mod http_client;
mod service;
mod primary;
mod standby;
mod client;
mod tally;
mod oracle;
mod scenario;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use virtnet::Schedule;
use virtnet::simnet::FaultKind;

use cli::{parse_seed, parse_seeds};
use scenario::NetworkKind;
use sweep::{SweepConfig, SweepReport};
use tally::Tally;

/// A sweep of so many seeds must have felt every fault.
const MIN_SEEDS_FOR_ALL_FAULTS: u64 = 200;

/// A replicated HTTP service under a swarm of faults: a primary, a standby, and clients that fail
/// over.
///
/// Without --seed or --seeds it plays seed 0.
#[derive(Parser)]
#[command(
    name = "failover",
    after_help = "\
Exit codes: 0 all went well, 1 a run failed, 2 bad arguments, 130 stopped by Ctrl-C.
A sweep of 200 seeds or more on the simulated network also fails if a fault never had an effect.
The same build, network, seed and schedule print the same bytes, wherever they run."
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
    /// The network on which it is played
    #[arg(long, value_name = "sim|pipe", default_value = "sim")]
    on: NetworkKind,
    /// How orders are explored: first come, or at random
    #[arg(
        long,
        value_name = "fifo|random",
        value_parser = parse_fair_schedule,
        default_value = "random"
    )]
    schedule: Schedule,
    /// Print the records of the run's trace after the timeline
    #[arg(long)]
    trace: bool,
}

/// What is done wrong on purpose, so that tests can see the oracle object.
#[derive(Clone, Copy, Default)]
struct PlantedBugs {
    /// The primary acknowledges before the standby has the record.
    acknowledge_early: bool,
    /// The primary answers reads without asking whether it still leads.
    read_unconfirmed: bool,
    /// The servers do not look whether they know a request already.
    forget_requests: bool,
    /// Clients drop what has failed, and report nothing.
    swallow_failures: bool,
}

/// Reads a schedule that is fair. Others hold back some tasks for seconds, for ever: whoever gives
/// up sooner never gets an answer.
fn parse_fair_schedule(text: &str) -> Result<Schedule, String> {
    match text.parse() {
        Ok(schedule @ (Schedule::Fifo | Schedule::Random)) => Ok(schedule),
        _ => Err("expected `fifo` or `random`: no progress can be demanded of another".into()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::silence_panics_in_runs();
    let (text, code) = match args.seeds.clone() {
        Some(seeds) => run_many_seeds(seeds, args.on, args.schedule),
        None => run_one_seed(&args),
    };
    cli::print(&text, code)
}

/// Plays one seed.
fn run_one_seed(args: &Args) -> (String, ExitCode) {
    let run = scenario::new_run(args.seed, args.schedule);
    let run = if args.trace { run.keep_trace() } else { run };
    let result = scenario::run_scenario(run, args.on, PlantedBugs::default());
    let mut text = result.to_string();
    if let Some(trace) = &result.outcome.trace {
        text += &format!("\ntrace\n{trace}");
    }
    let code = if result.outcome.is_done() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    (text, code)
}

/// Plays many seeds.
fn run_many_seeds(
    seeds: Range<u64>,
    network: NetworkKind,
    schedule: Schedule,
) -> (String, ExitCode) {
    let report = sweep(seeds, network, schedule, PlantedBugs::default(), cli::stop_on_ctrl_c());
    let ineffective = ineffective_faults(&report);
    let mut text = report.to_string();
    if !ineffective.is_empty() {
        let names: Vec<&str> = ineffective.iter().map(|kind| kind.name()).collect();
        text += &format!("\nFAILED: these faults never had an effect: {}\n", names.join(", "));
    }
    (text, cli::exit_code(report.passed() && ineffective.is_empty()))
}

/// Plays seeds with or without lies.
fn sweep(
    seeds: Range<u64>,
    network: NetworkKind,
    schedule: Schedule,
    bugs: PlantedBugs,
    stop: &std::sync::atomic::AtomicBool,
) -> SweepReport<Tally> {
    let options = if network == NetworkKind::Pipe { " --on pipe" } else { "" };
    let config = SweepConfig { seeds, schedule, replay_options: options };
    let run_seed =
        |seed| scenario::run_scenario(scenario::new_run(seed, schedule), network, bugs).outcome;
    sweep::sweep(config, stop, run_seed)
}

/// Names the faults that a large sweep asked for and never felt: they would look like robustness.
fn ineffective_faults(report: &SweepReport<Tally>) -> Vec<FaultKind> {
    if report.seeds_run < MIN_SEEDS_FOR_ALL_FAULTS {
        Vec::new()
    } else {
        report.tally.fault_stats.ineffective()
    }
}
