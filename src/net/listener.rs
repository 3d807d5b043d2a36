//! A place where a host listens.
//!
//! Knows how to wait for connections. Does not know how they come about: dials are matched to
//! accepts in the host's table, and confirmed by the engine.

use std::borrow::Borrow;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;

use crate::util::stall_probe::{
    Operation, acts, address_of, explaining, has_progressed, withdraw, withhold,
};

use crate::net::addr::Addr;
use crate::net::conn::{Conn, Tap, both};
#[cfg(feature = "os")]
use crate::net::engine::raw_conn::{Arrival, RawListener};
use crate::net::error::{Cause, Error, Op, Why};
use crate::net::state::host_state::{Endpoint, HostState, ListenerKey, Port};
use crate::net::state::network_state::{Carrier, NetState};
use crate::net::state::wait_list::Wakers;

/// Waits for connections at one port of a host.
///
/// A clone is another handle to the same listener. It is closed when the last one drops, and
/// dials that wait for it are refused.
#[derive(Clone)]
pub struct Listener {
    bound: Arc<Bound>,
    tap: Option<Tap>,
}

/// What all handles of one listener share. Dropping the port closes the listener.
struct Bound {
    port: Port,
    serial: u64,
    from: Source,
}

/// Where connections come from.
enum Source {
    /// From dials, which the network brings. Who holds a listener and nothing else still waits for
    /// them, so that the network is not to be dropped with the last handle to it or to the host.
    Net { net: Arc<NetState> },
    /// From somebody else's listener, at an address that is no port of this host.
    #[cfg(feature = "os")]
    Other { listener: Arc<dyn RawListener>, addr: Addr },
}

impl Bound {
    fn addr(&self) -> Addr {
        match &self.from {
            Source::Net { .. } => self.port.addr(),
            #[cfg(feature = "os")]
            Source::Other { addr, .. } => addr.clone(),
        }
    }

    /// Lets the network note that an accept fails.
    #[cold]
    fn note(&self, error: &Error) {
        match &self.from {
            Source::Net { net } => {
                if let Carrier::Whole(whole) = net.carrier() {
                    whole.accept_failed(error);
                }
            }
            #[cfg(feature = "os")]
            Source::Other { .. } => {}
        }
    }
}

#[cfg(feature = "os")]
impl Drop for Bound {
    fn drop(&mut self) {
        if let Source::Other { listener, .. } = &self.from {
            listener.close();
        }
    }
}

impl Listener {
    /// Binds a port of a host, the lowest free one for 0.
    #[inline(always)]
    pub(crate) fn bind(net: &Arc<NetState>, host: &Arc<HostState>, port: u16) -> Result<Self, Why> {
        let (port, serial) = Port::listen(host, port)?;
        let from = Source::Net { net: net.clone() };
        Ok(Self { bound: Arc::new(Bound { port, serial, from }), tap: None })
    }

    /// Makes a listener of somebody else's; the port that it takes of the host is a mere number.
    #[cfg(feature = "os")]
    pub(crate) fn on(
        host: &Arc<HostState>,
        addr: Addr,
        listener: Arc<dyn RawListener>,
    ) -> Result<Self, Why> {
        let (port, serial) = Port::listen(host, 0)?;
        let from = Source::Other { listener, addr };
        Ok(Self { bound: Arc::new(Bound { port, serial, from }), tap: None })
    }

    /// Lets every write on the connections accepted be seen.
    pub(crate) fn tapped(self, tap: Tap) -> Self {
        Self { tap: Some(both(self.tap, tap)), bound: self.bound }
    }

    /// Gives the address at which to dial it; also after closing.
    pub fn local_addr(&self) -> Addr {
        self.bound.addr()
    }

    /// Waits for the next connection.
    ///
    /// Those who wait are served in the order in which they came, and so are the dials. The
    /// connection has a port of its own, not that of the listener.
    ///
    /// # Errors
    ///
    /// If the listener, its host or the network is closed, before or meanwhile; or if the host has
    /// no free port for the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no connection: a dial that was about to be accepted waits for the next
    /// accept, and a connection that was made already goes to it.
    pub async fn accept(&self) -> Result<Conn, Error> {
        let mut waiting = Waiting { listener: self, ticket: None };
        poll_fn(|cx| waiting.poll_next(cx)).await
    }

