//! A story as one page of HTML, which needs nothing but a browser.
//!
//! Knows how records are packed: by columns, with a table of the texts, because there may be a
//! hundred thousand of them. How they are drawn is told in the folder beside.

use std::collections::BTreeMap;

use crate::sim::{Choice, Record, RecordKind};

use crate::check::json::{list, name, numbers, text};
use crate::check::report::causality::before;
use crate::check::report::lanes::Lanes;
use crate::check::report::timeline::{Side, Story};

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
pub(crate) fn page(story: &Story<'_>) -> String {
    let data = data(story);
    let mut out = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    // Piece by piece: what stands in the data must not be taken for a mark.
    let mut rest = PAGE;
    for (mark, piece) in [("{style}", STYLE), ("{data}", &data), ("{script}", SCRIPT)] {
        let (before, after) = rest.split_once(&format!("/*{mark}*/")).unwrap_or((rest, ""));
        out.push_str(before);
        out.push_str(piece);
        rest = after;
    }
    out + rest
}

fn data(story: &Story<'_>) -> String {
    let mut out = String::from("{");
    for (member, value) in [
        ("name", story.name),
        ("wrong", story.wrong.as_deref().unwrap_or_default()),
        ("report", &story.report),
        ("replay", story.replay),
        ("stopped", story.stopped.unwrap_or_default()),
    ] {
        name(&mut out, member);
        text(&mut out, value);
    }
    for (member, value) in [("failed", story.wrong.is_some()), ("isShrunk", story.shrunk)] {
        name(&mut out, member);
        out.push_str(if value { "true" } else { "false" });
    }
    name(&mut out, "lanes");
    list(&mut out, &story.lanes.names, |out, lane| text(out, lane));
    name(&mut out, "kinds");
    list(&mut out, KINDS, |out, kind| text(out, &kind.to_string()));
    name(&mut out, "runs");
    list(&mut out, &story.sides, |out, side| run(out, side, &story.lanes));
    out.push('}');
    out
}

/// Texts by their numbers.
#[derive(Default)]
struct Texts<'a> {
    numbers: BTreeMap<&'a str, usize>,
    list: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    fn of(&mut self, text: &'a str) -> usize {
        *self.numbers.entry(text).or_insert_with(|| {
            self.list.push(text);
            self.list.len() - 1
        })
    }
}

/// A column of one number a record.
fn column(out: &mut String, title: &str, records: &[Record], of: impl FnMut(&Record) -> u64) {
    name(out, title);
    numbers(out, records.iter().map(of));
}

fn run(out: &mut String, side: &Side<'_>, lanes: &Lanes) {
    let records = side.records;
    let mut texts = Texts::default();
    out.push('{');
    name(out, "label");
    text(out, side.label);
    name(out, "seed");
    text(out, &format!("{:#x}", side.seed));
    name(out, "of");
    out.push_str(&side.of.to_string());
    // Apart, because together they may be more than a number of JavaScript holds.
    column(out, "seconds", records, |record| record.at.as_nanos() / 1_000_000_000);
    column(out, "nanos", records, |record| record.at.as_nanos() % 1_000_000_000);
    let kind = |record: &Record| KINDS.iter().position(|kind| *kind == record.kind).unwrap_or(0);
    column(out, "kind", records, |record| kind(record) as u64);
    column(out, "ordinal", records, |record| record.ordinal);
    for (title, of) in [
        ("subject", (|record| &record.subject) as fn(&Record) -> &String),
        ("source", |record| &record.source),
        ("text", |record| &record.text),
    ] {
        name(out, title);
        numbers(out, records.iter().map(|record| texts.of(of(record))));
    }
    name(out, "texts");
    list(out, texts.list, text);
    name(out, "lane");
    numbers(out, side.spots.iter().map(|spot| spot.lane));
    name(out, "from");
    numbers(out, side.spots.iter().map(|spot| spot.from.map_or(-1, |from| from as i64)));
    name(out, "causes");
    list(out, records, |out, record| numbers(out, &record.causes));
    name(out, "before");
    numbers(out, before(records).iter().map(|place| place.map_or(-1, |place| place as i64)));
    name(out, "past");
    numbers(out, &side.past);
    name(out, "worth");
    numbers(out, &side.worth);
    name(out, "values");
    sparse(out, records, RecordKind::Choose, |out, record| text(out, &record.digest.to_string()));
    name(out, "hosts");
    sparse(out, records, RecordKind::Fault, |out, record| {
        numbers(out, lanes.of_fault(&record.text));
    });
    name(out, "choices");
    list(out, &side.choices, |out, choice| chosen(out, choice, lanes));
    out.push('}');
}

/// What only records of one kind have, by their places.
fn sparse(
    out: &mut String,
    records: &[Record],
    kind: RecordKind,
    write: impl Fn(&mut String, &Record),
) {
    out.push('{');
    for (place, record) in records.iter().enumerate().filter(|(_, record)| record.kind == kind) {
        name(out, &place.to_string());
        write(out, record);
    }
    out.push('}');
}

fn chosen(out: &mut String, choice: &Choice, lanes: &Lanes) {
    out.push('{');
    name(out, "seconds");
    out.push_str(&(choice.at.as_nanos() / 1_000_000_000).to_string());
    name(out, "nanos");
    out.push_str(&(choice.at.as_nanos() % 1_000_000_000).to_string());
    name(out, "lane");
    out.push_str(&lanes.of_choice(&choice.subject).to_string());
    name(out, "key");
    text(out, &format!("{} {}", choice.subject, choice.ordinal));
    name(out, "words");
    text(out, &choice.describe());
    out.push('}');
}
