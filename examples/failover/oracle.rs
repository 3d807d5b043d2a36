//! The oracle: checks that every request was answered once and correctly, or failed for a fault.
//!
//! It reads the plan, the journal and both disks after the run, and takes no part in it. The
//! standby's disk is the reference: nothing may be acknowledged that is not on it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hyper::body::Bytes;

use crate::client::MAX_ATTEMPTS;
use crate::disk::{Disk, DiskState, Receipt};
use crate::journal::{JournalState, RequestHistory, RequestOutcome};
use crate::plan::{Operation, Plan};
use crate::tally::Tally;

/// How long after it struck a fault may still be the reason of a failure: a strike of a plan lasts
/// 2.1 of its 12 parts at most; then somebody starts anew, or tries again.
const FAULT_EFFECT_WINDOW: Duration = Duration::from_millis(30_000 * 17 / 8 / 12 + 2_500);

/// The faults that can keep an answer away, the gravest first. The others are weather.
const BLOCKING_FAULTS: [&str; 15] = [
    "partition",
    "one_way",
    "power_off",
    "crash",
    "close",
    "pause",
    "hold",
    "registry",
    "loss",
    "bandwidth",
    "latency",
    "slow_node",
    "restart",
    "reset",
    "clock",
];

/// Judges a run.
///
/// # Panics
///
/// If a promise was broken: with the request, which promise, and what its client saw.
pub(crate) fn judge(plan: &Plan, journal: &JournalState, [primary, standby]: &[Disk; 2]) -> Tally {
    let mut tally = Tally { takeovers: journal.takeovers, ..Tally::default() };
    tally.faults = journal.faults.len() as u64;
    for (name, disk) in [("primary", primary), ("standby", standby)] {
        if let Err(violation) = disk.read(|state| judge_log(plan, journal, state)) {
            panic!("the {name}'s log: {violation}");
        }
    }
    let indices = standby.read(log_indices);
    for (number, spec) in plan.requests.iter().enumerate() {
        let history = &journal.histories[number];
        let verdict = standby.read(|standby_state| {
            RequestCheck { plan, journal, standby_state, history }.judge(number)
        });
        match verdict {
            Ok(None) => tally.answered += 1,
            Ok(Some(fault)) => *tally.failed.entry(fault).or_default() += 1,
            Err(violation) => panic!("request #{number} ({spec}): {violation}\n{history}"),
        }
        tally.requests += 1;
        tally.retried += u64::from(history.attempts > 1);
    }
    if let Err(violation) = judge_order(journal, &indices) {
        panic!("{violation}");
    }
    tally.answered_seeds = u64::from(tally.failed.is_empty());
    tally.explained_seeds = 1 - tally.answered_seeds;
    tally
}

/// In a log each record is what somebody asked for, and no request is applied twice.
fn judge_log(plan: &Plan, journal: &JournalState, state: &DiskState) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for (index, record) in state.log.iter().enumerate() {
        let number = record.request;
        match plan.requests.get(number).map(|request| &request.operation) {
            Some(Operation::Append(body)) if *body == record.body => {}
            _ => return Err(format!("the record at {index} was never asked for")),
        }
        if journal.histories[number].begun_event.is_none() {
            return Err(format!("request #{number} was applied before it was made"));
        }
        if let Some(first_index) = seen.insert(number, index) {
            return Err(format!(
                "request #{number} was applied twice, at {first_index} and {index}"
            ));
        }
    }
    Ok(())
}

/// Where each request stands in the log.
fn log_indices(state: &DiskState) -> BTreeMap<usize, usize> {
    state.log.iter().enumerate().map(|(index, record)| (record.request, index)).collect()
}

/// What was answered before another request was made stands before that in the log.
fn judge_order(journal: &JournalState, indices: &BTreeMap<usize, usize>) -> Result<(), String> {
    for (first, index) in indices {
        let Some((settled, RequestOutcome::Added(_))) = journal.histories[*first].outcomes.first()
        else {
            continue;
        };
        for (later, later_index) in indices {
            if journal.histories[*later].begun_event > Some(*settled) && later_index < index {
                return Err(format!(
                    "request #{later} was made when #{first} had been answered, and stands before \
                     it"
                ));
            }
        }
    }
    Ok(())
}

