//! Runs in processes of their own: nothing survives into the next, and one that takes its process
//! with it is a seed that failed.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use virtnet::Sim;
use virtnet::check::{Check, DeterminismCheck, Isolation, always, sometimes};

use crate::planted::programs::{Noise, PROGRAMS};
use crate::process::{execute, replay_line, said};

static RUNS: AtomicU64 = AtomicU64::new(0);

#[virtnet::test(seeds = 8, isolate = "process")]
async fn nothing_survives_into_the_next_process(_sim: Sim) -> Result<(), String> {
    let before = RUNS.fetch_add(1, Relaxed);
    if before == 0 { Ok(()) } else { Err(format!("{before} runs before")) }
}

#[virtnet::test(seeds = 2, isolate = "process")]
#[should_panic(expected = "the moon")]
async fn other_attributes_stay_as_they_are() {
    panic!("the moon");
}

fn check(name: &str) -> Check {
    Check::new(name).seeds(0..20).isolate(Isolation::Process)
}

#[test]
fn a_run_that_takes_its_process_with_it_is_a_seed_that_failed() {
    fn deep(n: u64) -> u64 {
        if std::hint::black_box(n) == u64::MAX { 0 } else { 1 + deep(std::hint::black_box(n + 1)) }
    }
    let Ok(ends) = std::env::var("VIRTNET_TESTS_ENDS") else {
        // Each in a process of its own, whose children know from it what is to be done.
        for (ends, words) in [
            ("abort", &["the process of the run died: signal: 6 (SIGABRT)"][..]),
            ("stack", &["died: signal: 6 (SIGABRT)", "its last words", "overflowed its stack"]),
            ("exit", &["ended in the middle of it: exit status: 0"]),
        ] {
            let test = "apart::a_run_that_takes_its_process_with_it_is_a_seed_that_failed";
            let text = said(&execute(test, &[("VIRTNET_TESTS_ENDS", ends)]));
            for words in words.iter().chain(&["dies failed with seed 0xd", "VIRTNET_SEED=0xd "]) {
                assert!(text.contains(words), "{ends}: `{words}` is not said in\n{text}");
            }
            assert!(!text.contains("not the same run"), "{text}");
            let trace = std::env::temp_dir().join(format!("virtnet-dies-{}", std::process::id()));
            let trace = ("VIRTNET_TRACE", trace.to_str().unwrap());
            let seed = [("VIRTNET_TESTS_ENDS", ends), ("VIRTNET_SEED", "0xd"), trace];
            let text = said(&execute(test, &seed));
            assert!(text.contains("dies failed with seed 0xd"), "{text}");
            assert!(text.contains(": the run has taken its process along, and its"), "{text}");
            assert!(!std::path::Path::new(trace.1).exists());
        }
        return;
    };
    let report = check("dies").run(move |sim| {
        let ends = ends.clone();
        async move {
            match (sim.seed(), &*ends) {
                (13, "abort") => std::process::abort(),
                (13, "stack") => assert!(deep(0) > 0),
                (13, "exit") => std::process::exit(0),
                _ => sim.sleep(Duration::from_secs(1)).await,
            }
        }
    });
    report.assert();
}

#[test]
fn a_failure_is_the_same_and_is_cut_down_alike_in_processes() {
    let program = &PROGRAMS[0];
    let play = program.play;
    let report = |isolation| {
        let check = Check::new(program.name).seeds(0..20_000).isolate(isolation);
        check.run(move |sim: Sim| play(sim, Noise::None))
    };
    let (apart, here) = (report(Isolation::Process), report(Isolation::Thread));
    assert_eq!((apart.failed_seed, apart.choices()), (here.failed_seed, here.choices()));
    assert_eq!((apart.tape(), apart.shrink_runs()), (here.tape(), here.shrink_runs()));
    assert!(apart.choices().is_some(), "{apart}");
    let past = |text: &str| {
        let (_, past) = text.split_once("what led to it:").expect("a past");
        past.to_string()
    };
    assert_eq!(past(&apart.to_string()), past(&here.to_string()));
}

