//! `Limit`: the limit that ended a run, with its value.

use std::fmt;
use std::time::Duration;

/// The limit that ended a run.
///
/// ```
/// use std::time::Duration;
/// use virtnet::{Limit, Run};
///
/// let run = Run::new(1).time_limit(Duration::from_secs(60));
/// let outcome = run.execute(async |sim| sim.sleep(Duration::MAX).await);
/// assert_eq!(outcome.limit(), Some(Limit::Time(Duration::from_secs(60))));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Limit {
    /// `Run::time_limit`, in virtual time.
    Time(Duration),
    /// The end of representable time, 292 years: `Run::time_limit` is that or longer.
    EndOfTime,
    /// `Run::step_limit`.
    Steps(u64),
    /// `Run::livelock_limit`, in polls of one task at one instant.
    PollsAtInstant(u64),
    /// `Run::livelock_limit`, in consecutive polls of tasks that woke themselves.
    SelfWokenPolls(u64),
    /// Ten times `Run::livelock_limit`, in polls of tasks that woke themselves, with polls of tasks
    /// that were woken by others between them.
    MixedPolls(u64),
    /// Ten times `Run::livelock_limit`, in the wake-ups of a chain from task to task.
    Chain(u64),
}

/// Prints the limit and its value: `step limit of 10000000 steps`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(limit) => write!(f, "time limit of {limit:?}"),
            Self::EndOfTime => f.write_str("end of representable time, 292 years"),
            Self::Steps(limit) => write!(f, "step limit of {limit} steps"),
            Self::PollsAtInstant(limit) => {
                write!(f, "livelock limit of {limit} polls of one task at one instant")
            }
            Self::SelfWokenPolls(limit) => {
                write!(f, "livelock limit of {limit} consecutive polls of self-woken tasks")
            }
            Self::MixedPolls(limit) => write!(
                f,
                "livelock limit of {limit} polls of self-woken tasks with no timer, delivery or \
                 fault between them"
            ),
            Self::Chain(limit) => {
                write!(f, "livelock limit of {limit} wake-ups in a chain from task to task")
            }
        }
    }
}