    /// Gives the connections one after the other, as a stream.
    ///
    /// It ends after the error that the listener, its host or the network is down. That the host
    /// has no free port or the system no descriptor is an error as well, but not the end: a
    /// connection may be closed meanwhile.
    pub fn incoming(&self) -> Incoming {
        Incoming { waiting: Waiting { listener: self.clone(), ticket: None }, over: false }
    }

    /// Closes the listener and gives its port back.
    ///
    /// Accepts that wait fail with `socket is down`, dials with `connection refused`. Connections
    /// that were accepted live on. A second time does nothing, even if the port was bound again.
    ///
    /// # Errors
    ///
    /// None at present; closing a socket can fail on other networks.
    pub fn close(&self) -> Result<(), Error> {
        self.bound.port.host.assert_here();
        self.hang_up();
        Ok(())
    }

    /// Closes as dropping does: anywhere, at any time.
    pub(crate) fn hang_up(&self) {
        acts(|| format!("goes on and closes {self:?}"));
        self.bound.port.give_back();
        #[cfg(feature = "os")]
        if let Source::Other { listener, .. } = &self.bound.from {
            listener.close();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.local_addr())
    }
}

/// One accept, waiting in the listener's queue; leaves it on drop.
struct Waiting<L: Borrow<Listener>> {
    listener: L,
    ticket: Option<u64>,
}

impl<L: Borrow<Listener>> Waiting<L> {
    fn key(&self) -> ListenerKey {
        let Bound { port, serial, .. } = &*self.listener.borrow().bound;
        ListenerKey { port: port.number(), serial: *serial }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Conn, Error>> {
        if explaining() {
            return self.explain(cx);
        }
        let mut found = None;
        self.poll_queue(cx.waker(), &mut found);
        if found.is_none() && self.poll_incoming(cx).is_ready() {
            self.poll_queue(cx.waker(), &mut found);
        }
        match found {
            Some(Ok(end)) => return Poll::Ready(Ok(self.accepted(end))),
            Some(Err(why)) => return Poll::Ready(Err(self.failed(why.into()))),
            None => {}
        }
        #[cfg(feature = "os")]
        match self.poll_elsewhere(cx) {
            Poll::Ready(Ok(end)) => return Poll::Ready(Ok(self.accepted(end))),
            Poll::Ready(Err(cause)) => return Poll::Ready(Err(self.failed(cause))),
            Poll::Pending => {}
        }
        Poll::Pending
    }

    /// Says how the accept stands while a stall is explained; it takes nothing and joins no queue.
    #[cold]
    fn explain<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let (key, ticket) = (self.key(), self.ticket);
        let host = &self.listener.borrow().bound.port.host;
        #[cfg_attr(not(feature = "os"), expect(unused_mut, reason = "no listener is another's"))]
        let mut operation = match ticket {
            _ if has_progressed() => Operation::Waits,
            None => Operation::BeginsAt(address_of(self)),
            Some(ticket) => {
                let ready = host.try_table(|table| {
                    let backlog = table.backlog(key);
                    backlog.is_none_or(|(backlog, _)| backlog.is_accept_ready(ticket))
                });
                let ready = host.down().is_some() || ready == Some(true);
                if ready { Operation::Ready } else { Operation::Waits }
            }
        };
        #[cfg(feature = "os")]
        if operation == Operation::Waits
            && let Source::Other { listener, .. } = &self.listener.borrow().bound.from
            && !has_progressed()
            && listener.poll_accept(cx).is_ready()
        {
            operation = Operation::Ready;
        }
        let _ = cx;
        withhold(operation, || {
            let addr = self.listener.borrow().local_addr();
            format!("accept {} {addr}", addr.network())
        })
    }

    #[inline]
    fn accepted(&mut self, end: Arc<Endpoint>) -> Conn {
        self.ticket = None;
        Conn::new(end, self.listener.borrow().tap.clone())
    }

    #[cold]
    fn failed(&mut self, cause: Cause) -> Error {
        self.ticket = None;
        let addr = self.listener.borrow().local_addr();
        let network: Arc<str> = addr.network().into();
        let error = Error::new(Op::Accept, network, None, Some(addr), cause);
        self.listener.borrow().bound.note(&error);
        error
    }

