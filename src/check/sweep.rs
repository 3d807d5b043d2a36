//! Many seeds of one test, on as many threads as there are jobs.
//!
//! Knows seeds, threads and the clock on the wall; refuses to know what a run does. The failure
//! that is reported is that of the smallest seed, whichever thread was first.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::simnet::Ledger;

use crate::check::analysis::determinism::{Differs, check};
use crate::check::assertions::Reached;
use crate::check::exec::executor::Place;
use crate::check::exec::in_progress::Running;
use crate::check::exec::run_once::{Case, Played};
use crate::check::exec::run_request::Order;
use crate::check::exec::subprocess::Apart;
use crate::check::exec::watchdog::{At, Watch};
use crate::check::failure::Kind;
use crate::check::settings::Settings;
use crate::check::test_id::About;

/// A seed with which something is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) played: Played,
    /// How its runs differ, if that is what is wrong.
    pub(crate) differs: Option<Differs>,
}

impl Failed {
    /// Why there was no run at all, if there was none.
    pub(crate) fn want_of_a_process(&self) -> Option<&str> {
        let failure = self.played.failure.as_ref();
        let none = failure.filter(|failure| failure.kind == Kind::NoProcess);
        let again = self.differs.as_ref().and_then(|differs| differs.error.as_deref());
        none.map(|failure| &*failure.text).or(again)
    }
}

/// What came of a sweep.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) runs: u64,
    /// How many of them failed: several threads may come to one before any looks.
    pub(crate) failures: u64,
    /// The failure of the smallest seed that failed.
    pub(crate) failed: Option<Failed>,
    pub(crate) ledger: Ledger,
    pub(crate) reached: Reached,
    pub(crate) took: Duration,
    /// The seed to go on from, if the time was used up before the seeds were.
    pub(crate) next: Option<u64>,
}

impl Swept {
    /// Of one run.
    fn of(played: Played, differs: Option<Differs>) -> Self {
        let is_wrong = played.failure.is_some() || differs.is_some();
        let failed = is_wrong.then(|| Failed { played: played.clone(), differs });
        let Played { ledger, reached, .. } = played;
        let failures = u64::from(is_wrong);
        Self { runs: 1, failures, failed, ledger, reached, ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.failures += other.failures;
        self.ledger += &other.ledger;
        self.reached.add(other.reached);
        let seed =
            |failed: &Option<Failed>| failed.as_ref().map_or(u64::MAX, |failed| failed.played.seed);
        if other.failed.is_some() && seed(&other.failed) <= seed(&self.failed) {
            self.failed = other.failed;
        }
    }
}

/// A test, and how its runs are executed.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) case: &'a dyn Case,
    pub(crate) settings: &'a Settings,
    pub(crate) apart: &'a Result<Apart, String>,
    pub(crate) about: About<'a>,
    pub(crate) running: &'a Running,
}

impl<'a> Subject<'a> {
    /// The place of whoever shows what he is at there.
    pub(crate) const fn place(&self, at: &'a At) -> Place<'a> {
        let Self { case, settings, apart, about, .. } = *self;
        Place { case, settings, apart, about, at }
    }
}

/// What the threads of a sweep share.
struct Shared<'a> {
    subject: Subject<'a>,
    seeds: Range<u64>,
    next: AtomicU64,
    /// The smallest seed that has failed: no greater one is begun.
    failed: AtomicU64,
    /// The time is used up: none is begun.
    over: AtomicBool,
    /// Tells whoever shows the progress that a thread has come to its end.
    ended: (Mutex<usize>, Condvar),
    workers: Vec<At>,
}