#[test]
fn what_was_reached_comes_over_and_checks_of_one_name_are_not_mixed_up() {
    let [first, second] = [1, 0].map(|odd| {
        check("labels").run(move |sim| async move {
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
fn a_process_that_a_run_has_begun_and_left_holds_up_nothing() {
    // All know the same name, and it goes on for as long as that is there.
    let test = "VIRTNET_TESTS_LEFT";
    let Ok(file) = std::env::var(test) else {
        let file = std::env::temp_dir().join(format!("virtnet-left-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let name = "apart::a_process_that_a_run_has_begun_and_left_holds_up_nothing";
        let text = said(&execute(name, &[(test, file.to_str().unwrap())]));
        assert!(text.contains("left: 1 run(s), all well"), "{text}");
        return;
    };
    let loops = format!("for i in $(seq 600); do [ -e '{file}' ] || exit; sleep 0.1; done");
    let start = Instant::now();
    let report = check("left").seeds(0..1).run(move |_| {
        let left = Command::new("sh").args(["-c", &loops]).spawn();
        async move { left.map(drop) }
    });
    assert!(start.elapsed() < Duration::from_secs(30), "it was waited for");
    std::fs::remove_file(file).unwrap();
    eprintln!("{report}");
}

#[test]
fn what_no_process_can_be_had_for_is_said_in_one_sentence() {
    let elsewhere = |name: Option<&str>| {
        let thread = std::thread::Builder::new();
        let thread = name.into_iter().fold(thread, |thread, name| thread.name(name.into()));
        let run = || check("elsewhere").run(async |_| ()).to_string();
        thread.spawn(run).unwrap().join().unwrap()
    };
    let text = elsewhere(None);
    assert!(text.starts_with("virtnet: no process can be begun for a run: this thread"), "{text}");
    let text = elsewhere(Some("nobody"));
    assert!(text.contains(": it has no test named nobody; the check has to be called"), "{text}");
    let cold = Check::new("cold").check_determinism_against(DeterminismCheck::FreshProcess);
    let cold = std::thread::spawn(|| cold.run(async |_| ()).to_string()).join().unwrap();
    assert!(cold.starts_with("virtnet: no process can be begun for a run: "), "{cold}");
}

#[test]
fn a_test_that_does_not_come_to_the_check_again_is_told() {
    let name = format!("VIRTNET_TESTS_{}", std::process::id());
    let is_first = std::env::var_os("VIRTNET_CHILD").is_none();
    assert!(is_first, "{name}: in the other process it is another test");
    let text = check("never").run(async |_| ()).to_string();
    assert!(text.contains("ended before it came to the check (exit status: 101"), "{text}");
    assert!(text.contains("in the other process it is another test"), "{text}");
}

#[test]
fn a_variable_that_the_parent_has_not_set_skips_nothing() {
    let child = [("VIRTNET_CHILD", "1 other_attributes_stay_as_they_are#1")];
    let text = said(&execute("apart::other_attributes_stay_as_they_are", &child));
    assert!(text.contains("other_attributes_stay_as_they_are failed with seed 0x0"), "{text}");
}

#[test]
fn the_replay_line_of_a_run_apart_repeats_it() {
    let test = "apart::other_attributes_stay_as_they_are";
    let text = said(&execute(test, &[]));
    let line = replay_line(&text);
    assert!(
        line.starts_with("VIRTNET_SEED=0x0 cargo test -p sim-tests --test sim apart::"),
        "{line}"
    );
    let again = said(&execute(test, &[("VIRTNET_SEED", "0x0")]));
    assert!(again.contains("other_attributes_stay_as_they_are failed with seed 0x0"), "{again}");
}

#[test]
fn a_seed_that_is_run_after_one_that_dies_is_not_to_blame() {
    let Ok(_) = std::env::var("VIRTNET_TESTS_BLAME") else {
        let test = "apart::a_seed_that_is_run_after_one_that_dies_is_not_to_blame";
        let text = said(&execute(test, &[("VIRTNET_TESTS_BLAME", "")]));
        assert!(text.contains("blame failed with seed 0x3"), "{text}");
        assert!(text.contains("died: signal: 6 (SIGABRT)"), "{text}");
        assert!(!text.contains("not the same run"), "{text}");
        return;
    };
    let check =
        check("blame").seeds(0..4).check_determinism_against(DeterminismCheck::AfterOtherSeeds);
    let report = check.run(async |sim: Sim| {
        if sim.seed() == 3 {
            std::process::abort();
        }
    });
    report.assert();
}
