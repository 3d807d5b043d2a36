//! A dial on its way: the look-up and the hand-shake of a connection to be.
//!
//! Knows where it has got to and who waits for it; refuses to know what moves it.

use std::future::Future;
use std::pin::Pin;
use std::task::Waker;

use crate::net::{Accept, Addr, Cause};
use crate::sim::{Key, Mark, TaskId};
use crate::util::waiter::Waiter;

use crate::simnet::host::sim_host::Place;
use crate::simnet::slab::Reused;

/// The ways of a hand-shake, which are those of its connection.
pub(crate) const THERE: usize = 0;
pub(crate) const BACK: usize = 1;

/// What a good answer tells: the number of the connection, and the port of its accepted end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    pub(crate) conn: u32,
    pub(crate) port: u16,
}

/// Where a dial has got to.
#[derive(Default)]
pub(crate) enum Stage {
    /// There is none.
    #[default]
    None,
    /// The registry is asked where its host stands, and has answered then.
    Asks { answered: u64 },
    /// It is none: the registry is asked to take a name.
    Announces,
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
#[derive(Default)]
pub(crate) struct Call {
    pub(crate) stage: Stage,
    pub(crate) net: u32,
    pub(crate) from: u32,
    /// Where it goes, as soon as the registry has said so; until then which machine is asked about.
    pub(crate) to: Place,
    /// The name that is asked about, if there was no machine of that name yet.
    pub(crate) unknown: Option<Box<str>>,
    /// Who asks.
    pub(crate) asker: Option<TaskId>,
    /// The directions of the connection that it will be: there and back.
    pub(crate) keys: [Key; 2],
    /// From which address, until it knocks.
    pub(crate) src: Option<Addr>,
    /// From which port to which.
    pub(crate) ports: [u16; 2],
    /// Which way it goes, and how many times in a row it was lost there.
    pub(crate) way: usize,
    pub(crate) losses: u64,
    /// The record in which it set out.
    pub(crate) sent: Mark,
    /// Until when it may take.
    pub(crate) limit: u64,
    /// What it brings back: the one or the other, each where it can be taken without the other.
    pub(crate) met: Option<Met>,
    pub(crate) failed: Option<Cause>,
    /// Who waits for that.
    pub(crate) dialer: Option<Waiter>,
}

impl Reused for Call {
    #[inline]
    fn is_used(&self) -> bool {
        !matches!(self.stage, Stage::None)
    }
}

impl Call {
    /// Where it goes from and to now.
    pub(crate) const fn route(&self) -> (u32, u32) {
        let (from, to) = (self.from, self.to.machine);
        if self.way == THERE { (from, to) } else { (to, from) }
    }
}
