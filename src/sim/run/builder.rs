//! `Run`: the settings of one simulated run, and the loop that executes it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::sim::choice::schedule::Schedule;
use crate::sim::choice::tape::Tape;
use crate::sim::handle::sim::Sim;
use crate::sim::instant::nanos;
use crate::sim::queue::entry::END_OF_TIME;
use crate::sim::report::outcome::Outcome;
use crate::sim::run::teardown::{drop_crashed_task, finish};
use crate::sim::task::boxed_task::box_task;
use crate::sim::task::executor::Executor;
use crate::sim::task::table::TaskId;
use crate::sim::world::current::{enter_current, install, uninstall};
use crate::sim::world::progress::Progress;
use crate::sim::world::state::{EndReason, Limits};
use crate::sim::world::step::{ExternalCall, FinishedTask, NextStep, RareStep, StepHandoff};

/// The number of wake-ups in a chain that count as one poll at an instant.
const CHAIN_PER_POLL: u64 = 10;

/// The configuration of one simulated run.
///
/// ```
/// use std::time::Duration;
/// use virtnet::{Ending, Run};
///
/// let outcome = Run::new(7).execute(async |sim| {
///     let worker = sim.task("worker").spawn(async move {
///         sim.sleep(Duration::from_secs(3600 / 2)).await;
///         "done after half an hour of virtual time"
///     });
///     worker.await.unwrap()
/// });
/// assert!(outcome.elapsed >= Duration::from_secs(1800));
/// assert!(matches!(outcome.ending, Ending::Done("done after half an hour of virtual time")));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a run does nothing until `.execute(main)`"]
pub struct Run {
    seed: u64,
    limits: Limits,
    schedule: Schedule,
    tape: Option<Tape>,
    keep_trace: bool,
    record_choices: bool,
    progress: Option<Arc<Progress>>,
}

impl Run {
    /// A run in which every choice comes from `seed`.
    #[inline]
    pub fn new(seed: u64) -> Self {
        let limits = Limits {
            time: nanos(Duration::from_secs(3600)),
            steps: 10_000_000,
            livelock: 100_000,
            chain: 100_000 * CHAIN_PER_POLL,
        };
        Self {
            seed,
            limits,
            schedule: Schedule::default(),
            tape: None,
            keep_trace: false,
            record_choices: false,
            progress: None,
        }
    }

