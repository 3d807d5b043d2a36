//! A stream is a stream, whatever becomes of its ends: half-closes, resets, back-pressure, and
//! everybody who waits is told.

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};

use virtnet::simnet::Network;
use virtnet::{Cause, Conn, Host, time};

use crate::simnet::{
    ConnectedPair, cause_of, connect, connected_pair, exact_config, ms, read, run_fifo, secs,
    sleep_until_after, timed, write, write_all,
};

#[test]
fn half_close_ends_one_direction_after_the_written_data() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        assert_eq!(write(&t.ab, "last words").await, Ok(10));
        t.ab.shutdown().await.unwrap();
        assert_eq!(write(&t.ab, "one more").await, Err(Cause::BrokenPipe));
        assert_eq!(read(&t.ba).await, Ok("last words".into()));
        assert_eq!(read(&t.ba).await, Ok(String::new()));
        assert_eq!(read(&t.ba).await, Ok(String::new()), "the end stays where it is");
        time::sleep(secs(1_000)).await;
        assert_eq!(write(&t.ba, "I listen").await, Ok(8));
        assert_eq!(read(&t.ab).await, Ok("I listen".into()));
        t.ba.shutdown().await.unwrap();
        assert_eq!(timed(read(&t.ab)).await, (ms(10), Ok(String::new())));
    });
}

#[test]
fn data_written_before_close_is_delivered_before_end_of_stream() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        assert_eq!(write(&t.ab, "good").await, Ok(4));
        assert_eq!(write(&t.ab, "bye").await, Ok(3));
        drop(t.ab);
        assert_eq!(timed(read(&t.ba)).await, (ms(10), Ok("goodbye".into())));
        assert_eq!(read(&t.ba).await, Ok(String::new()));
    });
}

#[test]
fn write_after_peer_closed_succeeds_until_the_reset_arrives() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.ab.close().unwrap();
        time::sleep(ms(15)).await;
        assert_eq!(read(&t.ba).await, Ok(String::new()));
        assert_eq!(write(&t.ba, "anybody?").await, Ok(8));
        time::sleep(ms(19)).await;
        assert_eq!(write(&t.ba, "still?").await, Ok(6), "the reset is on its way");
        time::sleep(ms(2)).await;
        assert_eq!(write(&t.ba, "gone").await, Err(Cause::BrokenPipe));
        assert_eq!(read(&t.ba).await, Ok(String::new()), "it has ended, and that in good order");
    });
}

#[test]
fn data_arriving_at_a_closed_end_is_answered_with_a_reset() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        assert_eq!(write(&t.ba, "unheard").await, Ok(7));
        t.ab.close().unwrap();
        // The end of the stream comes after 10 ms, the reset for what arrived then after 20.
        assert_eq!(timed(read(&t.ba)).await, (ms(10), Ok(String::new())));
        time::sleep(ms(11)).await;
        assert_eq!(write(&t.ba, "more").await, Err(Cause::BrokenPipe));
    });
}

#[test]
fn reset_is_read_after_received_data_and_loses_in_flight_data() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        assert_eq!(write(&t.ab, "early").await, Ok(5));
        time::sleep(ms(11)).await;
        assert_eq!(write(&t.ab, "late").await, Ok(4));
        t.net.reset("α", "β");
        assert_eq!(read(&t.ba).await, Ok("early".into()), "it was there");
        assert_eq!(read(&t.ba).await, Err(Cause::ConnReset), "what was on its way is lost");
        assert_eq!(read(&t.ab).await, Err(Cause::ConnReset));
        assert_eq!(write(&t.ab, "x").await, Err(Cause::ConnReset));
        time::sleep(secs(1)).await;
        assert_eq!(read(&t.ba).await, Err(Cause::ConnReset));
    });
}

