//! Runs that do not come back: what a worker is at, for the thread that watches.
//!
//! Knows one seed and one pulse for each worker. A poll that takes long is told once, with the
//! task; for its name the run is repeated up to that poll, so that nothing is paid for before.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sim::{Pulse, Run, Tape};

use crate::check::exec::run_once::Case;
use crate::check::exec::run_request::Order;
use crate::check::settings::Settings;
use crate::check::test_id::About;

/// What one worker is at. On a cache line of its own: its neighbour writes as often.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct At {
    seed: AtomicU64,
    /// How many runs it has begun, or one too many while it runs none.
    runs: AtomicU64,
    pulse: Arc<Pulse>,
    /// The tape that is played, if one is: sweeps have none, and lock nothing.
    tape: Mutex<Option<Tape>>,
    has_tape: AtomicBool,
    /// When the run is to be stopped, if it is: the runs of sweeps are not, and lock nothing.
    stops_at: Mutex<Option<Instant>>,
    has_stop: AtomicBool,
}

impl At {
    /// The run that a worker begins with, which can be watched.
    pub(crate) fn begin(&self, order: &Order, settings: &Settings) -> Run {
        if order.stops_after().is_some() || self.has_stop.load(Relaxed) {
            let mut stops_at = self.stops_at.lock().unwrap_or_else(PoisonError::into_inner);
            let patience = order.stops_after();
            *stops_at = patience.and_then(|patience| Instant::now().checked_add(patience));
            self.has_stop.store(stops_at.is_some(), Relaxed);
            // With the lock, so that the end of the run before does not stop this one.
            self.pulse.begin();
        } else {
            self.pulse.begin();
        }
        self.seed.store(order.seed(), Relaxed);
        if let Some(tape) = order.tape() {
            *self.tape.lock().unwrap_or_else(PoisonError::into_inner) = Some(tape.clone());
        }
        self.has_tape.store(order.tape().is_some(), Relaxed);
        self.runs.fetch_add(1, Relaxed);
        order.run(settings).watched_by(Arc::clone(&self.pulse))
    }

    /// What is played.
    fn order(&self) -> Order {
        let tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match tape.filter(|_| self.has_tape.load(Relaxed)) {
            Some(tape) => Order::of_tape(tape),
            None => Order::of_seed(self.seed.load(Relaxed)),
        }
    }

    /// Stops the run if its real time is over.
    fn stop_in_time(&self) {
        let stops_at = self.stops_at.lock().unwrap_or_else(PoisonError::into_inner);
        if stops_at.is_some_and(|at| at <= Instant::now()) {
            self.pulse.stop();
        }
    }

    /// The run is over.
    pub(crate) fn end(&self) {
        self.runs.fetch_add(1, Relaxed);
    }

    fn seen(&self) -> Seen {
        (self.runs.load(Relaxed), self.pulse.read().0, self.pulse.is_over())
    }

    fn stuck(&self, took: Duration) -> Stuck {
        let (step, task) = self.pulse.read();
        Stuck { order: self.order(), step, task, is_over: self.pulse.is_over(), took }
    }
}

/// Whether a worker was in a run.
const fn is_running((runs, ..): Seen) -> bool {
    runs % 2 == 1
}

/// How far a worker was when it was looked at: its run, its step, and whether that was the last.
type Seen = (u64, u64, bool);

/// Watches the workers of a sweep.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    workers: &'a [At],
    limit: Duration,
    /// What each was at when it was last seen to move, when that was, and whether it was told.
    seen: Vec<(Seen, Instant, bool)>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(workers: &'a [At], limit: Duration) -> Self {
        let seen = workers.iter().map(|_| ((0, 0, false), Instant::now(), false)).collect();
        Self { workers, limit, seen }
    }

    /// How long to wait until the next look.
    pub(crate) fn pause(&self) -> Duration {
        (self.limit / 4).min(Duration::from_millis(500))
    }

    /// Finds a worker that has been in one poll for too long.
    pub(crate) fn look(&mut self) -> Option<Stuck> {
        for (at, (seen, since, told)) in self.workers.iter().zip(&mut self.seen) {
            let now = at.seen();
            if *seen != now {
                (*seen, *since, *told) = (now, Instant::now(), false);
            } else if is_running(now) && !*told && since.elapsed() >= self.limit {
                *told = true;
                return Some(at.stuck(since.elapsed()));
            }
        }
        None
    }

    /// Tells of a worker that has been in one poll for too long, if there is one.
    pub(crate) fn tell(&mut self, case: &dyn Case, settings: &Settings, about: About<'_>) {
        if let Some(stuck) = self.look() {
            let seed = Some(stuck.order.seed());
            about.say(&stuck.to_string(), seed);
            if !stuck.is_over {
                about.say(&stuck.whose(case, settings), seed);
            }
        }
    }
}

