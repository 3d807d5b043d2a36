//! The futures of a run's tasks, and how one is polled.
//!
//! Knows futures and wakers by slot number; refuses to know time, order and
//! who runs next. The run loop owns it, so that polling a task moves neither
//! its future nor its waker, and nothing of a task's own code ever runs while
//! the world is borrowed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

/// A task's future; what it returns has been taken care of inside.
pub(crate) type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

/// A task on its way into the executor.
pub(crate) struct Newborn {
    pub(crate) slot: u32,
    pub(crate) future: BoxedTask,
    pub(crate) waker: Waker,
}

/// The futures, by slot.
#[derive(Default)]
pub(crate) struct Executor {
    bodies: Vec<Option<(BoxedTask, Waker)>>,
}

impl Executor {
    /// Takes in tasks that were spawned.
    #[inline]
    pub(crate) fn adopt(&mut self, born: &mut Vec<Newborn>) {
        if born.is_empty() {
            return;
        }
        for Newborn {
            slot,
            future,
            waker,
        } in born.drain(..)
        {
            let slot = slot as usize;
            if self.bodies.len() <= slot {
                self.bodies.resize_with(slot + 1, || None);
            }
            self.bodies[slot] = Some((future, waker));
        }
    }

    /// Polls a task and drops it if that completes it. Returns whether it did.
    #[inline]
    pub(crate) fn poll(&mut self, slot: u32) -> bool {
        let Some(body) = self.bodies.get_mut(slot as usize) else {
            return false;
        };
        let Some((future, waker)) = body else {
            return false;
        };
        let done = future
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_ready();
        if done {
            *body = None;
        }
        done
    }

    /// Drops a task, wherever it stands.
    pub(crate) fn drop_task(&mut self, slot: u32) {
        if let Some(body) = self.bodies.get_mut(slot as usize) {
            drop(body.take());
        }
    }

    /// Forgets all tasks and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 1024;
        self.bodies.clear();
        self.bodies.shrink_to(KEPT);
    }
}
