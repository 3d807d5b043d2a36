//! The causal past of a failure: the records that can have led to it, grouped and filtered.
//!
//! Causes are taken from the records alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::sim::{Choice, Record, RecordKind, RecordTag, Trace};

/// The record before each one of the same task or direction, if there is one.
pub(crate) fn previous_of_subject(records: &[Record]) -> Vec<Option<usize>> {
    let mut last = BTreeMap::new();
    let mut previous = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        let subject = record.subject.as_str();
        previous.push(if subject.is_empty() { None } else { last.insert(subject, index) });
    }
    previous
}

/// The places of the records that can have had a part in what happened to `tasks` at the end.
///
/// A record has a part in what its subject does later, and in all that it caused: in what the tasks
/// do that it woke, and in the arrival of what was sent in it.
pub(crate) fn causal_past(trace: &Trace, tasks: &[String]) -> Vec<usize> {
    let records = trace.records();
    let previous = previous_of_subject(records);
    let mut is_included = vec![false; records.len()];
    let mut remaining_tasks: BTreeSet<&str> = tasks.iter().map(String::as_str).collect();
    for (index, record) in records.iter().enumerate().rev() {
        // Faults have no subject, and concern all hosts.
        let is_root = matches!(record.kind, RecordKind::Ending | RecordKind::Fault(_));
        is_included[index] |= is_root || remaining_tasks.remove(record.subject.as_str());
        if is_included[index] {
            // The actor that asked for a fault is not its cause.
            let causes =
                if let RecordKind::Fault(_) = record.kind { &[] } else { &record.causes[..] };
            causes
                .iter()
                .copied()
                .chain(previous[index])
                .for_each(|index| is_included[index] = true);
        }
    }
    (0..records.len()).filter(|index| is_included[*index]).collect()
}

/// One entry of a past that is printed: a record, or a few of them that tell the same again and
/// again but for their time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PastEntry {
    /// The places in the past.
    pub(crate) range: Range<usize>,
    /// The number of records that repeat, of which the first are printed.
    pub(crate) period: usize,
}

impl PastEntry {
    /// The number of repetitions.
    pub(crate) const fn repetitions(&self) -> usize {
        (self.range.end - self.range.start) / self.period
    }
}

/// The entries of a past, in order.
pub(crate) fn group_repetitions(past: &[usize], records: &[Record]) -> Vec<PastEntry> {
    const MIN_REPETITIONS: usize = 4;
    const MAX_PERIOD: usize = 4;
    let mut entries = Vec::new();
    let mut start = 0;
    while start < past.len() {
        let remaining = &past[start..];
        let repetitions = |period: usize| {
            let shifted =
                remaining.iter().zip(remaining.iter().cycle().take(remaining.len()).skip(period));
            let alike = shifted.take_while(|(a, b)| is_alike(&records[**a], &records[**b]));
            (alike.count() + period) / period
        };
        let period = (1..=MAX_PERIOD.min(remaining.len()))
            .find(|period| repetitions(*period) >= MIN_REPETITIONS);
        let length = period.map_or(1, |period| period * repetitions(period));
        entries.push(PastEntry { range: start..start + length, period: period.unwrap_or(1) });
        start += length;
    }
    entries
}

/// Whether two records tell the same, but for when it was and how often it had been before.
fn is_alike(a: &Record, b: &Record) -> bool {
    (&a.kind, &a.subject, &a.source, &a.text, a.digest)
        == (&b.kind, &b.subject, &b.source, &b.text, b.digest)
}

/// Which entries of a past are worth reading: what happened right after each choice that matters,
/// the last faults and notes, and the last of all.
pub(crate) fn select_highlights(
    entries: &[PastEntry],
    past: &[usize],
    records: &[Record],
    choices: &[Choice],
) -> BTreeSet<usize> {
    const CONTEXT_BEFORE: usize = 1;
    const CONTEXT_AFTER: usize = 4;
    const MAX_CHOICES: usize = 8;
    const LAST_ENTRIES: usize = 8;
    const MAX_FAULTS: usize = 6;
    const MAX_NOTES: usize = 12;
    let mut selected: BTreeSet<usize> =
        (entries.len().saturating_sub(LAST_ENTRIES)..entries.len()).collect();
    let has_kind = |entry: &PastEntry, tag: RecordTag| {
        let shown = entry.range.clone().take(entry.period);
        shown.into_iter().any(|index| records[past[index]].kind.tag() == tag)
    };
    let last = |entry: &PastEntry| &records[past[entry.range.end - 1]];
    for (tag, max) in [(RecordTag::Fault, MAX_FAULTS), (RecordTag::Note, MAX_NOTES)] {
        let matching = (0..entries.len()).rev().filter(|entry| has_kind(&entries[*entry], tag));
        selected.extend(matching.take(max));
    }
    for choice in choices.iter().take(MAX_CHOICES) {
        let index = entries.partition_point(|entry| last(entry).at < choice.at);
        selected.extend(
            index.saturating_sub(CONTEXT_BEFORE)..(index + CONTEXT_AFTER).min(entries.len()),
        );
    }
    selected
}
