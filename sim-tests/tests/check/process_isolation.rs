//! Process isolation: each run has a process of its own, and a run that kills its process is a
//! failed seed.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use virtnet::Sim;
use virtnet::check::{Check, DeterminismCheck, Isolation, always, sometimes};

use crate::check::planted::programs::{Noise, PROGRAMS};
use crate::support::subprocess::{replay_line, run_test, stderr_text};

static RUNS: AtomicU64 = AtomicU64::new(0);

#[virtnet::test(seeds = 8, isolate = "process")]
async fn static_under_process_isolation_starts_fresh_each_run(_sim: Sim) -> Result<(), String> {
    let before = RUNS.fetch_add(1, Relaxed);
    if before == 0 { Ok(()) } else { Err(format!("{before} runs before")) }
}

#[virtnet::test(seeds = 2, isolate = "process")]
#[should_panic(expected = "the moon")]
async fn isolated_test_keeps_should_panic_attribute() {
    panic!("the moon");
}

fn isolated_check(name: &str) -> Check {
    Check::new(name).seeds(0..20).isolate(Isolation::Process)
}

#[test]
fn run_that_kills_its_process_is_reported_as_failed_seed() {
    fn recurse(n: u64) -> u64 {
        if std::hint::black_box(n) == u64::MAX {
            0
        } else {
            1 + recurse(std::hint::black_box(n + 1))
        }
    }
    let Ok(exit_kind) = std::env::var("VIRTNET_TESTS_ENDS") else {
        // Each in a process of its own, whose children know from it what is to be done.
        for (exit_kind, phrases) in [
            ("abort", &["the process of the run died: signal: 6 (SIGABRT)"][..]),
            ("stack", &["died: signal: 6 (SIGABRT)", "its last words", "overflowed its stack"]),
            ("exit", &["ended in the middle of it: exit status: 0"]),
        ] {
            let test =
                "check::process_isolation::run_that_kills_its_process_is_reported_as_failed_seed";
            let text = stderr_text(&run_test(test, &[("VIRTNET_TESTS_ENDS", exit_kind)]));
            for phrases in phrases.iter().chain(&["dies failed with seed 0xd", "VIRTNET_SEED=0xd "])
            {
                assert!(text.contains(phrases), "{exit_kind}: `{phrases}` is not said in\n{text}");
            }
            assert!(!text.contains("not the same run"), "{text}");
            let trace = std::env::temp_dir().join(format!("virtnet-dies-{}", std::process::id()));
            let trace = ("VIRTNET_TRACE", trace.to_str().unwrap());
            let seed = [("VIRTNET_TESTS_ENDS", exit_kind), ("VIRTNET_SEED", "0xd"), trace];
            let text = stderr_text(&run_test(test, &seed));
            assert!(text.contains("dies failed with seed 0xd"), "{text}");
            assert!(text.contains(": the run has taken its process along, and its"), "{text}");
            assert!(!std::path::Path::new(trace.1).exists());
        }
        return;
    };
    let report = isolated_check("dies").run(move |sim| {
        let exit_kind = exit_kind.clone();
        async move {
            match (sim.seed(), &*exit_kind) {
                (13, "abort") => std::process::abort(),
                (13, "stack") => assert!(recurse(0) > 0),
                (13, "exit") => std::process::exit(0),
                _ => sim.sleep(Duration::from_secs(1)).await,
            }
        }
    });
    report.assert();
}

#[test]
fn failure_in_process_isolation_is_shrunk_like_in_threads() {
    let program = &PROGRAMS[0];
    let main = program.main;
    let report = |isolation| {
        let check = Check::new(program.name).seeds(0..20_000).isolate(isolation);
        check.run(move |sim: Sim| main(sim, Noise::None))
    };
    let (process_report, thread_report) = (report(Isolation::Process), report(Isolation::Thread));
    assert_eq!(
        (process_report.failed_seed, process_report.choices()),
        (thread_report.failed_seed, thread_report.choices())
    );
    assert_eq!(
        (process_report.tape(), process_report.shrink_runs()),
        (thread_report.tape(), thread_report.shrink_runs())
    );
    assert!(process_report.choices().is_some(), "{process_report}");
    let causes = |text: &str| {
        let (_, causes) = text.split_once("what led to it:").expect("a past");
        causes.to_string()
    };
    assert_eq!(causes(&process_report.to_string()), causes(&thread_report.to_string()));
}

#[test]
fn checks_of_equal_name_in_processes_report_their_own_labels() {
    let [first, second] = [1, 0].map(|odd| {
        isolated_check("labels").run(move |sim| async move {
            sometimes!(sim.seed() % 2 == odd, "odd");
            always!(sim.seed() < 20 + odd, "few");
            assert!(sim.seed() < 15 || odd == 1, "the second one");
        })
    });
    assert_eq!(first.reached().collect::<Vec<_>>(), [("odd", 10)], "{first}");
    assert_eq!(second.failed_seed, Some(15), "{second}");
}

