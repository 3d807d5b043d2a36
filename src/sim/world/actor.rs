//! [`Actor`]: what causes the events of the current step.

use crate::sim::choice::key::PathHash;
use crate::sim::report::trace::RecordIndex;

/// The cause of events: a task that is polled, a timer, a path of the network, the end of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Actor {
    /// The source of wake-ups and records.
    pub(crate) key: PathHash,
    pub(crate) task: ActorTask,
    /// The length of the chain of wake-ups that the actor continues.
    pub(crate) chain: u32,
}

impl Actor {
    /// An actor without a name, outside of any task.
    pub(crate) const NONE: Self = Self::of_key(PathHash::NONE);

    /// An actor that is not a task and begins a chain of wake-ups.
    #[inline]
    pub(crate) const fn of_key(key: PathHash) -> Self {
        Self { key, task: ActorTask::NONE, chain: 0 }
    }
}

/// The task of an actor, by its slot, or why there is none. One word: each wake-up reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ActorTask(u32);

impl ActorTask {
    /// No task.
    pub(crate) const NONE: Self = Self(u32::MAX);
    /// No task, and each task is woken at most once: wake-ups are not counted, to save memory.
    pub(crate) const ANONYMOUS: Self = Self(u32::MAX - 1);
    /// The end of a task: its wake-ups are not counted, and delayed as a task's.
    pub(crate) const ENDED: Self = Self(u32::MAX - 2);
    /// A waker that is not a task's own, called on behalf of a task: its wake-ups are counted and
    /// delayed as that task's.
    pub(crate) const REQUESTING: Self = Self(u32::MAX - 3);

    /// A task that is polled or dropped.
    #[inline]
    pub(crate) const fn of_slot(slot: u32) -> Self {
        Self(slot)
    }

    /// The slot of the task that is polled or dropped, if one is.
    #[inline]
    pub(crate) const fn slot(self) -> Option<u32> {
        if self.0 < Self::REQUESTING.0 { Some(self.0) } else { None }
    }

    /// Whether wake-ups are delayed as those of a task.
    #[inline]
    pub(crate) const fn wakes_as_task(self) -> bool {
        self.0 < Self::ANONYMOUS.0
    }

    /// Whether wake-ups are counted by their source.
    #[inline]
    pub(crate) const fn counts_wakeups(self) -> bool {
        !matches!(self, Self::ENDED | Self::ANONYMOUS)
    }
}

/// The actor that requested a deferred action, as it was then. The action continues its chain of
/// wake-ups, so that tasks that wake each other through wrapped wakers still count as a livelock.
#[derive(Clone, Copy)]
pub(crate) struct Requester {
    pub(crate) actor: Actor,
    /// The record in which the action was requested.
    pub(crate) cause: RecordIndex,
}
