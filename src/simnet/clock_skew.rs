//! [`ClockSkew`]: an offset of a node's wall clock, and a drift of both its clocks.

use std::time::Duration;

use crate::sim::nanos;

/// The deviation of a node's clocks: an offset of its wall clock, and a drift of both.
///
/// ```
/// use std::time::Duration;
/// use virtnet::simnet::ClockSkew;
///
/// let late = ClockSkew::behind(Duration::from_millis(200));
/// let fast = ClockSkew::none().drift_ppm(50);
/// assert_ne!(late, fast);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "it does nothing until it is given to `Node::set_clock`"]
pub struct ClockSkew {
    /// Nanoseconds by which the wall clock is ahead.
    pub(crate) offset: i64,
    /// Millionths by which both clocks run too fast.
    pub(crate) drift_ppm: i32,
}

impl ClockSkew {
    /// No skew: the wall clock shows the true time, and both clocks run at the true rate.
    pub const fn none() -> Self {
        Self { offset: 0, drift_ppm: 0 }
    }

    /// The wall clock is ahead of the true time, by at most 292 years.
    pub fn ahead(offset: Duration) -> Self {
        Self { offset: i64::try_from(nanos(offset)).unwrap_or(i64::MAX), ..Self::none() }
    }

    /// The wall clock is behind the true time, by at most 292 years.
    pub fn behind(offset: Duration) -> Self {
        Self { offset: -Self::ahead(offset).offset, ..Self::none() }
    }

    /// Both clocks run too fast by this many millionths, or too slow if it is negative.
    ///
    /// # Panics
    ///
    /// If it is not more than -1 000 000: the clocks would stand still or run backwards.
    #[track_caller]
    pub fn drift_ppm(self, drift_ppm: i32) -> Self {
        assert!(
            drift_ppm > -1_000_000,
            "virtnet: a drift of {drift_ppm} millionths lets a clock stand still or run backwards"
        );
        Self { drift_ppm, ..self }
    }
}