/// Runs a test once for each seed, until one fails, or the time is used up.
pub(crate) fn sweep(subject: Subject<'_>, seeds: Range<u64>) -> Swept {
    let start = Instant::now();
    let settings = subject.settings;
    let jobs = settings.threads();
    let shared = Shared {
        subject,
        next: AtomicU64::new(seeds.start),
        failed: AtomicU64::new(u64::MAX),
        over: AtomicBool::new(false),
        ended: (Mutex::new(0), Condvar::new()),
        workers: (0..jobs).map(|_| At::default()).collect(),
        seeds,
    };
    let mut swept = thread::scope(|scope| {
        // Fewer where the system has no more.
        let workers: Vec<_> = (0..jobs)
            .map_while(|n| {
                let shared = &shared;
                let thread = thread::Builder::new();
                thread.spawn_scoped(scope, move || work(shared, n)).ok()
            })
            .collect();
        attend(&shared, workers.len(), start);
        let mut swept = Swept::default();
        if workers.is_empty() {
            swept.add(work(&shared, 0));
        }
        for worker in workers {
            match worker.join() {
                Ok(own) => swept.add(own),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        swept
    });
    swept.took = start.elapsed();
    // Whoever took a seed has run it: only after that does he look at the time.
    let next = shared.next.into_inner();
    let is_cut_short = swept.failed.is_none() && next < shared.seeds.end;
    swept.next = is_cut_short.then_some(next);
    swept
}

/// Executes one run, and repeats it as the test asks, if it has not failed already.
pub(crate) fn one(place: &Place<'_>, order: &Order) -> Swept {
    let played = place.play(order);
    let again = place.settings.determinism.filter(|_| played.failure.is_none());
    let differs = again.and_then(|modes| check(place, order, &played, modes));
    Swept::of(played, differs)
}

/// Takes one seed after the other.
fn work(shared: &Shared<'_>, worker: usize) -> Swept {
    struct Ended<'a>(&'a (Mutex<usize>, Condvar));
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.0.1.notify_all();
        }
    }
    let _ended = Ended(&shared.ended);
    let Subject { settings, running, .. } = shared.subject;
    let place = shared.subject.place(&shared.workers[worker]);
    let mut own = Swept::default();
    while !shared.over.load(Ordering::Relaxed) {
        let next = |seed: u64| seed.checked_add(1);
        let taken = shared.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let Ok(seed) = taken else { break };
        if seed >= shared.seeds.end || seed > shared.failed.load(Ordering::Relaxed) {
            break;
        }
        if !settings.is_ours(seed) {
            continue;
        }
        running.note(worker, Some(seed));
        let run = one(&place, &Order::of_seed(seed));
        if run.failed.is_some() {
            shared.failed.fetch_min(seed, Ordering::Relaxed);
        }
        own.add(run);
    }
    // While others have not come to their end, whatever ends the process must not hide a failure.
    if own.failed.is_none() {
        running.note(worker, None);
    }
    own
}

/// Watches over a sweep: over its time, over polls that do not end, and over the terminal, where it
/// shows how far it has come, if it takes long.
fn attend(shared: &Shared<'_>, jobs: usize, start: Instant) {
    const LONG: Duration = Duration::from_secs(2);
    let Subject { case, settings, about, .. } = shared.subject;
    let shown = std::io::stderr().is_terminal();
    let mut ended = shared.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut printed = false;
    let mut watch = Watch::new(&shared.workers, settings.watchdog);
    while *ended < jobs {
        let left = settings.budget.map(|budget| budget.saturating_sub(start.elapsed()));
        shared.over.store(left.is_some_and(|left| left.is_zero()), Ordering::Relaxed);
        let left = left.filter(|left| !left.is_zero()).unwrap_or(Duration::MAX);
        let wait = shared.ended.1.wait_timeout(ended, watch.pause().min(left));
        ended = wait.unwrap_or_else(PoisonError::into_inner).0;
        if *ended < jobs {
            // A worker that ends meanwhile must not wait for what is found out about another.
            drop(ended);
            watch.tell(case, settings, about);
            ended = shared.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        }
        if shown && start.elapsed() > LONG && *ended < jobs {
            let progress = progress(shared, start.elapsed());
            let mut terminal = std::io::stderr().lock();
            let _ = write!(terminal, "\r\x1b[K{}: {progress}", about.name);
            let _ = terminal.flush();
            printed = true;
        }
    }
    if printed {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

/// How far a sweep has come, and how long it will take.
fn progress(shared: &Shared<'_>, took: Duration) -> String {
    let settings = shared.subject.settings;
    let of = settings.shard.map_or(1, |(_, of)| of);
    let next = shared.next.load(Ordering::Relaxed).min(shared.seeds.end);
    let done = (next - shared.seeds.start) / of;
    let rate = done as f64 / took.as_secs_f64();
    let all = (shared.seeds.end - shared.seeds.start) / of;
    let left = all.saturating_sub(done) as f64 / rate.max(0.1);
    let time =
        settings.budget.map_or(f64::INFINITY, |time| time.saturating_sub(took).as_secs_f64());
    let of = if shared.seeds.end == u64::MAX { String::new() } else { format!(" of {all}") };
    format!("{done}{of} seeds, {rate:.0} a second, {:.0} s left", left.min(time))
}
