//! Operations of a program on a connection: read, write, half-close, close, reset.

use crate::net::Readiness;
use crate::sim::{ChoiceFamily, ChoiceKey, Distribution, FaultKind, PathHash, SegmentKind};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{Connection, EndpointState, HalfConn};
use crate::simnet::tcp::stream_buffer::CorruptStream;
use crate::simnet::tcp::timers::{ConnTimer, timer_id};
use std::task::Waker;

/// Writes in a destructor, after the run has ended: the bytes fill the window and are not sent. A
/// full window is an error, because it will never have space again.
#[cold]
pub(crate) fn write_after_end(
    half: &mut HalfConn,
    space: u64,
    buf: &[u8],
) -> Result<usize, EndpointState> {
    let count = buf.len().min(usize::try_from(space).unwrap_or(usize::MAX));
    if count == 0 {
        return Err(EndpointState::Closed);
    }
    half.stream.write(&buf[..count]);
    Ok(count)
}

/// Operations of the program.
impl ConnCtx<'_> {
    /// Reads from the stream that ends at `end`; `None` if nothing can be read yet.
    #[inline]
    pub(crate) fn read(
        &mut self,
        end: usize,
        buf: &mut [u8],
    ) -> Option<Result<usize, EndpointState>> {
        let direction = 1 - end;
        let half = &mut self.conn.halves[direction];
        if half.stream.readable_len() == 0 {
            return self.read_empty(end);
        }
        let max_len =
            if half.needs_slow_path { self.shorten_io(direction, 0, buf.len()) } else { buf.len() };
        let HalfConn { stream, window, key, .. } = &mut self.conn.halves[direction];
        let from = stream.read;
        match stream.read(&mut buf[..max_len]) {
            Ok(count) => {
                self.world.trace_read(*key, from, stream.read);
                if stream.is_worth_advertising(*window) {
                    self.advertise(direction);
                }
                Some(Ok(count))
            }
            Err(corrupted) => self.panic_corrupt(direction, corrupted),
        }
    }

    /// The result of a read if no bytes are there: the end of the stream, an error, or `None`.
    #[inline]
    fn read_empty(&mut self, end: usize) -> Option<Result<usize, EndpointState>> {
        let (state, half) = (self.conn.endpoints[end].state, &self.conn.halves[1 - end]);
        if half.fin_arrived || state == EndpointState::Reset {
            self.world.trace_read(half.key, half.stream.read, u64::MAX);
        }
        match state {
            _ if half.fin_arrived => Some(Ok(0)),
            EndpointState::Open => None,
            state => Some(Err(state)),
        }
    }

    /// Writes into the stream that begins at `end`; `None` if the window is full.
    #[inline]
    pub(crate) fn write(&mut self, end: usize, buf: &[u8]) -> Option<Result<usize, EndpointState>> {
        let half = &mut self.conn.halves[end];
        let is_open = self.conn.endpoints[end].state == EndpointState::Open && !half.fin_sent;
        if !is_open || !self.world.is_running() {
            return Some(self.write_closed(end, buf));
        }
        let mut count = half.stream.writable_len(buf.len(), half.window, self.world.now());
        if count == 0 {
            self.wait_for_space(end);
            return None;
        }
        if half.needs_slow_path {
            count = self.shorten_io(end, 1, count);
        }
        let stream = &mut self.conn.halves[end].stream;
        let digest = stream.write(&buf[..count]);
        let written = stream.written;
        self.send(end, SegmentKind::Data, written, digest, count as u64);
        Some(Ok(count))
    }

    /// The result of a write at an endpoint that is not open any more, or after the run has ended.
    #[cold]
    fn write_closed(&mut self, end: usize, buf: &[u8]) -> Result<usize, EndpointState> {
        let [half, reverse] = self.conn.halves.get_disjoint_mut([end, 1 - end]).expect("two ends");
        let state = self.conn.endpoints[end].state;
        if state == EndpointState::Open && !half.fin_sent {
            let space = half.stream.send_window(half.window, self.world.now());
            return write_after_end(half, space, buf);
        }
        if state == EndpointState::Reset {
            self.world.trace_read(reverse.key, reverse.stream.arrived, u64::MAX);
        }
        // A program that read the end of the stream before the reset finds a broken pipe.
        let saw_fin = state == EndpointState::Reset && reverse.fin_arrived;
        Err(if saw_fin { EndpointState::Closed } else { state })
    }

    /// Returns whether a read or a write at `end` would complete.
    #[cold]
    pub(crate) fn readiness(&mut self, end: usize, is_write: bool, waker: &Waker) -> Readiness {
        let now = self.world.now();
        let Connection { endpoints, halves, .. } = &mut *self.conn;
        let is_closed = endpoints[end].state != EndpointState::Open;
        let (is_ready, ended, is_waiting) = if is_write {
            let half = &mut halves[end];
            let is_waiting =
                half.writers.as_ref().is_some_and(|writers| writers.wait_list.contains(waker));
            (half.stream.send_window(half.window, now) > 0, is_closed || half.fin_sent, is_waiting)
        } else {
            let half = &halves[1 - end];
            let ready = half.stream.readable_len() > 0;
            (ready, (is_closed || half.fin_arrived) && !ready, half.readers.contains(waker))
        };
        match (ended, is_ready, is_waiting) {
            (true, ..) => Readiness::Ended,
            (_, true, _) => Readiness::Ready,
            (_, _, true) => Readiness::Waiting,
            _ => Readiness::WouldWait,
        }
    }

    /// Arms the timer that wakes writers at `end` when there is space, or the probe that finds out
    /// why there is none.
    #[cold]
    pub(crate) fn wait_for_space(&mut self, end: usize) {
        let half = &self.conn.halves[end];
        let needs_probe =
            half.needs_slow_path || self.conn.endpoints[1 - end].state != EndpointState::Open;
        if let Some(at) = half.stream.next_update_at() {
            self.arm(end, ConnTimer::WindowUpdate, at);
        }
        if needs_probe {
            self.arm_probe(end, true);
        }
    }

    /// Says that nothing more is written at `end`.
    #[inline(always)]
    pub(crate) fn half_close(&mut self, end: usize) {
        let half = &mut self.conn.halves[end];
        if self.conn.endpoints[end].state == EndpointState::Open && !half.fin_sent {
            half.fin_sent = true;
            if self.conn.endpoints[1 - end].has_handle {
                self.send_control(end, SegmentKind::Fin);
            }
            self.wake_writers(end);
        }
    }

    /// Closes `end` both ways, as TCP does: what it has written is still delivered if it has read
    /// all that had arrived, and otherwise the connection is torn down.
    #[inline(always)]
    pub(crate) fn close(&mut self, end: usize) {
        if self.conn.endpoints[end].state == EndpointState::Open {
            if self.conn.halves[1 - end].stream.readable_len() > 0 {
                return self.tear_down(end);
            }
            self.half_close(end);
            self.set_endpoint_state(end, EndpointState::Closed);
        }
    }

    /// Tears the connection down, unless it is closed already.
    #[inline(always)]
    pub(crate) fn abort(&mut self, end: usize) {
        if self.conn.endpoints[end].state == EndpointState::Open {
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
        self.set_endpoint_state(end, EndpointState::Aborted);
    }

    /// Releases the program's handle of `end`. Returns whether the connection has no handle left.
    #[inline(always)]
    pub(crate) fn release(&mut self, end: usize) -> bool {
        self.abort(end);
        self.conn.endpoints[end].has_handle = false;
        let is_last = !self.conn.endpoints[1 - end].has_handle;
        if is_last {
            // All that a connection has; what else stands there is a dial's.
            self.world.cancel_callback_timers(timer_id(self.index, 0, ConnTimer::Deliver), 2);
            self.world.cancel_callback_timers(timer_id(self.index, 0, ConnTimer::UserTimeout), 6);
        }
        is_last
    }

    /// Draws the number of bytes, of `len`, that a read or write transfers on a link with short
    /// reads and writes.
    #[cold]
    pub(crate) fn shorten_io(&mut self, direction: usize, operation: u64, len: usize) -> usize {
        let (from, to) = self.conn.route(direction);
        let Some(ppm) = self.net.links.setting((from, to), |settings| settings.short_io_ppm) else {
            return len;
        };
        let half = &self.conn.halves[direction];
        let offset = if operation == 1 { half.stream.written } else { half.stream.read };
        let choice_key = ChoiceKey::new(ChoiceFamily::ShortIo, half.key, PathHash::NONE);
        // Keyed by the place in the stream: one such read more or less moves no other.
        let ordinal = offset * 4 + operation * 2;
        if !self.world.draw_hit(choice_key, ordinal, ppm) || len < 2 {
            return len;
        }
        let omitted =
            self.world.draw(choice_key, ordinal + 1, Distribution::Uniform(len as u64 - 1));
        self.net.links.mark_effective(from, to, FaultKind::ShortIo, &mut self.net.stats);
        len - 1 - omitted as usize
    }

    #[cold]
    pub(crate) fn panic_corrupt(
        &mut self,
        direction: usize,
        CorruptStream { offset }: CorruptStream,
    ) -> ! {
        let [from, to] =
            [direction, 1 - direction].map(|end| self.conn.endpoints[end].addr(self.net));
        let reason = format!(
            "virtnet: the stream {from}->{to} is corrupt: what was read up to byte {offset} is not \
             what was written; it was read at {:?}, after {} items had been sent",
            std::time::Duration::from_nanos(self.world.now()),
            self.conn.halves[direction].segments_sent,
        );
        self.world.abort_run(reason.clone());
        panic!("{reason}")
    }
}
