//! Totals of one run or of many: request outcomes and fault statistics.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use virtnet::simnet::FaultStats;

/// How a run came out, or many.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    /// How many were made more than once, whatever came of it.
    pub(crate) retried: u64,
    /// How many were reported as failed, by the fault that explains it.
    pub(crate) failed: BTreeMap<&'static str, u64>,
    /// How many times the standby took over.
    pub(crate) takeovers: u64,
    pub(crate) faults: u64,
    /// How many seeds there were in which everything was answered, and in which something failed.
    pub(crate) answered_seeds: u64,
    pub(crate) explained_seeds: u64,
    pub(crate) fault_stats: FaultStats,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.answered += other.answered;
        self.retried += other.retried;
        for (fault, count) in other.failed {
            *self.failed.entry(fault).or_default() += count;
        }
        self.takeovers += other.takeovers;
        self.faults += other.faults;
        self.answered_seeds += other.answered_seeds;
        self.explained_seeds += other.explained_seeds;
        self.fault_stats += &other.fault_stats;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, answered, retried, takeovers, faults, .. } = self;
        let failed: u64 = self.failed.values().sum();
        write!(f, "{requests} requests: {answered} answered, {failed} reported as failed; ")?;
        writeln!(f, "{retried} made more than once")?;
        writeln!(f, "{faults} faults struck; the standby took over {takeovers} times")?;
        write!(
            f,
            "explained: {} seeds with every request answered, {} with some failed for a fault",
            self.answered_seeds, self.explained_seeds
        )?;
        if failed > 0 {
            let causes = self.failed.iter().map(|(fault, count)| format!("{count} for {fault}"));
            write!(f, "\nfailed: {}", causes.collect::<Vec<_>>().join(", "))?;
        }
        if self.fault_stats.iter().any(|(_, counts)| counts.requested > 0) {
            write!(f, "\n\n{}", self.fault_stats)?;
        }
        Ok(())
    }
}
