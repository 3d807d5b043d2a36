//! The recorded behaviour of the Go reference, replayed against this library.
//!
//! `VIRTNET_REFERENCE=folder` replays another recording of the same format. Each record is
//! replayed once and none is skipped silently: each test prints the number of records, and an
//! unknown operation is a failure that names it.

pub(crate) mod recording;
mod error_texts;
mod outcome;
mod pipe_flow;
mod rules;
mod test_engine;
mod player;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::reference::recording::{ScenarioRecord, escape_control_chars, read_lines};
use serde_json::Value;
use virtnet::{Addr, Args};

#[test]
fn recorded_scenarios_match_the_reference() {
    play_scenarios(&["pipenet", "custom"], 1);
}

#[test]
fn recorded_multi_process_scenarios_match_the_reference() {
    // They mostly wait for each other, in real time.
    play_scenarios(&["lonet", "lonet2"], 16);
}

/// Plays all records of some modes, several at once.
fn play_scenarios(modes: &[&str], thread_count: usize) {
    let records: Vec<_> = read_lines("scenarios.jsonl")
        .into_iter()
        .map(|(location, line)| (ScenarioRecord::parse(&location, &line), location))
        .filter(|(record, _)| modes.contains(&record.mode.as_str()))
        .collect();
    let next = AtomicUsize::new(0);
    let (total, failures) = (Mutex::new(player::ReplayCounts::default()), Mutex::new(Vec::new()));
    let work = || {
        while let Some((record, location)) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
            // A race may end in any of the ways in which it ended there; where time is real it may
            // take a few tries to end in the one that is looked at.
            let mut causes = Vec::new();
            let tries = if record.mode.starts_with("lonet") { 4 } else { 1 };
            let variants = (0..tries).flat_map(|_| &record.variants);
            let matching_tally = variants.into_iter().find_map(|steps| {
                player::replay(record, steps).map_err(|cause| causes.push(cause)).ok()
            });
            match matching_tally {
                Some(tally) => total.lock().unwrap().add(tally),
                None => {
                    let text = format!("{location}: {}\n{}", record.scenario, causes.join("\n"));
                    failures.lock().unwrap().push(text);
                }
            }
        }
    };
    thread::scope(|scope| (0..thread_count).for_each(|_| drop(scope.spawn(work))));
    let (count, failures): (_, Vec<String>) = (records.len(), failures.into_inner().unwrap());
    let player::ReplayCounts { steps, by_rule: rewritten } = total.into_inner().unwrap();
    println!("played {count} records, {steps} steps, {rewritten} of them by a rule");
    let differ = failures.len();
    assert!(failures.is_empty(), "{differ} of {count} differ:\n{}", failures.join("\n"));
    assert!(count > 0 && steps > 0, "nothing was played");
}

#[test]
fn parsed_addresses_match_the_reference() {
    let mut case_count = 0;
    for (location, line) in read_lines("parse_addr.jsonl") {
        // A host is a `str` here: what is not UTF-8 cannot be asked.
        let Some(input) = line["input"].as_str() else {
            assert!(line["input_hex"].is_string(), "{location}: no input");
            continue;
        };
        case_count += 1;
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
            assert_eq!(error.to_string(), escape_control_chars(text), "{location}");
        }
        if let Ok(addr) = &parsed {
            assert_eq!(Addr::parse("netX", &addr.to_string()).as_ref(), Ok(addr), "{location}");
            assert_eq!(addr.to_string() == input, line["string_eq_input"] == true, "{location}");
        }
        let parsed = parsed
            .map(|addr| (addr.host().to_string(), u64::from(addr.port()), addr.to_string()))
            .map_err(|error| (error.addr, error.reason.to_string()));
        assert_eq!(parsed, expected, "{location}: {input:?}");
    }
    println!("played {case_count} addresses");
    assert!(case_count > 0, "nothing was played");
}

#[test]
fn printed_addresses_match_the_reference() {
    let mut case_count = 0;
    for (location, line) in read_lines("addr_string.jsonl") {
        let addr = &line["addr"];
        // A port is a `u16` here: others cannot be asked.
        let port = addr["port"].as_i64().and_then(|port| u16::try_from(port).ok());
        let (Some(port), Some(host)) = (port, addr["host"].as_str()) else {
            continue;
        };
        case_count += 1;
        let network = addr["net"].as_str().unwrap();
        let addr = Addr::new(network, host, port);
        assert_eq!(addr.to_string(), line["string"].as_str().unwrap(), "{location}");
        let same = Addr::parse(network, &addr.to_string()).is_ok_and(|parsed| parsed == addr);
        assert_eq!(same, line["reparse_equal"] == true, "{location}");
    }
    println!("played {case_count} addresses");
    assert!(case_count > 0, "nothing was played");
}

/// Quotes as names are quoted in errors; the function itself is not public.
fn quote(text: &str) -> String {
    Args::One(text.to_string()).to_string().trim_start().to_string()
}

#[test]
fn quoted_names_match_go() {
    let mut case_count = 0;
    for (location, line) in read_lines("go_quote.jsonl") {
        // What is not UTF-8 has no `s`; the bytes on the wire are tested where they are quoted.
        let Some(text) = line["s"].as_str() else {
            continue;
        };
        case_count += 1;
        assert_eq!(quote(text), line["quoted"].as_str().unwrap(), "{location}");
    }
    println!("played {case_count} quotations");
    assert!(case_count > 0, "nothing was played");
}

#[test]
fn unescaped_character_ranges_match_go() {
    let ranges = recording::read_file("go_quote_raw_ranges.json");
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
            let raw = quote(&c.to_string()) == format!("\"{c}\"");
            assert_eq!(raw, (first..=last).contains(&code), "U+{code:04X}");
        }
    }
    println!("played {} ranges of {total} characters", ranges.len());
    assert!(total > 0, "nothing was played");
}
