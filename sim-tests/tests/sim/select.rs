//! `select!`: it has tokio's syntax, and a choice decides which ready branch is first.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::time::Duration;

use virtnet::{Run, Schedule, Tape, select};

fn run<T: 'static>(seed: u64, main: impl AsyncFnOnce(virtnet::Sim) -> T + 'static) -> T {
    Run::new(seed).execute(|sim| async move { main(sim).await }).unwrap()
}

#[test]
fn select_runs_the_branch_that_is_ready_first() {
    run(1, async |sim| {
        let out = select! {
            () = sim.sleep(Duration::from_secs(2)) => "slow",
            _ = sim.sleep(Duration::from_secs(1)) => { "fast" }
            never = pending::<&str>() => never,
        };
        assert_eq!(out, "fast");
    });
}

#[test]
fn select_picks_each_ready_branch_under_some_seed() {
    let pick = |seed, schedule| {
        Run::new(seed)
            .schedule(schedule)
            .execute(async |_| {
                select! {
                    n = ready(0) => n,
                    n = ready(1) => n,
                    n = ready(2) => n,
                }
            })
            .unwrap()
    };
    let seen: BTreeSet<i32> = (0..50).map(|seed| pick(seed, Schedule::Random)).collect();
    assert_eq!(seen, BTreeSet::from([0, 1, 2]));
    let seen: BTreeSet<i32> = (0..50).map(|seed| pick(seed, Schedule::Fifo)).collect();
    assert_eq!(seen, BTreeSet::from([0]));
}

#[test]
fn select_order_is_as_written_if_biased_and_else_set_by_tape() {
    for seed in 0..50 {
        let first = run(seed, async |_| select! { biased; n = ready(0) => n, n = ready(1) => n });
        assert_eq!(first, 0);
    }
    let tape = Tape::zero().with("select main select", 0, 1);
    let run = Run::new(0).tape(tape);
    let second = run.execute(async |_| select! { n = ready(0) => n, n = ready(1) => n });
    assert_eq!(second.unwrap(), 1);
}

#[test]
fn select_branches_are_disabled_by_conditions_and_patterns() {
    run(1, async |_| {
        let off = false;
        let out = select! {
            n = ready(1), if off => n,
            Some(n) = ready(None::<i32>) => n,
            else => 9,
        };
        assert_eq!(out, 9);
        let out = select! {
            Err(()) = ready(Ok::<i32, ()>(4)) => 0,
            Ok(mut n) = async { Ok::<i32, ()>(5) } => { n += 1; n },
        };
        assert_eq!(out, 6);
        let (a, b) = select! { (a, ref b) = ready((1, String::from("x"))) => (a, b.clone()) };
        assert_eq!((a, b.as_str()), (1, "x"));
    });
}

#[test]
fn select_handlers_may_break_return_await_and_use_question_mark() {
    async fn loop_with_select(sim: virtnet::Sim) -> Result<u32, std::num::ParseIntError> {
        let mut rounds = 0;
        loop {
            select! {
                _ = sim.sleep(Duration::from_millis(1)) => {
                    rounds += 1;
                    if rounds == 3 { break; }
                    sim.yield_now().await;
                    continue;
                }
            }
        }
        let n: u32 = select! { text = ready("7") => text.parse::<u32>()?, else => unreachable!() };
        select! { _ = ready(()) => if n > 0 { return Ok(n + rounds) } }
        Ok(0)
    }
    assert_eq!(run(1, async |sim| loop_with_select(sim).await), Ok(10));
}

#[test]
fn select_branches_may_borrow_what_the_handler_changes() {
    run(1, async |_| {
        let mut text = String::from("a");
        async fn length(text: &str) -> usize {
            text.len()
        }
        select! { n = length(&text) => text.push_str(&n.to_string()) }
        assert_eq!(text, "a1");
        let mut future = std::pin::pin!(async { 3 });
        let n = select! { n = &mut future => n };
        assert_eq!(n, 3);
    });
}

#[test]
fn select_accepts_sixteen_branches() {
    let n = run(1, async |_| {
        select! {
            biased;
            n = pending() => n, n = pending() => n, n = pending() => n, n = pending() => n,
            n = pending() => n, n = pending() => n, n = pending() => n, n = pending() => n,
            n = pending() => n, n = pending() => n, n = pending() => n, n = pending() => n,
            n = pending() => n, n = pending() => n, n = pending() => n, n = ready(16) => n,
        }
    });
    assert_eq!(n, 16);
}

#[test]
#[should_panic(expected = "all branches of `select!` are disabled and there is no `else`")]
fn select_without_enabled_branch_or_else_panics() {
    futures::executor::block_on(async {
        select! { Some(()) = ready(None) => () }
    });
}

#[test]
fn select_outside_a_run_polls_the_first_branch_first() {
    let polls = Cell::new(0);
    let n = futures::executor::block_on(async {
        select! {
            n = async { polls.set(polls.get() + 1); 1 } => n,
            n = async { polls.set(polls.get() + 1); 2 } => n,
        }
    });
    assert_eq!((n, polls.get()), (1, 1));
}

#[test]
fn select_accepts_into_future_and_a_lone_else() {
    struct Request;
    impl IntoFuture for Request {
        type Output = u8;
        type IntoFuture = std::future::Ready<u8>;
        fn into_future(self) -> Self::IntoFuture {
            ready(7)
        }
    }
    run(1, async |_| {
        assert_eq!(select! { n = Request => n, never = pending() => never }, 7);
        assert_eq!(select! { else => 8 }, 8);
        assert_eq!(select! { biased; else => { 9 } }, 9);
    });
}
