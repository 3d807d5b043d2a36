//! World operations that set the actor of a step, and the clock that it reads.

use std::task::Waker;

use crate::sim::choice::key::PathHash;
use crate::sim::task::table::TaskId;
use crate::sim::world::actor::{Actor, ActorTask, Requester};
use crate::sim::world::cached_clock;
use crate::sim::world::deferred::DeferredWake;
use crate::sim::world::node_clock::NodeClock;
use crate::sim::world::state::World;

impl World {
    /// The task that is being polled or dropped.
    pub(crate) fn current_slot(&self) -> Option<u32> {
        self.actor.task.slot()
    }

    /// Makes a task current that is polled or dropped outside of the run loop.
    pub(crate) fn set_current_task(&mut self, slot: u32) -> TaskId {
        self.set_actor_task(slot);
        self.tasks.id(slot)
    }

    /// Whatever happens until the next step is this task's doing.
    #[inline]
    pub(crate) fn set_actor_task(&mut self, slot: u32) {
        let task = &self.tasks.slots[slot as usize];
        let (key, chain, node) = (task.key, task.wake_chain, task.node);
        self.set_actor_task_fast(slot, key, chain, node);
    }

    /// The same where these are known of it: its key, the chain that led to it, and its node.
    #[inline(always)]
    pub(crate) fn set_actor_task_fast(&mut self, slot: u32, key: PathHash, chain: u32, node: u16) {
        let (task, chain) = (ActorTask::of_slot(slot), chain.saturating_add(1));
        self.actor = Actor { key, task, chain };
        if self.nodes.any_faulty {
            self.set_cached_clock_slow(node);
        } else {
            cached_clock::set(self.run, self.now);
        }
    }

    /// Sets the clock that a task of a node reads. A first read of a wrong clock has to be noticed,
    /// so that it is not cached until then.
    #[cold]
    fn set_cached_clock_slow(&mut self, node: u16) {
        match self.nodes.get(node) {
            Some(node) if node.has_own_clock && !node.clock_error_observed => {
                cached_clock::invalidate();
            }
            Some(node) if node.has_own_clock => {
                cached_clock::set(self.run, node.clock.local_time(self.now));
            }
            _ => cached_clock::set(self.run, self.now),
        }
    }

    /// The time as the current task reads it.
    pub(crate) fn read_clock(&mut self) -> u64 {
        let now = self.local_now().as_nanos();
        if now != self.now {
            self.mark_clock_error_observed();
        }
        cached_clock::set(self.run, now);
        now
    }

    /// By how many nanoseconds the wall clock of the current task is ahead of the monotonic one.
    pub(crate) fn read_wall_offset(&mut self) -> i128 {
        let offset = self.local_clock().map_or(0, NodeClock::wall_offset);
        if offset != 0 {
            self.mark_clock_error_observed();
        }
        offset
    }

    /// Notes that the current task has had to do with a clock that is wrong.
    #[cold]
    pub(crate) fn mark_clock_error_observed(&mut self) {
        if let Some(slot) = self.current_slot()
            && let Some(node) = self.nodes.get_mut(self.tasks.slots[slot as usize].node)
        {
            node.clock_error_observed = true;
        }
    }

    /// Whatever happens until the next step is the doing of something that is no task.
    #[inline]
    pub(crate) fn set_actor(&mut self, key: PathHash) {
        self.actor = Actor::of_key(key);
    }

    /// The same for something that is foreign, and may read the clock: the true one. It continues
    /// the chain of wake-ups of what asked for it.
    pub(crate) fn set_actor_external(&mut self) {
        (self.actor.key, self.actor.task) = (PathHash::NONE, ActorTask::NONE);
        cached_clock::set(self.run, self.now);
    }

    /// The same for a waker that is not a task's own: its wake-ups are the requester's.
    pub(crate) fn set_actor_requester(&mut self, requester: Requester) {
        self.actor = requester.actor;
        self.tracer.continue_record(requester.cause);
        cached_clock::set(self.run, self.now);
    }

    /// The current actor, to be restored for an action that is deferred.
    fn requester(&self) -> Requester {
        let mut actor = self.actor;
        if actor.task.slot().is_some() {
            actor.task = ActorTask::REQUESTING;
        }
        Requester { actor, cause: self.tracer.current() }
    }

    /// Queues a waker that is not a task's own, to be woken once the world is not borrowed, on
    /// behalf of the current actor.
    #[cold]
    pub(crate) fn defer_wake(&mut self, waker: Waker) {
        let requester = self.requester();
        self.deferred.wake(DeferredWake { waker, requester });
    }

    /// The same for something that wakes each task once at most, and of which no record tells yet.
    #[inline]
    pub(crate) fn set_actor_anonymous(&mut self, key: PathHash) {
        self.tracer.clear_cause();
        self.actor = Actor { task: ActorTask::ANONYMOUS, ..Actor::of_key(key) };
    }
}
