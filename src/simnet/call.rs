//! A dial on its way: the hand-shake of a connection to be.
//!
//! Knows where it has got to and who waits for it; refuses to know what moves it.

use std::future::Future;
use std::pin::Pin;
use std::task::Waker;

use crate::net::{Accept, Addr, Cause, RawConn};
use crate::sim::{Key, Mark};
use crate::waiter::Waiter;

use super::machine::Place;

/// What a dial comes to.
pub(crate) type Dialed = Result<(Box<dyn RawConn>, Addr), Cause>;

/// The ways of a hand-shake, which are those of its connection.
pub(crate) const THERE: usize = 0;
pub(crate) const BACK: usize = 1;

/// Where a dial has got to.
pub(crate) enum Stage {
    /// It is on its way, and arrives then.
    Travels { arrives: u64 },
    /// It was lost, and sets out again then.
    Lost { again: u64 },
    /// It is held on its way.
    Held,
    /// It is at the listener's host, and knocks as soon as that can be done.
    AtDoor,
    /// It waits for an accept.
    Queued(Box<Queued>),
    /// Nothing will come back: the host has lost its power.
    Unanswered,
    /// It has come back, or it has taken too long.
    Over { in_time: bool },
}

/// A dial in the queue of a listener.
pub(crate) struct Queued {
    pub(crate) accept: Pin<Box<dyn Future<Output = Result<Accept, Cause>>>>,
    /// Has the dial look again.
    pub(crate) waker: Waker,
}

/// A dial on its way.
pub(crate) struct Call {
    pub(crate) net: u32,
    pub(crate) from: u32,
    pub(crate) to: Place,
    /// The directions of the connection that it will be: there and back.
    pub(crate) keys: [Key; 2],
    /// From which address to which, until it knocks; and their ports.
    pub(crate) addrs: Option<(Addr, Addr)>,
    pub(crate) ports: [u16; 2],
    pub(crate) stage: Stage,
    /// Which way it goes, and how many times in a row it was lost there.
    pub(crate) way: usize,
    pub(crate) losses: u64,
    /// The record in which it set out.
    pub(crate) sent: Mark,
    /// Until when what it does now may take.
    pub(crate) limit: u64,
    /// When it came to the door.
    pub(crate) knocked_at: u64,
    /// What it brings back.
    pub(crate) answer: Option<Dialed>,
    /// Who waits for that.
    pub(crate) dialer: Option<Waiter>,
}

impl Call {
    /// Where it goes from and to now.
    pub(crate) const fn route(&self) -> (u32, u32) {
        let (from, to) = (self.from, self.to.machine);
        if self.way == THERE { (from, to) } else { (to, from) }
    }
}
