//! `JoinHandle`: waits for a task to end and returns its output.

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::util::stall_probe::{
    Operation, address_of, forget_operation, has_progressed, is_probing, report_pending,
};
use crate::util::waiter::Waiter;

use crate::sim::task::boxed_task::{BoxedTask, take_output};
use crate::sim::task::table::{DropReason, TaskId, TaskState};
use crate::sim::world::current::{enter_run, try_enter_run};
use crate::sim::world::node::{NO_NODE, NodeDeath};
use crate::sim::world::task_api::JoinStatus;

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
    state: State,
    output: PhantomData<fn() -> T>,
}

/// The state of a handle.
enum State {
    Spawned(TaskId),
    /// A task that never began: the node that was down, and where it was spawned.
    ///
    /// Nothing that must be dropped: that would take 4 % more instructions to spawn and join a
    /// task.
    Refused(u16, &'static Location<'static>),
    /// The output was taken.
    Taken,
}

const _: () = assert!(size_of::<State>() == 16);

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

impl<T> JoinHandle<T> {
    /// The handle of a task.
    pub(crate) const fn new(run: u64, task: TaskId) -> Self {
        Self { run, state: State::Spawned(task), output: PhantomData }
    }

    /// The handle of a task that was spawned; or was not, because its run was over or a node was
    /// down. The node is the one that it was to be spawned on, unless that is where its parent is.
    #[inline]
    pub(crate) fn from_spawn_result(
        run: u64,
        spawned: Result<TaskId, ()>,
        (node, spawned_at): (u16, &'static Location<'static>),
    ) -> Self {
        match spawned {
            Ok(task) => Self::new(run, task),
            Err(()) => {
                let state = State::Refused(find_down_node(run, node), spawned_at);
                Self { run, state, output: PhantomData }
            }
        }
    }

    const fn task(&self) -> Option<TaskId> {
        match self.state {
            State::Spawned(task) => Some(task),
            State::Refused(..) | State::Taken => None,
        }
    }

    /// Has the task dropped as soon as whatever is being polled returns.
    ///
    /// Joining it then gives [`JoinError`], unless it completed before. Does
    /// nothing after the run.
    pub fn abort(&self) {
        if let Some(task) = self.task() {
            try_enter_run(self.run, |world| world.abort(task));
        }
    }

    /// Returns whether the task has ended, in whichever way.
    pub fn is_finished(&self) -> bool {
        let live = |task| try_enter_run(self.run, |world| world.tasks.get_live(task).is_some());
        !self.task().and_then(live).unwrap_or(false)
    }
}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// If polled again after it was ready, and outside its run.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if is_probing() {
            return self.explain(cx.waker());
        }
        let run = self.run;
        let result = match &self.state {
            State::Spawned(task) => match join(run, *task, cx.waker()) {
                Err(JoinStatus::Pending) => return Poll::Pending,
                Ok(output) => Ok(take_output(output)),
                Err(JoinStatus::Aborted) => Err(aborted_error(run, *task)),
            },
            State::Refused(node, at) => Err(refused_error(run, *node, at)),
            State::Taken => panic!("virtnet: a JoinHandle was polled after it was ready"),
        };
        self.state = State::Taken; // joining has released it
        Poll::Ready(result)
    }
}

/// Asks how a task has ended: the same code for all types.
fn join(run: u64, task: TaskId, waker: &Waker) -> Result<BoxedTask, JoinStatus> {
    // Whoever is not woken after all is dropped here, outside the world.
    let mut waiter = Some(Waiter::of(waker));
    enter_run(run, |world| world.join(task, &mut waiter))
}

