//! What a program does with a connection: read, write, half-close, close, reset.

use crate::net::Readiness;
use crate::sim::FaultKind;
use crate::sim::{ChoiceFamily, ChoiceKey, Distribution, PathHash};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{Connection, EndpointState, HalfConn, SegmentKind};
use crate::simnet::tcp::stream_buffer::CorruptStream;
use crate::simnet::tcp::timers::{ConnTimer, timer_id};
use std::task::Waker;

/// Writes in a destructor, after the run has ended: the bytes fill the window and are sent to
/// nobody. A full window is an error, because it will never have space again.
#[cold]
pub(crate) fn write_after_end(
    pipe: &mut HalfConn,
    space: u64,
    buf: &[u8],
) -> Result<usize, EndpointState> {
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
    pub(crate) fn wait_for_space(&mut self, end: usize) {
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
    pub(crate) fn tear_down(&mut self, end: usize) {
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
    pub(crate) fn shorten_io(&mut self, way: usize, write: u64, len: usize) -> usize {
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
