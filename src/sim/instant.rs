//! `Instant`: instants of virtual time and their arithmetic.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// The start of virtual wall clocks: 2026-01-01 00:00:00 UTC, in Unix seconds.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// An instant of virtual time: nanoseconds since the run began.
///
/// Arithmetic saturates at both ends, at 584 years, so `now + Duration::MAX` is an
/// instant that never comes rather than a panic. A run ends at 292 years: what
/// sleeps until later never wakes up.
///
/// ```
/// use std::time::Duration;
/// virtnet::Run::new(0).schedule(virtnet::Schedule::Fifo).execute(async |sim| {
///     let start = sim.now();
///     sim.sleep(Duration::from_millis(5)).await;
///     assert_eq!(sim.now() - start, Duration::from_millis(5));
///     assert_eq!(format!("{:?}", sim.now()), "5ms");
/// }).unwrap();
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The instant at which every run begins.
    pub const ZERO: Self = Self(0);

    /// Returns the instant `nanos` nanoseconds after the run began.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds from the beginning of the run.
    pub const fn as_nanos(&self) -> u64 {
        self.0
    }

    /// Returns the time since `earlier`, or zero if that is later.
    pub const fn duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The nanoseconds of a duration; 584 years and more are all the same.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration of `nanos` nanoseconds, rounded to three significant digits, for a text.
pub(crate) fn in_three_digits(nanos: u64) -> Duration {
    let mut unit = 1;
    while nanos / unit >= 1000 {
        unit *= 10;
    }
    Duration::from_nanos(nanos.saturating_add(unit / 2) / unit * unit)
}

impl Add<Duration> for Instant {
    type Output = Self;
    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

/// Prints the time since the run began: `1.5ms`.
impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from_nanos(self.0), f)
    }
}

/// Prints the seconds since the run began, to the nanosecond: `0.001500000`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        f.pad(&format!("{seconds}.{nanos:09}"))
    }
}
