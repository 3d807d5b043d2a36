//! Virtual time: sleeps, timeouts, intervals and clocks. Times are exact under `Fifo`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use virtnet::{Elapsed, Instant, Run, Schedule, Tape};

const MS: Duration = Duration::from_millis(1);

fn fifo() -> Run {
    Run::new(0).schedule(Schedule::Fifo)
}

#[test]
fn timers_fire_in_order_of_deadline_then_of_registration() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let seen = order.clone();
    let outcome = fifo().execute(async move |sim| {
        let tasks: Vec<_> = [3, 1, 2, 1]
            .into_iter()
            .enumerate()
            .map(|(n, ms)| {
                let seen = seen.clone();
                sim.spawn(async move {
                    sim.sleep(ms * MS).await;
                    seen.borrow_mut().push((n, sim.now().as_nanos()));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(outcome.elapsed, 3 * MS);
    outcome.unwrap();
    assert_eq!(*order.borrow(), [(1, 1_000_000), (3, 1_000_000), (2, 2_000_000), (0, 3_000_000)]);
}

#[test]
fn sleeps_are_exact_on_the_zero_tape_and_late_on_a_random_one() {
    let run = |run: Run| {
        run.execute(async |sim| {
            for _ in 0..100 {
                sim.sleep(MS).await;
            }
            sim.now()
        })
        .unwrap()
    };
    assert_eq!(run(Run::new(9).tape(Tape::zero())), Instant::ZERO + 100 * MS);
    let random = run(Run::new(9));
    assert!(random > Instant::ZERO + 100 * MS, "{random:?}");
}

#[test]
fn joined_futures_take_time_to_communicate_and_tasks_take_none() {
    let run_exchange = |joined: bool| {
        fifo().execute(async move |sim| {
            let (mut to, mut from) = mpsc::channel::<u8>(0);
            let sender = async move {
                for n in 0..4 {
                    to.send(n).await.unwrap();
                }
            };
            let receiver = async move { while from.next().await.is_some() {} };
            if joined {
                virtnet::join!(sender, receiver);
            } else {
                sim.spawn(sender);
                sim.spawn(receiver).await.unwrap();
            }
            sim.now().as_nanos()
        })
    };
    assert_eq!(run_exchange(false).unwrap(), 0);
    let micros = run_exchange(true).unwrap();
    assert!((1_000..10_000).contains(&micros) && micros.is_multiple_of(1_000), "{micros}");
}

#[test]
fn timeout_polls_its_future_before_checking_the_deadline() {
    fifo()
        .execute(async |sim| {
            assert_eq!(sim.timeout(MS, sim.sleep(MS)).await, Ok(()));
            let late = sim.timeout(MS, sim.sleep(MS + Duration::from_nanos(1))).await;
            let elapsed: Elapsed = late.unwrap_err();
            assert_eq!(elapsed.to_string(), "deadline has elapsed");
            let error = std::io::Error::from(elapsed);
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            assert_eq!(sim.now(), Instant::ZERO + 2 * MS);
        })
        .unwrap();
}

#[test]
fn interval_ticks_at_once_and_catches_up() {
    fifo()
        .execute(async |sim| {
            let mut ticks = sim.interval(10 * MS);
            assert_eq!(ticks.tick().await, Instant::ZERO);
            sim.sleep(25 * MS).await;
            assert_eq!(ticks.tick().await, Instant::ZERO + 10 * MS);
            assert_eq!(ticks.next().await, Some(Instant::ZERO + 20 * MS));
            assert_eq!(sim.now(), Instant::ZERO + 25 * MS);
            assert_eq!(ticks.tick().await, Instant::ZERO + 30 * MS);
            assert_eq!(sim.now(), Instant::ZERO + 30 * MS);
        })
        .unwrap();
}

#[test]
fn yield_loop_until_a_timer_fires_ends() {
    for schedule in [Schedule::Fifo, Schedule::Random, Schedule::Pct { depth: 2 }] {
        let outcome = Run::new(4).schedule(schedule).execute(async |sim| {
            let fired = Rc::new(Cell::new(false));
            let flag = fired.clone();
            sim.spawn(async move {
                sim.sleep(Duration::from_micros(500)).await;
                flag.set(true);
            });
            let mut rounds = 0;
            while !fired.get() {
                sim.yield_now().await;
                rounds += 1;
            }
            rounds
        });
        let elapsed = outcome.elapsed;
        let rounds = outcome.unwrap();
        assert!(elapsed >= Duration::from_micros(500));
        assert!(rounds >= 500, "{schedule}: {rounds}");
    }
}

#[test]
fn yield_loop_skips_no_timer_nearer_than_a_microsecond() {
    fifo()
        .execute(async |sim| {
            let sleeper = sim.spawn(async move {
                sim.sleep(Duration::from_nanos(300)).await;
                sim.now().as_nanos()
            });
            while !sleeper.is_finished() {
                sim.yield_now().await;
            }
            assert_eq!(sleeper.await, Ok(300));
        })
        .unwrap();
}

#[test]
fn cancelled_timer_does_not_advance_the_clock() {
    let outcome = fifo().execute(async |sim| {
        let _ = sim.timeout(Duration::from_secs(50), sim.sleep(MS)).await;
        std::future::pending::<()>().await;
    });
    assert_eq!(outcome.elapsed, MS, "{}", outcome.ending);
}

#[test]
fn live_timer_among_50_000_cancelled_ones_fires_on_time() {
    let outcome = fifo().execute(async |sim| {
        let keeper = sim.spawn(async move {
            sim.sleep(Duration::from_secs(10)).await;
            sim.now()
        });
        for n in 0..50_000u64 {
            let limit = Duration::from_secs(1 + n % 3_000);
            assert!(sim.timeout(limit, sim.sleep(Duration::from_nanos(n % 7))).await.is_ok());
        }
        keeper.await.unwrap()
    });
    assert_eq!(outcome.unwrap(), Instant::ZERO + Duration::from_secs(10));
}

#[test]
fn instant_converts_to_std_and_back() {
    fifo()
        .execute(async |sim| {
            let start = sim.now();
            sim.sleep(MS).await;
            assert_eq!(start.elapsed(), MS);
            assert_eq!(sim.now().into_std() - start.into_std(), MS);
            assert_eq!(Instant::from_std(start.into_std() + 3 * MS), start + 3 * MS);
            assert_eq!(Instant::from_std(start.into_std() - 3 * MS), Instant::ZERO);
            let far = Instant::ZERO + Duration::MAX;
            assert!(far.into_std() > sim.now().into_std());
        })
        .unwrap();
}

#[test]
fn million_tasks_spawned_at_one_instant_all_run() {
    let outcome = Run::new(1).execute(async |sim| {
        let count = Rc::new(Cell::new(0u32));
        for _ in 0..1_000_000 {
            let count = count.clone();
            sim.spawn(async move { count.set(count.get() + 1) });
        }
        sim.sleep(Duration::from_secs(1)).await;
        count.get()
    });
    assert_eq!(outcome.unwrap(), 1_000_000);
}

#[test]
fn system_time_starts_at_a_fixed_date() {
    fifo()
        .execute(async |sim| {
            sim.sleep(Duration::from_secs(5)).await;
            let unix = sim.system_time().duration_since(std::time::SystemTime::UNIX_EPOCH);
            assert_eq!(unix.unwrap(), Duration::from_secs(1_767_225_605));
        })
        .unwrap();
}

#[test]
fn free_functions_match_the_methods_of_sim() {
    use virtnet::time;
    fifo()
        .execute(async |sim| {
            let start = time::now();
            time::sleep(MS).await;
            time::sleep_until(start + 2 * MS).await;
            assert!(time::timeout(MS, std::future::pending::<()>()).await.is_err());
            time::interval(MS).tick().await;
            time::yield_now().await;
            assert_eq!(virtnet::spawn(async { 5 }).await, Ok(5));
            assert_eq!(sim.now() - start, 3 * MS);
        })
        .unwrap();
}

#[test]
fn yielding_task_is_polled_again_at_the_same_instant() {
    let outcome = fifo().execute(async |sim| {
        for n in 1..5 {
            sim.sleep(MS).await;
            sim.yield_now().await;
            assert_eq!(sim.now(), Instant::ZERO + n * MS);
        }
    });
    outcome.unwrap();
}
