//! The futures of a run's tasks, and how one is polled.
//!
//! Knows futures and wakers by slot number; refuses to know time, order and
//! who runs next. The run loop owns it, so that polling a task moves neither
//! its future nor its waker, and nothing of a task's own code ever runs while
//! the world is borrowed.

use std::hint::black_box;
use std::task::{Context, Waker};

use crate::waiter::{self, Who};

use super::body::BoxedTask;
use super::task::{KEPT, TaskId, Tasks};

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
    pub(crate) fn adopt(&mut self, born: &mut Vec<u32>, tasks: &mut Tasks) {
        while let Some(slot) = born.pop() {
            self.adopt_one(slot, tasks);
        }
    }

    fn adopt_one(&mut self, slot: u32, tasks: &mut Tasks) {
        while self.bodies.len() <= slot as usize {
            self.bodies.push(Body { future: None, waker: Waker::noop().clone() });
        }
        let body = &mut self.bodies[slot as usize];
        body.future = tasks.about[slot as usize].task.take();
        if let Some(waker) = tasks.new_waker(slot, &body.waker) {
            body.waker = waker;
        }
    }

    /// Polls the task of a number. Returns whether that completed it.
    #[inline]
    pub(crate) fn poll(&mut self, number: u64) -> bool {
        let Some(body) = self.bodies.get_mut(TaskId::of_number(number).slot as usize) else {
            return false;
        };
        let Some(future) = &mut body.future else {
            return false;
        };
        waiter::set_polled(&body.waker, Who { run: self.run, task: number });
        future.as_mut().poll(&mut Context::from_waker(&body.waker)).is_ready()
    }

    /// Has the processor load what will be polled before long; see `World::look_ahead`.
    #[cold]
    pub(crate) fn load(&self, slots: &mut Vec<u32>) {
        for slot in slots.drain(..) {
            let body = self.bodies.get(slot as usize);
            black_box(body.and_then(|body| body.future.as_ref()).map(|future| future.is_done()));
        }
    }

    /// Takes a task out, wherever it stands.
    #[inline]
    pub(crate) fn take(&mut self, slot: u32) -> Option<BoxedTask> {
        self.bodies.get_mut(slot as usize)?.future.take()
    }

    /// Keeps the slots, and their wakers, for the next run, unless there are
    /// more than the table of tasks keeps.
    pub(crate) fn clear(&mut self) {
        self.bodies.truncate(KEPT);
        self.bodies.shrink_to(KEPT);
    }
}
