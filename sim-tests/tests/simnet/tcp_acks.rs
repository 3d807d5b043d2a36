//! Acknowledgements and announcements of space take the way back: late ones come too late, and
//! lost ones have to be asked for.

use std::time::Duration;

use futures::future::join;
use virtnet::simnet::{FaultKind, Latency, Network};
use virtnet::{Cause, Run, Schedule, Tape, time};

use crate::simnet::{
    connect, exact, fifo, ms, read, read_exact, secs, timed, two, until, write, write_all,
};

#[test]
fn what_is_acknowledged_too_late_for_latency_alone_times_out() {
    for (there_and_back, times_out) in [(secs(60), false), (secs(60) + ms(2), true)] {
        for by_hand in [false, true] {
            fifo(async move |sim| {
                let slow = Latency::constant(there_and_back / 2);
                let config = exact().connect_timeout(secs(1_000));
                let t = two(if by_hand { config } else { config.latency(slow) }).await;
                if by_hand {
                    t.net.link("α", "β").latency(slow);
                }
                let start = time::now();
                assert_eq!(write(&t.ab, "x").await, Ok(1));
                let (told, arrived) =
                    join(sim.timeout(secs(59) + ms(999), read(&t.ab)), timed(read(&t.ba))).await;
                assert_eq!(arrived, (there_and_back / 2, Ok("x".into())));
                assert!(told.is_err(), "it may still come");
                let told = sim.timeout(secs(500), read(&t.ab)).await;
                if !times_out {
                    assert!(told.is_err(), "it was acknowledged in time, and is idle");
                    return;
                }
                assert_eq!(told, Ok(Err(Cause::TimedOut)));
                assert_eq!(time::now() - start, secs(60));
                // Who gave up knows nothing of what is sent there now.
                assert_eq!(write(&t.ba, "y").await, Ok(1));
                assert_eq!(timed(read(&t.ba)).await, (secs(60), Err(Cause::TimedOut)));
            });
        }
    }
}

#[test]
fn what_was_under_way_when_its_sender_gave_up_arrives_all_the_same() {
    fifo(async |_| {
        let config = exact().latency(Latency::constant(secs(40))).connect_timeout(secs(1_000));
        let t = two(config.user_timeout(Some(secs(10)))).await;
        assert_eq!(write(&t.ab, "one, ").await, Ok(5));
        time::sleep(secs(1)).await;
        assert_eq!(write(&t.ab, "two").await, Ok(3));
        assert_eq!(timed(read(&t.ab)).await, (secs(9), Err(Cause::TimedOut)));
        assert_eq!(timed(read(&t.ba)).await, (secs(30), Ok("one, ".into())));
        assert_eq!(timed(read(&t.ba)).await, (secs(1), Ok("two".into())));
    });
}

#[test]
fn an_answer_acknowledges_only_what_had_arrived_when_it_set_out() {
    fifo(async |_| {
        let config = exact().latency(Latency::constant(secs(35))).connect_timeout(secs(1_000));
        let t = two(config).await;
        let start = time::now();
        assert_eq!(write(&t.ab, "question").await, Ok(8));
        time::sleep(secs(1)).await;
        assert_eq!(write(&t.ba, "no answer").await, Ok(9));
        assert_eq!(read(&t.ab).await, Ok("no answer".into()));
        assert_eq!(read(&t.ab).await, Err(Cause::TimedOut));
        assert_eq!(time::now() - start, secs(60));
    });
}

#[test]
fn little_bandwidth_is_no_reason_to_time_out() {
    fifo(async |sim| {
        let t = two(exact().bandwidth(Some(1_000))).await;
        let (other, far) = connect(&t.a, &t.lb).await;
        // The last bytes are out after 130 s, and all the time some are acknowledged.
        write_all(&t.ab, &[7; 65_000]).await.unwrap();
        write_all(&other, &[7; 65_000]).await.unwrap();
        let reading = join(read_exact(&t.ba, 65_000), read_exact(&far, 65_000));
        assert_eq!(timed(reading).await.0, secs(130) + ms(10));
        for conn in [&t.ab, &other] {
            assert!(sim.timeout(secs(500), read(conn)).await.is_err(), "it is fine, and idle");
        }
    });
}

