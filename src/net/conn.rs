//! [`Conn`]: one endpoint of a connection, as a program uses it.
//!
//! It reads, writes and closes, and turns every engine error into an error of the network. The
//! bytes are carried by the engine's [`RawConn`](crate::net::RawConn).

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::io::{AsyncRead, AsyncWrite};

use crate::util::stall_probe::{
    Operation, count_operation, has_progressed, is_probing, report_pending,
};

use crate::net::addr::Addr;
use crate::net::engine::raw_conn::Readiness;
use crate::net::error::{Cause, Error, Op};
use crate::net::state::host_state::{Endpoint, EndpointEvent};

/// Sees every write that succeeds; how a connection is traced.
pub(crate) type WriteObserver = Arc<dyn Fn(&Conn, &[u8]) + Send + Sync>;

/// Lets two see what one sees: a tracer may be wrapped in another.
pub(crate) fn chain(inner: Option<WriteObserver>, outer: WriteObserver) -> WriteObserver {
    match inner {
        None => outer,
        Some(inner) => Arc::new(move |conn, data| {
            inner(conn, data);
            outer(conn, data);
        }),
    }
}

/// One endpoint of a connection.
///
/// A clone is another handle to the same endpoint; it is closed when the last one drops, as by
/// [`close`](Self::close). Reads and writes go through `futures::io`'s traits, implemented for
/// `Conn` and for `&Conn`, so that several tasks can use it at once.
///
/// Errors are `io::Error`s that carry an [`Error`]. A read's `src` is the other end and its `addr`
/// this one, the way the bytes would have gone: `read pipet β:2->α:2: host is down`.
#[derive(Clone)]
pub struct Conn {
    endpoint: Arc<Endpoint>,
    observer: Option<WriteObserver>,
}

impl Conn {
    #[inline]
    pub(crate) fn new(endpoint: Arc<Endpoint>, observer: Option<WriteObserver>) -> Self {
        Self { endpoint, observer }
    }

    /// Lets every write be seen.
    pub(crate) fn with_observer(self, observer: WriteObserver) -> Self {
        let Self { endpoint, observer: inner } = self;
        Self { endpoint, observer: Some(chain(inner, observer)) }
    }

    /// Gives the address of this end; also after closing.
    pub fn local_addr(&self) -> Addr {
        self.endpoint.local_addr()
    }

    /// Gives the address of the other end; also after closing.
    pub fn peer_addr(&self) -> Addr {
        self.endpoint.peer.clone()
    }

    /// Closes both ways, at once, and gives the port back.
    ///
    /// Written bytes are still delivered; then the other end reads the end of the stream.
    /// Operations that are blocked on this end fail with `socket is down`. A second call does
    /// nothing.
    ///
    /// On TCP, real or simulated, that holds if everything that had arrived was read. Otherwise the
    /// connection is reset: bytes that have arrived at the other end stay readable, bytes in flight
    /// are lost, and then reads and writes there fail with `connection reset by peer`. Bytes that
    /// arrive at an end that is closed are answered with a reset as well. So to close on a request
    /// that was not read to its end loses the answer: half-close with [`shutdown`](Self::shutdown)
    /// and read on.
    ///
    /// # Errors
    ///
    /// None at present; closing a file or a socket can fail on other networks.
    pub fn close(&self) -> Result<(), Error> {
        self.endpoint.assert_accessible();
        self.endpoint.close();
        Ok(())
    }

    /// Closes as dropping does: anywhere, at any time.
    #[cfg(feature = "tls")]
    pub(crate) fn close_unchecked(&self) {
        self.endpoint.close();
    }

    /// Says whether it can be used: the run that made it, if one did, goes on in this thread.
    #[cfg(feature = "tls")]
    pub(crate) fn is_accessible(&self) -> bool {
        self.endpoint.host().is_accessible()
    }

    /// Half-closes: no more writes from here, while reading goes on.
    ///
    /// # Errors
    ///
    /// If this end is down, or the engine reports something.
    ///
    /// # Cancel safety
    ///
    /// Once polled the half-close is under way and dropping the future does not stop it.
    pub async fn shutdown(&self) -> io::Result<()> {
        self.endpoint.assert_accessible();
        poll_fn(|cx| self.poll_half_close(cx)).await
    }

