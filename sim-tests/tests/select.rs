//! `select!` has tokio's syntax, and which branch is first is a choice.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::time::Duration;

use virtnet::{Run, Schedule, Tape, select};

fn run<T: 'static>(seed: u64, main: impl AsyncFnOnce(virtnet::Sim) -> T + 'static) -> T {
    Run::new(seed).execute(|sim| async move { main(sim).await }).unwrap()
}

#[test]
fn the_first_that_is_ready_wins_and_the_others_are_dropped() {
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
fn all_branches_that_are_ready_are_picked_by_some_seed() {
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
fn biased_looks_in_the_order_written_and_a_tape_can_choose() {
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
fn conditions_patterns_and_else_disable_branches() {
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
fn handlers_may_break_return_await_and_use_question_marks() {
    async fn story(sim: virtnet::Sim) -> Result<u32, std::num::ParseIntError> {
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
    assert_eq!(run(1, async |sim| story(sim).await), Ok(10));
}

#[test]
fn branches_may_borrow_what_the_handler_changes() {
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
fn sixteen_branches_fit() {
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
fn nothing_left_and_no_else_panics() {
    futures::executor::block_on(async {
        select! { Some(()) = ready(None) => () }
    });
}

#[test]
fn outside_a_run_it_begins_with_the_first() {
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
fn what_becomes_a_future_will_do_and_so_will_an_else_alone_as_in_tokio() {
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
