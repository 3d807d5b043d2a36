//! What is down, who has to hear of it, and which reason is given.
//!
//! Knows three levels, a network over its hosts over their sockets, and decides between them in
//! one place. Does not know what a host or a socket is.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use crate::wait::waiting_for;
use crate::waiter::Waiter;

use super::error::Cause;
use super::line::Line;
use super::sync::lock;

/// Says why a thing cannot be used; the outermost that is down is the reason.
///
/// It is asked at the time of the call, not at that of the closing: a closed connection says
/// `socket is down`, later `host is down`, and in the end `network is down`.
pub(crate) fn reason(net: &Latch, host: Option<&Latch>, socket: bool) -> Option<Cause> {
    if net.is_down() {
        Some(Cause::NetDown)
    } else if host.is_some_and(Latch::is_down) {
        Some(Cause::HostDown)
    } else if socket {
        Some(Cause::SockDown)
    } else {
        None
    }
}

/// Falls once, and wakes those who are blocked by an operation that it interrupts.
///
/// Sockets have none: who is blocked on one waits in its own queue.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    down: AtomicBool,
    waiting: Mutex<Line<Waiter>>,
}

impl Latch {
    /// Says whether it has fallen.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// Lets it fall, wakes whom it concerns in the order in which they came, and says whether
    /// this was the first time.
    pub(crate) fn fall(&self) -> bool {
        if self.down.swap(true, Ordering::AcqRel) {
            return false;
        }
        let waiting = lock(&self.waiting).clear();
        waiting.for_each(Waiter::wake);
        true
    }

    /// Waits for an operation, or until the latch falls: then there is no result, and the
    /// operation has been dropped.
    ///
    /// What is finished counts even if the latch has fallen meanwhile; the caller holds
    /// something then, and has to look again under the lock where it puts it.
    pub(crate) async fn unless_down<T>(
        &self,
        operation: impl Future<Output = T>,
        describe: impl Fn() -> String,
    ) -> Option<T> {
        let mut operation = pin!(operation);
        let mut seat = Seat { latch: self, ticket: None };
        poll_fn(|cx| {
            if self.is_down() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(value) = operation.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            seat.keep(cx.waker());
            if self.is_down() {
                // It fell while we sat down, and may have missed us.
                return Poll::Ready(None);
            }
            waiting_for(&describe);
            Poll::Pending
        })
        .await
    }
}

/// A place among those who wait for the latch; left on drop.
struct Seat<'a> {
    latch: &'a Latch,
    ticket: Option<u64>,
}

impl Seat<'_> {
    fn keep(&mut self, waker: &Waker) {
        let mut waiting = lock(&self.latch.waiting);
        match self.ticket.and_then(|ticket| waiting.get(ticket)) {
            Some(kept) if kept.is(waker) => {}
            Some(kept) => {
                let old = std::mem::replace(kept, Waiter::of(waker));
                drop(waiting);
                drop(old);
            }
            None => self.ticket = Some(waiting.push(Waiter::of(waker))),
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = lock(&self.latch.waiting).remove(ticket);
            drop(waker);
        }
    }
}
