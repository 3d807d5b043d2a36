//! How far a run has come, for another thread that watches it.
//!
//! Knows a few numbers; refuses to know who reads them. A run that nobody watches has none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::choice::Key;

/// What a run shows of itself while it goes on.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    step: AtomicU64,
    task: AtomicU64,
    /// Whether the last step was made: what follows is no poll.
    over: AtomicBool,
    /// The step at which the run is to say who is polled, and end; 0 is never.
    asked: u64,
    name: Mutex<Option<String>>,
}

impl Pulse {
    /// The pulse of a run that ends when it comes to this step, and says whose it is.
    pub(crate) fn that_names(step: u64) -> Arc<Self> {
        Arc::new(Self { asked: step, ..Self::default() })
    }

    /// A run begins, and no task has been polled.
    pub(crate) fn begin(&self) {
        self.over.store(false, Relaxed);
        self.step.store(0, Relaxed);
    }

    /// The last step was made: the end of the run is put together.
    pub(crate) fn end(&self) {
        self.over.store(true, Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// A task is about to be polled. Returns whether its name is asked for.
    #[inline]
    pub(crate) fn beat(&self, step: u64, task: Key) -> bool {
        self.step.store(step, Relaxed);
        self.task.store(task.0, Relaxed);
        self.asked == step
    }

    /// The number of the step, and what stands for the task that is polled in it.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.step.load(Relaxed), self.task.load(Relaxed))
    }

    pub(crate) fn set_name(&self, name: String) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    }

    pub(crate) fn name(&self) -> Option<String> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
