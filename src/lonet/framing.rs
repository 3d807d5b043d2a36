//! Reading and writing of handshake lines on a socket, with timeouts.

use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::net::TcpStream;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, select};
use futures::poll;

use crate::net::RawConn;
use crate::os::Socket;

use crate::lonet::handshake::MAX_LINE;

/// Reads the rest of a line, and not a byte of what follows it: that belongs to the connection.
///
/// It is cut off after [`MAX_LINE`] bytes.
///
/// # Errors
///
/// If the stream ends before the line does.
pub(crate) async fn read_line(socket: &Socket, mut line: Vec<u8>) -> io::Result<Vec<u8>> {
    while !is_complete(&line) {
        read_available(socket, &mut line).await?;
    }
    Ok(line)
}

/// Reads what is there of a line, as soon as something is.
///
/// # Errors
///
/// See [`read_line`].
pub(crate) async fn read_available(socket: &Socket, line: &mut Vec<u8>) -> io::Result<()> {
    poll_fn(|cx| socket.poll_readable(cx, |io| read_up_to_newline(io, line))).await
}

/// So as to take no more than the line it is looked at before.
fn read_up_to_newline(mut io: &TcpStream, line: &mut Vec<u8>) -> io::Result<()> {
    let mut seen = [0; MAX_LINE];
    let count = io.peek(&mut seen[..MAX_LINE - line.len()])?;
    if count == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"));
    }
    let newline = seen[..count].iter().position(|&byte| byte == b'\n');
    let seen = &mut seen[..newline.map_or(count, |at| at + 1)];
    // The peeked bytes are available.
    io.read_exact(seen)?;
    line.extend_from_slice(seen);
    Ok(())
}

fn is_complete(line: &[u8]) -> bool {
    line.ends_with(b"\n") || line.len() == MAX_LINE
}

/// An error of the system that says what was being done.
pub(crate) fn with_context(description: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{description}: {error}"))
}

/// Writes a line.
pub(crate) async fn write_line(socket: &Socket, line: &str) -> io::Result<()> {
    let mut remaining = line.as_bytes();
    while !remaining.is_empty() {
        let count = poll_fn(|cx| socket.poll_write(cx, remaining)).await?;
        remaining = &remaining[count..];
    }
    Ok(())
}

/// The number of polls before a timer is set.
const YIELD_INTERVAL: usize = 2;

/// Lets the executor do what else there is to do.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for something, but not for ever.
///
/// # Errors
///
/// Its own, or that the time is over.
pub(crate) async fn with_timeout<T>(
    timeout: Duration,
    future: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut future = pin!(future);
    // A few polls are mostly enough. A timer costs several system calls and wakes the reactor's
    // thread.
    for _ in 0..YIELD_INTERVAL {
        if let Poll::Ready(result) = poll!(&mut future) {
            return result;
        }
        yield_once().await;
    }
    match select(future, Timer::after(timeout)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
