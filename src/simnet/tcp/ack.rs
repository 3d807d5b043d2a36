//! Acknowledgements, and the user timeout of a sender that gets none.

use crate::sim::FaultKind;
use crate::sim::{ChoiceFamily, ChoiceKey, Distribution, PathHash, RecordKind, nanos};
use crate::simnet::fault::links::{LinkState, MILLION};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{Blocked, EndpointState, HalfConn};
use crate::simnet::tcp::timers::{ConnTimer, NEVER, retransmit_delay, timer_id};

/// What the network does.
impl ConnCtx<'_> {
    /// Tells the sender that all has arrived, if the way back lets that pass, and in time; and who
    /// sends the other way what had arrived from him when this was sent.
    #[cold]
    pub(crate) fn acknowledge(&mut self, way: usize, sent_at: u64) {
        let (from, to) = self.conn.route(way);
        if self.net.links.try_pass(to, from, &mut self.net.stats) == LinkState::Up {
            let item = self.conn.halves[way].arrived();
            let late = self.draw_loss_delay(way, ChoiceFamily::AckLoss, item, false);
            self.on_ack(way, sent_at, late);
        } else {
            self.start_timeout(way, sent_at);
        }
        let back = &self.conn.halves[1 - way];
        if back.unacked_since.is_some() && back.last_received_at <= sent_at {
            self.on_ack_all(1 - way);
        }
    }

    /// Lets the sender hear that all has arrived, so much later than it could be; if that is too
    /// late, he gives up before.
    pub(crate) fn on_ack(&mut self, way: usize, sent_at: u64, late: u64) {
        let back = nanos(self.conn.halves[1 - way].latency.least());
        let at = self.world.now.saturating_add(back).saturating_add(late);
        let since = self.conn.halves[way].unacked_since.unwrap_or(sent_at);
        if !self.is_too_late(since, at) {
            return self.on_ack_all(way);
        }
        if late > 0 {
            let (from, to) = self.conn.route(way);
            self.net.links.mark_effective(to, from, FaultKind::Loss, &mut self.net.stats);
        }
        self.start_timeout(way, since);
    }

    /// Lets the sender hear that all has arrived that has, so that he waits only for what has not.
    pub(crate) fn on_ack_all(&mut self, way: usize) {
        self.stop_timeout(way);
        let HalfConn { in_flight_front: head, blocked: trouble, .. } = &self.conn.halves[way];
        match *head {
            Some(next) if *trouble == Blocked::None => self.expect_ack(way, next.sent_at, next.at),
            Some(next) => self.start_timeout(way, next.sent_at),
            None => {}
        }
    }

    /// Has a sender wait for an acknowledgement which, for latency alone, comes too late.
    pub(crate) fn expect_ack(&mut self, way: usize, since: u64, arrives: u64) {
        let back = nanos(self.conn.halves[1 - way].latency.least());
        if self.is_too_late(since, arrives.saturating_add(back)) {
            self.start_timeout(way, since);
        }
    }

    /// Whether a sender who waits since then gives up before that instant.
    pub(crate) fn is_too_late(&self, since: u64, at: u64) -> bool {
        let timeout = self.net.config.user_timeout;
        timeout.is_some_and(|timeout| at > since.saturating_add(nanos(timeout)))
    }

    /// How many of a million are lost from one host to another, if any are.
    pub(crate) fn loss_between(&self, from: u32, to: u32) -> Option<u32> {
        self.net.links.setting((from, to), |edits| edits.loss).filter(|share| *share > 0)
    }

    /// How much later than it could be an end gets an answer, because that is lost, or else what
    /// asks for it again. `asks` says whether it has yet to ask for the first time.
    pub(crate) fn draw_loss_delay(
        &mut self,
        way: usize,
        family: ChoiceFamily,
        number: u64,
        asks: bool,
    ) -> u64 {
        let (from, to) = self.conn.route(way);
        let Some(share) = self.loss_between(to, from) else { return 0 };
        let passes = u64::from(MILLION - share);
        let both_pass = passes * passes / u64::from(MILLION);
        let subject = ChoiceKey::new(family, self.conn.halves[way].key, PathHash::NONE);
        let mut late: u64 = 0;
        for attempt in 0..64 {
            let passes = if attempt == 0 && !asks { passes } else { both_pass };
            let ordinal = number.wrapping_mul(64) + u64::from(attempt);
            if self.world.draw(subject, ordinal, Distribution::Uniform(MILLION.into())) < passes {
                return late;
            }
            late += retransmit_delay(attempt + 1);
        }
        NEVER
    }

    /// Lets the sender wait for an acknowledgement, at most until the timeout of the stream.
    pub(crate) fn start_timeout(&mut self, way: usize, since: u64) {
        let pipe = &mut self.conn.halves[way];
        let waits =
            matches!(self.conn.ends[way].state, EndpointState::Open | EndpointState::Closed);
        if waits && pipe.unacked_since.is_none() {
            pipe.unacked_since = Some(since);
            if let Some(timeout) = self.net.config.user_timeout {
                let at = since.saturating_add(nanos(timeout));
                self.arm(way, ConnTimer::UserTimeout, at);
            }
        }
    }

    /// Lets the sender wait for nothing any more.
    pub(crate) fn stop_timeout(&mut self, way: usize) {
        if self.conn.halves[way].unacked_since.take().is_some() {
            self.world.callback_timers.cancel(timer_id(self.index, way, ConnTimer::UserTimeout));
        }
    }

    /// Lets a sender give up that has not been acknowledged for too long.
    pub(crate) fn give_up(&mut self, end: usize) {
        let (key, machine) = (self.conn.halves[end].key, self.conn.ends[end].host);
        self.world.set_actor(key);
        if self.conn.halves[end].blocked == Blocked::Lost {
            self.clear_in_flight(end);
        }
        self.stop_timeout(end);
        let (ends, net) = (&self.conn.ends, &*self.net);
        self.world.record_event(RecordKind::Drop, key, 0, u64::from(machine), || {
            format!("{}->{} timed out", ends[end].addr(net), ends[1 - end].addr(net))
        });
        // Whatever answered the other end was given up as well: it is answered anew.
        self.allow_reset(end, self.conn.ends[end].state);
        if matches!(self.conn.ends[end].state, EndpointState::Open | EndpointState::Closed) {
            self.set_endpoint_state(end, EndpointState::TimedOut);
            self.arm_keep_alive(1 - end);
        }
    }
}
