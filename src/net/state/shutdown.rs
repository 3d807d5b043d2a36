//! What is down, who has to hear of it, and which reason is given.
//!
//! Knows three levels, a network over its hosts over their sockets, and decides between them in
//! one place. Does not know what a host or a socket is.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::util::stall_probe::{
    Operation, address_of, forget_operation, has_progressed, is_probing, report_pending,
};
use crate::util::waiter::Waiter;

use crate::net::engine::Transport;
use crate::net::error::CauseKind;
use crate::net::state::ticket_queue::TicketQueue;

/// Says why a thing cannot be used; the outermost that is down is the reason.
///
/// It is asked at the time of the call, not at that of the closing: a closed connection says
/// `socket is down`, later `host is down`, and in the end `network is down`.
#[inline]
pub(crate) fn down_cause(net: &Latch, host: &Latch, socket: bool) -> Option<CauseKind> {
    if net.is_down() {
        Some(CauseKind::NetDown)
    } else if host.is_down() {
        Some(CauseKind::HostDown)
    } else if socket {
        Some(CauseKind::SockDown)
    } else {
        None
    }
}

/// Falls once.
///
/// A whole word, because what moves it about, when it is new, reads it as one just after it was
/// written.
#[derive(Debug, Default)]
pub(crate) struct Latch(AtomicU64);

impl Latch {
    /// Says whether it has fallen.
    #[inline]
    pub(crate) fn is_down(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Lets it fall, and says whether this was the first time.
    #[inline]
    pub(crate) fn trip(&self) -> bool {
        !self.is_down() && self.0.swap(1, Ordering::AcqRel) == 0
    }
}

/// What goes down and interrupts operations that wait for something else: a network or a host.
///
/// A socket does not: who is blocked on one waits in its own queue.
pub(crate) trait Closable {
    /// Says whether it has gone down.
    fn is_down(&self) -> bool;

