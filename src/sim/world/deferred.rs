//! `DeferredQueue`: work to do outside the world before the next event.
//!
//! Such work is a waker of another executor or a combinator to wake, an aborted task to drop, or a
//! callback to run. The queue is almost always empty; one flag tells.

use std::collections::VecDeque;
use std::task::Waker;

use crate::util::cold::{ClearToCapacity, cold};

use crate::sim::choice::key::PathHash;
use crate::sim::report::trace::RecordIndex;
use crate::sim::task::table::TaskId;
use crate::sim::world::actor::Requester;

/// An action that the run loop does outside of the world.
pub(crate) enum Callback {
    Boxed(Box<dyn FnOnce()>),
    /// Something that the network has numbered, of a run: no allocation.
    Call(fn(u64, u32), u64, u32),
}

impl Callback {
    pub(crate) fn run(self) {
        match self {
            Self::Boxed(work) => work(),
            Self::Call(visit, run, number) => visit(run, number),
        }
    }
}

/// A pending call of a waker that is not a task's own.
pub(crate) struct DeferredWake {
    pub(crate) waker: Waker,
    pub(crate) requester: Requester,
}

/// A task to be dropped, and who had it aborted, in which record.
#[derive(Clone, Copy)]
pub(crate) struct Aborted {
    pub(crate) task: TaskId,
    pub(crate) actor: PathHash,
    pub(crate) cause: RecordIndex,
}

/// The first of what presses.
pub(crate) enum Deferred {
    /// The run must end.
    Abort,
    /// The run has taken all steps that it may.
    StepLimit,
    Wake(DeferredWake),
    Drop(Aborted),
    Callback(Callback),
}

/// The deferred actions, in order.
#[derive(Default)]
pub(crate) struct DeferredQueue {
    /// Whether there may be any of what follows.
    has_any: bool,
    /// The reason why the run must end at once, if there is one.
    abort_reason: Option<String>,
    /// Whether the run has taken all steps that it may.
    is_out_of_steps: bool,
    wakes: VecDeque<DeferredWake>,
    aborted: VecDeque<Aborted>,
    callbacks: VecDeque<Callback>,
}

impl DeferredQueue {
    /// Whether there may be anything.
    #[inline]
    pub(crate) const fn has_any(&self) -> bool {
        self.has_any
    }

    /// Takes what is first.
    #[cold]
    pub(crate) fn pop(&mut self) -> Option<Deferred> {
        if self.abort_reason.is_some() {
            return Some(Deferred::Abort);
        }
        if self.is_out_of_steps {
            return Some(Deferred::StepLimit);
        }
        let wake = self.wakes.pop_front().map(Deferred::Wake);
        let drop = |this: &mut Self| this.aborted.pop_front().map(Deferred::Drop);
        let callback = |this: &mut Self| this.callbacks.pop_front().map(Deferred::Callback);
        let first = wake.or_else(|| drop(self)).or_else(|| callback(self));
        self.has_any = first.is_some();
        first
    }

    /// Takes the first waker to be woken.
    #[cold]
    pub(crate) fn pop_wake(&mut self) -> Option<DeferredWake> {
        self.wakes.pop_front()
    }

    /// Has a waker woken that is not a task's own.
    pub(crate) fn wake(&mut self, wake: DeferredWake) {
        self.has_any = true;
        self.wakes.push_back(wake);
    }

    /// Has a task dropped.
    pub(crate) fn abort(&mut self, aborted: Aborted) {
        self.has_any = true;
        self.aborted.push_back(aborted);
    }

    /// Puts back what was first.
    pub(crate) fn put_back(&mut self, aborted: Aborted) {
        self.has_any = true;
        self.aborted.push_front(aborted);
    }

    /// Has something done.
    pub(crate) fn run(&mut self, callback: Callback) {
        self.has_any = true;
        self.callbacks.push_back(callback);
    }

    /// Has the run end; the first reason counts.
    #[cold]
    pub(crate) fn end(&mut self, reason: String) {
        self.has_any = true;
        self.abort_reason.get_or_insert(reason);
    }

    /// Has the run end because it has taken all steps that it may.
    #[cold]
    pub(crate) fn set_out_of_steps(&mut self) {
        (self.has_any, self.is_out_of_steps) = (true, true);
    }

    /// Whether the run must end.
    pub(crate) const fn is_aborted(&self) -> bool {
        self.abort_reason.is_some()
    }

    /// Takes the reason why the run must end.
    pub(crate) fn take_abort_reason(&mut self) -> Option<String> {
        self.abort_reason.take()
    }

    /// Takes what may be a user's own, to be dropped elsewhere.
    pub(crate) fn take_remaining(&mut self, wakers: &mut Vec<Waker>, errands: &mut Vec<Callback>) {
        if !(self.wakes.is_empty() && self.callbacks.is_empty()) {
            cold(|| {
                wakers.extend(self.wakes.drain(..).map(|wake| wake.waker));
                errands.extend(self.callbacks.drain(..));
            });
        }
    }

    /// Forgets all that is left and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const MAX_CAPACITY: usize = 1024;
        (self.has_any, self.abort_reason, self.is_out_of_steps) = (false, None, false);
        self.aborted.clear_to_capacity(MAX_CAPACITY);
        self.wakes.clear_to_capacity(MAX_CAPACITY);
        self.callbacks.clear_to_capacity(MAX_CAPACITY);
    }
}
