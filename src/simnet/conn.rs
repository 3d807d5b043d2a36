//! One end of a simulated connection, as the layer above uses it.
//!
//! Knows the number of a connection and which end it is. All else is in the fabric.

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use crate::net::{Cause, RawConn, Wakers};

use super::fabric::{enter, enter_fabric, try_enter};
use super::pipe::{Connection, Fate, Glance};
use super::transit::Transit;

/// One end of a simulated connection.
pub(crate) struct End {
    run: u64,
    /// The number of its connection, and in the upper half which end it is: a whole word, because
    /// what moves it about reads it as one just after it was written.
    place: u64,
}

/// Where an end is that has been let go.
const GONE: u64 = u64::MAX;

impl End {
    /// An end of a connection of the fabric: 0 is the dialer's, 1 the accepter's.
    pub(crate) fn boxed(run: u64, conn: u32, end: u8) -> Box<dyn RawConn> {
        Box::new(Self { run, place: u64::from(end & 1) << 32 | u64::from(conn) })
    }

    #[inline]
    fn with<R>(&self, work: impl FnOnce(&mut Transit<'_>, usize) -> R) -> R {
        enter(self.run, |fabric, world| match fabric.transit(self.conn(), world) {
            Some(mut transit) => work(&mut transit, self.end()),
            None => unreachable!("a connection lives as long as either of its ends"),
        })
    }

    /// Which end it is; said so that nobody has to look again whether there is such an end.
    #[inline]
    fn end(&self) -> usize {
        (self.place >> 32) as usize & 1
    }

    #[inline]
    fn conn(&self) -> usize {
        self.place as u32 as usize
    }

    /// Works on the connection while its run goes on and has not begun to end.
    fn try_with(&self, work: impl FnOnce(&mut Transit<'_>, usize)) {
        try_enter(self.run, |fabric, world| {
            if world.runs()
                && let Some(mut transit) = fabric.transit(self.conn(), world)
            {
                work(&mut transit, self.end());
            }
        });
    }
}

impl End {
    /// Works on the connection without a look at the world.
    #[inline]
    fn with_conn<R>(&self, work: impl FnOnce(&mut Connection, usize) -> R) -> R {
        enter_fabric(self.run, |fabric| match fabric.conns.owned(self.conn()) {
            Some(conn) => work(conn, self.end()),
            None => unreachable!("a connection lives as long as either of its ends"),
        })
    }

    /// Reads where a look at the connection alone would not do.
    #[cold]
    fn read_with_care(
        &self,
        cx: &Context<'_>,
        glance: Glance,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = self.with(|transit, end| match glance {
            Glance::Much(count) => {
                transit.announce(1 - end);
                Some(Ok(count))
            }
            Glance::Corrupt(corrupted) => transit.corrupted(1 - end, corrupted),
            Glance::Read(_) | Glance::Empty | Glance::Odd => transit.read(end, buf),
        });
        match read {
            Some(read) => Poll::Ready(read.map_err(failed)),
            None => self.wait(cx, false),
        }
    }

    /// Lets whoever has this waker wait until the pipe is to be looked at again. Nothing happens
    /// between the look and this; and as the world is back in its place, whoever else waits there
    /// can be woken if there are too many.
    #[inline]
    fn wait<T>(&self, cx: &Context<'_>, writes: bool) -> Poll<T> {
        let mut outside = Wakers::default();
        self.with_conn(|conn, end| {
            let waiters = if writes {
                &mut **conn.pipes[end].writers.get_or_insert_default()
            } else {
                &mut conn.pipes[1 - end].readers
            };
            waiters.keep(cx.waker(), &mut outside);
        });
        outside.wake();
        Poll::Pending
    }
}

#[cold]
fn failed(fate: Fate) -> io::Error {
    fate.cause().unwrap_or(Cause::BrokenPipe).into()
}

impl RawConn for End {
    #[inline]
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.with_conn(|conn, end| conn.glance(end, buf, cx.waker())) {
            Glance::Read(count) => Poll::Ready(Ok(count)),
            Glance::Empty => Poll::Pending,
            glance => self.read_with_care(cx, glance, buf),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let (index, end) = (self.conn(), self.end());
        let written = enter(self.run, |fabric, world| match fabric.conns.owned(index) {
            Some(conn) => match conn.write_plainly(index, end, buf, world) {
                Some(count) => Some(Ok(count)),
                None => fabric.transit(index, world)?.write(end, buf),
            },
            None => unreachable!("a connection lives as long as either of its ends"),
        });
        match written {
            Some(Ok(count)) => Poll::Ready(Ok(count)),
            Some(Err(fate)) => Poll::Ready(Err(failed(fate))),
            None => self.wait(cx, true),
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

    fn retire(&mut self) {
        self.let_go(true);
    }
}

impl End {
    /// Lets go of the connection, after having closed it in good order or else tearing it down.
    fn let_go(&mut self, closes: bool) {
        let place = (self.conn(), self.end());
        try_enter(self.run, |fabric, world| fabric.let_go(world, place, closes));
        self.place = GONE;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // An end that was never closed belonged to a connection that did not come about.
        if self.place != GONE {
            self.let_go(false);
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("end", &self.end()).finish_non_exhaustive()
    }
}
