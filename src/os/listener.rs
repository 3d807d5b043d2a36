//! A listening socket of the operating system.
//!
//! Any number of tasks can accept from it, on any executor.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::task::{Context, Poll};

use async_io::Async;

use crate::os::socket::{IoDirection, SharedFd, Socket, SpinHint};

/// A listening socket of the operating system.
pub(crate) struct OsListener {
    /// Whose connections do not block, from the first.
    listener: SharedFd<mio::net::TcpListener>,
    direction: IoDirection,
    /// Of those who have come.
    hint: SpinHint,
}

impl OsListener {
    /// Listens at the first of several addresses that can be had, and says which.
    pub(crate) fn bind(addr: &[SocketAddr]) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let listener = SharedFd::new(mio::net::TcpListener::from_std(listener));
        Ok((Self { listener, direction: IoDirection::new(), hint: SpinHint::default() }, addr))
    }

    /// Takes the next connection; what is written there is sent at once.
    ///
    /// # Errors
    ///
    /// A broken pipe once it is closed, or what the system says.
    pub(crate) fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<Socket>> {
        loop {
            let accept = |listener: &mio::net::TcpListener| listener.accept();
            return match self.direction.poll(&self.listener, cx, accept, Async::poll_readable) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok((stream, _))) if stream.set_nodelay(true).is_ok() => {
                    Poll::Ready(Ok(Socket::new(stream.into(), &self.hint)))
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
            self.direction.wake();
        }
    }

    /// Says whether it has been closed.
    #[cfg(feature = "lonet")]
    pub(crate) fn is_closed(&self) -> bool {
        self.listener.is_closed()
    }
}
