//! [`TaskPanic`]: the panic of a task.

use std::fmt;
use std::panic::Location;

/// What stands for the message of a panic whose payload is no text.
pub(crate) const NO_MESSAGE: &str = "(a panic without a message)";

/// A task's panic ended the run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TaskPanic {
    /// The path of the task that panicked: `main/client/worker#2`.
    pub task: String,
    /// What the panic said.
    pub message: String,
    /// Where the task was spawned.
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