#[test]
fn an_acknowledgement_that_is_cut_off_on_its_way_is_missed() {
    for (cut_at, misses) in [(ms(15), true), (ms(20), false), (ms(25), false)] {
        fifo(async move |sim| {
            let t = two(exact()).await;
            let start = time::now();
            assert_eq!(write(&t.ab, "x").await, Ok(1));
            until(start, cut_at).await;
            t.net.partition_one_way(&["β"], &["α"]);
            let told = sim.timeout(secs(500), read(&t.ab)).await;
            if misses {
                assert_eq!(told, Ok(Err(Cause::TimedOut)), "{cut_at:?}");
                assert_eq!(time::now() - start, secs(60));
            } else {
                assert!(told.is_err(), "{cut_at:?}: {told:?}");
            }
            assert_eq!(t.net.fault_stats().kind(FaultKind::OneWay).effective, u64::from(misses));
        });
    }
}

#[test]
fn an_acknowledgement_that_was_missed_comes_after_a_heal() {
    fifo(async |sim| {
        let t = two(exact()).await;
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        time::sleep(ms(15)).await;
        t.net.hold("α", "β");
        time::sleep(secs(59)).await;
        t.net.release("α", "β");
        assert!(sim.timeout(secs(500), read(&t.ab)).await.is_err(), "it is fine, and idle");
    });
}

/// How many of so many streams of one byte time out on a link that loses so much.
fn timed_out(loss: f64, streams: u64) -> u64 {
    let one = |seed| {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        let outcome = run.execute(async move |sim| {
            let t = two(exact()).await;
            t.net.link("α", "β").loss(loss);
            assert_eq!(write(&t.ab, "x").await, Ok(1));
            let told = sim.timeout(secs(500), read(&t.ab)).await;
            let timed_out = told == Ok(Err(Cause::TimedOut));
            assert!(timed_out || told.is_err(), "{told:?}");
            timed_out
        });
        u64::from(outcome.unwrap())
    };
    (0..streams).map(one).sum()
}

#[test]
fn heavy_loss_keeps_acknowledgements_away_and_light_loss_does_not() {
    assert_eq!(timed_out(0.1, 200), 0);
    // There are nine attempts in a minute. Were no acknowledgement lost, 0.8 ^ 9 or an eighth of
    // them would time out; as it is, it is (1 - 0.2 ^ 2) ^ 9 or seven of ten.
    let heavy = timed_out(0.8, 200);
    assert!((110..170).contains(&heavy), "{heavy} of 200");
    assert_eq!(timed_out(1.0, 10), 10);
}

/// When a writer with a full window goes on whose reader makes space after so long; the link loses
/// what the tape says.
fn space_after(reads_at: Duration, tape: Tape) -> Duration {
    let run = Run::new(7).schedule(Schedule::Fifo).tape(tape);
    let outcome = run.execute(async move |_| {
        let t = two(exact().window(4)).await;
        t.net.link("α", "β").loss(0.5);
        assert_eq!(write(&t.ab, "full").await, Ok(4));
        let start = time::now();
        let reading = async {
            until(start, reads_at).await;
            read_exact(&t.ba, 2).await;
        };
        let (wrote, ()) = join(timed(write(&t.ab, "more")), reading).await;
        assert_eq!(wrote.1, Ok(2));
        let effective = u64::from(wrote.0 > reads_at + ms(10));
        assert_eq!(t.net.fault_stats().kind(FaultKind::Loss).effective, effective);
        wrote.0
    });
    outcome.unwrap()
}

#[test]
fn an_announcement_of_space_that_is_lost_is_asked_for() {
    let lost = |tape: Tape, subject, ordinal| tape.with(subject, ordinal, 999_999);
    assert_eq!(space_after(ms(100), Tape::zero()), ms(110));
    let tape = lost(Tape::zero(), "window_update_loss simt/α/β", 2);
    assert_eq!(space_after(ms(100), tape.clone()), ms(210), "asked for after 200 ms");
    assert_eq!(space_after(ms(1_000), tape.clone()), ms(1_210));
    // The question is lost as well: it heard something when it was connected, 221 ms before.
    let tape = lost(lost(tape, "probe_loss simt/α/β", 64), "probe_loss simt/α/β", 65);
    assert_eq!(space_after(ms(100), tape), ms(210 + 200 + 400));
}

