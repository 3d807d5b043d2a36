//! The records that led to a failure: only those in its causal past.
//!
//! Knows what led to a record from what records say; refuses to know networks.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::{Choice, Record, RecordKind, Trace};

/// The record before each one of the same task or direction, if there is one.
pub(crate) fn before(records: &[Record]) -> Vec<Option<usize>> {
    let mut last = BTreeMap::new();
    let mut before = Vec::with_capacity(records.len());
    for (place, record) in records.iter().enumerate() {
        let subject = record.subject.as_str();
        before.push(if subject.is_empty() { None } else { last.insert(subject, place) });
    }
    before
}

/// The places of the records that can have had a part in what happened to `tasks` at the end.
///
/// A record has a part in what its subject does later, and in all that it brought about: in what
/// those do whom it woke, and in the arrival of what was sent in it.
pub(crate) fn causal_past(trace: &Trace, tasks: &[String]) -> Vec<usize> {
    let records = trace.records();
    let before = before(records);
    let mut has_part = vec![false; records.len()];
    let mut left: BTreeSet<&str> = tasks.iter().map(String::as_str).collect();
    for (place, record) in records.iter().enumerate().rev() {
        // Faults have no subject, and concern everybody.
        let end = matches!(record.kind, RecordKind::Ending | RecordKind::Fault);
        has_part[place] |= end || left.remove(record.subject.as_str());
        if has_part[place] {
            // Who asked for a fault is of no concern for it.
            let causes = if record.kind == RecordKind::Fault { &[] } else { &record.causes[..] };
            causes.iter().copied().chain(before[place]).for_each(|place| has_part[place] = true);
        }
    }
    (0..records.len()).filter(|place| has_part[*place]).collect()
}

/// The places of those of a past that are worth reading: what happened right after each choice that
/// matters, the last faults, and the last of all.
pub(crate) fn worth_reading(
    past: &[usize],
    records: &[Record],
    choices: &[Choice],
) -> BTreeSet<usize> {
    const BEFORE: usize = 1;
    const AFTER: usize = 4;
    const CHOICES: usize = 8;
    const LAST: usize = 8;
    const FAULTS: usize = 6;
    let mut worth: BTreeSet<usize> = (past.len().saturating_sub(LAST)..past.len()).collect();
    let is_fault = |at: &usize| records[past[*at]].kind == RecordKind::Fault;
    worth.extend((0..past.len()).rev().filter(is_fault).take(FAULTS));
    for choice in choices.iter().take(CHOICES) {
        let place = past.partition_point(|place| records[*place].at < choice.at);
        worth.extend(place.saturating_sub(BEFORE)..(place + AFTER).min(past.len()));
    }
    worth
}
