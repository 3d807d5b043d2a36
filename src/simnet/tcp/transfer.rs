//! How things get from one end of a connection to the other, or do not.
//!
//! Knows one connection and its way at a time; refuses to know who asked for a fault. An item that
//! is sent gets an instant of arrival; only the oldest of a direction is in the queue, which keeps
//! the order whatever is drawn, and is where a cut, a hold or a loss takes hold of it.
//!
//! ```text
//! send ─► on its way ─► arrives ─► acknowledged, unless the way back is shut
//!            ▲  │ cut, or lost: again after 200 ms, 400 ms, ..
//!            └──┤
//!               └ held: until it is let go
//! ```
//!
//! What is not acknowledged for the stream's timeout makes its sender give up. Acknowledgements
//! cost no event: on a way that is clear they arrive, and where something was done to the way it is
//! looked at whether they do, and in time. How late one is that was lost is drawn in one go.

use std::task::Waker;

use crate::net::{Addr, Readiness, WaitList};
use crate::sim::{
    ChoiceFamily, ChoiceKey, Distribution, PathHash, PrefetchSet, RARE_BASE, RecordIndex,
    RecordKind, TaskId, World, nanos,
};
use crate::util::waiter::Waiter;

use crate::sim::FaultKind;
use crate::simnet::fault::links::{LinkState, MILLION, RateChange};
use crate::simnet::latency::Latency;
use crate::simnet::slab::RecyclingSlab;
use crate::simnet::state::{NetState, SimnetState};
use crate::simnet::tcp::connection::{
    Blocked, Connection, Endpoint, EndpointState, HalfConn, Reset, Segment, SegmentKind,
};
use crate::simnet::tcp::stream_buffer::CorruptStream;

/// After how long something is sent again the first time; the next time after twice as long.
pub(crate) const MIN_RETRANSMIT_DELAY: u64 = 200_000_000;
/// Later than anything that is waited for.
const NEVER: u64 = 1 << 60;
/// The longest time between two attempts.
const MAX_RETRANSMIT_DELAY: u64 = 60_000_000_000;

/// After so many losses in a row, it is sent again after this long.
pub(crate) fn retransmit_delay(losses: u32) -> u64 {
    (MIN_RETRANSMIT_DELAY << losses.saturating_sub(1).min(16)).min(MAX_RETRANSMIT_DELAY)
}

/// What the alarms of one direction are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnTimer {
    /// The oldest item arrives, or is sent again.
    Deliver,
    /// The sender has waited long enough for an acknowledgement.
    UserTimeout,
    /// The writer hears that there is space.
    WindowUpdate,
    /// The end that writes here has heard nothing for long, and asks.
    Probe,
}

/// How many alarms there are for each connection that are seldom set, which includes one for a dial
/// of that number. Those for the oldest items stand apart, both of a connection together: what
/// arrives one way is mostly answered the other way, and so is in the caches.
const RARE_TIMERS: u32 = 8;
/// Which of them is the dial's: the two that the oldest items would have are free.
pub(crate) const DIAL_BASE: u32 = 0;

/// The alarm of a direction.
#[inline]
pub(crate) const fn timer_id(conn: usize, way: usize, bell: ConnTimer) -> u32 {
    match bell {
        ConnTimer::Deliver => (conn as u32) << 1 | way as u32,
        _ => RARE_BASE + conn as u32 * RARE_TIMERS + ((bell as u32) << 1 | way as u32),
    }
}

/// The connection and the direction whose oldest item an alarm is for.
#[inline]
pub(crate) const fn delivery_of(alarm: u32) -> Option<(usize, usize)> {
    if alarm < RARE_BASE { Some(((alarm >> 1) as usize, (alarm & 1) as usize)) } else { None }
}

/// The connection, or the dial, that another alarm belongs to, and which of its alarms that is.
#[inline]
pub(crate) const fn timer_owner(alarm: u32) -> (usize, u32) {
    let place = alarm - RARE_BASE;
    ((place / RARE_TIMERS) as usize, place % RARE_TIMERS)
}

