//! Segments arrive at an endpoint, in order, or are transmitted again.

use crate::sim::{ChoiceFamily, RecordIndex, RecordKind};
use crate::simnet::fault::links::LinkState;
use crate::simnet::tcp::conn_ctx::{ConnCtx, wake};
use crate::simnet::tcp::connection::{
    Blocked, Connection, EndpointState, Reset, Segment, SegmentKind,
};
use crate::simnet::tcp::timers::{ConnTimer, retransmit_delay, timer_id};

/// What the network does.
impl ConnCtx<'_> {
    /// What an alarm of the connection does.
    #[inline(never)]
    pub(crate) fn on_timer(&mut self, which: u32) {
        let way = (which & 1) as usize;
        match which >> 1 {
            0 => self.deliver_due(way),
            1 => self.give_up(way),
            2 => self.on_window_update(way),
            _ => self.probe(way),
        }
    }

    /// Whether the oldest item is due; if it is going to be, an alarm is set for it.
    #[inline]
    pub(crate) fn is_next_due(&mut self, way: usize) -> bool {
        match &self.conn.halves[way].in_flight_front {
            None => false,
            Some(next) => {
                let at = next.at;
                at <= self.world.now || self.arm_delivery(way, at)
            }
        }
    }

    /// Sets an alarm for the oldest item, which is not due.
    pub(crate) fn arm_delivery(&mut self, way: usize, at: u64) -> bool {
        self.arm(way, ConnTimer::Deliver, at);
        false
    }

    /// Sets an alarm of a direction. Not inlined, because it is asked for in many places and in
    /// haste only by `send`.
    #[inline(never)]
    pub(crate) fn arm(&mut self, way: usize, which: ConnTimer, at: u64) {
        self.world.set_callback_timer(timer_id(self.index, way, which), at);
    }

    /// Lets what is due of a direction arrive, or says what is the matter with it.
    pub(crate) fn deliver_due(&mut self, way: usize) {
        loop {
            let pipe = &mut self.conn.halves[way];
            let Some(mut item) = pipe.in_flight_front else { return };
            match std::mem::replace(&mut pipe.blocked, Blocked::None) {
                // It is sent again, which is a step of the run.
                Blocked::Lost if !self.world.try_count_callback_step() => return,
                Blocked::Lost => {
                    let (key, latency, ordinal) = (pipe.key, pipe.latency, pipe.attempt());
                    let takes =
                        self.world.draw_latency(ChoiceFamily::Retransmit, key, ordinal, latency);
                    item.at = self.world.now + takes;
                    (pipe.in_flight_front, pipe.last_at) = (Some(item), pipe.last_at.max(item.at));
                    return self.arm(way, ConnTimer::Deliver, item.at);
                }
                Blocked::None | Blocked::Held => {}
            }
            if self.conn.halves[way].needs_slow_path && !self.try_transmit(way, item) {
                return;
            }
            self.conn.halves[way].pop_in_flight();
            self.deliver(way, item.kind, (item.end, item.digest), (item.sent_at, item.sent_record));
            if !self.is_next_due(way) {
                return;
            }
        }
    }

    /// Whether an item gets to its end; if not, what becomes of it has been seen to.
    #[cold]
    pub(crate) fn try_transmit(&mut self, way: usize, item: Segment) -> bool {
        let (from, to) = self.conn.route(way);
        let pipe = &self.conn.halves[way];
        let passage = match self.conn.ends[1 - way].state {
            EndpointState::Silent => LinkState::Down,
            _ => self.net.transmit_outcome(self.world, (from, to), pipe.key, pipe.attempt()),
        };
        let pipe = &mut self.conn.halves[way];
        let key = pipe.key;
        let how = match passage {
            LinkState::Up => return true,
            LinkState::Held => {
                pipe.blocked = Blocked::Held;
                "held"
            }
            LinkState::Down => {
                pipe.blocked = Blocked::Lost;
                pipe.losses += 1;
                let again = self.world.now + retransmit_delay(pipe.losses);
                self.arm(way, ConnTimer::Deliver, again);
                "lost"
            }
        };
        let ordinal = u64::from(self.conn.halves[way].losses);
        let (ends, net) = (&self.conn.ends, &*self.net);
        let said = (ordinal, item.digest);
        self.world.record_arrival(RecordKind::Drop, key, said, item.sent_record, || {
            let (from, to) = (ends[way].addr(net), ends[1 - way].addr(net));
            format!("{} {from}->{to} {how}", item.kind.name())
        });
        match self.conn.ends[way].state {
            sender @ (EndpointState::Gone | EndpointState::TimedOut | EndpointState::Silent)
                if passage == LinkState::Down =>
            {
                // Nothing is left that sends it again. Whatever else arrives is answered again.
                if sender == EndpointState::Silent || !self.is_retransmit_requested(way, item) {
                    self.allow_reset(way, sender);
                    self.clear_in_flight(way);
                    self.arm_keep_alive(1 - way);
                }
            }
            _ => self.start_timeout(way, item.sent_at),
        }
        false
    }

    /// Whether the other end repeats something to which this item is the answer, until it gets it:
    /// then a reset is repeated as well, for as long as that end has not timed out.
    pub(crate) fn is_retransmit_requested(&mut self, way: usize, item: Segment) -> bool {
        let asks =
            self.conn.ends[1 - way].state == EndpointState::Open && item.kind == SegmentKind::Reset;
        if asks && self.conn.halves[way].reset == Reset::Answers {
            self.start_timeout(1 - way, item.sent_at);
        }
        let asks = asks && self.conn.halves[1 - way].unacked_since.is_some();
        if asks {
            self.conn.halves[way].reset = Reset::Answers;
        }
        asks
    }

    /// Lets something arrive at its end: what it is, where its bytes end and their digest, and when
    /// it was sent, in which record.
    #[inline(always)]
    pub(crate) fn deliver(
        &mut self,
        way: usize,
        what: SegmentKind,
        (until, digest): (u64, u64),
        (sent_at, sent): (u64, RecordIndex),
    ) {
        let end = 1 - way;
        let Connection { ends, halves: pipes, .. } = &mut *self.conn;
        let (pipe, net) = (&mut pipes[way], &*self.net);
        let (key, ordinal) = (pipe.key, pipe.stream.arrived);
        let said = (ordinal, digest ^ what as u64);
        self.world.record_arrival(RecordKind::Deliver, key, said, sent, || {
            let (from, to) = (ends[way].addr(net), ends[end].addr(net));
            if ends[end].state != EndpointState::Open && what == SegmentKind::Data {
                // Where it begins is not counted any more.
                return format!("data {from}->{to} for nobody");
            }
            format!("{} {from}->{to} {} bytes", what.name(), until - ordinal)
        });
        pipe.last_received_at = self.world.now;
        self.world.set_actor(key);
        match (ends[end].state, what) {
            (EndpointState::Open, SegmentKind::Data) => {
                pipe.stream.on_segment(until, digest);
                wake(&mut pipe.readers, self.world);
            }
            (fate, what) => {
                if !self.deliver_control(way, fate, what) {
                    return;
                }
            }
        }
        if self.conn.halves[way].needs_slow_path {
            self.acknowledge(way, sent_at);
        }
    }

    /// Lets something arrive that is no data, or where nobody takes it. Returns whether it is to be
    /// acknowledged.
    #[cold]
    pub(crate) fn deliver_control(
        &mut self,
        way: usize,
        fate: EndpointState,
        what: SegmentKind,
    ) -> bool {
        let end = 1 - way;
        match (fate, what) {
            (EndpointState::Open, SegmentKind::Fin) => {
                let pipe = &mut self.conn.halves[way];
                pipe.fin_arrived = true;
                wake(&mut pipe.readers, self.world);
            }
            (EndpointState::Open, SegmentKind::Reset) => {
                self.clear_in_flight(end);
                self.set_endpoint_state(end, EndpointState::Reset);
                return false;
            }
            (
                EndpointState::Gone | EndpointState::TimedOut,
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
