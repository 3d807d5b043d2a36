//! [`Dial`]: a pending dial or announcement, and its states from the look-up to the reply.

use std::future::Future;
use std::pin::Pin;
use std::task::Waker;

use crate::net::{Accept, Addr, Cause};
use crate::sim::{PathHash, RecordIndex, TaskId};
use crate::util::waiter::Waiter;

use crate::simnet::host::sim_host::HostRef;
use crate::simnet::slab::SlabEntry;

/// The ways of a hand-shake, which are those of its connection.
pub(crate) const FORWARD: usize = 0;
pub(crate) const REVERSE: usize = 1;

/// The result of a successful dial: the number of the connection, and the port of its accepted end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialSuccess {
    pub(crate) conn: u32,
    pub(crate) port: u16,
}

/// The state of a dial.
#[derive(Default)]
pub(crate) enum DialState {
    /// There is none.
    #[default]
    None,
    /// The registry is asked where its host stands, and has answered then.
    Lookup { answered_at: u64 },
    /// It is none: the registry is asked to take a name.
    Announce,
    /// It is on its way, and arrives then.
    InFlight { arrives_at: u64 },
    /// It was lost, and sets out again then.
    Lost { retransmit_at: u64 },
    /// It is held on its way.
    Held,
    /// It has arrived at the host, and is offered to the listener once the world is not borrowed.
    AtListener,
    /// It waits for an accept.
    Queued(Box<QueuedAccept>),
    /// Nothing will come back: the host has lost its power.
    Unanswered,
    /// It has come back, or it has taken too long.
    Done { in_time: bool },
}

/// A dial in the queue of a listener.
pub(crate) struct QueuedAccept {
    pub(crate) accept: Pin<Box<dyn Future<Output = Result<Accept, Cause>>>>,
    /// Has the dial look again.
    pub(crate) waker: Waker,
}

/// A dial on its way.
#[derive(Default)]
pub(crate) struct Dial {
    pub(crate) state: DialState,
    pub(crate) net: u32,
    pub(crate) from: u32,
    /// The host that the dial goes to; before the registry has answered, the host that is looked
    /// up.
    pub(crate) to: HostRef,
    /// The name that is looked up, if there was no host of that name yet.
    pub(crate) unresolved_name: Option<Box<str>>,
    /// The task that dials.
    pub(crate) task: Option<TaskId>,
    /// The directions of the connection that it will be: there and back.
    pub(crate) keys: [PathHash; 2],
    /// The address of the dialer, until the dial is offered to the listener.
    pub(crate) src: Option<Addr>,
    /// From which port to which.
    pub(crate) ports: [u16; 2],
    /// Which way it goes, and how many times in a row it was lost there.
    pub(crate) direction: usize,
    pub(crate) losses: u64,
    /// The record in which it set out.
    pub(crate) sent_record: RecordIndex,
    /// Until when it may take.
    pub(crate) deadline: u64,
    /// The result: a success or an error, in fields of their own so that each can be taken alone.
    pub(crate) success: Option<DialSuccess>,
    pub(crate) error: Option<Cause>,
    /// The waiter for the result.
    pub(crate) dialer: Option<Waiter>,
}

impl SlabEntry for Dial {
    #[inline]
    fn is_used(&self) -> bool {
        !matches!(self.state, DialState::None)
    }
}

impl Dial {
    /// The hosts that the segment in flight goes from and to.
    pub(crate) const fn route(&self) -> (u32, u32) {
        let (from, to) = (self.from, self.to.host);
        if self.direction == FORWARD { (from, to) } else { (to, from) }
    }
}
