//! Many seeds of one test, on as many threads as there are jobs.
//!
//! Knows seeds, threads and the clock on the wall; refuses to know what a run does. The failure
//! that is reported is that of the smallest seed, whichever thread was first.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sim::Run;
use crate::simnet::Ledger;

use super::gather::Reached;
use super::play::{Case, Played};
use super::running::{Running, target_folder};
use super::settings::{Isolation, Settings};
use super::watch::{At, Watch};

/// Executes a run on a fresh thread, to which no run before has left anything.
pub(crate) fn isolated(case: &dyn Case, run: Run) -> Played {
    thread::scope(|scope| match scope.spawn(|| case.play(run)).join() {
        Ok(played) => played,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// What came of a sweep.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) runs: u64,
    /// The failure of the smallest seed that failed.
    pub(crate) failed: Option<Played>,
    pub(crate) ledger: Ledger,
    pub(crate) reached: Reached,
    pub(crate) took: Duration,
}

impl Swept {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.ledger += &other.ledger;
        for (label, count) in other.reached {
            *self.reached.entry(label).or_insert(0) += count;
        }
        let seed = |played: &Option<Played>| played.as_ref().map_or(u64::MAX, |played| played.seed);
        if other.failed.is_some() && seed(&other.failed) <= seed(&self.failed) {
            self.failed = other.failed;
        }
    }
}

/// What is said of a test beside its runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) name: &'a str,
    /// The command that runs it.
    pub(crate) command: &'a str,
}

impl About<'_> {
    /// Says something of a sweep, past whatever captures the output of tests: there it would be
    /// lost with the process.
    fn say(self, what: &str, seed: Option<u64>) {
        let Self { name, command } = self;
        let seed = seed.map(|seed| format!("VIRTNET_SEED={seed:#x} ")).unwrap_or_default();
        let text = format!("virtnet: {name}: {what}\n  replay: {seed}{command}\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// What the threads of a sweep share.
struct Shared<'a> {
    case: &'a dyn Case,
    settings: &'a Settings,
    seeds: Range<u64>,
    next: AtomicU64,
    /// The smallest seed that has failed: no greater one is begun.
    failed: AtomicU64,
    done: AtomicU64,
    /// Tells whoever shows the progress that a thread has come to its end.
    ended: (Mutex<usize>, Condvar),
    workers: Vec<At>,
    running: Running,
}

/// Runs a test once for each seed, until one fails.
pub(crate) fn sweep(
    case: &dyn Case,
    settings: &Settings,
    seeds: Range<u64>,
    about: About<'_>,
    check: &(dyn Fn(&Played) -> Option<Played> + Sync),
) -> Swept {
    let start = Instant::now();
    let count = seeds.end - seeds.start;
    let jobs = settings.jobs.unwrap_or_else(|| default_jobs(count));
    let shared = Shared {
        case,
        settings,
        next: AtomicU64::new(seeds.start),
        failed: AtomicU64::new(u64::MAX),
        done: AtomicU64::new(0),
        ended: (Mutex::new(0), Condvar::new()),
        workers: (0..jobs).map(|_| At::default()).collect(),
        running: Running::begin(&target_folder().join("virtnet"), about.name),
        seeds,
    };
    for seed in &shared.running.lost {
        let what = format!("a process died while it was in the run of seed {seed:#x}");
        about.say(&what, Some(*seed));
    }
    let mut swept = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|n| {
                scope.spawn({
                    let shared = &shared;
                    move || work(shared, n, check)
                })
            })
            .collect();
        attend(&shared, jobs, about, start);
        let mut swept = Swept::default();
        for worker in workers {
            match worker.join() {
                Ok(own) => swept.add(own),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        swept
    });
    swept.took = start.elapsed();
    swept
}

/// All cores for many seeds; few are done before the threads have begun.
fn default_jobs(seeds: u64) -> usize {
    if seeds < 256 { 1 } else { thread::available_parallelism().map_or(1, usize::from) }
}

/// Takes one seed after the other.
fn work(
    shared: &Shared<'_>,
    worker: usize,
    check: &(dyn Fn(&Played) -> Option<Played> + Sync),
) -> Swept {
    struct Ended<'a>(&'a (Mutex<usize>, Condvar));
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.0.1.notify_all();
        }
    }
    let _ended = Ended(&shared.ended);
    let at = &shared.workers[worker];
    let mut own = Swept::default();
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= shared.seeds.end || seed > shared.failed.load(Ordering::Relaxed) {
            shared.running.note(worker, None);
            return own;
        }
        if !shared.settings.is_ours(seed) {
            continue;
        }
        shared.running.note(worker, Some(seed));
        let run = at.begin(seed, shared.settings.run(seed));
        let played = match shared.settings.isolation {
            Isolation::Thread => isolated(shared.case, run),
            _ => shared.case.play(run),
        };
        at.end();
        shared.done.fetch_add(1, Ordering::Relaxed);
        let failed = if played.failure.is_some() { Some(played.clone()) } else { check(&played) };
        if failed.is_some() {
            shared.failed.fetch_min(seed, Ordering::Relaxed);
        }
        let Played { ledger, reached, .. } = played;
        own.add(Swept { runs: 1, failed, ledger, reached, took: Duration::ZERO });
    }
}

/// Watches over a sweep, and shows on a terminal how far it has come, if it takes long.
///
/// Written past whatever captures the output of tests: there it would only be in the way.
fn attend(shared: &Shared<'_>, jobs: usize, about: About<'_>, start: Instant) {
    const LONG: Duration = Duration::from_secs(2);
    let shown = std::io::stderr().is_terminal();
    let mut ended = shared.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut printed = false;
    let mut watch = Watch::new(&shared.workers, shared.settings.watchdog);
    while *ended < jobs {
        let wait = shared.ended.1.wait_timeout(ended, watch.pause());
        ended = wait.unwrap_or_else(PoisonError::into_inner).0;
        if *ended < jobs {
            // A worker that ends meanwhile must not wait for what is found out about another.
            drop(ended);
            if let Some(stuck) = watch.look() {
                about.say(&stuck.to_string(), Some(stuck.seed));
                about.say(&stuck.whose(shared.case, shared.settings), Some(stuck.seed));
            }
            ended = shared.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        }
        if shown && start.elapsed() > LONG && *ended < jobs {
            let done = shared.done.load(Ordering::Relaxed);
            let all = shared.seeds.end - shared.seeds.start;
            let rate = done as f64 / start.elapsed().as_secs_f64();
            let left = (all.saturating_sub(done)) as f64 / rate.max(0.1);
            let mut terminal = std::io::stderr().lock();
            let _ = write!(
                terminal,
                "\r\x1b[K{}: {done} of {all} seeds, {rate:.0} a second, {left:.0} s left",
                about.name
            );
            let _ = terminal.flush();
            printed = true;
        }
    }
    if printed {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}
