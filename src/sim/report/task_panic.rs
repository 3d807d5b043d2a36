//! [`TaskPanic`]: the panic of a task.

use std::fmt;
use std::panic::Location;

/// The message of a panic whose payload is not a text.
pub(crate) const NO_MESSAGE: &str = "(a panic without a message)";

/// A task's panic ended the run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TaskPanic {
    /// The path of the task that panicked: `main/client/worker#2`.
    pub task: String,
    /// The message of the panic.
    pub message: String,
    /// The place where the task was spawned.
    pub spawned_at: &'static Location<'static>,
    /// Whether it panicked while the run, already over, dropped its tasks.
    pub during_drop: bool,
}

impl fmt::Display for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.during_drop { " while it was dropped" } else { "" };
        write!(f, "task {} panicked{when}: {}", self.task, self.message)?;
        write!(f, "\n  spawned at {}", self.spawned_at)
    }
}
