//! A pipe without a buffer: what is written is handed to whoever asks for it.
//!
//! Knows two ends and two directions. Does not know what a network is, apart from the trait by
//! which its ends are used and the causes of their errors.
//!
//! ```text
//! reader                         writer
//! asks for up to 8 bytes, waits
//!                                hands over 8 of its 12 bytes, is done with 8
//! takes 8                        (its next write waits for the next asking)
//! ```
//!
//! A reader that is dropped has asked all the same; what it is handed then is kept for the next.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::net::{Cause, DeferredWakes, RawConn, Readiness, WaitList};
use crate::util::run_cell::{RunCell, run_local};

/// Makes a pipe, and gives its two ends.
pub(crate) fn pipe() -> (Box<dyn RawConn>, Box<dyn RawConn>) {
    let pipe = Arc::new(RunCell::new(Pipe::default));
    let near = End { pipe: pipe.clone(), way: Direction::Forward };
    (Box::new(near), Box::new(End { pipe, way: Direction::Reverse }))
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

/// What is on its way from one end to the other.
#[derive(Debug, Default)]
struct HalfPipe {
    /// How much the reader has asked for and not been handed; not 0 only while `handed` is empty.
    asked: usize,
    /// What the writer has handed over; the vector is used again for every message.
    handed: Vec<u8>,
    /// How much of `handed` has been read.
    taken: usize,
    state: State,
    readers: WaitList,
    writers: WaitList,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Open,
    /// Nobody writes or takes any more; what was handed over is still read.
    Closed,
    /// Torn down; what was handed over is lost.
    Reset,
}

/// One end of a pipe.
struct End {
    pipe: Arc<RunCell<Pipe>>,
    /// The direction in which this end writes.
    way: Direction,
}

impl End {
    /// The direction in which this end reads.
    const fn from(&self) -> Direction {
        match self.way {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }

    /// Ends directions, and wakes everybody; does nothing after the run of the pipe.
    fn end<const N: usize>(&self, ways: [Direction; N], state: State) {
        let mut wakers = DeferredWakes::default();
        self.pipe.try_with(|pipe| {
            ways.into_iter().for_each(|way| pipe.half(way).end(state, &mut wakers));
        });
        wakers.wake();
    }
}

impl HalfPipe {
    /// Ends the direction, and says who is to be woken: everybody.
    fn end(&mut self, state: State, wakers: &mut DeferredWakes) {
        if self.state != State::Reset {
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
        if self.state == State::Reset {
            return Poll::Ready(Err(Cause::ConnReset.into()));
        }
        let ready = &self.handed[self.taken..];
        if !ready.is_empty() {
            let count = ready.len().min(buf.len());
            buf[..count].copy_from_slice(&ready[..count]);
            self.taken += count;
            if self.taken == self.handed.len() {
                self.handed.clear();
                self.taken = 0;
            }
            return Poll::Ready(Ok(count));
        }
        if self.state == State::Closed {
            return Poll::Ready(Ok(0));
        }
        self.asked = buf.len();
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
            State::Open => {}
            State::Closed => return Poll::Ready(Err(Cause::ClosedPipe.into())),
            State::Reset => return Poll::Ready(Err(Cause::ConnReset.into())),
        }
        if self.asked == 0 {
            self.writers.register(waker, wakers);
            return Poll::Pending;
        }
        let count = self.asked.min(buf.len());
        self.handed.extend_from_slice(&buf[..count]);
        self.asked = 0;
        self.readers.wake(wakers);
        Poll::Ready(Ok(count))
    }
}

impl HalfPipe {
    /// See [`RawConn::outlook`].
    #[cold]
    fn outlook(&self, writes: bool, waker: &Waker) -> Readiness {
        let (moves, waiters) = match writes {
            true => (self.state == State::Open && self.asked > 0, &self.writers),
            false => (self.state != State::Reset && !self.handed.is_empty(), &self.readers),
        };
        match self.state {
            _ if moves => Readiness::Moves,
            State::Closed | State::Reset => Readiness::Ended,
            State::Open if waiters.holds(waker) => Readiness::Waits,
            State::Open => Readiness::WouldWait,
        }
    }
}

impl RawConn for End {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let (from, mut wakers) = (self.from(), DeferredWakes::default());
        let read = self.pipe.with(|pipe| pipe.half(from).read(buf, cx.waker(), &mut wakers));
        wakers.wake();
        read
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let (way, mut wakers) = (self.way, DeferredWakes::default());
        let written = self.pipe.with(|pipe| pipe.half(way).write(buf, cx.waker(), &mut wakers));
        wakers.wake();
        written
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What a write has returned for is in the reader's hands.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end([self.way], State::Closed);
        Poll::Ready(Ok(()))
    }

    fn readiness(&self, writes: bool, waker: &Waker) -> Option<Readiness> {
        let way = if writes { self.way } else { self.from() };
        self.pipe.try_with(|pipe| pipe.half(way).outlook(writes, waker))
    }

    fn abort(&self) {
        self.end([self.way, self.from()], State::Reset);
    }

    fn close(&self) {
        self.end([self.way, self.from()], State::Closed);
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("way", &self.way).finish_non_exhaustive()
    }
}
