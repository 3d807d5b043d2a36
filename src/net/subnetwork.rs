//! The hosts of a network that live here.
//!
//! Knows how a host is made: the engine announces it, and a name that was announced for nothing
//! is given back. Does not know where the other hosts of the network are.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use crate::net::addr::Addr;
use crate::net::engine::notifier::{Gate, Notifier};
use crate::net::engine::ready::{Granted, is_granted};
use crate::net::engine::{Engine, Registry};
use crate::net::error::{Cause, Error, Op, RegistryError, Why};
use crate::net::host::Host;
use crate::net::state::host_state::HostState;
use crate::net::state::network_state::{Carrier, NetState, Parts};
use crate::net::state::shutdown::{numbered, unless_down};

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
        let state: Arc<NetState> = Arc::new(NetState::new(network.into(), (engine, registry)));
        let notifier = Notifier::new(Arc::downgrade(&state));
        (Self { state }, notifier)
    }

    /// Makes a subnetwork whose engine has its notifier from the beginning.
    pub(crate) fn with<E: Engine, R: Registry>(
        network: Arc<str>,
        engine: impl FnOnce(Notifier) -> E,
        registry: R,
    ) -> Self {
        let state = Arc::new_cyclic(|net: &Weak<NetState<(E, R)>>| {
            let notifier = Notifier::new(Weak::clone(net) as Weak<NetState>);
            NetState::new(network, (engine(notifier), registry))
        });
        Self { state }
    }

    /// Makes a subnetwork of what is whole.
    pub(crate) fn of(network: Arc<str>, whole: impl Parts) -> Self {
        Self { state: Arc::new(NetState::new(network, whole)) }
    }

    /// Finds a host as dials reach it.
    pub(crate) fn gate(&self, host: &str) -> Option<Gate> {
        self.state.host(host).map(Gate::of)
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
        self.clone().into_host(Addr::of(self.network(), name, 0)).await
    }

    /// Makes a host that keeps this handle of its network; its address has port 0.
    pub(crate) async fn into_host(self, addr: Addr) -> Result<Host, Error> {
        let host = Host::new(self.state, HostState::new(addr));
        let describe = || format!("new host {} on {}", host.name(), host.network());
        let made = match host.net.carrier() {
            Carrier::Whole(whole) => {
                let announcing = numbered(whole, &*host.net, describe, |whole, call, cx| {
                    whole.poll_announce(call, &host.state.addr, cx)
                });
                match announcing.await {
                    // There was no await since the name was taken: nobody else would give it back.
                    Some(Ok(())) => host.net.add_host(&host.state).map_err(|why| {
                        whole.withdraw(host.name());
                        Cause::from(why)
                    }),
                    Some(Err(cause)) => Err(*cause),
                    None => Err(Cause::NetDown),
                }
            }
            Carrier::Two(engine, _) => {
                let witness = Witness { host: host.clone(), announced: AtomicBool::new(false) };
                let announcement = Announcement(&witness);
                let making = engine.new_host(host.name(), &witness);
                match unless_down(&*host.net, making, describe).await {
                    Some(Ok(())) => {
                        announcement.settle(|| host.net.add_host(&host.state)).map_err(Cause::from)
                    }
                    Some(Err(cause)) => Err(cause),
                    None => Err(Cause::NetDown),
                }
            }
        };
        let Err(cause) = made else { return Ok(host) };
        let cause = host.net.down().map_or(cause, Cause::from);
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
        self.state.assert_here();
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
struct Witness {
    /// The host that is being made.
    host: Host,
    announced: AtomicBool,
}

impl Witness {
    /// Sees how an announcement ends, if it does.
    fn watch<E>(&self, polled: Poll<Result<(), E>>) -> Poll<Result<(), E>> {
        if let Poll::Ready(Ok(())) = polled {
            self.announced.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn registry(&self) -> &dyn Registry {
        match self.host.net.carrier() {
            Carrier::Two(_, registry) => registry,
            Carrier::Whole(_) => unreachable!("what is whole asks nobody"),
        }
    }
}

/// A name that was announced, or is going to be; given back on drop, unless the host came to be.
struct Announcement<'a>(&'a Witness);

impl Announcement<'_> {
    /// Adds the host; its name is given back if that fails, but not if it panics, because the
    /// name is that of another host then.
    fn settle(&self, add: impl FnOnce() -> Result<(), Why>) -> Result<(), Why> {
        // Only whoever makes the host gets here, when the engine is done: no need to swap.
        let announced = self.0.announced.load(Ordering::Relaxed);
        self.0.announced.store(false, Ordering::Relaxed);
        let added = add();
        if added.is_err() {
            self.0.announced.store(announced, Ordering::Relaxed);
        }
        added
    }
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        if self.0.announced.load(Ordering::Relaxed) {
            self.0.registry().withdraw(self.0.host.name());
        }
    }
}

/// Sees how an announcement ends. A third of what `inspect_ok` takes.
struct Announcing<'a> {
    announced: BoxFuture<'a, Result<(), RegistryError>>,
    witness: &'a Witness,
}

impl Future for Announcing<'_> {
    type Output = Result<(), RegistryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.witness.watch(self.announced.as_mut().poll(cx))
    }
}

impl Registry for Witness {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        let mut announced = self.registry().announce(hostname, hostdata);
        if hostname != self.host.name() {
            return announced;
        }
        if is_granted(&mut announced) {
            self.announced.store(true, Ordering::Relaxed);
            return Granted::boxed();
        }
        Box::pin(Announcing { announced, witness: self })
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
