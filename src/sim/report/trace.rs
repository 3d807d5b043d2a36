//! The trace of a run: a fingerprint of all events, and the records on demand.
//!
//! Two runs are the same if and only if their fingerprints are equal. The records of two runs show
//! the first event in which they differ.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::util::cold::cold;

use crate::sim::choice::hash::{mul_fold, splitmix64};
use crate::sim::choice::key::PathHash;
use crate::sim::instant::Instant;
use crate::sim::report::record::{Record, RecordKind, RecordTag};

/// The identity of a run: equal if and only if the runs were the same.
///
/// 64 bits over every record; prints as 16 hexadecimal digits and reads them.
/// What the main task returned is not in it, because it need not be printable:
/// note it with `Sim::note` where it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a run that is unknown.
    pub(crate) const NONE: Self = Self(0);
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A fingerprint could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{input}` is no fingerprint: expected 16 hexadecimal digits")]
pub struct ParseFingerprintError {
    /// The text that was parsed.
    pub input: String,
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;
    fn from_str(input: &str) -> Result<Self, ParseFingerprintError> {
        let digits = input.len() == 16 && input.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u64::from_str_radix(input, 16).ok().filter(|_| digits);
        value.map(Self).ok_or_else(|| ParseFingerprintError { input: input.into() })
    }
}

/// The records of one run in order; the last is its ending.
///
/// Printed, it has one line a record: time in seconds, kind, task, cause.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    records: Vec<Record>,
}

impl Trace {
    /// The trace of a run in another process.
    pub(crate) const fn from_records(records: Vec<Record>) -> Self {
        Self { records }
    }

    /// Returns the records, oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Finds the first record in which two traces differ.
    pub fn first_difference(&self, other: &Self) -> Option<Divergence> {
        let longer = self.records.len().max(other.records.len());
        let index = (0..longer).find(|n| self.records.get(*n) != other.records.get(*n))?;
        Some(Divergence {
            index,
            left: self.records.get(index).cloned(),
            right: other.records.get(index).cloned(),
        })
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.records.iter().try_for_each(|record| writeln!(f, "{record}"))
    }
}

/// The first record in which two traces differ, from both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Divergence {
    /// The number of records that the traces have in common.
    pub index: usize,
    /// The record of the first trace, unless it ended before.
    pub left: Option<Record>,
    /// The record of the other trace, unless it ended before.
    pub right: Option<Record>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |record: &Option<Record>| match record {
            Some(record) => record.to_string(),
            None => "(no further record)".into(),
        };
        let (left, right) = (side(&self.left), side(&self.right));
        writeln!(f, "first difference at record {}:", self.index)?;
        writeln!(f, "  left  {left}")?;
        write!(f, "  right {right}")?;
        match (&self.left, &self.right) {
            (Some(one), Some(other)) if left == right => {
                let description = if one.digest == other.digest {
                    "were brought about by other records"
                } else {
                    "carry other bytes"
                };
                write!(f, "\n  both read alike, but {description}")
            }
            _ => Ok(()),
        }
    }
}

/// An event before its keys are turned into names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) tag: RecordTag,
    pub(crate) subject: PathHash,
    pub(crate) source: PathHash,
    pub(crate) ordinal: u64,
    pub(crate) digest: u64,
}

/// The record in which something is done, as its place and one, or 0: it is done in none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct RecordIndex(u32);

impl RecordIndex {
    /// This one, or the other if this is none.
    pub(crate) const fn or(self, other: Self) -> Self {
        if self.0 == 0 { other } else { self }
    }

    fn index(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// The payload of an event: what a trace says about it beside its keys and numbers.
#[derive(Debug)]
pub(crate) enum RecordPayload {
    None,
    Text(Box<str>),
    /// Of a segment or a fault: the kind of its record, whose text is made of it.
    Kind(Box<RecordKind>),
}

impl From<RecordKind> for RecordPayload {
    fn from(kind: RecordKind) -> Self {
        Self::Kind(Box::new(kind))
    }
}

/// The data of an event beside its keys and numbers.
#[derive(Debug)]
pub(crate) struct RecordExtras {
    pub(crate) payload: RecordPayload,
    pub(crate) cause: RecordIndex,
}

/// The number of records between two checkpoints.
const CHECKPOINT_INTERVAL: u64 = 4096;
/// The most checkpoints of a run: beyond four thousand million records there are none.
const MAX_CHECKPOINTS: usize = 1 << 20;

/// The records of a run, before their keys are turned into names.
#[derive(Debug, Default)]
struct RecordLog {
    events: Vec<(Event, RecordExtras)>,
    /// The records of arrivals, by direction and position in the stream.
    arrivals: BTreeMap<(PathHash, u64), RecordIndex>,
    /// In which records something was read, and where that had arrived.
    reads: Vec<(RecordIndex, RecordIndex)>,
}

/// Follows one run.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    state: u64,
    count: u64,
    /// The number of records when the current action began: an action without a record of its own.
    cause_floor: u64,
    /// The record in which the current action was requested, if any.
    requested_in: RecordIndex,
    checkpoints: Vec<Fingerprint>,
    log: Option<Box<RecordLog>>,
}

impl Recorder {
    /// Begins to follow another run, whose records are to be kept or not.
    #[inline(always)]
    pub(crate) fn begin(&mut self, keep: bool) {
        (self.state, self.count, self.cause_floor) = (0, 0, 0);
        self.requested_in = RecordIndex::default();
        self.checkpoints.clear();
        self.log = keep.then(Box::default);
    }

    /// Whether records are kept, and names are therefore worth remembering.
    pub(crate) const fn keeps_records(&self) -> bool {
        self.log.is_some()
    }

    /// Begins an action without a record of its own: a timer has come due.
    #[inline]
    pub(crate) fn clear_cause(&mut self) {
        self.continue_record(RecordIndex::default());
    }

    /// Continues the action of a record, though others may have been added since.
    #[inline]
    pub(crate) fn continue_record(&mut self, record: RecordIndex) {
        (self.cause_floor, self.requested_in) = (self.count, record);
    }

    /// The record in which that is done which is being done now.
    #[inline]
    pub(crate) const fn current(&self) -> RecordIndex {
        self.after(self.count)
    }

    /// The record with that number, or the one in which the current action was requested.
    #[inline]
    const fn after(&self, count: u64) -> RecordIndex {
        // Numbers that do not fit belong to more records than can be kept.
        if count > self.cause_floor { RecordIndex(count as u32) } else { self.requested_in }
    }

    /// Adds one event; `beside` is asked for only if records are kept, and is told in which record
    /// this comes about.
    #[inline(always)]
    pub(crate) fn record(
        &mut self,
        event: Event,
        beside: impl FnOnce(RecordIndex) -> RecordExtras,
    ) {
        self.mix(&event);
        if self.log.is_some() {
            cold(move || {
                let mark = self.after(self.count - 1);
                self.keep(event, beside(mark));
            });
        }
    }

    /// Lets the fingerprint follow what happens.
    #[inline(always)]
    pub(crate) fn mix(&mut self, event: &Event) {
        // The time is small, and the subject, the source and a digest are hashes; where a source or
        // a digest is none or small, it and the ordinal stand at opposite ends of the word.
        let description =
            mul_fold(event.at ^ 0x8EBC_6AF0_9C88_C6E3, event.subject.0 ^ event.tag as u64)
                ^ event.source.0
                ^ event.ordinal
                ^ event.digest.rotate_left(32);
        // A bijection of the state for any event: nothing that happened is lost.
        self.state = (self.state.rotate_left(23) ^ description).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.count += 1;
        if self.count.is_multiple_of(CHECKPOINT_INTERVAL) {
            self.add_checkpoint();
        }
    }

    /// Keeps the fingerprint of so far, unless there are many.
    #[cold]
    #[inline(never)]
    fn add_checkpoint(&mut self) {
        if self.checkpoints.len() < MAX_CHECKPOINTS {
            self.checkpoints.push(self.fingerprint());
        }
    }

    fn keep(&mut self, event: Event, beside: RecordExtras) {
        let Some(retained) = &mut self.log else { return };
        retained.events.push((event, beside));
        if event.tag == RecordTag::Deliver {
            let mark = RecordIndex(retained.events.len() as u32);
            retained.arrivals.insert((event.subject, event.ordinal), mark);
        }
    }

    /// Notes that something was read of a direction: from one place of its stream to another.
    #[cold]
    pub(crate) fn record_read(&mut self, direction: PathHash, from: u64, to: u64) {
        let mark = self.current();
        if let Some(retained) = &mut self.log {
            let start = retained.arrivals.range((direction, 0)..=(direction, from)).next_back();
            let start = start.map_or((direction, from), |(start, _)| *start);
            let arrived = retained.arrivals.range(start..(direction, to));
            retained.reads.extend(arrived.map(|(_, arrived)| (mark, *arrived)));
        }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(splitmix64(self.state ^ self.count))
    }

    pub(crate) fn take_checkpoints(&mut self) -> Vec<Fingerprint> {
        std::mem::take(&mut self.checkpoints)
    }

    /// Turns what was kept into a trace, with the names of `paths`.
    pub(crate) fn take_trace(&mut self, paths: &BTreeMap<PathHash, String>) -> Option<Trace> {
        let name = |key: PathHash| paths.get(&key).cloned().unwrap_or_default();
        let RecordLog { events, reads: received, .. } = *self.log.take()?;
        let records = events.into_iter().map(|(event, RecordExtras { payload, cause })| {
            let (kind, text) = match payload {
                RecordPayload::None => (event.tag.kind(), String::new()),
                RecordPayload::Text(text) => (event.tag.kind(), text.into()),
                RecordPayload::Kind(kind) => {
                    let text = kind.payload_text();
                    (*kind, text)
                }
            };
            Record {
                at: Instant::from_nanos(event.at),
                kind,
                subject: name(event.subject),
                source: name(event.source),
                ordinal: event.ordinal,
                text,
                digest: event.digest,
                causes: cause.index().into_iter().collect(),
            }
        });
        let mut records: Vec<Record> = records.collect();
        for (mark, arrived) in received {
            if let (Some(place), Some(arrived)) = (mark.index(), arrived.index())
                && !records[place].causes.contains(&arrived)
            {
                records[place].causes.push(arrived);
            }
        }
        Some(Trace { records })
    }
}
