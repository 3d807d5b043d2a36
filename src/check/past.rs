//! The records that led to a failure: only those in its causal past.
//!
//! Knows who woke whom from what the records say; refuses to know networks.

use std::collections::BTreeSet;

use crate::sim::{Choice, Record, RecordKind, Trace};

/// The records that can have had a part in what happened to `tasks` at the end.
///
/// A record has a part in what its subject does later, and in what those do whom it wakes or to
/// whom it sends.
pub(crate) fn causal_past<'a>(trace: &'a Trace, tasks: &'a [String]) -> Vec<&'a Record> {
    let mut concerned: BTreeSet<&str> = tasks.iter().map(String::as_str).collect();
    let mut past = Vec::new();
    for record in trace.records().iter().rev() {
        let ending = record.kind == RecordKind::Ending;
        // Faults have no subject, and concern everybody.
        if !ending && record.kind != RecordKind::Fault && !concerned.contains(&*record.subject) {
            continue;
        }
        if !record.source.is_empty() {
            concerned.insert(record.source.trim_end_matches("/%end"));
        }
        past.push(record);
    }
    past.reverse();
    past
}

/// The places of those of a past that are worth reading: what happened right after each choice that
/// matters, and the last ones.
pub(crate) fn worth_reading(past: &[&Record], choices: &[Choice]) -> BTreeSet<usize> {
    const BEFORE: usize = 1;
    const AFTER: usize = 4;
    const CHOICES: usize = 8;
    const LAST: usize = 8;
    let mut worth: BTreeSet<usize> = (past.len().saturating_sub(LAST)..past.len()).collect();
    for choice in choices.iter().take(CHOICES) {
        let place = past.partition_point(|record| record.at < choice.at);
        worth.extend(place.saturating_sub(BEFORE)..(place + AFTER).min(past.len()));
    }
    worth
}
