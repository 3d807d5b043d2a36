//! What explores: how a wake-up's place and delay are chosen.
//!
//! Knows strategies; refuses to know what is woken. Each strategy poses the
//! same two choices for a wake-up and differs only in how they are drawn.

use std::fmt;
use std::str::FromStr;

use crate::sim::choice::draw::{ChoiceKey, Choices, Key, Lateness, Shape};
use crate::sim::choice::family::ChoiceFamily;

/// How the order of what happens is explored.
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
        /// How many ordering constraints the bug that is sought has; 1 and up.
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
    /// What was to be read.
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

/// How many places there are among what is due at one instant.
const PLACES: u64 = 1 << 16;

/// What a strategy decides for a wake-up.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Slack {
    /// The place among what is due at the same instant: low goes first.
    pub(crate) place: u16,
    /// Nanoseconds by which the wake-up is late.
    pub(crate) delay: u64,
}

/// What a task keeps under `Schedule::Pct`.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Standing {
    pub(crate) slack: Slack,
    /// How many polls are left until it falls; 0 is never.
    polls_left: u32,
    fallen: Slack,
}

impl Standing {
    /// Counts a poll, at which the task may fall.
    pub(crate) fn count_poll(&mut self) {
        if self.polls_left > 0 {
            self.polls_left -= 1;
            if self.polls_left == 0 {
                self.slack = self.fallen;
            }
        }
    }
}

/// A wake-up, as far as a strategy may know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wakeup {
    pub(crate) task: Key,
    pub(crate) source: Key,
    /// How many times this source has woken this task before.
    pub(crate) ordinal: u64,
    /// What the task keeps under `Schedule::Pct`.
    pub(crate) kept: Slack,
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
    pub(crate) const fn ranks(self) -> bool {
        matches!(self.schedule, Schedule::Pct { .. })
    }

    /// What a task starts out with.
    pub(crate) fn standing(self, choices: &mut Choices, task: Key) -> Standing {
        let Schedule::Pct { depth } = self.schedule else {
            return Standing::default();
        };
        let mut draw = |ordinal, shape| {
            choices.draw(ChoiceKey::new(ChoiceFamily::Pct, task, Key::NONE), ordinal, shape)
        };
        // The upper half of the places is for those who fall.
        let place = draw(0, Shape::Uniform(PLACES / 2)) as u16;
        let slack = Slack { place, delay: draw(1, Shape::Hold) };
        // One task in eight for each change point that is asked for.
        let falls = draw(2, Shape::Uniform(8));
        if falls == 0 || falls > u64::from(depth.saturating_sub(1)) {
            return Standing { slack, ..Standing::default() };
        }
        // How long a task will live is unknown, so every scale is as likely.
        let scale = draw(3, Shape::Uniform(10));
        let polls_left = 1 + draw(4, Shape::Uniform(1 << scale)) as u32;
        let place = (PLACES / 2) as u16 + draw(5, Shape::Uniform(PLACES / 2)) as u16;
        Standing { slack, polls_left, fallen: Slack { place, delay: draw(6, Shape::Demotion) } }
    }

    /// The choice how late a wake-up of a task by a source is.
    #[inline]
    pub(crate) const fn delay_of(task: Key, source: Key) -> ChoiceKey {
        ChoiceKey::new(ChoiceFamily::Delay, task, source)
    }

    /// Chooses how late a wake-up by something other than the task itself is.
    pub(crate) fn delay(self, choices: &mut Choices, wakeup: Wakeup, late: Lateness) -> u64 {
        let subject = Self::delay_of(wakeup.task, wakeup.source);
        match self.schedule {
            Schedule::Fifo => choices.overridden(subject, wakeup.ordinal, Shape::Delay(late)),
            Schedule::Random => choices.draw(subject, wakeup.ordinal, Shape::Delay(late)),
            Schedule::Pct { .. } => wakeup.kept.delay,
        }
    }

    /// The random bits that say how late a wake-up is, if nothing else has a say in it.
    #[inline(always)]
    pub(crate) fn plain_delay(
        self,
        choices: &Choices,
        subject: ChoiceKey,
        ordinal: u64,
    ) -> Option<u64> {
        match self.schedule {
            Schedule::Random => choices.plain_bits(subject, ordinal),
            Schedule::Fifo if choices.overrides_nothing() => Some(Lateness::NONE),
            _ => None,
        }
    }

    /// Chooses the place of a wake-up among what is due at the same instant.
    #[inline]
    pub(crate) fn place(self, choices: &mut Choices, wakeup: Wakeup) -> u16 {
        let (subject, shape) = (
            ChoiceKey::new(ChoiceFamily::Priority, wakeup.task, wakeup.source),
            Shape::Uniform(PLACES),
        );
        match self.schedule {
            Schedule::Fifo => choices.overridden(subject, wakeup.ordinal, shape) as u16,
            Schedule::Random => choices.draw(subject, wakeup.ordinal, shape) as u16,
            Schedule::Pct { .. } => wakeup.kept.place,
        }
    }

    /// Chooses at which of its branches a `select!` begins to look.
    #[inline]
    pub(crate) fn turn(
        self,
        choices: &mut Choices,
        subject: ChoiceKey,
        ordinal: u64,
        of: u64,
    ) -> u64 {
        match self.schedule {
            Schedule::Fifo => choices.overridden(subject, ordinal, Shape::Uniform(of)),
            _ => choices.draw(subject, ordinal, Shape::Uniform(of)),
        }
    }
}
