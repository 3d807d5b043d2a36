//! The contract of those who build a network.
//!
//! Knows what a network is made of: an [`Engine`] that carries, a [`Registry`] that names, and
//! the [`RawConn`] of each connection. Does not know who uses them. The other direction, what an
//! engine may call, is `Notifier`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use super::addr::Addr;
use super::error::{Cause, RegistryError};

/// Carries connections between hosts.
///
/// The layer above allocates ports, checks who is down, and never calls an engine while it
/// holds a lock. A future of an engine may be dropped at any await; what it holds must be given
/// back by destructors.
pub trait Engine: Send + Sync + 'static {
    /// Makes a host and announces it, with whatever a dialer has to know of it.
    fn new_host<'a>(
        &'a self,
        hostname: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>>;

    /// Connects `src`, whose port is taken, with the listener at `dst`.
    ///
    /// `hostdata` is what the registry knows of the destination. The address returned is that
    /// of the accepted end, which has a port of its own.
    #[expect(clippy::type_complexity, reason = "an alias would be one more name to learn")]
    fn dial<'a>(
        &'a self,
        src: &'a Addr,
        dst: &'a Addr,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>>;

    /// Takes in what has come from outside, in the turn of a task that waits in an accept.
    ///
    /// It is called whenever such a task has found nothing. Ready says that something was taken in,
    /// so that the task looks for a connection once more. `Notifier::wake_accept` has it called
    /// again. Nobody need ever be in an accept, or polled there: what has to be answered in time is
    /// up to the engine.
    ///
    /// The one provided is for engines that need no such help.
    #[doc(hidden)]
    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Pending
    }

    /// Ends the network; called once.
    ///
    /// Futures that are still pending were woken before, but may be dropped later: bear it.
    ///
    /// # Errors
    ///
    /// Whatever went wrong; it becomes part of what closing the subnetwork returns.
    fn close(&self) -> Result<(), Cause>;
}

/// What a dial comes to: this end of the connection, and the address of the other.
pub(crate) type Dialed = Result<(RawEnd, Addr), Cause>;

/// An engine of this crate that is its own registry. What is begun has a number here, so that a
/// dial needs no future of the registry's and none of the engine's.
///
/// Where there is no number yet a poll begins it and may give one; there is none any more when it
/// is over.
pub(crate) trait Whole: Send + Sync {
    /// Makes a host and takes its name: see [`Engine::new_host`].
    fn poll_announce(
        &self,
        call: &mut Option<u32>,
        host: &Addr,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Cause>>;

    /// Connects from the first address to the other: see [`Engine::dial`].
    fn poll_dial(
        &self,
        call: &mut Option<u32>,
        addrs: (&Addr, &Addr),
        cx: &mut Context<'_>,
    ) -> Poll<Dialed>;

    /// Gives up what has been begun and is not over.
    fn hang_up(&self, call: u32);

    /// See [`Registry::withdraw`].
    fn withdraw(&self, hostname: &str);
}

/// Waits for what has a number, once it has begun; given up when dropped.
pub(crate) struct Numbered<'a, F> {
    whole: &'a dyn Whole,
    call: Option<u32>,
    poll: F,
}

impl<'a, T, F> Numbered<'a, F>
where
    F: FnMut(&dyn Whole, &mut Option<u32>, &mut Context<'_>) -> Poll<T>,
{
    pub(crate) fn new(whole: &'a dyn Whole, poll: F) -> Self {
        Self { whole, call: None, poll }
    }
}

impl<T, F> Future for Numbered<'_, F>
where
    F: FnMut(&dyn Whole, &mut Option<u32>, &mut Context<'_>) -> Poll<T> + Unpin,
{
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Self { whole, call, poll } = &mut *self;
        poll(*whole, call, cx)
    }
}

impl<F> Drop for Numbered<'_, F> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.whole.hang_up(call);
        }
    }
}

/// Knows the hosts of a network by name.
pub trait Registry: Send + Sync + 'static {
    /// Takes a name, for ever, and keeps what a dialer has to know of the host.
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// Gives what was announced with a name.
    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>>;

    /// Gives back a name whose host did not come to be, where the registry can.
    ///
    /// It is called when making a host was dropped, or found the network closed, after the name
    /// had been announced.
    fn withdraw(&self, hostname: &str) {
        let _ = hostname;
    }

    /// Ends the registry; called once, after [`Engine::close`].
    ///
    /// # Errors
    ///
    /// Whatever went wrong; it becomes part of what closing the subnetwork returns.
    fn close(&self) -> Result<(), RegistryError>;
}

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
    fn own_addr(&self) -> Option<Addr> {
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

/// One end of a connection, as an engine has handed it over.
pub(crate) enum RawEnd {
    Boxed(Box<dyn RawConn>),
    Kept(Kept),
}

/// An end that its engine keeps among all others, where no box has to be made for it, and none to
/// be loaded before it can be used: among ten thousand clients that is an eighth of the time.
pub(crate) struct Kept {
    place: Place,
    by: &'static dyn Keeper,
}

/// The way to an end that is kept, for who wants to go it without a look at what owns that.
#[derive(Clone, Copy)]
pub(crate) struct Shortcut {
    place: Place,
    by: &'static dyn Keeper,
}

/// Where an end is kept: in which run, and where there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) run: u64,
    pub(crate) number: u64,
}