/// A writer with a full window and a reader, both at α; what they say when something happens.
async fn blocked_write_and_read(
    event: impl AsyncFnOnce(&ConnectedPair),
) -> (Result<usize, Cause>, Result<String, Cause>) {
    let t = connected_pair(exact_config().window(4)).await;
    assert_eq!(write(&t.ab, "full").await, Ok(4));
    time::sleep(secs(1)).await;
    let both = join(write(&t.ab, "more"), read(&t.ab));
    let (result, ()) = join(both, async {
        time::sleep(secs(1)).await;
        event(&t).await;
    })
    .await;
    result
}

#[test]
fn blocked_writer_and_reader_are_woken_however_the_connection_ends() {
    run_fifo(async |_| {
        let both = |cause: Cause| (Err(cause.clone()), Err(cause));
        let result = blocked_write_and_read(async |t| t.net.reset("α", "β")).await;
        assert_eq!(result, both(Cause::ConnReset));
        let result = blocked_write_and_read(async |t| t.ab.close().unwrap()).await;
        assert_eq!(result, both(Cause::SockDown));
        let result = blocked_write_and_read(async |t| t.a.close().unwrap()).await;
        assert_eq!(result, both(Cause::HostDown));
        let result = blocked_write_and_read(async |t| t.net.region("").close().unwrap()).await;
        assert_eq!(result, both(Cause::NetDown));
        let result = blocked_write_and_read(async |t| {
            let ba = &t.ba;
            assert_eq!(read(ba).await, Ok("full".into()));
            time::sleep(ms(100)).await;
            ba.close().unwrap();
        })
        .await;
        assert_eq!(
            result,
            (Ok(4), Err(Cause::ConnReset)),
            "what was written into the room is unread"
        );
        let result = blocked_write_and_read(async |t| {
            let ba = &t.ba;
            assert_eq!(read(ba).await, Ok("full".into()));
            assert_eq!(read(ba).await, Ok("more".into()));
            ba.close().unwrap();
        })
        .await;
        assert_eq!(result, (Ok(4), Ok(String::new())));
        let result = blocked_write_and_read(async |t| t.ba.close().unwrap()).await;
        assert_eq!(result, both(Cause::ConnReset), "closed with bytes unread");
        let result = blocked_write_and_read(async |t| t.b.close().unwrap()).await;
        assert_eq!(result, both(Cause::ConnReset));
        let result = blocked_write_and_read(async |t| {
            t.ab.shutdown().await.unwrap();
            t.ba.shutdown().await.unwrap();
        })
        .await;
        assert_eq!(result, (Err(Cause::BrokenPipe), Ok(String::new())));
    });
}

#[test]
fn blocked_writer_times_out_when_window_updates_are_cut_off() {
    run_fifo(async |_| {
        let (took, result) = timed(blocked_write_and_read(async |t| {
            t.net.partition(&["α"], &["β"]);
            // The reader makes space, and cannot say so.
            assert_eq!(read(&t.ba).await, Ok("full".into()));
            time::sleep(secs(200)).await;
        }))
        .await;
        assert_eq!(result.0, Err(Cause::TimedOut));
        assert!(took < secs(210), "{took:?}");
    });
}

#[test]
fn blocked_writer_gets_its_window_update_after_heal() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().window(4)).await;
        assert_eq!(write(&t.ab, "full").await, Ok(4));
        time::sleep(secs(1)).await;
        let start = time::now();
        let ((took, wrote), ()) = join(timed(write(&t.ab, "more")), async {
            t.net.partition_one_way(&["β"], &["α"]);
            assert_eq!(read(&t.ba).await, Ok("full".into()));
            sleep_until_after(start, secs(40)).await;
            t.net.heal();
        })
        .await;
        assert_eq!(wrote, Ok(4));
        assert!(took >= secs(40) && took <= secs(41), "{took:?}");
    });
}

