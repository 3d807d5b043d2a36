//! Trace files written by `VIRTNET_TRACE`: the HTML page, Chrome's trace format and plain text.
//!
//! The contents are compared with the records that `Run` keeps. Where a Chromium is installed, the
//! page is also opened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use serde_json::Value;
use virtnet::check::{Check, Report};
use virtnet::simnet::Network;
use virtnet::{Host, Record, RecordKind, Run, Sim, Tape};

use crate::check::planted::programs::{Noise, PROGRAMS, Program};

/// A file of its own for a test.
fn trace_path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("viewer");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn planted_program(name: &str) -> &'static Program {
    PROGRAMS.iter().find(|program| program.name == name).unwrap()
}

/// Sweeps a planted bug and writes the trace of its failure.
fn sweep_with_trace(program: &'static Program, name: &str) -> (Report, String) {
    let (file, main) = (trace_path(name), program.main);
    let check = Check::new(program.name).seeds(200..20_000).trace(&file);
    let report = check.run(move |sim: Sim| main(sim, Noise::None));
    (report, std::fs::read_to_string(file).unwrap())
}

/// The records of a seed.
fn records_of_seed(program: &Program, seed: u64) -> Vec<Record> {
    let main = program.main;
    let outcome = Run::new(seed).keep_trace().execute(|sim| main(sim, Noise::None));
    outcome.trace.unwrap().records().to_vec()
}

/// What is packed in a page, found as a browser finds it.
fn page_data(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    serde_json::from_str(rest.split_once("</script").unwrap().0).unwrap()
}

fn as_usize(value: &Value) -> usize {
    value.as_u64().unwrap().try_into().unwrap()
}

/// Compares the columns of a page with the records of the run.
fn assert_page_has_records(run: &Value, records: &[Record]) {
    assert_eq!(run["kind"].as_array().unwrap().len(), records.len());
    let text = |title: &str, i: usize| run["texts"][as_usize(&run[title][i])].as_str().unwrap();
    for (i, record) in records.iter().enumerate() {
        let nanos = as_usize(&run["seconds"][i]) * 1_000_000_000 + as_usize(&run["nanos"][i]);
        assert_eq!(nanos as u64, record.at.as_nanos());
        assert_eq!(as_usize(&run["ordinal"][i]) as u64, record.ordinal);
        let record_texts = (&*record.subject, &*record.source, &*record.text);
        assert_eq!((text("subject", i), text("source", i), text("text", i)), record_texts);
        let causes: Vec<_> = run["causes"][i].as_array().unwrap().iter().map(as_usize).collect();
        assert_eq!(causes, record.causes);
    }
}

#[test]
fn html_page_has_every_record_and_arrows_between_hosts() {
    for program in PROGRAMS {
        let (report, page) = sweep_with_trace(program, &format!("{}.html", program.name));
        let (seed, data) = (report.failed_seed.unwrap(), page_data(&page));
        let records = records_of_seed(program, seed);
        assert_eq!(data["runs"][0]["label"], "original", "{report}");
        assert_page_has_records(&data["runs"][0], &records);
        assert!(report.to_string().contains(&format!("\n\ntrace: {}", trace_path("").display())));
        let choices = data["runs"][1]["choices"].as_array().unwrap().len();
        assert_eq!(choices, report.choices().unwrap().0);
        let lane = |run: &Value, i: usize| as_usize(&run["lane"][i]);
        for run in data["runs"].as_array().unwrap() {
            let kinds = run["kind"].as_array().unwrap();
            assert_eq!(data["kinds"][as_usize(kinds.last().unwrap())], "ending");
            for i in (0..kinds.len()).filter(|i| data["kinds"][as_usize(&kinds[*i])] == "deliver") {
                let from = as_usize(&run["sourceLane"][i]);
                let cause = as_usize(&run["causes"][i][0]);
                assert!(cause < i && from != lane(run, i), "record {i} of {}", program.name);
                // Tasks of the test itself act for hosts that are no nodes.
                assert!([0, from].contains(&lane(run, cause)), "record {i} of {}", program.name);
            }
        }
    }
}

