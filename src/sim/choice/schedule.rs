//! Schedules: how the priority of a wake-up (rank and delay) is drawn.
//!
//! Every schedule makes the same two choices for a wake-up; schedules differ only in how the
//! values are drawn.

use std::fmt;
use std::str::FromStr;

use crate::sim::choice::distribution::{DelayPolicy, Distribution};
use crate::sim::choice::draw::ChoiceSource;
use crate::sim::choice::family::ChoiceFamily;
use crate::sim::choice::key::{ChoiceKey, PathHash};

/// The strategy that draws the order and the delays of wake-ups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Schedule {
    /// First come, first served, and nothing is ever late, unless a tape says
    /// so. One order for all seeds; virtual times are exact.
    Fifo,
    /// Every wake-up draws its place among what is due, and whether it is late: one in four of
    /// those by tasks, mostly by microseconds, and one in sixteen of those by timers and by what
    /// arrives, by 16 µs and more; 65 ms at most.
    #[default]
    Random,
    /// Probabilistic concurrency testing: every task keeps a standing, low ones
    /// are held back, and some fall to the lowest at one of their polls.
    ///
    /// Finds orderings in which one task must be far ahead of another, which
    /// independent draws almost never produce. After Burckhardt et al., "A
    /// Randomized Scheduler with Probabilistic Guarantees of Finding Bugs"
    /// (ASPLOS 2010). Two things are our own: low tasks are held back in virtual
    /// time as well, and a change point is a poll of a task, not a step of the
    /// run, so that an edit elsewhere does not move it.
    Pct {
        /// The number of ordering constraints of the bugs that are sought: 1 or more.
        depth: u32,
    },
}

/// Prints `fifo`, `random` or `pct:3`.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fifo => f.pad("fifo"),
            Self::Random => f.pad("random"),
            Self::Pct { depth } => f.pad(&format!("pct:{depth}")),
        }
    }
}

/// A schedule's name could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{input}` is no schedule: expected `fifo`, `random` or `pct:N` with N from 1")]
pub struct ParseScheduleError {
    /// The text that was parsed.
    pub input: String,
}

impl FromStr for Schedule {
    type Err = ParseScheduleError;
    fn from_str(input: &str) -> Result<Self, ParseScheduleError> {
        match input {
            "fifo" => return Ok(Self::Fifo),
            "random" => return Ok(Self::Random),
            _ => {}
        }
        let depth = input.strip_prefix("pct:").filter(|depth| !depth.starts_with('+'));
        let depth = depth.and_then(|depth| depth.parse().ok());
        match depth {
            Some(depth) if depth > 0 => Ok(Self::Pct { depth }),
            _ => Err(ParseScheduleError { input: input.into() }),
        }
    }
}

/// The number of ranks among the events that are due at one instant.
const RANKS: u64 = 1 << 16;

/// The priority that a strategy gives to a wake-up.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Priority {
    /// The place among what is due at the same instant: low goes first.
    pub(crate) rank: u16,
    /// Nanoseconds by which the wake-up is late.
    pub(crate) delay: u64,
}

/// The state of a task under `Schedule::Pct`.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct PctState {
    pub(crate) priority: Priority,
    /// The number of polls before the priority falls; 0 is never.
    polls_until_demotion: u32,
    demoted: Priority,
}

impl PctState {
    /// Counts a poll, at which the task may fall.
    pub(crate) fn count_poll(&mut self) {
        if self.polls_until_demotion > 0 {
            self.polls_until_demotion -= 1;
            if self.polls_until_demotion == 0 {
                self.priority = self.demoted;
            }
        }
    }
}

/// A wake-up, as far as a strategy may know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wakeup {
    pub(crate) task: PathHash,
    pub(crate) source: PathHash,
    /// The number of earlier wake-ups of this task by this source.
    pub(crate) ordinal: u64,
    /// The priority of the task under `Schedule::Pct`.
    pub(crate) task_priority: Priority,
}

/// Draws for one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheduler {
    schedule: Schedule,
}

impl Scheduler {
    pub(crate) const fn new(schedule: Schedule) -> Self {
        Self { schedule }
    }

