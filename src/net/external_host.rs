//! Access points to networks outside this layer: the operating system's, or a wrapped network.
//!
//! External sockets become a [`Conn`] and a [`Listener`], so that closing, errors and tracing
//! are the same on every network.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::net::addr::Addr;
use crate::net::conn::Conn;
use crate::net::engine::raw_conn::{ExternalConn, RawListener};
use crate::net::error::{Cause, CauseKind, Error, Op};
use crate::net::listener::Listener;
use crate::net::state::host_state::{Endpoint, HostState, Port};
use crate::net::state::shutdown::until_closed;

/// An access point; what a host is on a network of this layer.
///
/// Its ports are mere numbers of sockets that are open: what a socket is called elsewhere stands
/// in its address.
#[derive(Debug)]
pub(crate) struct ExternalHost {
    state: Arc<HostState>,
    listeners: Mutex<Vec<Weak<dyn RawListener>>>,
}

impl ExternalHost {
    pub(crate) fn new(network: &str, name: &str) -> Self {
        let state = HostState::new(Addr::from_parts(network, name, 0));
        Self { state, listeners: Mutex::default() }
    }

    pub(crate) fn network(&self) -> &str {
        self.state.addr.network()
    }

    pub(crate) fn name(&self) -> &str {
        self.state.addr.host()
    }

    /// Waits for a connection that is made elsewhere, unless this is closed meanwhile.
    pub(crate) async fn dial(
        &self,
        dst: &Addr,
        connect: impl Future<Output = Result<ExternalConn, Cause>>,
    ) -> Result<Conn, Error> {
        let describe = || format!("dial {} {dst}", self.network());
        let connected = until_closed(&*self.state, connect, describe).await;
        let attached = match connected {
            Some(Ok(ExternalConn { raw, peer })) => Port::take_lowest(&self.state)
                .ok_or(CauseKind::NoFreePort)
                .and_then(|port| Endpoint::attach(port, peer, raw))
                .map_err(Cause::from),
            Some(Err(cause)) => Err(self.state.down_cause().map_or(cause, Cause::from)),
            None => Err(self.state.down_cause().unwrap_or(CauseKind::HostDown).into()),
        };
        match attached {
            Ok(endpoint) => Ok(Conn::new(endpoint, None)),
            Err(cause) => Err(Error::new(Op::Dial, self.network(), None, Some(dst.clone()), cause)),
        }
    }

    /// Says why nothing can be done here, if so.
    pub(crate) fn down_cause(&self) -> Option<Cause> {
        self.state.down_cause().map(Cause::from)
    }

    /// Takes connections from an external listener, which listens at `addr`.
    pub(crate) fn listen(
        &self,
        addr: &Addr,
        listener: Arc<dyn RawListener>,
    ) -> Result<Listener, Cause> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&listener));
        drop(listeners);
        // Whoever closes this finds it in the list; or else it is down by now, and this fails.
        let result = Listener::external(&self.state, addr.clone(), listener.clone());
        result.map_err(Cause::from).inspect_err(|_| listener.close())
    }

    /// Closes everything that was made here, and interrupts what is blocked on it.
    pub(crate) fn close(&self) {
        self.state.assert_accessible();
        self.state.shut_down();
        let listeners =
            std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.close();
        }
    }
}
