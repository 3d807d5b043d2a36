//! Shutdown of networks, hosts and sockets: latches, causes, and operations that end with them.
//!
//! There are three levels: a network contains hosts, and a host contains sockets. The cause
//! that is reported is that of the outermost level that is down; one function decides it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::util::stall_probe::{
    Operation, address_of, forget_operation, has_progressed, is_probing, report_pending,
};
use crate::util::waiter::Waiter;

use crate::net::error::CauseKind;
use crate::net::state::ticket_queue::TicketQueue;

/// Says why a thing cannot be used; the outermost that is down is the reason.
///
/// It is asked at the time of the call, not at that of the closing: a closed connection says
/// `socket is down`, later `host is down`, and in the end `network is down`.
#[inline]
pub(crate) fn down_cause(net: &Latch, host: &Latch, is_socket: bool) -> Option<CauseKind> {
    if net.is_tripped() {
        Some(CauseKind::NetDown)
    } else if host.is_tripped() {
        Some(CauseKind::HostDown)
    } else if is_socket {
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
    pub(crate) fn is_tripped(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Lets it fall, and says whether this was the first time.
    #[inline]
    pub(crate) fn trip(&self) -> bool {
        !self.is_tripped() && self.0.swap(1, Ordering::AcqRel) == 0
    }
}

/// A network or a host, whose closing interrupts operations that wait for something else.
///
/// A socket does not: who is blocked on one waits in its own queue.
pub(crate) trait Closable {
    /// Says whether it has gone down.
    fn is_down(&self) -> bool;

    /// Works, under a lock, on the waiters to be woken when it closes. Closing clears them after it
    /// has tripped the latch.
    fn with_waiters<R>(&self, work: impl FnOnce(&mut TicketQueue<Waiter>) -> R) -> Option<R>;
}

/// Waits for an operation, or until a thing goes down: then there is no result, and the operation
/// has been dropped.
///
/// A finished operation counts even if the thing has closed meanwhile. The caller then holds a
/// result, and has to check again under the lock where it stores it.
pub(crate) fn until_closed<F, O, D, T>(
    closable: &F,
    future: O,
    describe: D,
) -> UntilClosed<'_, F, O, D>
where
    F: Closable + ?Sized,
    O: Future<Output = T>,
    D: Fn() -> String,
{
    UntilClosed { registration: WaitRegistration { closable, entry: None }, future, describe }
}

pin_project! {
    /// The future of [`until_closed`]: written by hand, because an `async fn` moves its arguments
    /// once more.
    pub(crate) struct UntilClosed<'a, F, O, D>
    where
        F: ?Sized,
        F: Closable,
    {
        registration: WaitRegistration<'a, F>,
        #[pin]
        future: O,
        describe: D,
    }
}

impl<F, O, D, T> Future for UntilClosed<'_, F, O, D>
where
    F: Closable + ?Sized,
    O: Future<Output = T>,
    D: Fn() -> String,
{
    type Output = Option<T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.project();
        let closable = this.registration.closable;
        if is_probing() {
            let operation = match () {
                () if has_progressed() => Operation::Waiting,
                () if this.registration.entry.is_none() => {
                    Operation::NewAt(address_of(this.registration))
                }
                // The value is dropped: the run is over.
                () if closable.is_down() || this.future.poll(cx).is_ready() => Operation::Ready,
                () => Operation::Waiting,
            };
            return report_pending(operation, this.describe);
        }
        if closable.is_down() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(value) = this.future.poll(cx) {
            return Poll::Ready(Some(value));
        }
        this.registration.register(cx.waker());
        if closable.is_down() {
            // It fell while we sat down, and may have missed us.
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// A place among those who are to be woken; left on drop.
struct WaitRegistration<'a, F: Closable + ?Sized> {
    closable: &'a F,
    /// The ticket, and the waiter there: nearly always the task that polls next, too.
    entry: Option<(u64, Waiter)>,
}

impl<F: Closable + ?Sized> WaitRegistration<'_, F> {
    fn register(&mut self, waker: &Waker) {
        if self.entry.as_ref().is_some_and(|(_, waiter)| waiter.will_wake(waker)) {
            return;
        }
        let (waiter, entry) = (Waiter::of(waker), &self.entry);
        let registered = self.closable.with_waiters(|queue| {
            let (new_waiter, retained) =
                (waiter.clone(), entry.as_ref().map(|(ticket, _)| *ticket));
            match retained.and_then(|ticket| Some((ticket, queue.get(ticket)?))) {
                Some((ticket, retained)) => (ticket, Some(std::mem::replace(retained, new_waiter))),
                None => (queue.push(new_waiter), None),
            }
        });
        // The previous waiter is dropped here, not under the lock.
        self.entry = registered.map(|(ticket, _previous)| (ticket, waiter));
    }
}

impl<F: Closable + ?Sized> Drop for WaitRegistration<'_, F> {
    fn drop(&mut self) {
        if is_probing() {
            forget_operation(address_of(self));
        }
        if let Some((ticket, _)) = self.entry {
            // A waiter that is a task needs no drop: nothing has to be moved out for it.
            let is_task = matches!(self.entry, Some((_, Waiter::Task(_))));
            let _waiter = self.closable.with_waiters(|queue| {
                if is_task {
                    queue.discard(ticket);
                    return None;
                }
                queue.remove(ticket)
            });
        }
    }
}
