//! [`Ending`]: how a run ended.

use crate::sim::report::limit::Limit;
use crate::sim::report::stall::Stall;
use crate::sim::report::task_panic::TaskPanic;
use std::fmt;

/// The end of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[must_use]
pub enum Ending<T> {
    /// The main task returned; the others were dropped.
    Done(T),
    /// A task panicked.
    Panicked(TaskPanic),
    /// Every task waits, and nothing is going to happen.
    Deadlock(Stall),
    /// Tasks were polled too many times while nothing else happened.
    ///
    /// One task was polled more often than `Run::livelock_limit` at one instant; or there were more
    /// consecutive polls of tasks that woke themselves than that, with no timer, delivery or fault
    /// between them, whatever virtual time they took; or ten times as many wake-ups in a chain from
    /// task to task. [`Stall::limit`] says which.
    Livelock(Stall),
    /// Virtual time reached `Run::time_limit`.
    TimeLimit(Stall),
    /// The steps reached `Run::step_limit`.
    StepLimit(Stall),
}

impl<T> Ending<T> {
    /// The name of the ending: `done`, `panicked`, `deadlock` and so on.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Panicked(_) => "panicked",
            Self::Deadlock(_) => "deadlock",
            Self::Livelock(_) => "livelock",
            Self::TimeLimit(_) => "time limit",
            Self::StepLimit(_) => "step limit",
        }
    }

    /// Returns the limit that ended the run, if one did.
    pub const fn limit(&self) -> Option<Limit> {
        match self {
            Self::Livelock(stall) | Self::TimeLimit(stall) | Self::StepLimit(stall) => stall.limit,
            Self::Done(_) | Self::Panicked(_) | Self::Deadlock(_) => None,
        }
    }
}

/// Prints everything but what the main task returned.
impl<T> fmt::Display for Ending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(_) => f.write_str("done"),
            Self::Panicked(panic) => panic.fmt(f),
            Self::Deadlock(stall) => write!(f, "deadlock, every task waits: {stall}"),
            Self::Livelock(stall) | Self::TimeLimit(stall) | Self::StepLimit(stall) => {
                match stall.limit {
                    Some(limit) => write!(f, "{limit} reached, the run was stopped: {stall}"),
                    None => write!(f, "{}, the run was stopped: {stall}", self.name()),
                }
            }
        }
    }
}
