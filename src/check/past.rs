//! The records that led to a failure: only those in its causal past.
//!
//! Knows what led to a record from what records say; refuses to know networks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

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

/// A past in lines: each is a record, or several in a row that tell the same but for their time, as
/// ranges of places in the past.
pub(crate) fn lines(past: &[usize], records: &[Record]) -> Vec<Range<usize>> {
    const FEW: usize = 4;
    let mut lines: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    while start < past.len() {
        let first = &records[past[start]];
        let alike = past[start..].iter().take_while(|place| is_alike(first, &records[**place]));
        let end = start + alike.count().max(1);
        if end - start < FEW {
            lines.extend((start..end).map(|place| place..place + 1));
        } else {
            lines.push(start..end);
        }
        start = end;
    }
    lines
}

/// Whether two records tell the same, but for when it was and how often it had been before.
fn is_alike(a: &Record, b: &Record) -> bool {
    (a.kind, &a.subject, &a.source, &a.text, a.digest)
        == (b.kind, &b.subject, &b.source, &b.text, b.digest)
}

/// Which lines of a past are worth reading: what happened right after each choice that matters, the
/// last faults and notes, and the last of all.
pub(crate) fn worth_reading(
    lines: &[Range<usize>],
    past: &[usize],
    records: &[Record],
    choices: &[Choice],
) -> BTreeSet<usize> {
    const BEFORE: usize = 1;
    const AFTER: usize = 4;
    const CHOICES: usize = 8;
    const LAST: usize = 8;
    const FAULTS: usize = 6;
    const NOTES: usize = 12;
    let mut worth: BTreeSet<usize> = (lines.len().saturating_sub(LAST)..lines.len()).collect();
    let first = |line: usize| &records[past[lines[line].start]];
    let last = |line: &Range<usize>| &records[past[line.end - 1]];
    for (kind, most) in [(RecordKind::Fault, FAULTS), (RecordKind::Note, NOTES)] {
        let own = (0..lines.len()).rev().filter(|line| first(*line).kind == kind);
        worth.extend(own.take(most));
    }
    for choice in choices.iter().take(CHOICES) {
        let place = lines.partition_point(|line| last(line).at < choice.at);
        worth.extend(place.saturating_sub(BEFORE)..(place + AFTER).min(lines.len()));
    }
    worth
}
