//! Nodes: groups of tasks that start and crash together, with a clock of their own.
//!
//! A node has a pause state, a clock and a cost per poll. Node 0 stands for "no node": the main
//! task and the tasks that it spawns belong to it, read the true clock, and are never paused or
//! delayed.

use std::fmt;
use std::sync::Arc;

use crate::sim::queue::entry::EntryId;

/// The path above all nodes; a node's tasks are `node/β/..`, those of its second life
/// `node/β#1/..`.
pub(crate) const NODE_PATH: &str = "node";

/// No node.
pub(crate) const NO_NODE: u16 = 0;

const MILLION: u128 = 1_000_000;

/// The instant that no clock reaches, to which arithmetic of instants saturates: if one did, a
/// sleep of any length would be over at once from then on, without end.
const NEVER: u64 = u64::MAX;

/// How a node's clocks deviate from the true one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeClock {
    /// The true instant at which the drift was last changed, and what the node's clock said.
    true_base: u64,
    local_base: u64,
    /// Nanoseconds gained in a million.
    drift: i32,
    /// By how much the wall clock was ahead of the true one then, in nanoseconds.
    offset: i64,
}

impl NodeClock {
    /// What the node's monotonic clock says at a true instant: before [`NEVER`], where a clock that
    /// runs fast stands still.
    pub(crate) fn local_time(&self, now: u64) -> u64 {
        let passed = u128::from(now.saturating_sub(self.true_base)) * self.rate() / MILLION;
        u64::try_from(u128::from(self.local_base) + passed)
            .map_or(NEVER - 1, |now| now.min(NEVER - 1))
    }

    /// The first true instant at which the node's clock has reached `local`.
    pub(crate) fn true_time(&self, local: u64) -> u64 {
        if local == NEVER {
            return NEVER;
        }
        let ahead = u128::from(local.saturating_sub(self.local_base));
        let passed = (ahead * MILLION).div_ceil(self.rate());
        u64::try_from(u128::from(self.true_base) + passed).unwrap_or(u64::MAX)
    }

    /// Nanoseconds of the node's in a million true ones; more than none.
    fn rate(&self) -> u128 {
        (1_000_000 + i128::from(self.drift)).unsigned_abs().max(1)
    }

    /// By how many nanoseconds the wall clock is ahead of the monotonic one. It was set to the true
    /// time and the offset, whatever the other had gained by then.
    pub(crate) fn wall_offset(&self) -> i128 {
        i128::from(self.offset) + i128::from(self.true_base) - i128::from(self.local_base)
    }

    /// Whether it is set to anything but the true time.
    pub(crate) const fn is_set(&self) -> bool {
        self.offset != 0 || self.drift != 0
    }

    /// Sets the wall clock, and lets the monotonic one run on at another rate, without a jump.
    pub(crate) fn set(&mut self, now: u64, offset: i64, drift: i32) {
        let then = self.local_time(now);
        *self = Self { true_base: now, local_base: then, drift, offset };
    }
}

/// How a node died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NodeDeath {
    /// Its process crashed.
    Crash,
    /// It lost its power.
    PowerOff,
    /// It was stopped to be restarted.
    Restart,
    /// It was stopped to be restarted without anything that it had stored.
    Wipe,
}

/// Prints it as a verb: `crashed`.
impl fmt::Display for NodeDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crashed",
            Self::PowerOff => "lost its power",
            Self::Restart => "was restarted",
            Self::Wipe => "was wiped and restarted",
        })
    }
}

/// What is known of a node.
#[derive(Debug)]
pub(crate) struct NodeState {
    /// The name of its host.
    name: Arc<str>,
    /// Whether its tasks have been told to go, and what they ask for has no effect.
    pub(crate) is_dead: bool,
    /// How its latest life that is over ended.
    pub(crate) last_death: Option<NodeDeath>,
    pub(crate) is_paused: bool,
    /// Tasks that would have been polled while it was paused, in order, and the queue entries that
    /// would have done so.
    pub(crate) held_polls: Vec<(u32, EntryId)>,
    /// How long a poll keeps it busy, and until when the last one does.
    pub(crate) poll_cost: u64,
    pub(crate) busy_until: u64,
    pub(crate) clock: NodeClock,
    pub(crate) has_own_clock: bool,
    /// Whether any of its tasks has read a wrong time since its clock was changed, or had to wait
    /// for the poll of another since polls were given their cost.
    pub(crate) clock_error_observed: bool,
    pub(crate) slowdown_observed: bool,
}

