//! One endpoint of a connection, as a program has it in hand.
//!
//! Knows how to read, write and close, and raises every error to the level of the network. Does
//! not know how bytes travel: that is the engine's [`RawConn`](crate::net::RawConn).

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
use crate::net::engine::raw_conn::{FastConn, Readiness};
use crate::net::error::{Cause, Error, Op};
use crate::net::state::host_state::{Endpoint, Told};

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
    /// Nearly all that is read and written goes this way, where there is one: the endpoint need not
    /// be loaded then, which takes a sixth of the time among ten thousand clients.
    fast_path: Option<FastConn>,
    endpoint: Arc<Endpoint>,
    observer: Option<WriteObserver>,
}

impl Conn {
    #[inline]
    pub(crate) fn new(end: Arc<Endpoint>, tap: Option<WriteObserver>) -> Self {
        Self { fast_path: end.raw().shortcut(), endpoint: end, observer: tap }
    }

    /// Lets every write be seen.
    pub(crate) fn with_observer(self, tap: WriteObserver) -> Self {
        let Self { fast_path: shortcut, endpoint: end, observer: inner } = self;
        Self { fast_path: shortcut, endpoint: end, observer: Some(chain(inner, tap)) }
    }

    /// Gives the address of this end; also after closing.
    pub fn local_addr(&self) -> Addr {
        self.endpoint.local()
    }

    /// Gives the address of the other end; also after closing.
    pub fn peer_addr(&self) -> Addr {
        self.endpoint.peer.clone()
    }

    /// Closes both ways, at once, and gives the port back.
    ///
    /// What was written is still delivered; then the other end reads the end of the stream.
    /// Whatever is blocked on this end fails with `socket is down`. A second time does nothing.
    ///
    /// Where the network is TCP or simulates it, that holds if everything that had arrived was
    /// read. Otherwise the connection is reset: what has arrived at the other end stays readable,
    /// what has not is lost, and then reads and writes there fail with `connection reset by peer`.
    /// Bytes that arrive at an end that is closed are answered with a reset as well. So to close on
    /// a request that was not read to its end loses the answer: half-close with
    /// [`shutdown`](Self::shutdown) and read on.
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
    pub(crate) fn cancel(&self) {
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
        match self.fast_path.as_ref().and_then(|shortcut| shortcut.read(cx, buf)) {
            Some(polled) => polled.map(Ok),
            None => self.poll_recv_slow(cx, buf),
        }
    }

