//! Many seeds, on all cores: what came of them, in the order of the seeds.
//!
//! Knows threads and a progress bar; refuses to let either show in the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{AddAssign, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use virtnet::{Ending, Fingerprint, Outcome, Schedule};

/// How many failures are printed in full, and how many more by their seeds.
const SHOWN: usize = 3;
const NAMED: usize = 20;

/// What is to be played, and how.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) seeds: Range<u64>,
    pub(crate) schedule: Schedule,
    /// More options of a replay, each with a space before it.
    pub(crate) options: &'static str,
}

/// What came of one seed.
struct Played<T> {
    seed: u64,
    fingerprint: Fingerprint,
    ending: Result<T, String>,
}

/// What came of all seeds that were played: a prefix of those that were asked for.
pub(crate) struct Report<T> {
    asked: Asked,
    pub(crate) played: u64,
    orders: BTreeSet<Fingerprint>,
    pub(crate) tally: T,
    /// The seeds that failed, and how the first of them ended.
    failed: Vec<u64>,
    endings: Vec<String>,
}

/// Plays all seeds, or as many as there are until `stop` is set.
pub(crate) fn sweep<T: AddAssign + Default + Send>(
    asked: Asked,
    stop: &AtomicBool,
    play: impl Fn(u64) -> Outcome<T> + Sync,
) -> Report<T> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (send, receive) = mpsc::sync_channel(1024);
    let next = AtomicU64::new(asked.seeds.start);
    let (play, bar) = (&play, progress(&asked.seeds));
    thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next, end) = (send.clone(), &next, asked.seeds.end);
            scope.spawn(move || {
                while !stop.load(Relaxed)
                    && let Some(seed) = take(next, end)
                    && send.send(Played::of(seed, play(seed))).is_ok()
                {}
            });
        }
        drop(send);
        gather(asked, receive, &bar)
    })
}

/// Takes the next seed, if there is one.
fn take(next: &AtomicU64, end: u64) -> Option<u64> {
    next.fetch_update(Relaxed, Relaxed, |seed| (seed < end).then_some(seed + 1)).ok()
}

impl<T> Played<T> {
    fn of(seed: u64, outcome: Outcome<T>) -> Self {
        let fingerprint = outcome.fingerprint;
        let ending = match outcome.ending {
            Ending::Done(tally) => Ok(tally),
            _ => Err(outcome.to_string()),
        };
        Self { seed, fingerprint, ending }
    }
}

/// Puts the results in order, as they come in.
fn gather<T: AddAssign + Default>(
    asked: Asked,
    played: mpsc::Receiver<Played<T>>,
    bar: &ProgressBar,
) -> Report<T> {
    let mut report = Report {
        played: 0,
        orders: BTreeSet::new(),
        tally: T::default(),
        failed: Vec::new(),
        endings: Vec::new(),
        asked,
    };
    // Every seed that a thread takes it also plays, so that nothing is left here in the end.
    let mut early = BTreeMap::new();
    for one in played {
        early.insert(one.seed, one);
        while let Some(one) = early.remove(&(report.asked.seeds.start + report.played)) {
            report.add(one);
        }
        bar.set_position(report.played);
        if !report.passed() {
            bar.set_message(format!("{} failed, ", report.failed.len()));
        }
    }
    bar.finish_and_clear();
    report
}

/// A bar on standard error; indicatif draws nothing if that is no terminal.
fn progress(seeds: &Range<u64>) -> ProgressBar {
    let style = "{bar:40} {pos}/{len} seeds, {msg}{eta} to go";
    let bar = ProgressBar::new(seeds.end - seeds.start);
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl<T: AddAssign> Report<T> {
    fn add(&mut self, one: Played<T>) {
        self.played += 1;
        self.orders.insert(one.fingerprint);
        match one.ending {
            Ok(tally) => self.tally += tally,
            Err(ending) => {
                self.failed.push(one.seed);
                if self.endings.len() < SHOWN {
                    self.endings.push(ending);
                }
            }
        }
    }
}

impl<T> Report<T> {
    /// Says whether every seed that was played passed.
    pub(crate) fn passed(&self) -> bool {
        self.failed.is_empty()
    }
}

/// The command that plays one seed again.
struct Replay<'a>(u64, &'a Asked);

impl fmt::Display for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seed, Asked { schedule, options, .. }) = self;
        let example = env!("CARGO_CRATE_NAME");
        write!(f, "cargo run --release --example {example} -- --seed {seed}{options}")?;
        if *schedule != Schedule::default() {
            write!(f, " --schedule {schedule}")?;
        }
        Ok(())
    }
}

impl<T: fmt::Display> fmt::Display for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (seed, ending) in self.failed.iter().zip(&self.endings) {
            writeln!(f, "seed {seed} FAILED: {ending}")?;
            writeln!(f, "replay it:\n  {}\n", Replay(*seed, &self.asked))?;
        }
        let schedule = self.asked.schedule;
        let more = self.failed.len() - self.endings.len();
        if more > 0 {
            let named = self.failed.iter().skip(SHOWN).take(NAMED);
            let named: Vec<String> = named.map(u64::to_string).collect();
            let dots = if more > NAMED { ", .." } else { "" };
            writeln!(f, "and {more} more failed: {}{dots}\n", named.join(", "))?;
        }
        let Range { start, end } = self.asked.seeds;
        let (played, orders) = (self.played, self.orders.len());
        writeln!(f, "seeds {start}..{end}, schedule {schedule}")?;
        if played < end - start {
            let rest = start + played;
            writeln!(f, "stopped after {played} seeds; go on with --seeds {rest}..{end}")?;
        }
        let failed = self.failed.len();
        writeln!(
            f,
            "{} passed, {failed} failed; {orders} distinct orders (fingerprints)",
            played - failed as u64
        )?;
        writeln!(f, "{}", self.tally)
    }
}
