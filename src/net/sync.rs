//! The wakers to be woken once a lock is gone.
//!
//! Knows [`Waiter`]s and nothing of networks. The rule of this layer stands here once: under a
//! lock nothing foreign runs. No waker of another's is woken, no value of a user's dropped, no
//! engine called; what is to be woken or dropped is gathered in a [`Wakers`] until the lock's end.
//! Two things are allowed: to clone a waker that is to wait, and to wake a task of the run, which
//! is to note its number.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

use crate::waiter::{self, Waiter};

/// Those who wait for something, in the order in which they came.
///
/// Nearly always one, which needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waiter>,
    /// Boxed, because nearly always there are none and this is moved about.
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    waiters: Vec<Waiter>,
    /// Who has left, and is only to be dropped.
    gone: Vec<Waiter>,
}

/// With how many others a waiter is kept. Who polls with a new waker each time leaves the old ones
/// behind; beyond this many all are woken, and those that still wait come again. So it has to be
/// more than ever truly wait for one stream, or they would wake each other without end.
const OTHERS: usize = 1024;

impl Wakers {
    /// Adds whoever is woken by `waker`, unless they are here already.
    #[inline]
    pub(crate) fn keep(&mut self, waker: &Waker, outside: &mut Self) {
        match &self.first {
            None => self.first = Some(Waiter::of(waker)),
            Some(first) if first.is(waker) => {}
            Some(_) => self.keep_more(waker, outside),
        }
    }

    #[cold]
    fn keep_more(&mut self, waker: &Waker, outside: &mut Self) {
        let more = self.more.get_or_insert_default();
        if more.waiters.iter().any(|other| other.is(waker)) {
            return;
        }
        if more.waiters.len() < OTHERS {
            more.waiters.push(Waiter::of(waker));
        } else {
            outside.append(self);
            self.first = Some(Waiter::of(waker));
        }
    }

    /// Keeps somebody who has left, to be dropped when the lock is gone.
    pub(crate) fn bury(&mut self, waiter: Option<Waiter>) {
        if let Some(waiter @ Waiter::Other(_)) = waiter {
            self.more.get_or_insert_default().gone.push(waiter);
        }
    }

    /// Adds somebody.
    pub(crate) fn push(&mut self, waiter: Waiter) {
        match &self.first {
            None => self.first = Some(waiter),
            Some(_) => self.more.get_or_insert_default().waiters.push(waiter),
        }
    }

    /// Takes all the others in.
    #[inline]
    pub(crate) fn append(&mut self, others: &mut Self) {
        if let Some(first) = others.first.take() {
            self.push(first);
        }
        if let Some(more) = others.more.take() {
            more.waiters.into_iter().for_each(|waiter| self.push(waiter));
            more.gone.into_iter().for_each(|waiter| self.bury(Some(waiter)));
        }
    }

    /// Wakes whoever waits, if it is one task of a run; others are left to `outside`.
    ///
    /// To wake such a task is to note its number, in which nothing foreign runs: that may be done
    /// under a lock. Moving a waiter out from under it takes as long as all else that a message
    /// needs, because it is read in wider words than it was written in.
    #[inline]
    pub(crate) fn wake_task(&mut self, outside: &mut Self) {
        match (&self.first, &self.more) {
            (None, _) => {}
            (Some(Waiter::Task(who)), None) => {
                let who = *who;
                self.first = None;
                waiter::wake(who);
            }
            _ => outside.append(self),
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_none()
    }

    /// Hands out all who wait, in order, to one who knows how to wake under a lock.
    #[inline]
    pub(crate) fn drain(&mut self, wake: impl FnMut(Waiter)) {
        if !self.is_empty() {
            let more = self.more.take().map(|more| more.waiters).unwrap_or_default();
            self.first.take().into_iter().chain(more).for_each(wake);
        }
    }

    /// Wakes them all; the caller holds no lock.
    #[inline]
    pub(crate) fn wake(self) {
        if self.first.is_some() || self.more.is_some() {
            self.wake_some();
        } else {
            // There is nothing to drop, and to find that out again takes 20 instructions.
            std::mem::forget(self);
        }
    }

    #[cold]
    fn wake_some(self) {
        let more = self.more.map(|more| more.waiters).unwrap_or_default();
        each(self.first.into_iter().chain(more), Waiter::wake);
    }
}

/// Does something with each, with the last even if the first has panicked; then the first panic
/// goes on its way. One connection of an engine's that panics must not keep the others open.
pub(crate) fn each<T>(things: impl IntoIterator<Item = T>, mut work: impl FnMut(T)) {
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
