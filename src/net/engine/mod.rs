//! The traits that a network implements: [`Engine`] and [`Registry`].
//!
//! An [`Engine`] carries connections and makes the [`RawConn`] of each one; a [`Registry`]
//! resolves names. What an engine may call in return is `Notifier`.

pub(crate) mod notifier;
pub(crate) mod raw_conn;
pub(crate) mod ready;

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt, TryFutureExt};

use crate::net::addr::Addr;
use crate::net::error::{Cause, Error, RegistryError};
use raw_conn::RawConn;

/// Carries connections between hosts.
///
/// The layer above allocates ports, checks who is down, and never calls an engine while it
/// holds a lock. A future of an engine may be dropped at any await; what it holds must be given
/// back by destructors.
pub trait Engine: Send + Sync + 'static {
    /// Makes a host and announces it, with the host data that a dial of it needs.
    ///
    /// The provided one announces the host with [`Engine::hostdata`], or `""`.
    fn new_host<'a>(
        &'a self,
        hostname: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>> {
        registry.announce(hostname, self.hostdata().unwrap_or("")).map_err(Cause::from).boxed()
    }

    /// Gives the host data of every host, if it is the same for all of them and a host needs
    /// nothing but to be announced.
    ///
    /// The layer above then announces hosts itself, which is faster, and does not call
    /// [`Engine::new_host`]. The provided one gives `None`.
    fn hostdata(&self) -> Option<&str> {
        None
    }

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

    /// Records that an accept failed. The engine was not involved in the failure; one that records
    /// what happens on its network is told by this.
    ///
    /// The one provided does nothing.
    #[doc(hidden)]
    fn record_accept_error(&self, error: &Error) {
        let _ = error;
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

    fn hostdata(&self) -> Option<&str> {
        (**self).hostdata()
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

    fn record_accept_error(&self, error: &Error) {
        (**self).record_accept_error(error);
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
