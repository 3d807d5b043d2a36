//! The user timeout: a sender that gets no acknowledgement gives up.

use crate::sim::{PathHash, RecordKind, RecordTag, nanos};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{Blocked, EndpointState};
use crate::simnet::tcp::timers::{ConnTimer, timer_id};

impl ConnCtx<'_> {
    /// Has a sender wait for an acknowledgement which, for latency alone, comes too late.
    pub(crate) fn expect_ack(&mut self, direction: usize, since: u64, arrives_at: u64) {
        let reverse_latency = nanos(self.conn.halves[1 - direction].latency.least());
        if self.exceeds_timeout(since, arrives_at.saturating_add(reverse_latency)) {
            self.start_timeout(direction, since);
        }
    }

    /// Whether a sender who waits since then gives up before that instant.
    pub(crate) fn exceeds_timeout(&self, since: u64, at: u64) -> bool {
        let timeout = self.net.config.user_timeout;
        timeout.is_some_and(|timeout| at > since.saturating_add(nanos(timeout)))
    }

    /// Lets the sender wait for an acknowledgement, at most until the timeout of the stream.
    pub(crate) fn start_timeout(&mut self, direction: usize, since: u64) {
        let half = &mut self.conn.halves[direction];
        let waits = matches!(
            self.conn.endpoints[direction].state,
            EndpointState::Open | EndpointState::Closed
        );
        if waits && half.unacked_since.is_none() {
            half.unacked_since = Some(since);
            if let Some(timeout) = self.net.config.user_timeout {
                let at = since.saturating_add(nanos(timeout));
                self.arm(direction, ConnTimer::UserTimeout, at);
            }
        }
    }

    /// Lets the sender wait for nothing any more.
    pub(crate) fn stop_timeout(&mut self, direction: usize) {
        if self.conn.halves[direction].unacked_since.take().is_some() {
            self.world.cancel_callback_timer(timer_id(
                self.index,
                direction,
                ConnTimer::UserTimeout,
            ));
        }
    }

    /// Lets a sender give up that has not been acknowledged for too long.
    pub(crate) fn give_up(&mut self, end: usize) {
        let (key, host) = (self.conn.halves[end].key, self.conn.endpoints[end].host);
        self.world.set_actor(key);
        if self.conn.halves[end].blocked == Blocked::Lost {
            self.clear_in_flight(end);
        }
        self.stop_timeout(end);
        let (endpoints, net) = (&self.conn.endpoints, &*self.net);
        self.world.record(RecordTag::Drop, key, PathHash::NONE, 0, u64::from(host), || {
            let [from, to] = [end, 1 - end].map(|end| endpoints[end].segment_endpoint(net));
            RecordKind::GiveUp { from, to }.into()
        });
        // Whatever answered the other end was given up as well: it is answered anew.
        self.allow_reset(end, self.conn.endpoints[end].state);
        if matches!(self.conn.endpoints[end].state, EndpointState::Open | EndpointState::Closed) {
            self.set_endpoint_state(end, EndpointState::TimedOut);
            self.arm_keep_alive(1 - end);
        }
    }
}
