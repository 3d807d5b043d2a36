//! Processes that end before their sweep does: what they were at is not lost.

use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use virtnet::check::{Check, Isolation};

use crate::process::{command, execute, said};

const PLANTED: &str = "VIRTNET_TESTS_PLANTED";
const NAME: &str = "VIRTNET_TESTS_NAME";

/// A name that no other test and no other process has.
fn name(test: &str) -> String {
    std::env::var(NAME).unwrap_or_else(|_| format!("lost-{test}-{}", std::process::id()))
}

#[test]
fn the_seed_of_a_run_that_aborts_is_said_by_the_next_sweep() {
    if let Ok(what) = std::env::var(PLANTED) {
        let aborts = what == "abort";
        let check = Check::new(&name("run")).seeds(0..20).jobs(1).isolate(Isolation::Shared);
        let report = check.run(move |sim| async move {
            if aborts && sim.seed() == 13 {
                std::process::abort();
            }
        });
        return report.assert();
    }
    let name = name("run");
    let again = |what| {
        let test = "lost::the_seed_of_a_run_that_aborts_is_said_by_the_next_sweep";
        execute(test, &[(PLANTED, what), (NAME, &name)])
    };
    let dead = again("abort");
    assert!(!dead.status.success(), "{}", said(&dead));
    let next = again("well");
    let text = said(&next);
    assert!(next.status.success(), "{text}");
    let lost = "an earlier process ended, or was ended, in the run of seed 0xd";
    assert!(text.contains(lost), "{text}");
    assert!(text.contains("replay: VIRTNET_SEED=0xd cargo test lost::the_seed"), "{text}");
    assert!(text.contains("all before 0xd were well"), "{text}");
    assert!(text.contains("go on: VIRTNET_SEEDS=0xd..0x14 cargo test lost::the_seed"), "{text}");
    let last = said(&again("well"));
    assert!(!last.contains("an earlier process"), "{last}");
}

/// Programs of one workspace may have tests of the same name.
#[test]
fn what_another_program_has_left_is_told_by_that_program() {
    let test = "lost::the_seed_of_a_run_that_aborts_is_said_by_the_next_sweep";
    let name = name("program");
    let own = std::env::current_exe().unwrap();
    let other = own.with_file_name(format!("other{}-0123456789abcdef", std::process::id()));
    std::fs::hard_link(&own, &other).unwrap();
    let run = |program, what| {
        said(&command(program, test).env(PLANTED, what).env(NAME, &name).output().unwrap())
    };
    run(&other, "abort");
    let [own, other_again] = [run(&own, "well"), run(&other, "well")];
    std::fs::remove_file(other).unwrap();
    assert!(!own.contains("an earlier process"), "{own}");
    assert!(other_again.contains("in the run of seed 0xd\n"), "{other_again}");
}

#[test]
fn a_seed_that_has_failed_is_not_lost_with_a_run_that_takes_longer() {
    if let Ok(what) = std::env::var(PLANTED) {
        static BEGUN: AtomicBool = AtomicBool::new(false);
        static FAILED: AtomicBool = AtomicBool::new(false);
        let wait_for = |what: &AtomicBool| {
            while !what.load(Relaxed) {
                std::thread::yield_now();
            }
        };
        let aborts = what == "abort";
        let check = Check::new(&name("early")).seeds(0..20).jobs(2).isolate(Isolation::Shared);
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
    let name = name("early");
    let test = "lost::a_seed_that_has_failed_is_not_lost_with_a_run_that_takes_longer";
    let again = |what| execute(test, &[(PLANTED, what), (NAME, &name)]);
    assert!(!again("abort").status.success());
    let text = said(&again("well"));
    assert!(text.contains("in the run of seed 0x3\n"), "{text}");
    assert!(text.contains("in the run of seed 0x4\n"), "{text}");
    assert!(text.contains("all before 0x3 were well"), "{text}");
}

/// As Ctrl-C does, or worse.
#[test]
fn the_best_so_far_survives_that_shrinking_is_killed() {
    let test = "lost::the_best_so_far_survives_that_shrinking_is_killed";
    if let Ok(what) = std::env::var(PLANTED) {
        let slow = what == "slow";
        let check = Check::new(&name("cut")).seeds(0..20).shrink_time(Duration::from_secs(600));
        let report = check.run(move |sim| async move {
            let coins = (0..40).filter(|n| sim.choose(&format!("coin {n}"), 2) == 1).count();
            if slow && tape_of(&self::name("cut")).is_some() {
                // Until it is killed.
                std::thread::sleep(Duration::from_secs(60));
            }
            assert!(coins < 5, "five heads");
        });
        return report.assert();
    }
    let name = name("cut");
    let mut slow = command(&std::env::current_exe().unwrap(), test);
    slow.env(PLANTED, "slow").env(NAME, &name);
    let mut child = slow.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let tape = wait_for_a_tape_of(&name);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(!text.contains("choices matter"), "it was done already: {text}");

    let replay = execute(test, &[(PLANTED, "well"), (NAME, &name), ("VIRTNET_TAPE", &tape)]);
    assert!(said(&replay).contains("five heads"), "{}", said(&replay));
    let next = said(&execute(test, &[(PLANTED, "well"), (NAME, &name)]));
    let cut = format!("ended while it cut that down; it had come to {tape}");
    assert!(next.contains(&cut), "{next}");
    assert!(next.contains(&format!("replay: VIRTNET_TAPE={tape} cargo test lost::the_best")));
}

/// Waits until a tape was cut down at least once, and gives its path.
fn wait_for_a_tape_of(name: &str) -> String {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if let Some(tape) = tape_of(name) {
            return tape;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no tape was written");
}

/// The path of a tape that was cut down at least once, if there is one.
fn tape_of(name: &str) -> Option<String> {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    std::fs::read_dir(target.join("virtnet/sim")).into_iter().flatten().flatten().find_map(|file| {
        let found = file.file_name().to_string_lossy().into_owned();
        // A tape that is just being written is called `.tape.new`, and not for long.
        let is_ours = found.starts_with(&format!("{name}-0x")) && found.ends_with(".tape");
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let is_cut = text.contains("default zero") && text.matches("choose").count() < 18;
        (is_ours && is_cut).then(|| file.path().to_str().unwrap().into())
    })
}