#[test]
fn write_to_a_peer_that_closed_and_timed_out_is_reset() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config().window(8)).await;
        assert_eq!(write(&t.ab, "half").await, Ok(4));
        time::sleep(secs(1)).await;
        t.net.partition(&["α"], &["β"]);
        let start = time::now();
        assert_eq!(write(&t.ba, "last words").await, Ok(8));
        t.ba.close().unwrap();
        sleep_until_after(start, secs(60) - ms(100)).await;
        t.net.heal();
        // What answers this waits behind what was lost, and is given up with it.
        assert_eq!(write(&t.ab, "full").await, Ok(4));
        for waits in [true, false] {
            if !waits {
                time::sleep(secs(1)).await;
            }
            let result = sim.timeout(secs(100), write(&t.ab, "more")).await;
            assert_eq!(result, Ok(Err(Cause::ConnReset)));
        }
    });
}

#[test]
fn dials_between_two_hosts_are_accepted_in_dial_order() {
    let latency = virtnet::simnet::Latency::uniform(ms(1), ms(1_000));
    run_fifo(async move |_| {
        let t = connected_pair(exact_config().latency(latency)).await;
        for _ in 0..10 {
            let dials = futures::future::join_all((0..5).map(|_| t.a.dial("β:1")));
            let accepts = futures::future::join_all((0..5).map(|_| t.lb.accept()));
            let (dialed, accepted) = join(dials, accepts).await;
            for (dialed, accepted) in dialed.into_iter().zip(accepted) {
                assert_eq!(dialed.unwrap().local_addr(), accepted.unwrap().peer_addr());
            }
        }
    });
}

#[test]
fn window_bounds_data_in_flight() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config().window(1_000)).await;
        let ab = t.ab.clone();
        let writer = sim.spawn(async move { write_all(&ab, &[7; 10_000]).await });
        time::sleep(secs(100)).await;
        assert!(!writer.is_finished(), "a writer waits for a reader as long as that lives");
        let mut got = 0;
        while got < 10_000 {
            let count = read(&t.ba).await.unwrap().len();
            assert!(count <= 1_000, "{count} bytes were on their way");
            got += count;
        }
        writer.await.unwrap().unwrap();
    });
}

/// Dials, and gives up after so many polls' worth of time; says whether it got through.
async fn dial_for(host: &Host, millis: u64) -> Option<Conn> {
    time::timeout(ms(millis), host.dial("β:1")).await.ok().map(|dialed| dialed.unwrap())
}

#[test]
fn dial_canceled_at_any_instant_leaves_nothing_behind() {
    for canceled_after in 0..23 {
        run_fifo(async move |sim| {
            let net = Network::with("t", exact_config());
            let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
            let listener = b.listen("").await.unwrap();
            let accepting = sim.spawn({
                let listener = listener.clone();
                async move { listener.accept().await.unwrap() }
            });
            let got = dial_for(&a, canceled_after).await;
            assert_eq!(got.is_some(), canceled_after > 20, "after {canceled_after} ms");
            drop(got);
            time::sleep(secs(2)).await;
            if accepting.is_finished() {
                // It was accepted: a connection to nobody.
                let conn = accepting.await.unwrap();
                let result = read(&conn).await;
                let expected =
                    if canceled_after > 20 { Ok(String::new()) } else { Err(Cause::ConnReset) };
                assert_eq!(result, expected, "after {canceled_after} ms");
            } else {
                assert!(canceled_after <= 11, "after {canceled_after} ms");
                let (_ab, _) = join(a.dial("β:1"), async {}).await;
                accepting.await.unwrap();
            }
            time::sleep(secs(2)).await;
            assert_eq!(
                net.netstat("α"),
                "α is up, restarted 0 time(s)",
                "after {canceled_after} ms"
            );
            let expected_sockets =
                "β is up, restarted 0 time(s)\n  β:1  listens, 0 dial(s) and 0 accept(s) wait";
            assert_eq!(net.netstat("β"), expected_sockets, "after {canceled_after} ms");
        });
    }
}

#[test]
fn run_with_only_canceled_work_left_deadlocks_at_once() {
    use virtnet::{Ending, Run, Schedule};
    // What was cancelled leaves no timer: the stall is noticed where it comes about.
    let run = Run::new(1).schedule(Schedule::Fifo);
    let outcome = run.execute(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.partition(&["α"], &["β"]);
        assert!(dial_for(&t.a, 5).await.is_none());
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        drop((t.ab, t.ba));
        std::future::pending::<()>().await;
    });
    assert!(matches!(outcome.ending, Ending::Deadlock(_)), "{outcome}");
    assert_eq!(outcome.elapsed, ms(2 + 21 + 5), "{outcome}");
}

