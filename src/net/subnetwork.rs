//! [`SubNetwork`]: the part of a network whose hosts are in this process.
//!
//! The engine announces a new host in the registry. If the host is not created after that, its
//! name is withdrawn.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use crate::net::addr::Addr;
use crate::net::engine::notifier::{DialTarget, Notifier};
use crate::net::engine::{Engine, Registry};
use crate::net::error::{Cause, CauseKind, Error, Op, RegistryError};
use crate::net::host::Host;
use crate::net::state::host_state::HostState;
use crate::net::state::network_state::NetState;
use crate::net::state::shutdown::until_closed;

/// A part of a network: all its hosts share an engine and a registry.
///
/// A clone is another handle to the same subnetwork. Dropping handles closes nothing.
#[derive(Clone)]
pub struct SubNetwork {
    state: Arc<NetState>,
}

impl SubNetwork {
    /// Makes a subnetwork of what carries it and what knows its names.
    ///
    /// The [`Notifier`] is for the engine, which may need it before it can do anything.
    pub fn new(network: &str, engine: impl Engine, registry: impl Registry) -> (Self, Notifier) {
        Self::with_name(network.into(), engine, registry)
    }

    /// Makes a subnetwork that shares the text of its name.
    pub(crate) fn with_name(
        network: Arc<str>,
        engine: impl Engine,
        registry: impl Registry,
    ) -> (Self, Notifier) {
        let state = NetState::new(network, Box::new(engine), Box::new(registry));
        let state = Arc::new(state);
        let notifier = Notifier::new(Arc::downgrade(&state));
        (Self { state }, notifier)
    }

    /// Makes a subnetwork whose engine has its notifier from the beginning.
    pub(crate) fn new_cyclic<E: Engine, R: Registry>(
        network: Arc<str>,
        engine: impl FnOnce(Notifier) -> E,
        registry: R,
    ) -> Self {
        let state = Arc::new_cyclic(|net: &Weak<NetState>| {
            let engine = engine(Notifier::new(Weak::clone(net)));
            NetState::new(network, Box::new(engine), Box::new(registry))
        });
        Self { state }
    }

    /// Finds a host as dials reach it.
    pub(crate) fn dial_target(&self, host: &str) -> Option<DialTarget> {
        self.state.host(host).map(DialTarget::new)
    }

    /// Gives the name of the network.
    pub fn network(&self) -> &str {
        &self.state.name
    }

    /// Makes a host; any string is a name, but each only once in the whole network.
    ///
    /// # Errors
    ///
    /// If the network is down, before or meanwhile, or the registry or the engine refuses.
    ///
    /// # Panics
    ///
    /// If the registry gives out the name of a host that is open.
    ///
    /// # Cancel safety
    ///
    /// A name that was announced when the future is dropped is given back, if the registry can.
    pub async fn new_host(&self, name: &str) -> Result<Host, Error> {
        self.clone().into_host(Addr::from_parts(self.network(), name, 0)).await
    }

    /// Makes a host that keeps this handle of its network; its address has port 0.
    pub(crate) async fn into_host(self, addr: Addr) -> Result<Host, Error> {
        let host = Host::new(self.state, HostState::new(addr));
        let describe = || format!("new host {} on {}", host.name(), host.network());
        let (net, name) = (&*host.net, host.name());
        let result = match net.engine.hostdata() {
            Some(hostdata) => {
                let announcement = net.registry.announce(name, hostdata);
                match until_closed(net, announcement, describe).await {
                    Some(Ok(())) => {
                        let added = net.add_host(&host.state);
                        added.inspect_err(|_| net.registry.withdraw(name)).map_err(Cause::from)
                    }
                    Some(Err(error)) => Err(error.into()),
                    None => Err(Cause::NetDown),
                }
            }
            None => {
                let tracker =
                    AnnounceTracker { host: host.clone(), is_announced: AtomicBool::new(false) };
                let announcement = AnnouncementGuard(&tracker);
                match until_closed(net, net.engine.new_host(name, &tracker), describe).await {
                    Some(Ok(())) => {
                        announcement.commit(|| net.add_host(&host.state)).map_err(Cause::from)
                    }
                    Some(Err(cause)) => Err(cause),
                    None => Err(Cause::NetDown),
                }
            }
        };
        let Err(cause) = result else { return Ok(host) };
        let cause = host.net.down_cause().map_or(cause, Cause::from);
        let (network, addr) = (host.net.name.clone(), host.state.addr.clone());
        Err(Error::new(Op::NewHost, network, Some(addr), None, cause))
    }

