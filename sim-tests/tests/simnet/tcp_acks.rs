//! Acknowledgements and announcements of space take the way back: late ones come too late, and
//! lost ones have to be asked for.

use std::time::Duration;

use futures::future::join;
use virtnet::simnet::{FaultKind, Latency, Network};
use virtnet::{Cause, Run, Schedule, Tape, time};

use crate::simnet::{
    connect, connected_pair, exact_config, ms, read, read_exact, run_fifo, secs, sleep_until_after,
    timed, write, write_all,
};

#[test]
fn stream_whose_round_trip_exceeds_user_timeout_times_out() {
    for (round_trip, times_out) in [(secs(60), false), (secs(60) + ms(2), true)] {
        for with_override in [false, true] {
            run_fifo(async move |sim| {
                let slow = Latency::constant(round_trip / 2);
                let config = exact_config().connect_timeout(secs(1_000));
                let t =
                    connected_pair(if with_override { config } else { config.latency(slow) }).await;
                if with_override {
                    t.net.link("α", "β").latency(slow);
                }
                let start = time::now();
                assert_eq!(write(&t.ab, "x").await, Ok(1));
                let (result, arrived) =
                    join(sim.timeout(secs(59) + ms(999), read(&t.ab)), timed(read(&t.ba))).await;
                assert_eq!(arrived, (round_trip / 2, Ok("x".into())));
                assert!(result.is_err(), "it may still come");
                let result = sim.timeout(secs(500), read(&t.ab)).await;
                if !times_out {
                    assert!(result.is_err(), "it was acknowledged in time, and is idle");
                    return;
                }
                assert_eq!(result, Ok(Err(Cause::TimedOut)));
                assert_eq!(time::now() - start, secs(60));
                // Who gave up knows nothing of what is sent there now.
                assert_eq!(write(&t.ba, "y").await, Ok(1));
                assert_eq!(timed(read(&t.ba)).await, (secs(60), Err(Cause::TimedOut)));
            });
        }
    }
}

#[test]
fn in_flight_data_arrives_after_sender_timed_out() {
    run_fifo(async |_| {
        let config =
            exact_config().latency(Latency::constant(secs(40))).connect_timeout(secs(1_000));
        let t = connected_pair(config.user_timeout(Some(secs(10)))).await;
        assert_eq!(write(&t.ab, "one, ").await, Ok(5));
        time::sleep(secs(1)).await;
        assert_eq!(write(&t.ab, "two").await, Ok(3));
        assert_eq!(timed(read(&t.ab)).await, (secs(9), Err(Cause::TimedOut)));
        assert_eq!(timed(read(&t.ba)).await, (secs(30), Ok("one, ".into())));
        assert_eq!(timed(read(&t.ba)).await, (secs(1), Ok("two".into())));
    });
}

#[test]
fn reply_acknowledges_only_data_received_before_it_was_sent() {
    run_fifo(async |_| {
        let config =
            exact_config().latency(Latency::constant(secs(35))).connect_timeout(secs(1_000));
        let t = connected_pair(config).await;
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
fn low_bandwidth_stream_with_steady_acks_does_not_time_out() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config().bandwidth(Some(1_000))).await;
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
fn ack_cut_off_in_flight_makes_writer_time_out() {
    for (cut_at, is_lost) in [(ms(15), true), (ms(20), false), (ms(25), false)] {
        run_fifo(async move |sim| {
            let t = connected_pair(exact_config()).await;
            let start = time::now();
            assert_eq!(write(&t.ab, "x").await, Ok(1));
            sleep_until_after(start, cut_at).await;
            t.net.partition_one_way(&["β"], &["α"]);
            let result = sim.timeout(secs(500), read(&t.ab)).await;
            if is_lost {
                assert_eq!(result, Ok(Err(Cause::TimedOut)), "{cut_at:?}");
                assert_eq!(time::now() - start, secs(60));
            } else {
                assert!(result.is_err(), "{cut_at:?}: {result:?}");
            }
            assert_eq!(t.net.fault_stats().kind(FaultKind::OneWay).effective, u64::from(is_lost));
        });
    }
}

#[test]
fn ack_held_in_flight_arrives_after_release() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config()).await;
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        time::sleep(ms(15)).await;
        t.net.hold("α", "β");
        time::sleep(secs(59)).await;
        t.net.release("α", "β");
        assert!(sim.timeout(secs(500), read(&t.ab)).await.is_err(), "it is fine, and idle");
    });
}

/// How many of so many streams of one byte time out on a link that loses so much.
fn count_timed_out_streams(loss: f64, streams: u64) -> u64 {
    let run_stream = |seed| {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        let outcome = run.execute(async move |sim| {
            let t = connected_pair(exact_config()).await;
            t.net.link("α", "β").loss(loss);
            assert_eq!(write(&t.ab, "x").await, Ok(1));
            let result = sim.timeout(secs(500), read(&t.ab)).await;
            let timed_out = result == Ok(Err(Cause::TimedOut));
            assert!(timed_out || result.is_err(), "{result:?}");
            timed_out
        });
        u64::from(outcome.unwrap())
    };
    (0..streams).map(run_stream).sum()
}

