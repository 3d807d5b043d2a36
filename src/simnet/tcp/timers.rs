//! The timers of connections and dials, and their numbers.

use crate::sim::RARE_BASE;

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
