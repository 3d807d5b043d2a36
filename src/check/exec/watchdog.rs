//! The watchdog: progress of each worker, and detection of polls that do not return.
//!
//! A worker publishes its seed and the progress of its run. A poll that takes too long is reported
//! once, with its task. The name of the task is found by repeating the run up to that poll, so
//! that a run that is never stuck pays nothing for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sim::{Progress, Run, Tape};

use crate::check::exec::run_once::TestFn;
use crate::check::exec::run_request::RunRequest;
use crate::check::settings::Settings;
use crate::check::test_id::TestId;

/// The progress of one worker. On a cache line of its own, because its neighbour writes as often.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerProgress {
    seed: AtomicU64,
    /// The number of runs that it has begun, or one more while it executes none.
    runs: AtomicU64,
    progress: Arc<Progress>,
    /// The tape that is played, if one is: sweeps have none, and lock nothing.
    tape: Mutex<Option<Tape>>,
    has_tape: AtomicBool,
    /// The instant at which the run is to be stopped, if any. Runs of sweeps have none, and lock
    /// nothing.
    deadline: Mutex<Option<Instant>>,
    has_deadline: AtomicBool,
}

impl WorkerProgress {
    /// The run that a worker begins with, which can be watched.
    pub(crate) fn begin_run(&self, request: &RunRequest, settings: &Settings) -> Run {
        if request.real_time_limit().is_some() || self.has_deadline.load(Relaxed) {
            let mut deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
            let real_time_limit = request.real_time_limit();
            *deadline = real_time_limit
                .and_then(|real_time_limit| Instant::now().checked_add(real_time_limit));
            self.has_deadline.store(deadline.is_some(), Relaxed);
            // With the lock, so that the end of the run before does not stop this one.
            self.progress.begin();
        } else {
            self.progress.begin();
        }
        self.seed.store(request.seed(), Relaxed);
        if let Some(tape) = request.tape() {
            *self.tape.lock().unwrap_or_else(PoisonError::into_inner) = Some(tape.clone());
        }
        self.has_tape.store(request.tape().is_some(), Relaxed);
        self.runs.fetch_add(1, Relaxed);
        request.to_run(settings).with_progress(Arc::clone(&self.progress))
    }

    /// The request that is executed.
    fn request(&self) -> RunRequest {
        let tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match tape.filter(|_| self.has_tape.load(Relaxed)) {
            Some(tape) => RunRequest::from_tape(tape),
            None => RunRequest::from_seed(self.seed.load(Relaxed)),
        }
    }

    /// Stops the run if its real time is over.
    fn stop_if_overdue(&self) {
        let deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        if deadline.is_some_and(|at| at <= Instant::now()) {
            self.progress.stop();
        }
    }

    /// The run is over.
    pub(crate) fn end_run(&self) {
        self.runs.fetch_add(1, Relaxed);
    }

    fn snapshot(&self) -> ProgressSnapshot {
        (self.runs.load(Relaxed), self.progress.read().0, self.progress.is_over())
    }

    fn stuck_poll(&self, elapsed: Duration) -> StuckPoll {
        let (step, task) = self.progress.read();
        StuckPoll {
            request: self.request(),
            step,
            task_hash: task,
            is_over: self.progress.is_over(),
            elapsed,
        }
    }
}

/// Whether a worker was in a run.
const fn is_running((runs, ..): ProgressSnapshot) -> bool {
    runs % 2 == 1
}

/// The progress of a worker at one look: its run, its step, and whether that was the last.
type ProgressSnapshot = (u64, u64, bool);

/// Watches the workers of a sweep.
#[derive(Debug)]
pub(crate) struct Watchdog<'a> {
    workers: &'a [WorkerProgress],
    limit: Duration,
    /// The last progress of each worker, its instant, and whether it was reported.
    last_seen: Vec<(ProgressSnapshot, Instant, bool)>,
}

