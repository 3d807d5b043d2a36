//! What goes before all that is due: what has to be done outside of the world, and soon.
//!
//! Knows wakers, errands and tasks to be dropped as things in line; refuses to know what comes of
//! them. Nearly always there is nothing, and to see that takes one look.

use std::collections::VecDeque;
use std::task::Waker;

use crate::util::cold::{Wipe, aside};

use crate::sim::choice::draw::Key;
use crate::sim::report::trace::Mark;
use crate::sim::task::table::TaskId;

/// What is to be done outside of the world, by the run loop.
pub(crate) enum Errand {
    Once(Box<dyn FnOnce()>),
    /// Something that the network has numbered, of a run: no allocation.
    Visit(fn(u64, u32), u64, u32),
}

impl Errand {
    pub(crate) fn run(self) {
        match self {
            Self::Once(work) => work(),
            Self::Visit(visit, run, number) => visit(run, number),
        }
    }
}

/// A task to be dropped, and who had it aborted, in which record.
#[derive(Clone, Copy)]
pub(crate) struct Aborted {
    pub(crate) task: TaskId,
    pub(crate) by: Key,
    pub(crate) cause: Mark,
}

/// The first of what presses.
pub(crate) enum Urgent {
    /// The run must end.
    Doom,
    /// The run has taken all steps that it may.
    StepLimit,
    /// A waker that is not a task's own.
    Wake(Waker),
    Drop(Aborted),
    Errand(Errand),
}

/// What presses, in line.
#[derive(Default)]
pub(crate) struct Pressing {
    /// Whether there may be any of what follows.
    any: bool,
    /// Why the run must end at once, if anybody has said so.
    doom: Option<String>,
    /// Whether the run has taken all steps that it may.
    exhausted: bool,
    wakers: VecDeque<Waker>,
    aborted: VecDeque<Aborted>,
    errands: VecDeque<Errand>,
}

impl Pressing {
    /// Whether there may be anything.
    #[inline]
    pub(crate) const fn any(&self) -> bool {
        self.any
    }

    /// Takes what is first.
    #[cold]
    pub(crate) fn pop(&mut self) -> Option<Urgent> {
        if self.doom.is_some() {
            return Some(Urgent::Doom);
        }
        if self.exhausted {
            return Some(Urgent::StepLimit);
        }
        let wake = self.wakers.pop_front().map(Urgent::Wake);
        let drop = |this: &mut Self| this.aborted.pop_front().map(Urgent::Drop);
        let errand = |this: &mut Self| this.errands.pop_front().map(Urgent::Errand);
        let first = wake.or_else(|| drop(self)).or_else(|| errand(self));
        self.any = first.is_some();
        first
    }

    /// Takes the first waker.
    #[cold]
    pub(crate) fn pop_waker(&mut self) -> Option<Waker> {
        self.wakers.pop_front()
    }

    /// Has a waker woken that is not a task's own.
    pub(crate) fn wake(&mut self, waker: Waker) {
        self.any = true;
        self.wakers.push_back(waker);
    }

    /// Has a task dropped.
    pub(crate) fn abort(&mut self, aborted: Aborted) {
        self.any = true;
        self.aborted.push_back(aborted);
    }

    /// Puts back what was first.
    pub(crate) fn put_back(&mut self, aborted: Aborted) {
        self.any = true;
        self.aborted.push_front(aborted);
    }

    /// Has something done.
    pub(crate) fn run(&mut self, errand: Errand) {
        self.any = true;
        self.errands.push_back(errand);
    }

    /// Has the run end; the first reason counts.
    #[cold]
    pub(crate) fn end(&mut self, reason: String) {
        self.any = true;
        self.doom.get_or_insert(reason);
    }

    /// Has the run end because it has taken all steps that it may.
    #[cold]
    pub(crate) fn exhaust(&mut self) {
        (self.any, self.exhausted) = (true, true);
    }

    /// Whether the run must end.
    pub(crate) const fn is_doomed(&self) -> bool {
        self.doom.is_some()
    }

    /// Takes the reason why the run must end.
    pub(crate) fn take_doom(&mut self) -> Option<String> {
        self.doom.take()
    }

    /// Takes what may be a user's own, to be dropped elsewhere.
    pub(crate) fn take_left(&mut self, wakers: &mut Vec<Waker>, errands: &mut Vec<Errand>) {
        if !(self.wakers.is_empty() && self.errands.is_empty()) {
            aside(|| {
                wakers.extend(self.wakers.drain(..));
                errands.extend(self.errands.drain(..));
            });
        }
    }

    /// Forgets all that is left and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 1024;
        (self.any, self.doom, self.exhausted) = (false, None, false);
        self.aborted.wipe(KEPT);
        self.wakers.wipe(KEPT);
        self.errands.wipe(KEPT);
    }
}
