//! The wakers to be woken once a lock is gone.
//!
//! Knows `Waker` and nothing of networks. The rule of this layer stands here once: under a lock
//! nothing foreign runs. No waker is woken, no value of a user's dropped, no engine called; what
//! is to be woken is gathered in a [`Wakers`] and woken after the lock's end.

use std::task::Waker;

use crate::waiter::{self, Waiter};

/// Those who wait for something, in the order in which they came.
///
/// Nearly always one, which needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waiter>,
    /// Boxed, because nearly always there are none and this is moved about.
    #[allow(clippy::box_collection)]
    more: Option<Box<Vec<Waiter>>>,
}

impl Wakers {
    /// Adds whoever is woken by `waker`, unless they are here already.
    #[inline]
    pub(crate) fn keep(&mut self, waker: &Waker) {
        match &self.first {
            None => self.first = Some(Waiter::of(waker)),
            Some(first) if first.is(waker) => {}
            Some(_) => self.keep_more(waker),
        }
    }

    #[cold]
    fn keep_more(&mut self, waker: &Waker) {
        let more = self.more.get_or_insert_default();
        if !more.iter().any(|other| other.is(waker)) {
            more.push(Waiter::of(waker));
        }
    }

    /// Adds somebody.
    pub(crate) fn push(&mut self, waiter: Waiter) {
        match &self.first {
            None => self.first = Some(waiter),
            Some(_) => self.more.get_or_insert_default().push(waiter),
        }
    }

    /// Takes all the others in.
    #[inline]
    pub(crate) fn append(&mut self, others: &mut Self) {
        if let Some(first) = others.first.take() {
            self.push(first);
            let more = others.more.take().into_iter().flat_map(|more| *more);
            more.for_each(|waiter| self.push(waiter));
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

    /// Wakes them all; the caller holds no lock.
    #[inline]
    pub(crate) fn wake(self) {
        if self.first.is_some() {
            self.wake_some();
        }
    }

    #[cold]
    fn wake_some(self) {
        self.first.into_iter().for_each(Waiter::wake);
        if let Some(more) = self.more {
            more.into_iter().for_each(Waiter::wake);
        }
    }
}
