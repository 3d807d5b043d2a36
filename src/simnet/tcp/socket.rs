//! [`SimConnTable`]: the endpoints of simulated connections, as `net` uses them.
//!
//! An endpoint is the number of its connection and the index of the end. All else is in the state
//! of the simulated networks.

use std::io;
use std::task::{Context, Poll, Waker};

use crate::net::{Cause, ConnHandle, ConnRef, ConnTable, DeferredWakes, Readiness};

use crate::simnet::state::{enter, enter_state, try_enter, with_state};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{Connection, EndpointState, FastRead};

/// All ends of simulated connections.
struct SimConnTable;

/// One of them: the number of its connection, and in the upper half which end it is.
#[derive(Clone, Copy)]
struct SimEndpoint(ConnRef);

/// An end of a connection of the fabric: 0 is the dialer's, 1 the accepter's.
pub(crate) fn endpoint(run: u64, conn: u32, end: u8) -> ConnHandle {
    let number = u64::from(end & 1) << 32 | u64::from(conn);
    ConnHandle::in_table(ConnRef { run, number }, &SimConnTable)
}

impl SimEndpoint {
    #[inline]
    fn with<R>(self, work: impl FnOnce(&mut ConnCtx<'_>, usize) -> R) -> R {
        enter(self.0.run, |state, world| match state.conn_ctx(self.conn_index(), world) {
            Some(mut ctx) => work(&mut ctx, self.end_index()),
            None => unreachable!("a connection lives as long as either of its ends"),
        })
    }

    /// Which end it is; said so that nobody has to look again whether there is such an end.
    #[inline]
    fn end_index(self) -> usize {
        (self.0.number >> 32) as usize & 1
    }

    #[inline]
    fn conn_index(self) -> usize {
        self.0.number as u32 as usize
    }

    /// Works on the connection while its run goes on and has not begun to end.
    fn try_with(self, work: impl FnOnce(&mut ConnCtx<'_>, usize)) {
        try_enter(self.0.run, |state, world| {
            if world.is_running()
                && let Some(mut ctx) = state.conn_ctx(self.conn_index(), world)
            {
                work(&mut ctx, self.end_index());
            }
        });
    }
}

impl SimEndpoint {
    /// Works on the connection without a look at the world.
    #[inline]
    fn with_conn<R>(self, work: impl FnOnce(&mut Connection, usize) -> R) -> R {
        enter_state(self.0.run, |state| match state.conns.get_used(self.conn_index()) {
            Some(conn) => work(conn, self.end_index()),
            None => unreachable!("a connection lives as long as either of its ends"),
        })
    }

    /// Lets whoever has this waker wait until the pipe is to be looked at again. Nothing happens
    /// between the look and this; and as the world is back in its place, whoever else waits there
    /// can be woken if there are too many.
    #[inline]
    fn wait<T>(self, cx: &Context<'_>, is_write: bool) -> Poll<T> {
        let mut wakes = DeferredWakes::default();
        self.with_conn(|conn, end| {
            let waiters = if is_write {
                &mut conn.halves[end].writers.get_or_insert_default().wait_list
            } else {
                &mut conn.halves[1 - end].readers
            };
            waiters.register(cx.waker(), &mut wakes);
        });
        wakes.wake();
        Poll::Pending
    }
}

#[cold]
fn endpoint_error(state: EndpointState) -> io::Error {
    state.cause().unwrap_or(Cause::BrokenPipe).into()
}

impl ConnTable for SimConnTable {
    fn poll_read(
        &self,
        conn_ref: ConnRef,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match SimEndpoint(conn_ref).with(|ctx, end| ctx.read(end, buf)) {
            Some(read) => Poll::Ready(read.map_err(endpoint_error)),
            None => SimEndpoint(conn_ref).wait(cx, false),
        }
    }

    fn poll_write(
        &self,
        conn_ref: ConnRef,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match SimEndpoint(conn_ref).with(|ctx, end| ctx.write(end, buf)) {
            Some(written) => Poll::Ready(written.map_err(endpoint_error)),
            None => SimEndpoint(conn_ref).wait(cx, true),
        }
    }

    fn try_read_fast(
        &self,
        conn_ref: ConnRef,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Option<Poll<usize>> {
        let (index, end) = (SimEndpoint(conn_ref).conn_index(), SimEndpoint(conn_ref).end_index());
        let fast_read = with_state(conn_ref.run, |state| match state.conns.get_used(index) {
            Some(conn) => conn.try_read_fast(end, buf, cx.waker()),
            None => FastRead::Slow,
        });
        match fast_read {
            Some(FastRead::Read(count)) => Some(Poll::Ready(count)),
            Some(FastRead::Empty) => Some(Poll::Pending),
            Some(FastRead::Slow) | None => None,
            Some(FastRead::ReadAndUpdate(count)) => {
                SimEndpoint(conn_ref).with(|ctx, end| ctx.advertise(1 - end));
                Some(Poll::Ready(count))
            }
            Some(FastRead::Corrupt(corrupted)) => {
                SimEndpoint(conn_ref).with(|ctx, end| ctx.panic_corrupt(1 - end, corrupted))
            }
        }
    }

    fn try_write_fast(&self, conn_ref: ConnRef, buf: &[u8]) -> Option<usize> {
        let (index, end) = (SimEndpoint(conn_ref).conn_index(), SimEndpoint(conn_ref).end_index());
        try_enter(conn_ref.run, |state, world| {
            state.conns.get_used(index)?.try_write_fast(index, end, buf, world)
        })?
    }

    #[cold]
    fn readiness(&self, conn_ref: ConnRef, is_write: bool, waker: &Waker) -> Readiness {
        SimEndpoint(conn_ref).with(|ctx, end| ctx.readiness(end, is_write, waker))
    }

    fn half_close(&self, conn_ref: ConnRef) {
        SimEndpoint(conn_ref).try_with(|ctx, end| ctx.half_close(end));
    }

    fn abort(&self, conn_ref: ConnRef) {
        SimEndpoint(conn_ref).try_with(|ctx, end| ctx.abort(end));
    }

    fn close(&self, conn_ref: ConnRef) {
        SimEndpoint(conn_ref).try_with(|ctx, end| ctx.close(end));
    }

    fn release(&self, conn_ref: ConnRef, graceful: bool) {
        let endpoint_index =
            (SimEndpoint(conn_ref).conn_index(), SimEndpoint(conn_ref).end_index());
        try_enter(conn_ref.run, |state, world| {
            state.release_endpoint(world, endpoint_index, graceful);
        });
    }
}