    /// Finds a host of this subnetwork, be it open or closed.
    pub fn host(&self, name: &str) -> Option<Host> {
        self.state.host(name).map(|host| Host::new(self.state.clone(), host))
    }

    /// Closes the network with all its hosts, and interrupts everything that is blocked on it.
    ///
    /// # Errors
    ///
    /// Whatever the engine and the registry report, and why the network went down by itself, if it
    /// did: one cause, or [`Cause::Many`]. A second call returns the same.
    pub fn close(&self) -> Result<(), Error> {
        self.state.assert_accessible();
        self.state.close(None)
    }

    /// Lets the network close when its last open host is closed.
    ///
    /// Hosts that are made meanwhile count as well. The error of closing, if any, is returned by
    /// the [`Host::close`] that caused it.
    ///
    /// # Panics
    ///
    /// If no host is open: there is nothing whose closing could close the network.
    pub fn auto_close(&self) {
        self.state.auto_close();
    }
}

impl fmt::Debug for SubNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubNetwork({:?})", self.network())
    }
}

/// Stands between engine and registry, and sees whether a name was announced.
///
/// To ask the registry afterwards would not do: the name may be another's.
struct AnnounceTracker {
    /// The host that is being made.
    host: Host,
    is_announced: AtomicBool,
}

impl AnnounceTracker {
    /// Sees how an announcement ends, if it does.
    fn track<E>(&self, polled: Poll<Result<(), E>>) -> Poll<Result<(), E>> {
        if let Poll::Ready(Ok(())) = polled {
            self.is_announced.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn registry(&self) -> &dyn Registry {
        &*self.host.net.registry
    }
}

/// A name that was announced, or is going to be; given back on drop, unless the host came to be.
struct AnnouncementGuard<'a>(&'a AnnounceTracker);

impl AnnouncementGuard<'_> {
    /// Adds the host; its name is given back if that fails, but not if it panics, because the
    /// name is that of another host then.
    fn commit(&self, add: impl FnOnce() -> Result<(), CauseKind>) -> Result<(), CauseKind> {
        // Only the task that makes the host gets here, when the engine is done: no need to swap.
        let was_announced = self.0.is_announced.load(Ordering::Relaxed);
        self.0.is_announced.store(false, Ordering::Relaxed);
        let result = add();
        if result.is_err() {
            self.0.is_announced.store(was_announced, Ordering::Relaxed);
        }
        result
    }
}

impl Drop for AnnouncementGuard<'_> {
    fn drop(&mut self) {
        if self.0.is_announced.load(Ordering::Relaxed) {
            self.0.registry().withdraw(self.0.host.name());
        }
    }
}

/// Sees how an announcement ends. A third of what `inspect_ok` takes.
struct AnnounceFuture<'a> {
    future: BoxFuture<'a, Result<(), RegistryError>>,
    tracker: &'a AnnounceTracker,
}

impl Future for AnnounceFuture<'_> {
    type Output = Result<(), RegistryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.tracker.track(self.future.as_mut().poll(cx))
    }
}

impl Registry for AnnounceTracker {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        let future = self.registry().announce(hostname, hostdata);
        if hostname != self.host.name() {
            return future;
        }
        Box::pin(AnnounceFuture { future, tracker: self })
    }

    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        self.registry().query(hostname)
    }

    fn withdraw(&self, hostname: &str) {
        self.registry().withdraw(hostname);
    }

    fn close(&self) -> Result<(), RegistryError> {
        self.registry().close()
    }
}