#[test]
fn short_reads_and_writes_lose_nothing() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config()).await;
        t.net.link("α", "β").short_io(1.0);
        let text: Vec<u8> = (0..5_000_u32).map(|n| (n % 251) as u8).collect();
        let (ab, sent) = (t.ab.clone(), text.clone());
        let writer = sim.spawn(async move { write_all(&ab, &sent).await });
        let mut got = Vec::new();
        let mut short = 0;
        while got.len() < text.len() {
            let mut buf = [0; 100];
            let count = futures::AsyncReadExt::read(&mut &t.ba, &mut buf).await;
            let count = count.map_err(|error| cause_of(&error)).unwrap();
            short += u32::from(count < 100);
            got.extend_from_slice(&buf[..count]);
        }
        assert_eq!(got, text);
        assert!(short > 40, "{short} of the reads were short");
        writer.await.unwrap().unwrap();
    });
}

#[test]
fn faults_of_one_network_do_not_touch_another_network() {
    run_fifo(async |_| {
        let (t, u) = (connected_pair(exact_config()).await, connected_pair(exact_config()).await);
        t.net.partition(&["α"], &["β"]);
        t.net.reset("α", "β");
        assert_eq!(write(&u.ab, "x").await, Ok(1));
        assert_eq!(timed(read(&u.ba)).await, (ms(10), Ok("x".into())));
        assert_eq!(connect(&u.a, &u.lb).await.0.local_addr().port(), 2);
    });
}

#[test]
fn blocked_writer_fails_when_the_reader_closes() {
    for unread in [0, 1, 1_000, 3_000, 4_000] {
        run_fifo(async move |sim| {
            let t = connected_pair(exact_config().window(4_000)).await;
            let (mut near, mut far) = (t.ab, t.ba);
            let writer = sim.spawn(async move { near.write_all(&[7; 100_000]).await });
            time::sleep(ms(100)).await;
            let mut buf = vec![0; 4_000 - unread];
            far.read_exact(&mut buf).await.unwrap();
            drop(far);
            let (took, wrote) = timed(async { sim.timeout(secs(60), writer).await }).await;
            let error = wrote.expect("it waits for ever").unwrap().unwrap_err();
            // It hears of space, writes on, and is answered with a reset; or is reset at once.
            let expected = match unread {
                0 => (ms(30), Cause::BrokenPipe),
                _ => (ms(10), Cause::ConnReset),
            };
            assert_eq!((took, cause_of(&error)), expected, "{unread} unread");
        });
    }
}

#[test]
fn received_data_is_not_readable_after_local_close() {
    for (closes_host, down) in [(false, Cause::SockDown), (true, Cause::HostDown)] {
        run_fifo(async move |_| {
            let t = connected_pair(exact_config()).await;
            assert_eq!(write(&t.ba, "too late").await, Ok(8));
            time::sleep(ms(100)).await;
            let closed = if closes_host { t.a.close() } else { t.ab.close() };
            closed.unwrap();
            assert_eq!(read(&t.ab).await, Err(down.clone()));
            assert_eq!(write(&t.ab, "nor this").await, Err(down));
        });
    }
}

#[test]
fn empty_read_or_write_returns_at_once() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        for arrived in ["", "something"] {
            let nothing = async {
                let read = (&t.ab).read(&mut []).await.unwrap();
                (read, (&t.ab).write(&[]).await.unwrap())
            };
            assert_eq!(timed(nothing).await, (ms(0), (0, 0)), "{arrived}");
            assert_eq!(write(&t.ba, "something").await, Ok(9));
            time::sleep(ms(100)).await;
        }
        assert_eq!(read(&t.ab).await, Ok("somethingsomething".into()));
    });
}
