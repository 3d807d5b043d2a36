//! What a trace file tells: a run as it was, and beside it what it was cut down to.
//!
//! Knows which records and choices are to be shown, and where; refuses to know how.

use std::collections::BTreeSet;

use crate::sim::{Choice, Record};

use crate::check::exec::run_once::Played;
use crate::check::report::causality::{causal_past, entries, worth_reading};
use crate::check::report::lanes::{Lanes, Spot};
use crate::check::report::text::Report;

/// One run.
pub(crate) struct Side<'a> {
    pub(crate) label: &'static str,
    pub(crate) seed: u64,
    pub(crate) records: &'a [Record],
    /// Where each record is drawn.
    pub(crate) spots: Vec<Spot>,
    /// The places of the records that led to the failure, if it failed.
    pub(crate) past: Vec<usize>,
    /// Those of them that the report prints.
    pub(crate) worth: BTreeSet<usize>,
    /// The choices that matter, and how many there were.
    pub(crate) choices: Vec<&'a Choice>,
    pub(crate) of: usize,
}

/// What is told of a run, or of two.
pub(crate) struct Story<'a> {
    pub(crate) name: &'a str,
    /// What went wrong, if anything did.
    pub(crate) wrong: Option<String>,
    /// Whether it is known which choices matter, and why it is not known for certain.
    pub(crate) shrunk: bool,
    pub(crate) stopped: Option<&'static str>,
    /// The whole report, as on the terminal.
    pub(crate) report: String,
    pub(crate) replay: &'a str,
    pub(crate) lanes: Lanes,
    pub(crate) sides: Vec<Side<'a>>,
}

impl<'a> Story<'a> {
    /// What is told of a run whose records were kept, and of what it was cut down to.
    pub(crate) fn new(report: &'a Report, original: &'a Played) -> Self {
        let mut lanes = Lanes::new();
        let shrunk = report.shrunk.as_ref().map(|shrunk| &shrunk.played);
        let matter = shrunk.map_or(&[][..], |shrunk| &shrunk.choices);
        // What cannot be cut down is told once.
        let same = |one: &Played| one.fingerprint == original.fingerprint;
        let beside = shrunk.filter(|shrunk| !same(shrunk) && shrunk.trace.is_some());
        let label = if beside.is_some() { "original" } else { "run" };
        let mut sides = vec![side(label, original, matter, &mut lanes)];
        sides.extend(beside.map(|shrunk| side("shrunk", shrunk, matter, &mut lanes)));
        Self {
            name: &report.name,
            wrong: report.wrong_text(),
            shrunk: shrunk.is_some(),
            stopped: report.shrunk.as_ref().and_then(|shrunk| shrunk.stopped),
            report: report.to_string(),
            replay: &report.replay,
            lanes,
            sides,
        }
    }
}

fn side<'a>(
    label: &'static str,
    played: &'a Played,
    matter: &[Choice],
    lanes: &mut Lanes,
) -> Side<'a> {
    let records = played.trace.as_ref().map_or(&[][..], |trace| trace.records());
    let key = |choice: &'a Choice| (choice.subject.as_str(), choice.ordinal);
    let keys: BTreeSet<(&str, u64)> =
        matter.iter().map(|choice| (choice.subject.as_str(), choice.ordinal)).collect();
    let past = match (&played.trace, &played.failure) {
        (Some(trace), Some(failure)) => causal_past(trace, &failure.tasks),
        _ => vec![],
    };
    let entries = entries(&past, records);
    let worth = worth_reading(&entries, &past, records, matter);
    let shown = |entry: usize| entries[entry].places.clone().take(entries[entry].period);
    Side {
        label,
        seed: played.seed,
        records,
        spots: records.iter().map(|record| lanes.spot(record)).collect(),
        worth: worth.into_iter().flat_map(shown).map(|place| past[place]).collect(),
        past,
        choices: played.choices.iter().filter(|one| keys.contains(&key(one))).collect(),
        of: played.choices.len(),
    }
}