    /// Parts the connection into a half to read and a half to write.
    ///
    /// Dropping the [`WriteHalf`] half-closes; the connection is closed when both are dropped.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf { conn: self.clone() }, WriteHalf { conn: self })
    }

    #[inline]
    fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if is_probing() {
            return self.explain_read(cx, buf);
        }
        self.poll_engine_read(cx, buf)
    }

    #[inline]
    fn poll_engine_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.endpoint.is_down() || buf.is_empty() {
            return Poll::Ready(self.check_open(Op::Read));
        }
        match self.endpoint.raw().poll_read(cx, buf) {
            Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Ok(count)),
            Poll::Ready(result) => Poll::Ready(self.end_read(result)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The result of a read that moved no bytes.
    #[cold]
    fn end_read(&self, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            // The end of the stream may be that of our own closing, as the engine sees it.
            Ok(_) => {
                self.endpoint.record_event(EndpointEvent::ReadEnded);
                self.check_open(Op::Read)
            }
            Err(error) => Err(self.map_engine_error(Op::Read, error)),
        }
    }

    #[inline]
    fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if is_probing() {
            return self.explain_write(cx, buf);
        }
        self.poll_engine_write(cx, buf)
    }

    #[inline]
    fn poll_engine_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.endpoint.is_down() || buf.is_empty() {
            return Poll::Ready(self.check_open(Op::Write));
        }
        match self.endpoint.raw().poll_write(cx, buf) {
            Poll::Ready(Ok(count)) => {
                if let Some(observer) = &self.observer {
                    observer(self, &buf[..count]);
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.map_engine_error(Op::Write, error))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if is_probing() {
            return self.explain_flush(cx);
        }
        self.check_open(Op::Write)?;
        self.map_write_error(self.endpoint.raw().poll_flush(cx))
    }

    fn poll_half_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if is_probing() {
            return self.explain_half_close(cx);
        }
        self.check_open(Op::Write)?;
        self.endpoint.record_event(EndpointEvent::HalfCloseStarted);
        self.map_write_error(self.endpoint.raw().poll_close(cx))
    }

    fn map_write_error(&self, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        polled.map(|result| result.map_err(|error| self.map_engine_error(Op::Write, error)))
    }

    /// The result of an operation that does not ask the engine: 0, or the reason why this end is
    /// down.
    #[cold]
    fn check_open(&self, op: Op) -> io::Result<usize> {
        match self.endpoint.down_cause() {
            None => Ok(0),
            Some(cause) => Err(self.error(op, cause.into())),
        }
    }

    /// Raises an engine's error to one of the network.
    #[cold]
    fn map_engine_error(&self, op: Op, error: io::Error) -> io::Error {
        // If we went down meanwhile that is the reason, whatever the engine says.
        let cause = self.endpoint.down_cause().map_or_else(|| error.into(), Cause::from);
        self.error(op, cause)
    }

    #[cold]
    fn error(&self, op: Op, cause: Cause) -> io::Error {
        self.endpoint.record_event(if op == Op::Read {
            EndpointEvent::ReadEnded
        } else {
            EndpointEvent::WriteFailed
        });
        let (src, dst) = self.direction(op);
        Error::new(op, self.endpoint.peer.network(), Some(src), Some(dst), cause).into()
    }

    /// Says from where to where the bytes of an operation go.
    fn direction(&self, op: Op) -> (Addr, Addr) {
        match op {
            Op::Read => (self.peer_addr(), self.local_addr()),
            _ => (self.local_addr(), self.peer_addr()),
        }
    }
}