impl<'a> Watchdog<'a> {
    pub(crate) fn new(workers: &'a [WorkerProgress], limit: Duration) -> Self {
        let last_seen = workers.iter().map(|_| ((0, 0, false), Instant::now(), false)).collect();
        Self { workers, limit, last_seen }
    }

    /// The time until the next look.
    pub(crate) fn check_interval(&self) -> Duration {
        (self.limit / 4).min(Duration::from_millis(500))
    }

    /// Finds a worker that has been in one poll for too long.
    pub(crate) fn find_stuck(&mut self) -> Option<StuckPoll> {
        for (worker, (last_snapshot, unchanged_since, is_reported)) in
            self.workers.iter().zip(&mut self.last_seen)
        {
            let snapshot = worker.snapshot();
            if *last_snapshot != snapshot {
                (*last_snapshot, *unchanged_since, *is_reported) =
                    (snapshot, Instant::now(), false);
            } else if is_running(snapshot)
                && !*is_reported
                && unchanged_since.elapsed() >= self.limit
            {
                *is_reported = true;
                return Some(worker.stuck_poll(unchanged_since.elapsed()));
            }
        }
        None
    }

    /// Tells of a worker that has been in one poll for too long, if there is one.
    pub(crate) fn report_stuck(
        &mut self,
        test_fn: &dyn TestFn,
        settings: &Settings,
        test_id: TestId<'_>,
    ) {
        if let Some(stuck) = self.find_stuck() {
            let seed = Some(stuck.request.seed());
            test_id.eprint_replay(&stuck.to_string(), seed);
            if !stuck.is_over {
                test_id.eprint_replay(&stuck.find_task_text(test_fn, settings), seed);
            }
        }
    }
}

/// The longest time between two looks at a run that may have to be stopped.
const MAX_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Does something, while the runs that `at` shows are watched from another thread.
pub(crate) fn with_watchdog<T>(
    progress: &WorkerProgress,
    (test_fn, settings, test_id): (&dyn TestFn, &Settings, TestId<'_>),
    work: impl FnOnce() -> T,
) -> T {
    let mut watchdog = Watchdog::new(std::slice::from_ref(progress), settings.watchdog_limit);
    let interval = watchdog.check_interval().min(MAX_CHECK_INTERVAL);
    let check = move || {
        progress.stop_if_overdue();
        watchdog.report_stuck(test_fn, settings, test_id);
    };
    with_side_thread(interval, check, work)
}

/// Does something, while another thread looks after it again and again.
fn with_side_thread<T>(
    interval: Duration,
    mut check: impl FnMut() + Send,
    work: impl FnOnce() -> T,
) -> T {
    struct DoneGuard<'a>(&'a (Mutex<bool>, Condvar));
    impl Drop for DoneGuard<'_> {
        fn drop(&mut self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.0.1.notify_all();
        }
    }
    let done = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            loop {
                let lock = done.0.lock().unwrap_or_else(PoisonError::into_inner);
                let wait = done.1.wait_timeout_while(lock, interval, |done| !*done);
                if *wait.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
                check();
            }
        });
        let _guard = DoneGuard(done);
        work()
    })
}

/// A run that has been in one poll for long.
#[derive(Clone, Debug)]
pub(crate) struct StuckPoll {
    request: RunRequest,
    step: u64,
    task_hash: u64,
    /// Whether that step was the last, and what follows it takes long.
    is_over: bool,
    elapsed: Duration,
}

impl fmt::Display for StuckPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, step, is_over, elapsed, .. } = self;
        let (seed, elapsed) = (request.seed(), elapsed.as_secs_f64());
        let suffix = if request.tape().is_some() { ", cut down," } else { "" };
        write!(f, "the run of seed {seed:#x}{suffix} ")?;
        if *is_over {
            let state = "has ended, and what follows has taken";
            return write!(f, "{state} {elapsed:.1} s: destructors, or the report of a stall");
        }
        write!(f, "has been in one poll for {elapsed:.1} s, step {step}")
    }
}

