//! The result of a run as JSON, for the way from a subprocess to its parent.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::sim::{
    Choice, DropReason, FaultAction, FaultChange, FaultTarget, Instant, Record, RecordKind,
    RecordTag, Segment, SegmentEndpoint, SegmentKind, Trace, nanos,
};
use crate::simnet::{FaultCounts, FaultStats};

use crate::check::assertions::{AssertionCounts, LabelCounts};
use crate::check::exec::run_once::RunResult;
use crate::check::failure::{Failure, FailureKind};

/// Nothing that was written by another version is read.
const MALFORMED: &str = "malformed";

fn get_text(json: &Value, name: &str) -> Option<String> {
    Some(json.get(name)?.as_str()?.to_string())
}

pub(crate) fn fault_stats_to_json(fault_stats: &FaultStats) -> Value {
    let used = fault_stats.iter().filter(|(_, counts)| *counts != FaultCounts::default());
    let entries = used.map(|(name, counts)| {
        let FaultCounts { requested, drawn, applied, effective } = counts;
        (name.to_string(), json!([requested, drawn, applied, effective]))
    });
    Value::Object(entries.collect())
}

pub(crate) fn fault_stats_from_json(json: &Value) -> Option<FaultStats> {
    let mut fault_stats = FaultStats::default();
    for (name, counts) in json.as_object()? {
        let counts: Vec<u64> = counts.as_array()?.iter().filter_map(Value::as_u64).collect();
        let [requested, drawn, applied, effective] = counts[..] else { return None };
        fault_stats.add(name.parse().ok()?, FaultCounts { requested, drawn, applied, effective });
    }
    Some(fault_stats)
}

pub(crate) fn labels_to_json(labels: &LabelCounts) -> Value {
    let entries = labels.iter().map(|(label, count)| (label.to_string(), Value::from(*count)));
    Value::Object(entries.collect::<Map<_, _>>())
}

pub(crate) fn labels_from_json(json: &Value) -> Option<LabelCounts> {
    let entries = json.as_object()?.iter();
    entries.map(|(label, count)| Some((label.clone().into(), count.as_u64()?))).collect()
}

fn failure_to_json(failure: &Failure) -> Value {
    let (kind, detail) = match &failure.kind {
        FailureKind::Panic(site) => ("panic", &**site),
        FailureKind::Always(label) => ("always", &**label),
        FailureKind::Error(error) => ("error", &**error),
        FailureKind::Ending(name) => ("ending", &**name),
        FailureKind::Hung(task) => ("hung", &**task),
        FailureKind::ProcessDied(how) => ("died", &**how),
        FailureKind::Stopped => ("stopped", ""),
        FailureKind::SpawnFailed => ("no process", ""),
    };
    json!({ "kind": [kind, detail], "text": failure.text, "tasks": failure.tasks })
}

fn failure_from_json(json: &Value) -> Option<Failure> {
    let [kind, detail] = &json.get("kind")?.as_array()?[..] else { return None };
    let detail = detail.as_str()?.to_string();
    let kind = match kind.as_str()? {
        "panic" => FailureKind::Panic(detail),
        "always" => FailureKind::Always(detail.into()),
        "error" => FailureKind::Error(detail),
        "ending" => FailureKind::Ending(detail.into()),
        "hung" => FailureKind::Hung(detail),
        "died" => FailureKind::ProcessDied(detail),
        "stopped" => FailureKind::Stopped,
        "no process" => FailureKind::SpawnFailed,
        _ => return None,
    };
    let tasks = json.get("tasks")?.as_array()?.iter();
    let tasks = tasks.map(|task| task.as_str().map(String::from)).collect::<Option<_>>()?;
    Some(Failure { kind, text: get_text(json, "text")?, tasks })
}

/// The word `give up`, where records print `drop`.
const GIVE_UP: &str = "give up";

