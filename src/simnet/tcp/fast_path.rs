//! The fast path of data: delivery and write where no fault and no limit is involved.
//!
//! Most data takes this path, which saves 110 instructions a round trip. If anything else is
//! involved, nothing is done here, and the slow path of `ConnCtx` does everything.

use crate::sim::ChoiceFamily;
use crate::sim::{TaskId, World};

use crate::simnet::tcp::connection::{Blocked, Connection, EndpointState, Segment, SegmentKind};
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
    pub(crate) fn deliver_fast(&mut self, way: usize, world: &mut World) -> FastDelivery {
        let Self { ends, halves: pipes, .. } = self;
        let (way, end) = (way & 1, 1 - (way & 1));
        let pipe = &mut pipes[way];
        // Field by field: moved as a whole, an item is read in wider words than it was written in,
        // which takes 8 ns a round trip.
        let Some(Segment { kind: SegmentKind::Data, end: until, digest, .. }) =
            pipe.in_flight_front
        else {
            return FastDelivery::Slow;
        };
        let clear =
            !pipe.needs_slow_path && pipe.blocked == Blocked::None && pipe.in_flight.is_empty();
        if !clear || ends[end].state != EndpointState::Open || world.keeps_trace() {
            return FastDelivery::Slow;
        }
        let reader = match pipe.readers.take_lone_task() {
            Some(who) => FastDelivery::Wake(TaskId::from_bits(who.task)),
            None if pipe.readers.is_empty() => FastDelivery::NoReader,
            None => return FastDelivery::Slow,
        };
        pipe.in_flight_front = None;
        pipe.losses = 0;
        world.fingerprint_delivery(pipe.key, pipe.stream.arrived, digest);
        pipe.last_received_at = world.now;
        world.set_actor(pipe.key);
        pipe.stream.on_segment(until, digest);
        reader
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
        let Self { ends, halves: pipes, .. } = self;
        let pipe = &mut pipes[end];
        if pipe.needs_slow_path
            || pipe.fin_sent
            || ends[end].state != EndpointState::Open
            || !world.is_running()
        {
            return None;
        }
        let now = world.now;
        let count = pipe.stream.writable_len(buf.len(), pipe.window, now);
        if count == 0 {
            return None;
        }
        let digest = pipe.stream.write(&buf[..count]);
        let takes =
            world.draw_latency(ChoiceFamily::Latency, pipe.key, pipe.segments_sent, pipe.latency);
        pipe.segments_sent += 1;
        let at = (now + takes).max(pipe.last_at);
        pipe.last_at = at;
        let item = Segment {
            kind: SegmentKind::Data,
            sent_record: world.current_record(),
            end: pipe.stream.written,
            digest,
            sent_at: now,
            at,
        };
        if pipe.push_in_flight(item) {
            world.set_callback_timer(timer_id(index, end, ConnTimer::Deliver), at);
        }
        Some(count)
    }
}
