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
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use crate::net::{Cause, RawConn, Wakers, lock};

/// Makes a pipe, and gives its two ends.
pub(crate) fn pipe() -> (End, End) {
    let pipe = Arc::new(Pipe::default());
    (
        End {
            pipe: pipe.clone(),
            first: true,
        },
        End { pipe, first: false },
    )
}

/// One end of a pipe.
pub(crate) struct End {
    pipe: Arc<Pipe>,
    first: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    there: Direction,
    back: Direction,
}

/// One direction; an operation locks it once.
#[derive(Debug, Default)]
struct Direction {
    flow: Mutex<Flow>,
    reader: OnceLock<Waker>,
    writer: OnceLock<Waker>,
}

/// What is on its way.
#[derive(Debug, Default)]
struct Flow {
    /// How much the reader has asked for and not been handed; not 0 only while `handed` is empty.
    asked: usize,
    /// What the writer has handed over; the vector is used again for every message.
    handed: Vec<u8>,
    /// How much of `handed` has been read.
    taken: usize,
    state: State,
    readers: Waiting,
    writers: Waiting,
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

/// Who waits at one side of a direction.
///
/// The first task ever to wait there is its usual one, nearly always the only one, and its waker
/// is kept beside the lock for good. So it is counted neither when the task waits again nor when
/// it is woken, and is woken after the lock's end: a fifth of a ping-pong.
#[derive(Debug, Default)]
struct Waiting {
    usual: bool,
    others: Wakers,
}

impl Waiting {
    #[inline]
    fn keep(&mut self, usual: &OnceLock<Waker>, waker: &Waker) {
        if usual.get_or_init(|| waker.clone()).will_wake(waker) {
            self.usual = true;
        } else {
            self.others.keep(waker);
        }
    }

    #[inline]
    fn take(&mut self) -> Self {
        let others = if self.others.is_empty() {
            Wakers::default()
        } else {
            self.others.take()
        };
        Self {
            usual: std::mem::take(&mut self.usual),
            others,
        }
    }

    /// Wakes them all; the caller holds no lock.
    #[inline]
    fn wake(self, usual: &OnceLock<Waker>) {
        if let (true, Some(waker)) = (self.usual, usual.get()) {
            waker.wake_by_ref();
        }
        if !self.others.is_empty() {
            self.others.wake();
        }
    }
}

impl Direction {
    #[inline]
    fn poll_read(&self, waker: &Waker, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut flow = lock(&self.flow);
        if flow.state == State::Reset {
            return fail(Cause::ConnReset);
        }
        let ready = &flow.handed[flow.taken..];
        if !ready.is_empty() {
            let count = ready.len().min(buf.len());
            buf[..count].copy_from_slice(&ready[..count]);
            flow.taken += count;
            if flow.taken == flow.handed.len() {
                flow.handed.clear();
                flow.taken = 0;
            }
            return Poll::Ready(Ok(count));
        }
        if flow.state == State::Closed {
            return Poll::Ready(Ok(0));
        }
        flow.asked = buf.len();
        flow.readers.keep(&self.reader, waker);
        let writers = flow.writers.take();
        drop(flow);
        writers.wake(&self.writer);
        Poll::Pending
    }

    #[inline]
    fn poll_write(&self, waker: &Waker, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut flow = lock(&self.flow);
        match flow.state {
            State::Open => {}
            State::Closed => return fail(Cause::ClosedPipe),
            State::Reset => return fail(Cause::ConnReset),
        }
        if flow.asked == 0 {
            flow.writers.keep(&self.writer, waker);
            return Poll::Pending;
        }
        let count = flow.asked.min(buf.len());
        flow.handed.extend_from_slice(&buf[..count]);
        flow.asked = 0;
        let readers = flow.readers.take();
        drop(flow);
        readers.wake(&self.reader);
        Poll::Ready(Ok(count))
    }

    /// Ends the direction, and wakes everybody.
    fn end(&self, state: State) {
        let mut flow = lock(&self.flow);
        if flow.state != State::Reset {
            flow.state = state;
        }
        let (readers, writers) = (flow.readers.take(), flow.writers.take());
        drop(flow);
        readers.wake(&self.reader);
        writers.wake(&self.writer);
    }
}

#[cold]
fn fail(cause: Cause) -> Poll<io::Result<usize>> {
    Poll::Ready(Err(cause.into()))
}

impl End {
    /// Gives the direction in which this end writes.
    #[inline]
    fn outgoing(&self) -> &Direction {
        if self.first {
            &self.pipe.there
        } else {
            &self.pipe.back
        }
    }

    /// Gives the direction from which this end reads.
    #[inline]
    fn incoming(&self) -> &Direction {
        if self.first {
            &self.pipe.back
        } else {
            &self.pipe.there
        }
    }
}

impl RawConn for End {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.incoming().poll_read(cx.waker(), buf)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.outgoing().poll_write(cx.waker(), buf)
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What a write has returned for is in the reader's hands.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing().end(State::Closed);
        Poll::Ready(Ok(()))
    }

    fn abort(&self) {
        self.outgoing().end(State::Reset);
        self.incoming().end(State::Reset);
    }

    fn close(&self) {
        self.outgoing().end(State::Closed);
        self.incoming().end(State::Closed);
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}