/// The alarm of a dial.
#[inline]
pub(crate) const fn dial_timer(call: usize) -> u32 {
    RARE_BASE + call as u32 * RARE_TIMERS + DIAL_BASE
}

/// A network and one of its connections, with all that moves it.
pub(crate) struct ConnCtx<'a> {
    pub(crate) net: &'a mut NetState,
    pub(crate) conn: &'a mut Connection,
    pub(crate) index: usize,
    pub(crate) world: &'a mut World,
}

/// Has the processor load what alarms will touch, and names the tasks that they will wake; see
/// `World::look_ahead`. Each round of loads needs only what the one before has loaded.
pub(crate) fn prefetch_due(
    run: u64,
    PrefetchSet { callback_timers: alarms, tasks }: &mut PrefetchSet,
) {
    crate::simnet::state::with_state(run, |fabric| {
        let heads = || alarms.iter().filter_map(|alarm| delivery_of(*alarm));
        for (conn, _) in heads() {
            if let Some(conn) = fabric.conns.get(conn) {
                conn.prefetch();
            }
        }
        for (conn, way) in heads() {
            let Some(conn) = fabric.conns.get(conn) else { continue };
            conn.halves[way].stream.prefetch();
            conn.halves[1 - way].stream.prefetch_places();
            if let Some(Waiter::Task(who)) = conn.halves[way].readers.first() {
                tasks.push(TaskId::from_bits(who.task).slot);
            }
        }
    });
}

impl SimnetState {
    /// A connection, with its network.
    #[inline]
    pub(crate) fn conn_ctx<'a>(
        &'a mut self,
        index: usize,
        world: &'a mut World,
    ) -> Option<ConnCtx<'a>> {
        let conn = self.conns.get_used(index)?;
        let net = &mut self.nets[conn.net as usize];
        Some(ConnCtx { net, conn, index, world })
    }

    /// Lets the program's side of an end go, after having closed it or else tearing it down, unless
    /// the run has begun to end.
    /// Whoever waits at a connection that is over may be a task of the run, or poll by himself.
    #[inline(always)]
    pub(crate) fn release_endpoint(
        &mut self,
        world: &mut World,
        (index, end): (usize, usize),
        closes: bool,
    ) {
        if !world.is_running() {
            return;
        }
        let Some(mut transit) = self.conn_ctx(index, world) else { return };
        if closes {
            transit.close(end);
        }
        if transit.release(end) {
            let ConnCtx { conn, world, .. } = transit;
            for pipe in &mut conn.halves {
                pipe.readers.drain(|waiter| world.wake_waiter(waiter));
                pipe.drain_writers(|waiter| world.wake_waiter(waiter));
            }
            conn.end();
            self.conns.free(index);
        }
    }
}

impl NetState {
    /// What becomes of two directions, one there and one back: their names and latencies.
    #[inline(always)]
    pub(crate) fn path_keys(
        &self,
        [there, back]: [PathHash; 2],
        from: u32,
        to: u32,
    ) -> [(PathHash, Latency); 2] {
        [(there, self.latency(from, to)), (back, self.latency(to, from))]
    }
}

/// Makes a connection in a network, from one end to another, in these directions.
#[inline(always)]
pub(crate) fn connect(
    conns: &mut RecyclingSlab<Connection>,
    (net, ends): (u32, [(u32, u16); 2]),
    (ways, window): ([(PathHash, Latency); 2], u32),
    world: &World,
) -> usize {
    let (index, conn) = conns.insert();
    conn.net = net;
    for (pipe, (key, latency)) in conn.halves.iter_mut().zip(ways) {
        pipe.begin(key, latency, window, world.now);
        pipe.traced = world.keeps_trace();
    }
    for (end, (machine, port)) in conn.ends.iter_mut().zip(ends) {
        (end.host, end.port) = (machine, port);
        (end.state, end.is_open) = (EndpointState::Open, true);
    }
    index
}

