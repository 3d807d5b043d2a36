//! The data of a trace file: the original run, and beside it the shrunk one.
//!
//! Selects the records and choices to show, and their lanes. The formats are in `view` and
//! `chrome`.

use std::collections::BTreeSet;

use crate::sim::{Choice, Record};

use crate::check::exec::run_once::RunResult;
use crate::check::report::causality::{causal_past, group_repetitions, select_highlights};
use crate::check::report::lanes::{LanePosition, Lanes};
use crate::check::report::text::Report;

/// One run.
pub(crate) struct RunView<'a> {
    pub(crate) label: &'static str,
    pub(crate) seed: u64,
    pub(crate) records: &'a [Record],
    /// The position of each record.
    pub(crate) positions: Vec<LanePosition>,
    /// The places of the records that led to the failure, if it failed.
    pub(crate) past: Vec<usize>,
    /// The records that the report prints.
    pub(crate) highlights: BTreeSet<usize>,
    /// The choices that matter, and how many there were.
    pub(crate) choices: Vec<&'a Choice>,
    pub(crate) total_choices: usize,
}

/// The data of the drawing of a run, or of two.
pub(crate) struct Timeline<'a> {
    pub(crate) name: &'a str,
    /// The failure, if there is one.
    pub(crate) failure_text: Option<String>,
    /// Whether it is known which choices matter, and why it is not known for certain.
    pub(crate) is_shrunk: bool,
    pub(crate) stop_reason: Option<&'static str>,
    /// The whole report, as on the terminal.
    pub(crate) report: String,
    pub(crate) replay: &'a str,
    pub(crate) lanes: Lanes,
    pub(crate) runs: Vec<RunView<'a>>,
}

impl<'a> Timeline<'a> {
    /// The drawing of a run whose records were kept, and of the shrunk run.
    pub(crate) fn new(report: &'a Report, original: &'a RunResult) -> Self {
        let mut lanes = Lanes::new();
        let shrunk = report.shrunk.as_ref().map(|shrunk| &shrunk.result);
        let relevant_choices = shrunk.map_or(&[][..], |shrunk| &shrunk.choices);
        // A run that cannot be shrunk is drawn once.
        let is_original = |one: &RunResult| one.fingerprint == original.fingerprint;
        let shrunk_view = shrunk.filter(|shrunk| !is_original(shrunk) && shrunk.trace.is_some());
        let label = if shrunk_view.is_some() { "original" } else { "run" };
        let mut runs = vec![run_view(label, original, relevant_choices, &mut lanes)];
        runs.extend(
            shrunk_view.map(|shrunk| run_view("shrunk", shrunk, relevant_choices, &mut lanes)),
        );
        Self {
            name: &report.name,
            failure_text: report.failure_text(),
            is_shrunk: shrunk.is_some(),
            stop_reason: report.shrunk.as_ref().and_then(|shrunk| shrunk.stop_reason),
            report: report.to_string(),
            replay: &report.replay,
            lanes,
            runs,
        }
    }
}

fn run_view<'a>(
    label: &'static str,
    result: &'a RunResult,
    relevant_choices: &[Choice],
    lanes: &mut Lanes,
) -> RunView<'a> {
    let records = result.trace.as_ref().map_or(&[][..], |trace| trace.records());
    let key = |choice: &'a Choice| (choice.subject.as_str(), choice.ordinal);
    let keys: BTreeSet<(&str, u64)> =
        relevant_choices.iter().map(|choice| (choice.subject.as_str(), choice.ordinal)).collect();
    let past = match (&result.trace, &result.failure) {
        (Some(trace), Some(failure)) => causal_past(trace, &failure.tasks),
        _ => vec![],
    };
    let entries = group_repetitions(&past, records);
    let highlights = select_highlights(&entries, &past, records, relevant_choices);
    let shown = |entry: usize| entries[entry].range.clone().take(entries[entry].period);
    RunView {
        label,
        seed: result.seed,
        records,
        positions: records.iter().map(|record| lanes.position(record)).collect(),
        highlights: highlights.into_iter().flat_map(shown).map(|index| past[index]).collect(),
        past,
        choices: result.choices.iter().filter(|one| keys.contains(&key(one))).collect(),
        total_choices: result.choices.len(),
    }
}
