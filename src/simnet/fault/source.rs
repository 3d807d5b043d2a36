//! [`FaultSource`]: which call applied a fault; and faults that several sources keep active.
//!
//! A plan undoes exactly what it applied: another plan and the test may have applied the same kind
//! of fault to the same hosts.

use crate::sim::FaultKind;
use crate::simnet::fault::stats::FaultStats;

/// A fault of a plan: the number of the plan in its network, and of the fault in the plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PlannedFaultId {
    pub(crate) plan: u32,
    pub(crate) index: u32,
}

/// The call or the plan that applied a fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum FaultSource {
    /// A call of the test or of a program.
    Manual,
    Plan(PlannedFaultId),
}

impl FaultSource {
    /// The number that a call adds to the requested faults. Those of a plan were counted when the
    /// plan was made.
    pub(crate) fn requested(self) -> u64 {
        u64::from(self == Self::Manual)
    }
}

/// A fault that lasts for as long as any of its sources wants it: a hold, a pause, a registry that
/// is down.
#[derive(Debug, Default)]
pub(crate) struct ActiveFault {
    sources: Vec<FaultSource>,
    /// Whether its latest application has had an effect.
    is_effective: bool,
}

impl ActiveFault {
    /// Adds a source: it counts as another application.
    pub(crate) fn apply(&mut self, source: FaultSource) {
        self.add_source(source);
        self.is_effective = false;
    }

    /// Adds a source to the application that is under way.
    pub(crate) fn add_source(&mut self, source: FaultSource) {
        if !self.sources.contains(&source) {
            self.sources.push(source);
        }
    }

    /// Removes a source; a call of the test ends the fault for all of them. Returns whether the
    /// fault is over.
    pub(crate) fn undo(&mut self, source: FaultSource) -> bool {
        match source {
            FaultSource::Manual => self.sources.clear(),
            FaultSource::Plan(_) => self.sources.retain(|other| *other != source),
        }
        self.sources.is_empty()
    }

    /// Notes that the fault has had an effect.
    pub(crate) fn mark_effective(&mut self, kind: FaultKind, stats: &mut FaultStats) {
        stats.mark_effective(kind, &mut self.is_effective);
    }
}

/// A region whose nodes have lost their power.
#[derive(Debug, Default)]
pub(crate) struct ZoneOutage {
    pub(crate) outage: ActiveFault,
    /// The hosts of the nodes that it has stopped, with their incarnations.
    pub(crate) stopped: Vec<(u32, u32)>,
}

/// The values of one setting that were applied and not undone. The latest is in force.
#[derive(Debug)]
pub(crate) struct SettingFault<T> {
    entries: Vec<SettingEntry<T>>,
}

#[derive(Clone, Copy, Debug)]
struct SettingEntry<T> {
    source: FaultSource,
    value: T,
    is_effective: bool,
}

impl<T> Default for SettingFault<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T: Copy> SettingFault<T> {
    /// Puts a value in force; the test has one value, and each fault of a plan its own.
    pub(crate) fn apply(&mut self, source: FaultSource, value: T) {
        self.entries.retain(|entry| entry.source != source);
        self.entries.push(SettingEntry { source, value, is_effective: false });
    }

    /// Removes the value of a source. Returns whether it was in force; `None` if the source has
    /// no value.
    pub(crate) fn undo(&mut self, source: FaultSource) -> Option<bool> {
        let index = self.entries.iter().position(|entry| entry.source == source)?;
        self.entries.remove(index);
        Some(index == self.entries.len())
    }

    /// The value in force, if there is one.
    #[inline]
    pub(crate) fn value(&self) -> Option<T> {
        self.entries.last().map(|entry| entry.value)
    }

    /// The faults of plans that have a value, whether it is in force or not.
    pub(crate) fn planned_sources(&self) -> impl Iterator<Item = FaultSource> {
        self.entries.iter().map(|entry| entry.source).filter(|it| *it != FaultSource::Manual)
    }

    /// The value that the test has set, whether it is in force or not.
    pub(crate) fn manual_value(&self) -> Option<T> {
        let entry = self.entries.iter().find(|entry| entry.source == FaultSource::Manual);
        entry.map(|entry| entry.value)
    }

    /// Whether the value in force has had an effect; nothing to set if no value is in force.
    pub(crate) fn is_effective_mut(&mut self) -> Option<&mut bool> {
        self.entries.last_mut().map(|entry| &mut entry.is_effective)
    }

    /// Notes that the value in force has had an effect.
    pub(crate) fn mark_effective(&mut self, kind: FaultKind, stats: &mut FaultStats) {
        if let Some(is_effective) = self.is_effective_mut() {
            stats.mark_effective(kind, is_effective);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ActiveFault, FaultKind, FaultSource, FaultStats, PlannedFaultId, SettingFault};

    const MANUAL: FaultSource = FaultSource::Manual;

    const fn plan(plan: u32, index: u32) -> FaultSource {
        FaultSource::Plan(PlannedFaultId { plan, index })
    }

    #[test]
    fn active_fault_ends_with_its_last_source_or_by_hand() {
        let mut fault = ActiveFault::default();
        fault.apply(plan(0, 0));
        fault.apply(plan(1, 0));
        assert!(!fault.undo(plan(0, 0)) && !fault.undo(plan(0, 1)));
        fault.apply(MANUAL);
        assert!(!fault.undo(plan(1, 0)));
        fault.apply(plan(1, 1));
        assert!(fault.undo(MANUAL));
    }

    #[test]
    fn setting_falls_back_to_the_latest_value_that_was_not_undone() {
        let mut setting = SettingFault::default();
        setting.apply(MANUAL, 1);
        setting.apply(plan(0, 0), 2);
        setting.apply(plan(1, 0), 3);
        assert_eq!(setting.undo(plan(0, 0)), Some(false), "another value has replaced it");
        assert_eq!((setting.value(), setting.manual_value()), (Some(3), Some(1)));
        let mut stats = FaultStats::default();
        setting.mark_effective(FaultKind::Clock, &mut stats);
        setting.mark_effective(FaultKind::Clock, &mut stats);
        assert_eq!(stats.kind(FaultKind::Clock).effective, 1);
        setting.apply(MANUAL, 4);
        assert_eq!(setting.value(), Some(4), "the latest call wins");
        assert_eq!(setting.undo(plan(0, 0)), None);
        assert_eq!([plan(1, 0), MANUAL].map(|it| setting.undo(it)), [Some(false), Some(true)]);
        assert_eq!((setting.value(), setting.is_effective_mut()), (None, None));
    }
}
