//! The smallest network: unbuffered pipes, and a map of names.
//!
//! It depends on [`net`](crate::net) only: it has no simulator, no operating system and no
//! clock. Use it for tests that need a network without faults or latency, and as an example of
//! an [`Engine`].

mod pipe;
mod registry;

use std::fmt;
use std::future::Future;
use std::hint;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures::future::{BoxFuture, FutureExt};

use crate::net::{Addr, Cause, Engine, Host, Notifier, RawConn, SubNetwork, full_name};
use pipe::pipe;
use registry::InMemoryRegistry;

/// A network in memory.
///
/// A connection is a rendezvous: a write waits for a read. Nothing else waits, but a dial for its
/// accept.
///
/// ```
/// let net = virtnet::pipenet::Network::new("t");
/// let (α, β) = (net.host("α"), net.host("β"));
/// assert_eq!((α.network(), α.name()), ("pipet", "α"));
/// assert!(α == net.host("α") && α != β);
/// ```
#[derive(Clone)]
pub struct Network {
    subnetwork: SubNetwork,
}

impl Network {
    /// Makes a network, whose full name is `pipe` and then the name given.
    ///
    /// Two networks of one name know nothing of each other.
    pub fn new(name: &str) -> Self {
        let name = full_name("pipe", name);
        let engine = |notifier| PipeEngine { notifier };
        Self {
            subnetwork: SubNetwork::new_cyclic(name.clone(), engine, InMemoryRegistry::new(name)),
        }
    }

    /// Gives the host of this name, and makes it if there is none.
    ///
    /// After closing it still gives the hosts that there were.
    ///
    /// # Panics
    ///
    /// If there is no such host and the network is closed, with the text of that error:
    /// `virtnet "pipet": new host "γ": network is down`.
    pub fn host(&self, name: &str) -> Host {
        loop {
            if let Some(host) = self.subnetwork.host(name) {
                return host;
            }
            let new_host = pin!(self.subnetwork.new_host(name));
            match new_host.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(host)) => return host,
                // Another thread makes it at this moment; the registry lets only one do so.
                Poll::Ready(Err(error)) if *error.root() == Cause::HostExists => hint::spin_loop(),
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => unreachable!("neither our engine nor our registry ever waits"),
            }
        }
    }

    /// Gives the network as every network is used, to make hosts that must not exist, and to close
    /// it.
    pub fn subnetwork(&self) -> SubNetwork {
        self.subnetwork.clone()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pipenet::Network({:?})", self.subnetwork.network())
    }
}

/// Carries connections as pipes.
#[derive(Debug)]
struct PipeEngine {
    /// Tells the network that we carry.
    notifier: Notifier,
}

impl Engine for PipeEngine {
    fn hostdata(&self) -> Option<&str> {
        Some("")
    }

    fn dial<'a>(
        &'a self,
        src: &'a Addr,
        dst: &'a Addr,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>> {
        async move {
            let accept = self.notifier.accept(src, dst).await?;
            let (dialer_end, acceptor_end) = pipe();
            let peer = accept.addr().clone();
            accept.confirm(acceptor_end);
            Ok((dialer_end, peer))
        }
        .boxed()
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}