/// How often a run is looked at that may have to be stopped.
const LOOKS: Duration = Duration::from_millis(50);

/// Does something, while the runs that `at` shows are watched from another thread.
pub(crate) fn watched<T>(
    at: &At,
    (case, settings, about): (&dyn Case, &Settings, About<'_>),
    work: impl FnOnce() -> T,
) -> T {
    let mut watch = Watch::new(std::slice::from_ref(at), settings.watchdog);
    let pause = watch.pause().min(LOOKS);
    let look = move || {
        at.stop_in_time();
        watch.tell(case, settings, about);
    };
    beside(pause, look, work)
}

/// Does something, while another thread looks after it again and again.
fn beside<T>(pause: Duration, mut look: impl FnMut() + Send, work: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a (Mutex<bool>, Condvar));
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.0.1.notify_all();
        }
    }
    let over = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            loop {
                let lock = over.0.lock().unwrap_or_else(PoisonError::into_inner);
                let wait = over.1.wait_timeout_while(lock, pause, |over| !*over);
                if *wait.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
                look();
            }
        });
        let _over = Over(over);
        work()
    })
}

/// A run that has been in one poll for long.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    order: Order,
    step: u64,
    task: u64,
    /// Whether that step was the last, and what follows it takes long.
    is_over: bool,
    took: Duration,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, step, is_over, took, .. } = self;
        let (seed, took) = (order.seed(), took.as_secs_f64());
        let cut = if order.tape().is_some() { ", cut down," } else { "" };
        write!(f, "the run of seed {seed:#x}{cut} ")?;
        if *is_over {
            let what = "has ended, and what follows has taken";
            return write!(f, "{what} {took:.1} s: destructors, or the report of a stall");
        }
        write!(f, "has been in one poll for {took:.1} s, step {step}")
    }
}

impl Stuck {
    /// Says whose step it is.
    pub(crate) fn whose(&self, case: &dyn Case, settings: &Settings) -> String {
        self.whose_is(self.task(case, settings).as_deref())
    }

    /// Says whose step it is, where that task was found.
    fn whose_is(&self, task: Option<&str>) -> String {
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
    fn task(&self, case: &dyn Case, settings: &Settings) -> Option<String> {
        let Self { order, step, task, is_over, .. } = self;
        if *step == 0 || *is_over {
            return None;
        }
        let pulse = Pulse::that_names(*step);
        case.play(order.run(settings).watched_by(Arc::clone(&pulse)));
        pulse.name().filter(|_| pulse.read() == (*step, *task))
    }
}

/// What a run in a process of its own shows to the parent, beside what comes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sign {
    /// It has made a step.
    GoesOn,
    /// It has made none for too long: what is known of that at once. After its last step no task
    /// is to be found.
    Stuck { what: String, is_over: bool },
    /// What was found out about it: the task, if it has a name, and what is to be said.
    Whose(Option<String>, String),
}

/// Finds out whether a run goes on, for another process.
#[derive(Debug)]
struct Signs {
    seen: Seen,
    /// For how long no step was made, and when that was looked at. A process that was stopped
    /// meanwhile has been looked at late, and that time does not count.
    quiet: Duration,
    looked: Instant,
    is_told: bool,
}

impl Signs {
    fn new() -> Self {
        let (seen, quiet) = ((0, 0, false), Duration::ZERO);
        Self { seen, quiet, looked: Instant::now(), is_told: false }
    }

