//! A pipe without a buffer: a write hands its bytes to a waiting reader.
//!
//! ```text
//! reader                         writer
//! requests up to 8 bytes, waits
//!                                hands over 8 of its 12 bytes, returns 8
//! takes 8                        (its next write waits for the next request)
//! ```
//!
//! The request of a dropped read stays; the bytes handed over for it are kept for the next
//! read.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::net::{Cause, DeferredWakes, RawConn, Readiness, WaitList};
use crate::util::run_cell::{RunCell, run_local};

/// Makes a pipe, and gives its two ends.
pub(crate) fn pipe() -> (Box<dyn RawConn>, Box<dyn RawConn>) {
    let pipe = Arc::new(RunCell::new(Pipe::default));
    let forward_end = PipeEndpoint { pipe: pipe.clone(), direction: Direction::Forward };
    (Box::new(forward_end), Box::new(PipeEndpoint { pipe, direction: Direction::Reverse }))
}

/// Both directions, under one lock.
#[derive(Debug, Default)]
struct Pipe {
    forward: HalfPipe,
    reverse: HalfPipe,
}

run_local!(Pipe);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    Forward,
    Reverse,
}

impl Pipe {
    fn half(&mut self, direction: Direction) -> &mut HalfPipe {
        match direction {
            Direction::Forward => &mut self.forward,
            Direction::Reverse => &mut self.reverse,
        }
    }
}

/// The bytes from one end to the other.
#[derive(Debug, Default)]
struct HalfPipe {
    /// The number of bytes that the reader has asked for and not got; not 0 only while `data` is
    /// empty.
    requested: usize,
    /// The bytes of the writer; the vector is used again for every message.
    data: Vec<u8>,
    /// The number of bytes of `data` that were read.
    read_count: usize,
    state: HalfPipeState,
    readers: WaitList,
    writers: WaitList,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum HalfPipeState {
    #[default]
    Open,
    /// Nobody writes or takes any more; what was handed over is still read.
    Closed,
    /// Torn down; what was handed over is lost.
    Reset,
}

/// One end of a pipe.
struct PipeEndpoint {
    pipe: Arc<RunCell<Pipe>>,
    /// The direction in which this end writes.
    direction: Direction,
}

impl PipeEndpoint {
    /// The direction in which this end reads.
    const fn read_direction(&self) -> Direction {
        match self.direction {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }

    /// Ends directions, and wakes all waiters; does nothing after the run of the pipe.
    fn shut_directions<const N: usize>(&self, directions: [Direction; N], state: HalfPipeState) {
        let mut wakers = DeferredWakes::default();
        self.pipe.try_with(|pipe| {
            directions
                .into_iter()
                .for_each(|direction| pipe.half(direction).shut(state, &mut wakers));
        });
        wakers.wake();
    }
}

impl HalfPipe {
    /// Ends the direction, and collects all waiters to be woken.
    fn shut(&mut self, state: HalfPipeState, wakers: &mut DeferredWakes) {
        if self.state != HalfPipeState::Reset {
            self.state = state;
        }
        self.readers.wake(wakers);
        self.writers.wake(wakers);
    }
}

impl HalfPipe {
    /// Takes what was handed over, or asks for it.
    #[inline(always)]
    fn read(
        &mut self,
        buf: &mut [u8],
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Poll<io::Result<usize>> {
        if self.state == HalfPipeState::Reset {
            return Poll::Ready(Err(Cause::ConnReset.into()));
        }
        let available = &self.data[self.read_count..];
        if !available.is_empty() {
            let count = available.len().min(buf.len());
            buf[..count].copy_from_slice(&available[..count]);
            self.read_count += count;
            if self.read_count == self.data.len() {
                self.data.clear();
                self.read_count = 0;
            }
            return Poll::Ready(Ok(count));
        }
        if self.state == HalfPipeState::Closed {
            return Poll::Ready(Ok(0));
        }
        self.requested = buf.len();
        self.readers.register(waker, wakers);
        self.writers.wake(wakers);
        Poll::Pending
    }

    /// Hands over as much as was asked for.
    #[inline(always)]
    fn write(
        &mut self,
        buf: &[u8],
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Poll<io::Result<usize>> {
        match self.state {
            HalfPipeState::Open => {}
            HalfPipeState::Closed => return Poll::Ready(Err(Cause::ClosedPipe.into())),
            HalfPipeState::Reset => return Poll::Ready(Err(Cause::ConnReset.into())),
        }
        if self.requested == 0 {
            self.writers.register(waker, wakers);
            return Poll::Pending;
        }
        let count = self.requested.min(buf.len());
        self.data.extend_from_slice(&buf[..count]);
        self.requested = 0;
        self.readers.wake(wakers);
        Poll::Ready(Ok(count))
    }
}

impl HalfPipe {
    /// See [`RawConn::readiness`].
    #[cold]
    fn readiness(&self, is_write: bool, waker: &Waker) -> Readiness {
        let (is_ready, waiters) = match is_write {
            true => (self.state == HalfPipeState::Open && self.requested > 0, &self.writers),
            false => (self.state != HalfPipeState::Reset && !self.data.is_empty(), &self.readers),
        };
        match self.state {
            _ if is_ready => Readiness::Ready,
            HalfPipeState::Closed | HalfPipeState::Reset => Readiness::Ended,
            HalfPipeState::Open if waiters.contains(waker) => Readiness::Waiting,
            HalfPipeState::Open => Readiness::WouldWait,
        }
    }
}

impl RawConn for PipeEndpoint {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let (direction, mut wakers) = (self.read_direction(), DeferredWakes::default());
        let read = self.pipe.with(|pipe| pipe.half(direction).read(buf, cx.waker(), &mut wakers));
        wakers.wake();
        read
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let (direction, mut wakers) = (self.direction, DeferredWakes::default());
        let written =
            self.pipe.with(|pipe| pipe.half(direction).write(buf, cx.waker(), &mut wakers));
        wakers.wake();
        written
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A write returns when the reader has its bytes.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut_directions([self.direction], HalfPipeState::Closed);
        Poll::Ready(Ok(()))
    }

    fn readiness(&self, is_write: bool, waker: &Waker) -> Option<Readiness> {
        let direction = if is_write { self.direction } else { self.read_direction() };
        self.pipe.try_with(|pipe| pipe.half(direction).readiness(is_write, waker))
    }

    fn abort(&self) {
        self.shut_directions([self.direction, self.read_direction()], HalfPipeState::Reset);
    }

    fn close(&self) {
        self.shut_directions([self.direction, self.read_direction()], HalfPipeState::Closed);
    }
}

impl fmt::Debug for PipeEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeEnd").field("direction", &self.direction).finish_non_exhaustive()
    }
}
