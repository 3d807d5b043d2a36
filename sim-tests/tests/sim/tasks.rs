//! Tasks: spawning, joining, aborting, naming and waking.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use virtnet::rand_core::Rng;
use virtnet::{RecordKind, Run, Schedule, Sim};

fn fifo() -> Run {
    Run::new(0).schedule(Schedule::Fifo)
}

#[test]
fn join_handle_of_a_non_send_task_is_send_and_sync() {
    fn is_send_and_sync<T: Send + Sync>(handle: T) -> T {
        handle
    }
    fifo()
        .execute(async |sim| {
            let shared = Rc::new(5);
            let handle = is_send_and_sync(sim.spawn(async move { shared }));
            assert_eq!(*handle.await.unwrap(), 5);
        })
        .unwrap();
}

#[test]
fn dropped_join_handle_detaches_its_task() {
    fifo()
        .execute(async |sim| {
            let done = Rc::new(Cell::new(false));
            let flag = done.clone();
            drop(sim.spawn(async move { flag.set(true) }));
            sim.yield_now().await;
            assert!(done.get());
        })
        .unwrap();
}

#[test]
fn output_without_a_join_handle_is_dropped_at_once() {
    struct Flag(Rc<Cell<bool>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    fifo()
        .execute(async |sim| {
            for dropped_first in [true, false] {
                let dropped = Rc::new(Cell::new(false));
                let flag = Flag(dropped.clone());
                let mut handle = Some(sim.spawn(async move { flag }));
                if dropped_first {
                    handle = None;
                }
                sim.yield_now().await;
                assert_eq!(dropped.get(), dropped_first);
                drop(handle);
                assert!(dropped.get());
            }
        })
        .unwrap();
}

#[test]
fn aborted_task_is_dropped_before_any_other_task_runs() {
    struct Log(Rc<RefCell<Vec<&'static str>>>, &'static str);
    impl Drop for Log {
        fn drop(&mut self) {
            self.0.borrow_mut().push(self.1);
        }
    }
    let log = Rc::new(RefCell::new(Vec::new()));
    let seen = log.clone();
    Run::new(11)
        .execute(async move |sim| {
            let guard = Log(seen.clone(), "dropped");
            let task = sim.task("victim").spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            sim.sleep(Duration::from_millis(100)).await;
            let other = seen.clone();
            sim.spawn(async move { other.borrow_mut().push("another task") });
            task.abort();
            assert!(!task.is_finished());
            let error = task.await.unwrap_err();
            assert_eq!(error.to_string(), "task main/victim was aborted");
            assert_eq!(error.task(), "main/victim");
            sim.sleep(Duration::from_millis(100)).await;
        })
        .unwrap();
    assert_eq!(*log.borrow(), ["dropped", "another task"]);
}

#[test]
fn abort_of_a_finished_task_or_of_itself_is_harmless() {
    fifo()
        .execute(async |sim| {
            let done = sim.spawn(async { 1 });
            sim.yield_now().await;
            assert!(done.is_finished());
            done.abort();
            assert_eq!(done.await, Ok(1));

            let own_handle = Rc::new(RefCell::new(None::<virtnet::JoinHandle<u8>>));
            let handle = own_handle.clone();
            let self_aborting = sim.spawn(async move {
                poll_fn(|_| Poll::Ready(())).await;
                if let Some(handle) = &*handle.borrow() {
                    handle.abort();
                }
                sim.yield_now().await;
                1
            });
            *own_handle.borrow_mut() = Some(self_aborting);
            sim.sleep(Duration::from_secs(1)).await;
            let self_aborting = own_handle.take().unwrap();
            assert!(self_aborting.await.is_err(), "it was dropped at its next await");
        })
        .unwrap();
}

#[test]
fn destructor_may_spawn_and_abort_tasks() {
    struct SpawnsOnDrop(Sim, Rc<Cell<u32>>);
    impl Drop for SpawnsOnDrop {
        fn drop(&mut self) {
            let count = self.1.clone();
            self.0.spawn(async move { count.set(count.get() + 1) }).abort();
            let count = self.1.clone();
            self.0.spawn(async move { count.set(count.get() + 10) });
        }
    }
    let count = Rc::new(Cell::new(0));
    let (first, last) = (count.clone(), count.clone());
    fifo()
        .execute(async move |sim| {
            let spawner = SpawnsOnDrop(sim, first);
            let task = sim.spawn(async move {
                let _spawner = spawner;
                pending::<()>().await;
            });
            sim.yield_now().await;
            task.abort();
            sim.sleep(Duration::from_secs(1)).await;
            let spawner = SpawnsOnDrop(sim, last);
            sim.spawn(async move {
                let _spawner = spawner;
                pending::<()>().await;
            });
            sim.yield_now().await;
        })
        .unwrap();
    assert_eq!(count.get(), 10, "what is spawned when the run is over never runs");
}

#[test]
fn combinators_with_their_own_wakers_complete() {
    let outcome = Run::new(3).execute(async |sim| {
        let mut sleeps: FuturesUnordered<_> = (1..=50u64)
            .map(|n| async move {
                sim.sleep(Duration::from_millis(n)).await;
                sim.spawn(async move { n }).await.unwrap()
            })
            .collect();
        let mut sum = 0;
        while let Some(n) = sleeps.next().await {
            sum += n;
        }
        sum
    });
    assert_eq!(outcome.unwrap(), 50 * 51 / 2);
}

#[test]
fn task_path_has_escaped_names_and_sibling_index() {
    let outcome = fifo().keep_trace().execute(async |sim| {
        for _ in 0..2 {
            sim.task("a b/c#").spawn(async move {
                sim.task("inner").spawn(async move { sim.note("hello") }).await.unwrap();
            });
        }
        sim.sleep(Duration::from_secs(1)).await;
    });
    let trace = outcome.trace.unwrap();
    let notes: Vec<&str> = trace
        .records()
        .iter()
        .filter(|record| record.kind == RecordKind::Note)
        .map(|record| record.subject.as_str())
        .collect();
    assert_eq!(notes, ["main/a%20b%2Fc%23/inner", "main/a%20b%2Fc%23#1/inner"]);
}

#[test]
fn random_words_come_from_the_calling_task_for_any_generator() {
    let draws = |extra: bool| {
        fifo()
            .execute(async move |sim| {
                let mut rng = sim.rng();
                if extra {
                    sim.task("other").spawn(async move {
                        let mut rng = sim.rng();
                        rng.next_u64();
                    });
                    sim.yield_now().await;
                }
                let main = [rng.next_u64(), virtnet::rng().next_u64()];
                let task = sim.task("worker").spawn(async move { rng.next_u64() });
                (main, task.await.unwrap())
            })
            .unwrap()
    };
    let (main, worker) = draws(false);
    assert_ne!(main[0], main[1]);
    assert_ne!(main[0], worker);
    assert_eq!(draws(true), (main, worker));
}

#[test]
fn reused_task_slot_restarts_sibling_numbering() {
    let outcome = fifo().keep_trace().execute(async |sim| {
        let first = sim.task("p").spawn(async move {
            for _ in 0..2 {
                sim.task("k").spawn(async {}).await.unwrap();
            }
        });
        first.await.unwrap();
        let second = sim.task("q").spawn(async move {
            sim.task("k").spawn(async move { sim.note("x") }).await.unwrap();
        });
        second.await.unwrap();
    });
    assert!(outcome.trace.unwrap().to_string().contains("note    main/q/k x"));
}

#[test]
fn waker_of_an_ended_task_wakes_no_task() {
    let polls = Rc::new(Cell::new(0));
    let seen = polls.clone();
    fifo()
        .execute(async move |sim| {
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone()));
            let old = sim.task("old").spawn(waker).await.unwrap();
            sim.task("new").spawn(poll_fn(move |_| {
                seen.set(seen.get() + 1);
                Poll::<()>::Pending
            }));
            sim.sleep(Duration::from_secs(1)).await;
            old.wake();
            sim.sleep(Duration::from_secs(1)).await;
        })
        .unwrap();
    assert_eq!(polls.get(), 1);
}

