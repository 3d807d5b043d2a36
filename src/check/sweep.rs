//! A sweep: one run for each seed, on as many threads as there are jobs.
//!
//! The reported failure is that of the smallest failing seed, whichever thread finished first.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::simnet::FaultStats;

use crate::check::analysis::determinism::{Nondeterminism, check_determinism};
use crate::check::assertions::AssertionCounts;
use crate::check::exec::executor::RunExecutor;
use crate::check::exec::in_progress::InProgressFiles;
use crate::check::exec::run_once::{RunResult, TestFn};
use crate::check::exec::run_request::RunRequest;
use crate::check::exec::subprocess::Subprocess;
use crate::check::exec::watchdog::{Watchdog, WorkerProgress};
use crate::check::failure::FailureKind;
use crate::check::settings::Settings;
use crate::check::test_id::TestId;

/// A seed with which something is wrong.
#[derive(Clone, Debug)]
pub(crate) struct FailedSeed {
    pub(crate) result: RunResult,
    /// The differences between its runs, if it is not deterministic.
    pub(crate) nondeterminism: Option<Nondeterminism>,
}

impl FailedSeed {
    /// Why there was no run at all, if there was none.
    pub(crate) fn spawn_error(&self) -> Option<&str> {
        let failure = self.result.failure.as_ref();
        let no_process = failure.filter(|failure| failure.kind == FailureKind::SpawnFailed);
        let repeat_error =
            self.nondeterminism.as_ref().and_then(|difference| difference.spawn_error.as_deref());
        no_process.map(|failure| &*failure.text).or(repeat_error)
    }
}

/// The result of a sweep.
#[derive(Debug, Default)]
pub(crate) struct SweepResult {
    pub(crate) runs: u64,
    /// The number of failures: several threads may come to one before any of them looks.
    pub(crate) failures: u64,
    /// The failure of the smallest seed that failed.
    pub(crate) failed_seed: Option<FailedSeed>,
    pub(crate) fault_stats: FaultStats,
    pub(crate) assertions: AssertionCounts,
    pub(crate) elapsed: Duration,
    /// The seed to go on from, if the time was used up before the seeds were.
    pub(crate) next_seed: Option<u64>,
}

impl SweepResult {
    /// Of one run.
    fn from_run(result: RunResult, nondeterminism: Option<Nondeterminism>) -> Self {
        let is_failed = result.failure.is_some() || nondeterminism.is_some();
        let failed = is_failed.then(|| FailedSeed { result: result.clone(), nondeterminism });
        let RunResult { fault_stats: stats, assertions: reached, .. } = result;
        let failures = u64::from(is_failed);
        Self {
            runs: 1,
            failures,
            failed_seed: failed,
            fault_stats: stats,
            assertions: reached,
            ..Self::default()
        }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.failures += other.failures;
        self.fault_stats += &other.fault_stats;
        self.assertions.add(other.assertions);
        let seed = |failed: &Option<FailedSeed>| {
            failed.as_ref().map_or(u64::MAX, |failed| failed.result.seed)
        };
        if other.failed_seed.is_some() && seed(&other.failed_seed) <= seed(&self.failed_seed) {
            self.failed_seed = other.failed_seed;
        }
    }
}

/// A test, and how its runs are executed.
#[derive(Clone, Copy)]
pub(crate) struct TestContext<'a> {
    pub(crate) test_fn: &'a dyn TestFn,
    pub(crate) settings: &'a Settings,
    pub(crate) subprocess: &'a Result<Subprocess, String>,
    pub(crate) test_id: TestId<'a>,
    pub(crate) in_progress: &'a InProgressFiles,
}

impl<'a> TestContext<'a> {
    /// The executor of a worker that shows its progress there.
    pub(crate) const fn executor(&self, progress: &'a WorkerProgress) -> RunExecutor<'a> {
        let Self { test_fn: case, settings, subprocess: apart, test_id: about, .. } = *self;
        RunExecutor { test_fn: case, settings, subprocess: apart, test_id: about, progress }
    }
}

/// The data that the threads of a sweep share.
struct SweepState<'a> {
    context: TestContext<'a>,
    seeds: Range<u64>,
    next_seed: AtomicU64,
    /// The smallest seed that has failed: no greater one is begun.
    min_failed_seed: AtomicU64,
    /// The time is used up: none is begun.
    is_time_up: AtomicBool,
    /// Tells the thread that shows the progress that a worker has ended.
    finished_workers: (Mutex<usize>, Condvar),
    workers: Vec<WorkerProgress>,
}

