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

use crate::net::{Addr, Outlook, WaitList};
use crate::sim::{
    ChoiceFamily, ChoiceKey, Key, Mark, PrefetchSet, RecordKind, SELDOM, Shape, TaskId, World,
    nanos,
};
use crate::util::waiter::Waiter;

use crate::sim::FaultKind;
use crate::simnet::fault::links::{Pace, Passage, WHOLE};
use crate::simnet::latency::Latency;
use crate::simnet::slab::Pool;
use crate::simnet::state::{Fabric, Net};
use crate::simnet::tcp::connection::{
    Connection, EndState, Fate, Item, Pipe, Reset, Trouble, What,
};
use crate::simnet::tcp::stream_buffer::Corrupted;

/// After how long something is sent again the first time; the next time after twice as long.
pub(crate) const RETRY: u64 = 200_000_000;
/// Later than anything that is waited for.
const NEVER: u64 = 1 << 60;
/// The longest time between two attempts.
const RETRY_MOST: u64 = 60_000_000_000;

/// After so many losses in a row, it is sent again after this long.
pub(crate) fn retry_after(losses: u32) -> u64 {
    (RETRY << losses.saturating_sub(1).min(16)).min(RETRY_MOST)
}

/// What the alarms of one direction are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bell {
    /// The oldest item arrives, or is sent again.
    Head,
    /// The sender has waited long enough for an acknowledgement.
    Limit,
    /// The writer hears that there is space.
    Credit,
    /// The end that writes here has heard nothing for long, and asks.
    Probe,
}

/// How many alarms there are for each connection that are seldom set, which includes one for a dial
/// of that number. Those for the oldest items stand apart, both of a connection together: what
/// arrives one way is mostly answered the other way, and so is in the caches.
const OTHERS: u32 = 8;
/// Which of them is the dial's: the two that the oldest items would have are free.
pub(crate) const CALL: u32 = 0;

/// The alarm of a direction.
#[inline]
pub(crate) const fn bell(conn: usize, way: usize, bell: Bell) -> u32 {
    match bell {
        Bell::Head => (conn as u32) << 1 | way as u32,
        _ => SELDOM + conn as u32 * OTHERS + ((bell as u32) << 1 | way as u32),
    }
}

/// The connection and the direction whose oldest item an alarm is for.
#[inline]
pub(crate) const fn head_of(alarm: u32) -> Option<(usize, usize)> {
    if alarm < SELDOM { Some(((alarm >> 1) as usize, (alarm & 1) as usize)) } else { None }
}

/// The connection, or the dial, that another alarm belongs to, and which of its alarms that is.
#[inline]
pub(crate) const fn whose(alarm: u32) -> (usize, u32) {
    let place = alarm - SELDOM;
    ((place / OTHERS) as usize, place % OTHERS)
}

/// The alarm of a dial.
#[inline]
pub(crate) const fn call_alarm(call: usize) -> u32 {
    SELDOM + call as u32 * OTHERS + CALL
}

/// A network and one of its connections, with all that moves it.
pub(crate) struct Transit<'a> {
    pub(crate) net: &'a mut Net,
    pub(crate) conn: &'a mut Connection,
    pub(crate) index: usize,
    pub(crate) world: &'a mut World,
}

/// Has the processor load what alarms will touch, and names the tasks that they will wake; see
/// `World::look_ahead`. Each round of loads needs only what the one before has loaded.
pub(crate) fn foresee(run: u64, PrefetchSet { callback_timers: alarms, tasks }: &mut PrefetchSet) {
    crate::simnet::state::with_fabric(run, |fabric| {
        let heads = || alarms.iter().filter_map(|alarm| head_of(*alarm));
        for (conn, _) in heads() {
            if let Some(conn) = fabric.conns.get(conn) {
                conn.prefetch();
            }
        }
        for (conn, way) in heads() {
            let Some(conn) = fabric.conns.get(conn) else { continue };
            conn.pipes[way].stream.prefetch();
            conn.pipes[1 - way].stream.prefetch_places();
            if let Some(Waiter::Task(who)) = conn.pipes[way].readers.first() {
                tasks.push(TaskId::of_number(who.task).slot);
            }
        }
    });
}

impl Fabric {
    /// A connection, with its network.
    #[inline]
    pub(crate) fn transit<'a>(
        &'a mut self,
        index: usize,
        world: &'a mut World,
    ) -> Option<Transit<'a>> {
        let conn = self.conns.owned(index)?;
        let net = &mut self.nets[conn.net as usize];
        Some(Transit { net, conn, index, world })
    }

    /// Lets the program's side of an end go, after having closed it or else tearing it down, unless
    /// the run has begun to end.
    /// Whoever waits at a connection that is over may be a task of the run, or poll by himself.
    #[inline(always)]
    pub(crate) fn let_go(&mut self, world: &mut World, (index, end): (usize, usize), closes: bool) {
        if !world.is_running() {
            return;
        }
        let Some(mut transit) = self.transit(index, world) else { return };
        if closes {
            transit.close(end);
        }
        if transit.let_go(end) {
            let Transit { conn, world, .. } = transit;
            for pipe in &mut conn.pipes {
                pipe.readers.drain(|waiter| world.wake_waiter(waiter));
                pipe.drain_writers(|waiter| world.wake_waiter(waiter));
            }
            conn.end();
            self.conns.give_back(index);
        }
    }
}

impl Net {
    /// What becomes of two directions, one there and one back: their names and latencies.
    #[inline(always)]
    pub(crate) fn ways(&self, [there, back]: [Key; 2], from: u32, to: u32) -> [(Key, Latency); 2] {
        [(there, self.latency(from, to)), (back, self.latency(to, from))]
    }
}

