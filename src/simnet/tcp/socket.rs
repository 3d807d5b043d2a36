//! [`SimConn`]: one endpoint of a simulated connection, as `net` uses it.
//!
//! It consists of numbers. The state of the connection is in the state of the simulated networks.

use std::io;
use std::task::{Context, Poll, Waker};

use crate::net::{Cause, DeferredWakes, RawConn, Readiness};

use crate::simnet::state::{enter, enter_state, try_enter};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::EndpointState;

/// One endpoint of a simulated connection. Dropping it releases the endpoint; an endpoint that was
/// not closed before is reset, because its connection did not come about.
pub(crate) struct SimConn {
    run: u64,
    conn: u32,
    end: u32,
}

impl SimConn {
    /// Gives an endpoint of a connection: 0 is the dialer's, 1 the acceptor's.
    pub(crate) fn boxed(run: u64, conn: u32, end: u32) -> Box<dyn RawConn> {
        Box::new(Self { run, conn, end })
    }

    #[inline]
    const fn conn_index(&self) -> usize {
        self.conn as usize
    }

    /// Masked, so that no bounds check is needed where it is used.
    #[inline]
    const fn end_index(&self) -> usize {
        self.end as usize & 1
    }

    fn with<R>(&self, work: impl FnOnce(&mut ConnCtx<'_>, usize) -> R) -> R {
        enter(self.run, |state, world| match state.conn_ctx(self.conn_index(), world) {
            Some(mut ctx) => work(&mut ctx, self.end_index()),
            None => unreachable!("a connection lives as long as either of its ends"),
        })
    }

    /// Works on the connection if its run is in progress.
    fn try_with(&self, work: impl FnOnce(&mut ConnCtx<'_>, usize)) {
        try_enter(self.run, |state, world| {
            if world.is_running()
                && let Some(mut ctx) = state.conn_ctx(self.conn_index(), world)
            {
                work(&mut ctx, self.end_index());
            }
        });
    }

    /// Keeps the waker until the stream changes. Nothing happens between the look at the stream and
    /// this. The world is not borrowed any more, so that other waiters can be woken if there are
    /// too many.
    #[cold]
    fn wait<T>(&self, cx: &Context<'_>, is_write: bool) -> Poll<T> {
        let mut wakes = DeferredWakes::default();
        enter_state(self.run, |state| {
            let Some(conn) = state.conns.get_used(self.conn_index()) else {
                unreachable!("a connection lives as long as either of its ends")
            };
            let waiters = if is_write {
                &mut conn.halves[self.end_index()].writers.get_or_insert_default().wait_list
            } else {
                &mut conn.halves[1 - self.end_index()].readers
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

impl RawConn for SimConn {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = self.with(|ctx, end| match ctx.read(end, buf) {
            Some(read) => Some(Poll::Ready(read)),
            None => {
                let readers = &mut ctx.conn.halves[1 - end].readers;
                readers.register_sole_task(cx.waker()).then_some(Poll::Pending)
            }
        });
        match polled {
            Some(polled) => polled.map_err(endpoint_error),
            None => self.wait(cx, false),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.with(|ctx, end| ctx.write(end, buf)) {
            Some(written) => Poll::Ready(written.map_err(endpoint_error)),
            None => self.wait(cx, true),
        }
    }

    /// Written bytes are in flight already.
    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.try_with(|ctx, end| ctx.half_close(end));
        Poll::Ready(Ok(()))
    }

    #[cold]
    fn readiness(&self, is_write: bool, waker: &Waker) -> Option<Readiness> {
        Some(self.with(|ctx, end| ctx.readiness(end, is_write, waker)))
    }

    fn abort(&self) {
        self.try_with(|ctx, end| ctx.abort(end));
    }

    fn close(&self) {
        self.try_with(|ctx, end| ctx.close(end));
    }
}

impl Drop for SimConn {
    fn drop(&mut self) {
        let endpoint = (self.conn_index(), self.end_index());
        try_enter(self.run, |state, world| state.release_endpoint(world, endpoint));
    }
}
