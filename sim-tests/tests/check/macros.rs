//! What the macros declare is not seen by the expressions that they are given.

use std::future::{pending, ready};
use std::time::Duration;

use virtnet::check::{always, sometimes};
use virtnet::{Run, Sim, join, select};

fn run<T: 'static>(main: impl AsyncFnOnce(Sim) -> T + 'static) -> T {
    Run::new(1).execute(async move |sim: Sim| main(sim).await).unwrap()
}

async fn ready_value<T>(value: T) -> T {
    value
}

#[test]
fn select_leaves_a_constant_of_the_user_as_it_is() {
    const BRANCHES: usize = 100;
    let n = run(async |sim| {
        select! {
            n = ready_value(BRANCHES) => n + BRANCHES,
            _ = sim.sleep(Duration::from_secs(1)), if BRANCHES == 100 => 0,
        }
    });
    assert_eq!(n, 200);
    let is_matched = run(async |_| {
        select! {
            Some(BRANCHES) = ready(Some(100)) => true,
            _ = pending::<()>() => false,
            else => false,
        }
    });
    assert!(is_matched, "the pattern is the user's constant");
    let other = run(async |_| select! { Some(()) = ready(None) => 0, else => BRANCHES });
    assert_eq!(other, 100);
}

#[test]
fn select_leaves_variables_of_the_user_as_they_are() {
    let sum = run(async |_| {
        let (chosen, turns, start, any_open, turn) = (1, 2, 3, 4, 5);
        let (polled, output, matches, cx, branches) = (6, 7, 8, 9, 10);
        let (a0, b0, c0, a1, b1, c1) = (11, 12, 13, 14, 15, 16);
        let (future, open) = (17, 18);
        select! {
            biased;
            n = ready_value(chosen + turns + start + any_open + turn), if turn == 5 && c1 == 16 =>
                n + polled + output + matches + cx + branches + a0 + b0 + c0 + a1 + b1 + c1
                    + future + open,
            _ = ready_value(a0 + b0 + c0) => 0,
        }
    });
    assert_eq!(sum, (1..=18).sum::<i32>());
}

/// Items of the user, called as what the macro uses or might declare.
#[allow(non_upper_case_globals, dead_code, non_camel_case_types, unused_macros)]
mod taken {
    pub(crate) const chosen: u8 = 1;
    pub(crate) const turns: u8 = 2;
    pub(crate) const start: u8 = 3;
    pub(crate) const any_open: u8 = 4;
    pub(crate) const turn: u8 = 5;
    pub(crate) const polled: u8 = 6;
    pub(crate) const output: u8 = 7;
    pub(crate) const matches: u8 = 8;
    pub(crate) const cx: u8 = 9;
    pub(crate) const a0: u8 = 10;
    pub(crate) const b0: u8 = 11;
    pub(crate) const c0: u8 = 12;
    pub(crate) struct bool;
    pub(crate) struct Option;
    pub(crate) struct Poll;
    pub(crate) struct Future;
    pub(crate) struct Turns;
    pub(crate) mod core {}
    pub(crate) mod std {}
    macro_rules! panic {
        ($($any:tt)*) => {
            compile_error!("the user's own")
        };
    }
    macro_rules! unreachable {
        ($($any:tt)*) => {
            compile_error!("the user's own")
        };
    }
    pub(crate) use {panic, unreachable};
}

#[test]
fn select_works_where_the_user_has_items_of_any_name() {
    #[allow(unused_imports, non_camel_case_types)]
    use taken::{
        Future, Option, Poll, Turns, a0, any_open, b0, bool, c0, chosen, cx, matches, output,
        panic, polled, start, turn, turns, unreachable,
    };
    let sum = run(async |_| {
        select! {
            biased;
            n = ready_value(chosen + turns + start + any_open + turn) => {
                n + polled + output + matches
            },
            _ = ready_value(cx + a0 + b0 + c0) => 0,
        }
    });
    assert_eq!(sum, (1..=8).sum::<u8>());
    let joined = run(async |_| join!(ready_value(chosen), ready_value(turns)));
    assert_eq!(joined, (1, 2));
}

#[test]
fn join_leaves_names_of_the_user_as_they_are() {
    let got = run(async |_| {
        let (_fut0, _fut1, __cx, __all_done) = (ready(10), ready(11), 12, 13);
        join!(ready_value(__cx), _fut0, async { _fut1.await + __all_done })
    });
    assert_eq!(got, (12, 10, 24));
}

#[test]
fn select_leaves_labels_and_question_marks_to_the_user() {
    async fn loop_until_third_round() -> Result<u32, std::num::ParseIntError> {
        let mut rounds = 0;
        'outer: loop {
            loop {
                select! {
                    n = ready_value("7".parse::<u32>()?) => {
                        rounds += 1;
                        if rounds == 3 { break 'outer Ok(n) }
                        continue 'outer;
                    }
                    _ = pending::<()>() => {}
                }
            }
        }
    }
    assert_eq!(run(async |_| loop_until_third_round().await), Ok(7));
}

#[test]
fn select_of_64_branches_takes_each_of_them() {
    for wanted in [1, 2, 8, 9, 16, 17, 63, 64] {
        let n = run(async move |_| {
            let at = async move |n: u32| if n == wanted { n } else { pending().await };
            select! {
                n = at(1) => n, n = at(2) => n, n = at(3) => n, n = at(4) => n,
                n = at(5) => n, n = at(6) => n, n = at(7) => n, n = at(8) => n,
                n = at(9) => n, n = at(10) => n, n = at(11) => n, n = at(12) => n,
                n = at(13) => n, n = at(14) => n, n = at(15) => n, n = at(16) => n,
                n = at(17) => n, n = at(18) => n, n = at(19) => n, n = at(20) => n,
                n = at(21) => n, n = at(22) => n, n = at(23) => n, n = at(24) => n,
                n = at(25) => n, n = at(26) => n, n = at(27) => n, n = at(28) => n,
                n = at(29) => n, n = at(30) => n, n = at(31) => n, n = at(32) => n,
                n = at(33) => n, n = at(34) => n, n = at(35) => n, n = at(36) => n,
                n = at(37) => n, n = at(38) => n, n = at(39) => n, n = at(40) => n,
                n = at(41) => n, n = at(42) => n, n = at(43) => n, n = at(44) => n,
                n = at(45) => n, n = at(46) => n, n = at(47) => n, n = at(48) => n,
                n = at(49) => n, n = at(50) => n, n = at(51) => n, n = at(52) => n,
                n = at(53) => n, n = at(54) => n, n = at(55) => n, n = at(56) => n,
                n = at(57) => n, n = at(58) => n, n = at(59) => n, n = at(60) => n,
                n = at(61) => n, n = at(62) => n, n = at(63) => n, n = at(64) => n,
                else => 0,
            }
        });
        assert_eq!(n, wanted);
    }
}

#[test]
fn sometimes_and_always_leave_names_of_the_user_as_they_are() {
    let (holds, label, reached) = (true, 3, 4);
    sometimes!(holds && label == 3 && reached == 4, "names of the user");
    always!(holds && label == 3 && reached == 4, "names of the user");
}

/// The attribute's closure has names of its own, and the test the name of one of its arguments.
mod attribute {
    const __SIM: u8 = 1;

    #[virtnet::test(seeds = 2)]
    async fn attribute_test_may_name_its_argument_as_the_macro_does(__sim: virtnet::Sim) {
        __sim.sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(__SIM, 1);
    }
}
