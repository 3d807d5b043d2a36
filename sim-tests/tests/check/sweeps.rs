//! Sweeps that are cut short, resumed, narrowed, or run beside each other.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use virtnet::check::{Check, Isolation, sometimes};
use virtnet::simnet::Network;
use virtnet::{Sim, Tape};

use crate::support::subprocess::{replay_line, run_test, stderr_text, test_command};

/// Reaches its label in the first ten seeds only.
#[virtnet::test(seeds = 100)]
async fn label_is_reached_by_early_seeds_only(sim: Sim) {
    sometimes!(sim.seed() < 10, "an early seed");
}

/// Asks for a partition that meets something in the first five seeds only.
#[virtnet::test(seeds = 20)]
async fn partition_is_effective_in_early_seeds_only(sim: Sim) {
    let net = Network::new("t");
    let [a, b] = [net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap()];
    let _listener = b.listen(":1").await.unwrap();
    net.partition(&["a"], &["b"]);
    if sim.seed() < 5 {
        let _ = sim.timeout(Duration::from_secs(1), a.dial("b:1")).await;
    }
}

const LABEL_TEST: &str = "check::sweeps::label_is_reached_by_early_seeds_only";
const NEVER_REACHED: &str = "sometimes! was never reached: an early seed\n";

/// Whether a sweep with these variables fails as a whole sweep does, and nothing else goes wrong.
#[track_caller]
fn fails_as_a_whole_sweep(variables: &[(&str, &str)]) -> bool {
    let output = run_test(LABEL_TEST, variables);
    let text = stderr_text(&output);
    assert_eq!(output.status.success(), !text.contains(NEVER_REACHED), "{variables:?}: {text}");
    !output.status.success()
}

fn results_file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("virtnet-sweeps-{name}-{}.jsonl", std::process::id()))
}

#[test]
fn sweep_with_fewer_seeds_than_configured_is_judged_as_a_part() {
    let whole = |variables: &[(&str, &str)]| fails_as_a_whole_sweep(variables);
    // What is printed after a Ctrl-C, a single seed, and all but one seed.
    assert!(!whole(&[("VIRTNET_SEEDS", "0x5f..0x64")]));
    assert!(!whole(&[("VIRTNET_SEEDS", "70..71")]));
    assert!(!whole(&[("VIRTNET_SEEDS", "10..109")]));
    assert!(!whole(&[("VIRTNET_SEED", "70")]));
    assert!(!whole(&[("VIRTNET_SEEDS", "random:99")]));
    // A shard, and a shard of a range that is large enough.
    assert!(!whole(&[("VIRTNET_SEEDS", "100..1000"), ("VIRTNET_SHARD", "2/3")]));
    // What a time ends before it has run all, and what goes on after a time.
    assert!(!whole(&[("VIRTNET_SEEDS", "10..4000000"), ("VIRTNET_BUDGET", "1ns")]));
    assert!(!whole(&[("VIRTNET_SEEDS", "10.."), ("VIRTNET_BUDGET", "300ms")]));
    // A rest, however large.
    assert!(!whole(&[("VIRTNET_SEEDS", "rest:10..400")]));
}

#[test]
fn sweep_with_as_many_seeds_as_configured_is_judged_as_a_whole() {
    let whole = |variables: &[(&str, &str)]| fails_as_a_whole_sweep(variables);
    assert!(whole(&[("VIRTNET_SEEDS", "10..110")]));
    assert!(whole(&[("VIRTNET_SEEDS", "random:100")]));
    assert!(whole(&[("NEXTEST_STRESS_CURRENT", "1")]));
    assert!(whole(&[("VIRTNET_SEEDS", "10..110"), ("VIRTNET_SHARD", "1/1")]));
    // All seeds of the test, and the label is reached.
    assert!(!whole(&[]));
    assert!(!whole(&[("VIRTNET_SEEDS", "rest:0..200")]));
}

#[test]
fn faults_without_effect_fail_a_whole_sweep_and_not_a_part() {
    let test = "check::sweeps::partition_is_effective_in_early_seeds_only";
    let none = "faults were requested that never had an effect: ";
    for (seeds, is_whole) in [("5..20", false), ("19..20", false), ("5..25", true)] {
        let output = run_test(test, &[("VIRTNET_SEEDS", seeds)]);
        let text = stderr_text(&output);
        assert_eq!(text.contains(none), is_whole, "{seeds}: {text}");
        assert_eq!(output.status.success(), !is_whole, "{seeds}: {text}");
    }
}

