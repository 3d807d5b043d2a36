//! A listening socket of the operating system.
//!
//! Knows how connections are taken from it, by as many tasks as like, on any executor. Does not
//! know what becomes of them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::task::{Context, Poll};

use async_io::Async;

use crate::os::socket::{IoDirection, SharedFd, Socket, SpinHint};

/// Where connections come in.
pub(crate) struct OsListener {
    /// Whose connections do not block, from the first.
    listener: SharedFd<mio::net::TcpListener>,
    waiting: IoDirection,
    /// Of those who have come.
    habit: SpinHint,
}

impl OsListener {
    /// Listens at the first of several addresses that can be had, and says which.
    pub(crate) fn bind(at: &[SocketAddr]) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        let listener = SharedFd::new(mio::net::TcpListener::from_std(listener));
        Ok((Self { listener, waiting: IoDirection::new(), habit: SpinHint::default() }, at))
    }

    /// Takes the next connection; what is written there is sent at once.
    ///
    /// # Errors
    ///
    /// A broken pipe once it is closed, or what the system says.
    pub(crate) fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<Socket>> {
        loop {
            let accept = |listener: &mio::net::TcpListener| listener.accept();
            return match self.waiting.poll(&self.listener, cx, accept, Async::poll_readable) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok((stream, _))) if stream.set_nodelay(true).is_ok() => {
                    Poll::Ready(Ok(Socket::new(stream.into(), &self.habit)))
                }
                // It is gone already: that is no failure of accepting.
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {
                    continue;
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            };
        }
    }

    /// Takes no more, and wakes all who wait.
    pub(crate) fn close(&self) {
        if self.listener.take().is_some() {
            self.waiting.wake();
        }
    }

    /// Says whether it has been closed.
    #[cfg(feature = "lonet")]
    pub(crate) fn is_closed(&self) -> bool {
        self.listener.is_taken()
    }
}
