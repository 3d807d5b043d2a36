//! The endings of a run, and the report of a run that stops early.

use std::cell::Cell;
use std::future::{pending, poll_fn, ready};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::{AsyncReadExt, AsyncWriteExt, SinkExt, StreamExt};
use virtnet::{Ending, Outcome, Run, Schedule, Sim, Stall, StalledState, pipenet, select};

fn expect_stall<T>(outcome: Outcome<T>) -> Stall {
    match outcome.ending {
        Ending::Deadlock(stall)
        | Ending::Livelock(stall)
        | Ending::TimeLimit(stall)
        | Ending::StepLimit(stall) => stall,
        other => panic!("no stall: {other}"),
    }
}

#[test]
fn run_ends_with_its_main_task_and_drops_the_others() {
    struct Flag(Rc<Cell<bool>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let dropped = Rc::new(Cell::new(false));
    let flag = Flag(dropped.clone());
    let outcome = Run::new(1).execute(async move |sim| {
        sim.spawn(async move {
            let _flag = flag;
            pending::<()>().await;
        });
        sim.yield_now().await;
        "result"
    });
    assert!(outcome.is_done());
    assert!(dropped.get());
    assert_eq!(outcome.unwrap(), "result");
}

#[test]
fn deadlock_names_tasks_spawn_locations_and_wait_reasons() {
    let outcome = Run::new(1).execute(async |sim| {
        let (_keep, never) = oneshot::channel::<()>();
        let reader = sim.task("reader").spawn(async move {
            let _ = never.await;
        });
        let joiner = sim.task("joiner").spawn(reader);
        joiner.await.unwrap().unwrap();
        drop(_keep);
    });
    assert!(matches!(outcome.ending, Ending::Deadlock(_)), "{}", outcome.ending);
    let text = outcome.to_string();
    let stall = expect_stall(outcome);
    let state = |n: usize| (stall.tasks[n].task.as_str(), stall.tasks[n].state.to_string());
    assert_eq!(state(0), ("main", "waits for the end of task main/joiner".into()));
    assert_eq!(
        state(1),
        ("main/reader", "waits for something unknown to virtnet (a channel? a lock?)".into())
    );
    assert_eq!(state(2), ("main/joiner", "waits for the end of task main/reader".into()));
    assert_eq!(stall.lost_wakeup, None);
    for task in &stall.tasks {
        assert!(task.spawned_at.file().ends_with("endings.rs"), "{task}");
    }
    assert!(text.contains("seed 0x1"), "{text}");
}

#[test]
fn deadlock_on_network_names_the_pending_operations() {
    let outcome = Run::new(1).schedule(Schedule::Fifo).execute(async |sim| {
        let net = pipenet::Network::new("t");
        let (near, far) = (net.host("α"), net.host("β"));
        let listener = far.listen("").await.unwrap();
        let accepting = listener.clone();
        sim.task("server").spawn(async move {
            let mut conn = accepting.accept().await.unwrap();
            let (_keep, never) = oneshot::channel::<()>();
            let mut buf = [0; 8];
            select! {
                _ = conn.read(&mut buf) => (),
                _ = never => (),
            }
        });
        let dialing = near.clone();
        sim.task("late").spawn(async move {
            sim.sleep(Duration::from_millis(1)).await;
            dialing.dial("β:1").await.unwrap();
        });
        let mut conn = near.dial("β:1").await.unwrap();
        conn.read_exact(&mut [0; 8]).await.unwrap();
    });
    let stall = expect_stall(outcome);
    let states: Vec<String> = stall.tasks.iter().map(|task| task.state.to_string()).collect();
    let unknown = "or something unknown to virtnet (a channel? a lock?)";
    assert_eq!(
        states,
        [
            "waits for read pipet β:2->α:1".to_string(),
            format!("waits for read pipet α:1->β:2, {unknown}"),
            "waits for dial pipet α:2->β:1".to_string(),
        ]
    );
}

#[test]
fn lost_wakeup_is_reported_when_the_task_would_complete() {
    let outcome = Run::new(1).execute(async |sim| {
        let full = Rc::new(Cell::new(false));
        let seen = full.clone();
        let reader = sim.task("careless").spawn(poll_fn(move |_cx| {
            // The waker is not kept: the planted lie.
            if seen.get() { Poll::Ready(()) } else { Poll::Pending }
        }));
        sim.sleep(Duration::from_millis(1)).await;
        full.set(true);
        reader.await.unwrap();
    });
    let lost_wakeup = expect_stall(outcome).lost_wakeup.expect("it was planted");
    assert_eq!(
        (lost_wakeup.task.as_str(), lost_wakeup.evidence.as_str()),
        ("main/careless", "completes")
    );
}

#[test]
fn lost_wakeup_is_reported_when_the_task_would_wake_another() {
    let outcome = Run::new(1).schedule(Schedule::Fifo).execute(async |sim| {
        let (mut to, mut from) = mpsc::channel::<u8>(1);
        let full = Rc::new(Cell::new(false));
        let seen = full.clone();
        sim.task("careless").spawn(async move {
            poll_fn(|_cx| if seen.get() { Poll::Ready(()) } else { Poll::Pending }).await;
            to.send(1).await.unwrap();
            pending::<()>().await;
        });
        sim.yield_now().await;
        full.set(true);
        from.next().await
    });
    let lost_wakeup = expect_stall(outcome).lost_wakeup.expect("it was planted");
    assert_eq!(
        lost_wakeup.to_string(),
        "probably a lost wake-up: main/careless, polled once more, wakes task main"
    );
}

#[test]
fn lost_wakeup_is_reported_when_bytes_connection_or_output_are_ready() {
    let evidence = |awaited: &'static str| {
        let outcome = Run::new(1).execute(async move |sim| {
            let net = pipenet::Network::new("t");
            let listener = net.host("β").listen("").await.unwrap();
            let host = net.host("α");
            let (dialed, accepted) = futures::join!(host.dial("β:1"), listener.accept());
            let (mut dialed, mut accepted) = (dialed.unwrap(), accepted.unwrap());
            let mut child = sim.spawn(async move { sim.sleep(Duration::from_secs(1)).await });
            // It would go on for ever, but nobody wakes it.
            let mut unwoken = Box::pin(async move {
                match awaited {
                    "bytes" => while accepted.read_exact(&mut [0]).await.is_ok() {},
                    "connections" => while listener.accept().await.is_ok() {},
                    _ => (&mut child).await.unwrap(),
                }
                pending::<()>().await;
            });
            let poll = move |_: &mut Context<'_>| {
                unwoken.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            };
            sim.task("deaf").spawn(poll_fn(poll));
            sim.sleep(Duration::from_secs(2)).await;
            match awaited {
                "bytes" => dialed.write_all(b"x").await.unwrap(),
                "connections" => drop(host.dial("β:1").await),
                _ => pending().await,
            }
            pending::<()>().await;
        });
        let lost_wakeup = expect_stall(outcome).lost_wakeup.expect(awaited);
        format!("{} {}", lost_wakeup.task, lost_wakeup.evidence)
    };
    assert_eq!(evidence("bytes"), "main/deaf gets what it waited for");
    assert_eq!(evidence("output"), "main/deaf gets what it waited for");
    assert_eq!(evidence("connections"), "main/deaf gets what it waited for");
}

