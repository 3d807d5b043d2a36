//! A story in the Chrome trace event format, which Perfetto and `chrome://tracing` open.
//!
//! Knows that format: a host is a process, a task or a direction of a connection a thread, a record
//! a slice of one nanosecond; messages, and wake-ups across hosts, are flows. Times are virtual.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::sim::{Instant, Record, RecordKind};

use crate::check::json::{write_list, write_numbers, write_text};
use crate::check::report::lanes::WORLD_LANE;
use crate::check::report::timeline::{RunView, Timeline};

/// A process and a thread.
type Thread = (usize, usize);

/// Writes a story.
pub(crate) fn chrome_trace(timeline: &Timeline<'_>) -> String {
    let mut events = Vec::new();
    for (index, view) in timeline.runs.iter().enumerate() {
        let first_process = 1 + index * timeline.lanes.names.len();
        let threads = record_threads(view, first_process);
        let label =
            if timeline.runs.len() > 1 { format!(" ({})", view.label) } else { String::new() };
        for (lane, name) in timeline.lanes.names.iter().enumerate() {
            events.push(metadata_event(
                "process_name",
                (first_process + lane, 0),
                &format!("{name}{label}"),
            ));
        }
        let subjects: BTreeMap<Thread, &str> =
            view.records.iter().zip(&threads).map(|(r, thread)| (*thread, subject(r))).collect();
        events.extend(
            subjects.iter().map(|(thread, name)| metadata_event("thread_name", *thread, name)),
        );
        for (index, record) in view.records.iter().enumerate() {
            events.push(event(index, record, threads[index]));
        }
        flows(view, &threads, &mut events);
    }
    let mut out = String::from("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"test\":");
    write_text(&mut out, timeline.name);
    out.push_str(",\"replay\":");
    write_text(&mut out, timeline.replay);
    out.push_str("},\"traceEvents\":");
    write_list(&mut out, events, |out, event| {
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
fn record_threads(view: &RunView<'_>, first_process: usize) -> Vec<Thread> {
    let mut numbers = BTreeMap::new();
    let mut thread = |(record, lane)| {
        let next = numbers.len() + 1;
        (first_process + lane, *numbers.entry(subject(record)).or_insert(next))
    };
    let lanes = view.positions.iter().map(|spot| spot.lane);
    view.records.iter().zip(lanes).map(&mut thread).collect()
}

/// The name of a process or a thread.
fn metadata_event(kind: &str, (process, thread): Thread, name: &str) -> String {
    let mut out =
        format!(r#"{{"ph":"M","name":"{kind}","pid":{process},"tid":{thread},"args":{{"name":"#);
    write_text(&mut out, name);
    out.push_str("}}");
    out
}

/// An instant in microseconds, exactly.
fn micros(at: Instant) -> String {
    format!("{}.{:03}", at.as_nanos() / 1000, at.as_nanos() % 1000)
}

fn event(index: usize, record: &Record, (process, thread): Thread) -> String {
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
    write_text(&mut out, &name);
    let _ = write!(out, r#","args":{{"record":{index},"causes":"#);
    write_numbers(&mut out, &record.causes);
    out.push_str(",\"text\":");
    write_text(&mut out, &record.to_string());
    out.push_str("}}");
    out
}

/// What goes from one host to another: messages, and wake-ups that no message explains.
fn flows(view: &RunView<'_>, threads: &[Thread], events: &mut Vec<String>) {
    for (place, record) in view.records.iter().enumerate() {
        let position = view.positions[place];
        let Some(&cause) = record.causes.first() else { continue };
        if record.kind == RecordKind::Fault || record.kind == RecordKind::Ending {
            continue;
        }
        let crosses_lanes = view.positions[cause].lane != position.lane;
        let category = match position.source_lane {
            Some(_) => "message",
            None if crosses_lanes && view.positions[cause].lane != WORLD_LANE => "wake",
            None => continue,
        };
        let id = events.len();
        for (phase, at) in [("\"s\"", cause), ("\"f\",\"bp\":\"e\"", place)] {
            let (process, thread) = threads[at];
            let ts = micros(view.records[at].at);
            let place = format!(r#""ts":{ts},"pid":{process},"tid":{thread}"#);
            events.push(format!(
                r#"{{"ph":{phase},"id":{id},"cat":"{category}","name":"{category}",{place}}}"#
            ));
        }
    }
}
