//! The futures of a run's tasks, and how one is polled.
//!
//! Knows futures and wakers by slot number; refuses to know time, order and
//! who runs next. The run loop owns it, so that polling a task moves neither
//! its future nor its waker, and nothing of a task's own code ever runs while
//! the world is borrowed.
//!
//! Most tasks have no waker of their own: whatever they wait for knows them by
//! number (see `waiter`). All these are polled with one waker, until somebody
//! keeps it: then it is that task's, and the others get a new one. A waker for
//! each would add 72 bytes to a sleeping task.

use std::hint::black_box;
use std::mem::replace;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use crate::waiter::{self, Who};

use super::body::BoxedTask;
use super::task::{KEPT, TaskId, Tasks};

/// What a `Waker` holds: who it wakes, which may change as long as nobody has kept the waker.
#[derive(Debug, Default)]
struct Target {
    run: AtomicU64,
    task: AtomicU64,
}

impl Wake for Target {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let (run, task) = (self.run.load(Ordering::Relaxed), self.task.load(Ordering::Relaxed));
        waiter::wake(Who { run, task });
    }
}

/// A waker, and its target as well, so that it can be changed.
struct TaskWaker {
    waker: Waker,
    target: Arc<Target>,
}

impl TaskWaker {
    fn of(run: u64) -> Self {
        let target = Arc::new(Target { run: AtomicU64::new(run), task: AtomicU64::new(0) });
        Self { waker: target.clone().into(), target }
    }

    fn set(&self, who: Who) {
        self.target.run.store(who.run, Ordering::Relaxed);
        self.target.task.store(who.task, Ordering::Relaxed);
    }

    /// Whether somebody has kept it, beside the two in here. It takes nothing but a look at the
    /// count, and no atomic operation.
    #[inline]
    fn is_kept(&self) -> bool {
        Arc::strong_count(&self.target) > 2
    }
}

/// A slot's future, and the waker of its task, once somebody has kept that.
#[derive(Default)]
struct Body {
    future: Option<BoxedTask>,
    own: Option<Box<TaskWaker>>,
}

/// The futures, by slot.
pub(crate) struct Executor {
    bodies: Vec<Body>,
    /// The waker of all tasks that have none of their own.
    common: TaskWaker,
    /// The run that goes on.
    run: u64,
}

impl Default for Executor {
    fn default() -> Self {
        Self { bodies: Vec::new(), common: TaskWaker::of(0), run: 0 }
    }
}

impl Executor {
    /// Begins a run.
    pub(crate) fn begin(&mut self, run: u64) {
        self.run = run;
        if self.common.is_kept() {
            self.common = TaskWaker::of(run);
        }
        self.common.set(Who { run, task: 0 });
    }

    /// Takes in tasks that were spawned.
    #[inline]
    pub(crate) fn adopt(&mut self, born: &mut Vec<(u32, BoxedTask)>, tasks: &Tasks) {
        while let Some((slot, future)) = born.pop() {
            self.adopt_one(slot, future, tasks);
        }
    }

    /// Takes in a task. Not inlined, because the loop is faster the fewer registers it needs.
    #[inline(never)]
    fn adopt_one(&mut self, slot: u32, future: BoxedTask, tasks: &Tasks) {
        match self.bodies.get_mut(slot as usize) {
            Some(Body { future: place @ None, own: None }) if !self.common.is_kept() => {
                *place = Some(future);
            }
            _ => self.make_room(tasks.id(slot), future),
        }
    }

    /// Takes in a task whose slot is new, or has a waker of its own: that of the last task serves
    /// this one as well, unless somebody has kept it.
    #[cold]
    fn make_room(&mut self, task: TaskId, future: BoxedTask) {
        if self.common.is_kept() {
            self.give_common(); // before another task has that slot
        }
        let slot = task.slot as usize;
        if slot >= self.bodies.len() {
            self.bodies.resize_with(slot + 1, Body::default);
        }
        let body = &mut self.bodies[slot];
        body.future = Some(future);
        match &body.own {
            Some(own) if !own.is_kept() => own.set(Who { run: self.run, task: task.number() }),
            _ => body.own = None,
        }
    }

    /// Polls the task of a number. Returns its box if that completed it.
    #[inline]
    pub(crate) fn poll(&mut self, number: u64) -> Option<BoxedTask> {
        let slot = TaskId::of_number(number).slot;
        if self.common.is_kept() {
            self.give_common();
        }
        let Body { future, own } = self.bodies.get_mut(slot as usize)?;
        let waker = match own {
            Some(own) => &own.waker,
            None => {
                self.common.target.task.store(number, Ordering::Relaxed);
                &self.common.waker
            }
        };
        waiter::set_polled(waker, Who { run: self.run, task: number });
        let polled = future.as_mut()?.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() { future.take() } else { None }
    }

    /// Leaves the common waker to the task that was polled with it last: somebody has kept it.
    #[cold]
    fn give_common(&mut self) {
        let slot = TaskId::of_number(self.common.target.task.load(Ordering::Relaxed)).slot;
        let kept = replace(&mut self.common, TaskWaker::of(self.run));
        if let Some(body) = self.bodies.get_mut(slot as usize) {
            body.own = Some(Box::new(kept));
        }
    }

    /// Whether somebody has kept the waker of a task; what waits in here has not.
    pub(crate) fn is_waker_kept(&mut self, slot: u32) -> bool {
        if self.common.is_kept() {
            self.give_common();
        }
        let body = self.bodies.get(slot as usize);
        body.and_then(|body| body.own.as_ref()).is_some_and(|own| own.is_kept())
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
