//! `Notifier`: what an engine calls on the network it carries.
//!
//! A dial that has arrived is offered to the listener at its destination. The engine vouches
//! for the source address of the dial; it is not checked here.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use crate::util::stall_probe::{
    Operation, address_of, forget_operation, has_progressed, is_probing, report_pending,
};
use crate::util::waiter::Waiter;

use crate::net::addr::{Addr, AddrError};
use crate::net::engine::raw_conn::RawConn;
use crate::net::error::Cause;
use crate::net::state::accept_queue::Offer;
use crate::net::state::host_state::{Endpoint, HostState, ListenerKey, Port};
use crate::net::state::network_state::NetState;
use crate::net::state::wait_list::DeferredWakes;

/// Tells a subnetwork what happens outside of it; for engines.
///
/// It holds the subnetwork weakly, so that an engine may keep it.
#[derive(Clone, Debug)]
pub struct Notifier {
    net: Weak<NetState>,
}

impl Notifier {
    pub(crate) fn new(net: Weak<NetState>) -> Self {
        Self { net }
    }

    /// Waits until the listener at `dst` accepts a dial from `src`.
    ///
    /// The port of the accepted end is taken when this returns. The engine makes the connection,
    /// and confirms or refuses.
    ///
    /// # Errors
    ///
    /// [`Cause::InvalidAddr`] for a host that this subnetwork does not have, and
    /// [`Cause::ConnRefused`] if no listener is there, or it is closed before it accepts.
    ///
    /// # Cancel safety
    ///
    /// Dropping it takes the dial out of the queue. To keep it and poll it no more is another
    /// thing: once accepted it holds up the dials behind it.
    pub async fn accept(&self, src: &Addr, dst: &Addr) -> Result<Accept, Cause> {
        self.dial_target(dst)?.accept(src, dst).await
    }

    /// Wakes a task that waits in an accept, of any listener, so that it calls
    /// `Engine::poll_incoming`. Returns false if there is none.
    #[doc(hidden)]
    pub fn wake_accept(&self) -> bool {
        let waiter = self.net.upgrade().and_then(|net| net.pending_accept_waiter());
        waiter.map(Waiter::wake).is_some()
    }

    /// Finds the host of an address.
    fn dial_target(&self, addr: &Addr) -> Result<DialTarget, Cause> {
        let host = self.net.upgrade().ok_or(Cause::NetDown)?.host(addr.host());
        Ok(DialTarget::new(host.ok_or_else(|| AddrError::no_such_host(addr))?))
    }

    /// Ends the network, for a reason or without one.
    ///
    /// Like `SubNetwork::close`, which reports the reason from then
    /// on; after the first time it does nothing.
    pub fn down(&self, cause: Option<Cause>) {
        if let Some(net) = self.net.upgrade() {
            // Whoever closes the subnetwork is told.
            let _ = net.close(cause);
        }
    }
}

/// A host as dials reach it, for an engine that has many for it: found once.
#[derive(Clone, Debug)]
pub(crate) struct DialTarget {
    host: Arc<HostState>,
}

impl DialTarget {
    pub(crate) fn new(host: Arc<HostState>) -> Self {
        Self { host }
    }

    /// See [`Notifier::accept`].
    pub(crate) async fn accept(self, src: &Addr, dst: &Addr) -> Result<Accept, Cause> {
        let (key, offer) = PendingDial { host: &self.host, src, dst, queue_ticket: None }.await?;
        Ok(Accept::new(self.host, key, offer, src.clone()))
    }

