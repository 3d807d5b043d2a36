//! Segments arrive at an endpoint, in order, or are transmitted again.

use crate::sim::{RecordIndex, RecordKind, RecordTag, Segment, SegmentKind};
use crate::simnet::tcp::conn_ctx::{ConnCtx, wake_all};
use crate::simnet::tcp::connection::{Blocked, Connection, EndpointState, InFlightSegment};
use crate::simnet::tcp::timers::{ConnTimer, timer_id};

/// Timers and deliveries of a connection.
impl ConnCtx<'_> {
    /// Handles a timer of the connection other than a delivery.
    #[inline(never)]
    pub(crate) fn on_timer(&mut self, timer_index: u32) {
        let direction = (timer_index & 1) as usize;
        match timer_index >> 1 {
            1 => self.give_up(direction),
            2 => self.on_window_update(direction),
            _ => self.probe(direction),
        }
    }

    /// Whether the oldest segment is due. If it is not yet, its timer is set.
    #[inline]
    pub(crate) fn check_front_due(&mut self, direction: usize) -> bool {
        match &self.conn.halves[direction].in_flight_front {
            None => false,
            Some(next) => {
                let at = next.arrives_at;
                at <= self.world.now() || self.arm_delivery(direction, at)
            }
        }
    }

    /// Sets the timer of the oldest segment, which is not due.
    pub(crate) fn arm_delivery(&mut self, direction: usize, at: u64) -> bool {
        self.arm(direction, ConnTimer::Deliver, at);
        false
    }

    /// Sets a timer of a direction. Not inlined: it has many callers, and only `send` is frequent.
    #[inline(never)]
    pub(crate) fn arm(&mut self, direction: usize, timer: ConnTimer, at: u64) {
        self.world.set_callback_timer(timer_id(self.index, direction, timer), at);
    }

    /// Lets what is due of a direction arrive, or says what is the matter with it.
    #[inline]
    pub(crate) fn deliver_due(&mut self, direction: usize) {
        loop {
            let half = &mut self.conn.halves[direction];
            // Field by field: a segment that is moved as a whole is read in wider words than it was
            // written in, which takes 8 ns a round trip.
            let Some(InFlightSegment { kind, end_offset, digest, sent_at, sent_record, .. }) =
                half.in_flight_front
            else {
                return;
            };
            if (half.needs_slow_path || half.blocked != Blocked::None)
                && !self.passes_path(direction)
            {
                return;
            }
            self.conn.halves[direction].pop_in_flight();
            self.deliver(direction, kind, (end_offset, digest), (sent_at, sent_record));
            if !self.check_front_due(direction) {
                return;
            }
        }
    }

    /// Lets something arrive at its end: what it is, where its bytes end and their digest, and when
    /// it was sent, in which record.
    #[inline(always)]
    pub(crate) fn deliver(
        &mut self,
        direction: usize,
        kind: SegmentKind,
        (end_offset, digest): (u64, u64),
        (sent_at, sent): (u64, RecordIndex),
    ) {
        let end = 1 - direction;
        let Connection { endpoints, halves, .. } = &mut *self.conn;
        let (half, net) = (&mut halves[direction], &*self.net);
        let (key, ordinal) = (half.key, half.stream.arrived);
        let ordinal_and_digest = (ordinal, digest ^ kind as u64);
        self.world.record_arrival(RecordTag::Deliver, key, ordinal_and_digest, sent, || {
            let (from, to) =
                (endpoints[direction].segment_endpoint(net), endpoints[end].segment_endpoint(net));
            let mut segment = Segment::new(kind, from, to);
            // A closed endpoint does not count the bytes that have arrived.
            if endpoints[end].state == EndpointState::Open || kind != SegmentKind::Data {
                segment.bytes = Some(end_offset - ordinal);
            }
            RecordKind::Deliver(segment)
        });
        half.last_received_at = self.world.now();
        self.world.set_actor(key);
        match (endpoints[end].state, kind) {
            (EndpointState::Open, SegmentKind::Data) => {
                half.stream.on_segment(end_offset, digest);
                wake_all(&mut half.readers, self.world);
            }
            (state, kind) => {
                if !self.deliver_control(direction, state, kind) {
                    return;
                }
            }
        }
        if self.conn.halves[direction].needs_slow_path {
            self.acknowledge(direction, sent_at);
        }
    }

    /// Delivers a segment that is not data, or arrives at an endpoint that takes no data. Returns
    /// whether it is acknowledged.
    #[cold]
    pub(crate) fn deliver_control(
        &mut self,
        direction: usize,
        state: EndpointState,
        kind: SegmentKind,
    ) -> bool {
        let end = 1 - direction;
        match (state, kind) {
            (EndpointState::Open, SegmentKind::Fin) => {
                let half = &mut self.conn.halves[direction];
                half.fin_arrived = true;
                wake_all(&mut half.readers, self.world);
            }
            (EndpointState::Open, SegmentKind::Reset) => {
                self.clear_in_flight(end);
                self.set_endpoint_state(end, EndpointState::Reset);
                return false;
            }
            (
                EndpointState::Aborted | EndpointState::TimedOut,
                SegmentKind::Data | SegmentKind::Fin,
            )
            | (_, SegmentKind::Data) => {
                self.refuse(end);
            }
            _ => {}
        }
        true
    }
}
