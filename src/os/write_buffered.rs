//! A connection with a write buffer, for TLS on networks that have no buffers.
//!
//! In TLS both sides send at the same time, and each reads on only when its own data has been
//! taken. On an unbuffered network both would wait forever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite};

use crate::net::Conn;

/// The size of the buffer: more than a handshake has, and a record of data.
const MAX_BUFFER: usize = 32 << 10;

/// Writes what is kept whenever it is polled for anything.
#[derive(Debug)]
pub(crate) struct WriteBuffered {
    pub(crate) conn: Conn,
    buf: Vec<u8>,
}

impl WriteBuffered {
    pub(crate) fn new(conn: Conn) -> Self {
        Self { conn, buf: Vec::new() }
    }

    /// Writes as much as is taken; ready when nothing is kept any more.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut written = 0;
        let polled = loop {
            if written == self.buf.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.conn).poll_write(cx, &self.buf[written..]) {
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.buf.drain(..written);
        polled
    }
}

impl AsyncRead for WriteBuffered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Whoever waits for an answer has to get the question through. If that fails, reading says
        // why, or there is still something to read.
        let _ = self.drain(cx);
        Pin::new(&mut self.conn).poll_read(cx, buf)
    }
}

impl AsyncWrite for WriteBuffered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.drain(cx)? {
            Poll::Ready(()) => match Pin::new(&mut self.conn).poll_write(cx, buf) {
                Poll::Pending => {}
                ready => return ready,
            },
            Poll::Pending if self.buf.len() >= MAX_BUFFER => return Poll::Pending,
            Poll::Pending => {}
        }
        let count = buf.len().min(MAX_BUFFER - self.buf.len());
        self.buf.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.drain(cx)? {
            Poll::Ready(()) => Pin::new(&mut self.conn).poll_flush(cx),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.drain(cx)? {
            Poll::Ready(()) => Pin::new(&mut self.conn).poll_close(cx),
            Poll::Pending => Poll::Pending,
        }
    }
}
