//! What faults do to a connection: its path changes, its host crashes, stops or comes back.

use crate::sim::nanos;
use crate::simnet::fault::links::{LinkState, RateChange};
use crate::simnet::tcp::conn_ctx::{ConnCtx, wake};
use crate::simnet::tcp::connection::{Blocked, EndpointState, HalfConn, Reset};
use crate::simnet::tcp::timers::ConnTimer;

/// What the network does.
impl ConnCtx<'_> {
    /// Ends one end, and wakes whoever waits there.
    #[inline(always)]
    pub(crate) fn set_endpoint_state(&mut self, end: usize, fate: EndpointState) {
        self.conn.ends[end].state = fate;
        wake(&mut self.conn.halves[1 - end].readers, self.world);
        self.wake_writers(end);
    }
}

/// What faults do.
impl ConnCtx<'_> {
    /// Looks anew at the way, after something was done to it or to who is at its ends.
    pub(crate) fn reevaluate_path(&mut self) {
        let (from, to) = self.conn.route(0);
        let silent = self.conn.ends.iter().any(|end| end.state == EndpointState::Silent);
        let odd = silent || self.net.needs_slow_path(from, to);
        for (way, (from, to)) in [(0, (from, to)), (1, (to, from))] {
            let latency = self.net.latency(from, to);
            let pipe = &mut self.conn.halves[way];
            // What is sent again after a heal is acknowledged then.
            (pipe.latency, pipe.needs_slow_path) = (latency, odd || pipe.unacked_since.is_some());
            let (there, back) = (self.net.links.state(from, to), self.net.links.state(to, from));
            if pipe.blocked == Blocked::Held && there != LinkState::Held {
                self.arm(way, ConnTimer::Deliver, self.world.now);
            }
            let other = self.conn.ends[1 - way].state;
            if back != LinkState::Up || other == EndpointState::Silent {
                let pipe = &mut self.conn.halves[way];
                if pipe.stream.drop_pending_updates(self.world.now) {
                    pipe.update_lost = true;
                    self.net.links.try_pass(to, from, &mut self.net.stats);
                }
                self.lose_ack(way, (to, from));
            } else {
                self.on_path_restored(way, there == LinkState::Up);
            }
            let shut = there != LinkState::Up || back != LinkState::Up;
            if shut
                || self.loss_between(from, to).is_some()
                || !matches!(other, EndpointState::Open | EndpointState::Closed)
            {
                self.arm_keep_alive(way);
            }
        }
    }

    /// Lets what was sent from a host and is not out yet be out sooner or later, at another rate.
    pub(crate) fn rescale_bandwidth(&mut self, from: u32, pace: RateChange) {
        let now = self.world.now;
        for way in 0..2 {
            if self.conn.route(way).0 != from {
                continue;
            }
            let HalfConn { in_flight_front: head, in_flight: behind, last_at, .. } =
                &mut self.conn.halves[way];
            let mut before = 0;
            for item in head.iter_mut().chain(behind.iter_mut()) {
                let left = item.sent_at.saturating_sub(now);
                let takes = pace.rescale(left);
                item.sent_at = item.sent_at.max(now) - left + takes;
                item.at = (item.at - left).saturating_add(takes).max(before);
                before = item.at;
            }
            if let Some(head) = *head {
                *last_at = before;
                if self.conn.halves[way].blocked == Blocked::None {
                    self.arm(way, ConnTimer::Deliver, head.at);
                }
            }
            if self.conn.halves[way].unacked_since.is_some_and(|since| since > now) {
                self.on_ack_all(way);
            }
        }
    }

    /// Has a sender wait whose acknowledgement is on its way when that is shut.
    pub(crate) fn lose_ack(&mut self, way: usize, (from, to): (u32, u32)) {
        let back = nanos(self.conn.halves[1 - way].latency.least());
        let pipe = &self.conn.halves[way];
        let (heard_at, there) = (pipe.last_received_at, nanos(pipe.latency.least()));
        let arrived = pipe.stream.arrived > 0 || pipe.fin_arrived;
        if arrived
            && heard_at.saturating_add(back) > self.world.now
            && self.net.links.try_pass(from, to, &mut self.net.stats) != LinkState::Up
        {
            self.start_timeout(way, heard_at.saturating_sub(there));
        }
    }

    /// What was lost on the way back of a direction gets there after all.
    pub(crate) fn on_path_restored(&mut self, way: usize, both_ways: bool) {
        if self.conn.halves[way].update_lost {
            self.advertise(way);
        }
        let HalfConn {
            blocked: trouble, in_flight_front: head, unacked_since: unheard_since, ..
        } = &self.conn.halves[way];
        if both_ways && *trouble == Blocked::None {
            let is_over = matches!(
                self.conn.ends[1 - way].state,
                EndpointState::Gone | EndpointState::TimedOut
            );
            if is_over && head.is_none() && unheard_since.is_some() {
                // It repeats what was not acknowledged, and is answered with a reset.
                self.send_reset(1 - way, true);
            }
            self.on_ack_all(way);
        }
    }

    /// What becomes of an end whose host crashes: the other is told.
    pub(crate) fn on_crash(&mut self, end: usize) {
        match self.conn.ends[end].state {
            EndpointState::Open | EndpointState::Reset | EndpointState::TimedOut => {
                self.drop_unsent(end);
                self.send_reset(end, false);
            }
            EndpointState::Closed => self.drop_unsent(end),
            EndpointState::Gone | EndpointState::Silent => return,
        }
        self.conn.halves[1 - end].stream.discard();
        self.set_endpoint_state(end, EndpointState::Gone);
    }

    /// What becomes of an end whose host loses its power: nobody is told.
    pub(crate) fn on_power_off(&mut self, end: usize) {
        if self.conn.ends[end].state != EndpointState::Silent {
            self.drop_unsent(end);
            self.conn.halves[end].fin_sent = true;
            self.conn.halves[end].reset = Reset::Sent;
            self.set_endpoint_state(end, EndpointState::Silent);
            self.reevaluate_path();
        }
    }

    /// What becomes of an end whose host is started again: it knows nothing of it.
    pub(crate) fn on_restart(&mut self, end: usize) {
        if self.conn.ends[end].state == EndpointState::Silent {
            self.conn.ends[end].state = EndpointState::Gone;
            self.conn.halves[end].reset = Reset::None;
            self.conn.halves[1 - end].stream.discard();
            self.reevaluate_path();
        }
    }

    /// What has not left the host, or would have to leave it again, is lost.
    pub(crate) fn drop_unsent(&mut self, end: usize) {
        self.stop_timeout(end);
        let was_lost = self.conn.halves[end].blocked == Blocked::Lost;
        if self.conn.halves[end].drop_unsent(self.world.now) {
            self.clear_in_flight(end);
        }
        if was_lost {
            self.conn.halves[end].reset = Reset::None;
            self.arm_keep_alive(1 - end);
        }
    }

    /// Tears the connection down from without: both ends are told at once. Returns whether that
    /// made a difference.
    pub(crate) fn reset(&mut self) -> bool {
        let mut hit = false;
        for end in 0..2 {
            if self.conn.ends[end].state == EndpointState::Open {
                hit = true;
                self.clear_in_flight(end);
                self.conn.halves[end].reset = Reset::Sent;
                self.set_endpoint_state(end, EndpointState::Reset);
            }
        }
        hit
    }
}
