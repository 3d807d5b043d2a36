//! Locks, and the wakers to be woken once a lock is gone.
//!
//! Knows `Mutex` and `Waker` and nothing of networks. The rule of this layer stands here once:
//! under a lock nothing foreign runs. No waker is woken, no value of a user's dropped, no engine
//! called; what is to be woken is gathered in a [`Wakers`] and woken after the guard's end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Locks, also after a panic.
///
/// A lock can only be poisoned by a waker that panics while it is cloned, and our data is whole
/// at every such point. To panic again in a destructor would turn one failure into an abort.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tasks that wait for something, in the order in which they came.
///
/// Nearly always one, which needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    /// Whether `first` waits; else it is kept from an earlier time, to spare a clone.
    waits: bool,
    /// Boxed, because nearly always there are none and this is moved about.
    #[allow(clippy::box_collection)]
    more: Option<Box<Vec<Waker>>>,
}

impl Wakers {
    /// Says whether nobody waits.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        !self.waits
    }

    /// Adds the waker of a task, unless that task is here already.
    #[inline]
    pub(crate) fn keep(&mut self, waker: &Waker) {
        match &self.first {
            Some(first) if first.will_wake(waker) => self.waits = true,
            Some(_) if self.waits => {
                let more = self.more.get_or_insert_default();
                if !more.iter().any(|other| other.will_wake(waker)) {
                    more.push(waker.clone());
                }
            }
            _ => {
                self.first = Some(waker.clone());
                self.waits = true;
            }
        }
    }

    /// Adds a waker.
    pub(crate) fn push(&mut self, waker: Waker) {
        if self.waits {
            self.more.get_or_insert_default().push(waker);
        } else {
            self.first = Some(waker);
            self.waits = true;
        }
    }

    /// Wakes them all; the caller holds no lock.
    pub(crate) fn wake(self) {
        if let Some(first) = self.first.filter(|_| self.waits) {
            first.wake();
        }
        self.more
            .into_iter()
            .flat_map(|more| *more)
            .for_each(Waker::wake);
    }

    /// Wakes them all, who are to be [restored](Self::restore) then; the caller holds no lock.
    #[inline]
    pub(crate) fn wake_by_ref(&self) {
        if let Some(first) = self.first.as_ref().filter(|_| self.waits) {
            first.wake_by_ref();
        }
        self.more
            .iter()
            .flat_map(|more| more.iter())
            .for_each(Waker::wake_by_ref);
    }

    /// Takes out those who wait, to be woken later.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        if !self.waits {
            return Self::default();
        }
        std::mem::take(self)
    }

    /// Keeps the first waker of those that were taken and woken, for the next time.
    #[inline]
    pub(crate) fn restore(&mut self, woken: Self) {
        if self.first.is_none() {
            self.first = woken.first;
        }
    }
}