#[test]
fn heavy_loss_makes_unacknowledged_streams_time_out_and_light_loss_does_not() {
    assert_eq!(count_timed_out_streams(0.1, 200), 0);
    // There are nine attempts in a minute. Were no acknowledgement lost, 0.8 ^ 9 or an eighth of
    // them would time out; as it is, it is (1 - 0.2 ^ 2) ^ 9 or seven of ten.
    let heavy = count_timed_out_streams(0.8, 200);
    assert!((110..170).contains(&heavy), "{heavy} of 200");
    assert_eq!(count_timed_out_streams(1.0, 10), 10);
}

/// When a writer with a full window goes on whose reader makes space after so long; the link loses
/// what the tape says.
fn blocked_write_time(reads_at: Duration, tape: Tape) -> Duration {
    let run = Run::new(7).schedule(Schedule::Fifo).tape(tape);
    let outcome = run.execute(async move |_| {
        let t = connected_pair(exact_config().window(4)).await;
        t.net.link("α", "β").loss(0.5);
        assert_eq!(write(&t.ab, "full").await, Ok(4));
        let start = time::now();
        let reading = async {
            sleep_until_after(start, reads_at).await;
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
fn lost_window_update_is_recovered_by_probe() {
    let with_loss = |tape: Tape, subject, ordinal| tape.with(subject, ordinal, 999_999);
    assert_eq!(blocked_write_time(ms(100), Tape::zero()), ms(110));
    let tape = with_loss(Tape::zero(), "window_update_loss simt/α/β", 2);
    assert_eq!(blocked_write_time(ms(100), tape.clone()), ms(210), "asked for after 200 ms");
    assert_eq!(blocked_write_time(ms(1_000), tape.clone()), ms(1_210));
    // The question is lost as well: it heard something when it was connected, 221 ms before.
    let tape = with_loss(with_loss(tape, "probe_loss simt/α/β", 64), "probe_loss simt/α/β", 65);
    assert_eq!(blocked_write_time(ms(100), tape), ms(210 + 200 + 400));
}

#[test]
fn blocked_writer_times_out_when_link_loses_everything() {
    for lossy_before_write in [false, true] {
        run_fifo(async move |_| {
            let t = connected_pair(exact_config().window(4)).await;
            assert_eq!(write(&t.ab, "full").await, Ok(4));
            time::sleep(ms(100)).await;
            if lossy_before_write {
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
fn keep_alive_reader_times_out_when_link_loses_everything() {
    run_fifo(async move |_| {
        let t = connected_pair(exact_config().keep_alive(Some(secs(7)))).await;
        let last_received_at = time::now() - ms(10);
        t.net.link("α", "β").loss(1.0);
        assert_eq!(read(&t.ba).await, Err(Cause::TimedOut));
        assert_eq!(time::now() - last_received_at, secs(67));
        assert_eq!(t.net.fault_stats().kind(FaultKind::Loss).effective, 1);
    });
}

#[test]
fn keep_alive_connection_survives_light_loss_and_times_out_under_heavy_loss() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config().keep_alive(Some(secs(7))));
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
fn resent_window_update_draws_a_choice_of_its_own() {
    let execute = |run: Run| {
        let outcome = run.execute(async |_| {
            let t =
                connected_pair(exact_config().latency(Latency::uniform(ms(1), ms(9))).window(4))
                    .await;
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
        let mut choice_keys: Vec<_> =
            first.choices.iter().map(|choice| (&choice.subject, choice.ordinal)).collect();
        choice_keys.sort_unstable();
        assert!(choice_keys.is_sorted_by(|one, other| one < other), "{choice_keys:?}");
        let is_update_at_offset_4 = |choice: &&(&String, u64)| {
            choice.0 == "window_update simt/α/β" && choice.1 % (1 << 56) == 4
        };
        assert_eq!(choice_keys.iter().filter(is_update_at_offset_4).count(), 2, "{choice_keys:?}");
        let replayed = execute(Run::new(seed + 1).tape(first.tape));
        assert_eq!(replayed.fingerprint, first.fingerprint);
    }
}

#[test]
fn partition_or_hold_that_delays_window_update_is_effective() {
    for (fault, cut_before_read) in [("partition", true), ("partition", false), ("hold", true)] {
        run_fifo(async move |sim| {
            let t = connected_pair(exact_config().window(4)).await;
            assert_eq!(write(&t.ab, "full").await, Ok(4));
            let cut_link = || match fault {
                "hold" => t.net.hold("α", "β"),
                _ => t.net.partition(&["α"], &["β"]),
            };
            let reading = async {
                sim.sleep(ms(50)).await;
                // It is stopped before it sets out, or on its way.
                if cut_before_read {
                    cut_link();
                }
                read_exact(&t.ba, 4).await;
                if !cut_before_read {
                    cut_link();
                }
                sim.sleep(ms(100)).await;
                t.net.heal();
            };
            let (wrote, ()) = join(timed(write(&t.ab, "more")), reading).await;
            assert_eq!(wrote, (ms(50 + 100 + 10), Ok(4)));
            assert_eq!(
                t.net.fault_stats().kind(fault.parse().unwrap()).effective,
                1,
                "{fault}, {cut_before_read}"
            );
        });
    }
}