impl StuckPoll {
    /// Says whose step it is.
    pub(crate) fn find_task_text(&self, test_fn: &dyn TestFn, settings: &Settings) -> String {
        self.task_text(self.find_task(test_fn, settings).as_deref())
    }

    /// Says whose step it is, where that task was found.
    fn task_text(&self, task: Option<&str>) -> String {
        match (self.step, task) {
            (0, _) => {
                "no task has been polled yet: the test itself does not return a future".into()
            }
            (step, Some(name)) => format!("step {step} polls task {name}"),
            (step, None) => {
                format!("whose step {step} is cannot be said: repeated, the run is another")
            }
        }
    }

    /// Repeats the run up to the step, to learn whose it is.
    fn find_task(&self, test_fn: &dyn TestFn, settings: &Settings) -> Option<String> {
        let Self { request: order, step, task_hash: task, is_over, .. } = self;
        if *step == 0 || *is_over {
            return None;
        }
        let progress = Progress::naming_step(*step);
        test_fn.execute(order.to_run(settings).with_progress(Arc::clone(&progress)));
        progress.name().filter(|_| progress.read() == (*step, *task))
    }
}

/// An event of a run in a process of its own that the parent sees, beside the result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum WatchEvent {
    /// It has made a step.
    Progress,
    /// It has made none for too long: what is known of that at once. After its last step no task
    /// is to be found.
    Stuck { description: String, is_over: bool },
    /// The findings about it: the task, if it has a name, and the text.
    StuckTask(Option<String>, String),
}

/// Finds out whether a run goes on, for another process.
#[derive(Debug)]
struct StuckDetector {
    last_seen: ProgressSnapshot,
    /// For how long no step was made, and when that was looked at. A process that was stopped
    /// meanwhile has been looked at late, and that time does not count.
    unchanged_for: Duration,
    last_check: Instant,
    is_reported: bool,
}

impl StuckDetector {
    fn new() -> Self {
        let (last_seen, unchanged_for) = ((0, 0, false), Duration::ZERO);
        Self { last_seen, unchanged_for, last_check: Instant::now(), is_reported: false }
    }

    /// Looks once more. Nothing is found where no run is under way.
    fn check(
        &mut self,
        progress: &WorkerProgress,
        (interval, poll_limit): (Duration, Duration),
    ) -> Option<WatchEvent> {
        let elapsed = std::mem::replace(&mut self.last_check, Instant::now()).elapsed();
        let snapshot = progress.snapshot();
        if self.last_seen != snapshot {
            (self.last_seen, self.unchanged_for, self.is_reported) =
                (snapshot, Duration::ZERO, false);
            return Some(WatchEvent::Progress);
        }
        self.unchanged_for += elapsed.min(2 * interval);
        if !is_running(snapshot) || self.is_reported || self.unchanged_for < poll_limit {
            return None;
        }
        self.is_reported = true;
        let is_over = snapshot.2;
        let text = if is_over {
            "the run has ended, and what follows does not: destructors, or the report of a stall"
        } else {
            "one poll does not return"
        };
        let poll_limit = poll_limit.as_secs_f64();
        let text = format!("{text}; its process was ended after {poll_limit:.1} s of it");
        Some(WatchEvent::Stuck { description: text, is_over })
    }
}

/// Does something, while another thread passes on each sign of the run that `at` shows.
pub(crate) fn with_watch_events<T>(
    progress: &WorkerProgress,
    (test_fn, settings): (&dyn TestFn, &Settings),
    send_event: &(dyn Fn(WatchEvent) + Sync),
    work: impl FnOnce() -> T,
) -> T {
    let poll_limit = settings.poll_limit;
    let interval = (poll_limit / 8).clamp(Duration::from_millis(1), Duration::from_millis(500));
    let mut detector = StuckDetector::new();
    with_side_thread(
        interval,
        move || match detector.check(progress, (interval, poll_limit)) {
            Some(event @ WatchEvent::Stuck { is_over, .. }) => {
                let stuck_poll = progress.stuck_poll(poll_limit);
                send_event(event);
                if !is_over {
                    let task = stuck_poll.find_task(test_fn, settings);
                    let task_text = stuck_poll.task_text(task.as_deref());
                    send_event(WatchEvent::StuckTask(task, task_text));
                }
            }
            Some(event) => send_event(event),
            None => {}
        },
        work,
    )
}