#[test]
#[cfg(unix)]
fn child_process_left_by_a_run_does_not_block_the_sweep() {
    // All know the same name, and it goes on for as long as that is there.
    let variable = "VIRTNET_TESTS_LEFT";
    let Ok(file) = std::env::var(variable) else {
        let file = std::env::temp_dir().join(format!("virtnet-left-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let test_path =
            "check::process_isolation::child_process_left_by_a_run_does_not_block_the_sweep";
        let text = stderr_text(&run_test(test_path, &[(variable, file.to_str().unwrap())]));
        assert!(text.contains("left: 1 run(s), all well"), "{text}");
        return;
    };
    let loops = format!("for i in $(seq 600); do [ -e '{file}' ] || exit; sleep 0.1; done");
    let start = Instant::now();
    let report = isolated_check("left").seeds(0..1).run(move |_| {
        let child = Command::new("sh").args(["-c", &loops]).spawn();
        async move { child.map(drop) }
    });
    assert!(start.elapsed() < Duration::from_secs(30), "it was waited for");
    std::fs::remove_file(file).unwrap();
    eprintln!("{report}");
}

#[test]
fn check_that_cannot_start_a_subprocess_reports_one_sentence() {
    let report_on_thread = |name: Option<&str>| {
        let thread = std::thread::Builder::new();
        let thread = name.into_iter().fold(thread, |thread, name| thread.name(name.into()));
        let run = || isolated_check("elsewhere").run(async |_| ()).to_string();
        thread.spawn(run).unwrap().join().unwrap()
    };
    let text = report_on_thread(None);
    assert!(text.starts_with("virtnet: no process can be begun for a run: this thread"), "{text}");
    let text = report_on_thread(Some("nobody"));
    assert!(text.contains(": it has no test named nobody; the check has to be called"), "{text}");
    let fresh_process =
        Check::new("cold").check_determinism_against(DeterminismCheck::FreshProcess);
    let fresh_process =
        std::thread::spawn(|| fresh_process.run(async |_| ()).to_string()).join().unwrap();
    assert!(
        fresh_process.starts_with("virtnet: no process can be begun for a run: "),
        "{fresh_process}"
    );
}

#[test]
fn subprocess_that_never_reaches_the_check_is_reported() {
    let name = format!("VIRTNET_TESTS_{}", std::process::id());
    let is_first = std::env::var_os("VIRTNET_CHILD").is_none();
    assert!(is_first, "{name}: in the other process it is another test");
    let text = isolated_check("never").run(async |_| ()).to_string();
    assert!(text.contains("ended before it came to the check (exit status: 101"), "{text}");
    assert!(text.contains("in the other process it is another test"), "{text}");
}

#[test]
fn child_variable_not_set_by_a_parent_skips_no_run() {
    let child = [("VIRTNET_CHILD", "1 other_attributes_stay_as_they_are#1")];
    let text = stderr_text(&run_test(
        "check::process_isolation::isolated_test_keeps_should_panic_attribute",
        &child,
    ));
    assert!(
        text.contains("isolated_test_keeps_should_panic_attribute failed with seed 0x0"),
        "{text}"
    );
}

#[test]
fn replay_line_of_isolated_run_reproduces_its_failure() {
    let test = "check::process_isolation::isolated_test_keeps_should_panic_attribute";
    let text = stderr_text(&run_test(test, &[]));
    let line = replay_line(&text);
    assert!(
        line.starts_with(
            "VIRTNET_SEED=0x0 cargo test -p sim-tests --test sim check::process_isolation::"
        ),
        "{line}"
    );
    let again = stderr_text(&run_test(test, &[("VIRTNET_SEED", "0x0")]));
    assert!(
        again.contains("isolated_test_keeps_should_panic_attribute failed with seed 0x0"),
        "{again}"
    );
}

#[test]
fn seed_repeated_after_one_that_aborts_is_not_blamed() {
    let Ok(_) = std::env::var("VIRTNET_TESTS_BLAME") else {
        let test = "check::process_isolation::seed_repeated_after_one_that_aborts_is_not_blamed";
        let text = stderr_text(&run_test(test, &[("VIRTNET_TESTS_BLAME", "")]));
        assert!(text.contains("blame failed with seed 0x3"), "{text}");
        assert!(text.contains("died: signal: 6 (SIGABRT)"), "{text}");
        assert!(!text.contains("not the same run"), "{text}");
        return;
    };
    let check = isolated_check("blame")
        .seeds(0..4)
        .check_determinism_against(DeterminismCheck::AfterOtherSeeds);
    let report = check.run(async |sim: Sim| {
        if sim.seed() == 3 {
            std::process::abort();
        }
    });
    report.assert();
}