/// A test whose names and notes want to break out of the page.
fn sweep_hostile(file: &Path) -> Report {
    let name = "</script><b id=\"broken\">&amp;\u{2028}";
    Check::new(name).seeds(3..4).trace(file).run(hostile_program)
}

async fn hostile_program(sim: Sim) -> Result<(), String> {
    let net = Network::new("t");
    net.node("a</script> \"b\" #1/<!--", |host: Host| async move {
        let mut conn = host.listen(":1").await.unwrap().accept().await.unwrap();
        conn.write_all(b"x").await.unwrap();
    });
    let host = net.new_host("clïent \u{1f980}").await.unwrap();
    sim.sleep(Duration::from_secs(1)).await;
    let mut conn = host.dial("a</script> \"b\" #1/<!--:1").await.map_err(|e| e.to_string())?;
    conn.read_exact(&mut [0]).await.unwrap();
    sim.note("line 1\nline 2\t\u{1b}[31m\u{0}\u{85} \\ \" '</script><!--<b id=\"broken\">");
    sim.choose("<b id=\"broken\">", 5);
    Err("</pre><b id=\"broken\">\n\u{7}".into())
}

fn hostile_records() -> Vec<Record> {
    Run::new(3).keep_trace().execute(hostile_program).trace.unwrap().records().to_vec()
}

#[test]
fn hostile_names_and_notes_do_not_break_out_of_the_html_page() {
    let file = trace_path("hostile.html");
    let report = sweep_hostile(&file);
    let page = std::fs::read_to_string(&file).unwrap();
    let data = page_data(&page);
    assert_page_has_records(&data["runs"][0], &hostile_records());
    assert_eq!(data["report"].as_str().map(|text| text.lines().count() > 3), Some(true));
    assert_eq!(
        data["lanes"],
        serde_json::json!(["world", "a</script> \"b\" #1/<!--", "clïent 🦀"])
    );
    // Two scripts, and nothing that a browser would have to fetch.
    assert_eq!((page.matches("</script").count(), page.matches("<script").count()), (2, 2));
    assert!(!page.contains("src=") && page.matches("href=").count() == 1, "{report}");
    let is_unwanted_control = |c: char| c.is_control() && c != '\n';
    assert_eq!(page.chars().filter(|c| is_unwanted_control(*c)).count(), 0);
}

#[test]
fn chrome_trace_has_every_record_and_names_every_host_and_task() {
    let program = planted_program("early_ack");
    let (report, text) = sweep_with_trace(program, "early_ack.json");
    let json: Value = serde_json::from_str(&text).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let pid_and_tid = |event: &Value| (as_usize(&event["pid"]), as_usize(&event["tid"]));
    let mut names = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "M") {
        let is_process = event["name"] == "process_name";
        let key = if is_process { (as_usize(&event["pid"]), 0) } else { pid_and_tid(event) };
        let name = event["args"]["name"].as_str().unwrap().to_string();
        assert_eq!(names.insert(key, name), None, "a name was given twice");
    }
    for event in events {
        let (process, thread) = pid_and_tid(event);
        assert!(names.contains_key(&(process, 0)) && names.contains_key(&(process, thread)));
    }
    let processes: BTreeSet<&str> =
        names.iter().filter(|((_, thread), _)| *thread == 0).map(|(_, name)| &**name).collect();
    for name in ["world", "primary", "backup", "client"] {
        for run in ["original", "shrunk"] {
            assert!(processes.contains(&*format!("{name} ({run})")), "{processes:?}");
        }
    }
    let records = records_of_seed(program, report.failed_seed.unwrap());
    let record_events = events.iter().filter(|event| !event["args"]["record"].is_null());
    let record_events: Vec<&Value> = record_events.take(records.len()).collect();
    for (event, record) in record_events.iter().zip(&records) {
        assert_eq!(event["args"]["text"].as_str(), Some(&*record.to_string()));
        let name = &names[&pid_and_tid(event)];
        assert_eq!(name, if record.subject.is_empty() { "run" } else { &record.subject });
        let nanos = (event["ts"].as_f64().unwrap() * 1e3).round();
        assert_eq!(nanos as u64, record.at.as_nanos());
    }
    let events_of_phase =
        |end: &str| events.iter().filter(|event| event["ph"] == end).collect::<Vec<_>>();
    let (starts, finishes) = (events_of_phase("s"), events_of_phase("f"));
    let messages =
        records.iter().filter(|record| matches!(record.kind, RecordKind::Deliver(_))).count();
    assert!(starts.len() > messages);
    for (start, finish) in starts.iter().zip(&finishes) {
        assert_eq!(start["id"], finish["id"]);
        assert!(start["ts"].as_f64() <= finish["ts"].as_f64());
    }
    assert_eq!(starts.len(), finishes.len());
}

