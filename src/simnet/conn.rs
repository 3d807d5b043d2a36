//! One end of a simulated connection, as the layer above uses it.
//!
//! Knows the number of a connection and which end it is. All else is in the fabric.

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use crate::net::{Cause, RawConn, Wakers};

use super::fabric::{enter, try_enter};
use super::pipe::Fate;
use super::transit::Transit;

/// One end of a simulated connection.
pub(crate) struct End {
    run: u64,
    conn: u32,
    /// 0 is the dialer's, 1 the accepter's.
    end: u8,
}

impl End {
    /// Both ends of a connection of the fabric.
    pub(crate) fn both(run: u64, conn: usize) -> (Self, Self) {
        let conn = conn as u32;
        (Self { run, conn, end: 0 }, Self { run, conn, end: 1 })
    }

    #[inline]
    fn with<R>(&self, work: impl FnOnce(&mut Transit<'_>, usize) -> R) -> R {
        enter(self.run, |fabric, world| match fabric.transit(self.conn as usize, world) {
            Some(mut transit) => work(&mut transit, self.end.into()),
            None => unreachable!("a connection lives as long as either of its ends"),
        })
    }

    /// Works on the connection while its run goes on and has not begun to end.
    fn try_with(&self, work: impl FnOnce(&mut Transit<'_>, usize)) {
        try_enter(self.run, |fabric, world| {
            if world.runs()
                && let Some(mut transit) = fabric.transit(self.conn as usize, world)
            {
                work(&mut transit, self.end.into());
            }
        });
    }
}

fn failed(fate: Fate) -> io::Error {
    fate.cause().unwrap_or(Cause::BrokenPipe).into()
}

impl RawConn for End {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut outside = Wakers::default();
        let read = self.with(|transit, end| {
            let read = transit.read(end, buf);
            if read.is_none() {
                transit.conn.pipes[1 - end].readers.keep(cx.waker(), &mut outside);
            }
            read
        });
        outside.wake();
        match read {
            None => Poll::Pending,
            Some(read) => Poll::Ready(read.map_err(failed)),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut outside = Wakers::default();
        let written = self.with(|transit, end| {
            let written = transit.write(end, buf);
            if written.is_none() {
                transit.conn.pipes[end].writers.keep(cx.waker(), &mut outside);
            }
            written
        });
        outside.wake();
        match written {
            None => Poll::Pending,
            Some(written) => Poll::Ready(written.map_err(failed)),
        }
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What a write has returned for is on its way.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.try_with(|transit, end| transit.finish(end));
        Poll::Ready(Ok(()))
    }

    fn abort(&self) {
        self.try_with(|transit, end| transit.abort(end));
    }

    fn close(&self) {
        self.try_with(|transit, end| transit.close(end));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // An end that was never closed belonged to a connection that did not come about.
        try_enter(self.run, |fabric, world| {
            if !world.runs() {
                return;
            }
            let (conn, end) = (self.conn as usize, self.end.into());
            let over = fabric.transit(conn, world).is_some_and(|mut transit| transit.let_go(end));
            // A connection holds waiters: tasks of the run, or wakers of who polls by himself.
            if over {
                let conn = fabric.conns.remove(conn);
                conn.pipes.into_iter().for_each(|mut pipe| {
                    pipe.readers.drain(|waiter| world.wake_waiter(waiter));
                    pipe.writers.drain(|waiter| world.wake_waiter(waiter));
                });
            }
        });
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("end", &self.end).finish_non_exhaustive()
    }
}
