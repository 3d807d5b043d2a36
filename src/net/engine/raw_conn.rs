//! [`RawConn`]: one endpoint of a connection, as its engine made it.

use std::io;
use std::task::{Context, Poll, Waker};

use crate::net::addr::Addr;
#[cfg(feature = "os")]
use crate::net::error::Cause;

/// One endpoint of a connection, as the engine made it.
///
/// All methods take `&self`: several tasks may read and write at once, and a lock around
/// `&mut self` would be the largest cost of a read. An implementation wakes *every* waiting task,
/// not only the last one that polled.
///
/// After [`close`](RawConn::close) or [`abort`](RawConn::abort) no poll of this endpoint may return
/// `Pending`. An `io::Error` that holds a [`Cause`](crate::net::Cause) counts as that cause; any
/// other is translated by its kind, or becomes [`Cause::Engine`](crate::net::Cause::Engine).
pub trait RawConn: Send + Sync + 'static {
    /// Reads into `buf`, which is not empty; 0 bytes are the end of the stream.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `buf`, which is not empty.
    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;

    /// Waits until what was written is on its way.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Half-closes: what was written is delivered, then the other end reads the end of the
    /// stream, while reading here goes on. The first poll must set it going.
    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Gives the address of this end where it is not the port of a host: that of a socket of the
    /// operating system. Not kept beside every connection, because nearly none has one.
    #[doc(hidden)]
    fn local_addr(&self) -> Option<Addr> {
        None
    }

    /// Tells what a read or a write would come to, without doing it; `None` where that is unknown.
    #[doc(hidden)]
    fn readiness(&self, is_write: bool, waker: &Waker) -> Option<Readiness> {
        let _ = (is_write, waker);
        None
    }

    /// Tears the connection down at once: nothing more is delivered, all who wait are woken.
    fn abort(&self);

    /// Closes both ways in good order, at once: what was written is still delivered, then the
    /// other end reads the end of the stream and can write no more. All who wait on this end are
    /// woken.
    ///
    /// This is what closing a connection, a host or a network does to it. An engine that buffers
    /// must have its own; the one provided is for those that do not.
    fn close(&self) {
        self.abort();
    }
}

/// The result that a read or a write would have; asked when a stall is explained.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It moves bytes.
    Ready,
    /// It gives the end of the stream or an error, now and from now on.
    Ended,
    /// It is pending, and this waker is kept already.
    Waiting,
    /// It is pending, and this waker would be kept.
    WouldWait,
}

/// Is where connections of another network come in: a listening socket of the operating system, or
/// a listener that something is wrapped around.
///
/// Whoever accepts takes them out of it; nothing goes on behind the back of the program. Every
/// waiting task is woken, not only the last to poll.
#[cfg(feature = "os")]
pub(crate) trait RawListener: Send + Sync + 'static {
    /// Takes the next connection, with the address of the other end.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<ExternalConn, Cause>>;

    /// Takes no more, and wakes all who wait.
    fn close(&self);
}

/// One endpoint of a connection that was accepted elsewhere, with the address of its peer.
#[cfg(feature = "os")]
pub(crate) struct ExternalConn {
    pub(crate) raw: Box<dyn RawConn>,
    pub(crate) peer: Addr,
}
