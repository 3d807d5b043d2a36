//! Livelock detection: counts the polls of self-woken tasks.
//!
//! A spinning task advances virtual time by a microsecond per round, so a count of polls at one
//! instant does not notice it. A program without self-woken tasks pays one store for each timer
//! and each callback.

/// Many tasks that yield a few times each are no livelock: there must also be as many rounds as
/// this share of the limit.
const ROUNDS: u64 = 1000;

/// By how many nanoseconds time moves on when only tasks that wake themselves are due.
const SELF_WAKE_STEP_NANOS: u64 = 1_000;

/// The instant to which time moves on: that of the next event ahead, but only one step if a task
/// spins, because such a task waits for something that may happen in between. `skips_spins` says
/// that it does not. `None` if nothing is ahead and no task spins.
pub(crate) fn next_instant(
    now: u64,
    next_event_at: Option<u64>,
    has_spinning_task: bool,
    skips_spins: bool,
) -> Option<u64> {
    match (has_spinning_task.then_some(now + SELF_WAKE_STEP_NANOS), next_event_at) {
        (Some(_), Some(at)) if skips_spins => Some(at),
        (Some(step_at), Some(at)) => Some(at.min(step_at)),
        (at, None) | (None, at) => at,
    }
}

/// Counts of self-woken polls since a timer, the network, a fault or another thread last did
/// anything.
#[derive(Debug, Default)]
pub(crate) struct SpinCounter {
    /// Wake-ups of tasks by themselves.
    total: u64,
    /// Polls of self-woken tasks that woke themselves once more, since the last other poll.
    consecutive: u64,
    /// The number of rounds in which all self-woken tasks were polled.
    rounds: u64,
    /// The step in which a task last woke itself.
    step: u64,
    /// Whether time moves to the next event at once, although tasks have woken themselves.
    pub(super) skips_next_step: bool,
    /// Whether the self-woken tasks were polled at this instant.
    pub(super) ran_at_instant: bool,
}

impl SpinCounter {
    /// Begins anew: something has happened that no task brought about by waking.
    ///
    /// The other counts follow when a task wakes itself, which is rare.
    #[inline(always)]
    pub(crate) fn reset(&mut self) {
        self.total = 0;
    }

    /// Counts a task that wakes itself in its poll, which is the `step`-th step of the run; `again`
    /// if it had woken itself for this poll as well.
    pub(crate) fn count_poll(&mut self, step: u64, again: bool) {
        if self.total == 0 {
            (self.consecutive, self.rounds) = (0, 0);
        }
        if step != self.step + 1 {
            self.consecutive = 0;
        }
        self.total += 1;
        self.consecutive += u64::from(again);
        self.step = step;
    }

    /// Counts a round: all that has woken itself is to be polled once more.
    pub(crate) fn count_round(&mut self) {
        self.rounds += 1;
    }

    /// Whether there were more than `row` in a row until the `step`-th step of the run, or more
    /// than `total` in all.
    pub(crate) fn exceeded(&self, step: u64, row: u64, total: u64) -> Option<ExceededLimit> {
        let lasts = |limit: u64| self.total > 0 && self.rounds > limit / ROUNDS;
        if step == self.step && self.consecutive > row && lasts(row) {
            Some(ExceededLimit::Consecutive)
        } else if self.total > total && lasts(total) {
            Some(ExceededLimit::Total)
        } else {
            None
        }
    }
}

/// Which of the two limits was exceeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExceededLimit {
    /// The limit of self-woken polls with no other poll between them.
    Consecutive,
    /// The limit of self-woken polls among polls of tasks that others wake.
    Total,
}
