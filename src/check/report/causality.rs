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

/// One entry of a past that is printed: a record, or a few of them that tell the same again and
/// again but for their time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// The places in the past.
    pub(crate) places: Range<usize>,
    /// How many records it is that come again, of which the first are printed.
    pub(crate) period: usize,
}

impl Entry {
    /// How often its records come.
    pub(crate) const fn times(&self) -> usize {
        (self.places.end - self.places.start) / self.period
    }
}

/// The entries of a past, in order.
pub(crate) fn entries(past: &[usize], records: &[Record]) -> Vec<Entry> {
    const FEW: usize = 4;
    const LONGEST: usize = 4;
    let mut entries = Vec::new();
    let mut start = 0;
    while start < past.len() {
        let rest = &past[start..];
        let times = |period: usize| {
            let again = rest.iter().zip(rest.iter().cycle().take(rest.len()).skip(period));
            let alike = again.take_while(|(a, b)| is_alike(&records[**a], &records[**b]));
            (alike.count() + period) / period
        };
        let period = (1..=LONGEST.min(rest.len())).find(|period| times(*period) >= FEW);
        let length = period.map_or(1, |period| period * times(period));
        entries.push(Entry { places: start..start + length, period: period.unwrap_or(1) });
        start += length;
    }
    entries
}

/// Whether two records tell the same, but for when it was and how often it had been before.
fn is_alike(a: &Record, b: &Record) -> bool {
    (a.kind, &a.subject, &a.source, &a.text, a.digest)
        == (b.kind, &b.subject, &b.source, &b.text, b.digest)
}

/// Which entries of a past are worth reading: what happened right after each choice that matters,
/// the last faults and notes, and the last of all.
pub(crate) fn worth_reading(
    entries: &[Entry],
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
    let mut worth: BTreeSet<usize> = (entries.len().saturating_sub(LAST)..entries.len()).collect();
    let is_of = |entry: &Entry, kind: RecordKind| {
        let shown = entry.places.clone().take(entry.period);
        shown.into_iter().any(|place| records[past[place]].kind == kind)
    };
    let last = |entry: &Entry| &records[past[entry.places.end - 1]];
    for (kind, most) in [(RecordKind::Fault, FAULTS), (RecordKind::Note, NOTES)] {
        let own = (0..entries.len()).rev().filter(|entry| is_of(&entries[*entry], kind));
        worth.extend(own.take(most));
    }
    for choice in choices.iter().take(CHOICES) {
        let place = entries.partition_point(|entry| last(entry).at < choice.at);
        worth.extend(place.saturating_sub(BEFORE)..(place + AFTER).min(entries.len()));
    }
    worth
}
