//! The ends of simulated connections, as the layer above uses them.
//!
//! Knows the number of a connection and which end it is. All else is in the fabric.

use std::io;
use std::task::{Context, Poll, Waker};

use crate::net::{Cause, Keeper, Outlook, Place, RawEnd, Wakers};

use crate::simnet::state::{enter, enter_fabric, try_enter, with_fabric};
use crate::simnet::tcp::connection::{Connection, Fate, Glance};
use crate::simnet::tcp::transfer::Transit;

/// All ends of simulated connections.
struct Ends;

/// One of them: the number of its connection, and in the upper half which end it is.
#[derive(Clone, Copy)]
struct End(Place);

/// An end of a connection of the fabric: 0 is the dialer's, 1 the accepter's.
pub(crate) fn end_of(run: u64, conn: u32, end: u8) -> RawEnd {
    let number = u64::from(end & 1) << 32 | u64::from(conn);
    RawEnd::kept(Place { run, number }, &Ends)
}

impl End {
    #[inline]
    fn with<R>(self, work: impl FnOnce(&mut Transit<'_>, usize) -> R) -> R {
        enter(self.0.run, |fabric, world| match fabric.transit(self.conn(), world) {
            Some(mut transit) => work(&mut transit, self.end()),
            None => unreachable!("a connection lives as long as either of its ends"),
        })
    }

    /// Which end it is; said so that nobody has to look again whether there is such an end.
    #[inline]
    fn end(self) -> usize {
        (self.0.number >> 32) as usize & 1
    }

    #[inline]
    fn conn(self) -> usize {
        self.0.number as u32 as usize
    }

    /// Works on the connection while its run goes on and has not begun to end.
    fn try_with(self, work: impl FnOnce(&mut Transit<'_>, usize)) {
        try_enter(self.0.run, |fabric, world| {
            if world.is_running()
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
    fn with_conn<R>(self, work: impl FnOnce(&mut Connection, usize) -> R) -> R {
        enter_fabric(self.0.run, |fabric| match fabric.conns.owned(self.conn()) {
            Some(conn) => work(conn, self.end()),
            None => unreachable!("a connection lives as long as either of its ends"),
        })
    }

    /// Lets whoever has this waker wait until the pipe is to be looked at again. Nothing happens
    /// between the look and this; and as the world is back in its place, whoever else waits there
    /// can be woken if there are too many.
    #[inline]
    fn wait<T>(self, cx: &Context<'_>, writes: bool) -> Poll<T> {
        let mut outside = Wakers::default();
        self.with_conn(|conn, end| {
            let waiters = if writes {
                &mut conn.pipes[end].writers.get_or_insert_default().waiting
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

impl Keeper for Ends {
    fn poll_read(
        &self,
        at: Place,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match End(at).with(|transit, end| transit.read(end, buf)) {
            Some(read) => Poll::Ready(read.map_err(failed)),
            None => End(at).wait(cx, false),
        }
    }

    fn poll_write(&self, at: Place, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match End(at).with(|transit, end| transit.write(end, buf)) {
            Some(written) => Poll::Ready(written.map_err(failed)),
            None => End(at).wait(cx, true),
        }
    }

    fn read_plainly(&self, at: Place, cx: &mut Context<'_>, buf: &mut [u8]) -> Option<Poll<usize>> {
        let (index, end) = (End(at).conn(), End(at).end());
        let glance = with_fabric(at.run, |fabric| match fabric.conns.owned(index) {
            Some(conn) => conn.glance(end, buf, cx.waker()),
            None => Glance::Odd,
        });
        match glance {
            Some(Glance::Read(count)) => Some(Poll::Ready(count)),
            Some(Glance::Empty) => Some(Poll::Pending),
            Some(Glance::Odd) | None => None,
            Some(Glance::Much(count)) => {
                End(at).with(|transit, end| transit.announce(1 - end));
                Some(Poll::Ready(count))
            }
            Some(Glance::Corrupt(corrupted)) => {
                End(at).with(|transit, end| transit.corrupted(1 - end, corrupted))
            }
        }
    }

    fn write_plainly(&self, at: Place, buf: &[u8]) -> Option<usize> {
        let (index, end) = (End(at).conn(), End(at).end());
        try_enter(at.run, |fabric, world| {
            fabric.conns.owned(index)?.write_plainly(index, end, buf, world)
        })?
    }

    #[cold]
    fn outlook(&self, at: Place, writes: bool, waker: &Waker) -> Outlook {
        End(at).with(|transit, end| transit.outlook(end, writes, waker))
    }

    fn finish(&self, at: Place) {
        End(at).try_with(|transit, end| transit.finish(end));
    }

    fn abort(&self, at: Place) {
        End(at).try_with(|transit, end| transit.abort(end));
    }

    fn close(&self, at: Place) {
        End(at).try_with(|transit, end| transit.close(end));
    }

    fn let_go(&self, at: Place, closes: bool) {
        let place = (End(at).conn(), End(at).end());
        try_enter(at.run, |fabric, world| fabric.let_go(world, place, closes));
    }
}
