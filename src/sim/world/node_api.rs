//! World operations on nodes: their lives, pauses, clocks and poll costs.

use std::sync::Arc;

use crate::sim::choice::key::PathHash;
use crate::sim::instant::Instant;
use crate::sim::queue::entry::Action;
use crate::sim::task::table::{DropReason, TaskId};
use crate::sim::world::deferred::Aborted;
use crate::sim::world::node::NodeDeath;
use crate::sim::world::node_clock::NodeClock;
use crate::sim::world::state::World;

impl World {
    /// Adds a node. Returns its number.
    pub(crate) fn add_node(&mut self, name: Arc<str>) -> u16 {
        self.nodes.add(name)
    }

    /// The node of a task, if that is not over.
    pub(crate) fn node_of(&mut self, task: TaskId) -> Option<u16> {
        self.tasks.get_live(task).map(|task| task.node)
    }

    /// The clock of the current task's node, if it is not the true one.
    #[inline]
    pub(crate) fn local_clock(&self) -> Option<&NodeClock> {
        if !self.nodes.any_faulty {
            return None;
        }
        let node = self.current_slot().map(|slot| self.tasks.slots[slot as usize].node)?;
        self.nodes.clock(node)
    }

    /// The time by the clock of the current task.
    pub(crate) fn local_now(&self) -> Instant {
        Instant::from_nanos(self.local_clock().map_or(self.now, |clock| clock.local_time(self.now)))
    }

    /// The time by the clock of the current task at an instant of true time.
    pub(crate) fn to_local_instant(&self, at: Instant) -> Instant {
        self.local_clock().map_or(at, |clock| Instant::from_nanos(clock.local_time(at.as_nanos())))
    }

    /// Lets a node live, or live again.
    pub(crate) fn start_node(&mut self, node: u16) {
        if let Some(node) = self.nodes.get_mut(node) {
            (node.is_dead, node.is_paused) = (false, false);
            node.busy_until = 0;
            node.held_polls.clear();
        }
    }

    /// Ends a node: its tasks are dropped, oldest first, before anything else happens.
    pub(crate) fn stop_node(&mut self, node: u16, death: NodeDeath, source: PathHash) {
        let Some(state) = self.nodes.get_mut(node) else { return };
        if state.is_dead {
            // A node that has crashed can still lose its power.
            state.last_death = state.last_death.map(|_| death);
            return;
        }
        (state.is_dead, state.last_death) = (true, Some(death));
        state.is_paused = false;
        state.held_polls.clear();
        let cause = self.tracer.current();
        for slot in self.tasks.live_in_spawn_order(|task| task.node == node) {
            let dropped = &mut self.tasks.info[slot as usize].drop_reason;
            if *dropped == DropReason::No {
                *dropped = DropReason::NodeDied(death);
                self.deferred.abort(Aborted { task: self.tasks.id(slot), actor: source, cause });
            }
        }
    }

    /// Notes that a node has lost what its previous lives stored.
    pub(crate) fn wipe_node(&mut self, node: u16) {
        if let Some(state) = self.nodes.get_mut(node) {
            state.last_death = Some(NodeDeath::Wipe);
        }
    }

    /// The cause of the end of a node's latest life that is over.
    pub(crate) fn last_death(&self, node: u16) -> Option<NodeDeath> {
        self.nodes.get(node)?.last_death
    }

    /// Lets no task of a node be polled, or all those that would have been meanwhile.
    pub(crate) fn set_paused(&mut self, node: u16, paused: bool) {
        let Some(state) = self.nodes.get_mut(node) else { return };
        state.is_paused = paused;
        if paused {
            return;
        }
        for (slot, entry_id) in std::mem::take(&mut state.held_polls) {
            if self.tasks.slots[slot as usize].entry == entry_id {
                self.rank_sole_entry();
                let rank = self.draw_rank(slot);
                let entry_id = self.events.queue.push_due(rank, Action::poll(slot));
                self.tasks.slots[slot as usize].entry = entry_id;
            }
        }
    }

    /// By how many nanoseconds the wall clock of a node is ahead of the true time now.
    pub(crate) fn wall_clock_error(&self, node: u16) -> i128 {
        let clock = self.nodes.get(node).map(|state| state.clock).unwrap_or_default();
        clock.wall_offset() + i128::from(clock.local_time(self.now)) - i128::from(self.now)
    }

    /// Whether the clock of a node is set to anything but the true time.
    pub(crate) fn has_clock_skew(&self, node: u16) -> bool {
        self.nodes.get(node).is_some_and(|state| state.clock.is_set())
    }

    /// Whether the polls of a node take time.
    pub(crate) fn has_poll_cost(&self, node: u16) -> bool {
        self.nodes.get(node).is_some_and(|state| state.poll_cost > 0)
    }

    /// Changes a node's clock.
    pub(crate) fn set_clock(&mut self, node: u16, offset_nanos: i64, drift_ppm: i32) {
        let now = self.now;
        if let Some(state) = self.nodes.get_mut(node) {
            state.has_own_clock = true;
            state.clock_error_observed = false;
            state.clock.set(now, offset_nanos, drift_ppm);
        }
        if let Some(slot) = self.current_slot() {
            self.set_actor_task(slot);
        }
    }

    /// Sets the time for which every poll of a task of a node keeps the node busy.
    pub(crate) fn set_poll_cost(&mut self, node: u16, nanos: u64) {
        if let Some(state) = self.nodes.get_mut(node) {
            state.poll_cost = nanos;
            state.slowdown_observed = false;
        }
    }

    /// The effects of faults on a node: polls that its pause holds up; a wrong time that was read,
    /// and polls that had to wait, since its clock or its poll cost was changed.
    pub(crate) fn fault_effects(&self, node: u16) -> [bool; 3] {
        let state = self.nodes.get(node);
        state.map_or([false; 3], |node| {
            [!node.held_polls.is_empty(), node.clock_error_observed, node.slowdown_observed]
        })
    }
}
