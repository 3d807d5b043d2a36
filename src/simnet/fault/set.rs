//! [`Faults`], the kinds of faults that a plan may draw, and the sampler that draws a plan.
//!
//! The duration of a plan is divided into slots. In each slot, each kind of fault occurs once or
//! not at all. Each decision is keyed by plan, kind and slot, so that one fault less moves no
//! other choice; 0 always means no fault.

use std::fmt;
use std::time::Duration;

use crate::sim::{
    ChoiceFamily, ChoiceKey, Distribution, FaultKind, PathHash, World, hash_name, nanos, path_step,
};

/// The ordinals of the choices about one fault: whether it occurs, when in its slot, how much
/// longer than the minimum it lasts, its victims, and its strength.
pub(crate) mod fault_ordinals {
    pub(crate) const OCCURS: u64 = 0;
    pub(crate) const START: u64 = 1;
    pub(crate) const DURATION: u64 = 2;
    pub(crate) const VICTIMS: [u64; 2] = [3, 4];
    pub(crate) const STRENGTH: u64 = 5;
    /// The maximum number of slots by which a fault lasts longer than the minimum.
    pub(crate) const MAX_EXTRA_SLOTS: u64 = 2;
}

/// The number of slots of a plan.
const PLAN_SLOTS: u64 = 12;

/// The kinds of faults that a plan may draw.
///
/// ```
/// use virtnet::simnet::{FaultKind, Faults};
///
/// let all_but_clocks = Faults::all().without(FaultKind::Clock);
/// let two = Faults::none().with(FaultKind::Partition).with(FaultKind::Crash);
/// let three = Faults::from([FaultKind::Hold, FaultKind::Loss, FaultKind::Pause]);
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until it is given to `Network::fault_plan`"]
pub struct Faults {
    allowed: [bool; FaultKind::ALL.len()],
    swarm: bool,
    pub(crate) max_down: Option<usize>,
}

impl Faults {
    /// All kinds that a correct single node survives, as a [`swarm`](Self::swarm): all but
    /// [`FaultKind::Wipe`], which loses what only one node has stored, and [`FaultKind::Accept`],
    /// after which many programs listen no more. Ask for that one to find them.
    pub fn all() -> Self {
        let mut allowed = [true; FaultKind::ALL.len()];
        for kind in [FaultKind::Wipe, FaultKind::Accept] {
            allowed[kind as usize] = false;
        }
        Self { allowed, swarm: true, max_down: None }
    }

    /// No kind, to which those wanted are added; no swarm.
    pub fn none() -> Self {
        Self { allowed: [false; FaultKind::ALL.len()], swarm: false, max_down: None }
    }

    /// Adds a kind.
    pub fn with(self, kind: FaultKind) -> Self {
        self.allow(kind, true)
    }

    /// Leaves a kind out.
    pub fn without(self, kind: FaultKind) -> Self {
        self.allow(kind, false)
    }

    /// Lets every seed draw a subset of the kinds: all faults slightly on find little.
    pub fn swarm(mut self) -> Self {
        self.swarm = true;
        self
    }

    /// Lets every seed draw all of the kinds: the opposite of [`swarm`](Self::swarm).
    pub fn every_run(mut self) -> Self {
        self.swarm = false;
        self
    }

    /// Sets the number of nodes that may be down, closed, paused or starting at once. The default
    /// is less than half of them, but at least one.
    pub fn max_down(mut self, nodes: usize) -> Self {
        self.max_down = Some(nodes);
        self
    }

    pub(crate) fn allow(mut self, kind: FaultKind, allowed: bool) -> Self {
        self.allowed[kind as usize] = allowed;
        self
    }

    /// The families that may be drawn.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = FaultKind> + '_ {
        FaultKind::ALL.into_iter().filter(|kind| self.allowed[*kind as usize])
    }
}

impl<const N: usize> From<[FaultKind; N]> for Faults {
    fn from(kinds: [FaultKind; N]) -> Self {
        kinds.into_iter().fold(Self::none(), Self::with)
    }
}

