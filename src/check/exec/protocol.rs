//! A run that was played in another process, as text.
//!
//! Knows all that is known of a run; refuses to know how the text is brought over.

use std::time::Duration;

use crate::sim::{Choice, Instant, Record, RecordKind, Trace, nanos};
use crate::simnet::{Counts, Ledger};

use crate::check::assertions::{AssertionCounts, LabelCounts};
use crate::check::exec::run_once::RunResult;
use crate::check::failure::{Failure, FailureKind};
use crate::check::json::Json;

/// Nothing that was written by another version is read.
const MALFORMED: &str = "malformed";

fn text_list<'a>(list: impl IntoIterator<Item = &'a String>) -> Json {
    Json::List(list.into_iter().map(Json::text).collect())
}

fn get_text(json: &Json, name: &str) -> Option<String> {
    Some(json.get(name)?.as_text()?.to_string())
}

pub(crate) fn fault_stats_to_json(fault_stats: &Ledger) -> Json {
    let used = fault_stats.iter().filter(|(_, counts)| *counts != Counts::default());
    Json::map(used.map(|(name, counts)| {
        let Counts { requested, drawn, applied, effective } = counts;
        let counts = [requested, drawn, applied, effective];
        (name, Json::List(counts.map(Json::Number).into()))
    }))
}

pub(crate) fn fault_stats_from_json(json: &Json) -> Option<Ledger> {
    let mut fault_stats = Ledger::default();
    for (name, counts) in json.as_map()? {
        let counts: Vec<u64> = counts.as_list()?.iter().filter_map(Json::as_number).collect();
        let [requested, drawn, applied, effective] = counts[..] else { return None };
        fault_stats.add(name, Counts { requested, drawn, applied, effective });
    }
    Some(fault_stats)
}

pub(crate) fn labels_to_json(labels: &LabelCounts) -> Json {
    Json::map(labels.iter().map(|(label, count)| (&**label, Json::Number(*count))))
}

pub(crate) fn labels_from_json(json: &Json) -> Option<LabelCounts> {
    let entry = |(label, count): &(String, Json)| Some((label.clone().into(), count.as_number()?));
    json.as_map()?.iter().map(entry).collect()
}

fn failure_to_json(failure: &Failure) -> Json {
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
    let kind = Json::List(vec![Json::text(kind), Json::text(detail)]);
    Json::map([
        ("kind", kind),
        ("text", Json::text(&failure.text)),
        ("tasks", text_list(&failure.tasks)),
    ])
}

