//! `check::eventually` keeps its limit, whatever the condition does.

use std::cell::Cell;
use std::future::{pending, ready};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;
use virtnet::simnet::ClockSkew;

use futures::FutureExt;
use virtnet::check::eventually;
use virtnet::{Ending, Instant, Run, Schedule, Sim, simnet, time};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

/// Runs a program with exact times, and gives what came of it and when.
fn timed<T: 'static>(main: impl AsyncFnOnce(Sim) -> T + 'static) -> (T, Duration) {
    let run = Run::new(1).schedule(Schedule::Fifo);
    run.execute(async move |sim: Sim| {
        let output = main(sim).await;
        (output, time::now() - Instant::ZERO)
    })
    .unwrap()
}

#[test]
fn condition_that_sleeps_past_the_limit_is_elapsed_at_the_limit() {
    let (in_time, at) = timed(async |sim| {
        let slow = || async {
            sim.sleep(50 * SEC).await;
            true
        };
        eventually(SEC, slow).await.is_ok()
    });
    assert_eq!((in_time, at), (false, SEC));
}

#[test]
fn condition_that_hangs_is_elapsed_at_the_limit() {
    let (in_time, at) = timed(async |_| eventually(SEC, pending).await.is_ok());
    assert_eq!((in_time, at), (false, SEC));
}

#[test]
fn condition_that_yields_without_end_is_elapsed_at_the_limit() {
    let (in_time, at) = timed(async |_| {
        let spins = || async {
            loop {
                time::yield_now().await;
            }
        };
        eventually(20 * MS, spins).await.is_ok()
    });
    assert!(!in_time && at >= 20 * MS && at < 21 * MS, "{at:?}");
}

#[test]
fn condition_that_hangs_under_any_schedule_is_elapsed() {
    for seed in 0..50 {
        let took = Run::new(seed).execute(async |_| {
            eventually(SEC, pending).await.unwrap_err();
            time::now() - Instant::ZERO
        });
        let took = took.unwrap();
        assert!(took >= SEC && took < 2 * SEC, "seed {seed}: {took:?}");
    }
}

#[test]
fn condition_whose_future_is_ready_at_the_limit_is_in_time() {
    let (result, at) = timed(async |sim| {
        let last = || async {
            sim.sleep(SEC).await;
            true
        };
        eventually(SEC, last).await
    });
    assert_eq!((result.is_ok(), at), (true, SEC));
    let (result, at) = timed(async |sim| {
        let late = || async {
            sim.sleep(SEC + Duration::from_nanos(1)).await;
            true
        };
        eventually(SEC, late).await
    });
    assert_eq!((result.is_ok(), at), (false, SEC));
}

#[test]
fn condition_is_checked_a_last_time_at_the_limit() {
    for (holds_from, in_time) in [(SEC, true), (SEC + Duration::from_nanos(1), false)] {
        let (checked_at, at) = timed(async move |sim| {
            let mut checked_at = Vec::new();
            let result = eventually(SEC, || {
                let now = sim.now() - Instant::ZERO;
                checked_at.push(now);
                ready(now >= holds_from)
            });
            assert_eq!(result.await.is_ok(), in_time);
            checked_at
        });
        assert_eq!(at, SEC);
        assert_eq!(checked_at[..5], [0, 1, 3, 7, 15].map(|ms| ms * MS));
        assert_eq!(checked_at.last(), Some(&SEC));
        assert!(
            checked_at.windows(2).all(|two| two[0] < two[1]),
            "asked twice at once: {checked_at:?}"
        );
    }
}

#[test]
fn limit_of_zero_checks_once() {
    for holds in [true, false] {
        let (checks, at) = timed(async move |_| {
            let checks = Cell::new(0);
            let result = eventually(Duration::ZERO, || {
                checks.set(checks.get() + 1);
                ready(holds)
            });
            assert_eq!(result.await.is_ok(), holds);
            checks.get()
        });
        assert_eq!((checks, at), (1, Duration::ZERO));
    }
    let (in_time, at) = timed(async |_| eventually(Duration::ZERO, pending).await.is_ok());
    assert_eq!((in_time, at), (false, Duration::ZERO));
}

