//! Who waits, and the wakers to be woken once a lock is gone.
//!
//! Knows [`Waiter`]s and nothing of networks. The rule of this layer stands here once: under a
//! lock nothing foreign runs. No waker of another's is woken, no value of a user's dropped, no
//! engine called; what is to be woken or dropped is gathered in a [`Wakers`] until the lock's end.
//! Two things are allowed: to clone a waker that is to wait, and to wake a task of the run, which
//! is to note its number.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

use crate::util::waiter;
use crate::util::waiter::{TaskRef, Waiter};

/// What is left to do when a lock is gone: whom to wake, and what to drop.
///
/// Nearly always that is nothing, because a task of the run is woken as soon as it is named. So it
/// is one word, which costs nothing to look at and to drop.
#[derive(Debug, Default)]
pub(crate) struct DeferredWakes {
    left: Option<Box<Left>>,
}

#[derive(Debug, Default)]
struct Left {
    woken: Vec<Waker>,
    gone: Vec<Waker>,
}

impl DeferredWakes {
    /// Has somebody woken.
    #[inline]
    pub(crate) fn push(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Task(who) => waiter::wake(who),
            Waiter::Other(waker) => self.left.get_or_insert_default().woken.push(waker),
        }
    }

    /// Keeps somebody who has left, to be dropped when the lock is gone.
    #[inline]
    pub(crate) fn defer_drop(&mut self, waiter: Option<Waiter>) {
        if let Some(Waiter::Other(waker)) = waiter {
            self.left.get_or_insert_default().gone.push(waker);
        }
    }

    /// Wakes them all; the caller holds no lock.
    #[inline]
    pub(crate) fn wake(self) {
        if let Some(left) = self.left {
            left.wake();
        }
    }
}

impl Left {
    #[cold]
    fn wake(self) {
        for_each_catching(self.woken, Waker::wake);
    }
}

/// Those who wait for something, in the order in which they came.
///
/// Nearly always one, which needs no allocation; so the others are one word.
#[derive(Debug, Default)]
pub(crate) struct WaitList {
    first: Option<Waiter>,
    more: Option<Box<More>>,
}

/// Those who wait behind the first; there is at least one.
#[derive(Debug, Default)]
struct More {
    waiters: Vec<Waiter>,
}

/// With how many others a waiter is kept. Who polls with a new waker each time leaves the old ones
/// behind; beyond this many all are woken, and those that still wait come again. So it has to be
/// more than ever truly wait for one stream, or they would wake each other without end.
const OTHERS: usize = 1024;

impl WaitList {
    /// Adds whoever is woken by `waker`, unless they are here already.
    #[inline]
    pub(crate) fn register(&mut self, waker: &Waker, wakers: &mut DeferredWakes) {
        match &self.first {
            None => self.first = Some(Waiter::of(waker)),
            Some(first) if first.will_wake(waker) => {}
            Some(_) => self.register_slow(waker, wakers),
        }
    }

    /// The same for the polled task where nobody else waits, which is nearly always so. Returns
    /// whether it was.
    #[inline]
    pub(crate) fn register_sole_task(&mut self, waker: &Waker) -> bool {
        match (&self.first, Waiter::of_current_task(waker)) {
            (None, Some(task)) => {
                self.first = Some(task);
                true
            }
            _ => false,
        }
    }

    #[cold]
    fn register_slow(&mut self, waker: &Waker, wakers: &mut DeferredWakes) {
        let others = &mut self.more.get_or_insert_default().waiters;
        if others.iter().any(|other| other.will_wake(waker)) {
            return;
        }
        if others.len() < OTHERS {
            others.push(Waiter::of(waker));
        } else {
            self.wake(wakers);
            self.first = Some(Waiter::of(waker));
        }
    }

    /// Returns whether whatever `waker` wakes is here. Of a waker that is no task's own and may be
    /// made anew for each poll, any other of that sort is taken for the same.
    pub(crate) fn holds(&self, waker: &Waker) -> bool {
        let more = self.more.iter().flat_map(|more| &more.waiters);
        let foreign = Waiter::of_current_task(waker).is_none();
        let same =
            |kept: &Waiter| kept.will_wake(waker) || (foreign && matches!(kept, Waiter::Other(_)));
        self.first.iter().chain(more).any(same)
    }

    /// Has them all woken, and waits for nobody any more.
    ///
    /// One task of the run is not moved out first: that takes as long as all else that a message
    /// needs, because it is read in wider words than it was written in.
    #[inline]
    pub(crate) fn wake(&mut self, wakers: &mut DeferredWakes) {
        match self.take_lone_task() {
            Some(who) => waiter::wake(who),
            None if self.is_empty() => {}
            None => self.wake_some(wakers),
        }
    }

    /// Who waits first.
    #[inline]
    pub(crate) fn first(&self) -> Option<&Waiter> {
        self.first.as_ref()
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Takes out the only one who waits, if that is a task of the run: by its number, as in `wake`.
    #[inline(always)]
    pub(crate) fn take_lone_task(&mut self) -> Option<TaskRef> {
        match &self.first {
            Some(Waiter::Task(who)) if self.more.is_none() => {
                let who = *who;
                self.first = None;
                Some(who)
            }
            _ => None,
        }
    }

    /// Hands out all who wait, in order, to one who wakes with the world in hand.
    #[inline]
    pub(crate) fn drain(&mut self, wake: impl FnMut(Waiter)) {
        if !self.is_empty() {
            self.take_all().for_each(wake);
        }
    }

    #[cold]
    fn take_all(&mut self) -> impl Iterator<Item = Waiter> + use<> {
        let more = self.more.take().map_or_else(Vec::new, |more| more.waiters);
        self.first.take().into_iter().chain(more)
    }

    #[cold]
    fn wake_some(&mut self, wakers: &mut DeferredWakes) {
        self.take_all().for_each(|waiter| wakers.push(waiter));
    }
}

/// Does something with each, with the last even if the first has panicked; then the first panic
/// goes on its way. One connection of an engine's that panics must not keep the others open.
pub(crate) fn for_each_catching<T>(things: impl IntoIterator<Item = T>, mut work: impl FnMut(T)) {
    let mut first: Option<Box<dyn Any + Send>> = None;
    for thing in things {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(thing))) {
            first = first.or(Some(panic));
        }
    }
    if let Some(panic) = first {
        resume_unwind(panic);
    }
}
