//! The futures of a run's tasks, and how one is polled.
//!
//! Knows futures and wakers by slot number; refuses to know time, order and
//! who runs next. The run loop owns it, so that polling a task moves neither
//! its future nor its waker, and nothing of a task's own code ever runs while
//! the world is borrowed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use crate::waiter::{self, Who};

use super::task::{KEPT, TaskId};

/// A task's future; what it returns has been taken care of inside.
pub(crate) type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

/// A task on its way into the executor.
pub(crate) struct Newborn {
    pub(crate) task: TaskId,
    pub(crate) future: BoxedTask,
    /// Its waker, unless that of the slot's last task serves.
    pub(crate) waker: Option<Waker>,
}

/// A slot's future, and the waker that wakes its task.
struct Body {
    future: Option<BoxedTask>,
    waker: Waker,
}

/// The futures, by slot.
#[derive(Default)]
pub(crate) struct Executor {
    bodies: Vec<Body>,
    /// The run that goes on.
    pub(crate) run: u64,
}

impl Executor {
    /// Takes in tasks that were spawned.
    #[inline]
    pub(crate) fn adopt(&mut self, born: &mut Vec<Newborn>) {
        if !born.is_empty() {
            born.drain(..).for_each(|newborn| self.adopt_one(newborn));
        }
    }

    /// Takes in a task.
    pub(crate) fn adopt_one(&mut self, Newborn { task, future, waker }: Newborn) {
        let slot = task.slot as usize;
        while self.bodies.len() <= slot {
            self.bodies.push(Body { future: None, waker: Waker::noop().clone() });
        }
        let body = &mut self.bodies[slot];
        body.future = Some(future);
        if let Some(waker) = waker {
            body.waker = waker;
        }
    }

    /// Polls a task and drops it if that completes it. Returns whether it did.
    #[inline]
    pub(crate) fn poll(&mut self, task: TaskId) -> bool {
        let Some(body) = self.bodies.get_mut(task.slot as usize) else {
            return false;
        };
        let Some(future) = &mut body.future else {
            return false;
        };
        waiter::set_polled(&body.waker, Who { run: self.run, task: task.number() });
        let done = future.as_mut().poll(&mut Context::from_waker(&body.waker)).is_ready();
        if done {
            body.future = None;
        }
        done
    }

    /// Drops a task, wherever it stands.
    pub(crate) fn drop_task(&mut self, slot: u32) {
        if let Some(body) = self.bodies.get_mut(slot as usize) {
            drop(body.future.take());
        }
    }

    /// Keeps the slots, and their wakers, for the next run, unless there are
    /// more than the table of tasks keeps.
    pub(crate) fn clear(&mut self) {
        self.bodies.truncate(KEPT);
        self.bodies.shrink_to(KEPT);
    }
}