#[test]
fn maximum_limit_does_not_panic() {
    let (in_time, at) = timed(async |sim| {
        let later = || ready(sim.now() - Instant::ZERO >= 7 * MS);
        eventually(Duration::MAX, later).await.is_ok()
    });
    assert_eq!((in_time, at), (true, 7 * MS));
}

#[test]
fn nested_condition_ends_at_the_sooner_limit_of_both() {
    let (in_time, at) = timed(async |_| {
        let inner = || async { eventually(50 * SEC, || ready(false)).await.is_ok() };
        eventually(SEC, inner).await.is_ok()
    });
    assert_eq!((in_time, at), (false, SEC));
    let (checks, at) = timed(async |_| {
        let checks = Cell::new(0);
        let inner = || async {
            checks.set(checks.get() + 1);
            eventually(400 * MS, pending).await.is_ok()
        };
        eventually(SEC, inner).await.unwrap_err();
        checks.get()
    });
    assert_eq!((checks, at), (3, SEC));
}

#[test]
fn condition_pending_at_the_limit_is_dropped() {
    struct SetOnDrop(Rc<Cell<bool>>);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let (dropped, _) = timed(async |_| {
        let dropped = Rc::new(Cell::new(false));
        let condition = || {
            let guard = SetOnDrop(dropped.clone());
            async move {
                let _held = guard;
                pending().await
            }
        };
        eventually(SEC, condition).await.unwrap_err();
        dropped.get()
    });
    assert!(dropped);
}

#[test]
fn condition_that_panics_panics_where_it_is_awaited() {
    let (caught, at) = timed(async |sim| {
        let fails = || async {
            sim.sleep(SEC).await;
            panic!("no more ink")
        };
        let caught = AssertUnwindSafe(eventually(2 * SEC, fails)).catch_unwind().await;
        *caught.unwrap_err().downcast::<&str>().unwrap()
    });
    assert_eq!((caught, at), ("no more ink", SEC));
    let outcome = Run::new(1).execute(async |_| {
        eventually(SEC, || -> std::future::Ready<bool> { panic!("no more ink") }).await
    });
    assert!(matches!(outcome.ending, Ending::Panicked(panic) if panic.message == "no more ink"));
}

#[test]
fn limit_on_a_node_is_measured_by_its_clock() {
    for (drift, took) in [(0, SEC), (1_000_000, SEC / 2), (-500_000, 2 * SEC)] {
        let (_, at) = timed(async move |sim: Sim| {
            let net = simnet::Network::new("t");
            let node = net.node("s", async |_| pending::<()>().await);
            sim.sleep_until(Instant::from_nanos(1_000_000_000)).await;
            node.set_clock(ClockSkew::behind(Duration::from_secs(5)).drift_ppm(drift));
            node.spawn(async { eventually(SEC, pending).await.unwrap_err() }).await.unwrap();
        });
        assert_eq!(at, SEC + took, "drift {drift}");
    }
}

#[test]
fn limit_on_a_node_survives_a_change_of_its_clock() {
    for drift in [1_000_000, -999_999, 0] {
        let (checks, at) = timed(async move |sim: Sim| {
            let net = simnet::Network::new("t");
            let node = net.node("s", async |_| pending::<()>().await);
            sim.sleep_until(Instant::from_nanos(1_000_000_000)).await;
            let checking = node.spawn(async {
                let checks = Cell::new(0);
                let result = eventually(SEC, || {
                    checks.set(checks.get() + 1);
                    ready(false)
                });
                result.await.unwrap_err();
                checks.get()
            });
            sim.sleep(SEC / 2).await;
            node.set_clock(ClockSkew::behind(Duration::from_secs(5)).drift_ppm(drift));
            checking.await.unwrap()
        });
        // A timer that is set goes off when it would have, whatever the clock says by then.
        assert!(at > SEC && at <= 2 * SEC, "drift {drift}: {at:?}");
        assert!(checks < 100, "drift {drift}: asked {checks} times");
    }
}