#[test]
fn kept_waker_wakes_its_own_task_after_others_were_polled() {
    fifo()
        .execute(async |sim| {
            let kept = Rc::new(RefCell::new(Vec::new()));
            let polls = Rc::new(RefCell::new(vec![0; 4]));
            for n in 0..4 {
                let (kept, polls) = (kept.clone(), polls.clone());
                // Every other one keeps a waker, at its first poll and at none that follows.
                sim.spawn(poll_fn(move |cx| {
                    polls.borrow_mut()[n] += 1;
                    if n % 2 == 0 && polls.borrow()[n] == 1 {
                        kept.borrow_mut().push(cx.waker().clone());
                    }
                    Poll::<()>::Pending
                }));
            }
            sim.sleep(Duration::from_secs(1)).await;
            assert_eq!(*polls.borrow(), [1, 1, 1, 1]);
            for (waker, after) in [(1, [1, 1, 2, 1]), (0, [2, 1, 2, 1]), (1, [2, 1, 3, 1])] {
                let waker = kept.borrow()[waker].clone();
                waker.wake();
                sim.sleep(Duration::from_secs(1)).await;
                assert_eq!(*polls.borrow(), after);
            }
        })
        .unwrap();
}

#[test]
fn chain_of_20_000_nested_tasks_has_a_hashed_path_that_replays() {
    fn spawn_chain(sim: Sim, remaining: u32) {
        sim.task("link").spawn(async move {
            match remaining {
                0 => pending().await,
                _ => spawn_chain(sim, remaining - 1),
            }
        });
    }
    let run = || {
        fifo().keep_trace().execute(async |sim| {
            spawn_chain(sim, 20_000);
            pending::<()>().await;
        })
    };
    let outcome = run();
    let virtnet::Ending::Deadlock(stall) = &outcome.ending else { panic!("{}", outcome.ending) };
    let path = &stall.tasks[1].task;
    assert!(path.starts_with("%hash:") && path.ends_with("/link") && path.len() < 300, "{path}");
    // What stands for the ancestors on a tape is read back as the same task.
    let tape = outcome.tape.clone().with(&format!("delay {path} spawn"), 0, 1_000_000);
    let late = fifo().tape(tape).execute(async |sim| {
        spawn_chain(sim, 20_000);
        pending::<()>().await;
    });
    assert_eq!(late.elapsed, Duration::from_millis(1));
}

#[test]
fn joins_through_a_combinator_change_no_timer_delay() {
    let late = |joins: usize| {
        let run = Run::new(6).execute(async move |sim| {
            let sleeper = sim.task("sleeper").spawn(async move {
                let children = (0..joins).map(|_| sim.task("child").spawn(async {}));
                let mut children: FuturesUnordered<_> = children.collect();
                while children.next().await.is_some() {}
                let mut late = Vec::new();
                for _ in 0..40 {
                    let due = sim.now() + Duration::from_secs(1);
                    sim.sleep_until(due).await;
                    late.push(sim.now() - due);
                }
                late
            });
            sleeper.await.unwrap()
        });
        run.unwrap()
    };
    assert_eq!(late(0), late(5));
}

#[test]
fn task_woken_by_20_000_sources_completes() {
    // Each wakes the main task as a source of its own; see `TaskTable::sweep_wake_counts`.
    let outcome = fifo().execute(async |sim| {
        let (to, mut from) = futures::channel::mpsc::unbounded();
        for n in 0..20_000u32 {
            let to = to.clone();
            sim.spawn(async move { to.unbounded_send(n).unwrap() });
            assert_eq!(from.next().await, Some(n));
        }
    });
    assert!(outcome.is_done());
}