/// Makes a connection in a network, from one end to another, in these directions.
#[inline(always)]
pub(crate) fn connect(
    conns: &mut Pool<Connection>,
    (net, ends): (u32, [(u32, u16); 2]),
    (ways, window): ([(Key, Latency); 2], u32),
    world: &World,
) -> usize {
    let (index, conn) = conns.add();
    conn.net = net;
    for (pipe, (key, latency)) in conn.pipes.iter_mut().zip(ways) {
        pipe.begin(key, latency, window, world.now);
        pipe.traced = world.keeps_trace();
    }
    for (end, (machine, port)) in conn.ends.iter_mut().zip(ends) {
        (end.machine, end.port) = (machine, port);
        (end.fate, end.held) = (Fate::Open, true);
    }
    index
}

impl EndState {
    /// Its address, to be printed.
    #[cold]
    pub(crate) fn addr(&self, net: &Net) -> Addr {
        net.addr(self.machine, self.port)
    }
}

/// Writes in a destructor, after the run has ended: the bytes fill the window and are sent to
/// nobody. A full window is an error, because it will never have space again.
#[cold]
fn write_after_end(pipe: &mut Pipe, space: u64, buf: &[u8]) -> Result<usize, Fate> {
    let count = buf.len().min(usize::try_from(space).unwrap_or(usize::MAX));
    if count == 0 {
        return Err(Fate::Closed);
    }
    pipe.stream.write(&buf[..count]);
    Ok(count)
}

/// What the program's side does.
impl Transit<'_> {
    /// Reads from the pipe that ends at `end`; `None` if there is nothing to be read yet.
    #[cold]
    pub(crate) fn read(&mut self, end: usize, buf: &mut [u8]) -> Option<Result<usize, Fate>> {
        let way = 1 - end;
        let pipe = &mut self.conn.pipes[way];
        if pipe.stream.ready() == 0 {
            let fate = self.conn.ends[end].fate;
            let over = pipe.fin_arrived;
            if over || fate == Fate::Reset {
                self.world.trace_read(pipe.key, pipe.stream.read, u64::MAX);
            }
            return match fate {
                _ if over => Some(Ok(0)),
                Fate::Open => None,
                fate => Some(Err(fate)),
            };
        }
        let most = if pipe.odd { self.shortened(way, 0, buf.len()) } else { buf.len() };
        let Pipe { stream, window, key, .. } = &mut self.conn.pipes[way];
        let from = stream.read;
        match stream.read(&mut buf[..most]) {
            Ok(count) => {
                self.world.trace_read(*key, from, stream.read);
                if stream.is_worth_announcing(*window) {
                    self.announce(way);
                }
                Some(Ok(count))
            }
            Err(corrupted) => self.corrupted(way, corrupted),
        }
    }

    /// Writes into the pipe that begins at `end`; `None` if there is no space for it.
    #[cold]
    pub(crate) fn write(&mut self, end: usize, buf: &[u8]) -> Option<Result<usize, Fate>> {
        let fate = self.conn.ends[end].fate;
        let pipe = &mut self.conn.pipes[end];
        if fate != Fate::Open || pipe.fin_sent {
            // Who was told of the end of the stream before it broke finds a broken pipe.
            let told = fate == Fate::Reset && self.conn.pipes[1 - end].fin_arrived;
            if fate == Fate::Reset {
                let Pipe { key, stream, .. } = &self.conn.pipes[1 - end];
                self.world.trace_read(*key, stream.arrived, u64::MAX);
            }
            return Some(Err(if told { Fate::Closed } else { fate }));
        }
        let space = pipe.stream.space(pipe.window, self.world.now);
        if !self.world.is_running() {
            return Some(write_after_end(pipe, space, buf));
        }
        if space == 0 {
            self.wait_for_space(end);
            return None;
        }
        let mut count = buf.len().min(usize::try_from(space).unwrap_or(usize::MAX));
        if pipe.odd {
            count = self.shortened(end, 1, count);
        }
        let stream = &mut self.conn.pipes[end].stream;
        let digest = stream.write(&buf[..count]);
        let written = stream.written;
        self.send(end, What::Data, written, digest, count as u64);
        Some(Ok(count))
    }

    /// What a read or a write at `end` would come to.
    #[cold]
    pub(crate) fn outlook(&mut self, end: usize, writes: bool, waker: &Waker) -> Outlook {
        let now = self.world.now;
        let Connection { ends, pipes, .. } = &mut *self.conn;
        let over = ends[end].fate != Fate::Open;
        let (moves, ended, waits) = if writes {
            let pipe = &mut pipes[end];
            let waits = pipe.writers.as_ref().is_some_and(|writers| writers.waiting.holds(waker));
            (pipe.stream.space(pipe.window, now) > 0, over || pipe.fin_sent, waits)
        } else {
            let pipe = &pipes[1 - end];
            let ready = pipe.stream.ready() > 0;
            (ready, (over || pipe.fin_arrived) && !ready, pipe.readers.holds(waker))
        };
        match (ended, moves, waits) {
            (true, ..) => Outlook::Ended,
            (_, true, _) => Outlook::Moves,
            (_, _, true) => Outlook::Waits,
            _ => Outlook::WouldWait,
        }
    }

    /// Sees to it that whoever waits for space at `end` hears of it, or of why there will be none.
    #[cold]
    fn wait_for_space(&mut self, end: usize) {
        let pipe = &self.conn.pipes[end];
        let shaky = pipe.odd || self.conn.ends[1 - end].fate != Fate::Open;
        if let Some(at) = pipe.stream.next_credit() {
            self.set_bell(end, Bell::Credit, at);
        }
        if shaky {
            self.ask_soon(end, true);
        }
    }

    /// Says that nothing more is written at `end`.
    #[inline(always)]
    pub(crate) fn finish(&mut self, end: usize) {
        let pipe = &mut self.conn.pipes[end];
        if self.conn.ends[end].fate == Fate::Open && !pipe.fin_sent {
            pipe.fin_sent = true;
            if self.conn.ends[1 - end].held {
                self.send_mark(end, What::Fin);
            }
            self.wake_writers(end);
        }
    }

    /// Closes `end` both ways, as TCP does: what it has written is still delivered if it has read
    /// all that had arrived, and otherwise the connection is torn down.
    #[inline(always)]
    pub(crate) fn close(&mut self, end: usize) {
        if self.conn.ends[end].fate == Fate::Open {
            if self.conn.pipes[1 - end].stream.ready() > 0 {
                return self.tear_down(end);
            }
            self.finish(end);
            self.end(end, Fate::Closed);
        }
    }

    /// Tears the connection down, unless it is closed already.
    #[inline(always)]
    pub(crate) fn abort(&mut self, end: usize) {
        if self.conn.ends[end].fate == Fate::Open {
            self.tear_down(end);
        }
    }

    /// Tears the connection down: what `end` has sent and has not arrived is lost, and the other
    /// end gets a reset.
    #[cold]
    #[inline(never)]
    fn tear_down(&mut self, end: usize) {
        self.forget_sent(end);
        self.send_reset(end, false);
        self.conn.pipes[1 - end].stream.discard();
        self.end(end, Fate::Gone);
    }

    /// Lets the program's side of `end` go. Returns whether nobody needs the connection any more.
    #[inline(always)]
    pub(crate) fn let_go(&mut self, end: usize) -> bool {
        self.abort(end);
        self.conn.ends[end].held = false;
        let over = !self.conn.ends[1 - end].held;
        if over {
            // All that a connection has; what else stands there is a dial's.
            self.world.callback_timers.cancel_all(bell(self.index, 0, Bell::Head), 2);
            self.world.callback_timers.cancel_all(bell(self.index, 0, Bell::Limit), 6);
        }
        over
    }

    /// How much of `len` bytes a link that makes short work of them lets pass.
    #[cold]
    fn shortened(&mut self, way: usize, write: u64, len: usize) -> usize {
        let (from, to) = self.conn.route(way);
        let Some(share) = self.net.links.edited((from, to), |edits| edits.short_io) else {
            return len;
        };
        let pipe = &self.conn.pipes[way];
        let place = if write == 1 { pipe.stream.written } else { pipe.stream.read };
        let subject = ChoiceKey::new(ChoiceFamily::ShortIo, pipe.key, Key::NONE);
        // Keyed by the place in the stream: one such read more or less moves no other.
        let ordinal = place * 4 + write * 2;
        if !self.world.befalls(subject, ordinal, share) || len < 2 {
            return len;
        }
        let cut = self.world.draw(subject, ordinal + 1, Shape::Uniform(len as u64 - 1));
        self.net.links.felt(from, to, FaultKind::ShortIo, &mut self.net.ledger);
        len - 1 - cut as usize
    }

    #[cold]
    pub(crate) fn corrupted(&mut self, way: usize, Corrupted { offset }: Corrupted) -> ! {
        let [from, to] = [way, 1 - way].map(|end| self.conn.ends[end].addr(self.net));
        let reason = format!(
            "virtnet: the stream {from}->{to} is corrupt: what was read up to byte {offset} is not \
             what was written; it was read at {:?}, after {} items had been sent",
            std::time::Duration::from_nanos(self.world.now),
            self.conn.pipes[way].items,
        );
        self.world.abort_run(reason.clone());
        panic!("{reason}")
    }
}

