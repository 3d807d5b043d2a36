//! Determinism: a seed gives the same run at any time, on any thread and in any process.
//!
//! The golden fingerprints may change only on purpose; the changelog names each change.

use std::future::poll_fn;
use std::process::Command;
use std::task::Poll;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use virtnet::rand_core::Rng;
use virtnet::{Fingerprint, Run, Schedule, Sim, pipenet};

/// A little of everything: tasks, timers, randomness, choices, a network.
async fn program(sim: Sim) {
    let net = pipenet::Network::new("t");
    let listener = net.host("server").listen(":80").await.unwrap();
    sim.task("server").spawn(async move {
        while let Ok(mut conn) = listener.accept().await {
            sim.task("session").spawn(async move {
                let mut buf = [0; 16];
                while let Ok(n @ 1..) = conn.read(&mut buf).await {
                    if sim.choose("think", 3) > 0 {
                        sim.sleep(Duration::from_micros(sim.choose("how long", 500) as u64)).await;
                    }
                    conn.write_all(&buf[..n]).await.unwrap();
                }
            });
        }
    });
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let host = net.host(&format!("client {n}"));
            sim.task("client").spawn(async move {
                let mut conn = host.dial("server:80").await.unwrap();
                for _ in 0..5 {
                    let sent = sim.rng().next_u64().to_le_bytes();
                    conn.write_all(&sent).await.unwrap();
                    let mut got = [0; 8];
                    conn.read_exact(&mut got).await.unwrap();
                    assert_eq!(sent, got);
                    virtnet::select! {
                        () = sim.sleep(Duration::from_millis(1)) => sim.note("slept"),
                        () = sim.yield_now() => sim.note("yielded"),
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

fn fingerprint(seed: u64) -> Fingerprint {
    let outcome = Run::new(seed).execute(program);
    assert!(outcome.is_done(), "{}", outcome.ending);
    outcome.fingerprint
}

/// Ten runs whose identity may change only on purpose; the changelog says when.
const GOLDEN_FINGERPRINTS: [&str; 10] = [
    "2a86858eaa8c522c",
    "03c3341807a695a7",
    "1cf09ed4a45fab64",
    "6302e5979585f6c6",
    "d91d429b485f0f22",
    "ce8f8fd781b12942",
    "452729a5cb318ae4",
    "a28786f85c7b4115",
    "07abc78eccf0fef1",
    "18bf1ceab8eb1a89",
];

#[test]
fn first_ten_seeds_have_golden_fingerprints() {
    let found: Vec<String> = (0..10).map(|seed| fingerprint(seed).to_string()).collect();
    assert_eq!(found, GOLDEN_FINGERPRINTS);
}

#[test]
fn seed_after_a_thousand_other_runs_has_same_fingerprint() {
    let before = fingerprint(7);
    for seed in 100..1_100 {
        let _ = fingerprint(seed);
    }
    assert_eq!(fingerprint(7), before);
}

#[test]
fn seed_in_parallel_threads_has_same_fingerprint() {
    let expected: Vec<_> = (0..20).map(fingerprint).collect();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..5 {
                    let found: Vec<_> = (0..20).map(fingerprint).collect();
                    assert_eq!(found, expected);
                }
            });
        }
    });
}

#[test]
fn seeds_and_schedules_give_distinct_fingerprints() {
    let mut all: Vec<_> = (0..100).map(fingerprint).collect();
    for schedule in [Schedule::Fifo, Schedule::Pct { depth: 2 }] {
        all.push(Run::new(0).schedule(schedule).execute(program).fingerprint);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 102);
}

const PRINT_VARIABLE: &str = "VIRTNET_TEST_PRINT_FINGERPRINTS";

/// Prints fingerprints when it is run by the next test in a fresh process.
#[test]
fn fingerprints_requested_by_variable_are_printed() {
    if std::env::var_os(PRINT_VARIABLE).is_some() {
        let found: Vec<String> = (0..10).map(|seed| fingerprint(seed).to_string()).collect();
        println!("fingerprints: {}", found.join(" "));
    }
}

#[test]
fn seed_in_a_fresh_process_has_same_fingerprint_in_any_environment() {
    let test_binary = std::env::current_exe().unwrap();
    let expected = format!("fingerprints: {}", GOLDEN_FINGERPRINTS.join(" "));
    let large_value = "x".repeat(100_000);
    for environment in [
        vec![],
        vec![("RUST_BACKTRACE", "full"), ("HOME", "/nowhere")],
        vec![("LANG", "tr_TR.UTF-8"), ("LC_ALL", "C"), ("TZ", "Asia/Kathmandu")],
        vec![("A_LARGE_VARIABLE", large_value.as_str())],
    ] {
        let output = Command::new(&test_binary)
            .args([
                "--exact",
                "sim::determinism::fingerprints_requested_by_variable_are_printed",
                "--nocapture",
            ])
            .env(PRINT_VARIABLE, "1")
            .envs(environment)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&expected), "expected {expected}, found {text}");
    }
}

