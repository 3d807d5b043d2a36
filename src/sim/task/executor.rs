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

use std::mem::replace;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use crate::util::cold::aside;
use crate::util::waiter;
use crate::util::waiter::Who;

use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::task::table::{KEPT, TaskId, Tasks};

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

/// The futures, by slot.
pub(crate) struct Executor {
    futures: Vec<Option<BoxedTask>>,
    /// The wakers that somebody has kept, by slot, as far as there are any.
    own: Vec<Option<Box<TaskWaker>>>,
    /// The waker of all tasks that have none of their own.
    common: TaskWaker,
    /// The run that goes on.
    run: u64,
}

impl Default for Executor {
    fn default() -> Self {
        Self { futures: Vec::new(), own: Vec::new(), common: TaskWaker::of(0), run: 0 }
    }
}

impl Executor {
    /// Begins a run.
    #[inline(always)]
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
        let is_plain = self.own(slot).is_none() && !self.common.is_kept();
        match self.futures.get_mut(slot as usize) {
            Some(place @ None) if is_plain => *place = Some(future),
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
        if slot >= self.futures.len() {
            self.futures.resize_with(slot + 1, || None);
        }
        self.futures[slot] = Some(future);
        if let Some(own) = self.own.get_mut(slot) {
            match own {
                Some(own) if !own.is_kept() => own.set(Who { run: self.run, task: task.number() }),
                _ => *own = None,
            }
        }
    }

    /// The waker of a task that has one of its own.
    #[inline]
    fn own(&self, slot: u32) -> Option<&TaskWaker> {
        self.own.get(slot as usize)?.as_deref()
    }

    /// Polls the task of a number. Returns its box if that completed it.
    #[inline]
    pub(crate) fn poll(&mut self, number: u64) -> Option<BoxedTask> {
        let slot = TaskId::of_number(number).slot;
        if self.common.is_kept() {
            self.give_common();
        }
        let waker = match self.own.get(slot as usize) {
            Some(Some(own)) => &own.waker,
            _ => {
                self.common.target.task.store(number, Ordering::Relaxed);
                &self.common.waker
            }
        };
        waiter::set_polled(waker, Who { run: self.run, task: number });
        let future = self.futures.get_mut(slot as usize)?;
        let polled = future.as_mut()?.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() { future.take() } else { None }
    }

    /// Leaves the common waker to the task that was polled with it last: somebody has kept it.
    #[cold]
    fn give_common(&mut self) {
        let task = self.common.target.task.load(Ordering::Relaxed);
        let slot = TaskId::of_number(task).slot as usize;
        let kept = replace(&mut self.common, TaskWaker::of(self.run));
        if slot >= self.own.len() {
            self.own.resize_with(slot + 1, || None);
        }
        self.own[slot] = Some(Box::new(kept));
    }

    /// Whether somebody has kept the waker of a task; what waits in here has not.
    pub(crate) fn is_waker_kept(&mut self, slot: u32) -> bool {
        if self.common.is_kept() {
            self.give_common();
        }
        self.own(slot).is_some_and(TaskWaker::is_kept)
    }

    /// Has the processor load what will be polled before long; see `World::look_ahead`.
    #[cold]
    pub(crate) fn prefetch(&self, slots: &mut Vec<u32>) {
        for slot in slots.drain(..) {
            if let Some(task) = self.futures.get(slot as usize).and_then(Option::as_ref) {
                task.prefetch();
            }
        }
    }

    /// Takes a task out, wherever it stands.
    #[inline]
    pub(crate) fn take(&mut self, slot: u32) -> Option<BoxedTask> {
        self.futures.get_mut(slot as usize)?.take()
    }

    /// Keeps the slots, and their wakers, for the next run, unless there are
    /// more than the table of tasks keeps.
    pub(crate) fn clear(&mut self) {
        if self.futures.capacity().max(self.own.capacity()) > KEPT {
            aside(|| {
                self.futures.truncate(KEPT);
                self.futures.shrink_to(KEPT);
                self.own.truncate(KEPT);
                self.own.shrink_to(KEPT);
            });
        }
    }
}