/// One request, and all that is known of it.
struct RequestCheck<'a> {
    plan: &'a Plan,
    journal: &'a JournalState,
    standby_state: &'a DiskState,
    history: &'a RequestHistory,
}

impl RequestCheck<'_> {
    /// Gives the fault for which it failed, if it did.
    fn judge(&self, number: usize) -> Result<Option<&'static str>, String> {
        let spec = &self.plan.requests[number];
        let (_, outcome) = match &self.history.outcomes[..] {
            [outcome] => outcome,
            outcomes => return Err(format!("has {} outcomes, not one", outcomes.len())),
        };
        match (outcome, &spec.operation) {
            (RequestOutcome::Added(receipt), Operation::Append(_)) => {
                self.judge_receipt(number, receipt)?;
            }
            (RequestOutcome::Read(body), Operation::Read(record)) => {
                self.judge_read(*record, body.as_ref())?;
            }
            (RequestOutcome::Failed, _) => return self.judge_failure().map(Some),
            _ => return Err(format!("was answered with something else: {outcome:?}")),
        }
        Ok(None)
    }

    /// A record that was acknowledged stands where the receipt says, behind what it says.
    fn judge_receipt(&self, number: usize, receipt: &Receipt) -> Result<(), String> {
        let Receipt { index, digest } = receipt;
        match self.standby_state.log.get(*index) {
            Some(record) if record.request == number && record.digest == *digest => Ok(()),
            Some(record) if record.request == number => {
                Err(format!("was answered with another past than it has at {index}"))
            }
            Some(record) => Err(format!(
                "was answered with {index}, where #{} stands: the answer is LOST",
                record.request
            )),
            None => Err(format!("was answered with {index}, where nothing is: it is LOST")),
        }
    }

    /// A record that was acknowledged is found, and is what was added.
    fn judge_read(&self, record: usize, body: Option<&Bytes>) -> Result<(), String> {
        let Operation::Append(added) = &self.plan.requests[record].operation else {
            unreachable!("a plan reads only what was added");
        };
        let added_before =
            matches!(&self.journal.histories[record].outcomes[..], [(_, RequestOutcome::Added(_))]);
        match body {
            Some(body) if body == added => Ok(()),
            Some(_) => Err(format!("read something else than #{record} added")),
            None if added_before => Err(format!("did not find #{record}, which was answered")),
            None => Ok(()),
        }
    }

    /// Who gives up must have tried, in the faults' time, and one of them must explain it.
    fn judge_failure(&self) -> Result<&'static str, String> {
        let RequestHistory { attempts, failure_reasons, began_at, settled_at, .. } = self.history;
        if *attempts <= MAX_ATTEMPTS {
            return Err(format!("was reported failed after {attempts} attempts"));
        }
        let (Some(began), Some(settled)) = (*began_at, *settled_at) else {
            return Err("was never made".into());
        };
        if self.journal.faults_over_at.is_some_and(|faults_over_at| began >= faults_over_at) {
            return Err("was made when the faults were over, and failed: no progress".into());
        }
        let is_in_window = |at| at <= settled && began - at <= FAULT_EFFECT_WINDOW;
        let faults_in_window = || self.journal.faults.iter().filter(|(at, _)| is_in_window(*at));
        let has_struck = |family: &&&str| {
            faults_in_window().any(|(_, what)| what.split(' ').next() == Some(family))
        };
        let last_reason = failure_reasons.last().map_or("its client died", |reason| reason);
        match BLOCKING_FAULTS.iter().find(has_struck) {
            Some(fault) => Ok(fault),
            None => Err(format!("failed, and no fault explains it: {last_reason}")),
        }
    }
}

/// Prints what became of a request.
impl fmt::Display for RequestHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempts", self.attempts)?;
        if let (Some(began), Some(settled)) = (self.began_at, self.settled_at) {
            write!(f, " from {began} to {settled}")?;
        }
        self.failure_reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))?;
        self.outcomes.iter().try_for_each(|(_, outcome)| write!(f, "\nthe outcome: {outcome:?}"))
    }
}