    /// Whether tasks have a standing at all.
    #[inline]
    pub(crate) const fn is_pct(self) -> bool {
        matches!(self.schedule, Schedule::Pct { .. })
    }

    /// Draws the initial state of a task.
    pub(crate) fn draw_pct_state(self, choices: &mut ChoiceSource, task: PathHash) -> PctState {
        let Schedule::Pct { depth } = self.schedule else {
            return PctState::default();
        };
        let mut draw = |ordinal, shape| {
            choices.draw(ChoiceKey::new(ChoiceFamily::Pct, task, PathHash::NONE), ordinal, shape)
        };
        // The upper half of the places is for those who fall.
        let index = draw(0, Distribution::Uniform(RANKS / 2)) as u16;
        let slack = Priority { rank: index, delay: draw(1, Distribution::PctHold) };
        // One task in eight for each change point that is asked for.
        let falls = draw(2, Distribution::Uniform(8));
        if falls == 0 || falls > u64::from(depth.saturating_sub(1)) {
            return PctState { priority: slack, ..PctState::default() };
        }
        // The number of polls of a task is unknown, so that every scale is as likely.
        let scale = draw(3, Distribution::Uniform(10));
        let polls_left = 1 + draw(4, Distribution::Uniform(1 << scale)) as u32;
        let index = (RANKS / 2) as u16 + draw(5, Distribution::Uniform(RANKS / 2)) as u16;
        PctState {
            priority: slack,
            polls_until_demotion: polls_left,
            demoted: Priority { rank: index, delay: draw(6, Distribution::PctDemotion) },
        }
    }

    /// The choice how late a wake-up of a task by a source is.
    #[inline]
    pub(crate) const fn delay_key(task: PathHash, source: PathHash) -> ChoiceKey {
        ChoiceKey::new(ChoiceFamily::Delay, task, source)
    }

    /// Chooses how late a wake-up by something other than the task itself is.
    pub(crate) fn draw_delay(
        self,
        choices: &mut ChoiceSource,
        wakeup: Wakeup,
        late: DelayPolicy,
    ) -> u64 {
        let subject = Self::delay_key(wakeup.task, wakeup.source);
        match self.schedule {
            Schedule::Fifo => {
                choices.overridden_value(subject, wakeup.ordinal, Distribution::Delay(late))
            }
            Schedule::Random => choices.draw(subject, wakeup.ordinal, Distribution::Delay(late)),
            Schedule::Pct { .. } => wakeup.task_priority.delay,
        }
    }

    /// The random bits that say how late a wake-up is, if nothing else has a say in it.
    #[inline(always)]
    pub(crate) fn draw_delay_fast(
        self,
        choices: &ChoiceSource,
        subject: ChoiceKey,
        ordinal: u64,
    ) -> Option<u64> {
        match self.schedule {
            Schedule::Random => choices.seed_bits(subject, ordinal),
            Schedule::Fifo if choices.has_no_overrides() => Some(DelayPolicy::NONE),
            _ => None,
        }
    }

    /// Chooses the place of a wake-up among what is due at the same instant.
    #[inline]
    pub(crate) fn draw_rank(self, choices: &mut ChoiceSource, wakeup: Wakeup) -> u16 {
        let (subject, shape) = (
            ChoiceKey::new(ChoiceFamily::Priority, wakeup.task, wakeup.source),
            Distribution::Uniform(RANKS),
        );
        match self.schedule {
            Schedule::Fifo => choices.overridden_value(subject, wakeup.ordinal, shape) as u16,
            Schedule::Random => choices.draw(subject, wakeup.ordinal, shape) as u16,
            Schedule::Pct { .. } => wakeup.task_priority.rank,
        }
    }

    /// Chooses at which of its branches a `select!` begins to look.
    #[inline]
    pub(crate) fn first_branch(
        self,
        choices: &mut ChoiceSource,
        subject: ChoiceKey,
        ordinal: u64,
        of: u64,
    ) -> u64 {
        match self.schedule {
            Schedule::Fifo => choices.overridden_value(subject, ordinal, Distribution::Uniform(of)),
            _ => choices.draw(subject, ordinal, Distribution::Uniform(of)),
        }
    }
}