#[test]
fn trace_file_of_other_extension_is_text_and_passing_sweep_writes_none() {
    let program = planted_program("lost_update");
    let (report, text) = sweep_with_trace(program, "lost_update.txt");
    let records = records_of_seed(program, report.failed_seed.unwrap());
    let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
    assert_eq!(text, lines.join("\n") + "\n");
    let file = trace_path("well.html");
    let report = Check::new("well").seeds(0..3).trace(&file).run(|_| async {});
    assert!(report.is_ok() && !file.exists(), "{report}");
}

#[test]
fn nondeterministic_failure_is_drawn_as_one_run_with_its_reason() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let file = trace_path("differs.html");
    let check = Check::new("differs").seeds(0..1).check_determinism().trace(&file);
    let report = check.run(|sim| async move { sim.note(RUNS.fetch_add(1, Ordering::Relaxed)) });
    let data = page_data(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(data["runs"].as_array().map(Vec::len), Some(1), "{report}");
    let wrong = data["failureText"].as_str().unwrap();
    assert!(wrong.starts_with("the same seed was not the same run"), "{wrong}");
}

#[test]
fn unwritable_trace_file_is_one_sentence_and_hides_no_failure() {
    let missing_folder_path = trace_path("missing").join("run.html");
    let fail = |_| async { Err::<(), _>("no") };
    let run = |file: &Path| Check::new("x").seeds(0..1).trace(file).run(fail);
    let expected = format!(
        "virtnet: VIRTNET_TRACE={}: there is no folder {}",
        missing_folder_path.display(),
        missing_folder_path.parent().unwrap().display()
    );
    assert_eq!(run(&missing_folder_path).to_string(), expected);
    let too_long = trace_path(&"x".repeat(300)).with_extension("html");
    let text = run(&too_long).to_string();
    assert!(text.contains("the test returned an error: \"no\""), "{text}");
    let sentence = format!("\n\nvirtnet: VIRTNET_TRACE={}: ", too_long.display());
    assert!(text.contains(&sentence) && text.contains("replay: "), "{text}");
}

/// What a page holds that is written when a test that is well is replayed.
fn replay_page_data(name: &str, variable: &str, value: &str) -> Value {
    let file = trace_path(name);
    let _ = std::fs::remove_file(&file);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["check::attribute::async_test_with_sim_argument_runs", "--exact"]);
    command.env(variable, value).env("VIRTNET_TRACE", &file);
    assert!(command.output().unwrap().status.success());
    page_data(&std::fs::read_to_string(&file).unwrap())
}

