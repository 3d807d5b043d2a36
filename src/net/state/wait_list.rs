//! Wait lists, and wake-ups that are deferred until a lock is released.
//!
//! The rule of this layer: no foreign code runs under a lock. No foreign waker is woken, no
//! value of a program is dropped, and no engine is called. Wake-ups and drops are collected in
//! a [`DeferredWakes`] and done after the lock is released. Two things are allowed under a
//! lock: to clone a waker that waits, and to wake a task of the run, which only records its id.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

use crate::util::waiter;
use crate::util::waiter::{TaskRef, Waiter};

/// Work for after a lock is released: wakers to wake, and wakers to drop.
///
/// Nearly always that is nothing, because a task of the run is woken as soon as it is named. So it
/// is one word, which costs nothing to look at and to drop.
#[derive(Debug, Default)]
pub(crate) struct DeferredWakes {
    deferred: Option<Box<DeferredLists>>,
}

#[derive(Debug, Default)]
struct DeferredLists {
    to_wake: Vec<Waker>,
    to_drop: Vec<Waker>,
}

impl DeferredWakes {
    /// Adds a waiter to be woken.
    #[inline]
    pub(crate) fn push(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Task(task) => waiter::wake(task),
            Waiter::Other(waker) => self.deferred.get_or_insert_default().to_wake.push(waker),
        }
    }

    /// Adds a waiter that has left the queue, to be dropped once the lock is released.
    #[inline]
    pub(crate) fn defer_drop(&mut self, waiter: Option<Waiter>) {
        if let Some(Waiter::Other(waker)) = waiter {
            self.deferred.get_or_insert_default().to_drop.push(waker);
        }
    }

    /// Wakes them all; the caller holds no lock.
    #[inline]
    pub(crate) fn wake(self) {
        if let Some(deferred) = self.deferred {
            deferred.wake();
        }
    }
}

impl DeferredLists {
    #[cold]
    fn wake(self) {
        for_each_catching(self.to_wake, Waker::wake);
    }
}

/// The waiters for an event, in the order in which they came.
///
/// Nearly always one, which needs no allocation; so the others are one word.
#[derive(Debug, Default)]
pub(crate) struct WaitList {
    first: Option<Waiter>,
    others: Option<Box<OtherWaiters>>,
}

/// The waiters behind the first; there is at least one.
#[derive(Debug, Default)]
struct OtherWaiters {
    waiters: Vec<Waiter>,
}

/// With how many others a waiter is kept. Who polls with a new waker each time leaves the old ones
/// behind; beyond this many all are woken, and those that still wait come again. So it has to be
/// more than ever truly wait for one stream, or they would wake each other without end.
const MAX_OTHERS: usize = 1024;

impl WaitList {
    /// Adds the waiter that `waker` wakes, unless it is here already.
    #[inline]
    pub(crate) fn register(&mut self, waker: &Waker, wakers: &mut DeferredWakes) {
        match &self.first {
            None => self.first = Some(Waiter::of(waker)),
            Some(first) if first.will_wake(waker) => {}
            Some(_) => self.register_slow(waker, wakers),
        }
    }

    /// The same for the polled task if there are no other waiters, which is nearly always so.
    /// Returns whether it was added.
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
        let others = &mut self.others.get_or_insert_default().waiters;
        if others.iter().any(|waiter| waiter.will_wake(waker)) {
            return;
        }
        if others.len() < MAX_OTHERS {
            others.push(Waiter::of(waker));
        } else {
            self.wake(wakers);
            self.first = Some(Waiter::of(waker));
        }
    }

    /// Returns whether whatever `waker` wakes is here. Of a waker that is no task's own and may be
    /// made anew for each poll, any other of that sort is taken for the same.
    pub(crate) fn contains(&self, waker: &Waker) -> bool {
        let others = self.others.iter().flat_map(|others| &others.waiters);
        let is_foreign = Waiter::of_current_task(waker).is_none();
        let is_match = |retained: &Waiter| {
            retained.will_wake(waker) || (is_foreign && matches!(retained, Waiter::Other(_)))
        };
        self.first.iter().chain(others).any(is_match)
    }

    /// Wakes all waiters and removes them.
    ///
    /// One task of the run is not moved out first: that takes as long as all else that a message
    /// needs, because it is read in wider words than it was written in.
    #[inline]
    pub(crate) fn wake(&mut self, wakers: &mut DeferredWakes) {
        match self.take_sole_task() {
            Some(task) => waiter::wake(task),
            None if self.is_empty() => {}
            None => self.wake_slow(wakers),
        }
    }

    /// The first waiter.
    #[inline]
    pub(crate) fn first(&self) -> Option<&Waiter> {
        self.first.as_ref()
    }

    /// Whether there are no waiters.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Takes out the only one who waits, if that is a task of the run: by its number, as in `wake`.
    #[inline(always)]
    pub(crate) fn take_sole_task(&mut self) -> Option<TaskRef> {
        match &self.first {
            Some(Waiter::Task(task)) if self.others.is_none() => {
                let task = *task;
                self.first = None;
                Some(task)
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
        let others = self.others.take().map_or_else(Vec::new, |others| others.waiters);
        self.first.take().into_iter().chain(others)
    }

    #[cold]
    fn wake_slow(&mut self, wakers: &mut DeferredWakes) {
        self.take_all().for_each(|waiter| wakers.push(waiter));
    }
}

/// Does something with each, with the last even if the first has panicked; then the first panic
/// goes on its way. One connection of an engine's that panics must not keep the others open.
pub(crate) fn for_each_catching<T>(items: impl IntoIterator<Item = T>, mut work: impl FnMut(T)) {
    let mut first_panic: Option<Box<dyn Any + Send>> = None;
    for item in items {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(item))) {
            first_panic = first_panic.or(Some(panic));
        }
    }
    if let Some(panic) = first_panic {
        resume_unwind(panic);
    }
}
