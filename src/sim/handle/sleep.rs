//! Futures of virtual time: `Sleep`, `Timeout`, `Interval`, `YieldNow`.
//!
//! The free functions serve code that holds no [`Sim`](crate::Sim), as in tokio.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project_lite::pin_project;

use crate::util::stall_probe::{
    Operation, address_of, count_operation, forget_operation, has_progressed, is_probing,
    report_pending,
};
use crate::util::waiter::Waiter;

use crate::sim::instant::{Instant, nanos};
use crate::sim::queue::entry::EntryId;
use crate::sim::queue::timer_table::TimerId;
use crate::sim::world::current::{
    current_run, enter_run, now as now_of, run_and_now, try_enter_run,
};

/// Waits for an instant of virtual time.
///
/// # Panics
///
/// When polled outside its run.
///
/// # Cancel safety
///
/// Dropping it cancels the timer; nothing is lost.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    run: u64,
    deadline: Instant,
    timer: TimerState,
}

/// The state of the timer of a [`Sleep`].
#[derive(Clone, Copy)]
enum TimerState {
    /// It has not been polled since it was made or reset.
    Idle,
    Armed(u32, EntryId),
    /// It has completed.
    Completed,
}

impl TimerState {
    const fn timer_id(self) -> Option<TimerId> {
        match self {
            Self::Armed(slot, serial) => Some(TimerId { slot, entry: serial }),
            Self::Idle | Self::Completed => None,
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish()
    }
}

impl Sleep {
    #[inline]
    pub(crate) const fn new(run: u64, deadline: Instant) -> Self {
        Self { run, deadline, timer: TimerState::Idle }
    }

    /// Returns the instant it waits for.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits for another instant from now on.
    pub fn reset(&mut self, deadline: Instant) {
        self.cancel();
        self.deadline = deadline;
    }

    fn cancel(&mut self) {
        let timer = std::mem::replace(&mut self.timer, TimerState::Idle);
        if let Some(timer) = timer.timer_id() {
            // Whom it would have woken is dropped here, outside the world.
            let _waiter = try_enter_run(self.run, |world| world.cancel_timer(timer));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if is_probing() {
            return this.explain();
        }
        let at = this.deadline.as_nanos();
        if now_of(this.run) >= at {
            // Whatever was due by now has fired: that comes before any poll.
            this.timer = TimerState::Completed;
            return Poll::Ready(());
        }
        let waiter = Waiter::of(cx.waker());
        let mut timer = this.timer.timer_id();
        // The previous waiter is dropped here, outside the world.
        let replaced = enter_run(this.run, |world| world.arm_timer(&mut timer, at, waiter));
        if replaced.is_err() {
            // It has gone off, though the clock of this node says otherwise by now.
            this.timer = TimerState::Completed;
            return Poll::Ready(());
        }
        this.timer = timer.map_or(TimerState::Idle, |TimerId { slot, entry: serial }| {
            TimerState::Armed(slot, serial)
        });
        Poll::Pending
    }
}

impl Sleep {
    /// Says how it stands while a stall is explained; it arms no timer.
    #[cold]
    fn explain(&self) -> Poll<()> {
        let operation = match self.timer {
            _ if has_progressed() => Operation::Waiting,
            // It says so in every poll, and the program may ask in every poll.
            TimerState::Completed => {
                count_operation();
                return Poll::Ready(());
            }
            TimerState::Idle => Operation::NewAt(address_of(self)),
            TimerState::Armed(slot, serial) => {
                let timer = TimerId { slot, entry: serial };
                let armed =
                    enter_run(self.run, |world| world.events.timers.waiter(timer).is_some());
                if armed { Operation::Waiting } else { Operation::Ready }
            }
        };
        report_pending(operation, || format!("sleep until {:?}", self.deadline))
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if is_probing() {
            forget_operation(address_of(self));
        }
        self.cancel();
    }
}

pin_project! {
    /// A future with a limit of virtual time: see [`Sim::timeout`](crate::sim::Sim::timeout).
    ///
    /// The future is polled before the time is looked at: what completes at the
    /// last instant is in time.
    #[must_use = "futures do nothing unless awaited"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        limit: Sleep,
    }
}

impl<F> Timeout<F> {
    pub(crate) const fn new(limit: Sleep, future: F) -> Self {
        Self { future, limit }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        ready!(Pin::new(this.limit).poll(cx));
        Poll::Ready(Err(Elapsed(())))
    }
}

/// The time limit of a [`Timeout`] has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("deadline has elapsed")]
pub struct Elapsed(());

impl Elapsed {
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Ticks at a fixed period of virtual time; the first tick comes at once.
///
/// Missed ticks are treated as its [`MissedTickBehavior`] says.
#[derive(Debug)]
#[must_use = "an interval ticks only when awaited"]
pub struct Interval {
    next: Sleep,
    period: Duration,
    missed_tick_behavior: MissedTickBehavior,
}

/// Says when an [`Interval`] ticks after it has missed ticks; the rules are tokio's.
///
/// A tick is missed if it is taken more than 5 ms after it was due: a little lateness moves
/// nothing. The late tick itself comes at once in any case, and returns the instant for which it
/// was due.
///
/// ```
/// use std::time::Duration;
/// use virtnet::time::MissedTickBehavior;
///
/// virtnet::Run::new(0).schedule(virtnet::Schedule::Fifo).execute(async |sim| {
///     let mut interval = sim.interval(Duration::from_secs(1));
///     interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
///     interval.tick().await;
///     sim.sleep(Duration::from_millis(2500)).await;
///     interval.tick().await; // at 2.5 s, due at 1 s
///     interval.tick().await;
///     assert_eq!(format!("{:?}", sim.now()), "3s");
/// }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Ticks one right after the other until it has caught up, so that the number of ticks is the
    /// time that has passed.
    #[default]
    Burst,
    /// Ticks a whole period after the late tick was taken, and so on from there.
    Delay,
    /// Leaves out what was missed, and ticks at the next instant that is whole periods after the
    /// late tick was due.
    Skip,
}

/// The lateness up to which a tick counts as taken in time.
const TICK_TOLERANCE: Duration = Duration::from_millis(5);

impl MissedTickBehavior {
    /// The instant of the next tick after one that was taken late.
    fn next_due(self, due: Instant, now: Instant, period: Duration) -> Instant {
        match self {
            Self::Delay if now > due + TICK_TOLERANCE => now + period,
            Self::Skip if now > due + TICK_TOLERANCE => {
                let late = nanos(now - due) % nanos(period);
                now + (period - Duration::from_nanos(late))
            }
            _ => due + period,
        }
    }
}

impl Interval {
    #[track_caller]
    pub(crate) fn new(run: u64, start: Instant, period: Duration) -> Self {
        assert!(!period.is_zero(), "virtnet: an interval's period must not be zero");
        let (next, missed_tick_behavior) = (Sleep::new(run, start), MissedTickBehavior::Burst);
        Self { next, period, missed_tick_behavior }
    }

