//! [`Latency`]: a minimum duration, and a drawn one on top, in integer arithmetic.
//!
//! Only the part above the minimum is drawn, so that 0 is the benign choice.

use std::time::Duration;

use crate::sim::{Distribution, nanos};

/// The longest latency that makes sense: a day.
const MAX_LATENCY: Duration = Duration::from_secs(24 * 60 * 60);

/// A distribution of durations.
///
/// Every duration drawn is a choice: on `Tape::zero()` it is the least.
///
/// ```
/// use std::time::Duration;
/// use virtnet::simnet::Latency;
///
/// let ms = Duration::from_millis;
/// assert_eq!(Latency::uniform(ms(1), ms(10)).least(), ms(1));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    min: u64,
    extra: Distribution,
}

impl Latency {
    /// From a host to itself: 10 µs.
    pub(crate) const LOOPBACK: Self = Self { min: 10_000, extra: Distribution::Uniform(1) };

    /// From so many milliseconds to so many, all alike.
    pub(crate) const fn of_millis(least: u64, most: u64) -> Self {
        const NANOS: u64 = 1_000_000;
        Self { min: least * NANOS, extra: Distribution::Uniform((most - least) * NANOS + 1) }
    }

    /// Always the same.
    ///
    /// # Panics
    ///
    /// If it is longer than a day.
    #[track_caller]
    pub fn constant(latency: Duration) -> Self {
        Self { min: checked("latency", latency), extra: Distribution::Uniform(1) }
    }

    /// Anything from `min` to `max`, both included, all alike.
    ///
    /// # Panics
    ///
    /// If `min` is greater than `max`, or `max` longer than a day.
    #[track_caller]
    pub fn uniform(min: Duration, max: Duration) -> Self {
        assert!(min <= max, "virtnet: `Latency::uniform`: min {min:?} is greater than max {max:?}");
        let (least, most) = (checked("min", min), checked("max", max));
        Self { min: least, extra: Distribution::Uniform(most - least + 1) }
    }

    /// `min`, and on top an exponentially distributed duration, so that `mean` is the mean of the
    /// whole.
    ///
    /// # Panics
    ///
    /// If `min` is greater than `mean`, or `mean` longer than a day.
    #[track_caller]
    pub fn exponential(min: Duration, mean: Duration) -> Self {
        assert!(
            min <= mean,
            "virtnet: `Latency::exponential`: min {min:?} is greater than mean {mean:?}"
        );
        let (least, mean) = (checked("min", min), checked("mean", mean));
        Self { min: least, extra: Distribution::Exponential(mean - least) }
    }

    /// `min`, and on top something much like a log-normal distribution, so that `median` is the
    /// median of the whole and one sigma a factor of two of what is on top.
    ///
    /// # Panics
    ///
    /// If `min` is greater than `median`, or `median` longer than a day.
    #[track_caller]
    pub fn log_normal(min: Duration, median: Duration) -> Self {
        assert!(
            min <= median,
            "virtnet: `Latency::log_normal`: min {min:?} is greater than median {median:?}"
        );
        let (least, median) = (checked("min", min), checked("median", median));
        Self { min: least, extra: Distribution::LogNormal(median - least) }
    }

    /// Returns the least it can be.
    pub const fn least(&self) -> Duration {
        Duration::from_nanos(self.min)
    }

    /// The most nanoseconds that it can take.
    pub(crate) fn max_nanos(self) -> u64 {
        self.min.saturating_add(self.extra.options() - 1)
    }

    /// The nanoseconds that it takes at least, and the shape of what is drawn on top.
    #[inline]
    pub(crate) const fn parts(self) -> (u64, Distribution) {
        (self.min, self.extra)
    }

    /// The distribution in words, for a record of a fault.
    pub(crate) fn describe(self) -> String {
        let least = self.least();
        let with = |more: u64| Duration::from_nanos(self.min.saturating_add(more));
        match self.extra {
            Distribution::Uniform(options) if options > 1 => {
                format!("{least:?} to {:?}", with(options - 1))
            }
            Distribution::Exponential(mean) => {
                format!("{least:?} at least, {:?} on average", with(mean))
            }
            Distribution::LogNormal(median) => {
                format!("{least:?} at least, {:?} as median", with(median))
            }
            _ => format!("{least:?}"),
        }
    }

    /// So many times as long.
    pub(crate) fn times(self, factor: u64) -> Self {
        let long = |nanos: u64| nanos.saturating_mul(factor).min(max_latency_nanos());
        let more = match self.extra {
            Distribution::Uniform(options) => Distribution::Uniform(long(options - 1) + 1),
            Distribution::Exponential(mean) => Distribution::Exponential(long(mean)),
            Distribution::LogNormal(median) => Distribution::LogNormal(long(median)),
            shape => shape,
        };
        Self { min: long(self.min), extra: more }
    }
}

fn max_latency_nanos() -> u64 {
    nanos(MAX_LATENCY)
}

#[track_caller]
fn checked(what: &str, latency: Duration) -> u64 {
    assert!(
        latency <= MAX_LATENCY,
        "virtnet: {what} {latency:?} of a latency is longer than a day"
    );
    nanos(latency)
}
