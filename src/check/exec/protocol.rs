//! A run that was played in another process, as text.
//!
//! Knows all that is known of a run; refuses to know how the text is brought over.

use std::time::Duration;

use crate::sim::{Choice, Instant, Record, RecordKind, Trace, nanos};
use crate::simnet::{Counts, Ledger};

use crate::check::assertions::{Labels, Reached};
use crate::check::exec::run_once::Played;
use crate::check::failure::{Failure, Kind};
use crate::check::json::Json;

/// Nothing that was written by another version is read.
const MALFORMED: &str = "malformed";

fn texts<'a>(list: impl IntoIterator<Item = &'a String>) -> Json {
    Json::List(list.into_iter().map(Json::text).collect())
}

fn text(json: &Json, name: &str) -> Option<String> {
    Some(json.get(name)?.as_text()?.to_string())
}

pub(crate) fn ledger_to(ledger: &Ledger) -> Json {
    let asked = ledger.iter().filter(|(_, counts)| *counts != Counts::default());
    Json::map(asked.map(|(name, counts)| {
        let Counts { requested, drawn, applied, effective } = counts;
        let counts = [requested, drawn, applied, effective];
        (name, Json::List(counts.map(Json::Number).into()))
    }))
}

pub(crate) fn ledger_from(json: &Json) -> Option<Ledger> {
    let mut ledger = Ledger::default();
    for (name, counts) in json.as_map()? {
        let counts: Vec<u64> = counts.as_list()?.iter().filter_map(Json::as_number).collect();
        let [requested, drawn, applied, effective] = counts[..] else { return None };
        ledger.add(name, Counts { requested, drawn, applied, effective });
    }
    Some(ledger)
}

pub(crate) fn labels_to(labels: &Labels) -> Json {
    Json::map(labels.iter().map(|(label, count)| (&**label, Json::Number(*count))))
}

pub(crate) fn labels_from(json: &Json) -> Option<Labels> {
    let entry = |(label, count): &(String, Json)| Some((label.clone().into(), count.as_number()?));
    json.as_map()?.iter().map(entry).collect()
}

fn failure_to(failure: &Failure) -> Json {
    let (kind, what) = match &failure.kind {
        Kind::Panic(site) => ("panic", &**site),
        Kind::Always(label) => ("always", &**label),
        Kind::Error(error) => ("error", &**error),
        Kind::Ending(name) => ("ending", &**name),
        Kind::Hung(task) => ("hung", &**task),
        Kind::Died(how) => ("died", &**how),
        Kind::Stopped => ("stopped", ""),
        Kind::NoProcess => ("no process", ""),
    };
    let kind = Json::List(vec![Json::text(kind), Json::text(what)]);
    Json::map([
        ("kind", kind),
        ("text", Json::text(&failure.text)),
        ("tasks", texts(&failure.tasks)),
    ])
}

fn failure_from(json: &Json) -> Option<Failure> {
    let [kind, what] = json.get("kind")?.as_list()? else { return None };
    let what = what.as_text()?.to_string();
    let kind = match kind.as_text()? {
        "panic" => Kind::Panic(what),
        "always" => Kind::Always(what.into()),
        "error" => Kind::Error(what),
        "ending" => Kind::Ending(what.into()),
        "hung" => Kind::Hung(what),
        "died" => Kind::Died(what),
        "stopped" => Kind::Stopped,
        "no process" => Kind::NoProcess,
        _ => return None,
    };
    let tasks = json.get("tasks")?.as_list()?.iter();
    let tasks = tasks.map(|task| task.as_text().map(String::from)).collect::<Option<_>>()?;
    Some(Failure { kind, text: text(json, "text")?, tasks })
}