    /// Ends the run when `limit` of virtual time has passed. The default is one hour.
    ///
    /// Events at the limit itself still happen. `Duration::ZERO` admits what takes no time.
    /// `Duration::MAX` is 292 years, where representable time ends: a run that comes so far ends
    /// there, with [`Limit::EndOfTime`](crate::sim::Limit::EndOfTime).
    #[inline]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limits.time = nanos(limit).min(END_OF_TIME - 1);
        self
    }

    /// The same, where it is not limited to less already.
    pub(crate) fn cap_time_limit(mut self, limit: Duration) -> Self {
        self.limits.time = self.limits.time.min(nanos(limit));
        self
    }

    /// Ends the run after `steps` steps, if the limit is not lower already.
    pub(crate) fn cap_step_limit(mut self, steps: u64) -> Self {
        self.limits.steps = self.limits.steps.min(steps);
        self
    }

    /// Ends the run after `steps` steps. The default is ten million.
    ///
    /// A step is the poll of a task, or something that a simulated network does by itself: it sends
    /// again what was lost, asks whether the other end is still there, announces room to a writer
    /// that waits, gives up, or moves a dial on. That data arrives is no step.
    ///
    /// 0 admits no step: the run ends before its first poll.
    #[inline]
    pub fn step_limit(mut self, steps: u64) -> Self {
        self.limits.steps = steps;
        self
    }

    /// Ends the run in a livelock after more polls than this in which nothing new happens:
    /// 100 000 unless said otherwise.
    ///
    /// These are counted, and [`Ending::limit`](crate::sim::Ending::limit) says which was exceeded:
    ///
    /// - The polls of one task at one instant.
    /// - Consecutive polls of tasks that woke themselves, as by `yield_now`: of one task or of
    ///   several, with no timer, delivery or fault between them, whatever virtual time they took.
    ///   A task that spins takes a microsecond a round, so that a spin until a timer that is 0.1 s
    ///   away is within the limit, and one until a timer that is 1 s away is not; a timer of
    ///   another task that fires meanwhile starts the count anew. Where the schedule has made the
    ///   poll of another task late, time leaps to what is next and the count starts anew. A crowd
    ///   of tasks that yield a few times each is no livelock: there have to be more rounds than a
    ///   thousandth of the limit.
    /// - Ten times as many of these, if polls of tasks that others woke are between them.
    /// - The wake-ups of a chain from task to task that is ten times as long and has no timer in
    ///   it: where wake-ups may be late, such tasks creep through time.
    ///
    /// A program that does much on a network without latency, and never waits for time to pass,
    /// may need more. 0 admits no poll: the run ends before its first.
    #[inline]
    pub fn livelock_limit(mut self, polls: u64) -> Self {
        self.limits.livelock = polls;
        self.limits.chain = polls.saturating_mul(CHAIN_PER_POLL);
        self
    }

    /// Explores in another way than `Schedule::Random`.
    #[inline]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = match schedule {
            Schedule::Pct { depth: 0 } => Schedule::Pct { depth: 1 },
            schedule => schedule,
        };
        self
    }

    /// Replays a tape. The seed and the schedule that it names win.
    #[inline]
    pub fn tape(mut self, tape: Tape) -> Self {
        self.tape = Some(tape);
        self
    }

    /// Keeps the records of all that happens, not only their fingerprint.
    #[inline]
    pub fn keep_trace(mut self) -> Self {
        self.keep_trace = true;
        self
    }

    /// Records every choice that is not 0; then the tape of the outcome holds them one by one, in
    /// place of the seed that they came from.
    ///
    /// ```
    /// let outcome = virtnet::Run::new(7).record_choices().execute(async |sim| {
    ///     (0..20).map(|_| sim.choose("coin", 2)).sum::<usize>()
    /// });
    /// assert_eq!(outcome.choices[0].subject, "choose main coin");
    /// let heads = outcome.choices.len();
    /// assert_eq!(outcome.unwrap(), heads);
    /// ```
    #[inline]
    pub fn record_choices(mut self) -> Self {
        self.record_choices = true;
        self
    }

    /// The seed of what is not on a tape.
    pub(crate) fn seed(&self) -> u64 {
        self.tape.as_ref().and_then(Tape::seed).unwrap_or(self.seed)
    }

    /// Whether a tape is replayed.
    pub(crate) const fn has_tape(&self) -> bool {
        self.tape.is_some()
    }

    /// Lets another thread see how far the run has come.
    pub(crate) fn with_progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Runs the future that `main` makes, and all tasks it spawns, to an ending.
    ///
    /// The run ends when the main task does; the other tasks are dropped then,
    /// oldest first, and whatever their destructors ask of the run is inert.
    ///
    /// # Panics
    ///
    /// Inside another run. A panic of a task does not come out: it is the
    /// ending.
    #[track_caller]
    pub fn execute<F, Fut>(self, main: F) -> Outcome<Fut::Output>
    where
        F: FnOnce(Sim) -> Fut,
        Fut: Future + 'static,
    {
        let called_at = Location::caller();
        let tape = self.tape.as_ref();
        let (seed, progress) = (self.seed(), self.progress.clone());
        let schedule = tape.and_then(Tape::schedule).unwrap_or(self.schedule);
        let (mut executor, main_task) = install(|world, run| {
            world.progress = self.progress;
            world.choices.begin(seed);
            if let Some(tape) = tape {
                world.choices.load_tape(tape.default_source().clone(), tape.iter());
            }
            if self.record_choices {
                world.choices.start_recording();
            }
            world.tracer.begin(self.keep_trace);
            world.begin((run, seed), self.limits, schedule, called_at)
        });

        let loop_result = catch_unwind(AssertUnwindSafe(|| {
            let future = box_task(main(Sim::current()));
            enter_current(|world| world.push_spawned(main_task, future));
            run_steps(&mut executor)
        }));
        if let Some(progress) = progress {
            progress.end();
        }
        let finished = finish(loop_result, &mut executor);
        uninstall(executor);

        let tape = self.tape.unwrap_or_else(|| Tape::from_seed(seed, schedule));
        finished.into_outcome(seed, tape, schedule)
    }
}

/// The run loop: one step after another until the run is over.
///
/// The world says what is next, by `World::next`; the step itself is made with
/// the world back in its place, because what it runs may ask for anything.
pub(crate) fn run_steps(executor: &mut Executor) -> EndReason {
    let mut finished = None;
    let mut handoff = StepHandoff::default();
    loop {
        let next = enter_current(|world| {
            executor.insert_spawned(&mut world.spawned, &world.tasks);
            // Before what is next is found: to keep that in hand until this is done, instead of
            // giving it back as it is made, takes 19 ns a round trip.
            if !world.prefetch_set.tasks.is_empty() {
                executor.prefetch(&mut world.prefetch_set.tasks);
            }
            world.next_step(finished, &mut handoff)
        });
        finished = match next {
            NextStep::Poll(task_bits) => match executor.poll(task_bits) {
                None => None,
                output => {
                    handoff.output = output;
                    Some(FinishedTask(TaskId::from_bits(task_bits).slot))
                }
            },
            NextStep::End(end) => return end,
            NextStep::Rare(rare_step) => run_rare_step(executor, rare_step, &mut handoff),
        }
    }
}

/// Does what is next and is no poll. Returns the task that is over by that.
#[inline(never)]
fn run_rare_step(
    executor: &mut Executor,
    rare_step: RareStep,
    handoff: &mut StepHandoff,
) -> Option<FinishedTask> {
    let slot = |task_bits| TaskId::from_bits(task_bits).slot;
    match rare_step {
        RareStep::DiscardOutput(task_bits) => {
            handoff.output = None;
            Some(FinishedTask(slot(task_bits)))
        }
        RareStep::DropAborted(task_bits) => {
            drop(executor.take(slot(task_bits)));
            Some(FinishedTask(slot(task_bits)))
        }
        RareStep::DropCrashed(task_bits) => {
            drop_crashed_task(executor, slot(task_bits));
            Some(FinishedTask(slot(task_bits)))
        }
        RareStep::RunExternal => {
            match handoff.external.take() {
                Some(ExternalCall::Wake(waker)) => waker.wake(),
                Some(ExternalCall::Callback(callback)) => callback.run(),
                None => {}
            }
            None
        }
    }
}
