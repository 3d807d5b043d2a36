//! One end of a TCP connection of the operating system.
//!
//! Knows how a socket is read, written and closed, by as many tasks as like, on any executor. Does
//! not know how the connection came about.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_io::Async;
use socket2::SockRef;

use crate::net::{Addr, Cause, RawConn, WaitList, Wakers};

/// A TCP connection of the operating system.
pub(crate) struct Socket {
    io: Open<TcpStream>,
    reading: Direction,
    writing: Direction,
    /// What this end is called, if that is not the port of a host.
    local: Option<Addr>,
}

/// A descriptor, which is given back when it is closed, whoever still has a handle.
///
/// Nothing is done under the lock but to fetch it.
pub(crate) struct Open<T>(RwLock<Option<Arc<Async<T>>>>);

impl<T> Open<T> {
    pub(crate) fn new(io: Async<T>) -> Self {
        Self(RwLock::new(Some(Arc::new(io))))
    }

    pub(crate) fn get(&self) -> Option<Arc<Async<T>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes it away; it is closed as soon as those have let go who are about to use it.
    pub(crate) fn take(&self) -> Option<Arc<Async<T>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Who waits for one direction of a socket.
///
/// The reactor keeps one waker for each; so what it is given wakes all who wait.
pub(crate) struct Direction {
    waiting: Arc<Waiting>,
    waker: Waker,
    /// Whether to look again before the reactor is asked to wake us.
    eager: AtomicBool,
}

#[derive(Default)]
struct Waiting(Mutex<WaitList>);

impl Waiting {
    fn with<R>(&self, work: impl FnOnce(&mut WaitList, &mut Wakers) -> R) -> R {
        let mut wakers = Wakers::default();
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut list, &mut wakers);
        drop(list);
        wakers.wake();
        result
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.with(WaitList::wake);
    }
}

impl Direction {
    pub(crate) fn new() -> Self {
        let waiting = Arc::<Waiting>::default();
        Self { waker: waiting.clone().into(), waiting, eager: AtomicBool::new(true) }
    }

    /// Tries, and waits until it is worth trying again.
    ///
    /// The first time that nothing is there the task goes to the end of its executor's queue and
    /// looks again: the other end is often a task of the same thread, and will have answered by
    /// then. To ask the reactor takes six system calls, to look again takes one.
    pub(crate) fn poll<T, R>(
        &self,
        open: &Open<T>,
        cx: &Context<'_>,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
        ready: fn(&Async<T>, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<R>> {
        let Some(io) = open.get() else { return closed() };
        loop {
            match attempt(io.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => {
                    self.eager.store(true, Ordering::Relaxed);
                    return Poll::Ready(result);
                }
            }
            if self.eager.swap(false, Ordering::Relaxed) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.waiting.with(|list, wakers| list.keep(cx.waker(), wakers));
            if open.get().is_none() {
                // It was closed while we sat down, and whoever did so may have missed us.
                return closed();
            }
            match ready(&io, &mut Context::from_waker(&self.waker)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Direction {
    /// Wakes all who wait.
    pub(crate) fn wake(&self) {
        self.waiting.wake_by_ref();
    }
}

impl Socket {
    pub(crate) fn new(io: Async<TcpStream>, local: Option<Addr>) -> Self {
        let (reading, writing) = (Direction::new(), Direction::new());
        Self { io: Open::new(io), reading, writing, local }
    }

    /// Gives the descriptor back, and wakes all who wait.
    fn end(&self, before: impl FnOnce(&TcpStream)) {
        if let Some(io) = self.io.take() {
            before(io.get_ref());
            drop(io);
            self.reading.wake();
            self.writing.wake();
        }
    }
}

/// What is left of a connection that was closed here.
fn closed<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(Cause::BrokenPipe.into()))
}

impl RawConn for Socket {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.reading.poll(&self.io, cx, |mut io| io.read(buf), Async::poll_readable)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writing.poll(&self.io, cx, |mut io| io.write(buf), Async::poll_writable)
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is the operating system's.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.io.get() {
            None => closed(),
            // That the other end is gone already is no matter: nothing more is written.
            Some(io) => match io.get_ref().shutdown(Shutdown::Write) {
                Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                    Poll::Ready(Err(error))
                }
                _ => Poll::Ready(Ok(())),
            },
        }
    }

    fn own_addr(&self) -> Option<Addr> {
        self.local.clone()
    }

    fn abort(&self) {
        self.end(reset_on_close);
    }

    fn close(&self) {
        self.end(|_| ());
    }
}

/// Lets the other end see a reset when this one is closed, and not the end of the stream.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // If it fails the connection is gone, and nobody is left to be told.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.io.get()).finish()
    }
}