    #[inline(never)]
    fn poll_recv_slow(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.endpoint.is_down() || buf.is_empty() {
            return Poll::Ready(self.check_open(Op::Read));
        }
        match self.endpoint.raw().poll_read(cx, buf) {
            Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Ok(count)),
            // The end of the stream may be that of our own closing, as the engine sees it.
            Poll::Ready(Ok(_)) => {
                self.endpoint.tell(Told::Read);
                Poll::Ready(self.check_open(Op::Read))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.map_engine_error(Op::Read, error))),
            Poll::Pending => Poll::Pending,
        }
    }

    #[inline]
    fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if is_probing() {
            return self.explain_write(cx, buf);
        }
        match self.fast_path.as_ref().and_then(|shortcut| shortcut.write(buf)) {
            Some(count) => Poll::Ready(Ok(self.report_written(&buf[..count]))),
            None => self.poll_send_slow(cx, buf),
        }
    }

    /// Lets what was written be seen.
    #[inline]
    fn report_written(&self, data: &[u8]) -> usize {
        if let Some(tap) = &self.observer {
            tap(self, data);
        }
        data.len()
    }

    #[inline(never)]
    fn poll_send_slow(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.endpoint.is_down() || buf.is_empty() {
            return Poll::Ready(self.check_open(Op::Write));
        }
        match self.endpoint.raw().poll_write(cx, buf) {
            Poll::Ready(Ok(count)) => Poll::Ready(Ok(self.report_written(&buf[..count]))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.map_engine_error(Op::Write, error))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if is_probing() {
            return self.explain_flush(cx);
        }
        self.check_open(Op::Write)?;
        self.finish(self.endpoint.raw().poll_flush(cx))
    }

    fn poll_half_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if is_probing() {
            return self.explain_half_close(cx);
        }
        self.check_open(Op::Write)?;
        self.endpoint.tell(Told::HalfClose);
        self.finish(self.endpoint.raw().poll_close(cx))
    }

    fn finish(&self, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        polled.map(|result| result.map_err(|error| self.map_engine_error(Op::Write, error)))
    }

    /// What an operation gives that need not ask the engine: nothing, or why we are down.
    #[cold]
    fn check_open(&self, op: Op) -> io::Result<usize> {
        match self.endpoint.why_down() {
            None => Ok(0),
            Some(why) => Err(self.error(op, why.into())),
        }
    }

    /// Raises an engine's error to one of the network.
    #[cold]
    fn map_engine_error(&self, op: Op, error: io::Error) -> io::Error {
        // If we went down meanwhile that is the reason, whatever the engine says.
        let cause = self.endpoint.why_down().map_or_else(|| error.into(), Cause::from);
        self.error(op, cause)
    }

    #[cold]
    fn error(&self, op: Op, cause: Cause) -> io::Error {
        self.endpoint.tell(if op == Op::Read { Told::Read } else { Told::Write });
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
        let told = self.endpoint.has_told(Told::Read);
        if let Some(polled) = self.explain_closed(Op::Read, told, buf.is_empty()) {
            return polled;
        }
        let raw = self.endpoint.raw();
        match raw.outlook(false, cx.waker()) {
            Some(Readiness::Ended) if told => self.poll_recv_slow(cx, buf),
            Some(outlook) => self.report_pending(Op::Read, outlook),
            // What a foreign engine gives is lost, but the run is over.
            None => match raw.poll_read(cx, &mut buf[..1]) {
                Poll::Ready(Ok(0)) if told => Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) if told => {
                    Poll::Ready(Err(self.map_engine_error(Op::Read, error)))
                }
                Poll::Ready(_) => self.report_pending(Op::Read, Readiness::Moves),
                Poll::Pending => self.report_pending(Op::Read, Readiness::Waits),
            },
        }
    }

    #[cold]
    fn explain_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let told = self.endpoint.has_told(Told::Write);
        if let Some(polled) = self.explain_closed(Op::Write, told, buf.is_empty()) {
            return polled;
        }
        let raw = self.endpoint.raw();
        match raw.outlook(true, cx.waker()) {
            Some(Readiness::Ended) if told => self.poll_send_slow(cx, buf),
            Some(outlook) => self.report_pending(Op::Write, outlook),
            None => match raw.poll_write(cx, buf) {
                Poll::Ready(Err(error)) if told => {
                    Poll::Ready(Err(self.map_engine_error(Op::Write, error)))
                }
                Poll::Ready(_) => self.report_pending(Op::Write, Readiness::Moves),
                Poll::Pending => self.report_pending(Op::Write, Readiness::Waits),
            },
        }
    }

    /// What needs no look at the engine: nothing is asked of it, this end is down, or the task has
    /// gone on already.
    fn explain_closed(&self, op: Op, told: bool, empty: bool) -> Option<Poll<io::Result<usize>>> {
        if has_progressed() {
            return Some(self.report_pending(op, Readiness::Waits));
        }
        match (self.endpoint.is_down(), told) {
            (true, false) if !empty => Some(self.report_pending(op, Readiness::Moves)),
            (down, _) if down || empty => {
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
        let polled = self.finish(self.endpoint.raw().poll_flush(cx));
        if polled.is_pending() { self.report_pending(Op::Write, Readiness::Waits) } else { polled }
    }

    #[cold]
    fn explain_half_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if has_progressed() || !self.endpoint.has_told(Told::HalfClose) {
            let (src, dst) = self.direction(Op::Write);
            return report_pending(Operation::New, || format!("half-close {src}->{dst}"));
        }
        self.explain_flush(cx)
    }

    #[cold]
    fn report_pending<T>(&self, op: Op, outlook: Readiness) -> Poll<T> {
        let operation = match outlook {
            Readiness::Moves | Readiness::Ended => Operation::Ready,
            Readiness::Waits => Operation::Waiting,
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
macro_rules! reads {
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
macro_rules! writes {
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

reads!(Conn, self => self);
reads!(&Conn, self => self);
writes!(Conn, self => self);
writes!(&Conn, self => self);
reads!(ReadHalf, self => self.conn);
writes!(WriteHalf, self => self.conn);

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
        // The first poll sets the half-close going; nobody is left to hear how it went.
        let _ = self.conn.poll_half_close(&mut Context::from_waker(Waker::noop()));
    }
}