impl<T> JoinHandle<T> {
    /// Says how the task stands while a stall is explained; its output stays where it is.
    #[cold]
    fn explain<R>(&self, waker: &Waker) -> Poll<R> {
        let not_begun = Operation::NewAt(address_of(self));
        // None is the handle of a task that could not be spawned any more.
        let Some(task) = self.task() else {
            return report_pending(not_begun, || "join a task that it spawns".into());
        };
        let operation = enter_run(self.run, |world| match world.tasks.get_info(task) {
            _ if has_progressed() => Operation::Waiting,
            None | Some((TaskState::Done, _)) => Operation::Ready,
            Some((_, info)) => match &info.joiner {
                None => not_begun,
                // A waker may be made anew for each poll.
                Some(joiner)
                    if joiner.will_wake(waker) || Waiter::of_current_task(waker).is_none() =>
                {
                    Operation::Waiting
                }
                Some(_) => not_begun,
            },
        });
        report_pending(operation, || {
            let path = try_enter_run(self.run, |world| world.tasks.path(task.slot));
            format!("the end of task {}", path.unwrap_or_default())
        })
    }
}

/// Forgets a task that was dropped before its end.
#[cold]
fn aborted_error(run: u64, task: TaskId) -> JoinError {
    let (error, _leftover) = enter_run(run, |world| {
        let dropped = world.tasks.get_info(task).map(|(_, info)| info.drop_reason);
        let node = world.tasks.slots[task.slot as usize].node;
        let reason = match dropped {
            Some(DropReason::NodeDied(death)) => {
                JoinErrorReason::NodeDied { node: world.nodes.name(node).to_string(), death }
            }
            _ => JoinErrorReason::Aborted,
        };
        let path = dropped.map(|_| world.tasks.path(task.slot)).unwrap_or_default();
        (JoinError::new(path, reason), world.detach(task))
    });
    error
}

#[cold]
fn find_down_node(run: u64, node: u16) -> u16 {
    try_enter_run(run, |world| world.find_down_node(node)).unwrap_or(NO_NODE)
}

/// Why a task never began.
#[cold]
fn refused_error(run: u64, node: u16, spawned_at: &Location<'_>) -> JoinError {
    let reason = match node {
        NO_NODE => JoinErrorReason::RunOver,
        _ => {
            let node = enter_run(run, |world| world.nodes.name(node));
            JoinErrorReason::NodeDown { node: node.to_string() }
        }
    };
    JoinError::new(format!("(spawned at {spawned_at})"), reason)
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task() {
            if is_probing() {
                forget_operation(address_of(self));
            }
            // The output and the waiter are dropped here, outside the world.
            let _leftover = try_enter_run(self.run, |world| world.detach(task));
        }
    }
}

/// The task ended before it could return anything, or never began.
///
/// A panic of a task is no such error: it ends the run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("task {} {}", .0.task, .0.reason)]
pub struct JoinError(Box<JoinErrorInfo>);

/// Which task has returned nothing, and why: boxed, because what a task returns would else be moved
/// about in as many words.
#[derive(Clone, PartialEq, Eq, Debug)]
struct JoinErrorInfo {
    task: String,
    reason: JoinErrorReason,
}

/// Why a task has returned nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum JoinErrorReason {
    /// [`JoinHandle::abort`] was called.
    Aborted,
    /// The node that it ran on died.
    NodeDied {
        /// The name of the node.
        node: String,
        /// The cause of its death.
        death: NodeDeath,
    },
    /// It never began, because this node was down: the one that it was spawned on, or that of the
    /// task that spawned it.
    NodeDown {
        /// The name of the node.
        node: String,
    },
    /// It never began, because it was spawned while the tasks of a run that was over were dropped.
    RunOver,
}

/// Prints what happened to the task: `was aborted`.
impl fmt::Display for JoinErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => f.write_str("was aborted"),
            Self::NodeDied { node, death } => write!(f, "was dropped: its node {node:?} {death}"),
            Self::NodeDown { node } => write!(f, "was not started: the node {node:?} is down"),
            Self::RunOver => f.write_str("was not started: its run is over"),
        }
    }
}

impl JoinError {
    fn new(task: String, reason: JoinErrorReason) -> Self {
        Self(Box::new(JoinErrorInfo { task, reason }))
    }

    /// Returns the path of the task: `main/client/worker#2`; of one that never began, where
    /// it was spawned: `(spawned at src/server.rs:7:9)`.
    pub fn task(&self) -> &str {
        &self.0.task
    }

    /// Returns why the task has returned nothing.
    pub fn reason(&self) -> &JoinErrorReason {
        &self.0.reason
    }
}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error)
    }
}
