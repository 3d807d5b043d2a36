//! The queue of a listener: dials on one side, accepts on the other.
//!
//! Knows who waits, who was offered to whom, and in which order. Does not know what a connection
//! is, takes no lock and wakes nobody: it says who is to be woken.
//!
//! ```text
//! dial:    queued ── offered ── gone (it holds the `Accept`)
//!                      │           │
//! accept:  idle ──── offered ──── taken ──── done
//!            ▲─────────┴───────────┘ refused
//! ```
//!
//! A dial and an accept that both wait are paired at once, so there is never an idle accept beside
//! a queued dial. A port is taken at the pairing and belongs to the dial's side from then on.

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
    pub(crate) accept: u64,
    /// The port of the accepted end, taken.
    pub(crate) port: u16,
}

/// A listener's queue; `C` is a connection.
#[derive(Debug)]
pub(crate) struct Backlog<C> {
    dials: TicketQueue<Dial>,
    accepts: TicketQueue<Accept<C>>,
    /// Connections whose accept was dropped after it had succeeded; for the next accepts.
    ready: TicketQueue<C>,
}

#[derive(Debug)]
struct Dial {
    waiter: Waiter,
    offer: Option<Offer>,
}

#[derive(Debug)]
pub(crate) struct Accept<C> {
    waiter: Waiter,
    stage: Stage<C>,
}

impl<C> Accept<C> {
    /// Gets its connection. Returns who is to be woken.
    pub(crate) fn complete(&mut self, conn: C) -> Waiter {
        self.stage = Stage::Done(Ok(conn));
        self.waiter.clone()
    }
}

#[derive(Debug)]
enum Stage<C> {
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

impl<C> Default for Backlog<C> {
    fn default() -> Self {
        Self {
            dials: TicketQueue::default(),
            accepts: TicketQueue::default(),
            ready: TicketQueue::default(),
        }
    }
}

/// The dial's side.
impl<C> Backlog<C> {
    /// Asks for an accept: takes the first that waits, or queues and gives a ticket.
    pub(crate) fn dial(
        &mut self,
        ports: &mut PortSet,
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Result<Offer, u64> {
        match self.dial_now(ports, wakers) {
            Some(offer) => Ok(offer),
            None => Err(self.dials.push(Dial { waiter: Waiter::of(waker), offer: None })),
        }
    }

    /// Asks for an accept, and does not queue if none waits.
    pub(crate) fn dial_now(
        &mut self,
        ports: &mut PortSet,
        wakers: &mut DeferredWakes,
    ) -> Option<Offer> {
        let (offer, stage) = self.offer(ports, wakers)?;
        *stage = Stage::Taken;
        Some(offer)
    }

    /// Gives the first accept that waits, and a port that is taken for it, if there are both; the
    /// accept is to be completed at once.
    pub(crate) fn first_to_accept(&mut self, ports: &mut PortSet) -> Option<(&mut Accept<C>, u16)> {
        let (_, accept) = self.first_idle()?;
        Some((accept, ports.take_lowest()?))
    }

    /// Asks again with a ticket; `None` if nobody knows it any more.
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
        if let Some(accept) = self.accepts.get(offer.accept) {
            accept.stage = Stage::Taken;
        }
        Some(Poll::Ready(offer))
    }

    /// Returns whether a dial has been offered an accept, or is not known any more.
    pub(crate) fn is_dial_ready(&mut self, ticket: u64) -> bool {
        self.dials.get(ticket).is_none_or(|dial| dial.offer.is_some())
    }

    /// Leaves the queue; what was offered meanwhile goes to the next dial.
    pub(crate) fn leave_dial(
        &mut self,
        ticket: u64,
        ports: &mut PortSet,
        wakers: &mut DeferredWakes,
    ) {
        let Some(Dial { waiter, offer }) = self.dials.remove(ticket) else { return };
        wakers.defer_drop(Some(waiter));
        if let Some(offer) = offer {
            ports.give_back(offer.port);
            self.refuse(offer.accept, ports, wakers);
        }
    }

    /// Lets an accept go on waiting, in its old place.
    pub(crate) fn refuse(&mut self, accept: u64, ports: &mut PortSet, wakers: &mut DeferredWakes) {
        if let Some(waiting) = self.accepts.get(accept) {
            waiting.stage = Stage::Idle;
            self.pair(ports, wakers);
        }
    }

