//! The fast path of data: delivery and write where no fault and no limit is involved.
//!
//! Most data takes this path, which saves 110 instructions a round trip. If anything else is
//! involved, nothing is done here, and the slow path of `ConnCtx` does everything.

use crate::sim::{ChoiceFamily, SegmentKind, TaskId, World};

use crate::simnet::tcp::connection::{Blocked, Connection, EndpointState, InFlightSegment};
use crate::simnet::tcp::timers::{ConnTimer, timer_id};

/// What comes of letting data arrive that may not be so plain.
pub(crate) enum FastDelivery {
    /// Something has a say: nothing was done.
    Slow,
    /// Nobody waits for it.
    NoReader,
    /// This task is to be woken.
    Wake(TaskId),
}

impl Connection {
    /// Lets data arrive, if that is all there is on a clear way to an end that is open, and nobody
    /// follows what happens.
    #[inline(always)]
    pub(crate) fn deliver_fast(&mut self, direction: usize, world: &mut World) -> FastDelivery {
        let Self { endpoints, halves, .. } = self;
        let (direction, end) = (direction & 1, 1 - (direction & 1));
        let half = &mut halves[direction];
        // Field by field: moved as a whole, an item is read in wider words than it was written in,
        // which takes 8 ns a round trip.
        let Some(InFlightSegment { kind: SegmentKind::Data, end_offset, digest, .. }) =
            half.in_flight_front
        else {
            return FastDelivery::Slow;
        };
        let is_plain_data = !half.needs_slow_path
            && half.blocked == Blocked::None
            && half.in_flight_tail.is_empty();
        if !is_plain_data || endpoints[end].state != EndpointState::Open || world.keeps_trace() {
            return FastDelivery::Slow;
        }
        let delivery = match half.readers.take_sole_task() {
            Some(task_ref) => FastDelivery::Wake(TaskId::from_bits(task_ref.task)),
            None if half.readers.is_empty() => FastDelivery::NoReader,
            None => return FastDelivery::Slow,
        };
        half.in_flight_front = None;
        half.losses = 0;
        world.fingerprint_delivery(half.key, half.stream.arrived, digest);
        half.last_received_at = world.now;
        world.set_actor(half.key);
        half.stream.on_segment(end_offset, digest);
        delivery
    }

    /// Writes as much as there is space for, if nothing keeps it from being sent at once; the
    /// connection is the one of this number.
    #[inline]
    pub(crate) fn try_write_fast(
        &mut self,
        index: usize,
        end: usize,
        buf: &[u8],
        world: &mut World,
    ) -> Option<usize> {
        let Self { endpoints, halves, .. } = self;
        let half = &mut halves[end];
        if half.needs_slow_path
            || half.fin_sent
            || endpoints[end].state != EndpointState::Open
            || !world.is_running()
        {
            return None;
        }
        let now = world.now;
        let count = half.stream.writable_len(buf.len(), half.window, now);
        if count == 0 {
            return None;
        }
        let digest = half.stream.write(&buf[..count]);
        let travel_time =
            world.draw_latency(ChoiceFamily::Latency, half.key, half.segments_sent, half.latency);
        half.segments_sent += 1;
        let at = (now + travel_time).max(half.last_arrival_at);
        half.last_arrival_at = at;
        let segment = InFlightSegment {
            kind: SegmentKind::Data,
            sent_record: world.current_record(),
            end_offset: half.stream.written,
            digest,
            sent_at: now,
            arrives_at: at,
        };
        if half.push_in_flight(segment) {
            world.set_callback_timer(timer_id(index, end, ConnTimer::Deliver), at);
        }
        Some(count)
    }
}