#[test]
fn passing_replay_writes_its_trace() {
    let data = replay_page_data("replayed.html", "VIRTNET_SEED", "3");
    assert_eq!((&data["failed"], data["runs"].as_array().unwrap().len()), (&Value::Bool(false), 1));
    assert_eq!(data["runs"][0]["seed"], "0x3");
    let command = "cargo test -p sim-tests --test sim \
                   check::attribute::async_test_with_sim_argument_runs -- --exact";
    assert_eq!(data["replay"], format!("VIRTNET_SEED=0x3 {command}"));
    let tape = trace_path("zero.tape");
    std::fs::write(&tape, Tape::zero().with("choose main coin", 0, 1).to_string()).unwrap();
    let tape = tape.to_str().unwrap();
    let data = replay_page_data("replayed-tape.html", "VIRTNET_TAPE", tape);
    assert_eq!(data["replay"], format!("VIRTNET_TAPE={tape} {command}"));
}

/// The name under which a Chromium is installed.
fn chromium_command() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// The document that a page becomes in a browser, at an address within it.
fn dump_dom(browser: &str, file: &Path, fragment: &str) -> String {
    let profile = file.with_extension("profile");
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.args(["--dump-dom", &format!("file://{}#{fragment}", file.display())]);
    let output = command.output().unwrap();
    let _ = std::fs::remove_dir_all(profile);
    String::from_utf8(output.stdout).unwrap()
}

/// The value of an attribute of the body, which says what the page shows.
fn body_attribute<'a>(document: &'a str, attribute: &str) -> &'a str {
    let body = &document[document.find("<body").unwrap()..];
    let start = body.find(&format!(" data-{attribute}=\"")).unwrap() + attribute.len() + 8;
    body[start..].split('"').next().unwrap()
}

/// The text of the record that is open.
fn open_record_text(document: &str) -> String {
    let (_, rest) = document.split_once(r#"id="line">"#).unwrap();
    let text = rest.split_once("</pre>").unwrap().0;
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&")
}

#[test]
fn browser_draws_the_page_and_opens_the_record_in_the_address() {
    let Some(browser) = chromium_command() else {
        // Past whatever captures the output of tests: it is to be seen.
        let text = "virtnet: no Chromium is installed: the viewer was not opened in a browser\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    };
    let program = planted_program("applied_twice");
    let (report, page) = sweep_with_trace(program, "browser.html");
    let records = records_of_seed(program, report.failed_seed.unwrap());
    let last =
        records.iter().rposition(|record| matches!(record.kind, RecordKind::Deliver(_))).unwrap();
    let fragment = format!("run=0&record={last}&q=deliver");
    let document = dump_dom(browser, &trace_path("browser.html"), &fragment);
    assert_eq!(body_attribute(&document, "ready"), "true");
    assert_eq!(open_record_text(&document), records[last].to_string());
    assert_eq!(body_attribute(&document, "causes"), records[last].causes[0].to_string());
    let data = page_data(&page);
    let deliveries = |run: &Value| {
        let kinds = run["kind"].as_array().unwrap();
        kinds
            .iter()
            .filter(|kind| data["kinds"][kind.as_u64().unwrap() as usize] == "deliver")
            .count()
    };
    let counts: Vec<usize> = data["runs"].as_array().unwrap().iter().map(deliveries).collect();
    assert_eq!(body_attribute(&document, "messages"), format!("{},{}", counts[0], counts[1]));
    assert_eq!(body_attribute(&document, "matches"), counts.iter().sum::<usize>().to_string());
    assert!(body_attribute(&document, "records").starts_with(&format!("{},", records.len())));
    let remaining = report.choices().unwrap().0;
    assert_eq!(body_attribute(&document, "choices"), format!("{remaining},{remaining}"));

    let hostile_file = trace_path("browser-hostile.html");
    let _ = sweep_hostile(&hostile_file);
    let records = hostile_records();
    let note = records.iter().position(|record| record.kind == RecordKind::Note).unwrap();
    let document = dump_dom(browser, &hostile_file, &format!("run=0&record={note}"));
    assert_eq!(open_record_text(&document), records[note].to_string());
    assert!(!document.contains("<b id="), "a name became a part of the page");
}
