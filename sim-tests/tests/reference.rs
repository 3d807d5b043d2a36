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

use recording::{Record, lines};
use serde_json::Value;
use virtnet::{Addr, Args};

#[test]
fn every_scenario_goes_as_it_went_in_the_reference() {
    let (mut records, mut steps, mut rewritten) = (0, 0, 0);
    let mut failures = Vec::new();
    for (place, line) in lines("scenarios.jsonl") {
        let record = Record::parse(&place, &line);
        if !["pipenet", "custom"].contains(&record.mode.as_str()) {
            continue;
        }
        records += 1;
        // A race may end in any of the ways in which it ended there.
        let played: Vec<_> =
            record.variants.iter().map(|steps| player::play(&record, steps)).collect();
        match played.iter().find_map(|played| played.as_ref().ok()) {
            Some(tally) => {
                steps += tally.steps;
                rewritten += tally.rewritten;
            }
            None => {
                let causes: Vec<_> = played.into_iter().filter_map(Result::err).collect();
                failures.push(format!("{place}: {}\n{}", record.scenario, causes.join("\n")));
            }
        }
    }
    println!("played {records} records, {steps} steps, {rewritten} of them by a rule");
    assert!(
        failures.is_empty(),
        "{} of {records} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(records > 0 && steps > 0, "nothing was played");
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
            assert_eq!(error.to_string(), text, "{place}");
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