impl Endpoint {
    /// Its address, to be printed.
    #[cold]
    pub(crate) fn addr(&self, net: &NetState) -> Addr {
        net.addr(self.host, self.port)
    }
}

/// Writes in a destructor, after the run has ended: the bytes fill the window and are sent to
/// nobody. A full window is an error, because it will never have space again.
#[cold]
fn write_after_end(pipe: &mut HalfConn, space: u64, buf: &[u8]) -> Result<usize, EndpointState> {
    let count = buf.len().min(usize::try_from(space).unwrap_or(usize::MAX));
    if count == 0 {
        return Err(EndpointState::Closed);
    }
    pipe.stream.write(&buf[..count]);
    Ok(count)
}

/// What the program's side does.
impl ConnCtx<'_> {
    /// Reads from the pipe that ends at `end`; `None` if there is nothing to be read yet.
    #[cold]
    pub(crate) fn read(
        &mut self,
        end: usize,
        buf: &mut [u8],
    ) -> Option<Result<usize, EndpointState>> {
        let way = 1 - end;
        let pipe = &mut self.conn.halves[way];
        if pipe.stream.ready() == 0 {
            let fate = self.conn.ends[end].state;
            let over = pipe.fin_arrived;
            if over || fate == EndpointState::Reset {
                self.world.trace_read(pipe.key, pipe.stream.read, u64::MAX);
            }
            return match fate {
                _ if over => Some(Ok(0)),
                EndpointState::Open => None,
                fate => Some(Err(fate)),
            };
        }
        let most =
            if pipe.needs_slow_path { self.shorten_io(way, 0, buf.len()) } else { buf.len() };
        let HalfConn { stream, window, key, .. } = &mut self.conn.halves[way];
        let from = stream.read;
        match stream.read(&mut buf[..most]) {
            Ok(count) => {
                self.world.trace_read(*key, from, stream.read);
                if stream.is_worth_advertising(*window) {
                    self.advertise(way);
                }
                Some(Ok(count))
            }
            Err(corrupted) => self.panic_corrupt(way, corrupted),
        }
    }

    /// Writes into the pipe that begins at `end`; `None` if there is no space for it.
    #[cold]
    pub(crate) fn write(&mut self, end: usize, buf: &[u8]) -> Option<Result<usize, EndpointState>> {
        let fate = self.conn.ends[end].state;
        let pipe = &mut self.conn.halves[end];
        if fate != EndpointState::Open || pipe.fin_sent {
            // Who was told of the end of the stream before it broke finds a broken pipe.
            let told = fate == EndpointState::Reset && self.conn.halves[1 - end].fin_arrived;
            if fate == EndpointState::Reset {
                let HalfConn { key, stream, .. } = &self.conn.halves[1 - end];
                self.world.trace_read(*key, stream.arrived, u64::MAX);
            }
            return Some(Err(if told { EndpointState::Closed } else { fate }));
        }
        let space = pipe.stream.send_window(pipe.window, self.world.now);
        if !self.world.is_running() {
            return Some(write_after_end(pipe, space, buf));
        }
        if space == 0 {
            self.wait_for_space(end);
            return None;
        }
        let mut count = buf.len().min(usize::try_from(space).unwrap_or(usize::MAX));
        if pipe.needs_slow_path {
            count = self.shorten_io(end, 1, count);
        }
        let stream = &mut self.conn.halves[end].stream;
        let digest = stream.write(&buf[..count]);
        let written = stream.written;
        self.send(end, SegmentKind::Data, written, digest, count as u64);
        Some(Ok(count))
    }

    /// What a read or a write at `end` would come to.
    #[cold]
    pub(crate) fn readiness(&mut self, end: usize, writes: bool, waker: &Waker) -> Readiness {
        let now = self.world.now;
        let Connection { ends, halves: pipes, .. } = &mut *self.conn;
        let over = ends[end].state != EndpointState::Open;
        let (moves, ended, waits) = if writes {
            let pipe = &mut pipes[end];
            let waits = pipe.writers.as_ref().is_some_and(|writers| writers.waiting.holds(waker));
            (pipe.stream.send_window(pipe.window, now) > 0, over || pipe.fin_sent, waits)
        } else {
            let pipe = &pipes[1 - end];
            let ready = pipe.stream.ready() > 0;
            (ready, (over || pipe.fin_arrived) && !ready, pipe.readers.holds(waker))
        };
        match (ended, moves, waits) {
            (true, ..) => Readiness::Ended,
            (_, true, _) => Readiness::Moves,
            (_, _, true) => Readiness::Waits,
            _ => Readiness::WouldWait,
        }
    }

    /// Sees to it that whoever waits for space at `end` hears of it, or of why there will be none.
    #[cold]
    fn wait_for_space(&mut self, end: usize) {
        let pipe = &self.conn.halves[end];
        let shaky = pipe.needs_slow_path || self.conn.ends[1 - end].state != EndpointState::Open;
        if let Some(at) = pipe.stream.next_update_at() {
            self.arm(end, ConnTimer::WindowUpdate, at);
        }
        if shaky {
            self.arm_probe(end, true);
        }
    }

    /// Says that nothing more is written at `end`.
    #[inline(always)]
    pub(crate) fn half_close(&mut self, end: usize) {
        let pipe = &mut self.conn.halves[end];
        if self.conn.ends[end].state == EndpointState::Open && !pipe.fin_sent {
            pipe.fin_sent = true;
            if self.conn.ends[1 - end].is_open {
                self.send_control(end, SegmentKind::Fin);
            }
            self.wake_writers(end);
        }
    }

    /// Closes `end` both ways, as TCP does: what it has written is still delivered if it has read
    /// all that had arrived, and otherwise the connection is torn down.
    #[inline(always)]
    pub(crate) fn close(&mut self, end: usize) {
        if self.conn.ends[end].state == EndpointState::Open {
            if self.conn.halves[1 - end].stream.ready() > 0 {
                return self.tear_down(end);
            }
            self.half_close(end);
            self.set_endpoint_state(end, EndpointState::Closed);
        }
    }

    /// Tears the connection down, unless it is closed already.
    #[inline(always)]
    pub(crate) fn abort(&mut self, end: usize) {
        if self.conn.ends[end].state == EndpointState::Open {
            self.tear_down(end);
        }
    }

    /// Tears the connection down: what `end` has sent and has not arrived is lost, and the other
    /// end gets a reset.
    #[cold]
    #[inline(never)]
    fn tear_down(&mut self, end: usize) {
        self.clear_in_flight(end);
        self.send_reset(end, false);
        self.conn.halves[1 - end].stream.discard();
        self.set_endpoint_state(end, EndpointState::Gone);
    }

    /// Lets the program's side of `end` go. Returns whether nobody needs the connection any more.
    #[inline(always)]
    pub(crate) fn release(&mut self, end: usize) -> bool {
        self.abort(end);
        self.conn.ends[end].is_open = false;
        let over = !self.conn.ends[1 - end].is_open;
        if over {
            // All that a connection has; what else stands there is a dial's.
            self.world.callback_timers.cancel_range(timer_id(self.index, 0, ConnTimer::Deliver), 2);
            self.world
                .callback_timers
                .cancel_range(timer_id(self.index, 0, ConnTimer::UserTimeout), 6);
        }
        over
    }

    /// How much of `len` bytes a link that makes short work of them lets pass.
    #[cold]
    fn shorten_io(&mut self, way: usize, write: u64, len: usize) -> usize {
        let (from, to) = self.conn.route(way);
        let Some(share) = self.net.links.setting((from, to), |edits| edits.short_io) else {
            return len;
        };
        let pipe = &self.conn.halves[way];
        let place = if write == 1 { pipe.stream.written } else { pipe.stream.read };
        let subject = ChoiceKey::new(ChoiceFamily::ShortIo, pipe.key, PathHash::NONE);
        // Keyed by the place in the stream: one such read more or less moves no other.
        let ordinal = place * 4 + write * 2;
        if !self.world.draw_hit(subject, ordinal, share) || len < 2 {
            return len;
        }
        let cut = self.world.draw(subject, ordinal + 1, Distribution::Uniform(len as u64 - 1));
        self.net.links.mark_effective(from, to, FaultKind::ShortIo, &mut self.net.stats);
        len - 1 - cut as usize
    }

    #[cold]
    pub(crate) fn panic_corrupt(
        &mut self,
        way: usize,
        CorruptStream { offset }: CorruptStream,
    ) -> ! {
        let [from, to] = [way, 1 - way].map(|end| self.conn.ends[end].addr(self.net));
        let reason = format!(
            "virtnet: the stream {from}->{to} is corrupt: what was read up to byte {offset} is not \
             what was written; it was read at {:?}, after {} items had been sent",
            std::time::Duration::from_nanos(self.world.now),
            self.conn.halves[way].segments_sent,
        );
        self.world.abort_run(reason.clone());
        panic!("{reason}")
    }
}