#[cfg(test)]
mod tests {
    use super::{StuckDetector, WatchEvent, Watchdog, WorkerProgress};
    use crate::check::exec::run_once::TestFn;
    use crate::check::exec::run_request::RunRequest;
    use crate::check::settings::Settings;
    use crate::sim::Sim;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::Duration;

    #[test]
    fn endless_poll_is_reported_once_with_seed_and_task() {
        let (free, at) =
            (AtomicBool::new(false), [WorkerProgress::default(), WorkerProgress::default()]);
        let free = &*Box::leak(Box::new(free));
        let case = move |sim: Sim| async move {
            let worker = sim.task("worker").spawn(async move {
                sim.sleep(Duration::from_secs(1)).await;
                while !free.load(Relaxed) {
                    std::thread::yield_now();
                }
            });
            worker.await.map_err(|error| error.to_string())
        };
        let settings = Settings::default();
        let mut watch = Watchdog::new(&at, Duration::from_millis(50));
        let mut reported = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                case.execute(at[1].begin_run(&RunRequest::from_seed(0x1f4), &settings));
                at[1].end_run();
            });
            for _ in 0..40 {
                reported.extend(watch.find_stuck());
                std::thread::sleep(watch.check_interval());
            }
            free.store(true, Relaxed);
        });
        let [stuck] = &reported[..] else { panic!("{reported:?}") };
        let text = stuck.to_string();
        assert!(text.starts_with("the run of seed 0x1f4 has been in one poll for "), "{text}");
        let owner = stuck.clone().find_task_text(&case, &settings);
        assert!(owner.ends_with(" polls task main/worker"), "{owner}");
    }
    /// Its last step is made, and a destructor does not return: that is no poll.
    #[test]
    fn finished_run_with_slow_destructor_is_not_reported_as_poll() {
        struct BlockingDrop(&'static AtomicBool);
        impl Drop for BlockingDrop {
            fn drop(&mut self) {
                while !self.0.load(Relaxed) {
                    std::thread::yield_now();
                }
            }
        }
        let (free, at) =
            (&*Box::leak(Box::new(AtomicBool::new(false))), [WorkerProgress::default()]);
        let case = move |sim: Sim| async move {
            let waits = BlockingDrop(free);
            sim.task("left").spawn(async move {
                let _waits = waits;
                std::future::pending::<()>().await;
            });
            sim.yield_now().await;
        };
        let (settings, limits) = (Settings::default(), [50, 100].map(Duration::from_millis));
        let mut watch = Watchdog::new(&at, limits[0]);
        let mut signs = StuckDetector::new();
        let (mut reported, mut signed) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                case.execute(at[0].begin_run(&RunRequest::from_seed(7), &settings));
                at[0].end_run();
            });
            while signed.is_empty() || reported.is_empty() {
                reported.extend(watch.find_stuck());
                let sign = signs.check(&at[0], (watch.check_interval(), limits[1]));
                signed.extend(sign.filter(|sign| *sign != WatchEvent::Progress));
                std::thread::sleep(watch.check_interval());
            }
            free.store(true, Relaxed);
        });
        let text = reported[0].to_string();
        assert!(text.starts_with("the run of seed 0x7 has ended, and what follows has"), "{text}");
        assert_eq!(reported[0].find_task(&case, &settings), None);
        let [WatchEvent::Stuck { description, is_over: true }] = &signed[..] else {
            panic!("{signed:?}")
        };
        assert!(
            description.starts_with("the run has ended, and what follows does not: "),
            "{description}"
        );
    }
}
