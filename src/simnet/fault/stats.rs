//! Fault statistics: how many faults were requested, drawn, applied, and had an effect.
//!
//! A fault without effect looks like robustness. So a test that requests a kind of fault and never
//! sees an effect of it has to fail; it decides that by these counts.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Add, AddAssign};

use crate::sim::FaultKind;

/// The counts of the faults of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultCounts {
    /// The number of calls, and of plans that were allowed to draw it.
    pub requested: u64,
    /// The number of faults that plans have drawn.
    pub drawn: u64,
    /// The number of faults that were applied.
    pub applied: u64,
    /// The number of applied faults that changed anything that a program could see.
    pub effective: u64,
}

impl Add for FaultCounts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            requested: self.requested + other.requested,
            drawn: self.drawn + other.drawn,
            applied: self.applied + other.applied,
            effective: self.effective + other.effective,
        }
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested, drawn, applied, effective } = self;
        write!(f, "requested {requested}, drawn {drawn}, applied {applied}, effective {effective}")
    }
}

/// The counts of all faults, by kind: of one run, or the sum over many.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FaultStats {
    counts: [FaultCounts; FaultKind::ALL.len()],
}

impl FaultStats {
    /// Returns the counts of one kind.
    pub fn kind(&self, kind: FaultKind) -> FaultCounts {
        self.counts[kind as usize]
    }

    /// Returns all kinds with their counts, in the order of [`FaultKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, FaultCounts)> + '_ {
        FaultKind::ALL.into_iter().map(|kind| (kind, self.kind(kind)))
    }

    /// Adds counts to those of a kind.
    pub(crate) fn add(&mut self, kind: FaultKind, counts: FaultCounts) {
        let total = self.kind_mut(kind);
        *total = *total + counts;
    }

    /// Returns the kinds that were requested and never had an effect.
    pub fn ineffective(&self) -> Vec<FaultKind> {
        let is_ineffective =
            |(_, counts): &(FaultKind, FaultCounts)| counts.requested > 0 && counts.effective == 0;
        self.iter().filter(is_ineffective).map(|(kind, _)| kind).collect()
    }

    /// Makes sure that every family that was requested had an effect: for the sum of a sweep.
    ///
    /// One run may well be spared a fault that it asked for; a whole sweep must not be.
    ///
    /// # Panics
    ///
    /// If one had none, with its name and the whole table.
    #[track_caller]
    pub fn assert_effective(&self) {
        let ineffective = self.ineffective();
        assert!(
            ineffective.is_empty(),
            "virtnet: faults were requested that never had an effect: {}. A fault that does \
             nothing looks like robustness.\n{self}",
            ineffective.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
        );
    }

    pub(crate) fn kind_mut(&mut self, kind: FaultKind) -> &mut FaultCounts {
        &mut self.counts[kind as usize]
    }

    /// Counts the first effect of an application of a fault.
    pub(crate) fn mark_effective(&mut self, kind: FaultKind, is_effective: &mut bool) {
        if !std::mem::replace(is_effective, true) {
            self.kind_mut(kind).effective += 1;
        }
    }
}

impl AddAssign<&Self> for FaultStats {
    fn add_assign(&mut self, other: &Self) {
        for (total, added) in self.counts.iter_mut().zip(&other.counts) {
            *total = *total + *added;
        }
    }
}

thread_local! {
    /// The statistics of all runs of this thread, while they are collected.
    static THREAD_STATS: RefCell<Option<FaultStats>> = const { RefCell::new(None) };
}

/// Adds up the ledgers of all networks of this thread's runs from now on.
pub(crate) fn start_fault_stats() {
    THREAD_STATS.set(Some(FaultStats::default()));
}

/// Takes what was added up.
pub(crate) fn take_fault_stats() -> FaultStats {
    THREAD_STATS.take().unwrap_or_default()
}

/// Whether this thread collects the statistics of its runs.
pub(crate) fn is_collecting_stats() -> bool {
    THREAD_STATS.with_borrow(Option::is_some)
}

/// Adds a network's ledger to those of the thread, when its run is over.
pub(crate) fn add_to_thread_stats(stats: &FaultStats) {
    THREAD_STATS.with_borrow_mut(|total| {
        if let Some(total) = total {
            *total += stats;
        }
    });
}

/// Prints a table of the families that were requested.
impl fmt::Display for FaultStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, requested, drawn, applied, effective] =
            ["fault", "requested", "drawn", "applied", "effective"];
        write!(f, "{name:<10} {requested:>10} {drawn:>10} {applied:>10} {effective:>10}")?;
        for (name, counts) in self.iter().filter(|(_, counts)| counts.requested > 0) {
            let FaultCounts { requested, drawn, applied, effective } = counts;
            write!(f, "\n{name:<10} {requested:>10} {drawn:>10} {applied:>10} {effective:>10}")?;
        }
        Ok(())
    }
}