fn record_to(record: &Record) -> Json {
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

fn record_from(json: &Json) -> Option<Record> {
    let [at, kind, subject, source, ordinal, text, digest, causes] = json.as_list()? else {
        return None;
    };
    let kind = kind.as_text()?;
    let place = |place: &Json| usize::try_from(place.as_number()?).ok();
    Some(Record {
        at: Instant::from_nanos(at.as_number()?),
        kind: RecordKind::ALL.into_iter().find(|known| known.to_string() == kind)?,
        subject: subject.as_text()?.into(),
        source: source.as_text()?.into(),
        ordinal: ordinal.as_number()?,
        text: text.as_text()?.into(),
        digest: digest.as_number()?,
        causes: causes.as_list()?.iter().map(place).collect::<Option<_>>()?,
    })
}

fn choice_to(choice: &Choice) -> Json {
    let Choice { at, subject, ordinal, value, options } = choice;
    let numbers = [at.as_nanos(), *ordinal, *value, *options].map(Json::Number);
    Json::List(std::iter::once(Json::text(subject)).chain(numbers).collect())
}

fn choice_from(json: &Json) -> Option<Choice> {
    let [subject, at, ordinal, value, options] = json.as_list()? else { return None };
    Some(Choice {
        at: Instant::from_nanos(at.as_number()?),
        subject: subject.as_text()?.into(),
        ordinal: ordinal.as_number()?,
        value: value.as_number()?,
        options: options.as_number()?,
    })
}

pub(crate) fn played_to(played: &Played) -> Json {
    let or_null = |value: Option<Json>| value.unwrap_or(Json::Null);
    let trace = played.trace.as_ref();
    let records = trace.map(|trace| Json::List(trace.records().iter().map(record_to).collect()));
    Json::map([
        ("failure", or_null(played.failure.as_ref().map(failure_to))),
        ("seed", Json::Number(played.seed)),
        ("fingerprint", Json::text(played.fingerprint)),
        ("printed", Json::text(&played.printed)),
        ("trace", or_null(records)),
        ("tape", Json::text(&played.tape)),
        ("choices", Json::List(played.choices.iter().map(choice_to).collect())),
        ("ledger", ledger_to(&played.ledger)),
        ("sometimes", labels_to(&played.reached.sometimes)),
        ("always", labels_to(&played.reached.always)),
        ("foreign_wakes", Json::Number(played.foreign_wakes)),
        ("steps", Json::Number(played.steps)),
        ("elapsed", Json::Number(nanos(played.elapsed))),
    ])
}

pub(crate) fn played_from(line: &str) -> Result<Played, String> {
    let json = line.parse::<Json>()?;
    played_of(&json).ok_or_else(|| MALFORMED.into())
}

fn played_of(json: &Json) -> Option<Played> {
    let some = |name| json.get(name).filter(|value| **value != Json::Null);
    let failure = match some("failure") {
        Some(failure) => Some(failure_from(failure)?),
        None => None,
    };
    let trace = match some("trace") {
        Some(records) => {
            let records = records.as_list()?.iter().map(record_from);
            Some(Trace::of(records.collect::<Option<_>>()?))
        }
        None => None,
    };
    let choices = json.get("choices")?.as_list()?.iter().map(choice_from);
    let sometimes = labels_from(json.get("sometimes")?)?;
    let always = labels_from(json.get("always")?)?;
    Some(Played {
        failure,
        seed: json.get("seed")?.as_number()?,
        fingerprint: text(json, "fingerprint")?.parse().ok()?,
        printed: text(json, "printed")?,
        trace,
        tape: text(json, "tape")?.parse().ok()?,
        choices: choices.collect::<Option<_>>()?,
        ledger: ledger_from(json.get("ledger")?)?,
        reached: Reached { sometimes, always },
        foreign_wakes: json.get("foreign_wakes")?.as_number()?,
        steps: json.get("steps")?.as_number()?,
        elapsed: Duration::from_nanos(json.get("elapsed")?.as_number()?),
    })
}

#[cfg(test)]
mod tests {
    use super::{played_from, played_to};
    use crate::check::assertions::{note_always, note_sometimes};
    use crate::check::exec::run_once::Case;
    use crate::sim::{Run, Sim};
    use crate::simnet::Network;
    use std::time::Duration;

    #[test]
    fn all_that_is_known_of_a_run_comes_over() {
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
            let played = case.play(Run::new(seed).keep_trace().record_choices());
            let line = played_to(&played).to_string();
            let again = played_from(&line).unwrap();
            assert_eq!(format!("{again:?}"), format!("{played:?}"));
            assert!(again.trace.unwrap().records().len() > 10 && !again.choices.is_empty());
        }
    }

    #[test]
    fn what_is_not_a_run_is_refused() {
        for line in ["", "{}", "{\"failure\":null,\"seed\":1}"] {
            assert!(played_from(line).is_err(), "{line}");
        }
    }
}