/// All nodes of a run.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    list: Vec<NodeState>,
    /// Whether any node is dead, paused, slow or has a clock of its own: whether to look at all.
    pub(crate) any_faulty: bool,
}

impl Nodes {
    /// Adds a node, in its first life.
    ///
    /// # Panics
    ///
    /// Beyond 65 534 nodes.
    pub(crate) fn add(&mut self, name: Arc<str>) -> u16 {
        self.list.push(NodeState {
            name,
            is_dead: false,
            last_death: None,
            is_paused: false,
            held_polls: Vec::new(),
            poll_cost: 0,
            busy_until: 0,
            clock: NodeClock::default(),
            has_own_clock: false,
            clock_error_observed: false,
            slowdown_observed: false,
        });
        match u16::try_from(self.list.len()) {
            Ok(node) if node < u16::MAX => node,
            _ => panic!("virtnet: a run is limited to 65 534 nodes"),
        }
    }

    /// A node, unless `node` is none.
    #[inline]
    pub(crate) fn get(&self, node: u16) -> Option<&NodeState> {
        self.list.get(usize::from(node).wrapping_sub(1))
    }

    /// A node that is going to be changed, unless `node` is none.
    pub(crate) fn get_mut(&mut self, node: u16) -> Option<&mut NodeState> {
        self.any_faulty = true;
        self.list.get_mut(usize::from(node).wrapping_sub(1))
    }

    /// Whether what the tasks of `node` ask for has no effect.
    #[inline]
    pub(crate) fn is_dead(&self, node: u16) -> bool {
        self.any_faulty && self.get(node).is_some_and(|node| node.is_dead)
    }

    /// The name of a node's host; empty if `node` is none.
    pub(crate) fn name(&self, node: u16) -> Arc<str> {
        self.get(node).map_or_else(|| "".into(), |node| node.name.clone())
    }

    /// The clock of a node that has one of its own.
    #[inline]
    pub(crate) fn clock(&self, node: u16) -> Option<&NodeClock> {
        if !self.any_faulty {
            return None;
        }
        self.get(node).filter(|node| node.has_own_clock).map(|node| &node.clock)
    }

    /// Forgets all nodes.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.any_faulty = false;
    }
}

#[cfg(test)]
mod tests {
    use super::NodeClock;

    #[test]
    fn a_clock_that_runs_fast_never_reaches_the_last_instant() {
        let mut clock = NodeClock::default();
        clock.set(1, 0, i32::MAX);
        let end = u64::MAX / 2;
        assert_eq!((clock.local_time(end), clock.true_time(u64::MAX)), (u64::MAX - 1, u64::MAX));
        clock.set(end, 0, -999_999);
        assert_eq!(
            (clock.local_time(end), clock.local_time(end + 1)),
            (u64::MAX - 1, u64::MAX - 1)
        );
        assert_eq!((clock.true_time(u64::MAX - 1), clock.true_time(u64::MAX)), (end, u64::MAX));
    }

    #[test]
    fn a_drifting_clock_and_its_inverse_agree_and_never_jump() {
        let mut clock = NodeClock::default();
        for (now, drift) in [(1_000, 250_000), (9_999, -100_000), (1_234_567, 7)] {
            let before = clock.local_time(now);
            clock.set(now, 5, drift);
            assert_eq!(clock.local_time(now), before, "the clock jumped");
            for later in [0, 1, 17, 1_000_000_007] {
                let local = clock.local_time(now + later);
                let back = clock.true_time(local);
                assert!(clock.local_time(back) >= local && back <= now + later);
                assert!(back == now || clock.local_time(back - 1) < local, "it could be earlier");
            }
        }
    }
}