#[test]
fn aborted_task_is_part_of_the_fingerprint() {
    let abort = |is_second: bool| {
        let run = Run::new(1).schedule(Schedule::Fifo).execute(async move |sim| {
            let tasks = ["a", "b"].map(|name| sim.task(name).spawn(std::future::pending::<()>()));
            sim.yield_now().await;
            tasks[usize::from(is_second)].abort();
            sim.yield_now().await;
        });
        run.fingerprint
    };
    assert_ne!(abort(true), abort(false));
    assert_eq!(abort(true), abort(true));
}

#[test]
fn first_difference_names_index_and_both_records() {
    let trace = |note: &'static str| {
        let run = Run::new(1).schedule(Schedule::Fifo).keep_trace();
        run.execute(async move |sim| {
            sim.note("same");
            sim.sleep(Duration::from_millis(5)).await;
            sim.note(note);
        })
        .trace
        .unwrap()
    };
    assert_eq!(trace("left").first_difference(&trace("left")), None);
    let found = trace("left").first_difference(&trace("right")).unwrap();
    assert_eq!(found.index, 3);
    let expected = "first difference at record 3:\n  \
                    left     0.005000000 note    main left\n  \
                    right    0.005000000 note    main right";
    assert_eq!(found.to_string(), expected);
}

#[test]
fn trace_display_has_time_kind_subject_and_source_of_each_record() {
    let run = Run::new(1).schedule(Schedule::Fifo).keep_trace();
    let outcome = run.execute(async |sim| {
        let task = sim.task("worker").spawn(async move {
            sim.sleep(Duration::from_millis(5)).await;
            sim.choose("coin", 2);
            sim.note("done");
        });
        task.await.unwrap();
    });
    let coin = outcome.trace.as_ref().unwrap().records()[3].digest;
    let expected = format!(
        "   0.000000000 poll    main by spawn 0\n   \
            0.000000000 poll    main/worker by spawn 0\n   \
            0.005000000 poll    main/worker by timer 0\n   \
            0.005000000 choose  main/worker coin 0 = {coin}\n   \
            0.005000000 note    main/worker done\n   \
            0.005000000 poll    main by main/worker/%exit 0\n   \
            0.005000000 ending   done\n"
    );
    assert_eq!(outcome.trace.unwrap().to_string(), expected);
}

#[test]
fn trace_display_escapes_newlines_and_control_characters() {
    let outcome = Run::new(1).keep_trace().execute(async |sim| {
        sim.note("two\nlines, and \u{1b}[31mred: é");
        panic!("left: 1\nright: 2");
    });
    let virtnet::Ending::<()>::Panicked(_) = outcome.ending else { panic!() };
    let trace = outcome.trace.unwrap();
    let printed = trace.to_string();
    assert_eq!(printed.lines().count(), trace.records().len());
    assert!(printed.contains(r" note    main two\nlines, and \u{1b}[31mred: é"), "{printed}");
    assert!(printed.ends_with("panicked: main: left: 1\\nright: 2\n"), "{printed}");
    assert_eq!(trace.records()[1].text, "two\nlines, and \u{1b}[31mred: é");
}

#[test]
fn record_text_and_value_are_part_of_the_fingerprint() {
    let fingerprint_of_note =
        |text: &'static str| Run::new(7).execute(async move |sim| sim.note(text)).fingerprint;
    assert_eq!(fingerprint_of_note("one"), fingerprint_of_note("one"));
    assert_ne!(fingerprint_of_note("one"), fingerprint_of_note("other"));
    let fingerprint_of_choice = |value| {
        let tape = virtnet::Tape::zero().with("choose main coin", 0, value);
        Run::new(7).tape(tape).execute(async |sim| sim.choose("coin", 9)).fingerprint
    };
    assert_ne!(fingerprint_of_choice(1), fingerprint_of_choice(2));
}

/// A run in another thread, with a task that a third thread wakes.
fn run_with_foreign_wake() {
    let run = || {
        let outcome = Run::new(1).execute(async |_| {
            let mut woken = false;
            poll_fn(move |cx| {
                if std::mem::replace(&mut woken, true) {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                std::thread::spawn(move || waker.wake()).join().unwrap();
                Poll::Pending
            })
            .await;
        });
        outcome.unwrap();
    };
    std::thread::spawn(run).join().unwrap();
}

#[test]
fn foreign_wake_of_another_run_does_not_change_the_fingerprint() {
    let run = |disturbed: bool| {
        let outcome = Run::new(7).schedule(Schedule::Fifo).execute(async move |sim| {
            for round in 0..4 {
                sim.sleep(Duration::from_millis(1)).await;
                if disturbed && round == 2 {
                    run_with_foreign_wake();
                }
                sim.sleep(Duration::from_millis(1)).await;
                sim.yield_now().await;
            }
        });
        (outcome.fingerprint, outcome.elapsed)
    };
    assert_eq!(run(true), run(false));
}
