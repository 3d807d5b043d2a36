//! Choice keys: an edit of one part of a program changes no choice of another part.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use virtnet::rand_core::Rng;
use virtnet::{Instant, RecordKind, Run, Schedule, Sim};

#[derive(Clone, Copy, PartialEq)]
enum Edit {
    None,
    NamedTask,
    Timer,
    Choice,
    Select,
    Random,
}

/// Two clients that talk to a server through channels, with an edit in it.
async fn program(sim: Sim, edit: Edit) {
    let (to_server, mut requests) = mpsc::unbounded::<u32>();
    let server = sim.task("server").spawn(async move {
        while let Some(n) = requests.next().await {
            sim.note(format!("serves {n} {}", sim.choose("disk", 1_000)));
        }
    });
    if edit == Edit::NamedTask {
        sim.task("extra").spawn(async move {
            for _ in 0..20 {
                sim.sleep(Duration::from_micros(700)).await;
                sim.choose("disk", 1_000);
            }
        });
    }
    let clients: Vec<_> = (0..2u32)
        .map(|n| {
            let to_server = to_server.clone();
            sim.task("client").spawn(async move {
                for round in 0..10 {
                    if edit == Edit::Timer && n == 0 {
                        sim.sleep(Duration::from_nanos(10)).await;
                    }
                    if edit == Edit::Choice && n == 0 {
                        sim.choose("new name", 5);
                    }
                    if edit == Edit::Select && n == 0 {
                        // Polled many times: it must not count for the other.
                        let spin = async {
                            for _ in 0..5 {
                                sim.yield_now().await;
                            }
                        };
                        virtnet::select! { () = spin => (), () = std::future::pending() => () }
                    }
                    if edit == Edit::Random && n == 0 {
                        sim.rng().next_u64();
                    }
                    sim.sleep(Duration::from_millis(1)).await;
                    sim.choose("think", 1_000);
                    to_server.unbounded_send(100 * n + round).unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    drop(to_server);
    server.await.unwrap();
}

/// Every value of every user's choice, by subject and ordinal.
fn choice_values(seed: u64, edit: Edit) -> BTreeMap<(String, String, u64), u64> {
    let outcome = Run::new(seed).keep_trace().execute(|sim| program(sim, edit));
    let trace = outcome.trace.unwrap();
    let choose_records = trace.records().iter().filter(|record| record.kind == RecordKind::Choose);
    choose_records.map(|r| ((r.subject.clone(), r.source.clone(), r.ordinal), r.digest)).collect()
}

#[test]
fn program_edit_changes_no_other_choice_value() {
    for seed in 0..20 {
        let before = choice_values(seed, Edit::None);
        assert_eq!(before.len(), 40);
        for edit in [Edit::NamedTask, Edit::Timer, Edit::Choice, Edit::Select, Edit::Random] {
            let after = choice_values(seed, edit);
            for (key, value) in &before {
                assert_eq!(after.get(key), Some(value), "{key:?} of seed {seed}");
            }
        }
    }
}

/// How late each wake-up of `task` by `source` came, in order; the program
/// sleeps for exactly a millisecond, so it can be told from the times.
fn wakeup_delays(seed: u64, edit: bool) -> Vec<u64> {
    Run::new(seed)
        .execute(async move |sim| {
            if edit {
                sim.task("extra").spawn(async move {
                    for _ in 0..200 {
                        sim.sleep(Duration::from_micros(300)).await;
                    }
                });
            }
            let sleeper = sim.task("sleeper").spawn(async move {
                let mut late = Vec::new();
                for _ in 0..160 {
                    let due = sim.now() + Duration::from_millis(1);
                    sim.sleep_until(due).await;
                    late.push((sim.now() - due).as_nanos() as u64);
                }
                late
            });
            sleeper.await.unwrap()
        })
        .unwrap()
}

#[test]
fn unrelated_task_changes_no_wakeup_delay() {
    for seed in 0..20 {
        let late = wakeup_delays(seed, false);
        assert!(late.iter().any(|late| *late > 0), "some wake-up is late");
        assert_eq!(late, wakeup_delays(seed, true));
    }
}

#[test]
fn timer_added_to_a_task_changes_no_other_wakeup_delay() {
    // A task is woken by a sender; its own timers must not shift those choices.
    let wakeup_delays_from_main = |extra_timer: bool| {
        let outcome = Run::new(4).keep_trace().execute(async move |sim| {
            let (to, mut from) = mpsc::unbounded::<()>();
            let receiver = sim.task("receiver").spawn(async move {
                while from.next().await.is_some() {
                    if extra_timer {
                        sim.sleep(Duration::from_nanos(5)).await;
                    }
                }
            });
            for _ in 0..30 {
                sim.sleep(Duration::from_secs(1)).await;
                sim.note("sent");
                to.unbounded_send(()).unwrap();
            }
            drop(to);
            receiver.await.unwrap();
        });
        let trace = outcome.trace.unwrap();
        let mut sent = 0;
        let mut late = Vec::new();
        for record in trace.records() {
            if record.kind == RecordKind::Note {
                sent = record.at.as_nanos();
            }
            if record.subject == "main/receiver" && record.source == "main" {
                late.push((record.ordinal, record.at.as_nanos() - sent));
            }
        }
        late
    };
    let late = wakeup_delays_from_main(false);
    assert!(late.len() >= 30 && late.iter().any(|(_, late)| *late > 0), "{late:?}");
    assert_eq!(late, wakeup_delays_from_main(true));
}

#[test]
fn wakeup_of_an_already_woken_task_is_counted_for_its_source() {
    // For five seconds another task may wake the sleeper at the same instants.
    let wakeups_by_one = |seed: u64, other: bool| {
        let run = Run::new(seed).keep_trace();
        let outcome = run.execute(async move |sim| {
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone()));
            let (to, from) = oneshot::channel();
            sim.task("sleeper").spawn(async move {
                to.send(waker.await).unwrap();
                pending::<()>().await;
            });
            let waker = from.await.unwrap();
            let spawn_waker = |name, seconds| {
                let waker = waker.clone();
                sim.task(name).spawn(async move {
                    for second in 1..=seconds {
                        sim.sleep_until(Instant::ZERO + Duration::from_secs(second)).await;
                        waker.wake_by_ref();
                    }
                })
            };
            let other = spawn_waker("other", if other { 5 } else { 0 });
            spawn_waker("one", 20).await.unwrap();
            other.await.unwrap();
            sim.sleep(Duration::from_secs(1)).await;
        });
        let trace = outcome.trace.unwrap();
        let later = Instant::ZERO + Duration::from_secs(6);
        let late = trace.records().iter().filter(|record| {
            record.at > later && record.subject == "main/sleeper" && record.source == "main/one"
        });
        late.map(|record| (record.ordinal, record.at)).collect::<Vec<_>>()
    };
    for seed in 0..20 {
        assert!(wakeups_by_one(seed, false).len() >= 14);
        assert_eq!(wakeups_by_one(seed, false), wakeups_by_one(seed, true), "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_choices_under_random_and_fifo() {
    assert_ne!(choice_values(1, Edit::None), choice_values(2, Edit::None));
    let fifo_run =
        |seed| Run::new(seed).schedule(Schedule::Fifo).execute(|sim| program(sim, Edit::None));
    assert_ne!(
        fifo_run(1).fingerprint,
        fifo_run(2).fingerprint,
        "choices are drawn under Fifo as well"
    );
}