/// Runs a test once for each seed, until one fails, or the time is used up.
pub(crate) fn sweep(context: TestContext<'_>, seeds: Range<u64>) -> SweepResult {
    let start = Instant::now();
    let settings = context.settings;
    let jobs = settings.thread_count();
    let state = SweepState {
        context,
        next_seed: AtomicU64::new(seeds.start),
        min_failed_seed: AtomicU64::new(u64::MAX),
        is_time_up: AtomicBool::new(false),
        finished_workers: (Mutex::new(0), Condvar::new()),
        workers: (0..jobs).map(|_| WorkerProgress::default()).collect(),
        seeds,
    };
    let mut result = thread::scope(|scope| {
        // Fewer where the system has no more.
        let workers: Vec<_> = (0..jobs)
            .map_while(|n| {
                let state = &state;
                let thread = thread::Builder::new();
                thread.spawn_scoped(scope, move || run_worker(state, n)).ok()
            })
            .collect();
        wait_for_workers(&state, workers.len(), start);
        let mut result = SweepResult::default();
        if workers.is_empty() {
            result.add(run_worker(&state, 0));
        }
        for worker in workers {
            match worker.join() {
                Ok(worker_result) => result.add(worker_result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        result
    });
    result.elapsed = start.elapsed();
    // Whoever took a seed has run it: only after that does he look at the time.
    let next = state.next_seed.into_inner();
    let is_out_of_time = result.failed_seed.is_none() && next < state.seeds.end;
    result.next_seed = is_out_of_time.then_some(next);
    result
}

/// Executes one run, and repeats it as the test asks, if it has not failed already.
pub(crate) fn run_and_check(executor: &RunExecutor<'_>, request: &RunRequest) -> SweepResult {
    let result = executor.execute(request);
    let modes_to_check = executor.settings.determinism.filter(|_| result.failure.is_none());
    let nondeterminism =
        modes_to_check.and_then(|modes| check_determinism(executor, request, &result, modes));
    SweepResult::from_run(result, nondeterminism)
}

/// Takes one seed after the other.
fn run_worker(state: &SweepState<'_>, worker: usize) -> SweepResult {
    struct FinishGuard<'a>(&'a (Mutex<usize>, Condvar));
    impl Drop for FinishGuard<'_> {
        fn drop(&mut self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.0.1.notify_all();
        }
    }
    let _guard = FinishGuard(&state.finished_workers);
    let TestContext { settings, in_progress, .. } = state.context;
    let executor = state.context.executor(&state.workers[worker]);
    let mut result = SweepResult::default();
    while !state.is_time_up.load(Ordering::Relaxed) {
        let next = |seed: u64| seed.checked_add(1);
        let claimed = state.next_seed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let Ok(seed) = claimed else { break };
        if seed >= state.seeds.end || seed > state.min_failed_seed.load(Ordering::Relaxed) {
            break;
        }
        if !settings.is_in_shard(seed) {
            continue;
        }
        in_progress.set_seed(worker, Some(seed));
        let run = run_and_check(&executor, &RunRequest::from_seed(seed));
        if run.failed_seed.is_some() {
            state.min_failed_seed.fetch_min(seed, Ordering::Relaxed);
        }
        result.add(run);
    }
    // While others have not come to their end, whatever ends the process must not hide a failure.
    if result.failed_seed.is_none() {
        in_progress.set_seed(worker, None);
    }
    result
}

/// Watches over a sweep: over its time, over polls that do not end, and over the terminal, where it
/// shows how far it has come, if it takes long.
fn wait_for_workers(state: &SweepState<'_>, jobs: usize, start: Instant) {
    const PROGRESS_DELAY: Duration = Duration::from_secs(2);
    let TestContext { test_fn, settings, test_id, .. } = state.context;
    let is_terminal = std::io::stderr().is_terminal();
    let mut finished = state.finished_workers.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut has_printed = false;
    let mut watchdog = Watchdog::new(&state.workers, settings.watchdog_limit);
    while *finished < jobs {
        let remaining = settings.budget.map(|budget| budget.saturating_sub(start.elapsed()));
        state
            .is_time_up
            .store(remaining.is_some_and(|remaining| remaining.is_zero()), Ordering::Relaxed);
        let remaining = remaining.filter(|remaining| !remaining.is_zero()).unwrap_or(Duration::MAX);
        let wait = state
            .finished_workers
            .1
            .wait_timeout(finished, watchdog.check_interval().min(remaining));
        finished = wait.unwrap_or_else(PoisonError::into_inner).0;
        if *finished < jobs {
            // A worker that ends meanwhile must not wait for what is found out about another.
            drop(finished);
            watchdog.report_stuck(test_fn, settings, test_id);
            finished = state.finished_workers.0.lock().unwrap_or_else(PoisonError::into_inner);
        }
        if is_terminal && start.elapsed() > PROGRESS_DELAY && *finished < jobs {
            let progress = progress_text(state, start.elapsed());
            let mut terminal = std::io::stderr().lock();
            let _ = write!(terminal, "\r\x1b[K{}: {progress}", test_id.name);
            let _ = terminal.flush();
            has_printed = true;
        }
    }
    if has_printed {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

/// The progress of a sweep, and the remaining time.
fn progress_text(state: &SweepState<'_>, elapsed: Duration) -> String {
    let settings = state.context.settings;
    let of = settings.shard.map_or(1, |(_, of)| of);
    let next = state.next_seed.load(Ordering::Relaxed).min(state.seeds.end);
    let done = (next - state.seeds.start) / of;
    let rate = done as f64 / elapsed.as_secs_f64();
    let total = (state.seeds.end - state.seeds.start) / of;
    let seconds_left = total.saturating_sub(done) as f64 / rate.max(0.1);
    let time =
        settings.budget.map_or(f64::INFINITY, |time| time.saturating_sub(elapsed).as_secs_f64());
    let of = if state.seeds.end == u64::MAX { String::new() } else { format!(" of {total}") };
    format!("{done}{of} seeds, {rate:.0} a second, {:.0} s left", seconds_left.min(time))
}