/// A word, and the payload behind it.
fn record_kind_to_json(kind: &RecordKind) -> Value {
    let endpoint = |SegmentEndpoint { host, port }: &SegmentEndpoint| json!([host, port]);
    let segment = |segment: &Segment| {
        let Segment { kind, from, to, bytes, refusal } = segment;
        json!([kind.name(), endpoint(from), endpoint(to), bytes, refusal])
    };
    let word = kind.to_string();
    match kind {
        RecordKind::Deliver(arrived) => json!([word, segment(arrived)]),
        RecordKind::Drop(dropped, reason) => json!([word, segment(dropped), reason.name()]),
        RecordKind::GiveUp { from, to } => json!([GIVE_UP, endpoint(from), endpoint(to)]),
        RecordKind::Fault(change) => {
            let (action, fault) = match change.action {
                FaultAction::Apply(fault) => ("apply", Some(fault.name())),
                FaultAction::Undo(fault) => ("undo", Some(fault.name())),
                FaultAction::StopToRestart => ("stop", None),
                FaultAction::Heal => ("heal", None),
            };
            let target = match &change.target {
                FaultTarget::Network => json!(["network"]),
                FaultTarget::Region(name) => json!(["region", name]),
                FaultTarget::Host(host) => json!(["host", host]),
                FaultTarget::Link(a, b) => json!(["link", a, b]),
                FaultTarget::OneWayLink(from, to) => json!(["one way", from, to]),
                FaultTarget::Groups(a, b) => json!(["groups", a, b]),
            };
            json!([word, action, fault, target, change.details])
        }
        _ => json!([word]),
    }
}

fn record_kind_from_json(json: &Value) -> Option<RecordKind> {
    let text = |json: &Value| json.as_str().map(String::from);
    let texts = |json: &Value| json.as_array()?.iter().map(text).collect::<Option<Vec<_>>>();
    let endpoint = |json: &Value| {
        let [host, port] = &json.as_array()?[..] else { return None };
        Some(SegmentEndpoint { host: text(host)?, port: port.as_u64()?.try_into().ok()? })
    };
    let segment = |json: &Value| {
        let [kind, from, to, bytes, refusal] = &json.as_array()?[..] else { return None };
        let kind =
            SegmentKind::ALL.into_iter().find(|known| Some(known.name()) == kind.as_str())?;
        let mut segment = Segment::new(kind, endpoint(from)?, endpoint(to)?);
        (segment.bytes, segment.refusal) = (bytes.as_u64(), text(refusal));
        Some(segment)
    };
    let target = |json: &Value| {
        let (word, names) = json.as_array()?.split_first()?;
        Some(match (word.as_str()?, names) {
            ("network", []) => FaultTarget::Network,
            ("region", [name]) => FaultTarget::Region(text(name)?),
            ("host", [host]) => FaultTarget::Host(text(host)?),
            ("link", [a, b]) => FaultTarget::Link(text(a)?, text(b)?),
            ("one way", [from, to]) => FaultTarget::OneWayLink(text(from)?, text(to)?),
            ("groups", [a, b]) => FaultTarget::Groups(texts(a)?, texts(b)?),
            _ => return None,
        })
    };
    let (word, payload) = json.as_array()?.split_first()?;
    if word == GIVE_UP {
        let [from, to] = payload else { return None };
        return Some(RecordKind::GiveUp { from: endpoint(from)?, to: endpoint(to)? });
    }
    let tag = RecordTag::ALL.into_iter().find(|known| Some(known.name()) == word.as_str())?;
    Some(match (tag, payload) {
        (RecordTag::Deliver, [arrived]) => RecordKind::Deliver(segment(arrived)?),
        (RecordTag::Drop, [dropped, reason]) => {
            let name = reason.as_str()?;
            let reason = DropReason::ALL.into_iter().find(|known| known.name() == name)?;
            RecordKind::Drop(segment(dropped)?, reason)
        }
        (RecordTag::Fault, [action, fault, hosts, details]) => {
            let action = match (action.as_str()?, fault.as_str()) {
                ("apply", Some(fault)) => FaultAction::Apply(fault.parse().ok()?),
                ("undo", Some(fault)) => FaultAction::Undo(fault.parse().ok()?),
                ("stop", None) => FaultAction::StopToRestart,
                ("heal", None) => FaultAction::Heal,
                _ => return None,
            };
            let change = FaultChange::new(action, target(hosts)?);
            RecordKind::Fault(FaultChange { details: text(details)?, ..change })
        }
        (RecordTag::Deliver | RecordTag::Drop | RecordTag::Fault, _) => return None,
        (tag, []) => tag.kind(),
        _ => return None,
    })
}