    /// Works, under a lock, on the line of those to be woken when it goes down; whoever lets it
    /// fall clears the line after that.
    fn blocked<R>(&self, work: impl FnOnce(&mut TicketQueue<Waiter>) -> R) -> Option<R>;
}

/// Waits for an operation, or until a thing goes down: then there is no result, and the operation
/// has been dropped.
///
/// What is finished counts even if the thing has gone down meanwhile; the caller holds something
/// then, and has to look again under the lock where it puts it.
pub(crate) fn until_closed<F, O, D, T>(
    thing: &F,
    operation: O,
    describe: D,
) -> UnlessDown<'_, F, O, D>
where
    F: Closable + ?Sized,
    O: Future<Output = T>,
    D: Fn() -> String,
{
    UnlessDown { seat: WaitRegistration { thing, taken: None }, operation, describe }
}

pin_project! {
    /// What [`unless_down`] returns: by hand, because an `async fn` moves what it is given once
    /// more.
    pub(crate) struct UnlessDown<'a, F, O, D>
    where
        F: ?Sized,
        F: Closable,
    {
        seat: WaitRegistration<'a, F>,
        #[pin]
        operation: O,
        describe: D,
    }
}

impl<F, O, D, T> Future for UnlessDown<'_, F, O, D>
where
    F: Closable + ?Sized,
    O: Future<Output = T>,
    D: Fn() -> String,
{
    type Output = Option<T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.project();
        let thing = this.seat.thing;
        if is_probing() {
            let operation = match () {
                () if has_progressed() => Operation::Waiting,
                () if this.seat.taken.is_none() => Operation::NewAt(address_of(this.seat)),
                // The value that comes of it, and is dropped, is nobody's: the run is over.
                () if thing.is_down() || this.operation.poll(cx).is_ready() => Operation::Ready,
                () => Operation::Waiting,
            };
            return report_pending(operation, this.describe);
        }
        if thing.is_down() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(value) = this.operation.poll(cx) {
            return Poll::Ready(Some(value));
        }
        this.seat.keep(cx.waker());
        if thing.is_down() {
            // It fell while we sat down, and may have missed us.
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// As [`unless_down`], of what has a number once it has begun; given up when dropped. Nobody is
/// seated: whoever gives the numbers wakes.
pub(crate) fn transport_op<'a, F, D, P, T>(
    whole: &'a dyn Transport,
    thing: &'a F,
    describe: D,
    poll: P,
) -> Numbered<'a, F, D, P>
where
    F: Closable + ?Sized,
    D: Fn() -> String,
    P: FnMut(&dyn Transport, &mut Option<u32>, &mut Context<'_>) -> Poll<T>,
{
    Numbered { whole, call: None, thing, describe, poll }
}

/// What [`numbered`] returns.
pub(crate) struct Numbered<'a, F: ?Sized, D, P> {
    whole: &'a dyn Transport,
    call: Option<u32>,
    thing: &'a F,
    describe: D,
    poll: P,
}

impl<F, D, P, T> Future for Numbered<'_, F, D, P>
where
    F: Closable + ?Sized,
    D: Fn() -> String + Unpin,
    P: FnMut(&dyn Transport, &mut Option<u32>, &mut Context<'_>) -> Poll<T> + Unpin,
{
    type Output = Option<T>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if is_probing() {
            return self.explain();
        }
        let Self { whole, call, thing, poll, .. } = &mut *self;
        if thing.is_down() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(value) = poll(*whole, call, cx) {
            return Poll::Ready(Some(value));
        }
        Poll::Pending
    }
}

impl<F, D, P> Numbered<'_, F, D, P>
where
    F: Closable + ?Sized,
    D: Fn() -> String,
{
    /// Says how the operation stands while a stall is explained; nothing is begun or taken.
    #[cold]
    fn explain<T>(&self) -> Poll<T> {
        let operation = match self.call {
            _ if has_progressed() => Operation::Waiting,
            None => Operation::NewAt(address_of(self)),
            Some(call) if self.thing.is_down() || self.whole.is_dial_done(call) => Operation::Ready,
            Some(_) => Operation::Waiting,
        };
        report_pending(operation, &self.describe)
    }
}

impl<F: ?Sized, D, P> Drop for Numbered<'_, F, D, P> {
    fn drop(&mut self) {
        if is_probing() {
            forget_operation(address_of(self));
        }
        if let Some(call) = self.call {
            self.whole.cancel_dial(call);
        }
    }
}

/// A place among those who are to be woken; left on drop.
struct WaitRegistration<'a, F: Closable + ?Sized> {
    thing: &'a F,
    /// The ticket, and who sits there: nearly always whoever polls next, too.
    taken: Option<(u64, Waiter)>,
}

impl<F: Closable + ?Sized> WaitRegistration<'_, F> {
    fn keep(&mut self, waker: &Waker) {
        if self.taken.as_ref().is_some_and(|(_, waiter)| waiter.will_wake(waker)) {
            return;
        }
        let (waiter, taken) = (Waiter::of(waker), &self.taken);
        let seated = self.thing.blocked(|line| {
            let (next, kept) = (waiter.clone(), taken.as_ref().map(|(ticket, _)| *ticket));
            match kept.and_then(|ticket| Some((ticket, line.get(ticket)?))) {
                Some((ticket, kept)) => (ticket, Some(std::mem::replace(kept, next))),
                None => (line.push(next), None),
            }
        });
        // Who sat there before is dropped here, not under the lock.
        self.taken = seated.map(|(ticket, _before)| (ticket, waiter));
    }
}

impl<F: Closable + ?Sized> Drop for WaitRegistration<'_, F> {
    fn drop(&mut self) {
        if is_probing() {
            forget_operation(address_of(self));
        }
        if let Some((ticket, _)) = self.taken {
            // A task of the run is nobody's to drop: nothing has to be moved out for that.
            let is_task = matches!(self.taken, Some((_, Waiter::Task(_))));
            let _waiter = self.thing.blocked(|line| {
                if is_task {
                    line.leave(ticket);
                    return None;
                }
                line.remove(ticket)
            });
        }
    }
}
