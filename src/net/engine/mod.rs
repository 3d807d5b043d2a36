//! The traits that a network implements: [`Engine`] and [`Registry`].
//!
//! An [`Engine`] carries connections and makes the [`RawConn`] of each one; a [`Registry`]
//! resolves names. What an engine may call in return is `Notifier`.

pub(crate) mod notifier;
pub(crate) mod raw_conn;
pub(crate) mod ready;

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use crate::net::addr::Addr;
use crate::net::error::{Cause, Error, RegistryError};
use raw_conn::RawConn;

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

/// What a dial comes to: this end of the connection, and the address of the other, or its port
/// alone where the host is known.
///
/// The cause is boxed, as is that of an announcement: what nearly always is not there would have to
/// be moved out of every poll, in wider words than it was written in.
pub(crate) type DialResult<P> = Result<(Box<dyn RawConn>, P), Box<Cause>>;

/// An engine of this crate that is its own registry. What is begun has a number here, so that a
/// dial needs no future of the registry's and none of the engine's.
///
/// Where there is no number yet a poll begins it and may give one; there is none any more when it
/// is over.
pub(crate) trait Transport: Send + Sync {
    /// Makes a host and takes its name: see [`Engine::new_host`].
    fn poll_announce(
        &self,
        op_id: &mut Option<u32>,
        host: &Addr,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Box<Cause>>>;

    /// Connects from a port of a host to an address: see [`Engine::dial`]. What comes of it is this
    /// end, and the port of the other.
    fn poll_dial(
        &self,
        op_id: &mut Option<u32>,
        src: (&Addr, u16),
        dst: &Addr,
        cx: &mut Context<'_>,
    ) -> Poll<DialResult<u16>>;

    /// Returns whether what has been begun has come to its end, which a poll would give.
    fn is_op_done(&self, op_id: u32) -> bool;

    /// Gives up what has been begun and is not over.
    fn cancel_op(&self, op_id: u32);

    /// Wakes who waits for what has been begun, because a host has gone down: for its dials; or
    /// because the whole network has: for everything.
    fn interrupt(&self, host: Option<&Addr>);

    /// See [`Registry::withdraw`].
    fn withdraw(&self, hostname: &str);

    /// Notes that an accept fails, of which no message tells.
    fn record_accept_error(&self, error: &Error);
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
