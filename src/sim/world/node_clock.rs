//! [`NodeClock`]: the clocks of a node, which may be wrong and may drift.

const MILLION: u128 = 1_000_000;

/// The instant that no clock reaches, to which arithmetic of instants saturates: if one did, a
/// sleep of any length would be over at once from then on, without end.
const NEVER: u64 = u64::MAX;

/// The deviation of a node's clocks from the true one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeClock {
    /// The true instant at which the drift was last changed, and what the node's clock said.
    true_base: u64,
    local_base: u64,
    /// Nanoseconds gained in a million.
    drift: i32,
    /// By how much the wall clock was ahead of the true one then, in nanoseconds.
    offset: i64,
}

impl NodeClock {
    /// The time by the node's monotonic clock at a true instant: before [`NEVER`], where a clock
    /// that runs fast stands still.
    pub(crate) fn local_time(&self, now: u64) -> u64 {
        let passed = u128::from(now.saturating_sub(self.true_base)) * self.rate() / MILLION;
        u64::try_from(u128::from(self.local_base) + passed)
            .map_or(NEVER - 1, |now| now.min(NEVER - 1))
    }

    /// The first true instant at which the node's clock has reached `local`.
    pub(crate) fn true_time(&self, local: u64) -> u64 {
        if local == NEVER {
            return NEVER;
        }
        let ahead = u128::from(local.saturating_sub(self.local_base));
        let passed = (ahead * MILLION).div_ceil(self.rate());
        u64::try_from(u128::from(self.true_base) + passed).unwrap_or(u64::MAX)
    }

    /// Nanoseconds of the node's in a million true ones; more than none.
    fn rate(&self) -> u128 {
        (1_000_000 + i128::from(self.drift)).unsigned_abs().max(1)
    }

    /// By how many nanoseconds the wall clock is ahead of the monotonic one. It was set to the true
    /// time and the offset, whatever the other had gained by then.
    pub(crate) fn wall_offset(&self) -> i128 {
        i128::from(self.offset) + i128::from(self.true_base) - i128::from(self.local_base)
    }

    /// Whether it is set to anything but the true time.
    pub(crate) const fn is_set(&self) -> bool {
        self.offset != 0 || self.drift != 0
    }

    /// Sets the wall clock, and lets the monotonic one run on at another rate, without a jump.
    pub(crate) fn set(&mut self, now: u64, offset: i64, drift: i32) {
        let then = self.local_time(now);
        *self = Self { true_base: now, local_base: then, drift, offset };
    }
}

#[cfg(test)]
mod tests {
    use super::NodeClock;

    #[test]
    fn fast_clock_never_reaches_the_last_instant() {
        let mut clock = NodeClock::default();
        clock.set(1, 0, i32::MAX);
        let end = u64::MAX / 2;
        assert_eq!((clock.local_time(end), clock.true_time(u64::MAX)), (u64::MAX - 1, u64::MAX));
        clock.set(end, 0, -999_999);
        assert_eq!(
            (clock.local_time(end), clock.local_time(end + 1)),
            (u64::MAX - 1, u64::MAX - 1)
        );
        assert_eq!((clock.true_time(u64::MAX - 1), clock.true_time(u64::MAX)), (end, u64::MAX));
    }

    #[test]
    fn drifting_clock_and_its_inverse_agree_and_never_jump() {
        let mut clock = NodeClock::default();
        for (now, drift) in [(1_000, 250_000), (9_999, -100_000), (1_234_567, 7)] {
            let before = clock.local_time(now);
            clock.set(now, 5, drift);
            assert_eq!(clock.local_time(now), before, "the clock jumped");
            for later in [0, 1, 17, 1_000_000_007] {
                let local = clock.local_time(now + later);
                let back = clock.true_time(local);
                assert!(clock.local_time(back) >= local && back <= now + later);
                assert!(back == now || clock.local_time(back - 1) < local, "it could be earlier");
            }
        }
    }
}
