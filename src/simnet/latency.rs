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

    /// Uniform, from `min` to `max` milliseconds.
    pub(crate) const fn from_millis(min: u64, max: u64) -> Self {
        const NANOS: u64 = 1_000_000;
        Self { min: min * NANOS, extra: Distribution::Uniform((max - min) * NANOS + 1) }
    }

    /// Always the same.
    ///
    /// # Panics
    ///
    /// If it is longer than a day.
    #[track_caller]
    pub fn constant(latency: Duration) -> Self {
        Self { min: checked_nanos("latency", latency), extra: Distribution::Uniform(1) }
    }

    /// Anything from `min` to `max`, both included, all alike.
    ///
    /// # Panics
    ///
    /// If `min` is greater than `max`, or `max` longer than a day.
    #[track_caller]
    pub fn uniform(min: Duration, max: Duration) -> Self {
        assert!(min <= max, "virtnet: `Latency::uniform`: min {min:?} is greater than max {max:?}");
        let (min_nanos, max_nanos) = (checked_nanos("min", min), checked_nanos("max", max));
        Self { min: min_nanos, extra: Distribution::Uniform(max_nanos - min_nanos + 1) }
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
        let (min_nanos, mean) = (checked_nanos("min", min), checked_nanos("mean", mean));
        Self { min: min_nanos, extra: Distribution::Exponential(mean - min_nanos) }
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
        let (min_nanos, median) = (checked_nanos("min", min), checked_nanos("median", median));
        Self { min: min_nanos, extra: Distribution::LogNormal(median - min_nanos) }
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
    pub(crate) const fn min_and_extra(self) -> (u64, Distribution) {
        (self.min, self.extra)
    }

    /// The distribution in words, for a record of a fault.
    pub(crate) fn describe(self) -> String {
        let min = self.least();
        let with = |more: u64| Duration::from_nanos(self.min.saturating_add(more));
        match self.extra {
            Distribution::Uniform(options) if options > 1 => {
                format!("{min:?} to {:?}", with(options - 1))
            }
            Distribution::Exponential(mean) => {
                format!("{min:?} at least, {:?} on average", with(mean))
            }
            Distribution::LogNormal(median) => {
                format!("{min:?} at least, {:?} as median", with(median))
            }
            _ => format!("{min:?}"),
        }
    }

    /// `factor` times as long.
    pub(crate) fn scaled_by(self, factor: u64) -> Self {
        let long = |nanos: u64| nanos.saturating_mul(factor).min(max_latency_nanos());
        let extra = match self.extra {
            Distribution::Uniform(options) => Distribution::Uniform(long(options - 1) + 1),
            Distribution::Exponential(mean) => Distribution::Exponential(long(mean)),
            Distribution::LogNormal(median) => Distribution::LogNormal(long(median)),
            shape => shape,
        };
        Self { min: long(self.min), extra }
    }
}

fn max_latency_nanos() -> u64 {
    nanos(MAX_LATENCY)
}

#[track_caller]
fn checked_nanos(name: &str, latency: Duration) -> u64 {
    assert!(
        latency <= MAX_LATENCY,
        "virtnet: {name} {latency:?} of a latency is longer than a day"
    );
    nanos(latency)
}
