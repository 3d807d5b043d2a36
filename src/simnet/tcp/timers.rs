//! The timers of connections and dials: their numbers, and how long a retransmission waits.

use crate::sim::RARE_BASE;

/// After how long something is sent again the first time; the next time after twice as long.
pub(crate) const MIN_RETRANSMIT_DELAY: u64 = 200_000_000;

/// Later than anything that is waited for.
pub(crate) const NEVER: u64 = 1 << 60;

/// The longest time between two attempts.
pub(crate) const MAX_RETRANSMIT_DELAY: u64 = 60_000_000_000;

/// After so many losses in a row, it is sent again after this long.
pub(crate) fn retransmit_delay(losses: u32) -> u64 {
    (MIN_RETRANSMIT_DELAY << losses.saturating_sub(1).min(16)).min(MAX_RETRANSMIT_DELAY)
}

/// What the alarms of one direction are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnTimer {
    /// The oldest item arrives, or is sent again.
    Deliver,
    /// The sender has waited long enough for an acknowledgement.
    UserTimeout,
    /// The writer hears that there is space.
    WindowUpdate,
    /// The end that writes here has heard nothing for long, and asks.
    Probe,
}

/// How many alarms there are for each connection that are seldom set, which includes one for a dial
/// of that number. Those for the oldest items stand apart, both of a connection together: what
/// arrives one way is mostly answered the other way, and so is in the caches.
pub(crate) const RARE_TIMERS_PER_CONN: u32 = 8;

/// Which of them is the dial's: the two that the oldest items would have are free.
pub(crate) const DIAL_TIMER_OFFSET: u32 = 0;

/// The alarm of a direction.
#[inline]
pub(crate) const fn timer_id(conn: usize, direction: usize, timer: ConnTimer) -> u32 {
    match timer {
        ConnTimer::Deliver => (conn as u32) << 1 | direction as u32,
        _ => {
            RARE_BASE
                + conn as u32 * RARE_TIMERS_PER_CONN
                + ((timer as u32) << 1 | direction as u32)
        }
    }
}

/// The connection and the direction whose oldest item an alarm is for.
#[inline]
pub(crate) const fn decode_delivery_timer(timer: u32) -> Option<(usize, usize)> {
    if timer < RARE_BASE { Some(((timer >> 1) as usize, (timer & 1) as usize)) } else { None }
}

/// The connection, or the dial, that another alarm belongs to, and which of its alarms that is.
#[inline]
pub(crate) const fn decode_rare_timer(timer: u32) -> (usize, u32) {
    let offset = timer - RARE_BASE;
    ((offset / RARE_TIMERS_PER_CONN) as usize, offset % RARE_TIMERS_PER_CONN)
}

/// The alarm of a dial.
#[inline]
pub(crate) const fn dial_timer_id(dial: usize) -> u32 {
    RARE_BASE + dial as u32 * RARE_TIMERS_PER_CONN + DIAL_TIMER_OFFSET
}
