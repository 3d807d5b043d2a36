//! `Stall`: the report on a run that stopped early, with the state of every task.

use std::fmt;
use std::panic::Location;

use crate::sim::instant::Instant;
use crate::sim::report::limit::Limit;

/// The state of a task when the run stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StalledState {
    /// It waits.
    Waiting {
        /// For these operations, as far as virtnet knows.
        reasons: Vec<String>,
        /// Whether its waker was cloned to a place outside of the run, such as a channel or a lock
        /// of another crate, or nothing is known about it.
        elsewhere: bool,
    },
    /// It is parked and was not polled once more: the questions ended at a task before it.
    NotProbed,
    /// It was polled once more to learn what it waits for, and that poll tried operation after
    /// operation, all of them pending, until it was ended.
    Endless {
        /// The reasons for which it waits, as far as they are known.
        reasons: Vec<String>,
        /// The number of operations that it tried.
        operations: u64,
    },
    /// A wake-up by this source was on its way to it.
    Woken {
        /// The task, the delivery or the timer that woke it.
        by: String,
        /// The number of its polls at that instant.
        polls_at_instant: u64,
    },
}

impl fmt::Display for StalledState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { reasons, .. } if reasons.is_empty() => {
                f.write_str("waits for something unknown to virtnet (a channel? a lock?)")
            }
            Self::Waiting { reasons, elsewhere } => {
                write!(f, "waits for {}", reasons.join(", or "))?;
                if *elsewhere {
                    f.write_str(", or something unknown to virtnet (a channel? a lock?)")?;
                }
                Ok(())
            }
            Self::NotProbed => f.write_str("waits (not asked for what)"),
            Self::Endless { reasons, operations } => write!(
                f,
                "tries operations that are all pending, {operations} of them in one poll: {}",
                reasons.join(", ")
            ),
            Self::Woken { by, polls_at_instant: 0 | 1 } => write!(f, "was woken by {by}"),
            Self::Woken { by, polls_at_instant } => {
                write!(f, "was woken by {by}, and polled {polls_at_instant} times at this instant")
            }
        }
    }
}

/// One task of a stalled run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StalledTask {
    /// The path of the task.
    pub task: String,
    /// The place where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// Its state.
    pub state: StalledState,
    /// Its last poll, unless a poll is due.
    pub history: Option<History>,
    /// The `select!` that it completed last, if any.
    pub last_select: Option<SelectEnd>,
    /// Whether its node is paused, so that it is not polled.
    pub paused: bool,
}

/// The last poll of a task that has not been woken since.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct History {
    /// The instant of the poll.
    pub polled_at: Instant,
    /// The source of the wake-up.
    pub woken_by: String,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { polled_at, woken_by } = self;
        write!(f, "last polled at {polled_at:?}, woken by {woken_by}; not woken since")
    }
}

/// The end of a `select!`. The branches that it dropped may be the reason why a later wait of its
/// task never ends.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SelectEnd {
    /// The instant of the end.
    pub at: Instant,
    /// Its place in the program.
    pub location: &'static Location<'static>,
    /// The future of the branch that it took, as written, or `else`.
    pub taken: String,
    /// The futures of the branches that it dropped, as written. What is only borrowed there, as in
    /// `&mut future`, is not dropped but is not polled any more.
    pub dropped: Vec<String>,
}

impl fmt::Display for SelectEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, location: index, taken: took, dropped } = self;
        write!(f, "its last select! took `{took}`, dropped `{}`", dropped.join("`, `"))?;
        write!(f, " at {at:?} ({index})")
    }
}

impl StalledTask {
    /// Returns whether the task waits for something that virtnet does not know.
    fn is_unknown(&self) -> bool {
        matches!(self.state, StalledState::Waiting { elsewhere: true, .. })
    }
}

impl fmt::Display for StalledTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paused = if self.paused { ", and its node is paused" } else { "" };
        write!(f, "{} {}{paused}\n    spawned at {}", self.task, self.state, self.spawned_at)?;
        let unknown = self.is_unknown();
        if let Some(history) = self.history.as_ref().filter(|_| unknown) {
            write!(f, "\n    {history}")?;
        }
        match self.last_select.as_ref().filter(|_| unknown) {
            Some(select) => write!(f, "\n    {select}"),
            None => Ok(()),
        }
    }
}

/// A task that could go on, though nothing had woken it.
///
/// When a run is over, each parked task is polled once more, while no operation
/// of virtnet completes. A task that gets on all the same, or finds an operation
/// ready, could have gone on before the run ended: what it waited for had
/// happened, and its waker was not called.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LostWakeup {
    /// The path of the task.
    pub task: String,
    /// The evidence that it could go on.
    pub evidence: String,
}

impl fmt::Display for LostWakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "probably a lost wake-up: {}, polled once more, {}", self.task, self.evidence)
    }
}

/// The state of every task when the run stopped early.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// The instant at which the run stopped.
    pub at: Instant,
    /// All tasks, oldest first; the main task comes first of all.
    pub tasks: Vec<StalledTask>,
    /// In a livelock, the task whose polls or wake-ups would not end; the first of several.
    pub culprit: Option<String>,
    /// In a livelock, all such tasks that were found, oldest first.
    pub culprits: Vec<String>,
    /// The limit that stopped the run; none stops a deadlock.
    pub limit: Option<Limit>,
    /// The first task found that could go on.
    pub lost_wakeup: Option<LostWakeup>,
    /// The number of wake-ups by other threads, for which the run cannot wait.
    pub foreign_wakes: u64,
    /// Whether polling the tasks once more was ended, because it took too much real time.
    pub cut_short: bool,
}

/// The maximum number of tasks in a printed report.
const MAX_SHOWN: usize = 50;

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:?}; {} task(s):", self.at, self.tasks.len())?;
        for task in self.tasks.iter().take(MAX_SHOWN) {
            write!(f, "\n  {task}")?;
        }
        if self.tasks.len() > MAX_SHOWN {
            write!(f, "\n  ... and {} more", self.tasks.len() - MAX_SHOWN)?;
        }
        self.write_culprits(f)?;
        if let Some(lost) = &self.lost_wakeup {
            write!(f, "\n  {lost}")?;
        }
        if self.cut_short {
            f.write_str("\n  asking the tasks was ended after 2 s of real time")?;
        }
        if self.foreign_wakes == 0 && self.tasks.iter().any(StalledTask::is_unknown) {
            f.write_str(
                "\n  (something unknown may also be another thread or a real timer: a run does not \
                 wait for those)",
            )?;
        }
        if self.foreign_wakes > 0 {
            write!(
                f,
                "\n  {} wake-up(s) came from other threads; what those do is not simulated, \
                 and a run does not wait for it",
                self.foreign_wakes
            )?;
        }
        Ok(())
    }
}

/// The maximum number of culprits of a livelock in a printed report.
const MAX_NAMED: usize = 5;

impl Stall {
    /// Prints which tasks would not end, and in which way.
    fn write_culprits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.culprits.is_empty() {
            return Ok(());
        }
        let named = &self.culprits[..self.culprits.len().min(MAX_NAMED)];
        write!(f, "\n  {}", named.join(", "))?;
        match self.culprits.len() - named.len() {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        f.write_str(match self.limit {
            Some(Limit::SelfWokenPolls(_) | Limit::MixedPolls(_)) if self.culprits.len() > 1 => {
                " woke themselves without end"
            }
            Some(Limit::SelfWokenPolls(_) | Limit::MixedPolls(_)) => " woke itself without end",
            Some(Limit::PollsAtInstant(_)) => " was polled without end",
            _ => " was polled, or woken by others in turn, without end",
        })
    }
}
