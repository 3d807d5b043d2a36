//! `Executor`: the futures of a run's tasks and their wakers.
//!
//! The run loop owns the executor. A poll therefore moves neither the future nor the waker, and no
//! code of a task runs while the world is borrowed.
//!
//! Most tasks have no waker of their own, because an operation that waits stores the task's id
//! (see `waiter`). All these tasks are polled with one shared waker. When the waker is cloned
//! during a poll, it becomes the waker of the polled task, and the other tasks get a new one. A
//! waker for each task would add 72 bytes to a sleeping task.

use std::mem::replace;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use crate::util::cold::cold;
use crate::util::waiter;
use crate::util::waiter::TaskRef;

use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::task::table::{MAX_CAPACITY, TaskId, TaskTable};

/// The data of a `Waker`: the task that it wakes. The task may change as long as the waker was not
/// cloned.
#[derive(Debug, Default)]
struct WakeTarget {
    run: AtomicU64,
    task: AtomicU64,
}

impl Wake for WakeTarget {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let (run, task) = (self.run.load(Ordering::Relaxed), self.task.load(Ordering::Relaxed));
        waiter::wake(TaskRef { run, task });
    }
}

/// A waker, and its target as well, so that it can be changed.
struct TaskWaker {
    waker: Waker,
    target: Arc<WakeTarget>,
}

impl TaskWaker {
    fn new(run: u64) -> Self {
        let target = Arc::new(WakeTarget { run: AtomicU64::new(run), task: AtomicU64::new(0) });
        Self { waker: target.clone().into(), target }
    }

    fn set(&self, task: TaskRef) {
        self.target.run.store(task.run, Ordering::Relaxed);
        self.target.task.store(task.task, Ordering::Relaxed);
    }

    /// Whether the waker was cloned, beside the two clones in here. This reads the count without an
    /// atomic operation.
    #[inline]
    fn is_cloned(&self) -> bool {
        Arc::strong_count(&self.target) > 2
    }
}

/// The futures, by slot.
pub(crate) struct Executor {
    futures: Vec<Option<BoxedTask>>,
    /// The wakers of tasks that were cloned, by slot.
    task_wakers: Vec<Option<Box<TaskWaker>>>,
    /// The waker of all tasks that have none of their own.
    shared_waker: TaskWaker,
    /// The run that goes on.
    run: u64,
}

impl Default for Executor {
    fn default() -> Self {
        Self {
            futures: Vec::new(),
            task_wakers: Vec::new(),
            shared_waker: TaskWaker::new(0),
            run: 0,
        }
    }
}

impl Executor {
    /// Begins a run.
    #[inline(always)]
    pub(crate) fn begin(&mut self, run: u64) {
        self.run = run;
        if self.shared_waker.is_cloned() {
            self.shared_waker = TaskWaker::new(run);
        }
        self.shared_waker.set(TaskRef { run, task: 0 });
    }

    /// Takes in tasks that were spawned.
    #[inline]
    pub(crate) fn insert_spawned(
        &mut self,
        spawned: &mut Vec<(u32, BoxedTask)>,
        tasks: &TaskTable,
    ) {
        while let Some((slot, future)) = spawned.pop() {
            self.insert(slot, future, tasks);
        }
    }

    /// Takes in a task. Not inlined, because the loop is faster the fewer registers it needs.
    #[inline(never)]
    fn insert(&mut self, slot: u32, future: BoxedTask, tasks: &TaskTable) {
        let is_plain = self.task_waker(slot).is_none() && !self.shared_waker.is_cloned();
        match self.futures.get_mut(slot as usize) {
            Some(index @ None) if is_plain => *index = Some(future),
            _ => self.insert_slow(tasks.id(slot), future),
        }
    }

    /// Adds a task whose slot is new, or has a waker of its own. The common waker serves this task,
    /// too, unless it was cloned.
    #[cold]
    fn insert_slow(&mut self, task: TaskId, future: BoxedTask) {
        if self.shared_waker.is_cloned() {
            self.assign_shared_waker(); // before another task has that slot
        }
        let slot = task.slot as usize;
        if slot >= self.futures.len() {
            self.futures.resize_with(slot + 1, || None);
        }
        self.futures[slot] = Some(future);
        if let Some(own) = self.task_wakers.get_mut(slot) {
            match own {
                Some(own) if !own.is_cloned() => {
                    own.set(TaskRef { run: self.run, task: task.to_bits() });
                }
                _ => *own = None,
            }
        }
    }

    /// The waker of a task that has one of its own.
    #[inline]
    fn task_waker(&self, slot: u32) -> Option<&TaskWaker> {
        self.task_wakers.get(slot as usize)?.as_deref()
    }

    /// Polls the task of a number. Returns its box if that completed it.
    #[inline]
    pub(crate) fn poll(&mut self, number: u64) -> Option<BoxedTask> {
        let slot = TaskId::from_bits(number).slot;
        if self.shared_waker.is_cloned() {
            self.assign_shared_waker();
        }
        let waker = match self.task_wakers.get(slot as usize) {
            Some(Some(own)) => &own.waker,
            _ => {
                self.shared_waker.target.task.store(number, Ordering::Relaxed);
                &self.shared_waker.waker
            }
        };
        waiter::set_current_task(waker, TaskRef { run: self.run, task: number });
        let future = self.futures.get_mut(slot as usize)?;
        let polled = future.as_mut()?.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() { future.take() } else { None }
    }

    /// Leaves the common waker to the task that was polled with it last, because it was cloned.
    #[cold]
    fn assign_shared_waker(&mut self) {
        let task = self.shared_waker.target.task.load(Ordering::Relaxed);
        let slot = TaskId::from_bits(task).slot as usize;
        let retained = replace(&mut self.shared_waker, TaskWaker::new(self.run));
        if slot >= self.task_wakers.len() {
            self.task_wakers.resize_with(slot + 1, || None);
        }
        self.task_wakers[slot] = Some(Box::new(retained));
    }

    /// Whether the waker of a task was cloned to a place outside of the run.
    pub(crate) fn is_waker_cloned(&mut self, slot: u32) -> bool {
        if self.shared_waker.is_cloned() {
            self.assign_shared_waker();
        }
        self.task_waker(slot).is_some_and(TaskWaker::is_cloned)
    }

    /// Has the processor load what will be polled before long; see `World::prefetch_ahead`.
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
        if self.futures.capacity().max(self.task_wakers.capacity()) > MAX_CAPACITY {
            cold(|| {
                self.futures.truncate(MAX_CAPACITY);
                self.futures.shrink_to(MAX_CAPACITY);
                self.task_wakers.truncate(MAX_CAPACITY);
                self.task_wakers.shrink_to(MAX_CAPACITY);
            });
        }
    }
}