/// What the network does.
impl Transit<'_> {
    /// Sends something that has bytes up to `end`.
    #[inline(always)]
    fn send(&mut self, way: usize, what: What, end: u64, digest: u64, bytes: u64) {
        let now = self.world.now;
        let pipe = &mut self.conn.pipes[way];
        let (key, ordinal, latency) = (pipe.key, pipe.items, pipe.latency);
        pipe.items += 1;
        let mut at = now + self.world.draw_latency(ChoiceFamily::Latency, key, ordinal, latency);
        let mut sent_at = now;
        if pipe.odd {
            (sent_at, at) = self.send_with_care(way, at, bytes);
        }
        let pipe = &mut self.conn.pipes[way];
        at = at.max(pipe.last_at);
        pipe.last_at = at;
        let item = Item { what, sent: self.world.current_record(), end, digest, sent_at, at };
        if pipe.put_on_way(item) {
            self.world.set_callback_timer(bell(self.index, way, Bell::Head), at);
        }
    }

    /// Takes up bandwidth, and sees to it that the sender does not wait for too long. Returns when
    /// what is sent is out, and when it arrives.
    #[cold]
    fn send_with_care(&mut self, way: usize, at: u64, bytes: u64) -> (u64, u64) {
        let (from, to) = self.conn.route(way);
        let now = self.world.now;
        let late = self.net.serialised(from, to, now, at, bytes);
        // While it takes up bandwidth its bytes are acknowledged one after the other.
        let out = now.saturating_add(late - at);
        self.expect(way, out, late.max(self.conn.pipes[way].last_at));
        (out, late)
    }

    /// Sends a reset, unless one was sent before; `answers` says whether it answers something whose
    /// sender repeats that until it hears the answer.
    fn send_reset(&mut self, way: usize, answers: bool) {
        let pipe = &mut self.conn.pipes[way];
        let was_sent = pipe.reset != Reset::None;
        if answers || !was_sent {
            pipe.reset = if answers { Reset::Answers } else { Reset::Sent };
        }
        if !was_sent {
            pipe.fin_sent = true;
            self.send_mark(way, What::Reset);
        }
    }

    /// Lets an end of this fate send another reset, because the last one did not arrive.
    fn allow_reset(&mut self, way: usize, sender: Fate) {
        if sender != Fate::Silent {
            self.conn.pipes[way].reset = Reset::None;
        }
    }

    /// Answers with a reset what arrives at an end that takes nothing any more. By this an end that
    /// was closed is torn down.
    fn refuse(&mut self, end: usize) {
        if self.conn.ends[end].fate == Fate::Closed {
            self.lose_unsent(end);
            self.conn.ends[end].fate = Fate::Gone;
        }
        self.send_reset(end, true);
    }

    /// Sends what has no bytes.
    #[inline(never)]
    fn send_mark(&mut self, way: usize, what: What) {
        let written = self.conn.pipes[way].stream.written;
        self.send(way, what, written, 0, 0);
    }

    /// Forgets what `end` has sent and has not arrived.
    fn forget_sent(&mut self, end: usize) {
        self.conn.pipes[end].drop_items();
        self.conn.pipes[end].unheard_since = None;
        for which in [Bell::Head, Bell::Limit] {
            self.world.callback_timers.cancel(bell(self.index, end, which));
        }
    }

    /// What an alarm of the connection does.
    #[inline(never)]
    pub(crate) fn sound(&mut self, which: u32) {
        let way = (which & 1) as usize;
        match which >> 1 {
            0 => self.move_head(way),
            1 => self.give_up(way),
            2 => self.hear_credit(way),
            _ => self.probe(way),
        }
    }

    /// Whether the oldest item is due; if it is going to be, an alarm is set for it.
    #[inline]
    fn is_next_due(&mut self, way: usize) -> bool {
        match &self.conn.pipes[way].head {
            None => false,
            Some(next) => {
                let at = next.at;
                at <= self.world.now || self.await_head(way, at)
            }
        }
    }

    /// Sets an alarm for the oldest item, which is not due.
    fn await_head(&mut self, way: usize, at: u64) -> bool {
        self.set_bell(way, Bell::Head, at);
        false
    }

    /// Sets an alarm of a direction. Not inlined, because it is asked for in many places and in
    /// haste only by `send`.
    #[inline(never)]
    fn set_bell(&mut self, way: usize, which: Bell, at: u64) {
        self.world.set_callback_timer(bell(self.index, way, which), at);
    }

    /// Lets what is due of a direction arrive, or says what is the matter with it.
    fn move_head(&mut self, way: usize) {
        loop {
            let pipe = &mut self.conn.pipes[way];
            let Some(mut item) = pipe.head else { return };
            match std::mem::replace(&mut pipe.trouble, Trouble::None) {
                // It is sent again, which is a step of the run.
                Trouble::Lost if !self.world.try_count_callback_step() => return,
                Trouble::Lost => {
                    let (key, latency, ordinal) = (pipe.key, pipe.latency, pipe.attempt());
                    let takes =
                        self.world.draw_latency(ChoiceFamily::Retransmit, key, ordinal, latency);
                    item.at = self.world.now + takes;
                    (pipe.head, pipe.last_at) = (Some(item), pipe.last_at.max(item.at));
                    return self.set_bell(way, Bell::Head, item.at);
                }
                Trouble::None | Trouble::Held => {}
            }
            if self.conn.pipes[way].odd && !self.gets_through(way, item) {
                return;
            }
            self.conn.pipes[way].drop_head();
            self.deliver(way, item.what, (item.end, item.digest), (item.sent_at, item.sent));
            if !self.is_next_due(way) {
                return;
            }
        }
    }

    /// Whether an item gets to its end; if not, what becomes of it has been seen to.
    #[cold]
    fn gets_through(&mut self, way: usize, item: Item) -> bool {
        let (from, to) = self.conn.route(way);
        let pipe = &self.conn.pipes[way];
        let passage = match self.conn.ends[1 - way].fate {
            Fate::Silent => Passage::Cut,
            _ => self.net.pass(self.world, (from, to), pipe.key, pipe.attempt()),
        };
        let pipe = &mut self.conn.pipes[way];
        let key = pipe.key;
        let how = match passage {
            Passage::Clear => return true,
            Passage::Held => {
                pipe.trouble = Trouble::Held;
                "held"
            }
            Passage::Cut => {
                pipe.trouble = Trouble::Lost;
                pipe.losses += 1;
                let again = self.world.now + retry_after(pipe.losses);
                self.set_bell(way, Bell::Head, again);
                "lost"
            }
        };
        let ordinal = u64::from(self.conn.pipes[way].losses);
        let (ends, net) = (&self.conn.ends, &*self.net);
        let said = (ordinal, item.digest);
        self.world.record_arrival(RecordKind::Drop, key, said, item.sent, || {
            let (from, to) = (ends[way].addr(net), ends[1 - way].addr(net));
            format!("{} {from}->{to} {how}", item.what.name())
        });
        match self.conn.ends[way].fate {
            sender @ (Fate::Gone | Fate::TimedOut | Fate::Silent) if passage == Passage::Cut => {
                // Nothing is left that sends it again. Whatever else arrives is answered again.
                if sender == Fate::Silent || !self.is_asked_for(way, item) {
                    self.allow_reset(way, sender);
                    self.forget_sent(way);
                    self.watch(1 - way);
                }
            }
            _ => self.worry(way, item.sent_at),
        }
        false
    }

    /// Whether the other end repeats something to which this item is the answer, until it gets it:
    /// then a reset is repeated as well, for as long as that end has not timed out.
    fn is_asked_for(&mut self, way: usize, item: Item) -> bool {
        let asks = self.conn.ends[1 - way].fate == Fate::Open && item.what == What::Reset;
        if asks && self.conn.pipes[way].reset == Reset::Answers {
            self.worry(1 - way, item.sent_at);
        }
        let asks = asks && self.conn.pipes[1 - way].unheard_since.is_some();
        if asks {
            self.conn.pipes[way].reset = Reset::Answers;
        }
        asks
    }

    /// Lets something arrive at its end: what it is, where its bytes end and their digest, and when
    /// it was sent, in which record.
    #[inline(always)]
    fn deliver(
        &mut self,
        way: usize,
        what: What,
        (until, digest): (u64, u64),
        (sent_at, sent): (u64, Mark),
    ) {
        let end = 1 - way;
        let Connection { ends, pipes, .. } = &mut *self.conn;
        let (pipe, net) = (&mut pipes[way], &*self.net);
        let (key, ordinal) = (pipe.key, pipe.stream.arrived);
        let said = (ordinal, digest ^ what as u64);
        self.world.record_arrival(RecordKind::Deliver, key, said, sent, || {
            let (from, to) = (ends[way].addr(net), ends[end].addr(net));
            if ends[end].fate != Fate::Open && what == What::Data {
                // Where it begins is not counted any more.
                return format!("data {from}->{to} for nobody");
            }
            format!("{} {from}->{to} {} bytes", what.name(), until - ordinal)
        });
        pipe.heard_at = self.world.now;
        self.world.set_actor(key);
        match (ends[end].fate, what) {
            (Fate::Open, What::Data) => {
                pipe.stream.arrive(until, digest);
                wake(&mut pipe.readers, self.world);
            }
            (fate, what) => {
                if !self.deliver_mark(way, fate, what) {
                    return;
                }
            }
        }
        if self.conn.pipes[way].odd {
            self.acknowledge(way, sent_at);
        }
    }

    /// Lets something arrive that is no data, or where nobody takes it. Returns whether it is to be
    /// acknowledged.
    #[cold]
    fn deliver_mark(&mut self, way: usize, fate: Fate, what: What) -> bool {
        let end = 1 - way;
        match (fate, what) {
            (Fate::Open, What::Fin) => {
                let pipe = &mut self.conn.pipes[way];
                pipe.fin_arrived = true;
                wake(&mut pipe.readers, self.world);
            }
            (Fate::Open, What::Reset) => {
                self.forget_sent(end);
                self.end(end, Fate::Reset);
                return false;
            }
            (Fate::Gone | Fate::TimedOut, What::Data | What::Fin) | (_, What::Data) => {
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
        if self.net.links.pass(to, from, &mut self.net.ledger) == Passage::Clear {
            let item = self.conn.pipes[way].arrived();
            let late = self.late(way, ChoiceFamily::AckLoss, item, false);
            self.hear(way, sent_at, late);
        } else {
            self.worry(way, sent_at);
        }
        let back = &self.conn.pipes[1 - way];
        if back.unheard_since.is_some() && back.heard_at <= sent_at {
            self.hear_all(1 - way);
        }
    }

    /// Lets the sender hear that all has arrived, so much later than it could be; if that is too
    /// late, he gives up before.
    fn hear(&mut self, way: usize, sent_at: u64, late: u64) {
        let back = nanos(self.conn.pipes[1 - way].latency.least());
        let at = self.world.now.saturating_add(back).saturating_add(late);
        let since = self.conn.pipes[way].unheard_since.unwrap_or(sent_at);
        if !self.is_too_late(since, at) {
            return self.hear_all(way);
        }
        if late > 0 {
            let (from, to) = self.conn.route(way);
            self.net.links.felt(to, from, FaultKind::Loss, &mut self.net.ledger);
        }
        self.worry(way, since);
    }

    /// Lets the sender hear that all has arrived that has, so that he waits only for what has not.
    fn hear_all(&mut self, way: usize) {
        self.relax(way);
        let Pipe { head, trouble, .. } = &self.conn.pipes[way];
        match *head {
            Some(next) if *trouble == Trouble::None => self.expect(way, next.sent_at, next.at),
            Some(next) => self.worry(way, next.sent_at),
            None => {}
        }
    }

    /// Has a sender wait for an acknowledgement which, for latency alone, comes too late.
    fn expect(&mut self, way: usize, since: u64, arrives: u64) {
        let back = nanos(self.conn.pipes[1 - way].latency.least());
        if self.is_too_late(since, arrives.saturating_add(back)) {
            self.worry(way, since);
        }
    }

    /// Whether a sender who waits since then gives up before that instant.
    fn is_too_late(&self, since: u64, at: u64) -> bool {
        let timeout = self.net.config.user_timeout;
        timeout.is_some_and(|timeout| at > since.saturating_add(nanos(timeout)))
    }

    /// How many of a million are lost from one host to another, if any are.
    fn loss_between(&self, from: u32, to: u32) -> Option<u32> {
        self.net.links.edited((from, to), |edits| edits.loss).filter(|share| *share > 0)
    }

    /// How much later than it could be an end gets an answer, because that is lost, or else what
    /// asks for it again. `asks` says whether it has yet to ask for the first time.
    fn late(&mut self, way: usize, family: ChoiceFamily, number: u64, asks: bool) -> u64 {
        let (from, to) = self.conn.route(way);
        let Some(share) = self.loss_between(to, from) else { return 0 };
        let passes = u64::from(WHOLE - share);
        let both_pass = passes * passes / u64::from(WHOLE);
        let subject = ChoiceKey::new(family, self.conn.pipes[way].key, Key::NONE);
        let mut late: u64 = 0;
        for attempt in 0..64 {
            let passes = if attempt == 0 && !asks { passes } else { both_pass };
            let ordinal = number.wrapping_mul(64) + u64::from(attempt);
            if self.world.draw(subject, ordinal, Shape::Uniform(WHOLE.into())) < passes {
                return late;
            }
            late += retry_after(attempt + 1);
        }
        NEVER
    }

    /// Lets the sender wait for an acknowledgement, at most until the timeout of the stream.
    fn worry(&mut self, way: usize, since: u64) {
        let pipe = &mut self.conn.pipes[way];
        let waits = matches!(self.conn.ends[way].fate, Fate::Open | Fate::Closed);
        if waits && pipe.unheard_since.is_none() {
            pipe.unheard_since = Some(since);
            if let Some(timeout) = self.net.config.user_timeout {
                let at = since.saturating_add(nanos(timeout));
                self.set_bell(way, Bell::Limit, at);
            }
        }
    }

    /// Lets the sender wait for nothing any more.
    fn relax(&mut self, way: usize) {
        if self.conn.pipes[way].unheard_since.take().is_some() {
            self.world.callback_timers.cancel(bell(self.index, way, Bell::Limit));
        }
    }

    /// Lets a sender give up that has not been acknowledged for too long.
    fn give_up(&mut self, end: usize) {
        let (key, machine) = (self.conn.pipes[end].key, self.conn.ends[end].machine);
        self.world.set_actor(key);
        if self.conn.pipes[end].trouble == Trouble::Lost {
            self.forget_sent(end);
        }
        self.relax(end);
        let (ends, net) = (&self.conn.ends, &*self.net);
        self.world.record_event(RecordKind::Drop, key, 0, u64::from(machine), || {
            format!("{}->{} timed out", ends[end].addr(net), ends[1 - end].addr(net))
        });
        // Whatever answered the other end was given up as well: it is answered anew.
        self.allow_reset(end, self.conn.ends[end].fate);
        if matches!(self.conn.ends[end].fate, Fate::Open | Fate::Closed) {
            self.end(end, Fate::TimedOut);
            self.watch(1 - end);
        }
    }

    /// Tells the writer of a pipe how much has been read, unless that is lost; then he asks.
    #[cold]
    #[inline(never)]
    pub(crate) fn announce(&mut self, way: usize) {
        self.conn.pipes[way].begin_announcement();
        if self.conn.pipes[way].odd {
            let (from, to) = self.conn.route(way);
            let shut = self.net.links.pass(to, from, &mut self.net.ledger) != Passage::Clear;
            if shut || self.is_announcement_lost(way) {
                self.conn.pipes[way].missed_credit = true;
                if !shut && self.conn.pipes[way].has_writers() {
                    self.ask_soon(way, true);
                }
                return;
            }
        }
        self.tell_space(way, 0);
    }

    fn is_announcement_lost(&mut self, way: usize) -> bool {
        let (from, to) = self.conn.route(way);
        let Some(share) = self.loss_between(to, from) else { return false };
        let pipe = &self.conn.pipes[way];
        let (subject, ordinal) = (
            ChoiceKey::new(ChoiceFamily::WindowUpdateLoss, pipe.key, Key::NONE),
            pipe.announcement(),
        );
        self.world.befalls(subject, ordinal, share)
    }

    /// Tells the writer of a pipe how much has been read, so much later than it could be.
    fn tell_space(&mut self, way: usize, late: u64) {
        let latency = self.conn.pipes[1 - way].latency;
        let pipe = &mut self.conn.pipes[way];
        pipe.missed_credit = false;
        let takes = self.world.draw_latency(
            ChoiceFamily::WindowUpdate,
            pipe.key,
            pipe.announcement(),
            latency,
        );
        pipe.stream.announce(self.world.now + takes + late);
        if pipe.has_writers()
            && !self.world.callback_timers.is_set(bell(self.index, way, Bell::Credit))
            && let Some(at) = pipe.stream.next_credit()
        {
            self.set_bell(way, Bell::Credit, at);
        }
    }

    /// Lets the writer hear that there is space.
    fn hear_credit(&mut self, way: usize) {
        self.world.set_actor(self.conn.pipes[way].key);
        self.wake_writers(way);
    }

    /// Asks whether the other end is still there, and whether there is space.
    fn probe(&mut self, end: usize) {
        if self.conn.ends[end].fate != Fate::Open {
            return;
        }
        let (from, to) = self.conn.route(end);
        let other = self.conn.ends[1 - end].fate;
        let clear = self.net.links.pass(from, to, &mut self.net.ledger) == Passage::Clear
            && self.net.links.pass(to, from, &mut self.net.ledger) == Passage::Clear;
        if !clear || other == Fate::Silent {
            self.ask_in_vain(end);
        } else if matches!(other, Fate::Gone | Fate::Reset | Fate::TimedOut) {
            self.world.set_actor(self.conn.pipes[1 - end].key);
            self.send_reset(1 - end, true);
        } else if self.loss_between(from, to).is_some() {
            self.ask_with_luck(end);
        }
    }

    /// Asks, and nobody answers.
    fn ask_in_vain(&mut self, end: usize) {
        let limit = self.conn.pipes[end].unheard_since;
        self.worry(end, self.world.now);
        if limit.is_none()
            && self.net.config.user_timeout.is_none()
            && let Some(idle) = self.net.config.keep_alive
        {
            // As Linux: nine questions without an answer.
            let at = self.world.now.saturating_add(nanos(idle).saturating_mul(9));
            self.set_bell(end, Bell::Limit, at);
        }
    }

    /// Asks where the question or its answer may be lost: again and again, until it is answered or
    /// that has taken too long.
    fn ask_with_luck(&mut self, end: usize) {
        let heard = &self.conn.pipes[1 - end];
        // Keyed by what it has heard by now, and by how long ago that was.
        let number = heard.stream.arrived + (self.world.now - heard.heard_at) / RETRY;
        let late = self.late(end, ChoiceFamily::ProbeLoss, number, true);
        let answered = late != NEVER && !self.is_too_late(self.world.now, self.world.now + late);
        let missed_credit = self.conn.pipes[end].missed_credit;
        if missed_credit || !answered {
            let (from, to) = self.conn.route(end);
            self.net.links.felt(from, to, FaultKind::Loss, &mut self.net.ledger);
        }
        if !answered {
            return self.ask_in_vain(end);
        }
        if missed_credit {
            self.conn.pipes[end].begin_announcement();
            self.tell_space(end, late);
        }
        self.ask_soon(end, false);
    }

    /// Ends one end, and wakes whoever waits there.
    #[inline(always)]
    pub(crate) fn end(&mut self, end: usize, fate: Fate) {
        self.conn.ends[end].fate = fate;
        wake(&mut self.conn.pipes[1 - end].readers, self.world);
        self.wake_writers(end);
    }

    fn wake_writers(&mut self, way: usize) {
        let Self { conn, world, .. } = self;
        conn.pipes[way].drain_writers(|waiter| world.wake_waiter(waiter));
    }
}

/// What faults do.
impl Transit<'_> {
    /// Looks anew at the way, after something was done to it or to who is at its ends.
    pub(crate) fn look_around(&mut self) {
        let (from, to) = self.conn.route(0);
        let silent = self.conn.ends.iter().any(|end| end.fate == Fate::Silent);
        let odd = silent || self.net.is_odd(from, to);
        for (way, (from, to)) in [(0, (from, to)), (1, (to, from))] {
            let latency = self.net.latency(from, to);
            let pipe = &mut self.conn.pipes[way];
            // What is sent again after a heal is acknowledged then.
            (pipe.latency, pipe.odd) = (latency, odd || pipe.unheard_since.is_some());
            let (there, back) = (self.net.links.look(from, to), self.net.links.look(to, from));
            if pipe.trouble == Trouble::Held && there != Passage::Held {
                self.set_bell(way, Bell::Head, self.world.now);
            }
            let other = self.conn.ends[1 - way].fate;
            if back != Passage::Clear || other == Fate::Silent {
                let pipe = &mut self.conn.pipes[way];
                if pipe.stream.lose_announcements(self.world.now) {
                    pipe.missed_credit = true;
                    self.net.links.pass(to, from, &mut self.net.ledger);
                }
                self.miss_acknowledgement(way, (to, from));
            } else {
                self.hear_again(way, there == Passage::Clear);
            }
            let shut = there != Passage::Clear || back != Passage::Clear;
            if shut
                || self.loss_between(from, to).is_some()
                || !matches!(other, Fate::Open | Fate::Closed)
            {
                self.watch(way);
            }
        }
    }

    /// Lets what was sent from a host and is not out yet be out sooner or later, at another rate.
    pub(crate) fn repace(&mut self, from: u32, pace: Pace) {
        let now = self.world.now;
        for way in 0..2 {
            if self.conn.route(way).0 != from {
                continue;
            }
            let Pipe { head, behind, last_at, .. } = &mut self.conn.pipes[way];
            let mut before = 0;
            for item in head.iter_mut().chain(behind.iter_mut()) {
                let left = item.sent_at.saturating_sub(now);
                let takes = pace.of(left);
                item.sent_at = item.sent_at.max(now) - left + takes;
                item.at = (item.at - left).saturating_add(takes).max(before);
                before = item.at;
            }
            if let Some(head) = *head {
                *last_at = before;
                if self.conn.pipes[way].trouble == Trouble::None {
                    self.set_bell(way, Bell::Head, head.at);
                }
            }
            if self.conn.pipes[way].unheard_since.is_some_and(|since| since > now) {
                self.hear_all(way);
            }
        }
    }

    /// Has a sender wait whose acknowledgement is on its way when that is shut.
    fn miss_acknowledgement(&mut self, way: usize, (from, to): (u32, u32)) {
        let back = nanos(self.conn.pipes[1 - way].latency.least());
        let pipe = &self.conn.pipes[way];
        let (heard_at, there) = (pipe.heard_at, nanos(pipe.latency.least()));
        let arrived = pipe.stream.arrived > 0 || pipe.fin_arrived;
        if arrived
            && heard_at.saturating_add(back) > self.world.now
            && self.net.links.pass(from, to, &mut self.net.ledger) != Passage::Clear
        {
            self.worry(way, heard_at.saturating_sub(there));
        }
    }

    /// What was lost on the way back of a direction gets there after all.
    fn hear_again(&mut self, way: usize, both_ways: bool) {
        if self.conn.pipes[way].missed_credit {
            self.announce(way);
        }
        let Pipe { trouble, head, unheard_since, .. } = &self.conn.pipes[way];
        if both_ways && *trouble == Trouble::None {
            let is_over = matches!(self.conn.ends[1 - way].fate, Fate::Gone | Fate::TimedOut);
            if is_over && head.is_none() && unheard_since.is_some() {
                // It repeats what was not acknowledged, and is answered with a reset.
                self.send_reset(1 - way, true);
            }
            self.hear_all(way);
        }
    }

    /// Has an end ask before long whether the other is still there, if connections are kept alive
    /// or if it waits for space.
    fn watch(&mut self, end: usize) {
        let blocked = self.conn.pipes[end].has_writers();
        self.ask_soon(end, blocked);
    }

    /// Has an end ask: when it has heard nothing for as long as connections are kept alive, and a
    /// while from now if it waits for space. What it was going to do sooner, it still does then.
    fn ask_soon(&mut self, end: usize, blocked: bool) {
        let alarm = bell(self.index, end, Bell::Probe);
        if self.conn.ends[end].fate != Fate::Open {
            return;
        }
        let now = self.world.now;
        let kept_alive = self.net.config.keep_alive.map(|idle| {
            let heard = self.conn.pipes[1 - end].heard_at;
            // It has been asking in vain, or rather, with success, all the time before.
            let missed = (now - heard) / nanos(idle);
            heard.saturating_add(nanos(idle).saturating_mul(missed + 1))
        });
        let blocked = blocked.then(|| now.saturating_add(RETRY));
        let Some(at) = kept_alive.into_iter().chain(blocked).min() else { return };
        let writers = self.conn.pipes[end].writers.get_or_insert_default();
        if !self.world.callback_timers.is_set(alarm) || at < writers.asks_at {
            writers.asks_at = at;
            self.world.set_callback_timer(alarm, at);
        }
    }

    /// What becomes of an end whose host crashes: the other is told.
    pub(crate) fn crash(&mut self, end: usize) {
        match self.conn.ends[end].fate {
            Fate::Open | Fate::Reset | Fate::TimedOut => {
                self.lose_unsent(end);
                self.send_reset(end, false);
            }
            Fate::Closed => self.lose_unsent(end),
            Fate::Gone | Fate::Silent => return,
        }
        self.conn.pipes[1 - end].stream.discard();
        self.end(end, Fate::Gone);
    }

    /// What becomes of an end whose host loses its power: nobody is told.
    pub(crate) fn go_silent(&mut self, end: usize) {
        if self.conn.ends[end].fate != Fate::Silent {
            self.lose_unsent(end);
            self.conn.pipes[end].fin_sent = true;
            self.conn.pipes[end].reset = Reset::Sent;
            self.end(end, Fate::Silent);
            self.look_around();
        }
    }

    /// What becomes of an end whose host is started again: it knows nothing of it.
    pub(crate) fn wake_up(&mut self, end: usize) {
        if self.conn.ends[end].fate == Fate::Silent {
            self.conn.ends[end].fate = Fate::Gone;
            self.conn.pipes[end].reset = Reset::None;
            self.conn.pipes[1 - end].stream.discard();
            self.look_around();
        }
    }

    /// What has not left the host, or would have to leave it again, is lost.
    fn lose_unsent(&mut self, end: usize) {
        self.relax(end);
        let was_lost = self.conn.pipes[end].trouble == Trouble::Lost;
        if self.conn.pipes[end].drop_unsent(self.world.now) {
            self.forget_sent(end);
        }
        if was_lost {
            self.conn.pipes[end].reset = Reset::None;
            self.watch(1 - end);
        }
    }

    /// Tears the connection down from without: both ends are told at once. Returns whether that
    /// made a difference.
    pub(crate) fn reset(&mut self) -> bool {
        let mut hit = false;
        for end in 0..2 {
            if self.conn.ends[end].fate == Fate::Open {
                hit = true;
                self.forget_sent(end);
                self.conn.pipes[end].reset = Reset::Sent;
                self.end(end, Fate::Reset);
            }
        }
        hit
    }
}

