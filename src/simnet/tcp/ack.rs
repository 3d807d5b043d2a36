//! Acknowledgements.

use crate::sim::{ChoiceFamily, ChoiceKey, Distribution, FaultKind, PathHash, nanos};
use crate::simnet::fault::links::{LinkState, MILLION};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{Blocked, HalfConn};
use crate::simnet::tcp::retransmit::retransmit_delay;

/// The delay of an acknowledgement that never arrives.
pub(crate) const NEVER: u64 = 1 << 60;

/// Acknowledgements of a connection.
impl ConnCtx<'_> {
    /// Tells the sender that all has arrived, if the way back lets that pass, and in time; and who
    /// sends the other way what had arrived from him when this was sent.
    #[cold]
    pub(crate) fn acknowledge(&mut self, direction: usize, sent_at: u64) {
        let (from, to) = self.conn.route(direction);
        if self.net.links.try_pass(to, from, &mut self.net.stats) == LinkState::Up {
            let segment_number = self.conn.halves[direction].last_delivered();
            let delay =
                self.draw_loss_delay(direction, ChoiceFamily::AckLoss, segment_number, false);
            self.on_ack(direction, sent_at, delay);
        } else {
            self.start_timeout(direction, sent_at);
        }
        let reverse = &self.conn.halves[1 - direction];
        if reverse.unacked_since.is_some() && reverse.last_received_at <= sent_at {
            self.on_ack_all(1 - direction);
        }
    }

    /// Delivers the acknowledgement of all that has arrived, `delay` later than possible. If that
    /// is too late, the sender gives up before.
    pub(crate) fn on_ack(&mut self, direction: usize, sent_at: u64, delay: u64) {
        let reverse_latency = nanos(self.conn.halves[1 - direction].latency.least());
        let at = self.world.now().saturating_add(reverse_latency).saturating_add(delay);
        let since = self.conn.halves[direction].unacked_since.unwrap_or(sent_at);
        if !self.exceeds_timeout(since, at) {
            return self.on_ack_all(direction);
        }
        if delay > 0 {
            let (from, to) = self.conn.route(direction);
            self.net.links.mark_effective(to, from, FaultKind::Loss, &mut self.net.stats);
        }
        self.start_timeout(direction, since);
    }

    /// Lets the sender hear that all has arrived that has, so that he waits only for what has not.
    pub(crate) fn on_ack_all(&mut self, direction: usize) {
        self.stop_timeout(direction);
        let HalfConn { in_flight_front, blocked, .. } = &self.conn.halves[direction];
        match *in_flight_front {
            Some(next) if *blocked == Blocked::None => {
                self.expect_ack(direction, next.sent_at, next.arrives_at);
            }
            Some(next) => self.start_timeout(direction, next.sent_at),
            None => {}
        }
    }

    /// The number of a million segments that are lost from one host to another, if any are.
    pub(crate) fn loss_ppm_between(&self, from: u32, to: u32) -> Option<u32> {
        self.net.links.setting((from, to), |settings| settings.loss_ppm).filter(|ppm| *ppm > 0)
    }

    /// Draws the delay of a reply because it, or the probe that asks for it again, is lost.
    /// `is_probe` says whether the first probe is yet to be sent.
    pub(crate) fn draw_loss_delay(
        &mut self,
        direction: usize,
        family: ChoiceFamily,
        number: u64,
        is_probe: bool,
    ) -> u64 {
        let (from, to) = self.conn.route(direction);
        let Some(ppm) = self.loss_ppm_between(to, from) else { return 0 };
        let passes = u64::from(MILLION - ppm);
        let both_pass = passes * passes / u64::from(MILLION);
        let choice_key = ChoiceKey::new(family, self.conn.halves[direction].key, PathHash::NONE);
        let mut delay: u64 = 0;
        for attempt in 0..64 {
            let passes = if attempt == 0 && !is_probe { passes } else { both_pass };
            let ordinal = number.wrapping_mul(64) + u64::from(attempt);
            if self.world.draw(choice_key, ordinal, Distribution::Uniform(MILLION.into())) < passes
            {
                return delay;
            }
            delay += retransmit_delay(attempt + 1);
        }
        NEVER
    }
}
