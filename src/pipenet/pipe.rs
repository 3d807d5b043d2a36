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
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use crate::net::{Cause, RawConn, Wakers, lock};

/// Makes a pipe, and gives its two ends.
pub(crate) fn pipe() -> (End, End) {
    let pipe = Arc::new(Pipe {
        there: Mutex::default(),
        back: Mutex::default(),
    });
    (
        End {
            pipe: pipe.clone(),
            first: true,
        },
        End { pipe, first: false },
    )
}

/// Both directions; one lock each, and one lock an operation.
#[derive(Debug)]
struct Pipe {
    there: Mutex<Direction>,
    back: Mutex<Direction>,
}

/// What is on its way from one end to the other.
#[derive(Debug, Default)]
struct Direction {
    /// How much the reader has asked for and not been handed; not 0 only while `handed` is empty.
    asked: usize,
    /// What the writer has handed over; the vector is used again for every message.
    handed: Vec<u8>,
    /// How much of `handed` has been read.
    taken: usize,
    state: State,
    readers: Wakers,
    writers: Wakers,
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
pub(crate) struct End {
    pipe: Arc<Pipe>,
    first: bool,
}

impl End {
    /// Gives the direction in which this end writes.
    fn outgoing(&self) -> MutexGuard<'_, Direction> {
        lock(if self.first {
            &self.pipe.there
        } else {
            &self.pipe.back
        })
    }

    /// Gives the direction from which this end reads.
    fn incoming(&self) -> MutexGuard<'_, Direction> {
        lock(if self.first {
            &self.pipe.back
        } else {
            &self.pipe.there
        })
    }
}

impl Direction {
    /// Ends the direction, and says who is to be woken: everybody.
    fn end(&mut self, state: State) -> (Wakers, Wakers) {
        if self.state != State::Reset {
            self.state = state;
        }
        (self.readers.take(), self.writers.take())
    }
}

impl RawConn for End {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut way = self.incoming();
        if way.state == State::Reset {
            return Poll::Ready(Err(Cause::ConnReset.into()));
        }
        let ready = &way.handed[way.taken..];
        if !ready.is_empty() {
            let count = ready.len().min(buf.len());
            buf[..count].copy_from_slice(&ready[..count]);
            way.taken += count;
            if way.taken == way.handed.len() {
                way.handed.clear();
                way.taken = 0;
            }
            return Poll::Ready(Ok(count));
        }
        if way.state == State::Closed {
            return Poll::Ready(Ok(0));
        }
        way.asked = buf.len();
        way.readers.keep(cx.waker());
        let writers = way.writers.take();
        drop(way);
        writers.wake();
        Poll::Pending
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut way = self.outgoing();
        match way.state {
            State::Open => {}
            State::Closed => return Poll::Ready(Err(Cause::ClosedPipe.into())),
            State::Reset => return Poll::Ready(Err(Cause::ConnReset.into())),
        }
        if way.asked == 0 {
            way.writers.keep(cx.waker());
            return Poll::Pending;
        }
        let count = way.asked.min(buf.len());
        way.handed.extend_from_slice(&buf[..count]);
        way.asked = 0;
        let readers = way.readers.take();
        drop(way);
        readers.wake();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What a write has returned for is in the reader's hands.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (readers, writers) = self.outgoing().end(State::Closed);
        readers.wake();
        writers.wake();
        Poll::Ready(Ok(()))
    }

    fn abort(&self) {
        let ends = [
            self.outgoing().end(State::Reset),
            self.incoming().end(State::Reset),
        ];
        for (readers, writers) in ends {
            readers.wake();
            writers.wake();
        }
    }

    fn close(&self) {
        let ends = [
            self.outgoing().end(State::Closed),
            self.incoming().end(State::Closed),
        ];
        for (readers, writers) in ends {
            readers.wake();
            writers.wake();
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}
