//! `Outcome`: the result of a run.

use std::fmt;
use std::time::Duration;

use crate::sim::choice::recorded::Choice;
use crate::sim::choice::tape::Tape;
use crate::sim::report::ending::Ending;
use crate::sim::report::limit::Limit;
use crate::sim::report::task_panic::TaskPanic;
use crate::sim::report::trace::{Fingerprint, Trace};

/// The result of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[must_use = "a run that failed says so in its ending; unwrap it to panic with that"]
pub struct Outcome<T> {
    /// The end of the run.
    pub ending: Ending<T>,
    /// The seed that decided it.
    pub seed: u64,
    /// The virtual time that passed.
    pub elapsed: Duration,
    /// The number of steps: polls of tasks, and actions of a simulated network by itself. See
    /// [`Run::step_limit`](crate::Run::step_limit).
    pub steps: u64,
    /// The identity of the run: two runs are the same if these are equal.
    pub fingerprint: Fingerprint,
    /// The fingerprint as it stood after every 4096th record, to find where
    /// two runs part without keeping their traces.
    pub checkpoints: Vec<Fingerprint>,
    /// All records, if `Run::keep_trace` asked for them.
    pub trace: Option<Trace>,
    /// The tape that replays this run: always keyed, never a fuzzer's bytes.
    pub tape: Tape,
    /// All choices that were not 0, in the order in which they were made, if
    /// `Run::record_choices` asked for them or a fuzzer's bytes made them.
    pub choices: Vec<Choice>,
    /// The number of wake-ups by other threads. If it is not zero, the run was not decided by the
    /// seed alone.
    pub foreign_wakes: u64,
    /// Panics of destructors that ran because a node crashed. They do not end the run.
    pub caught_panics: Vec<TaskPanic>,
}

impl<T> Outcome<T> {
    /// Returns whether the main task returned.
    pub const fn is_done(&self) -> bool {
        matches!(self.ending, Ending::Done(_))
    }

    /// Returns the limit that ended the run, if one did.
    pub const fn limit(&self) -> Option<Limit> {
        self.ending.limit()
    }

    /// Returns what the main task returned.
    ///
    /// # Panics
    ///
    /// If the run ended otherwise: with the ending, the table of what every
    /// task waits for, and the seed.
    #[track_caller]
    pub fn unwrap(self) -> T {
        match self.ending {
            Ending::Done(output) => output,
            _ => panic!("{self}"),
        }
    }
}

impl<T> Outcome<T> {
    /// Returns what the main task returned, for `?`.
    ///
    /// # Errors
    ///
    /// If the run ended otherwise: with the ending, the table of what every task waits for, and the
    /// seed.
    pub fn into_result(self) -> Result<T, RunError> {
        match self.ending {
            Ending::Done(output) => Ok(output),
            _ => Err(RunError { text: self.to_string(), seed: self.seed }),
        }
    }
}

/// A run did not end with its main task's return: see [`Outcome::into_result`]. It prints as the
/// outcome does.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct RunError {
    text: String,
    /// The seed of the run.
    pub seed: u64,
}

/// Prints it as [`Display`](fmt::Display) does, which is what a test that returns it shows.
impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Prints the ending, and the seed that brings it about.
impl<T> fmt::Display for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nseed {:#x}, ", self.ending, self.seed)?;
        write!(f, "{} steps, {:?} of virtual time", self.steps, self.elapsed)
    }
}
