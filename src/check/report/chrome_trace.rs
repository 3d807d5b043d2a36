//! Export of a trace in Chrome's trace event format, for Perfetto and `chrome://tracing`.
//!
//! A host is a process. A task, or one direction of a connection, is a thread. A record is a slice
//! of one nanosecond. Messages, and wake-ups across hosts, are flows. Times are virtual.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sim::{Instant, Record, RecordKind};

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
    let head = json!({ "test": timeline.name, "replay": timeline.replay });
    let events: Vec<String> = events.iter().map(Value::to_string).collect();
    let events = events.join(",\n");
    format!("{{\"displayTimeUnit\":\"ns\",\"otherData\":{head},\"traceEvents\":[\n{events}]}}\n")
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
fn metadata_event(kind: &str, (process, thread): Thread, name: &str) -> Value {
    json!({ "ph": "M", "name": kind, "pid": process, "tid": thread, "args": { "name": name } })
}

/// An instant in microseconds: exact to the nanosecond for the first hundred days.
fn micros(at: Instant) -> f64 {
    at.as_nanos() as f64 / 1000.0
}

fn event(index: usize, record: &Record, (process, thread): Thread) -> Value {
    let kind = &record.kind;
    let name = match kind {
        RecordKind::Poll | RecordKind::Abort => format!("{kind} by {}", record.source),
        RecordKind::Choose => format!("{kind} {} = {}", record.source, record.digest),
        _ if record.text.is_empty() => kind.to_string(),
        _ => format!("{kind} {}", record.text),
    };
    let mut event = json!({
        "cat": kind.to_string(),
        "ts": micros(record.at),
        "pid": process,
        "tid": thread,
        "name": name,
        "args": { "record": index, "causes": record.causes, "text": record.to_string() },
    });
    match kind {
        // An instant of all processes.
        RecordKind::Fault(_) | RecordKind::Ending => {
            event["ph"] = "i".into();
            event["s"] = "g".into();
        }
        _ => {
            event["ph"] = "X".into();
            event["dur"] = 0.001.into();
        }
    }
    event
}

/// Arrows from one host to another: messages, and wake-ups without a message.
fn flows(view: &RunView<'_>, threads: &[Thread], events: &mut Vec<Value>) {
    for (index, record) in view.records.iter().enumerate() {
        let position = view.positions[index];
        let Some(&cause) = record.causes.first() else { continue };
        if matches!(record.kind, RecordKind::Fault(_) | RecordKind::Ending) {
            continue;
        }
        let crosses_lanes = view.positions[cause].lane != position.lane;
        let category = match position.source_lane {
            Some(_) => "message",
            None if crosses_lanes && view.positions[cause].lane != WORLD_LANE => "wake",
            None => continue,
        };
        let id = events.len();
        let flow = |at: usize| {
            let (process, thread) = threads[at];
            let ts = micros(view.records[at].at);
            json!({
                "id": id, "cat": category, "name": category,
                "ts": ts, "pid": process, "tid": thread,
            })
        };
        let (mut start, mut end) = (flow(cause), flow(index));
        start["ph"] = "s".into();
        end["ph"] = "f".into();
        end["bp"] = "e".into();
        events.extend([start, end]);
    }
}
