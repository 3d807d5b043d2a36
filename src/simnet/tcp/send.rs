//! Segments leave an endpoint: data, FIN and RST.

use crate::sim::ChoiceFamily;
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{EndpointState, Reset, Segment, SegmentKind};
use crate::simnet::tcp::timers::{ConnTimer, timer_id};

/// What the network does.
impl ConnCtx<'_> {
    /// Sends something that has bytes up to `end`.
    #[inline(always)]
    pub(crate) fn send(
        &mut self,
        way: usize,
        what: SegmentKind,
        end: u64,
        digest: u64,
        bytes: u64,
    ) {
        let now = self.world.now;
        let pipe = &mut self.conn.halves[way];
        let (key, ordinal, latency) = (pipe.key, pipe.segments_sent, pipe.latency);
        pipe.segments_sent += 1;
        let mut at = now + self.world.draw_latency(ChoiceFamily::Latency, key, ordinal, latency);
        let mut sent_at = now;
        if pipe.needs_slow_path {
            (sent_at, at) = self.send_slow(way, at, bytes);
        }
        let pipe = &mut self.conn.halves[way];
        at = at.max(pipe.last_at);
        pipe.last_at = at;
        let item = Segment {
            kind: what,
            sent_record: self.world.current_record(),
            end,
            digest,
            sent_at,
            at,
        };
        if pipe.push_in_flight(item) {
            self.world.set_callback_timer(timer_id(self.index, way, ConnTimer::Deliver), at);
        }
    }

    /// Takes up bandwidth, and sees to it that the sender does not wait for too long. Returns when
    /// what is sent is out, and when it arrives.
    #[cold]
    pub(crate) fn send_slow(&mut self, way: usize, at: u64, bytes: u64) -> (u64, u64) {
        let (from, to) = self.conn.route(way);
        let now = self.world.now;
        let late = self.net.serialization_delay(from, to, now, at, bytes);
        // While it takes up bandwidth its bytes are acknowledged one after the other.
        let out = now.saturating_add(late - at);
        self.expect_ack(way, out, late.max(self.conn.halves[way].last_at));
        (out, late)
    }

    /// Sends a reset, unless one was sent before; `answers` says whether it answers something whose
    /// sender repeats that until it hears the answer.
    pub(crate) fn send_reset(&mut self, way: usize, answers: bool) {
        let pipe = &mut self.conn.halves[way];
        let was_sent = pipe.reset != Reset::None;
        if answers || !was_sent {
            pipe.reset = if answers { Reset::Answers } else { Reset::Sent };
        }
        if !was_sent {
            pipe.fin_sent = true;
            self.send_control(way, SegmentKind::Reset);
        }
    }

    /// Lets an end of this fate send another reset, because the last one did not arrive.
    pub(crate) fn allow_reset(&mut self, way: usize, sender: EndpointState) {
        if sender != EndpointState::Silent {
            self.conn.halves[way].reset = Reset::None;
        }
    }

    /// Answers with a reset what arrives at an end that takes nothing any more. By this an end that
    /// was closed is torn down.
    pub(crate) fn refuse(&mut self, end: usize) {
        if self.conn.ends[end].state == EndpointState::Closed {
            self.drop_unsent(end);
            self.conn.ends[end].state = EndpointState::Gone;
        }
        self.send_reset(end, true);
    }

    /// Sends what has no bytes.
    #[inline(never)]
    pub(crate) fn send_control(&mut self, way: usize, what: SegmentKind) {
        let written = self.conn.halves[way].stream.written;
        self.send(way, what, written, 0, 0);
    }

    /// Forgets what `end` has sent and has not arrived.
    pub(crate) fn clear_in_flight(&mut self, end: usize) {
        self.conn.halves[end].clear_in_flight();
        self.conn.halves[end].unacked_since = None;
        for which in [ConnTimer::Deliver, ConnTimer::UserTimeout] {
            self.world.callback_timers.cancel(timer_id(self.index, end, which));
        }
    }
}