/// While a stall is explained: nothing moves, and only what the program was told before is told
/// again, because it may ask for that in every poll.
impl Conn {
    #[cold]
    fn explain_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let reported = self.endpoint.has_recorded(EndpointEvent::ReadEnded);
        if let Some(polled) = self.explain_closed(Op::Read, reported, buf.is_empty()) {
            return polled;
        }
        let raw = self.endpoint.raw();
        match raw.readiness(false, cx.waker()) {
            Some(Readiness::Ended) if reported => self.poll_engine_read(cx, buf),
            Some(readiness) => self.report_pending(Op::Read, readiness),
            // A byte that another engine gives is lost, but the run is over.
            None => match raw.poll_read(cx, &mut buf[..1]) {
                Poll::Ready(Ok(0)) if reported => Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) if reported => {
                    Poll::Ready(Err(self.map_engine_error(Op::Read, error)))
                }
                Poll::Ready(_) => self.report_pending(Op::Read, Readiness::Ready),
                Poll::Pending => self.report_pending(Op::Read, Readiness::Waiting),
            },
        }
    }

    #[cold]
    fn explain_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let reported = self.endpoint.has_recorded(EndpointEvent::WriteFailed);
        if let Some(polled) = self.explain_closed(Op::Write, reported, buf.is_empty()) {
            return polled;
        }
        let raw = self.endpoint.raw();
        match raw.readiness(true, cx.waker()) {
            Some(Readiness::Ended) if reported => self.poll_engine_write(cx, buf),
            Some(readiness) => self.report_pending(Op::Write, readiness),
            None => match raw.poll_write(cx, buf) {
                Poll::Ready(Err(error)) if reported => {
                    Poll::Ready(Err(self.map_engine_error(Op::Write, error)))
                }
                Poll::Ready(_) => self.report_pending(Op::Write, Readiness::Ready),
                Poll::Pending => self.report_pending(Op::Write, Readiness::Waiting),
            },
        }
    }

    /// Explains an operation that does not ask the engine: it moves no bytes, this end is down, or
    /// the task has gone on already.
    fn explain_closed(
        &self,
        op: Op,
        reported: bool,
        is_empty: bool,
    ) -> Option<Poll<io::Result<usize>>> {
        if has_progressed() {
            return Some(self.report_pending(op, Readiness::Waiting));
        }
        match (self.endpoint.is_down(), reported) {
            (true, false) if !is_empty => Some(self.report_pending(op, Readiness::Ready)),
            (is_down, _) if is_down || is_empty => {
                count_operation();
                Some(Poll::Ready(self.check_open(op)))
            }
            _ => None,
        }
    }

    /// A flush is part of polls that wait for something else, and moves no program on.
    #[cold]
    fn explain_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        count_operation();
        self.check_open(Op::Write)?;
        let polled = self.map_write_error(self.endpoint.raw().poll_flush(cx));
        if polled.is_pending() {
            self.report_pending(Op::Write, Readiness::Waiting)
        } else {
            polled
        }
    }

    #[cold]
    fn explain_half_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if has_progressed() || !self.endpoint.has_recorded(EndpointEvent::HalfCloseStarted) {
            let (src, dst) = self.direction(Op::Write);
            return report_pending(Operation::New, || format!("half-close {src}->{dst}"));
        }
        self.explain_flush(cx)
    }

    #[cold]
    fn report_pending<T>(&self, op: Op, readiness: Readiness) -> Poll<T> {
        let operation = match readiness {
            Readiness::Ready | Readiness::Ended => Operation::Ready,
            Readiness::Waiting => Operation::Waiting,
            Readiness::WouldWait => Operation::New,
        };
        report_pending(operation, || {
            let (src, dst) = self.direction(op);
            format!("{op} {} {src}->{dst}", src.network())
        })
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({:?})", self.endpoint)
    }
}

/// Reads through something that holds a connection.
macro_rules! impl_async_read {
    ($handle:ty, $self:ident => $conn:expr) => {
        impl AsyncRead for $handle {
            #[inline]
            fn poll_read(
                $self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                $conn.poll_recv(cx, buf)
            }
        }
    };
}

/// Writes through something that holds a connection.
macro_rules! impl_async_write {
    ($handle:ty, $self:ident => $conn:expr) => {
        impl AsyncWrite for $handle {
            #[inline]
            fn poll_write(
                $self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                $conn.poll_send(cx, buf)
            }

            fn poll_flush($self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                $conn.endpoint.assert_accessible();
                $conn.poll_flushed(cx)
            }

            fn poll_close($self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                $conn.endpoint.assert_accessible();
                $conn.poll_half_close(cx)
            }
        }
    };
}

impl_async_read!(Conn, self => self);
impl_async_read!(&Conn, self => self);
impl_async_write!(Conn, self => self);
impl_async_write!(&Conn, self => self);
impl_async_read!(ReadHalf, self => self.conn);
impl_async_write!(WriteHalf, self => self.conn);

/// The half of a connection that reads.
#[derive(Debug)]
pub struct ReadHalf {
    conn: Conn,
}

/// The half of a connection that writes; dropping it half-closes.
#[derive(Debug)]
pub struct WriteHalf {
    conn: Conn,
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        // The first poll sets the half-close going; its result has no reader.
        let _ = self.conn.poll_half_close(&mut Context::from_waker(Waker::noop()));
    }
}
