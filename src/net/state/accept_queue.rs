//! The accept queue of a listener: dials on one side, accepts on the other.
//!
//! The queue takes no lock and wakes nothing: its methods return or collect the waiters to
//! wake.
//!
//! ```text
//! dial:    queued ── offered ── gone (it holds the `Accept`)
//!                      │           │
//! accept:  idle ──── offered ──── taken ──── done
//!            ▲─────────┴───────────┘ refused
//! ```
//!
//! A waiting dial and a waiting accept are paired at once, so an idle accept and a queued dial
//! never exist together. The port is taken at the pairing, and belongs to the dial's side from
//! then on.

use std::task::{Poll, Waker};

use crate::util::waiter::Waiter;

use crate::net::error::CauseKind;
use crate::net::state::port_set::PortSet;
use crate::net::state::ticket_queue::TicketQueue;
use crate::net::state::wait_list::DeferredWakes;

/// Says that an accept is ready for a dial, and at which port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// The ticket of the accept.
    pub(crate) accept_ticket: u64,
    /// The port of the accepted end, taken.
    pub(crate) port: u16,
}

/// A listener's queue; `C` is a connection.
#[derive(Debug)]
pub(crate) struct AcceptQueue<C> {
    dials: TicketQueue<DialEntry>,
    accepts: TicketQueue<AcceptEntry<C>>,
    /// Connections whose accept was dropped after it had succeeded; for the next accepts.
    unclaimed: TicketQueue<C>,
    /// The number of the next accepts that fail, each when it could take a dial. The dial waits on.
    failure_count: u32,
}

#[derive(Debug)]
struct DialEntry {
    waiter: Waiter,
    offer: Option<Offer>,
}

#[derive(Debug)]
pub(crate) struct AcceptEntry<C> {
    waiter: Waiter,
    state: AcceptState<C>,
}

impl<C> AcceptEntry<C> {
    /// Gets its connection. Returns who is to be woken.
    pub(crate) fn complete(&mut self, conn: C) -> Waiter {
        self.state = AcceptState::Done(Ok(conn));
        self.waiter.clone()
    }
}

#[derive(Debug)]
enum AcceptState<C> {
    Idle,
    /// A queued dial was woken for it, and has not come yet.
    Offered {
        dial: u64,
        port: u16,
    },
    /// The dial's side holds the offer, and will confirm or refuse.
    Taken,
    Done(Result<C, CauseKind>),
}

impl<C> Default for AcceptQueue<C> {
    fn default() -> Self {
        Self {
            dials: TicketQueue::default(),
            accepts: TicketQueue::default(),
            unclaimed: TicketQueue::default(),
            failure_count: 0,
        }
    }
}

