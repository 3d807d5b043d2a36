//! The judge: was every request answered once and rightly, or failed for a fault that has a name?
//!
//! Knows the plan, the journal and both disks; took no part in the run. What the standby has on
//! its disk is the truth: nothing is acknowledged that is not there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hyper::body::Bytes;

use crate::client::PATIENCE;
use crate::disk::{Disk, Receipt, State};
use crate::journal::{History, Pages, Verdict};
use crate::plan::{Plan, Verb};
use crate::tally::Tally;

/// How long after it struck a fault may still be the reason of a failure: a strike of a plan lasts
/// 2.1 of its 12 parts at most; then somebody starts anew, or tries again.
const REACH: Duration = Duration::from_millis(30_000 * 17 / 8 / 12 + 2_500);

/// The faults that can keep an answer away, the gravest first. The others are weather.
const GRAVE: [&str; 15] = [
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
pub(crate) fn judge(plan: &Plan, pages: &Pages, [primary, standby]: &[Disk; 2]) -> Tally {
    let mut tally = Tally { turns: pages.turns, ..Tally::default() };
    tally.faults = pages.faults.len() as u64;
    for (name, disk) in [("primary", primary), ("standby", standby)] {
        if let Err(broken) = disk.read(|state| judge_log(plan, pages, state)) {
            panic!("the {name}'s log: {broken}");
        }
    }
    let places = standby.read(places);
    for (number, asked) in plan.requests.iter().enumerate() {
        let history = &pages.histories[number];
        let judged = standby.read(|truth| Case { plan, pages, truth, history }.judge(number));
        match judged {
            Ok(None) => tally.answered += 1,
            Ok(Some(fault)) => *tally.failed.entry(fault).or_default() += 1,
            Err(broken) => panic!("request #{number} ({asked}): {broken}\n{history}"),
        }
        tally.requests += 1;
        tally.retried += u64::from(history.attempts > 1);
    }
    if let Err(broken) = judge_order(pages, &places) {
        panic!("{broken}");
    }
    tally.answered_seeds = u64::from(tally.failed.is_empty());
    tally.explained_seeds = 1 - tally.answered_seeds;
    tally
}

/// In a log each record is what somebody asked for, and no request is applied twice.
fn judge_log(plan: &Plan, pages: &Pages, state: &State) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for (place, record) in state.log.iter().enumerate() {
        let number = record.request;
        match plan.requests.get(number).map(|request| &request.verb) {
            Some(Verb::Append(body)) if *body == record.body => {}
            _ => return Err(format!("the record at {place} was never asked for")),
        }
        if pages.histories[number].begun.is_none() {
            return Err(format!("request #{number} was applied before it was made"));
        }
        if let Some(first) = seen.insert(number, place) {
            return Err(format!("request #{number} was applied twice, at {first} and {place}"));
        }
    }
    Ok(())
}

/// Where each request stands in the log.
fn places(state: &State) -> BTreeMap<usize, usize> {
    state.log.iter().enumerate().map(|(place, record)| (record.request, place)).collect()
}

/// What was answered before another request was made stands before that in the log.
fn judge_order(pages: &Pages, places: &BTreeMap<usize, usize>) -> Result<(), String> {
    for (first, place) in places {
        let Some((settled, Verdict::Added(_))) = pages.histories[*first].verdicts.first() else {
            continue;
        };
        for (then, other) in places {
            if pages.histories[*then].begun > Some(*settled) && other < place {
                return Err(format!(
                    "request #{then} was made when #{first} had been answered, and stands before it"
                ));
            }
        }
    }
    Ok(())
}

/// One request, and all that is known of it.
struct Case<'a> {
    plan: &'a Plan,
    pages: &'a Pages,
    truth: &'a State,
    history: &'a History,
}

impl Case<'_> {
    /// Gives the fault for which it failed, if it did.
    fn judge(&self, number: usize) -> Result<Option<&'static str>, String> {
        let asked = &self.plan.requests[number];
        let (_, verdict) = match &self.history.verdicts[..] {
            [verdict] => verdict,
            verdicts => return Err(format!("has {} outcomes, not one", verdicts.len())),
        };
        match (verdict, &asked.verb) {
            (Verdict::Added(receipt), Verb::Append(_)) => self.judge_receipt(number, receipt)?,
            (Verdict::Read(body), Verb::Read(record)) => self.judge_read(*record, body.as_ref())?,
            (Verdict::Failed, _) => return self.judge_failure().map(Some),
            _ => return Err(format!("was answered with something else: {verdict:?}")),
        }
        Ok(None)
    }

    /// A record that was acknowledged stands where the receipt says, behind what it says.
    fn judge_receipt(&self, number: usize, receipt: &Receipt) -> Result<(), String> {
        let Receipt { place, digest } = receipt;
        match self.truth.log.get(*place) {
            Some(record) if record.request == number && record.digest == *digest => Ok(()),
            Some(record) if record.request == number => {
                Err(format!("was answered with another past than it has at {place}"))
            }
            Some(record) => Err(format!(
                "was answered with {place}, where #{} stands: the answer is LOST",
                record.request
            )),
            None => Err(format!("was answered with {place}, where nothing is: it is LOST")),
        }
    }

    /// A record that was acknowledged is found, and is what was added.
    fn judge_read(&self, record: usize, body: Option<&Bytes>) -> Result<(), String> {
        let Verb::Append(added) = &self.plan.requests[record].verb else {
            unreachable!("a plan reads only what was added");
        };
        let added_before =
            matches!(&self.pages.histories[record].verdicts[..], [(_, Verdict::Added(_))]);
        match body {
            Some(body) if body == added => Ok(()),
            Some(_) => Err(format!("read something else than #{record} added")),
            None if added_before => Err(format!("did not find #{record}, which was answered")),
            None => Ok(()),
        }
    }

    /// Who gives up must have tried, in the faults' time, and one of them must explain it.
    fn judge_failure(&self) -> Result<&'static str, String> {
        let History { attempts, reasons, began_at, settled_at, .. } = self.history;
        if *attempts <= PATIENCE {
            return Err(format!("was reported failed after {attempts} attempts"));
        }
        let (Some(began), Some(settled)) = (*began_at, *settled_at) else {
            return Err("was never made".into());
        };
        if self.pages.peace.is_some_and(|peace| began >= peace) {
            return Err("was made when the faults were over, and failed: no progress".into());
        }
        let reaches = |at| at <= settled && began - at <= REACH;
        let struck = || self.pages.faults.iter().filter(|(at, _)| reaches(*at));
        let named =
            |family: &&&str| struck().any(|(_, what)| what.split(' ').next() == Some(family));
        let last = reasons.last().map_or("its client died", |reason| reason);
        match GRAVE.iter().find(named) {
            Some(fault) => Ok(fault),
            None => Err(format!("failed, and no fault explains it: {last}")),
        }
    }
}

/// Prints what became of a request.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempts", self.attempts)?;
        if let (Some(began), Some(settled)) = (self.began_at, self.settled_at) {
            write!(f, " from {began} to {settled}")?;
        }
        self.reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))?;
        self.verdicts.iter().try_for_each(|(_, verdict)| write!(f, "\nthe outcome: {verdict:?}"))
    }
}
