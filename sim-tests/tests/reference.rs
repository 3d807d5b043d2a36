//! The behaviour of the reference, as recorded, played against this library.
//!
//! Knows the form of the recordings and where they are. `VIRTNET_REFERENCE=folder` plays another
//! recording of the same form. Nothing is played twice and nothing is left out silently: each
//! test prints how much it played, and what it does not know is a failure that names it.

pub(crate) mod recording;
mod words;
mod outcome;
mod flow;
mod rules;
mod custom;
mod player;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use recording::{Record, escaped, lines};
use serde_json::Value;
use virtnet::{Addr, Args};

#[test]
fn every_scenario_goes_as_it_went_in_the_reference() {
    play(&["pipenet", "custom"], 1);
}

#[test]
fn every_scenario_of_several_processes_goes_as_it_went_in_the_reference() {
    // They mostly wait for each other, in real time.
    play(&["lonet", "lonet2"], 16);
}

/// Plays all records of some modes, several at once.
fn play(modes: &[&str], at_once: usize) {
    let records: Vec<_> = lines("scenarios.jsonl")
        .into_iter()
        .map(|(place, line)| (Record::parse(&place, &line), place))
        .filter(|(record, _)| modes.contains(&record.mode.as_str()))
        .collect();
    let next = AtomicUsize::new(0);
    let (total, failures) = (Mutex::new(player::Tally::default()), Mutex::new(Vec::new()));
    let work = || {
        while let Some((record, place)) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
            // A race may end in any of the ways in which it ended there; where time is real it may
            // take a few tries to end in the one that is looked at.
            let mut causes = Vec::new();
            let tries = if record.mode.starts_with("lonet") { 4 } else { 1 };
            let variants = (0..tries).flat_map(|_| &record.variants);
            let played = variants.into_iter().find_map(|steps| {
                player::play(record, steps).map_err(|cause| causes.push(cause)).ok()
            });
            match played {
                Some(tally) => total.lock().unwrap().add(tally),
                None => {
                    let text = format!("{place}: {}\n{}", record.scenario, causes.join("\n"));
                    failures.lock().unwrap().push(text);
                }
            }
        }
    };
    thread::scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(work))));
    let (count, failures): (_, Vec<String>) = (records.len(), failures.into_inner().unwrap());
    let player::Tally { steps, rewritten } = total.into_inner().unwrap();
    println!("played {count} records, {steps} steps, {rewritten} of them by a rule");
    let differ = failures.len();
    assert!(failures.is_empty(), "{differ} of {count} differ:\n{}", failures.join("\n"));
    assert!(count > 0 && steps > 0, "nothing was played");
}

#[test]
fn addresses_are_read_as_the_reference_reads_them() {
    let mut played = 0;
    for (place, line) in lines("parse_addr.jsonl") {
        // A host is a `str` here: what is not UTF-8 cannot be asked.
        let Some(input) = line["input"].as_str() else {
            assert!(line["input_hex"].is_string(), "{place}: no input");
            continue;
        };
        played += 1;
        let expected = match &line["ok"] {
            Value::Object(ok) if ok["port"].as_u64().is_none_or(|port| port > 65_535) => {
                Err((input.to_string(), "invalid port".to_string()))
            }
            Value::Object(ok) => {
                let (host, port) = (ok["host"].as_str().unwrap(), ok["port"].as_u64().unwrap());
                Ok((host.to_string(), port, line["string"].as_str().unwrap().to_string()))
            }
            _ => {
                let fields = &line["err_fields"];
                Err((
                    fields["Addr"].as_str().unwrap().into(),
                    fields["Err"].as_str().unwrap().into(),
                ))
            }
        };
        let parsed = Addr::parse("netX", input);
        if let (Err(error), Some(text)) = (&parsed, line["err"].as_str()) {
            assert_eq!(error.to_string(), escaped(text), "{place}");
        }
        if let Ok(addr) = &parsed {
            assert_eq!(Addr::parse("netX", &addr.to_string()).as_ref(), Ok(addr), "{place}");
            assert_eq!(addr.to_string() == input, line["string_eq_input"] == true, "{place}");
        }
        let parsed = parsed
            .map(|addr| (addr.host().to_string(), u64::from(addr.port()), addr.to_string()))
            .map_err(|error| (error.addr, error.reason.to_string()));
        assert_eq!(parsed, expected, "{place}: {input:?}");
    }
    println!("played {played} addresses");
    assert!(played > 0, "nothing was played");
}

#[test]
fn addresses_are_written_as_the_reference_writes_them() {
    let mut played = 0;
    for (place, line) in lines("addr_string.jsonl") {
        let addr = &line["addr"];
        // A port is a `u16` here: others cannot be asked.
        let port = addr["port"].as_i64().and_then(|port| u16::try_from(port).ok());
        let (Some(port), Some(host)) = (port, addr["host"].as_str()) else {
            continue;
        };
        played += 1;
        let network = addr["net"].as_str().unwrap();
        let addr = Addr::new(network, host, port);
        assert_eq!(addr.to_string(), line["string"].as_str().unwrap(), "{place}");
        let same = Addr::parse(network, &addr.to_string()).is_ok_and(|parsed| parsed == addr);
        assert_eq!(same, line["reparse_equal"] == true, "{place}");
    }
    println!("played {played} addresses");
    assert!(played > 0, "nothing was played");
}

/// Quotes as names are quoted in errors; the function itself is not public.
fn quoted(text: &str) -> String {
    Args::One(text.to_string()).to_string().trim_start().to_string()
}

#[test]
fn names_are_quoted_as_go_quotes_them() {
    let mut played = 0;
    for (place, line) in lines("go_quote.jsonl") {
        // What is not UTF-8 has no `s`; the bytes on the wire are tested where they are quoted.
        let Some(text) = line["s"].as_str() else {
            continue;
        };
        played += 1;
        assert_eq!(quoted(text), line["quoted"].as_str().unwrap(), "{place}");
    }
    println!("played {played} quotations");
    assert!(played > 0, "nothing was played");
}

#[test]
fn exactly_the_runs_that_go_prints_raw_are_printed_raw() {
    let ranges = recording::read("go_quote_raw_ranges.json");
    let ranges: Value = serde_json::from_str(&ranges).expect("go_quote_raw_ranges.json");
    let ranges = ranges["ranges"].as_array().expect("ranges");
    let mut total = 0;
    for range in ranges {
        let (first, last) = (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
        total += last - first + 1;
        for code in [first - 1, first, last, last + 1] {
            let Some(c) = char::from_u32(code as u32) else {
                continue;
            };
            let raw = quoted(&c.to_string()) == format!("\"{c}\"");
            assert_eq!(raw, (first..=last).contains(&code), "U+{code:04X}");
        }
    }
    println!("played {} ranges of {total} characters", ranges.len());
    assert!(total > 0, "nothing was played");
}