#[test]
fn panic_names_its_task_message_and_spawn_location() {
    let outcome = Run::new(5).execute(async |sim| {
        sim.task("outer").spawn(async move {
            sim.task("inner").spawn(async { panic!("boom {}", 7) });
            pending::<()>().await;
        });
        pending::<()>().await;
    });
    let Ending::Panicked(panic) = outcome.ending else { panic!("{}", outcome.ending) };
    assert_eq!(panic.task, "main/outer/inner");
    assert_eq!(panic.message, "boom 7");
    assert!(panic.spawned_at.file().ends_with("endings.rs"));
    assert!(!panic.during_drop);
}

#[test]
fn panic_of_main_or_its_constructor_ends_the_run_as_panicked() {
    let outcome = Run::new(5).execute(async |_| panic!("in main"));
    let Ending::<()>::Panicked(panic) = outcome.ending else { panic!() };
    assert_eq!((panic.task.as_str(), panic.message.as_str()), ("main", "in main"));

    let outcome = Run::new(5).execute(|_| -> std::future::Ready<()> { panic!("before main") });
    let Ending::Panicked(panic) = outcome.ending else { panic!() };
    assert_eq!((panic.task.as_str(), panic.message.as_str()), ("main", "before main"));
}

#[test]
fn destructor_panic_at_teardown_is_reported_and_other_tasks_are_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("tick");
        }
    }
    struct Flag(Rc<Cell<bool>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let dropped = Rc::new(Cell::new(false));
    let flag = Flag(dropped.clone());
    let outcome = Run::new(5).schedule(Schedule::Fifo).execute(async |sim| {
        sim.task("bomb").spawn(async {
            let _bomb = Bomb;
            pending::<()>().await;
        });
        sim.task("after").spawn(async move {
            let _flag = flag;
            pending::<()>().await;
        });
        sim.yield_now().await;
    });
    let Ending::Panicked(panic) = outcome.ending else { panic!("{}", outcome.ending) };
    assert_eq!(
        panic.to_string().lines().next(),
        Some("task main/bomb panicked while it was dropped: tick")
    );
    assert!(dropped.get());
    assert!(Run::new(5).execute(async |_| ()).is_done(), "the next run is not affected");
}

#[test]
fn tasks_waking_each_other_forever_are_a_livelock_naming_both() {
    for schedule in [Schedule::Fifo, Schedule::Random, Schedule::Pct { depth: 3 }] {
        // A seed that holds neither task back for long: or time would pass, and not stand still.
        let outcome = Run::new(9).schedule(schedule).execute(async |sim| {
            let (mut to_b, mut from_a) = mpsc::channel::<()>(0);
            let (mut to_a, mut from_b) = mpsc::channel::<()>(0);
            sim.task("ping").spawn(async move {
                loop {
                    to_b.send(()).await.unwrap();
                    from_b.next().await;
                }
            });
            sim.task("pong").spawn(async move {
                loop {
                    from_a.next().await;
                    to_a.send(()).await.unwrap();
                }
            });
            sim.sleep(Duration::from_secs(3000)).await;
        });
        assert!(matches!(outcome.ending, Ending::Livelock(_)), "{schedule}: {}", outcome.ending);
        let stall = expect_stall(outcome);
        let culprit = stall.culprit.as_deref().expect("a livelock has one");
        assert!(culprit == "main/ping" || culprit == "main/pong", "{stall}");
        assert!(stall.to_string().contains("main/ping") && stall.to_string().contains("main/pong"));
    }
}