    /// Looks into the queue, and joins it if there is nothing to be found.
    ///
    /// What comes of it is put where it stays: it would be moved, just after it was written.
    fn poll_queue(&mut self, waker: &Waker, found: &mut Option<Result<Arc<Endpoint>, Why>>) {
        let (key, mut wakers) = (self.key(), Wakers::default());
        let Self { listener, ticket } = self;
        let listener: &Listener = (*listener).borrow();
        let host = &listener.bound.port.host;
        host.table(|table| {
            if let Some(why) = host.down() {
                *found = Some(Err(why));
                return;
            }
            let Some((backlog, ports)) = table.backlog(key) else {
                *found = Some(Err(Why::SockDown));
                return;
            };
            let ticket = match *ticket {
                Some(ticket) => ticket,
                None => match backlog.accept(ports, waker, &mut wakers) {
                    Ok(end) => {
                        *found = Some(Ok(end));
                        return;
                    }
                    Err(queued) => *ticket.insert(queued),
                },
            };
            match backlog.poll_accept(ticket, waker, &mut wakers) {
                Some(Poll::Ready(accepted)) => *found = Some(accepted),
                Some(Poll::Pending) => {}
                None => *found = Some(Err(Why::SockDown)),
            }
        });
        wakers.wake();
    }

    /// Takes its turn at bringing in who dials, if the network has that done where one accepts.
    #[inline]
    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.listener.borrow().bound.from {
            Source::Net { net } => match net.carrier() {
                Carrier::Two(engine, _) => engine.poll_incoming(cx),
                Carrier::Whole(_) => Poll::Pending,
            },
            #[cfg(feature = "os")]
            Source::Other { .. } => Poll::Pending,
        }
    }
}

#[cfg(feature = "os")]
impl<L: Borrow<Listener>> Waiting<L> {
    /// Looks for a connection where others bring them, if that is where they come from. The queue
    /// stays empty then, and is there to be woken when something closes.
    fn poll_elsewhere(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Endpoint>, Cause>> {
        let Source::Other { listener, .. } = &self.listener.borrow().bound.from else {
            return Poll::Pending;
        };
        let host = &self.listener.borrow().bound.port.host;
        let gone = || host.table(|table| table.backlog(self.key()).is_none());
        let accepted = listener.poll_accept(cx).map(|arrived| {
            // If it was closed meanwhile that is the reason, whatever the other says.
            let Arrival { raw, peer } = arrived.map_err(|cause| {
                let down = host.down().or_else(|| gone().then_some(Why::SockDown));
                down.map_or(cause, Cause::from)
            })?;
            let port = Port::lowest(host).ok_or(Why::NoFreePort)?;
            Ok(Endpoint::attach(port, peer, raw.into())?)
        });
        if accepted.is_ready() {
            self.leave();
        }
        accepted
    }
}

impl<L: Borrow<Listener>> Waiting<L> {
    fn leave(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut wakers = Wakers::default();
        self.listener.borrow().bound.port.host.try_table(|table| {
            if let Some((backlog, ports)) = table.backlog(self.key()) {
                backlog.leave_accept(ticket, ports, &mut wakers);
            }
        });
        wakers.wake();
    }
}

impl<L: Borrow<Listener>> Drop for Waiting<L> {
    fn drop(&mut self) {
        if explaining() {
            withdraw(address_of(self));
        }
        self.leave();
    }
}

/// The connections that arrive at a listener, as a stream.
///
/// Between two of them it waits in the listener's queue as an accept does. It keeps the listener
/// open.
#[must_use = "streams do nothing unless polled"]
pub struct Incoming {
    waiting: Waiting<Listener>,
    over: bool,
}

impl Stream for Incoming {
    type Item = Result<Conn, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.waiting.poll_next(cx).map(|accepted| {
            self.over = accepted.as_ref().is_err_and(|error| {
                matches!(error.cause, Cause::SockDown | Cause::HostDown | Cause::NetDown)
            });
            Some(accepted)
        })
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming({})", self.waiting.listener.local_addr())
    }
}
