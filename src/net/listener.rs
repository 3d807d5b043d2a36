//! [`Listener`]: waiting for connections at a port.
//!
//! Dials are matched with accepts in the host's socket table, and confirmed by the engine.

use std::borrow::Borrow;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;

use crate::util::stall_probe::{
    Operation, address_of, forget_operation, has_progressed, is_probing, report_effect,
    report_pending,
};

use crate::net::addr::Addr;
use crate::net::conn::{Conn, WriteObserver, chain};
#[cfg(feature = "os")]
use crate::net::engine::raw_conn::{ExternalConn, RawListener};
use crate::net::error::{Cause, CauseKind, Error, Op};
use crate::net::state::host_state::{Endpoint, HostState, ListenerKey, Port};
use crate::net::state::network_state::NetState;
use crate::net::state::wait_list::DeferredWakes;

/// Waits for connections at one port of a host.
///
/// A clone is another handle to the same listener. It is closed when the last one drops, and
/// dials that wait for it are refused.
#[derive(Clone)]
pub struct Listener {
    inner: Arc<ListenerInner>,
    observer: Option<WriteObserver>,
}

/// The part that all handles of one listener share. Dropping the port closes the listener.
struct ListenerInner {
    port: Port,
    generation: u64,
    source: IncomingSource,
}

/// The source of connections.
enum IncomingSource {
    /// From dials, which the network brings. Who holds a listener and nothing else still waits for
    /// them, so that the network is not to be dropped with the last handle to it or to the host.
    Queue { net: Arc<NetState> },
    /// From an external listener, at an address that is no port of this host.
    #[cfg(feature = "os")]
    External { listener: Arc<dyn RawListener>, addr: Addr },
}

impl ListenerInner {
    fn addr(&self) -> Addr {
        match &self.source {
            IncomingSource::Queue { .. } => self.port.addr(),
            #[cfg(feature = "os")]
            IncomingSource::External { addr, .. } => addr.clone(),
        }
    }

    /// Lets the network note that an accept fails.
    #[cold]
    fn record_error(&self, error: &Error) {
        match &self.source {
            IncomingSource::Queue { net } => net.engine.record_accept_error(error),
            #[cfg(feature = "os")]
            IncomingSource::External { .. } => {}
        }
    }
}

#[cfg(feature = "os")]
impl Drop for ListenerInner {
    fn drop(&mut self) {
        if let IncomingSource::External { listener, .. } = &self.source {
            listener.close();
        }
    }
}

impl Listener {
    /// Binds a port of a host, the lowest free one for 0.
    #[inline(always)]
    pub(crate) fn bind(
        net: &Arc<NetState>,
        host: &Arc<HostState>,
        port: u16,
    ) -> Result<Self, CauseKind> {
        let (port, generation) = Port::listen(host, port)?;
        let source = IncomingSource::Queue { net: net.clone() };
        Ok(Self { inner: Arc::new(ListenerInner { port, generation, source }), observer: None })
    }

    /// Makes a listener of an external one; the port that it takes of the host is a mere number.
    #[cfg(feature = "os")]
    pub(crate) fn external(
        host: &Arc<HostState>,
        addr: Addr,
        listener: Arc<dyn RawListener>,
    ) -> Result<Self, CauseKind> {
        let (port, generation) = Port::listen(host, 0)?;
        let source = IncomingSource::External { listener, addr };
        Ok(Self { inner: Arc::new(ListenerInner { port, generation, source }), observer: None })
    }

    /// Lets every write on the connections accepted be seen.
    pub(crate) fn with_observer(self, observer: WriteObserver) -> Self {
        Self { observer: Some(chain(self.observer, observer)), inner: self.inner }
    }

    /// Gives the address at which to dial it; also after closing.
    pub fn local_addr(&self) -> Addr {
        self.inner.addr()
    }