/// What the network does.
impl ConnCtx<'_> {
    /// Sends something that has bytes up to `end`.
    #[inline(always)]
    fn send(&mut self, way: usize, what: SegmentKind, end: u64, digest: u64, bytes: u64) {
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
    fn send_slow(&mut self, way: usize, at: u64, bytes: u64) -> (u64, u64) {
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
    fn send_reset(&mut self, way: usize, answers: bool) {
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
    fn allow_reset(&mut self, way: usize, sender: EndpointState) {
        if sender != EndpointState::Silent {
            self.conn.halves[way].reset = Reset::None;
        }
    }

    /// Answers with a reset what arrives at an end that takes nothing any more. By this an end that
    /// was closed is torn down.
    fn refuse(&mut self, end: usize) {
        if self.conn.ends[end].state == EndpointState::Closed {
            self.drop_unsent(end);
            self.conn.ends[end].state = EndpointState::Gone;
        }
        self.send_reset(end, true);
    }

    /// Sends what has no bytes.
    #[inline(never)]
    fn send_control(&mut self, way: usize, what: SegmentKind) {
        let written = self.conn.halves[way].stream.written;
        self.send(way, what, written, 0, 0);
    }

    /// Forgets what `end` has sent and has not arrived.
    fn clear_in_flight(&mut self, end: usize) {
        self.conn.halves[end].clear_in_flight();
        self.conn.halves[end].unacked_since = None;
        for which in [ConnTimer::Deliver, ConnTimer::UserTimeout] {
            self.world.callback_timers.cancel(timer_id(self.index, end, which));
        }
    }

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
    fn is_next_due(&mut self, way: usize) -> bool {
        match &self.conn.halves[way].in_flight_front {
            None => false,
            Some(next) => {
                let at = next.at;
                at <= self.world.now || self.arm_delivery(way, at)
            }
        }
    }

    /// Sets an alarm for the oldest item, which is not due.
    fn arm_delivery(&mut self, way: usize, at: u64) -> bool {
        self.arm(way, ConnTimer::Deliver, at);
        false
    }

    /// Sets an alarm of a direction. Not inlined, because it is asked for in many places and in
    /// haste only by `send`.
    #[inline(never)]
    fn arm(&mut self, way: usize, which: ConnTimer, at: u64) {
        self.world.set_callback_timer(timer_id(self.index, way, which), at);
    }

    /// Lets what is due of a direction arrive, or says what is the matter with it.
    fn deliver_due(&mut self, way: usize) {
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
    fn try_transmit(&mut self, way: usize, item: Segment) -> bool {
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
    fn is_retransmit_requested(&mut self, way: usize, item: Segment) -> bool {
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
    fn deliver(
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
    fn deliver_control(&mut self, way: usize, fate: EndpointState, what: SegmentKind) -> bool {
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

    /// Tells the sender that all has arrived, if the way back lets that pass, and in time; and who
    /// sends the other way what had arrived from him when this was sent.
    #[cold]
    fn acknowledge(&mut self, way: usize, sent_at: u64) {
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
    fn on_ack(&mut self, way: usize, sent_at: u64, late: u64) {
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
    fn on_ack_all(&mut self, way: usize) {
        self.stop_timeout(way);
        let HalfConn { in_flight_front: head, blocked: trouble, .. } = &self.conn.halves[way];
        match *head {
            Some(next) if *trouble == Blocked::None => self.expect_ack(way, next.sent_at, next.at),
            Some(next) => self.start_timeout(way, next.sent_at),
            None => {}
        }
    }

    /// Has a sender wait for an acknowledgement which, for latency alone, comes too late.
    fn expect_ack(&mut self, way: usize, since: u64, arrives: u64) {
        let back = nanos(self.conn.halves[1 - way].latency.least());
        if self.is_too_late(since, arrives.saturating_add(back)) {
            self.start_timeout(way, since);
        }
    }

    /// Whether a sender who waits since then gives up before that instant.
    fn is_too_late(&self, since: u64, at: u64) -> bool {
        let timeout = self.net.config.user_timeout;
        timeout.is_some_and(|timeout| at > since.saturating_add(nanos(timeout)))
    }

    /// How many of a million are lost from one host to another, if any are.
    fn loss_between(&self, from: u32, to: u32) -> Option<u32> {
        self.net.links.setting((from, to), |edits| edits.loss).filter(|share| *share > 0)
    }

    /// How much later than it could be an end gets an answer, because that is lost, or else what
    /// asks for it again. `asks` says whether it has yet to ask for the first time.
    fn draw_loss_delay(
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
    fn start_timeout(&mut self, way: usize, since: u64) {
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
    fn stop_timeout(&mut self, way: usize) {
        if self.conn.halves[way].unacked_since.take().is_some() {
            self.world.callback_timers.cancel(timer_id(self.index, way, ConnTimer::UserTimeout));
        }
    }

    /// Lets a sender give up that has not been acknowledged for too long.
    fn give_up(&mut self, end: usize) {
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

    /// Tells the writer of a pipe how much has been read, unless that is lost; then he asks.
    #[cold]
    #[inline(never)]
    pub(crate) fn advertise(&mut self, way: usize) {
        self.conn.halves[way].begin_update();
        if self.conn.halves[way].needs_slow_path {
            let (from, to) = self.conn.route(way);
            let shut = self.net.links.try_pass(to, from, &mut self.net.stats) != LinkState::Up;
            if shut || self.is_update_lost(way) {
                self.conn.halves[way].update_lost = true;
                if !shut && self.conn.halves[way].has_writers() {
                    self.arm_probe(way, true);
                }
                return;
            }
        }
        self.send_window_update(way, 0);
    }

    fn is_update_lost(&mut self, way: usize) -> bool {
        let (from, to) = self.conn.route(way);
        let Some(share) = self.loss_between(to, from) else { return false };
        let pipe = &self.conn.halves[way];
        let (subject, ordinal) = (
            ChoiceKey::new(ChoiceFamily::WindowUpdateLoss, pipe.key, PathHash::NONE),
            pipe.update_number(),
        );
        self.world.draw_hit(subject, ordinal, share)
    }

    /// Tells the writer of a pipe how much has been read, so much later than it could be.
    fn send_window_update(&mut self, way: usize, late: u64) {
        let latency = self.conn.halves[1 - way].latency;
        let pipe = &mut self.conn.halves[way];
        pipe.update_lost = false;
        let takes = self.world.draw_latency(
            ChoiceFamily::WindowUpdate,
            pipe.key,
            pipe.update_number(),
            latency,
        );
        pipe.stream.advertise(self.world.now + takes + late);
        if pipe.has_writers()
            && !self.world.callback_timers.is_set(timer_id(
                self.index,
                way,
                ConnTimer::WindowUpdate,
            ))
            && let Some(at) = pipe.stream.next_update_at()
        {
            self.arm(way, ConnTimer::WindowUpdate, at);
        }
    }

    /// Lets the writer hear that there is space.
    fn on_window_update(&mut self, way: usize) {
        self.world.set_actor(self.conn.halves[way].key);
        self.wake_writers(way);
    }

    /// Asks whether the other end is still there, and whether there is space.
    fn probe(&mut self, end: usize) {
        if self.conn.ends[end].state != EndpointState::Open {
            return;
        }
        let (from, to) = self.conn.route(end);
        let other = self.conn.ends[1 - end].state;
        let clear = self.net.links.try_pass(from, to, &mut self.net.stats) == LinkState::Up
            && self.net.links.try_pass(to, from, &mut self.net.stats) == LinkState::Up;
        if !clear || other == EndpointState::Silent {
            self.probe_unanswered(end);
        } else if matches!(
            other,
            EndpointState::Gone | EndpointState::Reset | EndpointState::TimedOut
        ) {
            self.world.set_actor(self.conn.halves[1 - end].key);
            self.send_reset(1 - end, true);
        } else if self.loss_between(from, to).is_some() {
            self.probe_lossy(end);
        }
    }

    /// Asks, and nobody answers.
    fn probe_unanswered(&mut self, end: usize) {
        let limit = self.conn.halves[end].unacked_since;
        self.start_timeout(end, self.world.now);
        if limit.is_none()
            && self.net.config.user_timeout.is_none()
            && let Some(idle) = self.net.config.keep_alive
        {
            // As Linux: nine questions without an answer.
            let at = self.world.now.saturating_add(nanos(idle).saturating_mul(9));
            self.arm(end, ConnTimer::UserTimeout, at);
        }
    }

    /// Asks where the question or its answer may be lost: again and again, until it is answered or
    /// that has taken too long.
    fn probe_lossy(&mut self, end: usize) {
        let heard = &self.conn.halves[1 - end];
        // Keyed by what it has heard by now, and by how long ago that was.
        let number =
            heard.stream.arrived + (self.world.now - heard.last_received_at) / MIN_RETRANSMIT_DELAY;
        let late = self.draw_loss_delay(end, ChoiceFamily::ProbeLoss, number, true);
        let answered = late != NEVER && !self.is_too_late(self.world.now, self.world.now + late);
        let missed_credit = self.conn.halves[end].update_lost;
        if missed_credit || !answered {
            let (from, to) = self.conn.route(end);
            self.net.links.mark_effective(from, to, FaultKind::Loss, &mut self.net.stats);
        }
        if !answered {
            return self.probe_unanswered(end);
        }
        if missed_credit {
            self.conn.halves[end].begin_update();
            self.send_window_update(end, late);
        }
        self.arm_probe(end, false);
    }

    /// Ends one end, and wakes whoever waits there.
    #[inline(always)]
    pub(crate) fn set_endpoint_state(&mut self, end: usize, fate: EndpointState) {
        self.conn.ends[end].state = fate;
        wake(&mut self.conn.halves[1 - end].readers, self.world);
        self.wake_writers(end);
    }

    fn wake_writers(&mut self, way: usize) {
        let Self { conn, world, .. } = self;
        conn.halves[way].drain_writers(|waiter| world.wake_waiter(waiter));
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
    fn lose_ack(&mut self, way: usize, (from, to): (u32, u32)) {
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
    fn on_path_restored(&mut self, way: usize, both_ways: bool) {
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

    /// Has an end ask before long whether the other is still there, if connections are kept alive
    /// or if it waits for space.
    fn arm_keep_alive(&mut self, end: usize) {
        let blocked = self.conn.halves[end].has_writers();
        self.arm_probe(end, blocked);
    }

    /// Has an end ask: when it has heard nothing for as long as connections are kept alive, and a
    /// while from now if it waits for space. What it was going to do sooner, it still does then.
    fn arm_probe(&mut self, end: usize, blocked: bool) {
        let alarm = timer_id(self.index, end, ConnTimer::Probe);
        if self.conn.ends[end].state != EndpointState::Open {
            return;
        }
        let now = self.world.now;
        let kept_alive = self.net.config.keep_alive.map(|idle| {
            let heard = self.conn.halves[1 - end].last_received_at;
            // It has been asking in vain, or rather, with success, all the time before.
            let missed = (now - heard) / nanos(idle);
            heard.saturating_add(nanos(idle).saturating_mul(missed + 1))
        });
        let blocked = blocked.then(|| now.saturating_add(MIN_RETRANSMIT_DELAY));
        let Some(at) = kept_alive.into_iter().chain(blocked).min() else { return };
        let writers = self.conn.halves[end].writers.get_or_insert_default();
        if !self.world.callback_timers.is_set(alarm) || at < writers.next_probe_at {
            writers.next_probe_at = at;
            self.world.set_callback_timer(alarm, at);
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
    fn drop_unsent(&mut self, end: usize) {
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

/// Wakes all who wait.
#[inline(always)]
pub(crate) fn wake(waiters: &mut WaitList, world: &mut World) {
    match waiters.take_lone_task() {
        Some(who) => world.wake(TaskId::from_bits(who.task)),
        None => waiters.drain(|waiter| world.wake_waiter(waiter)),
    }
}

impl World {
    /// Draws whether what befalls so many of a million befalls this one.
    fn draw_hit(&mut self, subject: ChoiceKey, ordinal: u64, share: u32) -> bool {
        self.draw(subject, ordinal, Distribution::Uniform(MILLION.into()))
            >= u64::from(MILLION - share)
    }

    /// Draws how long something takes.
    #[inline]
    pub(crate) fn draw_latency(
        &mut self,
        family: ChoiceFamily,
        key: PathHash,
        ordinal: u64,
        latency: Latency,
    ) -> u64 {
        match latency.parts() {
            (least, Distribution::Uniform(1)) => least,
            (least, more) => {
                least + self.draw(ChoiceKey::new(family, key, PathHash::NONE), ordinal, more)
            }
        }
    }
}

impl NetState {
    /// Whether something gets through at that attempt; lost is as good as cut off.
    #[inline(always)]
    pub(crate) fn transmit_outcome(
        &mut self,
        world: &mut World,
        (from, to): (u32, u32),
        key: PathHash,
        attempt: u64,
    ) -> LinkState {
        let passage = self.links.try_pass(from, to, &mut self.stats);
        let loss = self.links.setting((from, to), |edits| edits.loss);
        let Some(share) = loss.filter(|_| passage == LinkState::Up) else {
            return passage;
        };
        let subject = ChoiceKey::new(ChoiceFamily::Loss, key, PathHash::NONE);
        if !world.draw_hit(subject, attempt, share) {
            return LinkState::Up;
        }
        self.links.mark_effective(from, to, FaultKind::Loss, &mut self.stats);
        LinkState::Down
    }

    /// When something arrives that takes up bandwidth before it is on its way.
    #[cold]
    pub(crate) fn serialization_delay(
        &mut self,
        from: u32,
        to: u32,
        now: u64,
        at: u64,
        bytes: u64,
    ) -> u64 {
        let edits = self.links.settings(from, to);
        // A host is near to itself, whatever was edited.
        if edits.latency.is_some() && from != to {
            self.links.mark_effective(from, to, FaultKind::Latency, &mut self.stats);
        }
        let Some(rate) = edits.bandwidth.or(self.config.bandwidth).filter(|_| from != to) else {
            return at;
        };
        let out = self.links.reserve_bandwidth(from, to, now, bytes, rate);
        if out > now && edits.bandwidth.is_some() {
            self.links.mark_effective(from, to, FaultKind::Bandwidth, &mut self.stats);
        }
        at.saturating_add(out - now)
    }
}
