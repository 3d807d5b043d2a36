//! Adapters from hyper's I/O and timer traits to virtnet.
//!
//! HTTP/1 needs these two. HTTP/2 would also need an `Executor`, which is one line.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::io::{AsyncRead, AsyncWrite};
use hyper::rt::{ReadBufCursor, Sleep, Timer};
use virtnet::{Conn, Sim};

/// How much one read asks for at most; hyper begins with a buffer of this size.
const READ_BUFFER_SIZE: usize = 8 * 1024;

/// A connection as hyper reads and writes it.
pub(crate) struct HyperIo {
    conn: Conn,
    /// Where bytes rest on their way into hyper's buffer, which safe code can only copy into:
    /// `ReadBufCursor::advance` is `unsafe`.
    read_buf: Box<[u8]>,
}

impl HyperIo {
    pub(crate) fn new(conn: Conn) -> Self {
        let read_buf = vec![0; READ_BUFFER_SIZE].into();
        Self { conn, read_buf }
    }
}

impl hyper::rt::Read for HyperIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { conn, read_buf } = &mut *self;
        let max_len = buf.remaining().min(read_buf.len());
        let count = ready!(Pin::new(conn).poll_read(cx, &mut read_buf[..max_len]))?;
        buf.put_slice(&read_buf[..count]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for HyperIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.conn).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_close(cx)
    }
}

/// The virtual clock as hyper reads it.
pub(crate) struct SimTimer(pub(crate) Sim);

impl Timer for SimTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(SimSleep(self.0.sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(SimSleep(self.0.sleep_until(virtnet::Instant::from_std(deadline))))
    }

    fn now(&self) -> Instant {
        self.0.now().into_std()
    }
}

struct SimSleep(virtnet::Sleep);

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Sleep for SimSleep {}

/// Says what went wrong, and what was behind it, unless that has been said already.
pub(crate) fn format_error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let source_text = error.to_string();
        if !text.ends_with(&source_text) {
            text += &format!(": {source_text}");
        }
        source = error.source();
    }
    text
}