/// The dial's side.
impl<C> AcceptQueue<C> {
    /// Asks for an accept: takes the first that waits, or queues and gives a ticket.
    pub(crate) fn dial(
        &mut self,
        ports: &mut PortSet,
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Result<Offer, u64> {
        match self.try_dial(ports, wakers) {
            Some(offer) => Ok(offer),
            None => Err(self.dials.push(DialEntry { waiter: Waiter::of(waker), offer: None })),
        }
    }

    /// Asks for an accept, and does not queue if none waits.
    pub(crate) fn try_dial(
        &mut self,
        ports: &mut PortSet,
        wakers: &mut DeferredWakes,
    ) -> Option<Offer> {
        let (offer, state) = self.make_offer(ports, wakers)?;
        *state = AcceptState::Taken;
        Some(offer)
    }

    /// Gives the first accept that waits, and a port that is taken for it, if there are both; the
    /// accept is to be completed at once.
    pub(crate) fn take_idle_accept(
        &mut self,
        ports: &mut PortSet,
    ) -> Option<(&mut AcceptEntry<C>, u16)> {
        if self.failure_count > 0 {
            return None;
        }
        let (_, accept) = self.first_idle_accept()?;
        Some((accept, ports.take_lowest()?))
    }

    /// Polls a queued dial by its ticket; `None` if the ticket is not known any more.
    pub(crate) fn poll_dial(
        &mut self,
        ticket: u64,
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Option<Poll<Offer>> {
        let dial = self.dials.get(ticket)?;
        let Some(offer) = dial.offer else {
            wakers.defer_drop(dial.waiter.set(waker));
            return Some(Poll::Pending);
        };
        wakers.defer_drop(self.dials.remove(ticket).map(|dial| dial.waiter));
        if let Some(accept) = self.accepts.get(offer.accept_ticket) {
            accept.state = AcceptState::Taken;
        }
        Some(Poll::Ready(offer))
    }

    /// Returns whether a dial has been offered an accept, or is not known any more.
    pub(crate) fn is_dial_ready(&mut self, ticket: u64) -> bool {
        self.dials.get(ticket).is_none_or(|dial| dial.offer.is_some())
    }

    /// Leaves the queue; what was offered meanwhile goes to the next dial.
    pub(crate) fn cancel_dial(
        &mut self,
        ticket: u64,
        ports: &mut PortSet,
        wakers: &mut DeferredWakes,
    ) {
        let Some(DialEntry { waiter, offer }) = self.dials.remove(ticket) else { return };
        wakers.defer_drop(Some(waiter));
        if let Some(offer) = offer {
            ports.give_back(offer.port);
            self.refuse(offer.accept_ticket, ports, wakers);
        }
    }

    /// Lets an accept go on waiting, in its old place.
    pub(crate) fn refuse(&mut self, ticket: u64, ports: &mut PortSet, wakers: &mut DeferredWakes) {
        if let Some(accept) = self.accepts.get(ticket) {
            accept.state = AcceptState::Idle;
            self.pair_waiting(ports, wakers);
        }
    }

    /// Completes an accept; gives the connection back if the accept is gone.
    pub(crate) fn confirm(
        &mut self,
        ticket: u64,
        conn: C,
        wakers: &mut DeferredWakes,
    ) -> Result<(), C> {
        let Some(accept) = self.accepts.get(ticket) else {
            return Err(conn);
        };
        accept.state = AcceptState::Done(Ok(conn));
        wakers.push(accept.waiter.clone());
        Ok(())
    }
}

/// The accept's side.
impl<C> AcceptQueue<C> {
    /// Asks for a connection: takes one that is left over, or queues and gives a ticket.
    ///
    /// The first dial that waits is offered to it.
    pub(crate) fn accept(
        &mut self,
        ports: &mut PortSet,
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Result<C, u64> {
        if let Some(conn) = self.unclaimed.pop() {
            return Ok(conn);
        }
        let ticket =
            self.accepts.push(AcceptEntry { waiter: Waiter::of(waker), state: AcceptState::Idle });
        self.pair_waiting(ports, wakers);
        Err(ticket)
    }

    /// Polls a queued accept by its ticket; `None` if the ticket is not known any more.
    pub(crate) fn poll_accept(
        &mut self,
        ticket: u64,
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Option<Poll<Result<C, CauseKind>>> {
        let accept = self.accepts.get(ticket)?;
        let AcceptState::Done(result) = &mut accept.state else {
            wakers.defer_drop(accept.waiter.set(waker));
            return Some(Poll::Pending);
        };
        // Taken out where it lies: the whole of it is large to move.
        let result = std::mem::replace(result, Err(CauseKind::SockDown));
        if let Waiter::Other(_) = accept.waiter {
            wakers.defer_drop(self.accepts.remove(ticket).map(|accept| accept.waiter));
        } else {
            self.accepts.discard(ticket);
        }
        Some(Poll::Ready(result))
    }

    /// Returns whether an accept has its connection or its error, or is not known any more.
    pub(crate) fn is_accept_ready(&mut self, ticket: u64) -> bool {
        self.accepts.get(ticket).is_none_or(|accept| matches!(accept.state, AcceptState::Done(_)))
    }

    /// Leaves the queue, and loses nothing: a dial that was offered waits on in its old place, a
    /// connection goes to the next accept.
    pub(crate) fn cancel_accept(
        &mut self,
        ticket: u64,
        ports: &mut PortSet,
        wakers: &mut DeferredWakes,
    ) {
        let Some(AcceptEntry { waiter, state }) = self.accepts.remove(ticket) else { return };
        wakers.defer_drop(Some(waiter));
        match state {
            AcceptState::Offered { dial, port } => {
                ports.give_back(port);
                if let Some(dial) = self.dials.get(dial) {
                    dial.offer = None;
                }
                self.pair_waiting(ports, wakers);
            }
            AcceptState::Done(Ok(conn)) => match self.first_idle_accept() {
                Some((_, next)) => {
                    next.state = AcceptState::Done(Ok(conn));
                    wakers.push(next.waiter.clone());
                }
                None => {
                    self.unclaimed.push(conn);
                }
            },
            // The dial that has taken the offer finds no accept when it confirms.
            _ => {}
        }
    }
}

impl<C> AcceptQueue<C> {
    /// Finds an accept that has no connection yet.
    pub(crate) fn pending_accept_waiter(&mut self) -> Option<Waiter> {
        let is_pending = |accept: &AcceptEntry<C>| !matches!(accept.state, AcceptState::Done(_));
        self.accepts.find_first(is_pending).map(|(_, accept)| accept.waiter.clone())
    }

    /// Sets how many of the next accepts fail.
    pub(crate) fn set_failure_count(&mut self, count: u32) {
        self.failure_count = count;
    }

    /// Counts the dials and the accepts that wait.
    pub(crate) fn waiting_counts(&self) -> (usize, usize) {
        (self.dials.len(), self.accepts.len())
    }

    /// Empties the queue: gives the connections that were not fetched, and collects all waiters to
    /// be woken.
    ///
    /// The connection of an accept that has not fetched it is given, too: a program that closes a
    /// listener expects no more connections from it.
    #[inline]
    pub(crate) fn clear(&mut self, ports: &mut PortSet, wakers: &mut DeferredWakes) -> Vec<C> {
        if self.waiting_counts() == (0, 0) && self.unclaimed.len() == 0 {
            return Vec::new();
        }
        self.clear_slow(ports, wakers)
    }

    #[cold]
    fn clear_slow(&mut self, ports: &mut PortSet, wakers: &mut DeferredWakes) -> Vec<C> {
        let mut conns: Vec<C> = self.unclaimed.clear().collect();
        for dial in self.dials.clear() {
            if let Some(offer) = dial.offer {
                ports.give_back(offer.port);
            }
            wakers.push(dial.waiter);
        }
        for accept in self.accepts.clear() {
            if let AcceptState::Done(Ok(conn)) = accept.state {
                conns.push(conn);
            }
            wakers.push(accept.waiter);
        }
        conns
    }

    /// Offers queued dials to idle accepts, first to first.
    fn pair_waiting(&mut self, ports: &mut PortSet, wakers: &mut DeferredWakes) {
        while let Some((ticket, _)) = self.dials.find_first(|dial| dial.offer.is_none()) {
            let Some((offer, state)) = self.make_offer(ports, wakers) else {
                return;
            };
            *state = AcceptState::Offered { dial: ticket, port: offer.port };
            if let Some(dial) = self.dials.get(ticket) {
                dial.offer = Some(offer);
                wakers.push(dial.waiter.clone());
            }
        }
    }

    /// Takes a port for the first idle accept. Accepts for which there is none fail.
    fn make_offer(
        &mut self,
        ports: &mut PortSet,
        wakers: &mut DeferredWakes,
    ) -> Option<(Offer, &mut AcceptState<C>)> {
        // A loop that returns a borrow from its middle does not pass the borrow checker; so the
        // ticket is found first.
        let (ticket, port) = loop {
            let fails = self.failure_count > 0;
            let (ticket, accept) = self.first_idle_accept()?;
            let port = if fails {
                Err(CauseKind::TooManyFiles)
            } else {
                ports.take_lowest().ok_or(CauseKind::NoFreePort)
            };
            match port {
                Ok(port) => break (ticket, port),
                Err(cause) => {
                    accept.state = AcceptState::Done(Err(cause));
                    wakers.push(accept.waiter.clone());
                    self.failure_count -= u32::from(fails);
                }
            }
        };
        let accept = self.accepts.get(ticket)?;
        Some((Offer { accept_ticket: ticket, port }, &mut accept.state))
    }

    fn first_idle_accept(&mut self) -> Option<(u64, &mut AcceptEntry<C>)> {
        self.accepts.find_first(|accept| matches!(accept.state, AcceptState::Idle))
    }
}