    /// Waits for the next connection.
    ///
    /// Accepts are served in the order in which they began, and so are dials. The connection has a
    /// port of its own, not that of the listener.
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
        let mut wait = AcceptWait { listener: self, ticket: None };
        poll_fn(|cx| wait.poll_next(cx)).await
    }

    /// Gives the connections one after the other, as a stream.
    ///
    /// It ends after the error that the listener, its host or the network is down. That the host
    /// has no free port or the system no descriptor is an error as well, but not the end: a
    /// connection may be closed meanwhile.
    pub fn incoming(&self) -> Incoming {
        Incoming { wait: AcceptWait { listener: self.clone(), ticket: None }, is_over: false }
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
        self.inner.port.host.assert_accessible();
        self.close_unchecked();
        Ok(())
    }

    /// Closes as dropping does: anywhere, at any time.
    pub(crate) fn close_unchecked(&self) {
        report_effect(|| format!("goes on and closes {self:?}"));
        self.inner.port.give_back();
        #[cfg(feature = "os")]
        if let IncomingSource::External { listener, .. } = &self.inner.source {
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
struct AcceptWait<L: Borrow<Listener>> {
    listener: L,
    ticket: Option<u64>,
}

impl<L: Borrow<Listener>> AcceptWait<L> {
    fn key(&self) -> ListenerKey {
        let ListenerInner { port, generation, .. } = &*self.listener.borrow().inner;
        ListenerKey { port: port.number(), generation: *generation }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Conn, Error>> {
        if is_probing() {
            return self.explain(cx);
        }
        let mut result = None;
        self.poll_queue(cx.waker(), &mut result);
        if result.is_none() && self.poll_incoming(cx).is_ready() {
            self.poll_queue(cx.waker(), &mut result);
        }
        match result {
            Some(Ok(endpoint)) => return Poll::Ready(Ok(self.make_conn(endpoint))),
            Some(Err(kind)) => return Poll::Ready(Err(self.make_error(kind.into()))),
            None => {}
        }
        #[cfg(feature = "os")]
        match self.poll_external(cx) {
            Poll::Ready(Ok(endpoint)) => return Poll::Ready(Ok(self.make_conn(endpoint))),
            Poll::Ready(Err(cause)) => return Poll::Ready(Err(self.make_error(cause))),
            Poll::Pending => {}
        }
        Poll::Pending
    }

    /// Says how the accept stands while a stall is explained; it takes nothing and joins no queue.
    #[cold]
    fn explain<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let (key, ticket) = (self.key(), self.ticket);
        let host = &self.listener.borrow().inner.port.host;
        #[cfg_attr(not(feature = "os"), expect(unused_mut, reason = "no listener is another's"))]
        let mut operation = match ticket {
            _ if has_progressed() => Operation::Waiting,
            None => Operation::NewAt(address_of(self)),
            Some(ticket) => {
                let is_ready = host.try_with_table(|table| {
                    let queue = table.accept_queue(key);
                    queue.is_none_or(|(queue, _)| queue.is_accept_ready(ticket))
                });
                let is_ready = host.down_cause().is_some() || is_ready == Some(true);
                if is_ready { Operation::Ready } else { Operation::Waiting }
            }
        };
        #[cfg(feature = "os")]
        if operation == Operation::Waiting
            && let IncomingSource::External { listener, .. } = &self.listener.borrow().inner.source
            && !has_progressed()
            && listener.poll_accept(cx).is_ready()
        {
            operation = Operation::Ready;
        }
        let _ = cx;
        report_pending(operation, || {
            let addr = self.listener.borrow().local_addr();
            format!("accept {} {addr}", addr.network())
        })
    }

    #[inline]
    fn make_conn(&mut self, endpoint: Arc<Endpoint>) -> Conn {
        self.ticket = None;
        Conn::new(endpoint, self.listener.borrow().observer.clone())
    }

    #[cold]
    fn make_error(&mut self, cause: Cause) -> Error {
        self.ticket = None;
        let addr = self.listener.borrow().local_addr();
        let network: Arc<str> = addr.network().into();
        let error = Error::new(Op::Accept, network, None, Some(addr), cause);
        self.listener.borrow().inner.record_error(&error);
        error
    }

    /// Looks into the queue, and joins it if there is nothing to be found.
    ///
    /// The result is written to its final place: as a return value it would be moved once more.
    fn poll_queue(&mut self, waker: &Waker, result: &mut Option<Result<Arc<Endpoint>, CauseKind>>) {
        let (key, mut wakers) = (self.key(), DeferredWakes::default());
        let Self { listener, ticket } = self;
        let listener: &Listener = (*listener).borrow();
        let host = &listener.inner.port.host;
        host.with_table(|table| {
            if let Some(cause) = host.down_cause() {
                *result = Some(Err(cause));
                return;
            }
            let Some((queue, ports)) = table.accept_queue(key) else {
                *result = Some(Err(CauseKind::SockDown));
                return;
            };
            let ticket = match *ticket {
                Some(ticket) => ticket,
                None => match queue.accept(ports, waker, &mut wakers) {
                    Ok(endpoint) => {
                        *result = Some(Ok(endpoint));
                        return;
                    }
                    Err(new_ticket) => *ticket.insert(new_ticket),
                },
            };
            match queue.poll_accept(ticket, waker, &mut wakers) {
                Some(Poll::Ready(accepted)) => *result = Some(accepted),
                Some(Poll::Pending) => {}
                None => *result = Some(Err(CauseKind::SockDown)),
            }
        });
        wakers.wake();
    }

    /// Takes its turn at bringing in who dials, if the network has that done where one accepts.
    #[inline]
    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.listener.borrow().inner.source {
            IncomingSource::Queue { net } => net.engine.poll_incoming(cx),
            #[cfg(feature = "os")]
            IncomingSource::External { .. } => Poll::Pending,
        }
    }
}

#[cfg(feature = "os")]
impl<L: Borrow<Listener>> AcceptWait<L> {
    /// Looks for a connection where others bring them, if that is where they come from. The queue
    /// stays empty then, and is there to be woken when something closes.
    fn poll_external(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Endpoint>, Cause>> {
        let IncomingSource::External { listener, .. } = &self.listener.borrow().inner.source else {
            return Poll::Pending;
        };
        let host = &self.listener.borrow().inner.port.host;
        let is_closed = || host.with_table(|table| table.accept_queue(self.key()).is_none());
        let polled = listener.poll_accept(cx).map(|result| {
            // If it was closed meanwhile that is the reason, whatever the other says.
            let ExternalConn { raw, peer } = result.map_err(|cause| {
                let down = host.down_cause().or_else(|| is_closed().then_some(CauseKind::SockDown));
                down.map_or(cause, Cause::from)
            })?;
            let port = Port::take_lowest(host).ok_or(CauseKind::NoFreePort)?;
            Ok(Endpoint::attach(port, peer, raw)?)
        });
        if polled.is_ready() {
            self.leave_queue();
        }
        polled
    }
}

impl<L: Borrow<Listener>> AcceptWait<L> {
    fn leave_queue(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut wakers = DeferredWakes::default();
        self.listener.borrow().inner.port.host.try_with_table(|table| {
            if let Some((queue, ports)) = table.accept_queue(self.key()) {
                queue.cancel_accept(ticket, ports, &mut wakers);
            }
        });
        wakers.wake();
    }
}

impl<L: Borrow<Listener>> Drop for AcceptWait<L> {
    fn drop(&mut self) {
        if is_probing() {
            forget_operation(address_of(self));
        }
        self.leave_queue();
    }
}

/// The connections that arrive at a listener, as a stream.
///
/// Between two of them it waits in the listener's queue as an accept does. It keeps the listener
/// open.
#[must_use = "streams do nothing unless polled"]
pub struct Incoming {
    wait: AcceptWait<Listener>,
    is_over: bool,
}

impl Stream for Incoming {
    type Item = Result<Conn, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.wait.poll_next(cx).map(|accepted| {
            self.is_over = accepted.as_ref().is_err_and(|error| {
                matches!(error.cause, Cause::SockDown | Cause::HostDown | Cause::NetDown)
            });
            Some(accepted)
        })
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming({})", self.wait.listener.local_addr())
    }
}
