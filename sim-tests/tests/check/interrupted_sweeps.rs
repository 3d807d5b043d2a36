//! Interrupted sweeps: a process that ends before its sweep loses neither seeds nor shrunk tapes.

use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use virtnet::check::{Check, Isolation};

use crate::support::subprocess::{run_test, stderr_text, test_command};

const BEHAVIOR_VARIABLE: &str = "VIRTNET_TESTS_PLANTED";
const NAME_VARIABLE: &str = "VIRTNET_TESTS_NAME";

/// A name that no other test and no other process has.
fn unique_name(test: &str) -> String {
    std::env::var(NAME_VARIABLE).unwrap_or_else(|_| format!("lost-{test}-{}", std::process::id()))
}

#[test]
fn seed_of_an_aborted_process_is_reported_by_the_next_sweep() {
    if let Ok(behavior) = std::env::var(BEHAVIOR_VARIABLE) {
        let aborts = behavior == "abort";
        let check = Check::new(&unique_name("run")).seeds(0..20).jobs(1).isolate(Isolation::Shared);
        let report = check.run(move |sim| async move {
            if aborts && sim.seed() == 13 {
                std::process::abort();
            }
        });
        return report.assert();
    }
    let name = unique_name("run");
    let run_child = |behavior| {
        let test =
            "check::interrupted_sweeps::seed_of_an_aborted_process_is_reported_by_the_next_sweep";
        run_test(test, &[(BEHAVIOR_VARIABLE, behavior), (NAME_VARIABLE, &name)])
    };
    let aborted = run_child("abort");
    assert!(!aborted.status.success(), "{}", stderr_text(&aborted));
    let next = run_child("well");
    let text = stderr_text(&next);
    assert!(next.status.success(), "{text}");
    let expected = "an earlier process ended, or was ended, in the run of seed 0xd";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("replay: VIRTNET_SEED=0xd cargo test check::interrupted_sweeps::seed_of"),
        "{text}"
    );
    assert!(text.contains("all before 0xd were well"), "{text}");
    assert!(
        text.contains(
            "go on: VIRTNET_SEEDS=0xd..0x14 cargo test check::interrupted_sweeps::seed_of"
        ),
        "{text}"
    );
    let last = stderr_text(&run_child("well"));
    assert!(!last.contains("an earlier process"), "{last}");
}

/// Programs of one workspace may have tests of the same name.
#[test]
fn interrupted_sweep_is_reported_only_by_its_own_program() {
    let test =
        "check::interrupted_sweeps::seed_of_an_aborted_process_is_reported_by_the_next_sweep";
    let name = unique_name("program");
    let this_program = std::env::current_exe().unwrap();
    let other_program =
        this_program.with_file_name(format!("other{}-0123456789abcdef", std::process::id()));
    std::fs::hard_link(&this_program, &other_program).unwrap();
    let run = |program, behavior| {
        stderr_text(
            &test_command(program, test)
                .env(BEHAVIOR_VARIABLE, behavior)
                .env(NAME_VARIABLE, &name)
                .output()
                .unwrap(),
        )
    };
    run(&other_program, "abort");
    let [this_program, other_again] = [run(&this_program, "well"), run(&other_program, "well")];
    std::fs::remove_file(other_program).unwrap();
    assert!(!this_program.contains("an earlier process"), "{this_program}");
    assert!(other_again.contains("in the run of seed 0xd\n"), "{other_again}");
}

