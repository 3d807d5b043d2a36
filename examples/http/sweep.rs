//! A sweep over many seeds on all cores, and its report.
//!
//! Results are put in the order of the seeds, so that the report does not depend on the number of
//! threads or their timing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{AddAssign, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use virtnet::{Ending, Fingerprint, Outcome, Schedule};

/// How many failures are printed in full, and how many more by their seeds.
const MAX_FAILURES_IN_FULL: usize = 3;
const MAX_FAILURES_BY_SEED: usize = 20;

/// What is to be played, and how.
#[derive(Clone)]
pub(crate) struct SweepConfig {
    pub(crate) seeds: Range<u64>,
    pub(crate) schedule: Schedule,
    /// More options of a replay, each with a space before it.
    pub(crate) replay_options: &'static str,
}

/// What came of one seed.
struct SeedResult<T> {
    seed: u64,
    fingerprint: Fingerprint,
    result: Result<T, String>,
}

/// What came of all seeds that were played: a prefix of those that were asked for.
pub(crate) struct SweepReport<T> {
    config: SweepConfig,
    pub(crate) seeds_run: u64,
    fingerprints: BTreeSet<Fingerprint>,
    pub(crate) tally: T,
    /// The seeds that failed, and how the first of them ended.
    failed_seeds: Vec<u64>,
    failure_texts: Vec<String>,
}

/// Plays all seeds, or as many as there are until `stop` is set.
pub(crate) fn sweep<T: AddAssign + Default + Send>(
    config: SweepConfig,
    stop: &AtomicBool,
    run_seed: impl Fn(u64) -> Outcome<T> + Sync,
) -> SweepReport<T> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (sender, receiver) = mpsc::sync_channel(1024);
    let next_seed = AtomicU64::new(config.seeds.start);
    let (run_seed, bar) = (&run_seed, new_progress_bar(&config.seeds));
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next_seed, end) = (sender.clone(), &next_seed, config.seeds.end);
            scope.spawn(move || {
                while !stop.load(Relaxed)
                    && let Some(seed) = take_seed(next_seed, end)
                    && sender.send(SeedResult::from_outcome(seed, run_seed(seed))).is_ok()
                {
                }
            });
        }
        drop(sender);
        collect_results(config, receiver, &bar)
    })
}

/// Takes the next seed, if there is one.
fn take_seed(next_seed: &AtomicU64, end: u64) -> Option<u64> {
    next_seed.fetch_update(Relaxed, Relaxed, |seed| (seed < end).then_some(seed + 1)).ok()
}

impl<T> SeedResult<T> {
    fn from_outcome(seed: u64, outcome: Outcome<T>) -> Self {
        let fingerprint = outcome.fingerprint;
        let result = match outcome.ending {
            Ending::Done(tally) => Ok(tally),
            _ => Err(outcome.to_string()),
        };
        Self { seed, fingerprint, result }
    }
}

/// Puts the results in order, as they come in.
fn collect_results<T: AddAssign + Default>(
    config: SweepConfig,
    results: mpsc::Receiver<SeedResult<T>>,
    bar: &ProgressBar,
) -> SweepReport<T> {
    let mut report = SweepReport {
        seeds_run: 0,
        fingerprints: BTreeSet::new(),
        tally: T::default(),
        failed_seeds: Vec::new(),
        failure_texts: Vec::new(),
        config,
    };
    // Every seed that a thread takes it also plays, so that nothing is left here in the end.
    let mut out_of_order = BTreeMap::new();
    for result in results {
        out_of_order.insert(result.seed, result);
        while let Some(result) =
            out_of_order.remove(&(report.config.seeds.start + report.seeds_run))
        {
            report.add(result);
        }
        bar.set_position(report.seeds_run);
        if !report.passed() {
            bar.set_message(format!("{} failed, ", report.failed_seeds.len()));
        }
    }
    bar.finish_and_clear();
    report
}

/// A bar on standard error; indicatif draws nothing if that is no terminal.
fn new_progress_bar(seeds: &Range<u64>) -> ProgressBar {
    let style = "{bar:40} {pos}/{len} seeds, {msg}{eta} to go";
    let bar = ProgressBar::new(seeds.end - seeds.start);
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl<T: AddAssign> SweepReport<T> {
    fn add(&mut self, seed_result: SeedResult<T>) {
        self.seeds_run += 1;
        self.fingerprints.insert(seed_result.fingerprint);
        match seed_result.result {
            Ok(tally) => self.tally += tally,
            Err(ending) => {
                self.failed_seeds.push(seed_result.seed);
                if self.failure_texts.len() < MAX_FAILURES_IN_FULL {
                    self.failure_texts.push(ending);
                }
            }
        }
    }
}

impl<T> SweepReport<T> {
    /// Says whether every seed that was played passed.
    pub(crate) fn passed(&self) -> bool {
        self.failed_seeds.is_empty()
    }
}

/// The command that plays one seed again.
struct Replay<'a>(u64, &'a SweepConfig);

impl fmt::Display for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seed, SweepConfig { schedule, replay_options: options, .. }) = self;
        let example = env!("CARGO_CRATE_NAME");
        write!(f, "cargo run --release --example {example} -- --seed {seed}{options}")?;
        if *schedule != Schedule::default() {
            write!(f, " --schedule {schedule}")?;
        }
        Ok(())
    }
}

impl<T: fmt::Display> fmt::Display for SweepReport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (seed, ending) in self.failed_seeds.iter().zip(&self.failure_texts) {
            writeln!(f, "seed {seed} FAILED: {ending}")?;
            writeln!(f, "replay it:\n  {}\n", Replay(*seed, &self.config))?;
        }
        let schedule = self.config.schedule;
        let not_shown = self.failed_seeds.len() - self.failure_texts.len();
        if not_shown > 0 {
            let named_seeds =
                self.failed_seeds.iter().skip(MAX_FAILURES_IN_FULL).take(MAX_FAILURES_BY_SEED);
            let named_seeds: Vec<String> = named_seeds.map(u64::to_string).collect();
            let ellipsis = if not_shown > MAX_FAILURES_BY_SEED { ", .." } else { "" };
            writeln!(f, "and {not_shown} more failed: {}{ellipsis}\n", named_seeds.join(", "))?;
        }
        let Range { start, end } = self.config.seeds;
        let (seeds_run, distinct) = (self.seeds_run, self.fingerprints.len());
        writeln!(f, "seeds {start}..{end}, schedule {schedule}")?;
        if seeds_run < end - start {
            let next_seed = start + seeds_run;
            writeln!(f, "stopped after {seeds_run} seeds; go on with --seeds {next_seed}..{end}")?;
        }
        let failed = self.failed_seeds.len();
        writeln!(
            f,
            "{} passed, {failed} failed; {distinct} distinct orders (fingerprints)",
            seeds_run - failed as u64
        )?;
        writeln!(f, "{}", self.tally)
    }
}