/// Does for an end at a place what a [`RawConn`] does for itself.
pub(crate) trait Keeper: Send + Sync {
    fn poll_read(&self, at: Place, cx: &mut Context<'_>, buf: &mut [u8])
    -> Poll<io::Result<usize>>;

    fn poll_write(&self, at: Place, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;

    /// Reads something, or lets the task that is polled wait for it, if nothing whatever is the
    /// matter with the connection: never when it is closed, at either end.
    fn read_plainly(&self, at: Place, cx: &mut Context<'_>, buf: &mut [u8]) -> Option<Poll<usize>>;

    /// Writes something, if nothing whatever is the matter with the connection.
    fn write_plainly(&self, at: Place, buf: &[u8]) -> Option<usize>;

    /// Half-closes.
    fn finish(&self, at: Place);

    fn abort(&self, at: Place);

    fn close(&self, at: Place);

    /// Lets go of an end, after having closed it or else tearing it down.
    fn let_go(&self, at: Place, closes: bool);
}

impl Shortcut {
    #[inline]
    pub(crate) fn read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Option<Poll<usize>> {
        self.by.read_plainly(self.place, cx, buf)
    }

    #[inline]
    pub(crate) fn write(&self, buf: &[u8]) -> Option<usize> {
        self.by.write_plainly(self.place, buf)
    }
}

impl RawEnd {
    pub(crate) const fn shortcut(&self) -> Option<Shortcut> {
        match self {
            Self::Kept(Kept { place, by }) => Some(Shortcut { place: *place, by: *by }),
            Self::Boxed(_) => None,
        }
    }

    pub(crate) const fn kept(place: Place, by: &'static dyn Keeper) -> Self {
        Self::Kept(Kept { place, by })
    }

    #[inline]
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Kept(Kept { place, by }) => by.poll_read(*place, cx, buf),
            Self::Boxed(raw) => raw.poll_read(cx, buf),
        }
    }

    #[inline]
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Kept(Kept { place, by }) => by.poll_write(*place, cx, buf),
            Self::Boxed(raw) => raw.poll_write(cx, buf),
        }
    }

    /// What a write to an end that is kept has returned for is on its way.
    #[inline]
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Kept(_) => Poll::Ready(Ok(())),
            Self::Boxed(raw) => raw.poll_flush(cx),
        }
    }

    pub(crate) fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Kept(Kept { place, by }) => {
                by.finish(*place);
                Poll::Ready(Ok(()))
            }
            Self::Boxed(raw) => raw.poll_close(cx),
        }
    }

    pub(crate) fn own_addr(&self) -> Option<Addr> {
        match self {
            Self::Kept(_) => None,
            Self::Boxed(raw) => raw.own_addr(),
        }
    }

    pub(crate) fn abort(&self) {
        match self {
            Self::Kept(Kept { place, by }) => by.abort(*place),
            Self::Boxed(raw) => raw.abort(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Self::Kept(Kept { place, by }) => by.close(*place),
            Self::Boxed(raw) => raw.close(),
        }
    }

    /// Closes, just before it is dropped.
    #[inline]
    pub(crate) fn retire(&mut self) {
        match self {
            Self::Kept(kept) => kept.let_go(true),
            Self::Boxed(raw) => raw.close(),
        }
    }
}

impl Kept {
    /// Where an end is that has been let go.
    const NOWHERE: Place = Place { run: 0, number: u64::MAX };

    #[inline]
    fn let_go(&mut self, closes: bool) {
        self.by.let_go(self.place, closes);
        self.place = Self::NOWHERE;
    }
}

impl Drop for Kept {
    #[inline]
    fn drop(&mut self) {
        // What was never closed belonged to a connection that did not come about.
        if self.place != Self::NOWHERE {
            self.let_go(false);
        }
    }
}

impl From<Box<dyn RawConn>> for RawEnd {
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
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<Arrival, Cause>>;

    /// Takes no more, and wakes all who wait.
    fn close(&self);
}

/// One end of a connection, as somebody else made it.
#[cfg(feature = "os")]
pub(crate) struct Arrival {
    pub(crate) raw: Box<dyn RawConn>,
    pub(crate) peer: Addr,
}

impl<T: Engine + ?Sized> Engine for Arc<T> {
    fn new_host<'a>(
        &'a self,
        hostname: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>> {
        (**self).new_host(hostname, registry)
    }

    fn dial<'a>(
        &'a self,
        src: &'a Addr,
        dst: &'a Addr,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>> {
        (**self).dial(src, dst, hostdata)
    }

    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_incoming(cx)
    }

    fn close(&self) -> Result<(), Cause> {
        (**self).close()
    }
}

impl<T: Registry + ?Sized> Registry for Arc<T> {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        (**self).announce(hostname, hostdata)
    }

    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        (**self).query(hostname)
    }

    fn withdraw(&self, hostname: &str) {
        (**self).withdraw(hostname);
    }

    fn close(&self) -> Result<(), RegistryError> {
        (**self).close()
    }
}