/// Where the time is used up, the line that goes on is executed as it is printed.
#[test]
fn sweep_resumed_after_its_budget_is_judged_as_a_part() {
    let first = [("VIRTNET_SEEDS", "9..4000000"), ("VIRTNET_BUDGET", "100ms")];
    let mut text = stderr_text(&run_test(LABEL_TEST, &first));
    for _ in 0..2 {
        let (_, resume_line) = text.split_once("  go on: ").expect(&text);
        let (resume_line, _) = resume_line.split_once("cargo ").expect(resume_line);
        let variables: Vec<_> =
            resume_line.split(' ').filter_map(|word| word.split_once('=')).collect();
        assert!(variables.iter().any(|(_, seeds)| seeds.starts_with("rest:0x")), "{resume_line}");
        let output = run_test(LABEL_TEST, &variables);
        text = stderr_text(&output);
        assert!(output.status.success(), "{text}");
    }
}

#[test]
fn merged_results_are_judged_as_a_whole_once_they_have_enough_seeds() {
    let file = results_file("merge");
    let path = file.to_str().unwrap();
    let run_part = |seeds, extra: &[(&str, &str)]| {
        let base = [("VIRTNET_RESULTS", path), ("VIRTNET_SEEDS", seeds)];
        assert!(!fails_as_a_whole_sweep(&[&base, extra].concat()));
    };
    let judge = || {
        let output = run_test(LABEL_TEST, &[("VIRTNET_MERGE", path)]);
        (output.status.success(), stderr_text(&output))
    };
    run_part("10..60", &[]);
    run_part("10..60", &[]);
    let (is_well, text) = judge();
    assert!(is_well, "{text}");
    let expected =
        "the results have 50 seeds, and the test asks for 100: they are judged as a part";
    assert!(text.contains(expected), "{text}");
    // Two shards, of which one has run more: it is not enough.
    run_part("40..109", &[("VIRTNET_SHARD", "1/2")]);
    run_part("60..110", &[("VIRTNET_SHARD", "2/2")]);
    let (is_well, text) = judge();
    assert!(is_well && text.contains("the results have 99 seeds"), "{text}");
    run_part("109..110", &[]);
    let (is_well, text) = judge();
    assert!(!is_well && text.contains(NEVER_REACHED), "{text}");
    run_part("0..10", &[]);
    let (is_well, text) = judge();
    std::fs::remove_file(file).unwrap();
    assert!(is_well && !text.contains("as a part"), "{text}");
}

/// Says which tests are to fail, in a process of their own.
const CASE_VARIABLE: &str = "VIRTNET_TESTS_FAILS";

fn subprocess_case() -> Option<String> {
    std::env::var(CASE_VARIABLE).ok()
}

/// A sweep that fails, and has a file that names its tape until it ends.
#[test]
fn concurrent_sweeps_of_one_test_are_not_reported_as_crashed() {
    let test = "check::sweeps::concurrent_sweeps_of_one_test_are_not_reported_as_crashed";
    if let Some(name) = subprocess_case() {
        let check = Check::new(&name).seeds(1..4).jobs(2).isolate(Isolation::Shared);
        let _ = check.run(async |_| panic!("it was asked for"));
        return;
    }
    let name = format!("beside-{}", std::process::id());
    for _ in 0..3 {
        let begin = |_| {
            let mut command = test_command(&std::env::current_exe().unwrap(), test);
            command
                .env(CASE_VARIABLE, &name)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let children: Vec<_> = (0..12).map(begin).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let text = stderr_text(&output);
            assert!(output.status.success() && !text.contains("an earlier process"), "{text}");
        }
    }
}

struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        panic!("the second panic, in a destructor");
    }
}

async fn double_panic(sim: Sim) {
    let _ = std::panic::catch_unwind(|| panic!("one that is caught"));
    if sim.seed() == 2 {
        let _bomb = PanicOnDrop;
        panic!("the first panic: x = {}", 6 * 7);
    }
}

