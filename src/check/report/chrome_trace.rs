//! A story in the Chrome trace event format, which Perfetto and `chrome://tracing` open.
//!
//! Knows that format: a host is a process, a task or a direction of a connection a thread, a record
//! a slice of one nanosecond; messages, and wake-ups across hosts, are flows. Times are virtual.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::sim::{Instant, Record, RecordKind};

use crate::check::json::{list, numbers, text};
use crate::check::report::lanes::WORLD;
use crate::check::report::timeline::{Side, Story};

/// A process and a thread.
type Thread = (usize, usize);

/// Writes a story.
pub(crate) fn chrome(story: &Story<'_>) -> String {
    let mut events = Vec::new();
    for (place, side) in story.sides.iter().enumerate() {
        let first = 1 + place * story.lanes.names.len();
        let threads = threads(side, first);
        let label =
            if story.sides.len() > 1 { format!(" ({})", side.label) } else { String::new() };
        for (lane, name) in story.lanes.names.iter().enumerate() {
            events.push(named("process_name", (first + lane, 0), &format!("{name}{label}")));
        }
        let subjects: BTreeMap<Thread, &str> =
            side.records.iter().zip(&threads).map(|(r, thread)| (*thread, subject(r))).collect();
        events.extend(subjects.iter().map(|(thread, name)| named("thread_name", *thread, name)));
        for (place, record) in side.records.iter().enumerate() {
            events.push(event(place, record, threads[place]));
        }
        flows(side, &threads, &mut events);
    }
    let mut out = String::from("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"test\":");
    text(&mut out, story.name);
    out.push_str(",\"replay\":");
    text(&mut out, story.replay);
    out.push_str("},\"traceEvents\":");
    list(&mut out, events, |out, event| {
        out.push('\n');
        out.push_str(&event);
    });
    out.push_str("}\n");
    out
}

/// Whose a record is; what has no subject is the run's.
fn subject(record: &Record) -> &str {
    if record.subject.is_empty() { "run" } else { &record.subject }
}

/// The process and the thread of each record.
fn threads(side: &Side<'_>, first: usize) -> Vec<Thread> {
    let mut numbers = BTreeMap::new();
    let mut thread = |(record, lane)| {
        let next = numbers.len() + 1;
        (first + lane, *numbers.entry(subject(record)).or_insert(next))
    };
    let lanes = side.spots.iter().map(|spot| spot.lane);
    side.records.iter().zip(lanes).map(&mut thread).collect()
}

/// The name of a process or a thread.
fn named(what: &str, (process, thread): Thread, name: &str) -> String {
    let mut out =
        format!(r#"{{"ph":"M","name":"{what}","pid":{process},"tid":{thread},"args":{{"name":"#);
    text(&mut out, name);
    out.push_str("}}");
    out
}

/// An instant in microseconds, exactly.
fn micros(at: Instant) -> String {
    format!("{}.{:03}", at.as_nanos() / 1000, at.as_nanos() % 1000)
}

fn event(place: usize, record: &Record, (process, thread): Thread) -> String {
    let shape = match record.kind {
        RecordKind::Fault | RecordKind::Ending => r#""ph":"i","s":"g""#,
        _ => r#""ph":"X","dur":0.001"#,
    };
    let at = micros(record.at);
    let kind = record.kind;
    let mut out =
        format!(r#"{{{shape},"cat":"{kind}","ts":{at},"pid":{process},"tid":{thread},"name":"#);
    let name = match kind {
        RecordKind::Poll | RecordKind::Abort => format!("{kind} by {}", record.source),
        RecordKind::Choose => format!("{kind} {} = {}", record.source, record.digest),
        _ if record.text.is_empty() => kind.to_string(),
        _ => format!("{kind} {}", record.text),
    };
    text(&mut out, &name);
    let _ = write!(out, r#","args":{{"record":{place},"causes":"#);
    numbers(&mut out, &record.causes);
    out.push_str(",\"text\":");
    text(&mut out, &record.to_string());
    out.push_str("}}");
    out
}

/// What goes from one host to another: messages, and wake-ups that no message explains.
fn flows(side: &Side<'_>, threads: &[Thread], events: &mut Vec<String>) {
    for (place, record) in side.records.iter().enumerate() {
        let spot = side.spots[place];
        let Some(&cause) = record.causes.first() else { continue };
        if record.kind == RecordKind::Fault || record.kind == RecordKind::Ending {
            continue;
        }
        let across = side.spots[cause].lane != spot.lane;
        let what = match spot.from {
            Some(_) => "message",
            None if across && side.spots[cause].lane != WORLD => "wake",
            None => continue,
        };
        let id = events.len();
        for (end, at) in [("\"s\"", cause), ("\"f\",\"bp\":\"e\"", place)] {
            let (process, thread) = threads[at];
            let ts = micros(side.records[at].at);
            let place = format!(r#""ts":{ts},"pid":{process},"tid":{thread}"#);
            events.push(format!(
                r#"{{"ph":{end},"id":{id},"cat":"{what}","name":"{what}",{place}}}"#
            ));
        }
    }
}