#[test]
fn task_yielding_forever_ends_at_the_step_limit_and_is_named() {
    let outcome = Run::new(2).step_limit(10_000).execute(async |sim| {
        sim.task("spinner").spawn(async move {
            loop {
                sim.yield_now().await;
            }
        });
        pending::<()>().await;
    });
    assert!(matches!(outcome.ending, Ending::StepLimit(_)), "{}", outcome.ending);
    assert_eq!(outcome.steps, 10_000);
    let stall = expect_stall(outcome);
    assert_eq!(stall.tasks[1].task, "main/spinner");
    assert_eq!(
        stall.tasks[1].state,
        StalledState::Woken { by: "task main/spinner".into(), polls_at_instant: 0 },
    );
}

#[test]
fn self_woken_task_that_ends_does_not_advance_the_clock() {
    let outcome = Run::new(0).schedule(Schedule::Fifo).execute(async |sim| {
        sim.spawn(async move {
            sim.yield_now().await;
            select! { biased; () = sim.yield_now() => (), () = ready(()) => () }
        });
        pending::<()>().await;
    });
    assert!(matches!(outcome.ending, Ending::Deadlock(_)), "{}", outcome.ending);
    assert_eq!(outcome.elapsed, Duration::ZERO);
}

#[test]
fn destructor_spawning_itself_repeatedly_ends_at_the_step_limit() {
    struct SpawnsOnDrop(Sim, u32);
    impl Drop for SpawnsOnDrop {
        fn drop(&mut self) {
            if self.1 == 0 {
                return;
            }
            let copy = Self(self.0, self.1 - 1);
            let task = self.0.spawn(async move {
                let _again = copy;
                pending::<()>().await;
            });
            task.abort();
        }
    }
    let outcome = Run::new(0).step_limit(100).execute(async |sim| {
        drop(SpawnsOnDrop(sim, 300));
        pending::<()>().await;
    });
    assert!(matches!(outcome.ending, Ending::StepLimit(_)), "{}", outcome.ending);
}

#[test]
fn endless_sleep_ends_at_the_time_limit_and_is_named() {
    let outcome = Run::new(2)
        .time_limit(Duration::from_secs(60))
        .execute(async |sim| sim.sleep(Duration::MAX).await);
    assert!(matches!(outcome.ending, Ending::TimeLimit(_)), "{}", outcome.ending);
    assert_eq!(outcome.elapsed, Duration::from_secs(60));
    let StalledState::Waiting { reasons, elsewhere: false } = &expect_stall(outcome).tasks[0].state
    else {
        panic!()
    };
    assert!(reasons[0].starts_with("sleep until "), "{reasons:?}");
}

#[test]
fn event_at_the_time_limit_still_happens_and_later_ones_do_not() {
    let ticks = Rc::new(Cell::new(0));
    let seen = ticks.clone();
    let run = Run::new(2).schedule(Schedule::Fifo).time_limit(Duration::from_secs(60));
    let outcome = run.execute(async move |sim| {
        loop {
            sim.sleep(Duration::from_secs(1)).await;
            seen.set(seen.get() + 1);
        }
    });
    assert!(matches!(outcome.ending, Ending::<()>::TimeLimit(_)), "{}", outcome.ending);
    assert_eq!((outcome.elapsed, ticks.get()), (Duration::from_secs(60), 60));
}

#[test]
#[should_panic(expected = "deadlock, every task waits: at 0ns; 1 task(s):")]
fn unwrap_of_a_deadlock_panics_with_its_ending() {
    Run::new(2).execute(async |_| pending::<()>().await).unwrap();
}

#[test]
#[should_panic(expected = "a run inside a run is refused")]
fn nested_run_is_refused() {
    let outcome = Run::new(1).execute(async |_| {
        Run::new(2).execute(async |_| ()).unwrap();
    });
    let Ending::Panicked(panic) = outcome.ending else { panic!("it was allowed") };
    panic!("{}", panic.message);
}

#[test]
fn untaken_outputs_that_all_panic_on_drop_end_the_run_as_panicked() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("nobody took it");
        }
    }
    let outcome = Run::new(1).execute(async |sim| {
        for _ in 0..3 {
            std::mem::forget(sim.spawn(async { Bomb }));
        }
        sim.sleep(Duration::from_secs(1)).await;
    });
    let Ending::Panicked(panic) = outcome.ending else { panic!("{}", outcome.ending) };
    assert_eq!((&*panic.message, panic.during_drop), ("nobody took it", true));
}