#[test]
fn double_panic_that_ends_the_process_reports_both_panics_and_the_seed() {
    let test = "check::sweeps::double_panic_that_ends_the_process_reports_both_panics_and_the_seed";
    if let Some(isolation) = subprocess_case() {
        let isolation = match &*isolation {
            "process" => Isolation::Process,
            "thread" => Isolation::Thread,
            _ => Isolation::Shared,
        };
        let check = Check::new("bombs").seeds(0..4).isolate(isolation).shrink(0);
        return check.run(double_panic).assert();
    }
    let location = "sim-tests/tests/check/sweeps.rs:";
    for (isolation, seed) in [
        ("process", "bombs failed with seed 0x2, run "),
        ("thread", "virtnet: bombs: the run of seed 0x2 ends the process: panic in a destructor"),
        ("none", "virtnet: bombs: the run of seed 0x2 ends the process: panic in a destructor"),
    ] {
        let output = run_test(test, &[(CASE_VARIABLE, isolation)]);
        let text = stderr_text(&output);
        assert!(!output.status.success() && text.contains(seed), "{isolation}: {text}");
        let location = |message: &str| {
            let end =
                text.find(message).unwrap_or_else(|| panic!("{isolation}: {message}: {text}"));
            let line = text[..end].rsplit('\n').next().unwrap();
            assert!(line.contains(location), "{line}");
            end
        };
        let first = location("the first panic: x = 42");
        assert!(first < location("the second panic, in a destructor"), "{isolation}: {text}");
        assert!(text.contains("replay: VIRTNET_SEED=0x2 cargo test check::sweeps"), "{text}");
    }
}

/// By the C library's own order of things; others leave the seed on disk only.
#[test]
#[cfg(any(all(target_os = "linux", target_env = "gnu"), target_os = "macos"))]
fn run_that_exits_the_process_fails_the_test_whatever_the_status() {
    let test = "check::sweeps::run_that_exits_the_process_fails_the_test_whatever_the_status";
    if let Some(case) = subprocess_case() {
        struct ExitOnDrop;
        impl Drop for ExitOnDrop {
            fn drop(&mut self) {
                std::process::exit(0);
            }
        }
        let is_shared = case.starts_with("shared");
        let isolation = if is_shared { Isolation::Shared } else { Isolation::Thread };
        let check = Check::new("exits").seeds(0..4).jobs(1).isolate(isolation);
        let report = check.run(move |sim| {
            let case = case.clone();
            async move {
                if sim.seed() != 2 {
                    return;
                }
                let exits = || std::process::exit(0);
                match case.rsplit(' ').next().unwrap() {
                    "main" => exits(),
                    "task" => sim.spawn(async move { exits() }).await.unwrap(),
                    // Dropped when the run is over.
                    _ => {
                        let exits = ExitOnDrop;
                        drop(sim.spawn(async move {
                            let _exits = exits;
                            std::future::pending::<()>().await;
                        }));
                    }
                }
                sim.yield_now().await;
            }
        });
        return report.assert();
    }
    for case in ["thread main", "thread task", "thread drop", "shared main", "shared drop"] {
        for extra in [&[][..], &[("VIRTNET_SEED", "2")][..]] {
            let output = run_test(test, &[&[(CASE_VARIABLE, case)], extra].concat());
            let text = stderr_text(&output);
            assert!(!output.status.success(), "{case}: {text}");
            let expected = "virtnet: exits: the run of seed 0x2 ended the process by \
                        `std::process::exit`: the test did not come to its end\n  \
                        replay: VIRTNET_SEED=0x2 cargo test check::sweeps::run_that_exits";
            assert!(text.contains(expected), "{case}: {text}");
        }
    }
}

/// The program that has a check in its `main`.
const CHECK_PROGRAM: &str = env!("CARGO_BIN_EXE_checks");

