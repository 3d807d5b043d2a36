//! Runs that take the whole process with them: their seeds are not lost.
//!
//! Knows how to execute this very test once more in a process of its own, told by a variable what
//! to do there.

use std::process::{Command, Output};

use virtnet::check::{Check, Isolation};

const PLANTED: &str = "VIRTNET_TESTS_PLANTED";

/// What the test does in a process of its own: a sweep, in which one seed may abort.
fn swept(what: &str) {
    let aborts = what == "abort";
    let report = Check::new(&format!("aborts-in-{}", std::env::var("VIRTNET_TESTS_NAME").unwrap()))
        .seeds(0..20)
        .isolate(Isolation::None)
        .run(move |sim| async move {
            if aborts && sim.seed() == 13 {
                std::process::abort();
            }
        });
    report.assert();
}

fn in_a_process(test: &str, what: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture"]).env(PLANTED, what);
    command.env("VIRTNET_TESTS_NAME", std::process::id().to_string());
    command.output().unwrap()
}

#[test]
fn the_seed_of_a_run_that_aborts_is_said_by_the_next_sweep() {
    if let Ok(what) = std::env::var(PLANTED) {
        return swept(&what);
    }
    let test = "lost::the_seed_of_a_run_that_aborts_is_said_by_the_next_sweep";
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let dead = in_a_process(test, "abort");
    assert!(!dead.status.success(), "{}", said(&dead));
    let next = in_a_process(test, "well");
    let text = said(&next);
    assert!(next.status.success(), "{text}");
    assert!(text.contains("a process died while it was in the run of seed 0xd"), "{text}");
    assert!(text.contains("replay: VIRTNET_SEED=0xd cargo test lost::the_seed"), "{text}");
    let last = in_a_process(test, "well");
    assert!(!said(&last).contains("a process died"), "{}", said(&last));
}
