//! Waiting for a task's end. Knows a task's number; refuses to know its future.

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::wait::{Operation, explaining, has_progressed, withdraw, withhold};
use crate::waiter::Waiter;

use super::ask::Unjoined;
use super::body::{BoxedTask, open};
use super::current::{enter_run, try_enter_run};
use super::task::{Stage, TaskId};

/// Waits for a task's end and gives what it returned.
///
/// Dropping it detaches the task, which goes on. It is `Send + Sync` whatever
/// the task returns, because it holds nothing but a number.
///
/// # Cancel safety
///
/// A poll that is pending takes nothing; the output stays until it is taken.
pub struct JoinHandle<T> {
    run: u64,
    /// `None` once the output was taken, and for a task that never began.
    task: Option<TaskId>,
    taken: bool,
    output: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

impl<T> JoinHandle<T> {
    /// The handle of a task; of none if it was spawned when its run was over,
    /// and never ran.
    pub(crate) const fn new(run: u64, task: Option<TaskId>) -> Self {
        Self { run, task, taken: false, output: PhantomData }
    }

    /// Has the task dropped as soon as whatever is being polled returns.
    ///
    /// Joining it then gives [`JoinError`], unless it completed before. Does
    /// nothing after the run.
    pub fn abort(&self) {
        if let Some(task) = self.task {
            try_enter_run(self.run, |world| world.abort(task));
        }
    }

    /// Returns whether the task has ended, in whichever way.
    pub fn is_finished(&self) -> bool {
        let live = |task| try_enter_run(self.run, |world| world.tasks.live(task).is_some());
        !self.task.and_then(live).unwrap_or(false)
    }
}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// If polled again after it was ready, and outside its run.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.taken, "virtnet: a JoinHandle was polled after it was ready");
        if explaining() {
            return self.explain(cx.waker());
        }
        let result = match join(self.run, self.task, cx.waker()) {
            Err(Unjoined::Pending) => return Poll::Pending,
            Ok(task) => Ok(open(task)),
            Err(Unjoined::Aborted) => Err(aborted(self.run, self.task)),
        };
        self.task = None; // joining has released it
        self.taken = true;
        Poll::Ready(result)
    }
}

/// Asks how a task has ended: the same code for all types.
fn join(run: u64, task: Option<TaskId>, waker: &Waker) -> Result<BoxedTask, Unjoined> {
    let Some(task) = task else { return Err(Unjoined::Aborted) };
    // Whoever is not woken after all is dropped here, outside the world.
    let mut wait = Some(Waiter::of(waker));
    enter_run(run, |world| world.join(task, &mut wait))
}

impl<T> JoinHandle<T> {
    /// Says how the task stands while a stall is explained; its output stays where it is.
    #[cold]
    fn explain<R>(&self, waker: &Waker) -> Poll<R> {
        let begins = Operation::BeginsAt(self.address());
        // None is the handle of a task that could not be spawned any more.
        let Some(task) = self.task else {
            return withhold(begins, || "join a task that it spawns".into());
        };
        let operation = enter_run(self.run, |world| match world.tasks.known(task) {
            _ if has_progressed() => Operation::Waits,
            None | Some((Stage::Done, _)) => Operation::Ready,
            Some((_, about)) => match &about.joiner {
                None => begins,
                // A waker may be made anew for each poll.
                Some(joiner) if joiner.is(waker) || Waiter::polled(waker).is_none() => {
                    Operation::Waits
                }
                Some(_) => begins,
            },
        });
        withhold(operation, || {
            let path = try_enter_run(self.run, |world| world.tasks.path(task.slot));
            format!("the end of task {}", path.unwrap_or_default())
        })
    }

    /// Tells it from others while a stall is explained.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Forgets a task that was aborted, or never began.
#[cold]
fn aborted(run: u64, task: Option<TaskId>) -> JoinError {
    let Some(task) = task else { return JoinError { task: "(spawned after its run)".into() } };
    let (path, _left) = enter_run(run, |world| {
        let path = world.tasks.known(task).is_some().then(|| world.tasks.path(task.slot));
        (path, world.detach(task))
    });
    JoinError { task: path.unwrap_or_default() }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if explaining() {
            withdraw(self.address());
        }
        if let Some(task) = self.task {
            // What is left of the task is dropped here, outside the world.
            let _left = try_enter_run(self.run, |world| world.detach(task));
        }
    }
}

/// The task was aborted, or its run was over, before it could return anything.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("task {task} was aborted")]
pub struct JoinError {
    task: String,
}

impl JoinError {
    /// Returns the path of the task: `main/client/worker#2`.
    pub fn task(&self) -> &str {
        &self.task
    }
}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error)
    }
}
