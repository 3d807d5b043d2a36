//! Conversion between virtual instants and `std::time::Instant`.
//!
//! One real instant, taken once per process, stands for the beginning of every run. Only
//! differences of converted instants are meaningful, and those are virtual.

use std::sync::OnceLock;
use std::time::{Duration, Instant as StdInstant};

use crate::sim::Instant;

/// The real instant that stands for the beginning of every run.
fn base() -> StdInstant {
    static BASE: OnceLock<StdInstant> = OnceLock::new();
    *BASE.get_or_init(StdInstant::now)
}

impl Instant {
    /// Converts into the standard library's type, as hyper's timers want it.
    ///
    /// The result is a fixed real instant plus the virtual time. Comparing it
    /// with `std::time::Instant::now()` tells nothing. Instants that the
    /// platform cannot express become one that is a hundred years away.
    pub fn into_std(self) -> StdInstant {
        const CENTURY: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 100);
        let elapsed = Duration::from_nanos(self.as_nanos());
        let fallback = || base().checked_add(CENTURY).unwrap_or_else(base);
        base().checked_add(elapsed).unwrap_or_else(fallback)
    }

    /// Converts back what [`Instant::into_std`] gave, or what was computed from
    /// it; what lies before the run began becomes its beginning.
    pub fn from_std(instant: StdInstant) -> Self {
        Self::ZERO + instant.saturating_duration_since(base())
    }
}