    /// Has a listener that accepts at this moment take the other end of what `make` makes, which is
    /// told the port of that end. Returns who is to be woken by that. `src` must be there, and is
    /// taken then.
    ///
    /// Nothing foreign runs meanwhile, and what makes and wakes may be a world that is in hand. So
    /// there is no answer, and nothing happens, where anything else is to be done.
    #[inline]
    pub(crate) fn try_accept_into(
        &self,
        src: &mut Option<Addr>,
        port: u16,
        make: impl FnOnce(u16) -> Box<dyn RawConn>,
    ) -> Option<Waiter> {
        let host = &self.host;
        host.with_table(|table| {
            if host.down_cause().is_some() {
                return None;
            }
            let (_, queue, ports) = table.listener(port)?;
            let (accept, accepted_port) = queue.take_idle_accept(ports)?;
            let (raw, src) = (make(accepted_port), src.take()?);
            let endpoint = Endpoint::new(Port::from_taken(host.clone(), accepted_port), src, raw);
            let entry = Arc::downgrade(&endpoint);
            let waiter = accept.complete(endpoint);
            table.insert(accepted_port, entry);
            Some(waiter)
        })
    }

    /// As `accept`, for a listener that accepts at this moment. If there is one but it does not,
    /// what was given is given back: then there is a queue to wait in.
    pub(crate) fn try_accept(
        self,
        src: Addr,
        dst: &Addr,
    ) -> Result<Result<Accept, Cause>, (Self, Addr)> {
        let mut wakers = DeferredWakes::default();
        let result = self.host.with_table(|table| {
            if self.host.down_cause().is_some() {
                return None;
            }
            let (key, queue, ports) = table.listener(dst.port())?;
            Some((key, queue.try_dial(ports, &mut wakers)))
        });
        wakers.wake();
        match result {
            Some((key, Some(offer))) => Ok(Ok(Accept::new(self.host, key, offer, src))),
            Some((_, None)) => Err((self, src)),
            None => Ok(Err(Cause::ConnRefused)),
        }
    }
}

/// A dial that is queued at a listener.
struct PendingDial<'a> {
    host: &'a HostState,
    src: &'a Addr,
    dst: &'a Addr,
    /// Its place in the queue, if it has one.
    queue_ticket: Option<(ListenerKey, u64)>,
}

impl PendingDial<'_> {
    /// Takes an offer or queues for one; `None` if there is no listener, or none any more.
    fn poll_offer(
        &mut self,
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Option<Poll<(ListenerKey, Offer)>> {
        let Self { host, dst, queue_ticket, .. } = self;
        host.with_table(|table| {
            if let Some((key, ticket)) = *queue_ticket {
                let (queue, _) = table.accept_queue(key)?;
                return Some(queue.poll_dial(ticket, waker, wakers)?.map(|offer| (key, offer)));
            }
            if host.down_cause().is_some() {
                return None;
            }
            let (key, queue, ports) = table.listener(dst.port())?;
            match queue.dial(ports, waker, wakers) {
                Ok(offer) => Some(Poll::Ready((key, offer))),
                Err(ticket) => {
                    *queue_ticket = Some((key, ticket));
                    Some(Poll::Pending)
                }
            }
        })
    }
}

impl Future for PendingDial<'_> {
    type Output = Result<(ListenerKey, Offer), Cause>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if is_probing() {
            return this.explain();
        }
        let mut wakers = DeferredWakes::default();
        let polled = this.poll_offer(cx.waker(), &mut wakers);
        wakers.wake();
        if let Some(Poll::Pending) = polled {
            return Poll::Pending;
        }
        this.queue_ticket = None;
        match polled {
            Some(offer) => offer.map(Ok),
            None => Poll::Ready(Err(Cause::ConnRefused)),
        }
    }
}

impl PendingDial<'_> {
    /// Says how the dial stands while a stall is explained; it takes no offer and joins no queue.
    #[cold]
    fn explain<T>(&self) -> Poll<T> {
        let operation = match self.queue_ticket {
            _ if has_progressed() => Operation::Waiting,
            None => Operation::NewAt(address_of(self)),
            Some((key, ticket)) => {
                let is_ready = self.host.try_with_table(|table| {
                    let queue = table.accept_queue(key);
                    queue.is_none_or(|(queue, _)| queue.is_dial_ready(ticket))
                });
                if is_ready == Some(true) { Operation::Ready } else { Operation::Waiting }
            }
        };
        let (src, dst) = (self.src, self.dst);
        report_pending(operation, || format!("dial {} {src}->{dst}", dst.network()))
    }
}

