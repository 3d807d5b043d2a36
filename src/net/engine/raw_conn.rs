//! Raw connections: the endpoints that engines make and hand over.
//!
//! An endpoint is either a boxed [`RawConn`] or an entry in a table that the engine owns. The
//! table form avoids an allocation per endpoint and a pointer to follow on each read and write.

use std::io;
use std::task::{Context, Poll, Waker};

use crate::net::addr::Addr;
#[cfg(feature = "os")]
use crate::net::error::Cause;

/// Is one end of a connection, as the engine made it.
///
/// All methods take `&self`: a connection is read and written at once, by several tasks if they
/// like, and a lock around `&mut self` would be the dearest part of a read. For the same reason
/// *every* waiting task is woken, not only the last to poll.
///
/// After [`close`](RawConn::close) or [`abort`](RawConn::abort) no poll on this end may return
/// `Pending`. An `io::Error` that holds a [`Cause`] is that cause; else it is taken by its kind;
/// else it becomes [`Cause::Engine`].
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

/// What a read or a write would come to; asked when a stall is explained.
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

/// One end of a connection, as an engine has handed it over.
pub(crate) enum ConnHandle {
    Boxed(Box<dyn RawConn>),
    Table(TableConn),
}

/// An end that its engine keeps among all others, where no box has to be made for it, and none to
/// be loaded before it can be used: among ten thousand clients that is an eighth of the time.
pub(crate) struct TableConn(FastConn);

/// The way to an end that is kept, for who wants to go it without a look at what owns that.
#[derive(Clone, Copy)]
pub(crate) struct FastConn {
    conn: ConnRef,
    table: &'static dyn ConnTable,
}

/// Where an end is kept: in which run, and where there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConnRef {
    pub(crate) run: u64,
    pub(crate) number: u64,
}

/// Does for an end at a place what a [`RawConn`] does for itself.
pub(crate) trait ConnTable: Send + Sync {
    fn poll_read(
        &self,
        conn: ConnRef,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>>;

    fn poll_write(
        &self,
        conn: ConnRef,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>>;

    /// Reads something, or lets the task that is polled wait for it, if nothing whatever is the
    /// matter with the connection: never when this end is closed.
    fn try_read_fast(
        &self,
        conn: ConnRef,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Option<Poll<usize>>;

    /// Writes something, if nothing whatever is the matter with the connection.
    fn try_write_fast(&self, conn: ConnRef, buf: &[u8]) -> Option<usize>;

    /// See [`RawConn::readiness`].
    fn readiness(&self, conn: ConnRef, is_write: bool, waker: &Waker) -> Readiness;

    /// Half-closes.
    fn half_close(&self, conn: ConnRef);

    fn abort(&self, conn: ConnRef);

    fn close(&self, conn: ConnRef);

    /// Lets go of an end, after having closed it or else tearing it down.
    fn release(&self, conn: ConnRef, graceful: bool);
}

impl FastConn {
    #[inline]
    pub(crate) fn read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Option<Poll<usize>> {
        self.table.try_read_fast(self.conn, cx, buf)
    }

    #[inline]
    pub(crate) fn write(&self, buf: &[u8]) -> Option<usize> {
        self.table.try_write_fast(self.conn, buf)
    }
}

impl ConnHandle {
    pub(crate) const fn fast_conn(&self) -> Option<FastConn> {
        match self {
            Self::Table(TableConn(fast)) => Some(*fast),
            Self::Boxed(_) => None,
        }
    }

    pub(crate) const fn in_table(index: ConnRef, table: &'static dyn ConnTable) -> Self {
        Self::Table(TableConn(FastConn { conn: index, table }))
    }

    #[inline]
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Table(TableConn(FastConn { conn: index, table })) => {
                table.poll_read(*index, cx, buf)
            }
            Self::Boxed(raw) => raw.poll_read(cx, buf),
        }
    }

    #[inline]
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Table(TableConn(FastConn { conn: index, table })) => {
                table.poll_write(*index, cx, buf)
            }
            Self::Boxed(raw) => raw.poll_write(cx, buf),
        }
    }

    /// What a write to an end that is kept has returned for is on its way.
    #[inline]
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Table(_) => Poll::Ready(Ok(())),
            Self::Boxed(raw) => raw.poll_flush(cx),
        }
    }

    pub(crate) fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Table(TableConn(FastConn { conn: index, table })) => {
                table.half_close(*index);
                Poll::Ready(Ok(()))
            }
            Self::Boxed(raw) => raw.poll_close(cx),
        }
    }

    /// See [`RawConn::readiness`].
    pub(crate) fn readiness(&self, is_write: bool, waker: &Waker) -> Option<Readiness> {
        match self {
            Self::Table(TableConn(FastConn { conn: index, table })) => {
                Some(table.readiness(*index, is_write, waker))
            }
            Self::Boxed(raw) => raw.readiness(is_write, waker),
        }
    }

    pub(crate) fn local_addr(&self) -> Option<Addr> {
        match self {
            Self::Table(_) => None,
            Self::Boxed(raw) => raw.local_addr(),
        }
    }

    pub(crate) fn abort(&self) {
        match self {
            Self::Table(TableConn(FastConn { conn: index, table })) => table.abort(*index),
            Self::Boxed(raw) => raw.abort(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Self::Table(TableConn(FastConn { conn: index, table })) => table.close(*index),
            Self::Boxed(raw) => raw.close(),
        }
    }

    /// Closes, just before it is dropped.
    #[inline]
    pub(crate) fn close_on_drop(&mut self) {
        match self {
            Self::Table(retained) => retained.release(true),
            Self::Boxed(raw) => raw.close(),
        }
    }
}

impl TableConn {
    /// Where an end is that has been let go.
    const RELEASED: ConnRef = ConnRef { run: 0, number: u64::MAX };

    #[inline]
    fn release(&mut self, graceful: bool) {
        let Self(FastConn { conn: index, table }) = self;
        table.release(*index, graceful);
        *index = Self::RELEASED;
    }
}

impl Drop for TableConn {
    #[inline]
    fn drop(&mut self) {
        // What was never closed belonged to a connection that did not come about.
        if self.0.conn != Self::RELEASED {
            self.release(false);
        }
    }
}

impl From<Box<dyn RawConn>> for ConnHandle {
    fn from(raw: Box<dyn RawConn>) -> Self {
        Self::Boxed(raw)
    }
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

/// One end of a connection, as somebody else made it.
#[cfg(feature = "os")]
pub(crate) struct ExternalConn {
    pub(crate) raw: Box<dyn RawConn>,
    pub(crate) peer: Addr,
}
