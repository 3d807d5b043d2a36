//! The HTML page of a trace: one file that needs only a browser.
//!
//! Records are stored by columns, with a table of texts, because there may be a hundred thousand
//! of them. The scripts that draw them are in the folder beside this file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::sim::{Choice, Record, RecordKind, RecordTag};

use crate::check::report::causality::previous_of_subject;
use crate::check::report::lanes::Lanes;
use crate::check::report::timeline::{RunView, Timeline};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");
/// One script, in files that name only what stands above them, but for what they call later.
const SCRIPT: &str = concat!(
    include_str!("html/data.js"),
    include_str!("html/axis.js"),
    include_str!("html/viewport.js"),
    include_str!("html/draw.js"),
    include_str!("html/frame.js"),
    include_str!("html/navigate.js"),
    include_str!("html/panel.js"),
    include_str!("html/input.js"),
);

/// Writes a story.
pub(crate) fn html_page(timeline: &Timeline<'_>) -> String {
    let data = html_safe(&page_data(timeline));
    let mut out = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    // Piece by piece: what stands in the data must not be taken for a mark.
    let mut remaining = PAGE;
    for (placeholder, piece) in [("{style}", STYLE), ("{data}", &data), ("{script}", SCRIPT)] {
        let (before, after) =
            remaining.split_once(&format!("/*{placeholder}*/")).unwrap_or((remaining, ""));
        out.push_str(before);
        out.push_str(piece);
        remaining = after;
    }
    out + remaining
}

/// JSON in which nothing ends the script element around it: what HTML reads is escaped, and so
/// are control characters.
fn html_safe(data: &Value) -> String {
    let text = data.to_string();
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // They stand in strings alone, where JSON has an escape for each.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{7f}'..='\u{9f}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => safe.push(c),
        }
    }
    safe
}

fn page_data(timeline: &Timeline<'_>) -> Value {
    json!({
        "name": timeline.name,
        "failureText": timeline.failure_text.as_deref().unwrap_or_default(),
        "report": timeline.report,
        "replay": timeline.replay,
        "stopReason": timeline.stop_reason.unwrap_or_default(),
        "failed": timeline.failure_text.is_some(),
        "isShrunk": timeline.is_shrunk,
        "lanes": timeline.lanes.names,
        "kinds": RecordTag::ALL.map(RecordTag::name),
        "runs": timeline.runs.iter().map(|run| run_data(run, &timeline.lanes)).collect::<Vec<_>>(),
    })
}

/// Texts by their numbers.
#[derive(Default)]
struct TextTable<'a> {
    indices: BTreeMap<&'a str, usize>,
    texts: Vec<&'a str>,
}

impl<'a> TextTable<'a> {
    fn intern(&mut self, text: &'a str) -> usize {
        *self.indices.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() - 1
        })
    }
}

fn run_data(view: &RunView<'_>, lanes: &Lanes) -> Value {
    let records = view.records;
    let mut texts = TextTable::default();
    let numbers = |value: fn(&Record) -> u64| records.iter().map(value).collect::<Vec<_>>();
    let mut indices = |value: fn(&Record) -> &str| {
        records.iter().map(|record| texts.intern(value(record))).collect::<Vec<_>>()
    };
    let subject = indices(|record| &record.subject);
    let source = indices(|record| &record.source);
    let text = indices(|record| &record.text);
    let or_minus_one = |index: Option<usize>| index.map_or(-1, |index| index as i64);
    let lane = view.positions.iter().map(|position| position.lane);
    let from = view.positions.iter().map(|position| or_minus_one(position.source_lane));
    let previous = previous_of_subject(records).into_iter().map(or_minus_one);
    json!({
        "label": view.label,
        "seed": format!("{:#x}", view.seed),
        "totalChoices": view.total_choices,
        // Apart, because together they may be more than a number of JavaScript holds.
        "seconds": numbers(|record| record.at.as_nanos() / 1_000_000_000),
        "nanos": numbers(|record| record.at.as_nanos() % 1_000_000_000),
        "kind": numbers(|record| record.kind.tag() as u64),
        "ordinal": numbers(|record| record.ordinal),
        "subject": subject,
        "source": source,
        "text": text,
        "texts": texts.texts,
        "lane": lane.collect::<Vec<_>>(),
        "sourceLane": from.collect::<Vec<_>>(),
        "causes": records.iter().map(|record| &record.causes).collect::<Vec<_>>(),
        "previous": previous.collect::<Vec<_>>(),
        "causalPast": view.past,
        "highlights": view.highlights,
        "values": by_index(records, |record| {
            (record.kind == RecordKind::Choose).then(|| record.digest.to_string().into())
        }),
        "faultLanes": by_index(records, |record| match &record.kind {
            RecordKind::Fault(change) => Some(lanes.fault_lanes(&change.target).into()),
            _ => None,
        }),
        "choices": view.choices.iter().map(|choice| choice_data(choice, lanes)).collect::<Vec<_>>(),
    })
}

/// The values of those records that have one, by the record's index.
fn by_index(records: &[Record], value: impl Fn(&Record) -> Option<Value>) -> Value {
    let values = records.iter().map(value).enumerate();
    let entries = values.filter_map(|(index, value)| Some((index.to_string(), value?)));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn choice_data(choice: &Choice, lanes: &Lanes) -> Value {
    json!({
        "seconds": choice.at.as_nanos() / 1_000_000_000,
        "nanos": choice.at.as_nanos() % 1_000_000_000,
        "lane": lanes.choice_lane(&choice.subject),
        "key": format!("{} {}", choice.subject, choice.ordinal),
        "description": choice.describe(),
    })
}