fn run_check_program(arguments: &[&OsStr], variables: &[(&str, &str)]) -> String {
    let mut command = test_command(Path::new(CHECK_PROGRAM), "");
    command.arg("x");
    let mut program = Command::new(CHECK_PROGRAM);
    for (name, value) in command.get_envs().filter(|(_, value)| value.is_none()) {
        assert!(value.is_none());
        program.env_remove(name);
    }
    let output = program.args(arguments).envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn to_hex(name: &str) -> OsString {
    name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[test]
#[cfg(unix)]
fn replay_line_of_a_check_in_a_program_runs_the_program_with_its_arguments() {
    use std::os::unix::ffi::OsStrExt;
    let non_utf8 = OsStr::from_bytes(b"it's \xff\n$HOME");
    let name = to_hex("in a main");
    for arguments in
        [&[&*name][..], &[&*name, OsStr::new(""), non_utf8], &[&*name, OsStr::new("thread")]]
    {
        let first = run_check_program(arguments, &[]);
        let line = replay_line(&first);
        assert!(line.starts_with("VIRTNET_SEED=0x3 /"), "{line}");
        let output = Command::new("bash").args(["-c", line]).output().unwrap();
        let replayed = String::from_utf8(output.stdout).unwrap();
        assert!(
            replayed.starts_with("in a main failed with seed 0x3, run 1:"),
            "{line}: {replayed}"
        );
        assert_eq!(replay_line(&replayed), line);
        assert!(first.contains("0 of 3 choices") || first.contains("none of "), "{first}");
    }
}

/// A thread may have any name; that of a test says how it is executed.
#[test]
fn replay_line_on_a_thread_that_is_named_otherwise_runs_the_program() {
    let test = "check::sweeps::replay_line_on_a_thread_that_is_named_otherwise_runs_the_program";
    if let Some(name) = subprocess_case() {
        let run = || Check::new("elsewhere").run(async |_| panic!("it was asked for")).to_string();
        let thread = std::thread::Builder::new();
        let thread = if name.is_empty() { thread } else { thread.name(name) };
        eprintln!("{}", thread.spawn(run).unwrap().join().unwrap());
        return;
    }
    for name in ["sweeper", ""] {
        let text = stderr_text(&run_test(test, &[(CASE_VARIABLE, name)]));
        let line = replay_line(&text);
        let program = std::env::current_exe().unwrap();
        let expected = format!("VIRTNET_SEED=0x0 {} {test} --exact --nocapture", program.display());
        assert_eq!(line, expected);
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", line]).env(CASE_VARIABLE, name).output().unwrap();
        assert!(stderr_text(&output).contains("elsewhere failed with seed 0x0, run 1:"), "{line}");
    }
    let text = stderr_text(&run_test(test, &[(CASE_VARIABLE, test)]));
    assert_eq!(replay_line(&text), format!("VIRTNET_SEED=0x0 cargo test {test} -- --exact"));
}

#[test]
fn tape_of_a_check_of_any_name_can_be_read_again() {
    let long = "a long name ".repeat(500);
    let names = [
        "plain",
        "lost\nupdate",
        "a\r",
        "\n",
        "",
        " ",
        "a/b",
        "../up",
        "a\\nb",
        "a\"b'c",
        "\u{1b}[2J",
        "nul\0",
        "α::β \u{2028}",
        "# test: x",
        "tape: /x",
        "a: b = 3",
        &long,
    ];
    let mut files = BTreeSet::new();
    for name in names {
        let first = run_check_program(&[&to_hex(name)], &[]);
        let tape = first.lines().find_map(|line| line.strip_prefix("tape: ")).expect(&first);
        let tape = if name.starts_with("tape: ") {
            first.lines().filter_map(|line| line.strip_prefix("tape: ")).next_back().unwrap()
        } else {
            tape
        };
        let text = std::fs::read_to_string(tape).unwrap();
        text.parse::<Tape>().unwrap_or_else(|error| panic!("{name:?}: {error}: {text}"));
        let replayed = run_check_program(&[&to_hex(name)], &[("VIRTNET_TAPE", tape)]);
        let (title, _) = first.split_once(" failed with seed 0x3, run ").expect(&first);
        assert!(
            replayed.starts_with(&format!("{title} failed with seed 0x")),
            "{name:?}: {replayed}"
        );
        assert!(!title.contains(|c: char| c.is_control()), "{title}");
        let other = run_check_program(&[&to_hex("another")], &[("VIRTNET_TAPE", tape)]);
        assert!(other.starts_with("virtnet: VIRTNET_TAPE="), "{other}");
        assert_eq!(other.lines().count(), 1, "{other}");
        assert!(files.insert(tape.to_string()), "{name:?} has the file of another");
    }
}

#[test]
fn invalid_environment_variable_is_refused_in_one_sentence() {
    for (name, value, expected) in [
        ("VIRTNET_SEDE", "5", "VIRTNET_SEDE: there is no such variable; expected VIRTNET_SEED"),
        ("VIRTNET_SEED", "+5", "VIRTNET_SEED=\"+5\": expected a seed, decimal or 0x.."),
        ("VIRTNET_SHRINK", "1,2,3", "VIRTNET_SHRINK=\"1,2,3\": expected a number of runs"),
        ("VIRTNET_JOBS", "200000", "VIRTNET_JOBS=\"200000\": expected a number of threads from 1"),
        ("VIRTNET_POLL_LIMIT", "0s", "VIRTNET_POLL_LIMIT=\"0s\": expected a duration, as 60s"),
    ] {
        let output = run_test(LABEL_TEST, &[(name, value)]);
        let text = stderr_text(&output);
        assert!(!output.status.success(), "{name}={value}: {text}");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("virtnet: ")).collect();
        let [line] = lines[..] else { panic!("{text}") };
        assert!(line.starts_with(&format!("virtnet: {expected}")), "{line}");
    }
    let pod = [("JOB_COMPLETION_INDEX", "7"), ("JOB_COMPLETIONS", "4")];
    let text = stderr_text(&run_test(LABEL_TEST, &pod));
    assert!(
        text.contains("virtnet: JOB_COMPLETION_INDEX=\"7\": expected a number below"),
        "{text}"
    );
    // As many threads as there may be.
    let output = run_test(LABEL_TEST, &[("VIRTNET_JOBS", "1024")]);
    assert!(output.status.success(), "{}", stderr_text(&output));
}

/// A run that does not come back: in the first poll, in one after a while, while its tasks are
/// dropped, or with what it prints locked.
async fn hang(sim: Sim, case: String) {
    fn forever() -> ! {
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    }
    struct HangOnDrop;
    impl Drop for HangOnDrop {
        fn drop(&mut self) {
            forever();
        }
    }
    if sim.seed() != 2 {
        return sim.sleep(Duration::from_secs(1)).await;
    }
    match &*case {
        "worker" => {
            let worker_sim = sim;
            let worker = sim.task("worker").spawn(async move {
                worker_sim.sleep(Duration::from_secs(1)).await;
                forever();
            });
            worker.await.unwrap();
        }
        "locked" => {
            let _stdout = std::io::stdout().lock();
            forever();
        }
        _ => drop(sim.task("left").spawn(async move {
            let _hangs = HangOnDrop;
            std::future::pending::<()>().await;
        })),
    }
    sim.yield_now().await;
}

#[test]
fn poll_that_does_not_return_is_a_failed_seed_under_process_isolation() {
    let test = "check::sweeps::poll_that_does_not_return_is_a_failed_seed_under_process_isolation";
    if let Some(case) = subprocess_case() {
        let check = Check::new("hangs").seeds(0..6).jobs(2).isolate(Isolation::Process);
        let check = check.poll_limit(Duration::from_secs(1));
        let report = check.run(move |sim| hang(sim, case.clone()));
        return report.assert();
    }
    for (case, expected) in [
        (
            "worker",
            "one poll does not return; its process was ended after 1.0 s of it\n  \
             step 3 polls task main/worker\n",
        ),
        (
            "left",
            "the run has ended, and what follows does not: destructors, or the report of a \
             stall; its process was ended after 1.0 s of it\n",
        ),
        ("locked", "nothing was heard of the run any more, and its process was ended\n"),
    ] {
        let output = run_test(test, &[(CASE_VARIABLE, case)]);
        let text = stderr_text(&output);
        assert!(!output.status.success(), "{case}: {text}");
        assert!(text.contains("hangs failed with seed 0x2, run "), "{case}: {text}");
        assert!(text.contains(&format!(":\n\n{expected}")), "{case}: {text}");
        assert!(!text.contains("not the same run"), "{case}: {text}");
        let line = replay_line(&text);
        assert_eq!(line, format!("VIRTNET_SEED=0x2 cargo test {test} -- --exact"));
        if case == "worker" {
            let seed =
                [(CASE_VARIABLE, case), ("VIRTNET_SEED", "0x2"), ("VIRTNET_POLL_LIMIT", "500ms")];
            let replayed = stderr_text(&run_test(test, &seed));
            let start = "hangs failed with seed 0x2, run 1:\n\none poll does not return; ";
            assert!(
                replayed.contains(start) && replayed.contains("after 0.5 s of it"),
                "{replayed}"
            );
        }
    }
}
