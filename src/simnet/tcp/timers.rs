//! The timers of connections and dials, and their numbers.

use crate::sim::RARE_BASE;

/// The timers of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnTimer {
    /// The oldest item arrives, or is sent again.
    Deliver,
    /// The sender has waited long enough for an acknowledgement.
    UserTimeout,
    /// A window update reaches a waiting writer.
    WindowUpdate,
    /// The end that writes here has heard nothing for long, and asks.
    Probe,
}

/// The number of rarely set timers of each connection, with the one of the dial of that number.
/// Delivery timers are kept apart, both of a connection together: most segments are answered in the
/// other direction, whose timer is then in the caches.
pub(crate) const RARE_TIMERS_PER_CONN: u32 = 8;

/// Which of them is the dial's: the two that the oldest items would have are free.
pub(crate) const DIAL_TIMER_OFFSET: u32 = 0;

/// The number of a timer of a direction.
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

/// The connection and the direction of a delivery timer.
#[inline]
pub(crate) const fn decode_delivery_timer(timer: u32) -> Option<(usize, usize)> {
    if timer < RARE_BASE { Some(((timer >> 1) as usize, (timer & 1) as usize)) } else { None }
}

/// The connection or dial of another timer, and which of its timers it is.
#[inline]
pub(crate) const fn decode_rare_timer(timer: u32) -> (usize, u32) {
    let offset = timer - RARE_BASE;
    ((offset / RARE_TIMERS_PER_CONN) as usize, offset % RARE_TIMERS_PER_CONN)
}

/// The number of the timer of a dial.
#[inline]
pub(crate) const fn dial_timer_id(dial: usize) -> u32 {
    RARE_BASE + dial as u32 * RARE_TIMERS_PER_CONN + DIAL_TIMER_OFFSET
}
