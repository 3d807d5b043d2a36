//! Segments leave an endpoint: data, FIN and RST.

use crate::sim::{ChoiceFamily, SegmentKind};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{EndpointState, InFlightSegment, ResetState};
use crate::simnet::tcp::timers::{ConnTimer, timer_id};

/// Sending of segments.
impl ConnCtx<'_> {
    /// Sends something that has bytes up to `end`.
    #[inline(always)]
    pub(crate) fn send(
        &mut self,
        direction: usize,
        kind: SegmentKind,
        end: u64,
        digest: u64,
        bytes: u64,
    ) {
        let now = self.world.now();
        let half = &mut self.conn.halves[direction];
        let (key, ordinal, latency) = (half.key, half.segments_sent, half.latency);
        half.segments_sent += 1;
        let mut at = now + self.world.draw_latency(ChoiceFamily::Latency, key, ordinal, latency);
        let mut sent_at = now;
        if half.needs_slow_path {
            (sent_at, at) = self.send_slow(direction, at, bytes);
        }
        let half = &mut self.conn.halves[direction];
        at = at.max(half.last_arrival_at);
        half.last_arrival_at = at;
        let segment = InFlightSegment {
            kind,
            sent_record: self.world.current_record(),
            end_offset: end,
            digest,
            sent_at,
            arrives_at: at,
        };
        if half.push_in_flight(segment) {
            self.world.set_callback_timer(timer_id(self.index, direction, ConnTimer::Deliver), at);
        }
    }

    /// Takes up bandwidth, and sees to it that the sender does not wait for too long. Returns when
    /// what is sent is out, and when it arrives.
    #[cold]
    pub(crate) fn send_slow(&mut self, direction: usize, at: u64, bytes: u64) -> (u64, u64) {
        let (from, to) = self.conn.route(direction);
        let now = self.world.now();
        let arrives_at = self.net.serialized_arrival(from, to, now, at, bytes);
        // While it takes up bandwidth its bytes are acknowledged one after the other.
        let leaves_at = now.saturating_add(arrives_at - at);
        self.expect_ack(
            direction,
            leaves_at,
            arrives_at.max(self.conn.halves[direction].last_arrival_at),
        );
        (leaves_at, arrives_at)
    }

    /// Sends a reset, unless one was sent before. `is_reply` says whether it answers a segment
    /// whose sender repeats that until it gets the reply.
    pub(crate) fn send_reset(&mut self, direction: usize, is_reply: bool) {
        let half = &mut self.conn.halves[direction];
        let was_sent = half.reset != ResetState::None;
        if is_reply || !was_sent {
            half.reset = if is_reply { ResetState::SentAsReply } else { ResetState::Sent };
        }
        if !was_sent {
            half.fin_sent = true;
            self.send_control(direction, SegmentKind::Reset);
        }
    }

    /// Lets an end of this fate send another reset, because the last one did not arrive.
    pub(crate) fn allow_reset(&mut self, direction: usize, sender: EndpointState) {
        if sender != EndpointState::PoweredOff {
            self.conn.halves[direction].reset = ResetState::None;
        }
    }

    /// Answers with a reset what arrives at an end that takes nothing any more. By this an end that
    /// was closed is torn down.
    pub(crate) fn refuse(&mut self, end: usize) {
        if self.conn.endpoints[end].state == EndpointState::Closed {
            self.drop_unsent(end);
            self.conn.endpoints[end].state = EndpointState::Aborted;
        }
        self.send_reset(end, true);
    }

    /// Sends what has no bytes.
    #[inline(never)]
    pub(crate) fn send_control(&mut self, direction: usize, kind: SegmentKind) {
        let written = self.conn.halves[direction].stream.written;
        self.send(direction, kind, written, 0, 0);
    }

    /// Forgets what `end` has sent and has not arrived.
    pub(crate) fn clear_in_flight(&mut self, end: usize) {
        self.conn.halves[end].clear_in_flight();
        self.conn.halves[end].unacked_since = None;
        for timer in [ConnTimer::Deliver, ConnTimer::UserTimeout] {
            self.world.cancel_callback_timer(timer_id(self.index, end, timer));
        }
    }
}
