//! Sweep results as JSON lines: the results of several machines are merged and judged as one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use virtnet::check::{Check, always, sometimes};
use virtnet::{Sim, Tape};

use crate::support::subprocess::{run_test, stderr_text};

/// Seven is only of one shard; whether anything fails, a variable says.
#[virtnet::test(seeds = 40)]
async fn sweep_fixture(sim: Sim) {
    sometimes!(sim.seed() == 7, "seven");
    if std::env::var_os("VIRTNET_TESTS_HUNDRED").is_some() {
        sometimes!(sim.seed() == 100, "a hundred");
    }
    always!(sim.seed() < 200, "few");
    let fails = std::env::var("VIRTNET_TESTS_FAILS").ok().and_then(|seed| seed.parse().ok());
    assert!(fails.is_none_or(|from: u64| sim.seed() < from), "it was asked for");
}

/// Asks for another `sometimes!`, which takes more seeds.
const HUNDRED_VARIABLE: (&str, &str) = ("VIRTNET_TESTS_HUNDRED", "1");
const SWEEP_FIXTURE: &str = "check::results::sweep_fixture";

/// A file that no other process has.
fn temp_file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("virtnet-{name}-{}.jsonl", std::process::id()))
}

fn read_json_lines(file: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn sweep_result_is_one_json_line_with_stable_keys() {
    let file = temp_file("keys");
    let path = file.to_str().unwrap();
    let seeds = [("VIRTNET_RESULTS", path), ("VIRTNET_SEEDS", "5..105"), HUNDRED_VARIABLE];
    assert!(run_test(SWEEP_FIXTURE, &seeds).status.success());
    let fails = [("VIRTNET_RESULTS", path), ("VIRTNET_TESTS_FAILS", "9")];
    assert!(!run_test(SWEEP_FIXTURE, &fails).status.success());
    let mut lines = read_json_lines(&file);
    std::fs::remove_file(file).unwrap();
    for line in &mut lines {
        assert!(line["millis"].take().is_u64());
    }
    let expected = serde_json::json!({
        "virtnet": 1, "program": "sim", "test": SWEEP_FIXTURE, "shard": null,
        "seeds": ["0x5", "0x69"],
        "passed": 100, "failed": null, "next": null, "sometimes": {"seven": 1, "a hundred": 1},
        "always": {"few": 100}, "fault_stats": {}, "millis": null
    });
    assert_eq!(lines[0], expected);
    assert_eq!((&lines[1]["passed"], &lines[1]["failed"]["seed"]), (&9.into(), &"0x9".into()));
    let failure_text = lines[1]["failed"]["what"].as_str().unwrap();
    assert!(failure_text.starts_with("task main panicked: it was asked for"), "{failure_text}");
    assert_eq!(lines[1]["failed"]["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(lines.len(), 2);
}

#[test]
fn passed_count_excludes_every_failed_seed() {
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    let Ok(file) = std::env::var("VIRTNET_RESULTS") else {
        let file = temp_file("both");
        let test = "check::results::passed_count_excludes_every_failed_seed";
        let output = run_test(test, &[("VIRTNET_RESULTS", file.to_str().unwrap())]);
        assert!(output.status.success(), "{}", stderr_text(&output));
        return;
    };
    let _ = Check::new("both").seeds(0..2).jobs(2).run(|_| async {
        BEGUN.fetch_add(1, Relaxed);
        while BEGUN.load(Relaxed) < 2 {
            std::thread::yield_now();
        }
        panic!("both");
    });
    let file = PathBuf::from(file);
    let lines = read_json_lines(&file);
    std::fs::remove_file(file).unwrap();
    assert_eq!((&lines[0]["passed"], &lines[0]["failed"]["seed"]), (&0.into(), &"0x0".into()));
}

#[test]
fn shard_results_are_judged_only_when_merged() {
    let file = temp_file("shards");
    let path = file.to_str().unwrap();
    let sweep = |shard, extra_variables: &[(&str, &str)]| {
        let shard_variables =
            [("VIRTNET_RESULTS", path), ("VIRTNET_SHARD", shard), HUNDRED_VARIABLE];
        run_test(SWEEP_FIXTURE, &[&shard_variables, extra_variables].concat())
    };
    let merge = || run_test(SWEEP_FIXTURE, &[("VIRTNET_MERGE", path)]);
    assert!(sweep("1/3", &[]).status.success(), "seven is another shard's");
    assert!(sweep("2/3", &[]).status.success());
    let text = stderr_text(&merge());
    assert!(text.contains("the results of these shards are missing: 3/3"), "{text}");
    assert!(sweep("3/3", &[]).status.success());
    let text = stderr_text(&merge());
    assert!(text.contains("sweep_fixture failed after 40 run(s):"), "{text}");
    assert!(text.contains("sometimes! was never reached: a hundred\n"), "{text}");

    // Another night, and all is well, whatever is in the file of other tests.
    assert!(sweep("1/1", &[("VIRTNET_SEEDS", "100..101")]).status.success());
    let other_lines = std::fs::read_to_string(&file)
        .unwrap()
        .replace("\"test\":\"check::results::", "\"test\":\"x");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + "\n" + &other_lines).unwrap();
    assert!(merge().status.success(), "{}", stderr_text(&merge()));

    // A failure on any machine is the failure of all.
    assert!(!sweep("2/3", &[("VIRTNET_TESTS_FAILS", "9")]).status.success());
    let text = stderr_text(&merge());
    std::fs::remove_file(file).unwrap();
    assert!(text.contains("sweep_fixture failed with seed 0xa after 45 run(s):"), "{text}");
    assert!(text.contains("it was asked for"), "{text}");
    assert!(text.contains("\nreplay: VIRTNET_SEED=0xa cargo test -p sim-tests"), "{text}");
}

#[test]
fn unwritable_results_or_invalid_merge_file_is_one_sentence() {
    let file = temp_file("bad");
    let path = file.to_str().unwrap();
    let first_line = |variables: &[(&str, &str)]| {
        let output = run_test(SWEEP_FIXTURE, variables);
        assert!(!output.status.success());
        let text = stderr_text(&output);
        text.lines().find(|line| line.starts_with("virtnet: ")).expect(&text).to_string()
    };
    let error_line = first_line(&[("VIRTNET_RESULTS", "/nowhere/x")]);
    assert!(
        error_line.starts_with("virtnet: VIRTNET_RESULTS=/nowhere/x: No such file"),
        "{error_line}"
    );
    let error_line = first_line(&[("VIRTNET_MERGE", "/nowhere/x")]);
    assert!(
        error_line.starts_with("virtnet: VIRTNET_MERGE=/nowhere/x: No such file"),
        "{error_line}"
    );
    for (text, error) in [
        ("", "it has no line of the test check::results::sweep_fixture of sim"),
        ("{\"virtnet\":1", "line 1: it is not JSON: EOF while parsing an object, column 12"),
        ("\n{\"virtnet\":2}", "line 2: it is no line of VIRTNET_RESULTS, or of another version"),
        (
            "{\"virtnet\":1,\"program\":\"sim\",\"test\":\"check::results::sweep_fixture\"}",
            "line 1: a key is missing, or has another type",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let error_line = first_line(&[("VIRTNET_MERGE", path)]);
        assert_eq!(error_line, format!("virtnet: VIRTNET_MERGE={path}: {error}"));
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn failure_whose_result_line_cannot_be_written_is_reported() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let text = stderr_text(&run_test(SWEEP_FIXTURE, &[("VIRTNET_RESULTS", "/dev/full")]));
    assert!(text.contains("virtnet: VIRTNET_RESULTS=/dev/full: No space left"), "{text}");
    let fails = [("VIRTNET_RESULTS", "/dev/full"), ("VIRTNET_TESTS_FAILS", "9")];
    let text = stderr_text(&run_test(SWEEP_FIXTURE, &fails));
    assert!(text.contains("VIRTNET_RESULTS=/dev/full: No space left"), "{text}");
    assert!(text.contains("sweep_fixture failed with seed 0x9, run "), "{text}");
}

#[test]
fn tape_of_a_check_is_run_when_results_are_merged() {
    let report = Check::new("kept").tape(Tape::zero()).run(async |sim| {
        assert!(std::env::var_os("VIRTNET_TESTS_FAILS").is_none(), "{sim:?}");
    });
    report.assert();
    if std::env::var_os("VIRTNET_MERGE").is_none() {
        let test = "check::results::tape_of_a_check_is_run_when_results_are_merged";
        let merge = |extra_variables: &[_]| {
            run_test(test, &[&[("VIRTNET_MERGE", "/dev/null")], extra_variables].concat())
        };
        let passing = merge(&[]);
        assert!(passing.status.success(), "{}", stderr_text(&passing));
        let text = stderr_text(&merge(&[("VIRTNET_TESTS_FAILS", "1")]));
        assert!(text.contains("kept failed with seed 0x0, run 1:"), "{text}");
    }
}

#[test]
fn budget_runs_consecutive_seeds_and_reports_the_next_one() {
    let seeds = std::sync::Mutex::new(BTreeSet::new());
    let budget = Duration::from_secs(1);
    let report = Check::new("budget").budget(budget).jobs(2).run(|sim| {
        seeds.lock().unwrap().insert(sim.seed());
        async {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let seeds = seeds.into_inner().unwrap();
    let next = report.next_seed.expect("the time was used up");
    assert!(report.is_ok() && report.runs > 16, "{report}");
    assert_eq!(seeds, (0..next).collect(), "all before the next one were run, and no other");
    assert_eq!(report.runs, next);
    // Whoever gives seeds as well gets no more of them.
    let report = Check::new("both").seeds(0..5).budget(budget).run(async |_| ());
    assert_eq!((report.runs, report.next_seed), (5, None));
}

#[test]
fn budget_variable_continues_past_the_seeds_of_the_test() {
    let output = run_test(SWEEP_FIXTURE, &[("VIRTNET_BUDGET", "60s"), ("VIRTNET_SEEDS", "0..200")]);
    assert!(output.status.success(), "{}", stderr_text(&output));
    assert!(!stderr_text(&output).contains("go on"), "{}", stderr_text(&output));
    let text = stderr_text(&run_test(
        SWEEP_FIXTURE,
        &[("VIRTNET_BUDGET", "60s"), ("VIRTNET_SHRINK", "0")],
    ));
    // There are more than two hundred, which fail.
    assert!(text.contains("sweep_fixture failed with seed 0xc8, run "), "{text}");
    let test = "check::attribute::async_test_with_sim_argument_runs";
    let text =
        stderr_text(&run_test(test, &[("VIRTNET_BUDGET", "200ms"), ("VIRTNET_SHARD", "1/2")]));
    let (_, seconds) = text.split_once(" seeds from 0x0 on in ").expect(&text);
    // A busy machine may be late, but no earlier than told.
    let (seconds, _) = seconds.split_once(" s, all well\n").expect(&text);
    assert!(seconds.parse::<f64>().is_ok_and(|seconds| seconds >= 0.2), "{text}");
    let (_, resume_command) =
        text.split_once("  go on: VIRTNET_BUDGET=200ms VIRTNET_SEEDS=0x").expect(&text);
    assert!(resume_command.contains(".. VIRTNET_SHARD=1/2 cargo test -p sim-tests"), "{text}");
}

#[test]
fn random_seeds_are_printed_and_open_range_ends_at_the_last_seed() {
    // Seeds that are drawn say how a test is called only if it passes with each of them.
    let test = "check::attribute::async_test_without_argument_may_return_a_result";
    let run = |seeds: &str| {
        let output = run_test(test, &[("VIRTNET_SEEDS", seeds), ("VIRTNET_JOBS", "2")]);
        assert!(output.status.success(), "{}", stderr_text(&output));
        stderr_text(&output)
    };
    let text = run("random:3");
    let (_, repeat_command) =
        text.split_once("these seeds were drawn\n  again: VIRTNET_SEEDS=").expect(&text);
    let (seeds, _) = repeat_command.split_once(' ').expect(&text);
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let (start, end) = seeds.split_once("..").expect(&text);
    assert_eq!(number(end).unwrap() - number(start).unwrap(), 3, "{text}");
    assert!(!run(seeds).contains("drawn"));
    run("18446744073709551612..");
}