    /// Waits for the next tick and returns the instant for which it was due.
    ///
    /// # Cancel safety
    ///
    /// A tick that was not returned comes again.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Polls for the next tick.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.next).poll(cx));
        let due = self.next.deadline();
        let next = match self.missed_tick_behavior {
            MissedTickBehavior::Burst => due + self.period,
            behavior => {
                behavior.next_due(due, Instant::from_nanos(now_of(self.next.run)), self.period)
            }
        };
        self.next.reset(next);
        Poll::Ready(due)
    }

    /// Returns the period.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Says what it does about ticks that were missed; at first it bursts.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed_tick_behavior = behavior;
    }

    /// Returns what it does about ticks that were missed.
    pub const fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed_tick_behavior
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }
}

/// Lets all else that is due go first: see [`Sim::yield_now`](crate::sim::Sim::yield_now).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl YieldNow {
    pub(crate) const fn new() -> Self {
        Self { yielded: false }
    }
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if is_probing() {
            let operation = if self.yielded { Operation::Ready } else { Operation::New };
            return report_pending(operation, || "its turn after `yield_now`".into());
        }
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Instant {
    /// Returns the virtual time that has passed since this instant; none if it
    /// has yet to come.
    ///
    /// # Panics
    ///
    /// Outside a run.
    #[track_caller]
    pub fn elapsed(&self) -> Duration {
        Self::from_nanos(run_and_now("Instant::elapsed").1).duration_since(*self)
    }
}

/// Returns the virtual time; see [`Sim::now`](crate::sim::Sim::now).
///
/// # Panics
///
/// Outside a run.
#[track_caller]
pub fn now() -> Instant {
    Instant::from_nanos(run_and_now("virtnet::time::now").1)
}

/// Waits until `duration` of virtual time has passed; see [`Sim::sleep`](crate::sim::Sim::sleep).
///
/// # Panics
///
/// Outside a run.
#[inline]
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    let (run, now) = run_and_now("virtnet::time::sleep");
    Sleep::new(run, Instant::from_nanos(now) + duration)
}

/// Waits until the instant has come; see [`Sim::sleep_until`](crate::sim::Sim::sleep_until).
///
/// # Panics
///
/// Outside a run.
#[inline]
#[track_caller]
pub fn sleep_until(at: Instant) -> Sleep {
    Sleep::new(current_run("virtnet::time::sleep_until"), at)
}

/// Drops a future if it is not ready after `limit`; see [`Sim::timeout`](crate::sim::Sim::timeout).
///
/// # Panics
///
/// Outside a run.
#[track_caller]
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    let (run, now) = run_and_now("virtnet::time::timeout");
    Timeout::new(Sleep::new(run, Instant::from_nanos(now) + limit), future)
}

/// Ticks at a fixed period; see [`Sim::interval`](crate::sim::Sim::interval).
///
/// # Panics
///
/// Outside a run, and if `period` is zero.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    let (run, now) = run_and_now("virtnet::time::interval");
    Interval::new(run, Instant::from_nanos(now), period)
}

/// Lets all else that is due go first; see [`Sim::yield_now`](crate::sim::Sim::yield_now).
///
/// # Panics
///
/// Outside a run.
#[track_caller]
pub fn yield_now() -> YieldNow {
    current_run("virtnet::time::yield_now");
    YieldNow::new()
}