/// Wakes all who wait.
#[inline(always)]
pub(crate) fn wake(waiters: &mut WaitList, world: &mut World) {
    match waiters.take_lone_task() {
        Some(who) => world.wake(TaskId::of_number(who.task)),
        None => waiters.drain(|waiter| world.wake_waiter(waiter)),
    }
}

impl World {
    /// Draws whether what befalls so many of a million befalls this one.
    fn befalls(&mut self, subject: ChoiceKey, ordinal: u64, share: u32) -> bool {
        self.draw(subject, ordinal, Shape::Uniform(WHOLE.into())) >= u64::from(WHOLE - share)
    }

    /// Draws how long something takes.
    #[inline]
    pub(crate) fn draw_latency(
        &mut self,
        family: ChoiceFamily,
        key: Key,
        ordinal: u64,
        latency: Latency,
    ) -> u64 {
        match latency.parts() {
            (least, Shape::Uniform(1)) => least,
            (least, more) => {
                least + self.draw(ChoiceKey::new(family, key, Key::NONE), ordinal, more)
            }
        }
    }
}

impl Net {
    /// Whether something gets through at that attempt; lost is as good as cut off.
    #[inline(always)]
    pub(crate) fn pass(
        &mut self,
        world: &mut World,
        (from, to): (u32, u32),
        key: Key,
        attempt: u64,
    ) -> Passage {
        let passage = self.links.pass(from, to, &mut self.ledger);
        let loss = self.links.edited((from, to), |edits| edits.loss);
        let Some(share) = loss.filter(|_| passage == Passage::Clear) else {
            return passage;
        };
        let subject = ChoiceKey::new(ChoiceFamily::Loss, key, Key::NONE);
        if !world.befalls(subject, attempt, share) {
            return Passage::Clear;
        }
        self.links.felt(from, to, FaultKind::Loss, &mut self.ledger);
        Passage::Cut
    }

    /// When something arrives that takes up bandwidth before it is on its way.
    #[cold]
    pub(crate) fn serialised(&mut self, from: u32, to: u32, now: u64, at: u64, bytes: u64) -> u64 {
        let edits = self.links.edits(from, to);
        // A host is near to itself, whatever was edited.
        if edits.latency.is_some() && from != to {
            self.links.felt(from, to, FaultKind::Latency, &mut self.ledger);
        }
        let Some(rate) = edits.bandwidth.or(self.config.bandwidth).filter(|_| from != to) else {
            return at;
        };
        let out = self.links.occupy(from, to, now, bytes, rate);
        if out > now && edits.bandwidth.is_some() {
            self.links.felt(from, to, FaultKind::Bandwidth, &mut self.ledger);
        }
        at.saturating_add(out - now)
    }
}