fn record_to_json(record: &Record) -> Value {
    let Record { at, kind, subject, source, ordinal, text, digest, causes } = record;
    let kind = record_kind_to_json(kind);
    json!([at.as_nanos(), kind, subject, source, ordinal, text, digest, causes])
}

fn record_from_json(json: &Value) -> Option<Record> {
    let [at, kind, subject, source, ordinal, text, digest, causes] = &json.as_array()?[..] else {
        return None;
    };
    let index = |index: &Value| usize::try_from(index.as_u64()?).ok();
    Some(Record {
        at: Instant::from_nanos(at.as_u64()?),
        kind: record_kind_from_json(kind)?,
        subject: subject.as_str()?.into(),
        source: source.as_str()?.into(),
        ordinal: ordinal.as_u64()?,
        text: text.as_str()?.into(),
        digest: digest.as_u64()?,
        causes: causes.as_array()?.iter().map(index).collect::<Option<_>>()?,
    })
}

fn choice_to_json(choice: &Choice) -> Value {
    let Choice { at, subject, ordinal, value, options } = choice;
    json!([subject, at.as_nanos(), ordinal, value, options])
}

fn choice_from_json(json: &Value) -> Option<Choice> {
    let [subject, at, ordinal, value, options] = &json.as_array()?[..] else { return None };
    Some(Choice {
        at: Instant::from_nanos(at.as_u64()?),
        subject: subject.as_str()?.into(),
        ordinal: ordinal.as_u64()?,
        value: value.as_u64()?,
        options: options.as_u64()?,
    })
}

pub(crate) fn run_result_to_json(result: &RunResult) -> Value {
    let records = |trace: &Trace| trace.records().iter().map(record_to_json).collect::<Vec<_>>();
    json!({
        "failure": result.failure.as_ref().map(failure_to_json),
        "seed": result.seed,
        "fingerprint": result.fingerprint.to_string(),
        "printed": result.printed_result,
        "trace": result.trace.as_ref().map(records),
        "tape": result.tape.to_string(),
        "choices": result.choices.iter().map(choice_to_json).collect::<Vec<_>>(),
        "fault_stats": fault_stats_to_json(&result.fault_stats),
        "sometimes": labels_to_json(&result.assertions.sometimes),
        "always": labels_to_json(&result.assertions.always),
        "foreign_wakes": result.foreign_wakes,
        "steps": result.steps,
        "elapsed": nanos(result.elapsed),
    })
}

pub(crate) fn parse_run_result(line: &str) -> Result<RunResult, String> {
    let json = line.parse::<Value>().map_err(|error| error.to_string())?;
    run_result_from_json(&json).ok_or_else(|| MALFORMED.into())
}