fn failure_from_json(json: &Json) -> Option<Failure> {
    let [kind, detail] = json.get("kind")?.as_list()? else { return None };
    let detail = detail.as_text()?.to_string();
    let kind = match kind.as_text()? {
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
    let tasks = json.get("tasks")?.as_list()?.iter();
    let tasks = tasks.map(|task| task.as_text().map(String::from)).collect::<Option<_>>()?;
    Some(Failure { kind, text: get_text(json, "text")?, tasks })
}

fn record_to_json(record: &Record) -> Json {
    let Record { at, kind, subject, source, ordinal, text, digest, causes } = record;
    Json::List(vec![
        Json::Number(at.as_nanos()),
        Json::text(kind),
        Json::text(subject),
        Json::text(source),
        Json::Number(*ordinal),
        Json::text(text),
        Json::Number(*digest),
        Json::List(causes.iter().map(|place| Json::Number(*place as u64)).collect()),
    ])
}

fn record_from_json(json: &Json) -> Option<Record> {
    let [at, kind, subject, source, ordinal, text, digest, causes] = json.as_list()? else {
        return None;
    };
    let kind = kind.as_text()?;
    let index = |index: &Json| usize::try_from(index.as_number()?).ok();
    Some(Record {
        at: Instant::from_nanos(at.as_number()?),
        kind: RecordKind::ALL.into_iter().find(|known| known.to_string() == kind)?,
        subject: subject.as_text()?.into(),
        source: source.as_text()?.into(),
        ordinal: ordinal.as_number()?,
        text: text.as_text()?.into(),
        digest: digest.as_number()?,
        causes: causes.as_list()?.iter().map(index).collect::<Option<_>>()?,
    })
}

fn choice_to_json(choice: &Choice) -> Json {
    let Choice { at, subject, ordinal, value, options } = choice;
    let numbers = [at.as_nanos(), *ordinal, *value, *options].map(Json::Number);
    Json::List(std::iter::once(Json::text(subject)).chain(numbers).collect())
}

fn choice_from_json(json: &Json) -> Option<Choice> {
    let [subject, at, ordinal, value, options] = json.as_list()? else { return None };
    Some(Choice {
        at: Instant::from_nanos(at.as_number()?),
        subject: subject.as_text()?.into(),
        ordinal: ordinal.as_number()?,
        value: value.as_number()?,
        options: options.as_number()?,
    })
}

pub(crate) fn run_result_to_json(result: &RunResult) -> Json {
    let or_null = |value: Option<Json>| value.unwrap_or(Json::Null);
    let trace = result.trace.as_ref();
    let records =
        trace.map(|trace| Json::List(trace.records().iter().map(record_to_json).collect()));
    Json::map([
        ("failure", or_null(result.failure.as_ref().map(failure_to_json))),
        ("seed", Json::Number(result.seed)),
        ("fingerprint", Json::text(result.fingerprint)),
        ("printed", Json::text(&result.printed_result)),
        ("trace", or_null(records)),
        ("tape", Json::text(&result.tape)),
        ("choices", Json::List(result.choices.iter().map(choice_to_json).collect())),
        ("ledger", fault_stats_to_json(&result.fault_stats)),
        ("sometimes", labels_to_json(&result.assertions.sometimes)),
        ("always", labels_to_json(&result.assertions.always)),
        ("foreign_wakes", Json::Number(result.foreign_wakes)),
        ("steps", Json::Number(result.steps)),
        ("elapsed", Json::Number(nanos(result.elapsed))),
    ])
}

pub(crate) fn parse_run_result(line: &str) -> Result<RunResult, String> {
    let json = line.parse::<Json>()?;
    run_result_from_json(&json).ok_or_else(|| MALFORMED.into())
}

fn run_result_from_json(json: &Json) -> Option<RunResult> {
    let non_null = |name| json.get(name).filter(|value| **value != Json::Null);
    let failure = match non_null("failure") {
        Some(failure) => Some(failure_from_json(failure)?),
        None => None,
    };
    let trace = match non_null("trace") {
        Some(records) => {
            let records = records.as_list()?.iter().map(record_from_json);
            Some(Trace::of(records.collect::<Option<_>>()?))
        }
        None => None,
    };
    let choices = json.get("choices")?.as_list()?.iter().map(choice_from_json);
    let sometimes = labels_from_json(json.get("sometimes")?)?;
    let always = labels_from_json(json.get("always")?)?;
    Some(RunResult {
        failure,
        seed: json.get("seed")?.as_number()?,
        fingerprint: get_text(json, "fingerprint")?.parse().ok()?,
        printed_result: get_text(json, "printed")?,
        trace,
        tape: get_text(json, "tape")?.parse().ok()?,
        choices: choices.collect::<Option<_>>()?,
        fault_stats: fault_stats_from_json(json.get("ledger")?)?,
        assertions: AssertionCounts { sometimes, always },
        foreign_wakes: json.get("foreign_wakes")?.as_number()?,
        steps: json.get("steps")?.as_number()?,
        elapsed: Duration::from_nanos(json.get("elapsed")?.as_number()?),
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
            let host = net.host("β").await.map_err(|error| error.to_string())?;
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
            let played = case.execute(Run::new(seed).keep_trace().record_choices());
            let line = run_result_to_json(&played).to_string();
            let again = parse_run_result(&line).unwrap();
            assert_eq!(format!("{again:?}"), format!("{played:?}"));
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
