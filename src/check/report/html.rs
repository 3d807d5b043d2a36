//! A story as one page of HTML, which needs nothing but a browser.
//!
//! Knows how records are packed: by columns, with a table of the texts, because there may be a
//! hundred thousand of them. How they are drawn is told in the folder beside.

use std::collections::BTreeMap;

use crate::sim::{Choice, Record, RecordKind};

use crate::check::json::{write_key, write_list, write_numbers, write_text};
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

/// The kinds of records, by the numbers that stand for them.
const KINDS: [RecordKind; 11] = [
    RecordKind::Poll,
    RecordKind::Note,
    RecordKind::Choose,
    RecordKind::Abort,
    RecordKind::Foreign,
    RecordKind::Ending,
    RecordKind::Caught,
    RecordKind::Deliver,
    RecordKind::Lose,
    RecordKind::Fault,
    RecordKind::Fail,
];

/// Writes a story.
pub(crate) fn html_page(timeline: &Timeline<'_>) -> String {
    let data = page_data(timeline);
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

fn page_data(timeline: &Timeline<'_>) -> String {
    let mut out = String::from("{");
    for (key, value) in [
        ("name", timeline.name),
        ("wrong", timeline.failure_text.as_deref().unwrap_or_default()),
        ("report", &timeline.report),
        ("replay", timeline.replay),
        ("stopped", timeline.stop_reason.unwrap_or_default()),
    ] {
        write_key(&mut out, key);
        write_text(&mut out, value);
    }
    for (key, value) in
        [("failed", timeline.failure_text.is_some()), ("isShrunk", timeline.is_shrunk)]
    {
        write_key(&mut out, key);
        out.push_str(if value { "true" } else { "false" });
    }
    write_key(&mut out, "lanes");
    write_list(&mut out, &timeline.lanes.names, |out, lane| write_text(out, lane));
    write_key(&mut out, "kinds");
    write_list(&mut out, KINDS, |out, kind| write_text(out, &kind.to_string()));
    write_key(&mut out, "runs");
    write_list(&mut out, &timeline.runs, |out, side| write_run(out, side, &timeline.lanes));
    out.push('}');
    out
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

/// A column of one number a record.
fn write_column(
    out: &mut String,
    key: &str,
    records: &[Record],
    value: impl FnMut(&Record) -> u64,
) {
    write_key(out, key);
    write_numbers(out, records.iter().map(value));
}

fn write_run(out: &mut String, view: &RunView<'_>, lanes: &Lanes) {
    let records = view.records;
    let mut texts = TextTable::default();
    out.push('{');
    write_key(out, "label");
    write_text(out, view.label);
    write_key(out, "seed");
    write_text(out, &format!("{:#x}", view.seed));
    write_key(out, "of");
    out.push_str(&view.total_choices.to_string());
    // Apart, because together they may be more than a number of JavaScript holds.
    write_column(out, "seconds", records, |record| record.at.as_nanos() / 1_000_000_000);
    write_column(out, "nanos", records, |record| record.at.as_nanos() % 1_000_000_000);
    let kind = |record: &Record| KINDS.iter().position(|kind| *kind == record.kind).unwrap_or(0);
    write_column(out, "kind", records, |record| kind(record) as u64);
    write_column(out, "ordinal", records, |record| record.ordinal);
    for (key, value) in [
        ("subject", (|record| &record.subject) as fn(&Record) -> &String),
        ("source", |record| &record.source),
        ("text", |record| &record.text),
    ] {
        write_key(out, key);
        write_numbers(out, records.iter().map(|record| texts.intern(value(record))));
    }
    write_key(out, "texts");
    write_list(out, texts.texts, write_text);
    write_key(out, "lane");
    write_numbers(out, view.positions.iter().map(|spot| spot.lane));
    write_key(out, "from");
    write_numbers(
        out,
        view.positions.iter().map(|spot| spot.source_lane.map_or(-1, |from| from as i64)),
    );
    write_key(out, "causes");
    write_list(out, records, |out, record| write_numbers(out, &record.causes));
    write_key(out, "before");
    write_numbers(
        out,
        previous_of_subject(records).iter().map(|index| index.map_or(-1, |index| index as i64)),
    );
    write_key(out, "past");
    write_numbers(out, &view.past);
    write_key(out, "worth");
    write_numbers(out, &view.highlights);
    write_key(out, "values");
    write_sparse(out, records, RecordKind::Choose, |out, record| {
        write_text(out, &record.digest.to_string())
    });
    write_key(out, "hosts");
    write_sparse(out, records, RecordKind::Fault, |out, record| {
        write_numbers(out, lanes.fault_lanes(&record.text));
    });
    write_key(out, "choices");
    write_list(out, &view.choices, |out, choice| write_choice(out, choice, lanes));
    out.push('}');
}

/// What only records of one kind have, by their places.
fn write_sparse(
    out: &mut String,
    records: &[Record],
    kind: RecordKind,
    write: impl Fn(&mut String, &Record),
) {
    out.push('{');
    for (index, record) in records.iter().enumerate().filter(|(_, record)| record.kind == kind) {
        write_key(out, &index.to_string());
        write(out, record);
    }
    out.push('}');
}

fn write_choice(out: &mut String, choice: &Choice, lanes: &Lanes) {
    out.push('{');
    write_key(out, "seconds");
    out.push_str(&(choice.at.as_nanos() / 1_000_000_000).to_string());
    write_key(out, "nanos");
    out.push_str(&(choice.at.as_nanos() % 1_000_000_000).to_string());
    write_key(out, "lane");
    out.push_str(&lanes.choice_lane(&choice.subject).to_string());
    write_key(out, "key");
    write_text(out, &format!("{} {}", choice.subject, choice.ordinal));
    write_key(out, "words");
    write_text(out, &choice.describe());
    out.push('}');
}
