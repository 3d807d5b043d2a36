//! One endpoint of a TCP connection of the operating system.
//!
//! Any number of tasks can read, write and close it, on any executor.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::fd::AsFd as AsHandle;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsHandle;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_io::Async;
use socket2::SockRef;
#[cfg(all(feature = "lonet", target_os = "linux"))]
use socket2::{Domain, Type};

use crate::net::{Addr, Cause, DeferredWakes, RawConn, WaitList};
use crate::os::run::assert_not_simulated;

/// A TCP connection of the operating system.
pub(crate) struct Socket {
    io: SharedFd<TcpStream>,
    read_direction: IoDirection,
    write_direction: IoDirection,
    /// The address of this end, if it is not the port of a host.
    local: Option<Addr>,
}

/// A descriptor as the reactor has it.
type ReactorFd<T> = Async<Arc<T>>;

/// A descriptor that never blocks, registered with the reactor at the first wait for it.
///
/// To tell the reactor, and to have it forget, takes longer than to connect; and a connection that
/// always finds what it looks for needs none.
pub(crate) struct LazyAsyncFd<T> {
    io: Arc<T>,
    reactor_fd: OnceLock<io::Result<ReactorFd<T>>>,
}

impl<T: AsHandle> LazyAsyncFd<T> {
    fn reactor_fd(&self) -> io::Result<&ReactorFd<T>> {
        let watch = || Async::new_nonblocking(self.io.clone());
        // A reactor without room gives each caller an error of its own.
        self.reactor_fd.get_or_init(watch).as_ref().map_err(|error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        })
    }
}

/// A descriptor, which is closed when the socket is, however many handles are left.
///
/// Nothing is done under the lock but to fetch it.
pub(crate) struct SharedFd<T>(RwLock<Option<Arc<LazyAsyncFd<T>>>>);

impl<T> SharedFd<T> {
    /// Takes one that never blocks.
    pub(crate) fn new(io: T) -> Self {
        let io = LazyAsyncFd { io: Arc::new(io), reactor_fd: OnceLock::new() };
        Self(RwLock::new(Some(Arc::new(io))))
    }

    fn get(&self) -> Option<Arc<LazyAsyncFd<T>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether it was taken away.
    #[cfg(feature = "lonet")]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Takes it away; it is closed as soon as those have let go who are about to use it.
    pub(crate) fn take(&self) -> Option<Arc<LazyAsyncFd<T>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The waiters for one direction of a socket.
///
/// The reactor keeps one waker for each; so what it is given wakes all who wait.
pub(crate) struct IoDirection {
    wait_list: Arc<SharedWaitList>,
    waker: Waker,
    /// The phase of the current wait.
    phase: AtomicU8,
    /// The number of waits since polling again last helped.
    spin_misses: AtomicU8,
    /// The experience of this connection, for later ones.
    hint: Option<SpinHint>,
}

/// The experience of the connections of one listener or dialer with polling again, with which the
/// next one begins: their other ends are mostly in the same place.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpinHint(Arc<AtomicU8>);

/// Nobody waits, or nothing has been looked for yet.
const IDLE: u8 = 0;
/// It was not there, and is looked for again after all else that the executor has to do.
const SPINNING: u8 = 1;
/// The reactor will wake us.
const ARMED: u8 = 2;

/// The number of 256 waits that begin with polling again, if it never helps.
const SPIN_LIMIT: u8 = 32;

#[derive(Default)]
struct SharedWaitList(Mutex<WaitList>);

impl SharedWaitList {
    fn with<R>(&self, work: impl FnOnce(&mut WaitList, &mut DeferredWakes) -> R) -> R {
        let mut wakers = DeferredWakes::default();
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut list, &mut wakers);
        drop(list);
        wakers.wake();
        result
    }
}

impl Wake for SharedWaitList {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.with(WaitList::wake);
    }
}

impl IoDirection {
    pub(crate) fn new() -> Self {
        let wait_list = Arc::<SharedWaitList>::default();
        let (waker, phase, requested) =
            (wait_list.clone().into(), AtomicU8::new(IDLE), AtomicU8::new(0));
        Self { wait_list, waker, phase, spin_misses: requested, hint: None }
    }

    /// One that begins with what others have learned.
    fn with_hint(hint: &SpinHint) -> Self {
        let requested = AtomicU8::new(hint.0.load(Ordering::Relaxed));
        Self { spin_misses: requested, hint: Some(hint.clone()), ..Self::new() }
    }

    fn update_hint(&self, requested: u8) {
        self.spin_misses.store(requested, Ordering::Relaxed);
        if let Some(hint) = &self.hint {
            hint.0.store(requested, Ordering::Relaxed);
        }
    }