    /// Completes an accept; gives the connection back if the accept is gone.
    pub(crate) fn confirm(
        &mut self,
        accept: u64,
        conn: C,
        wakers: &mut DeferredWakes,
    ) -> Result<(), C> {
        let Some(waiting) = self.accepts.get(accept) else {
            return Err(conn);
        };
        waiting.stage = Stage::Done(Ok(conn));
        wakers.push(waiting.waiter.clone());
        Ok(())
    }
}

/// The accept's side.
impl<C> Backlog<C> {
    /// Asks for a connection: takes one that is left over, or queues and gives a ticket.
    ///
    /// The first dial that waits is offered to it.
    pub(crate) fn accept(
        &mut self,
        ports: &mut PortSet,
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Result<C, u64> {
        if let Some(conn) = self.ready.pop() {
            return Ok(conn);
        }
        let ticket = self.accepts.push(Accept { waiter: Waiter::of(waker), stage: Stage::Idle });
        self.pair(ports, wakers);
        Err(ticket)
    }

    /// Asks again with a ticket; `None` if nobody knows it any more.
    pub(crate) fn poll_accept(
        &mut self,
        ticket: u64,
        waker: &Waker,
        wakers: &mut DeferredWakes,
    ) -> Option<Poll<Result<C, CauseKind>>> {
        let accept = self.accepts.get(ticket)?;
        let Stage::Done(done) = &mut accept.stage else {
            wakers.defer_drop(accept.waiter.set(waker));
            return Some(Poll::Pending);
        };
        // Taken out where it lies: the whole of it is large to move.
        let done = std::mem::replace(done, Err(CauseKind::SockDown));
        if let Waiter::Other(_) = accept.waiter {
            wakers.defer_drop(self.accepts.remove(ticket).map(|accept| accept.waiter));
        } else {
            self.accepts.leave(ticket);
        }
        Some(Poll::Ready(done))
    }

    /// Returns whether an accept has its connection or its error, or is not known any more.
    pub(crate) fn is_accept_ready(&mut self, ticket: u64) -> bool {
        self.accepts.get(ticket).is_none_or(|accept| matches!(accept.stage, Stage::Done(_)))
    }

    /// Leaves the queue, and loses nothing: a dial that was offered waits on in its old place, a
    /// connection goes to the next accept.
    pub(crate) fn leave_accept(
        &mut self,
        ticket: u64,
        ports: &mut PortSet,
        wakers: &mut DeferredWakes,
    ) {
        let Some(Accept { waiter, stage }) = self.accepts.remove(ticket) else { return };
        wakers.defer_drop(Some(waiter));
        match stage {
            Stage::Offered { dial, port } => {
                ports.give_back(port);
                if let Some(dial) = self.dials.get(dial) {
                    dial.offer = None;
                }
                self.pair(ports, wakers);
            }
            Stage::Done(Ok(conn)) => match self.first_idle() {
                Some((_, next)) => {
                    next.stage = Stage::Done(Ok(conn));
                    wakers.push(next.waiter.clone());
                }
                None => {
                    self.ready.push(conn);
                }
            },
            // Whoever has taken the offer finds nobody when he confirms.
            _ => {}
        }
    }
}

impl<C> Backlog<C> {
    /// Finds an accept that has no connection yet.
    pub(crate) fn accepting(&mut self) -> Option<Waiter> {
        let waits = |accept: &Accept<C>| !matches!(accept.stage, Stage::Done(_));
        self.accepts.first(waits).map(|(_, accept)| accept.waiter.clone())
    }

    /// Counts the dials and the accepts that wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.dials.len(), self.accepts.len())
    }

    /// Sends everybody away: gives the connections that nobody has fetched, and wakes the rest.
    ///
    /// A connection that an accept has got but not fetched goes as well: nobody who closes a
    /// listener reckons with more connections from it.
    #[inline]
    pub(crate) fn clear(&mut self, ports: &mut PortSet, wakers: &mut DeferredWakes) -> Vec<C> {
        if self.waiting() == (0, 0) && self.ready.len() == 0 {
            return Vec::new();
        }
        self.clear_some(ports, wakers)
    }

    #[cold]
    fn clear_some(&mut self, ports: &mut PortSet, wakers: &mut DeferredWakes) -> Vec<C> {
        let mut conns: Vec<C> = self.ready.clear().collect();
        for dial in self.dials.clear() {
            if let Some(offer) = dial.offer {
                ports.give_back(offer.port);
            }
            wakers.push(dial.waiter);
        }
        for accept in self.accepts.clear() {
            if let Stage::Done(Ok(conn)) = accept.stage {
                conns.push(conn);
            }
            wakers.push(accept.waiter);
        }
        conns
    }

    /// Offers queued dials to idle accepts, first to first.
    fn pair(&mut self, ports: &mut PortSet, wakers: &mut DeferredWakes) {
        while let Some((ticket, _)) = self.dials.first(|dial| dial.offer.is_none()) {
            let Some((offer, stage)) = self.offer(ports, wakers) else {
                return;
            };
            *stage = Stage::Offered { dial: ticket, port: offer.port };
            if let Some(dial) = self.dials.get(ticket) {
                dial.offer = Some(offer);
                wakers.push(dial.waiter.clone());
            }
        }
    }

    /// Takes a port for the first idle accept; those for whom there is none fail.
    fn offer(
        &mut self,
        ports: &mut PortSet,
        wakers: &mut DeferredWakes,
    ) -> Option<(Offer, &mut Stage<C>)> {
        // A loop that returns a borrow from its middle does not pass the borrow checker; so the
        // ticket is found first.
        let (ticket, port) = loop {
            let (ticket, accept) = self.first_idle()?;
            match ports.take_lowest() {
                Some(port) => break (ticket, port),
                None => {
                    accept.stage = Stage::Done(Err(CauseKind::NoFreePort));
                    wakers.push(accept.waiter.clone());
                }
            }
        };
        let accept = self.accepts.get(ticket)?;
        Some((Offer { accept: ticket, port }, &mut accept.stage))
    }

    fn first_idle(&mut self) -> Option<(u64, &mut Accept<C>)> {
        self.accepts.first(|accept| matches!(accept.stage, Stage::Idle))
    }
}