#[test]
fn failed_seed_survives_the_abort_of_a_concurrent_run() {
    if let Ok(what) = std::env::var(BEHAVIOR_VARIABLE) {
        static BEGUN: AtomicBool = AtomicBool::new(false);
        static FAILED: AtomicBool = AtomicBool::new(false);
        let wait_for = |what: &AtomicBool| {
            while !what.load(Relaxed) {
                std::thread::yield_now();
            }
        };
        let aborts = what == "abort";
        let check =
            Check::new(&unique_name("early")).seeds(0..20).jobs(2).isolate(Isolation::Shared);
        let report = check.run(move |sim| async move {
            if aborts && sim.seed() == 3 {
                wait_for(&BEGUN);
                FAILED.store(true, Relaxed);
                panic!("three");
            }
            if aborts && sim.seed() == 4 {
                BEGUN.store(true, Relaxed);
                wait_for(&FAILED);
                // That one has come to its end by then.
                std::thread::sleep(Duration::from_millis(300));
                std::process::abort();
            }
        });
        return report.assert();
    }
    let name = unique_name("early");
    let test = "check::interrupted_sweeps::failed_seed_survives_the_abort_of_a_concurrent_run";
    let run_child = |what| run_test(test, &[(BEHAVIOR_VARIABLE, what), (NAME_VARIABLE, &name)]);
    assert!(!run_child("abort").status.success());
    let text = stderr_text(&run_child("well"));
    assert!(text.contains("in the run of seed 0x3\n"), "{text}");
    assert!(text.contains("in the run of seed 0x4\n"), "{text}");
    assert!(text.contains("all before 0x3 were well"), "{text}");
}

/// As Ctrl-C does, or worse.
#[test]
fn best_shrunk_tape_survives_a_killed_shrink() {
    let test = "check::interrupted_sweeps::best_shrunk_tape_survives_a_killed_shrink";
    if let Ok(behavior) = std::env::var(BEHAVIOR_VARIABLE) {
        let slow = behavior == "slow";
        let check =
            Check::new(&unique_name("cut")).seeds(0..20).shrink_time(Duration::from_secs(600));
        let report = check.run(move |sim| async move {
            let coins = (0..40).filter(|n| sim.choose(&format!("coin {n}"), 2) == 1).count();
            if slow
                && shrunk_tape_path(&crate::check::interrupted_sweeps::unique_name("cut")).is_some()
            {
                // Until it is killed.
                std::thread::sleep(Duration::from_secs(60));
            }
            assert!(coins < 5, "five heads");
        });
        return report.assert();
    }
    let name = unique_name("cut");
    let mut slow = test_command(&std::env::current_exe().unwrap(), test);
    slow.env(BEHAVIOR_VARIABLE, "slow").env(NAME_VARIABLE, &name);
    let mut child = slow.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let tape = wait_for_shrunk_tape(&name);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(!text.contains("choices matter"), "it was done already: {text}");

    let replay = run_test(
        test,
        &[(BEHAVIOR_VARIABLE, "well"), (NAME_VARIABLE, &name), ("VIRTNET_TAPE", &tape)],
    );
    assert!(stderr_text(&replay).contains("five heads"), "{}", stderr_text(&replay));
    let next = stderr_text(&run_test(test, &[(BEHAVIOR_VARIABLE, "well"), (NAME_VARIABLE, &name)]));
    let expected = format!("ended while it cut that down; it had come to {tape}");
    assert!(next.contains(&expected), "{next}");
    assert!(next.contains(&format!(
        "replay: VIRTNET_TAPE={tape} cargo test check::interrupted_sweeps::best"
    )));
}

/// Waits until a tape was cut down at least once, and gives its path.
fn wait_for_shrunk_tape(name: &str) -> String {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if let Some(tape) = shrunk_tape_path(name) {
            return tape;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no tape was written");
}

/// The path of a tape that was cut down at least once, if there is one.
fn shrunk_tape_path(name: &str) -> Option<String> {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    std::fs::read_dir(target.join("virtnet/sim")).into_iter().flatten().flatten().find_map(|file| {
        let file_name = file.file_name().to_string_lossy().into_owned();
        // A tape that is just being written is called `.tape.new`, and not for long.
        let is_ours = file_name.starts_with(&format!("{name}-0x")) && file_name.ends_with(".tape");
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let is_shrunk = text.contains("default zero") && text.matches("choose").count() < 18;
        (is_ours && is_shrunk).then(|| file.path().to_str().unwrap().into())
    })
}