    /// Looks once more. Nothing is found where no run is under way.
    fn look(&mut self, at: &At, (pause, limit): (Duration, Duration)) -> Option<Sign> {
        let passed = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        let now = at.seen();
        if self.seen != now {
            (self.seen, self.quiet, self.is_told) = (now, Duration::ZERO, false);
            return Some(Sign::GoesOn);
        }
        self.quiet += passed.min(2 * pause);
        if !is_running(now) || self.is_told || self.quiet < limit {
            return None;
        }
        self.is_told = true;
        let is_over = now.2;
        let what = if is_over {
            "the run has ended, and what follows does not: destructors, or the report of a stall"
        } else {
            "one poll does not return"
        };
        let limit = limit.as_secs_f64();
        let what = format!("{what}; its process was ended after {limit:.1} s of it");
        Some(Sign::Stuck { what, is_over })
    }
}

/// Does something, while another thread passes on each sign of the run that `at` shows.
pub(crate) fn signalled<T>(
    at: &At,
    (case, settings): (&dyn Case, &Settings),
    tell: &(dyn Fn(Sign) + Sync),
    work: impl FnOnce() -> T,
) -> T {
    let limit = settings.poll_limit;
    let pause = (limit / 8).clamp(Duration::from_millis(1), Duration::from_millis(500));
    let mut signs = Signs::new();
    beside(
        pause,
        move || match signs.look(at, (pause, limit)) {
            Some(sign @ Sign::Stuck { is_over, .. }) => {
                let stuck = at.stuck(limit);
                tell(sign);
                if !is_over {
                    let task = stuck.task(case, settings);
                    let whose = stuck.whose_is(task.as_deref());
                    tell(Sign::Whose(task, whose));
                }
            }
            Some(sign) => tell(sign),
            None => {}
        },
        work,
    )
}

#[cfg(test)]
mod tests {
    use super::{At, Sign, Signs, Watch};
    use crate::check::exec::run_once::Case;
    use crate::check::exec::run_request::Order;
    use crate::check::settings::Settings;
    use crate::sim::Sim;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::Duration;

    #[test]
    fn a_poll_that_does_not_end_is_told_once_with_seed_and_task() {
        let (free, at) = (AtomicBool::new(false), [At::default(), At::default()]);
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
        let mut watch = Watch::new(&at, Duration::from_millis(50));
        let mut told = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                case.play(at[1].begin(&Order::of_seed(0x1f4), &settings));
                at[1].end();
            });
            for _ in 0..40 {
                told.extend(watch.look());
                std::thread::sleep(watch.pause());
            }
            free.store(true, Relaxed);
        });
        let [stuck] = &told[..] else { panic!("{told:?}") };
        let text = stuck.to_string();
        assert!(text.starts_with("the run of seed 0x1f4 has been in one poll for "), "{text}");
        let whose = stuck.clone().whose(&case, &settings);
        assert!(whose.ends_with(" polls task main/worker"), "{whose}");
    }
    /// Its last step is made, and a destructor does not return: that is no poll.
    #[test]
    fn run_that_is_over_is_not_said_to_be_in_a_poll() {
        struct Waits(&'static AtomicBool);
        impl Drop for Waits {
            fn drop(&mut self) {
                while !self.0.load(Relaxed) {
                    std::thread::yield_now();
                }
            }
        }
        let (free, at) = (&*Box::leak(Box::new(AtomicBool::new(false))), [At::default()]);
        let case = move |sim: Sim| async move {
            let waits = Waits(free);
            sim.task("left").spawn(async move {
                let _waits = waits;
                std::future::pending::<()>().await;
            });
            sim.yield_now().await;
        };
        let (settings, limits) = (Settings::default(), [50, 100].map(Duration::from_millis));
        let mut watch = Watch::new(&at, limits[0]);
        let mut signs = Signs::new();
        let (mut told, mut signed) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                case.play(at[0].begin(&Order::of_seed(7), &settings));
                at[0].end();
            });
            while signed.is_empty() || told.is_empty() {
                told.extend(watch.look());
                let sign = signs.look(&at[0], (watch.pause(), limits[1]));
                signed.extend(sign.filter(|sign| *sign != Sign::GoesOn));
                std::thread::sleep(watch.pause());
            }
            free.store(true, Relaxed);
        });
        let text = told[0].to_string();
        assert!(text.starts_with("the run of seed 0x7 has ended, and what follows has"), "{text}");
        assert_eq!(told[0].task(&case, &settings), None);
        let [Sign::Stuck { what, is_over: true }] = &signed[..] else { panic!("{signed:?}") };
        assert!(what.starts_with("the run has ended, and what follows does not: "), "{what}");
    }
}