#[test]
fn who_waits_for_space_finds_out_that_everything_is_lost() {
    for before in [false, true] {
        fifo(async move |_| {
            let t = two(exact().window(4)).await;
            assert_eq!(write(&t.ab, "full").await, Ok(4));
            time::sleep(ms(100)).await;
            if before {
                t.net.link("α", "β").loss(1.0);
            }
            let losing = async {
                t.net.link("α", "β").loss(1.0);
            };
            let (blocked, ()) = join(timed(write(&t.ab, "x")), losing).await;
            assert_eq!(blocked, (secs(60) + ms(200), Err(Cause::TimedOut)));
            assert_eq!(t.net.fault_stats().kind(FaultKind::Loss).effective, 1);
        });
    }
}

#[test]
fn who_keeps_alive_finds_out_that_everything_is_lost() {
    fifo(async move |_| {
        let t = two(exact().keep_alive(Some(secs(7)))).await;
        let heard_at = time::now() - ms(10);
        t.net.link("α", "β").loss(1.0);
        assert_eq!(read(&t.ba).await, Err(Cause::TimedOut));
        assert_eq!(time::now() - heard_at, secs(67));
        assert_eq!(t.net.fault_stats().kind(FaultKind::Loss).effective, 1);
    });
}

#[test]
fn who_keeps_alive_survives_some_loss() {
    fifo(async |sim| {
        let net = Network::with("t", exact().keep_alive(Some(secs(7))));
        let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        let (idle, _far) = connect(&a, &b.listen("").await.unwrap()).await;
        net.link("α", "β").loss(0.1);
        assert!(sim.timeout(secs(2_000), read(&idle)).await.is_err());
        net.link("α", "β").loss(0.95);
        assert_eq!(sim.timeout(secs(2_000), read(&idle)).await, Ok(Err(Cause::TimedOut)));
    });
}

/// Space is announced, which is lost when hosts are parted, and after the heal once more, on a link
/// whose latency is another by then.
#[test]
fn an_announcement_that_is_made_again_has_a_choice_of_its_own() {
    let execute = |run: Run| {
        let outcome = run.execute(async |_| {
            let t = two(exact().latency(Latency::uniform(ms(1), ms(9))).window(4)).await;
            assert_eq!(write(&t.ab, "full").await, Ok(4));
            let reading = async {
                read_exact(&t.ba, 4).await;
                t.net.partition(&["α"], &["β"]);
                t.net.link("α", "β").latency(Latency::uniform(ms(100), ms(900)));
                t.net.heal();
            };
            join(write(&t.ab, "more"), reading).await.0.unwrap()
        });
        assert!(outcome.is_done(), "{}", outcome.ending);
        outcome
    };
    for seed in 0..10 {
        let first = execute(Run::new(seed).record_choices());
        let mut made: Vec<_> = first.choices.iter().map(|it| (&it.subject, it.ordinal)).collect();
        made.sort_unstable();
        assert!(made.is_sorted_by(|one, other| one < other), "{made:?}");
        let of_four =
            |it: &&(&String, u64)| it.0 == "window_update simt/α/β" && it.1 % (1 << 56) == 4;
        assert_eq!(made.iter().filter(of_four).count(), 2, "{made:?}");
        let again = execute(Run::new(seed + 1).tape(first.tape));
        assert_eq!(again.fingerprint, first.fingerprint);
    }
}

#[test]
fn who_has_to_wait_for_an_announcement_that_was_stopped_has_felt_it() {
    for (fault, before) in [("partition", true), ("partition", false), ("hold", true)] {
        fifo(async move |sim| {
            let t = two(exact().window(4)).await;
            assert_eq!(write(&t.ab, "full").await, Ok(4));
            let part = || match fault {
                "hold" => t.net.hold("α", "β"),
                _ => t.net.partition(&["α"], &["β"]),
            };
            let reading = async {
                sim.sleep(ms(50)).await;
                // It is stopped before it sets out, or on its way.
                if before {
                    part();
                }
                read_exact(&t.ba, 4).await;
                if !before {
                    part();
                }
                sim.sleep(ms(100)).await;
                t.net.heal();
            };
            let (wrote, ()) = join(timed(write(&t.ab, "more")), reading).await;
            assert_eq!(wrote, (ms(50 + 100 + 10), Ok(4)));
            assert_eq!(
                t.net.fault_stats().kind(fault.parse().unwrap()).effective,
                1,
                "{fault}, {before}"
            );
        });
    }
}
