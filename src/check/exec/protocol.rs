//! The result of a run as JSON, for the way from a subprocess to its parent.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::sim::{Choice, Instant, Record, RecordKind, Trace, nanos};
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

fn record_to_json(record: &Record) -> Value {
    let Record { at, kind, subject, source, ordinal, text, digest, causes } = record;
    let kind = kind.to_string();
    json!([at.as_nanos(), kind, subject, source, ordinal, text, digest, causes])
}

fn record_from_json(json: &Value) -> Option<Record> {
    let [at, kind, subject, source, ordinal, text, digest, causes] = &json.as_array()?[..] else {
        return None;
    };
    let kind = kind.as_str()?;
    let index = |index: &Value| usize::try_from(index.as_u64()?).ok();
    Some(Record {
        at: Instant::from_nanos(at.as_u64()?),
        kind: RecordKind::ALL.into_iter().find(|known| known.to_string() == kind)?,
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
    use super::{parse_run_result, run_result_to_json};
    use crate::check::assertions::{note_always, note_sometimes};
    use crate::check::exec::run_once::TestFn;
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
    fn malformed_run_result_is_an_error() {
        for line in ["", "{}", "{\"failure\":null,\"seed\":1}"] {
            assert!(parse_run_result(line).is_err(), "{line}");
        }
    }
}