/// Prints the expression that makes it, as `Faults::none().with(FaultKind::Crash).swarm()`.
impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_all = self.allowed == Self::all().allowed;
        if is_all {
            f.write_str("Faults::all()")?;
        } else {
            f.write_str("Faults::none()")?;
            self.kinds().try_for_each(|kind| write!(f, ".with(FaultKind::{kind:?})"))?;
        }
        if let Some(nodes) = self.max_down {
            write!(f, ".max_down({nodes})")?;
        }
        f.write_str(match (is_all, self.swarm) {
            (true, false) => ".every_run()",
            (false, true) => ".swarm()",
            _ => "",
        })
    }
}

/// A fault that was drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedFault {
    pub(crate) kind: FaultKind,
    /// The beginning and the duration, in nanoseconds from the beginning of the plan.
    pub(crate) start: u64,
    pub(crate) duration: u64,
    /// Whom it hits, and how hard, to be taken modulo whatever there is.
    pub(crate) victims: [u64; 2],
    pub(crate) strength: u64,
}

/// Whoever draws the entries of one plan.
pub(crate) struct PlanSampler<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) network: &'a str,
    pub(crate) plan: u32,
}

impl PlanSampler<'_> {
    /// Draws a plan of this duration.
    pub(crate) fn draw(&mut self, faults: &Faults, duration: Duration) -> Vec<PlannedFault> {
        let slot_nanos = (nanos(duration) / PLAN_SLOTS).max(1);
        let kinds_with_odds: Vec<(FaultKind, u64)> =
            faults.kinds().filter_map(|kind| self.draw_odds(kind, faults.swarm)).collect();
        let mut planned: Vec<PlannedFault> = Vec::new();
        for slot in 0..PLAN_SLOTS {
            // Quiet gaps, in which what was shaken settles: what began before is over by then.
            if self.choose("quiet", slot, 0, 4) == 3 {
                for fault in &mut planned {
                    fault.duration = fault.duration.min(slot * slot_nanos - fault.start);
                }
                continue;
            }
            for (kind, odds) in &kinds_with_odds {
                let name = kind.name();
                if self.choose(name, slot + 1, fault_ordinals::OCCURS, 12) < 12 - odds {
                    continue;
                }
                let mut draw_part =
                    |ordinal, options| self.choose(name, slot + 1, ordinal, options);
                planned.push(PlannedFault {
                    kind: *kind,
                    start: slot * slot_nanos + draw_part(fault_ordinals::START, slot_nanos),
                    duration: slot_nanos / 8
                        + draw_part(
                            fault_ordinals::DURATION,
                            slot_nanos * fault_ordinals::MAX_EXTRA_SLOTS,
                        ),
                    victims: fault_ordinals::VICTIMS.map(|ordinal| draw_part(ordinal, 1 << 16)),
                    strength: draw_part(fault_ordinals::STRENGTH, 1 << 16),
                });
            }
        }
        planned.sort_by_key(|fault| fault.start);
        planned
    }

    /// The odds, of twelve, that a kind occurs in a slot, if it occurs in this plan.
    fn draw_odds(&mut self, kind: FaultKind, swarm: bool) -> Option<(FaultKind, u64)> {
        if swarm && self.choose(kind.name(), 0, 0, 2) == 0 {
            return None;
        }
        let odds = [2, 4, 8][self.choose(kind.name(), 0, 1, 3) as usize];
        Some((kind, odds))
    }

    fn choose(&mut self, object: &str, index: u64, ordinal: u64, options: u64) -> u64 {
        let (plan, index) = (self.plan, index as u32);
        let actor = PathHash::of_name(self.network).child(const { hash_name("plan") }, plan);
        let object_hash = PathHash::NONE.child(hash_name(object), index);
        let network = self.network;
        self.world
            .intern_name(actor, || [path_step(network, 0), path_step("plan", plan)].join("/"));
        self.world.intern_name(object_hash, || path_step(object, index));
        self.world.draw(
            ChoiceKey::new(ChoiceFamily::Fault, actor, object_hash),
            ordinal,
            Distribution::Uniform(options),
        )
    }
}
