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

use super::about::About;
use super::order::Order;
use super::play::Case;
use super::settings::Settings;

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
}

impl At {
    /// The run that a worker begins with, which can be watched.
    pub(crate) fn begin(&self, order: &Order, settings: &Settings) -> Run {
        self.pulse.begin();
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

    /// The run is over.
    pub(crate) fn end(&self) {
        self.runs.fetch_add(1, Relaxed);
    }
}

/// Watches the workers of a sweep.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    workers: &'a [At],
    limit: Duration,
    /// What each was at when it was last seen to move, when that was, and whether it was told.
    seen: Vec<((u64, u64), Instant, bool)>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(workers: &'a [At], limit: Duration) -> Self {
        let seen = workers.iter().map(|_| ((0, 0), Instant::now(), false)).collect();
        Self { workers, limit, seen }
    }

    /// How long to wait until the next look.
    pub(crate) fn pause(&self) -> Duration {
        (self.limit / 4).min(Duration::from_millis(500))
    }

    /// Finds a worker that has been in one poll for too long.
    pub(crate) fn look(&mut self) -> Option<Stuck> {
        for (at, (seen, since, told)) in self.workers.iter().zip(&mut self.seen) {
            let runs = at.runs.load(Relaxed);
            let (step, task) = at.pulse.read();
            if *seen != (runs, step) {
                (*seen, *since, *told) = ((runs, step), Instant::now(), false);
            } else if runs % 2 == 1 && !*told && since.elapsed() >= self.limit {
                *told = true;
                return Some(Stuck { order: at.order(), step, task, took: since.elapsed() });
            }
        }
        None
    }

    /// Tells of a worker that has been in one poll for too long, if there is one.
    pub(crate) fn tell(&mut self, case: &dyn Case, settings: &Settings, about: About<'_>) {
        if let Some(stuck) = self.look() {
            let seed = Some(stuck.order.seed());
            about.say(&stuck.to_string(), seed);
            about.say(&stuck.whose(case, settings), seed);
        }
    }
}

/// Does something, while the runs that `at` shows are watched from another thread.
pub(crate) fn watched<T>(
    at: &At,
    (case, settings, about): (&dyn Case, &Settings, About<'_>),
    work: impl FnOnce() -> T,
) -> T {
    struct Over<'a>(&'a (Mutex<bool>, Condvar));
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.0.1.notify_all();
        }
    }
    let over = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut watch = Watch::new(std::slice::from_ref(at), settings.watchdog);
            loop {
                let lock = over.0.lock().unwrap_or_else(PoisonError::into_inner);
                let wait = over.1.wait_timeout_while(lock, watch.pause(), |over| !*over);
                if *wait.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
                watch.tell(case, settings, about);
            }
        });
        let _over = Over(&over);
        work()
    })
}

/// A run that has been in one poll for long.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    order: Order,
    step: u64,
    task: u64,
    took: Duration,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, step, took, .. } = self;
        let (seed, took) = (order.seed(), took.as_secs_f64());
        let cut = if order.tape().is_some() { ", cut down," } else { "" };
        write!(
            f,
            "the run of seed {seed:#x}{cut} has been in one poll for {took:.1} s, step {step}"
        )
    }
}

impl Stuck {
    /// Repeats the run up to the step, to learn whose it is.
    pub(crate) fn whose(self, case: &dyn Case, settings: &Settings) -> String {
        let Self { order, step, task, .. } = self;
        if step == 0 {
            return "no task has been polled yet: the test itself does not return a future".into();
        }
        let pulse = Pulse::that_names(step);
        case.play(order.run(settings).watched_by(Arc::clone(&pulse)));
        match pulse.name() {
            Some(name) if pulse.read() == (step, task) => format!("step {step} polls task {name}"),
            _ => format!("whose step {step} is cannot be said: repeated, the run is another"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{At, Watch};
    use crate::check::order::Order;
    use crate::check::play::Case;
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
}
