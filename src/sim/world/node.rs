//! Nodes: groups of tasks that start and crash together, with a clock of their own.
//!
//! A node has a pause state, a clock and a cost per poll. Node 0 stands for "no node": the main
//! task and the tasks that it spawns belong to it, read the true clock, and are never paused or
//! delayed.

use std::fmt;
use std::sync::Arc;

use crate::sim::queue::entry::EntryId;
use crate::sim::world::node_clock::NodeClock;

/// The path above all nodes; a node's tasks are `node/β/..`, those of its second life
/// `node/β#1/..`.
pub(crate) const NODE_PATH: &str = "node";

/// No node.
pub(crate) const NO_NODE: u16 = 0;

/// The cause of a node's death.
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

/// The state of a node.
#[derive(Debug)]
pub(crate) struct NodeState {
    /// The name of its host.
    name: Arc<str>,
    /// Whether its tasks have been told to go, and what they ask for has no effect.
    pub(crate) is_dead: bool,
    /// The cause of the end of its latest life that is over.
    pub(crate) last_death: Option<NodeDeath>,
    pub(crate) is_paused: bool,
    /// Tasks that would have been polled while it was paused, in order, and the queue entries that
    /// would have done so.
    pub(crate) held_polls: Vec<(u32, EntryId)>,
    /// The duration for which a poll keeps it busy, and the instant until which the last poll does.
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
