//! `Progress`: how far a run has come, for a watchdog in another thread.
//!
//! A run without a watchdog has no `Progress`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sim::choice::key::PathHash;

/// The message of a run that another thread has stopped: its ending says nothing of the program.
pub(crate) const STOPPED: &str = "virtnet: the run was stopped after its real time";

/// The progress of a run, which another thread may read.
#[derive(Debug)]
pub(crate) struct Progress {
    step: AtomicU64,
    task: AtomicU64,
    /// Whether the last step was made: what follows is no poll.
    is_over: AtomicBool,
    /// The first step at which the run is to end and to say why: its name is asked for, or it is
    /// to stop.
    stop_at: AtomicU64,
    name: Mutex<Option<String>>,
}

impl Default for Progress {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            step: zero(),
            task: zero(),
            is_over: AtomicBool::default(),
            stop_at: u64::MAX.into(),
            name: Mutex::default(),
        }
    }
}

impl Progress {
    /// The pulse of a run that ends when it comes to this step, and says whose it is.
    pub(crate) fn naming_step(step: u64) -> Arc<Self> {
        let progress = Self::default();
        progress.stop_at.store(step, Relaxed);
        Arc::new(progress)
    }

    /// A run begins, and no task has been polled.
    pub(crate) fn begin(&self) {
        self.is_over.store(false, Relaxed);
        self.step.store(0, Relaxed);
        self.stop_at.store(u64::MAX, Relaxed);
    }

    /// The last step was made: the end of the run is put together.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Ends the run before its next poll, with the message [`STOPPED`].
    pub(crate) fn stop(&self) {
        self.stop_at.store(0, Relaxed);
    }

    /// Whether the run is to stop, and not to name a task.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop_at.load(Relaxed) == 0
    }

    /// A task is about to be polled. Returns whether the run ends before that.
    #[inline]
    pub(crate) fn tick(&self, step: u64, task: PathHash) -> bool {
        self.step.store(step, Relaxed);
        self.task.store(task.0, Relaxed);
        self.stop_at.load(Relaxed) <= step
    }

    /// A step is made in which no task is polled.
    pub(crate) fn resume(&self, step: u64) {
        self.step.store(step, Relaxed);
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
