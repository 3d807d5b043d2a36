//! [`Host`]: dialing and listening.
//!
//! This module defines the order in which the preconditions of a dial and of a listen are
//! checked. Every condition is checked again after an await.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use crate::util::stall_probe::{Operation, is_probing, report_effect, report_pending};

use crate::net::addr::{Addr, split_host_port};
use crate::net::conn::Conn;
use crate::net::engine::raw_conn::RawConn;
use crate::net::error::{Cause, CauseKind, Error, Op};
use crate::net::listener::Listener;
use crate::net::state::host_state::{Endpoint, HostState, Port};
use crate::net::state::network_state::NetState;
use crate::net::state::shutdown::until_closed;

/// A host of a network, and the way onto that network for what runs there.
///
/// A clone is another handle to the same host; two handles are equal if they stand for the same
/// one. Dropping handles closes nothing.
#[derive(Clone)]
pub struct Host {
    pub(crate) net: Arc<NetState>,
    pub(crate) state: Arc<HostState>,
}

impl Host {
    #[inline]
    pub(crate) fn new(net: Arc<NetState>, state: Arc<HostState>) -> Self {
        Self { net, state }
    }

    /// Gives the name of the host.
    #[inline]
    pub fn name(&self) -> &str {
        self.state.addr.host()
    }

    /// Gives the name of the network.
    #[inline]
    pub fn network(&self) -> &str {
        &self.net.name
    }

    /// Says whether the host, or the network with it, has been closed.
    pub fn is_closed(&self) -> bool {
        // The network is asked too: after its run it cannot tell its hosts any more.
        self.net.down_cause().is_some() || self.state.down_cause().is_some()
    }

    /// Connects to a listener, and waits until it accepts.
    ///
    /// An address without a host, as in `:1`, means this host. The lowest free port is taken for
    /// this end before anything else, so that every error shows one.
    ///
    /// # Errors
    ///
    /// In this order: no port is free; a malformed address; this host or the network is down; the
    /// registry does not know the host; it has no listener at that port. If this host is down by
    /// the time of the failure, `down` is the reason.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives the port back and takes the dial out of the listener's queue. To keep it
    /// and poll it no more is another thing: once accepted it holds up the dials behind it.
    pub async fn dial(&self, addr: &str) -> Result<Conn, Error> {
        let (net, state) = (&*self.net, &*self.state);
        let fail = |src: Addr, dst: Option<Addr>, cause| {
            Error::new(Op::Dial, net.name.clone(), Some(src), dst, cause)
        };
        let Some(port) = Port::take_lowest(&self.state) else {
            return Err(fail(state.addr.clone(), None, Cause::NoFreePort));
        };
        let src = port.addr();
        let target = match split_host_port(addr) {
            Ok(target) => target,
            Err(error) => return Err(fail(src, None, error.into())),
        };
        let dst = self.addr_of(target.0, target.1);
        let describe = || format!("dial {} {src}->{dst}", net.name);
        let connected = until_closed(state, connect(net, &src, &dst), describe).await;
        // Asked again, because there has been an await: first of a failure, whose reason may be
        // that we are down, then of a connection, under the lock of the table that it enters.
        let attached = match connected {
            Some(Ok((raw, peer))) => Endpoint::attach(port, peer, raw).map_err(Cause::from),
            Some(Err(cause)) => Err(self.state.down_cause().map_or(cause, Cause::from)),
            None => Err(self.state.down_cause().unwrap_or(CauseKind::HostDown).into()),
        };
        match attached {
            Ok(endpoint) => Ok(Conn::new(endpoint, None)),
            Err(cause) => Err(fail(src, Some(self.addr_of(target.0, target.1)), cause)),
        }
    }

    /// Starts to listen at a port of this host.
    ///
    /// `""` and `:0` take the lowest free port, `:7` takes 7.
    ///
    /// # Errors
    ///
    /// In this order: a malformed address; one of another host; this host or the network is down;
    /// the port is taken, or none is free.
    ///
    /// # Cancel safety
    ///
    /// It never waits.
    pub async fn listen(&self, addr: &str) -> Result<Listener, Error> {
        if is_probing() {
            let describe = || format!("listen {} {}", self.net.name, self.name());
            return poll_fn(|_| report_pending(Operation::New, describe)).await;
        }
        let fail = |addr, cause| Error::new(Op::Listen, self.net.name.clone(), None, addr, cause);
        let (host, port) = match addr {
            "" => ("", 0),
            addr => split_host_port(addr).map_err(|error| fail(None, error.into()))?,
        };
        let listener = match host.is_empty() || host == self.name() {
            true => Listener::bind(&self.net, &self.state, port).map_err(Cause::from),
            false => Err(Cause::AddrNotLocal),
        };
        listener.map_err(|cause| fail(Some(self.addr_of(host, port)), cause))
    }

    /// Gives the addresses of its listeners, and how many dials and accepts wait at each.
    pub(crate) fn listeners(&self) -> Vec<(Addr, usize, usize)> {
        let listeners = self.state.with_table(|table| table.listeners());
        let with_addr = |(port, dials, accepts)| (self.state.addr.with_port(port), dials, accepts);
        listeners.into_iter().map(with_addr).collect()
    }

    /// Sets how many of the next accepts of each of its listeners fail.
    pub(crate) fn set_accept_failures(&self, count: u32) {
        self.state.with_table(|table| table.set_accept_failures(count));
    }

    /// Makes an address, and shares the names of the host if it lives here.
    #[inline(always)]
    fn addr_of(&self, host: &str, port: u16) -> Addr {
        if host.is_empty() || host == self.name() {
            self.state.addr.with_port(port)
        } else {
            self.net.addr_of(host, port)
        }
    }

    /// Closes the host and interrupts everything that is blocked on it.
    ///
    /// Its connections and listeners are down from then on; the other ends read the end of the
    /// stream, and dials to it are refused. The name stays taken. A second time does nothing.
    ///
    /// The tasks of a program on the host go on running: only its connections and listeners end.
    ///
    /// # Errors
    ///
    /// If the network closes with its last host (see
    /// `SubNetwork::auto_close`) and that failed.
    pub fn close(&self) -> Result<(), Error> {
        self.state.assert_accessible();
        report_effect(|| format!("goes on and closes the host {:?}", self.name()));
        self.net.close_host(&self.state)
    }
}

/// Asks the registry where a host is, and the engine to connect.
async fn connect(
    net: &NetState,
    src: &Addr,
    dst: &Addr,
) -> Result<(Box<dyn RawConn>, Addr), Cause> {
    let hostdata = net.registry.query(dst.host()).await?;
    net.engine.dial(src, dst, &hostdata).await
}

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }
}

impl Eq for Host {}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = if self.is_closed() { ", closed" } else { "" };
        write!(f, "Host({:?} on {:?}{closed})", self.name(), self.network())
    }
}
