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
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tasks that wait for something, in the order in which they came.
///
/// Nearly always one, which needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakers {
    /// Adds the waker of a task, unless that task is here already.
    pub(crate) fn keep(&mut self, waker: &Waker) {
        match &self.first {
            None => self.first = Some(waker.clone()),
            Some(first) if first.will_wake(waker) => {}
            Some(_) if self.more.iter().any(|other| other.will_wake(waker)) => {}
            Some(_) => self.more.push(waker.clone()),
        }
    }

    /// Adds a waker.
    pub(crate) fn push(&mut self, waker: Waker) {
        match &self.first {
            None => self.first = Some(waker),
            Some(_) => self.more.push(waker),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Wakes them all; the caller holds no lock.
    pub(crate) fn wake(self) {
        self.first
            .into_iter()
            .chain(self.more)
            .for_each(Waker::wake);
    }

    /// Takes them all out, to be woken later.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            first: self.first.take(),
            more: std::mem::take(&mut self.more),
        }
    }
}