impl Drop for PendingDial<'_> {
    fn drop(&mut self) {
        if is_probing() {
            forget_operation(address_of(self));
        }
        let Some((key, ticket)) = self.queue_ticket else {
            return;
        };
        let mut wakers = DeferredWakes::default();
        self.host.try_with_table(|table| {
            if let Some((queue, ports)) = table.accept_queue(key) {
                queue.cancel_dial(ticket, ports, &mut wakers);
            }
        });
        wakers.wake();
    }
}

/// An accept that has picked up a dial, and waits for the engine's answer.
///
/// It must be answered; dropping it refuses.
#[must_use = "dropping it refuses the dial"]
#[derive(Debug)]
pub struct Accept {
    addr: Addr,
    responder: AcceptResponder,
}

/// An offered dial to be answered; dropping it refuses.
#[must_use = "dropping it refuses the dial"]
#[derive(Debug)]
pub(crate) struct AcceptResponder {
    /// The port of the accepted end, and where the dial comes from; `None` once it is answered.
    dial: Option<(Port, Addr)>,
    key: ListenerKey,
    /// The ticket of the accept in the listener's queue.
    accept_ticket: u64,
}

impl Accept {
    fn new(host: Arc<HostState>, key: ListenerKey, offer: Offer, src: Addr) -> Self {
        let port = Port::from_taken(host, offer.port);
        let addr = port.addr();
        Self {
            addr,
            responder: AcceptResponder {
                dial: Some((port, src)),
                key,
                accept_ticket: offer.accept_ticket,
            },
        }
    }

    /// Gives the address of the accepted end, for the dialer to be told.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }

    /// Hands over the accepted end of the connection.
    ///
    /// If the acceptor is gone by now (dropped, or the listener or anything around it closed), the
    /// connection is torn down, so that the dialer sees a reset and never a live connection without
    /// a peer.
    pub fn confirm(self, conn: Box<dyn RawConn>) {
        self.responder.confirm(conn);
    }

    /// Gives the address and what is to be answered, for who keeps the one before the other.
    pub(crate) fn into_parts(self) -> (Addr, AcceptResponder) {
        (self.addr, self.responder)
    }

    /// Says that the dial came to nothing; the acceptor gives the port back and waits on.
    ///
    /// The acceptor is not told the cause: one dial that failed is no failure of accepting.
    pub fn refuse(self, cause: Cause) {
        drop((self, cause));
    }
}

impl AcceptResponder {
    /// See [`Accept::confirm`].
    pub(crate) fn confirm(mut self, conn: Box<dyn RawConn>) {
        let Some((port, src)) = self.dial.take() else {
            return;
        };
        let endpoint = Endpoint::new(port, src, conn);
        let mut wakers = DeferredWakes::default();
        let confirmed = endpoint.host().with_table(|table| {
            table.insert_endpoint(&endpoint);
            // If the host is down its queues are empty, or are about to be emptied under this
            // lock. What is handed back on failure is not the last owner: nothing ends in here.
            table.accept_queue(self.key).is_some_and(|(queue, _)| {
                queue.confirm(self.accept_ticket, endpoint.clone(), &mut wakers).is_ok()
            })
        });
        if !confirmed {
            endpoint.abort();
        }
        wakers.wake();
    }
}

impl Drop for AcceptResponder {
    fn drop(&mut self) {
        let Some((port, _)) = self.dial.take() else {
            return;
        };
        // The port first: the next dial that is picked up takes the lowest again.
        port.give_back();
        let mut wakers = DeferredWakes::default();
        port.host.try_with_table(|table| {
            if let Some((queue, ports)) = table.accept_queue(self.key) {
                queue.refuse(self.accept_ticket, ports, &mut wakers);
            }
        });
        wakers.wake();
    }
}