    /// Tries, and waits until it is worth trying again.
    ///
    /// The first time that nothing is there the task goes to the end of its executor's queue and
    /// looks again: the other end may be a task of the same thread, and will have answered by
    /// then. To ask the reactor takes six system calls and maybe two turns of other threads. But if
    /// the other end is elsewhere it is no use, and costs as much again where the executor has the
    /// reactor in hand; so it is given up, and tried again now and then.
    pub(crate) fn poll<T: AsHandle, R>(
        &self,
        fd: &SharedFd<T>,
        cx: &Context<'_>,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
        poll_ready: fn(&ReactorFd<T>, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<R>> {
        assert_not_simulated("a socket of the operating system", "sockets");
        let Some(io) = fd.get() else { return closed_error() };
        loop {
            match attempt(&io.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => {
                    self.finish_wait();
                    return Poll::Ready(result);
                }
            }
            if self.should_spin() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.wait_list.with(|list, wakers| list.register(cx.waker(), wakers));
            if fd.get().is_none() {
                // It was closed while this task registered itself, and the close may have missed
                // it.
                return closed_error();
            }
            match poll_ready(io.reactor_fd()?, &mut Context::from_waker(&self.waker)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Ends a wait. If several tasks wait, what is noted of it is a guess.
    fn finish_wait(&self) {
        match self.phase.load(Ordering::Relaxed) {
            IDLE => return,
            SPINNING => self.update_hint(0),
            _ => {}
        }
        self.phase.store(IDLE, Ordering::Relaxed);
    }

    /// Whether to look again before the reactor is asked.
    fn should_spin(&self) -> bool {
        let (phase, requested) =
            (self.phase.load(Ordering::Relaxed), self.spin_misses.load(Ordering::Relaxed));
        let spins = phase == IDLE && requested < SPIN_LIMIT;
        if !spins && phase != ARMED {
            self.update_hint(requested.wrapping_add(1));
        }
        self.phase.store(if spins { SPINNING } else { ARMED }, Ordering::Relaxed);
        spins
    }

    /// Wakes all who wait.
    pub(crate) fn wake(&self) {
        self.wait_list.wake_by_ref();
    }
}

impl Socket {
    /// Takes a stream that never blocks.
    pub(crate) fn new(io: TcpStream, hint: &SpinHint) -> Self {
        let (read_direction, write_direction) = (IoDirection::with_hint(hint), IoDirection::new());
        Self { io: SharedFd::new(io), read_direction, write_direction, local: None }
    }

    /// Connects, and sends what is written at once from then on.
    pub(crate) async fn connect(addr: SocketAddr, hint: &SpinHint) -> io::Result<Self> {
        Self::finish_connect(mio::net::TcpStream::connect(addr)?.into(), hint).await
    }

    /// Connects, where the first word is ours and follows at once.
    ///
    /// Then the last step of TCP's own hand-shake goes with it: one packet less, and the other side
    /// wakes when there is something to read.
    #[cfg(feature = "lonet")]
    pub(crate) async fn connect_quickack_off(
        addr: SocketAddr,
        hint: &SpinHint,
    ) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let io = {
            let io =
                socket2::Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), None)?;
            // If it cannot be had the step goes by itself.
            let _ = io.set_tcp_quickack(false);
            match io.connect(&addr.into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
                _ => io.into(),
            }
        };
        #[cfg(not(target_os = "linux"))]
        let io = mio::net::TcpStream::connect(addr)?.into();
        Self::finish_connect(io, hint).await
    }

    async fn finish_connect(io: TcpStream, hint: &SpinHint) -> io::Result<Self> {
        let socket = Self::new(io, hint);
        // On the loopback interface it is there already.
        let check_connected = |io: &TcpStream| match io.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io.take_error()?.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
            }
            _ => io.set_nodelay(true),
        };
        poll_fn(|cx| {
            socket.write_direction.poll(&socket.io, cx, check_connected, Async::poll_writable)
        })
        .await?;
        Ok(socket)
    }

    /// Says what this end is called, which is not the port of a host.
    pub(crate) fn with_local_addr(self, local: Addr) -> Self {
        Self { local: Some(local), ..self }
    }

    /// Does something with the stream as soon as there is something to be read, or its end.
    #[cfg(feature = "lonet")]
    pub(crate) fn poll_readable<R>(
        &self,
        cx: &Context<'_>,
        attempt: impl FnMut(&TcpStream) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.read_direction.poll(&self.io, cx, attempt, Async::poll_readable)
    }

    /// Does something with the stream; without one it is closed.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&TcpStream) -> io::Result<R>) -> io::Result<R> {
        self.io.get().map_or_else(|| Err(Cause::BrokenPipe.into()), |io| work(&io.io))
    }

    /// Gives the descriptor back, and wakes all who wait.
    fn close_with(&self, before_close: impl FnOnce(&TcpStream)) {
        if let Some(io) = self.io.take() {
            before_close(&io.io);
            drop(io);
            self.read_direction.wake();
            self.write_direction.wake();
        }
    }
}

/// The result of an operation on a connection that was closed here.
fn closed_error<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(Cause::BrokenPipe.into()))
}

impl RawConn for Socket {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.read_direction.poll(&self.io, cx, |mut io| io.read(buf), Async::poll_readable)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write_direction.poll(&self.io, cx, |mut io| io.write(buf), Async::poll_writable)
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Written bytes are the operating system's.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.with(|io| match io.shutdown(Shutdown::Write) {
            // The other end may be gone already: nothing more is written.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        }))
    }

    fn local_addr(&self) -> Option<Addr> {
        self.local.clone()
    }

    fn abort(&self) {
        self.close_with(reset_on_close);
    }

    fn close(&self) {
        self.close_with(|_| ());
    }
}

/// Lets the other end see a reset when this one is closed, and not the end of the stream.
fn reset_on_close(stream: &TcpStream) {
    // If it fails the connection is gone.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.io.get().map(|io| io.io.clone())).finish()
    }
}
