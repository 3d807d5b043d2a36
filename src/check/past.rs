//! The records that led to a failure: only those in its causal past.
//!
//! Knows who woke whom from what the records say; refuses to know networks.

use std::collections::BTreeSet;

use crate::sim::{Record, RecordKind, Trace};

/// The last `count` records that can have had a part in what happened to `tasks` at the end.
///
/// A record has a part in what its subject does later, and in what those do whom it wakes or to
/// whom it sends.
pub(crate) fn causal_past<'a>(
    trace: &'a Trace,
    tasks: &'a [String],
    count: usize,
) -> Vec<&'a Record> {
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
        if past.len() == count {
            break;
        }
    }
    past.reverse();
    past
}
