//! Effects of faults on a connection: its path changes, its host crashes, stops or comes back.

use crate::sim::nanos;
use crate::simnet::fault::links::{LinkState, RateChange};
use crate::simnet::tcp::conn_ctx::{ConnCtx, wake_all};
use crate::simnet::tcp::connection::{Blocked, EndpointState, HalfConn, ResetState};
use crate::simnet::tcp::timers::ConnTimer;

/// States of endpoints.
impl ConnCtx<'_> {
    /// Sets the state of an endpoint, and wakes its readers and writers.
    #[inline(always)]
    pub(crate) fn set_endpoint_state(&mut self, end: usize, state: EndpointState) {
        self.conn.endpoints[end].state = state;
        wake_all(&mut self.conn.halves[1 - end].readers, self.world);
        self.wake_writers(end);
    }
}

/// Effects of faults on a connection.
impl ConnCtx<'_> {
    /// Looks anew at the way, after something was done to it or to who is at its ends.
    pub(crate) fn reevaluate_path(&mut self) {
        let (from, to) = self.conn.route(0);
        let has_silent_end =
            self.conn.endpoints.iter().any(|end| end.state == EndpointState::PoweredOff);
        let needs_slow_path = has_silent_end || self.net.needs_slow_path(from, to);
        for (direction, (from, to)) in [(0, (from, to)), (1, (to, from))] {
            let latency = self.net.latency(from, to);
            let half = &mut self.conn.halves[direction];
            // A segment that is retransmitted after a heal is acknowledged then.
            (half.latency, half.needs_slow_path) =
                (latency, needs_slow_path || half.unacked_since.is_some());
            let (forward, reverse) =
                (self.net.links.state(from, to), self.net.links.state(to, from));
            if half.blocked == Blocked::Held && forward != LinkState::Held {
                self.arm(direction, ConnTimer::Deliver, self.world.now());
            }
            let peer_state = self.conn.endpoints[1 - direction].state;
            if reverse != LinkState::Up || peer_state == EndpointState::PoweredOff {
                let half = &mut self.conn.halves[direction];
                if half.stream.drop_pending_updates(self.world.now()) {
                    half.update_lost = true;
                    self.net.links.try_pass(to, from, &mut self.net.stats);
                }
                self.lose_ack(direction, (to, from));
            } else {
                self.on_path_restored(direction, forward == LinkState::Up);
            }
            let is_blocked = forward != LinkState::Up || reverse != LinkState::Up;
            if is_blocked
                || self.loss_ppm_between(from, to).is_some()
                || !matches!(peer_state, EndpointState::Open | EndpointState::Closed)
            {
                self.arm_keep_alive(direction);
            }
        }
    }

    /// Lets what was sent from a host and is not out yet be out sooner or later, at another rate.
    pub(crate) fn rescale_bandwidth(&mut self, from: u32, rate_change: RateChange) {
        let now = self.world.now();
        for direction in 0..2 {
            if self.conn.route(direction).0 != from {
                continue;
            }
            let HalfConn { in_flight_front, in_flight_tail, last_arrival_at: last_at, .. } =
                &mut self.conn.halves[direction];
            let mut previous_at = 0;
            for segment in in_flight_front.iter_mut().chain(in_flight_tail.iter_mut()) {
                let remaining = segment.sent_at.saturating_sub(now);
                let rescaled = rate_change.rescale(remaining);
                segment.sent_at = segment.sent_at.max(now) - remaining + rescaled;
                segment.arrives_at =
                    (segment.arrives_at - remaining).saturating_add(rescaled).max(previous_at);
                previous_at = segment.arrives_at;
            }
            if let Some(in_flight_front) = *in_flight_front {
                *last_at = previous_at;
                if self.conn.halves[direction].blocked == Blocked::None {
                    self.arm(direction, ConnTimer::Deliver, in_flight_front.arrives_at);
                }
            }
            if self.conn.halves[direction].unacked_since.is_some_and(|since| since > now) {
                self.on_ack_all(direction);
            }
        }
    }

    /// Has a sender wait whose acknowledgement is on its way when that is shut.
    pub(crate) fn lose_ack(&mut self, direction: usize, (from, to): (u32, u32)) {
        let reverse_latency = nanos(self.conn.halves[1 - direction].latency.least());
        let half = &self.conn.halves[direction];
        let (last_received_at, forward_latency) =
            (half.last_received_at, nanos(half.latency.least()));
        let has_received = half.stream.arrived > 0 || half.fin_arrived;
        if has_received
            && last_received_at.saturating_add(reverse_latency) > self.world.now()
            && self.net.links.try_pass(from, to, &mut self.net.stats) != LinkState::Up
        {
            self.start_timeout(direction, last_received_at.saturating_sub(forward_latency));
        }
    }

    /// Repeats the window updates and acknowledgements of a direction that were lost on its reverse
    /// path.
    pub(crate) fn on_path_restored(&mut self, direction: usize, both_ways: bool) {
        if self.conn.halves[direction].update_lost {
            self.advertise(direction);
        }
        let HalfConn { blocked, in_flight_front, unacked_since, .. } = &self.conn.halves[direction];
        if both_ways && *blocked == Blocked::None {
            let is_peer_gone = matches!(
                self.conn.endpoints[1 - direction].state,
                EndpointState::Aborted | EndpointState::TimedOut
            );
            if is_peer_gone && in_flight_front.is_none() && unacked_since.is_some() {
                // It repeats what was not acknowledged, and is answered with a reset.
                self.send_reset(1 - direction, true);
            }
            self.on_ack_all(direction);
        }
    }

    /// Handles a crash of the host of an endpoint: its peer gets a reset.
    pub(crate) fn on_crash(&mut self, end: usize) {
        match self.conn.endpoints[end].state {
            EndpointState::Open | EndpointState::Reset | EndpointState::TimedOut => {
                self.drop_unsent(end);
                self.send_reset(end, false);
            }
            EndpointState::Closed => self.drop_unsent(end),
            EndpointState::Aborted | EndpointState::PoweredOff => return,
        }
        self.conn.halves[1 - end].stream.discard();
        self.set_endpoint_state(end, EndpointState::Aborted);
    }

    /// Handles a power failure of the host of an endpoint: its peer gets no reset.
    pub(crate) fn on_power_off(&mut self, end: usize) {
        if self.conn.endpoints[end].state != EndpointState::PoweredOff {
            self.drop_unsent(end);
            self.conn.halves[end].fin_sent = true;
            self.conn.halves[end].reset = ResetState::Sent;
            self.set_endpoint_state(end, EndpointState::PoweredOff);
            self.reevaluate_path();
        }
    }

    /// Handles a restart of the host of an endpoint: the host does not know the connection.
    pub(crate) fn on_restart(&mut self, end: usize) {
        if self.conn.endpoints[end].state == EndpointState::PoweredOff {
            self.conn.endpoints[end].state = EndpointState::Aborted;
            self.conn.halves[end].reset = ResetState::None;
            self.conn.halves[1 - end].stream.discard();
            self.reevaluate_path();
        }
    }

    /// Drops segments that have not left the host, or would have to be sent again.
    pub(crate) fn drop_unsent(&mut self, end: usize) {
        self.stop_timeout(end);
        let was_lost = self.conn.halves[end].blocked == Blocked::Lost;
        if self.conn.halves[end].drop_unsent(self.world.now()) {
            self.clear_in_flight(end);
        }
        if was_lost {
            self.conn.halves[end].reset = ResetState::None;
            self.arm_keep_alive(1 - end);
        }
    }

    /// Tears the connection down from without: both ends are told at once. Returns whether that
    /// made a difference.
    pub(crate) fn reset(&mut self) -> bool {
        let mut any_open = false;
        for end in 0..2 {
            if self.conn.endpoints[end].state == EndpointState::Open {
                any_open = true;
                self.clear_in_flight(end);
                self.conn.halves[end].reset = ResetState::Sent;
                self.set_endpoint_state(end, EndpointState::Reset);
            }
        }
        any_open
    }
}