fn run_result_from_json(json: &Value) -> Option<RunResult> {
    let non_null = |name| json.get(name).filter(|value| **value != Value::Null);
    let failure = match non_null("failure") {
        Some(failure) => Some(failure_from_json(failure)?),
        None => None,
    };
    let trace = match non_null("trace") {
        Some(records) => {
            let records = records.as_array()?.iter().map(record_from_json);
            Some(Trace::from_records(records.collect::<Option<_>>()?))
        }
        None => None,
    };
    let choices = json.get("choices")?.as_array()?.iter().map(choice_from_json);
    let sometimes = labels_from_json(json.get("sometimes")?)?;
    let always = labels_from_json(json.get("always")?)?;
    Some(RunResult {
        failure,
        seed: json.get("seed")?.as_u64()?,
        fingerprint: get_text(json, "fingerprint")?.parse().ok()?,
        printed_result: get_text(json, "printed")?,
        trace,
        tape: get_text(json, "tape")?.parse().ok()?,
        choices: choices.collect::<Option<_>>()?,
        fault_stats: fault_stats_from_json(json.get("fault_stats")?)?,
        assertions: AssertionCounts { sometimes, always },
        foreign_wakes: json.get("foreign_wakes")?.as_u64()?,
        steps: json.get("steps")?.as_u64()?,
        elapsed: Duration::from_nanos(json.get("elapsed")?.as_u64()?),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        DropReason, FaultAction, FaultChange, FaultTarget, RecordKind, Segment, SegmentEndpoint,
        SegmentKind, parse_run_result, record_kind_from_json, record_kind_to_json,
        run_result_to_json,
    };
    use crate::check::assertions::{note_always, note_sometimes};
    use crate::check::exec::run_once::TestFn;
    use crate::sim::FaultKind;
    use crate::sim::{Run, Sim};
    use crate::simnet::Network;
    use std::time::Duration;

    #[test]
    fn run_result_is_read_back_from_json() {
        let case = |sim: Sim| async move {
            let net = Network::new("t");
            net.node("α", async |host| host.listen(":1").await.map(drop));
            let host = net.new_host("β").await.map_err(|error| error.to_string())?;
            note_sometimes(host.dial("α:1").await.is_ok(), "a \"dial\"");
            note_always(true, "all\nis well");
            net.partition(&["α"], &["β"]);
            sim.task("late").spawn(async move { sim.sleep(Duration::from_secs(1)).await });
            sim.sleep(Duration::from_secs(5)).await;
            if sim.choose("coin", 2) == 0 {
                Err::<(), _>("no".to_string())
            } else {
                panic!("line\nline")
            }
        };
        for seed in 0..10 {
            let result = case.execute(Run::new(seed).keep_trace().record_choices());
            let line = run_result_to_json(&result).to_string();
            let again = parse_run_result(&line).unwrap();
            assert_eq!(format!("{again:?}"), format!("{result:?}"));
            assert!(again.trace.unwrap().records().len() > 10 && !again.choices.is_empty());
        }
    }

    #[test]
    fn record_kinds_are_read_back_from_json() {
        let end = |host: &str, port| SegmentEndpoint { host: host.into(), port };
        let segment = |kind| Segment::new(kind, end("α", 1), end("b:c", u16::MAX));
        let mut kinds = vec![RecordKind::Poll, RecordKind::Ending, RecordKind::Fail];
        for kind in SegmentKind::ALL {
            let mut refused = segment(kind);
            refused.refusal = Some("no \"route\"".into());
            kinds.push(RecordKind::Deliver(refused.clone()));
            refused.bytes = Some(u64::MAX);
            kinds.extend(DropReason::ALL.map(|reason| RecordKind::Drop(refused.clone(), reason)));
        }
        kinds.push(RecordKind::GiveUp { from: end("α", 1), to: end("β", 2) });
        let [a, b] = ["a".to_string(), "b c".to_string()];
        let actions = FaultKind::ALL
            .into_iter()
            .flat_map(|kind| [FaultAction::Apply(kind), FaultAction::Undo(kind)]);
        for action in actions.chain([FaultAction::StopToRestart, FaultAction::Heal]) {
            for target in [
                FaultTarget::Network,
                FaultTarget::Region(b.clone()),
                FaultTarget::Host(a.clone()),
                FaultTarget::Link(a.clone(), b.clone()),
                FaultTarget::OneWayLink(a.clone(), b.clone()),
                FaultTarget::Groups(vec![a.clone(), b.clone()], vec![]),
            ] {
                let details = target.to_string();
                kinds.push(RecordKind::Fault(FaultChange {
                    details,
                    ..FaultChange::new(action, target)
                }));
            }
        }
        for kind in kinds {
            let text = record_kind_to_json(&kind).to_string();
            assert_eq!(record_kind_from_json(&text.parse().unwrap()), Some(kind), "{text}");
        }
        for text in
            ["[]", "[\"deliver\"]", "[\"poll\", 1]", "[\"give up\", [\"a\", 65536], [\"b\", 1]]"]
        {
            assert_eq!(record_kind_from_json(&text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn malformed_run_result_is_an_error() {
        for line in ["", "{}", "{\"failure\":null,\"seed\":1}"] {
            assert!(parse_run_result(line).is_err(), "{line}");
        }
    }
}
