//! A stream is a stream, whatever becomes of its ends: half-closes, resets, back-pressure, and
//! everybody who waits is told.

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};

use virtnet::simnet::Network;
use virtnet::{Cause, Conn, Host, time};

use crate::simnet::{
    Two, cause, connect, exact, fifo, ms, read, secs, timed, two, until, write, write_all,
};

#[test]
fn a_half_close_ends_one_direction_after_what_was_written() {
    fifo(async |_| {
        let t = two(exact()).await;
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
fn what_was_written_before_a_close_is_delivered_and_then_the_stream_ends() {
    fifo(async |_| {
        let t = two(exact()).await;
        assert_eq!(write(&t.ab, "good").await, Ok(4));
        assert_eq!(write(&t.ab, "bye").await, Ok(3));
        drop(t.ab);
        assert_eq!(timed(read(&t.ba)).await, (ms(10), Ok("goodbye".into())));
        assert_eq!(read(&t.ba).await, Ok(String::new()));
    });
}

#[test]
fn a_write_after_the_peer_has_closed_succeeds_once_and_then_breaks() {
    fifo(async |_| {
        let t = two(exact()).await;
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
fn bytes_that_a_closed_end_never_read_are_answered_with_a_reset() {
    fifo(async |_| {
        let t = two(exact()).await;
        assert_eq!(write(&t.ba, "unheard").await, Ok(7));
        t.ab.close().unwrap();
        // The end of the stream comes after 10 ms, the reset for what arrived then after 20.
        assert_eq!(timed(read(&t.ba)).await, (ms(10), Ok(String::new())));
        time::sleep(ms(11)).await;
        assert_eq!(write(&t.ba, "more").await, Err(Cause::BrokenPipe));
    });
}

#[test]
fn a_reset_is_read_after_what_had_arrived() {
    fifo(async |_| {
        let t = two(exact()).await;
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
async fn blocked(happens: impl AsyncFnOnce(&Two)) -> (Result<usize, Cause>, Result<String, Cause>) {
    let t = two(exact().window(4)).await;
    assert_eq!(write(&t.ab, "full").await, Ok(4));
    time::sleep(secs(1)).await;
    let both = join(write(&t.ab, "more"), read(&t.ab));
    let (told, ()) = join(both, async {
        time::sleep(secs(1)).await;
        happens(&t).await;
    })
    .await;
    told
}

#[test]
fn a_blocked_writer_and_a_blocked_reader_are_woken_by_every_end_of_a_connection() {
    fifo(async |_| {
        let both = |cause: Cause| (Err(cause.clone()), Err(cause));
        let told = blocked(async |t| t.net.reset("α", "β")).await;
        assert_eq!(told, both(Cause::ConnReset));
        let told = blocked(async |t| t.ab.close().unwrap()).await;
        assert_eq!(told, both(Cause::SockDown));
        let told = blocked(async |t| t.a.close().unwrap()).await;
        assert_eq!(told, both(Cause::HostDown));
        let told = blocked(async |t| t.net.region("").close().unwrap()).await;
        assert_eq!(told, both(Cause::NetDown));
        let told = blocked(async |t| {
            let ba = &t.ba;
            assert_eq!(read(ba).await, Ok("full".into()));
            time::sleep(ms(100)).await;
            ba.close().unwrap();
        })
        .await;
        assert_eq!(
            told,
            (Ok(4), Err(Cause::ConnReset)),
            "what was written into the room is unread"
        );
        let told = blocked(async |t| {
            let ba = &t.ba;
            assert_eq!(read(ba).await, Ok("full".into()));
            assert_eq!(read(ba).await, Ok("more".into()));
            ba.close().unwrap();
        })
        .await;
        assert_eq!(told, (Ok(4), Ok(String::new())));
        let told = blocked(async |t| t.ba.close().unwrap()).await;
        assert_eq!(told, both(Cause::ConnReset), "closed with bytes unread");
        let told = blocked(async |t| t.b.close().unwrap()).await;
        assert_eq!(told, both(Cause::ConnReset));
        let told = blocked(async |t| {
            t.ab.shutdown().await.unwrap();
            t.ba.shutdown().await.unwrap();
        })
        .await;
        assert_eq!(told, (Err(Cause::BrokenPipe), Ok(String::new())));
    });
}

#[test]
fn a_writer_that_waits_for_space_times_out_when_nobody_tells_of_any() {
    fifo(async |_| {
        let (took, told) = timed(blocked(async |t| {
            t.net.partition(&["α"], &["β"]);
            // The reader makes space, and cannot say so.
            assert_eq!(read(&t.ba).await, Ok("full".into()));
            time::sleep(secs(200)).await;
        }))
        .await;
        assert_eq!(told.0, Err(Cause::TimedOut));
        assert!(took < secs(210), "{took:?}");
    });
}

#[test]
fn a_writer_that_waits_for_space_hears_of_it_after_a_heal() {
    fifo(async |_| {
        let t = two(exact().window(4)).await;
        assert_eq!(write(&t.ab, "full").await, Ok(4));
        time::sleep(secs(1)).await;
        let start = time::now();
        let ((took, wrote), ()) = join(timed(write(&t.ab, "more")), async {
            t.net.partition_one_way(&["β"], &["α"]);
            assert_eq!(read(&t.ba).await, Ok("full".into()));
            until(start, secs(40)).await;
            t.net.heal();
        })
        .await;
        assert_eq!(wrote, Ok(4));
        assert!(took >= secs(40) && took <= secs(41), "{took:?}");
    });
}

#[test]
fn who_writes_to_an_end_that_closed_and_gave_up_is_told() {
    fifo(async |sim| {
        let t = two(exact().window(8)).await;
        assert_eq!(write(&t.ab, "half").await, Ok(4));
        time::sleep(secs(1)).await;
        t.net.partition(&["α"], &["β"]);
        let start = time::now();
        assert_eq!(write(&t.ba, "last words").await, Ok(8));
        t.ba.close().unwrap();
        until(start, secs(60) - ms(100)).await;
        t.net.heal();
        // What answers this waits behind what was lost, and is given up with it.
        assert_eq!(write(&t.ab, "full").await, Ok(4));
        for waits in [true, false] {
            if !waits {
                time::sleep(secs(1)).await;
            }
            let told = sim.timeout(secs(100), write(&t.ab, "more")).await;
            assert_eq!(told, Ok(Err(Cause::ConnReset)));
        }
    });
}

#[test]
fn dials_from_one_host_to_another_arrive_in_the_order_in_which_they_set_out() {
    let latency = virtnet::simnet::Latency::uniform(ms(1), ms(1_000));
    fifo(async move |_| {
        let t = two(exact().latency(latency)).await;
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
fn back_pressure_bounds_what_is_on_its_way() {
    fifo(async |sim| {
        let t = two(exact().window(1_000)).await;
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
fn a_dial_given_up_at_any_instant_leaves_nothing_behind() {
    for given_up in 0..23 {
        fifo(async move |sim| {
            let net = Network::with("t", exact());
            let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
            let listener = b.listen("").await.unwrap();
            let accepting = sim.spawn({
                let listener = listener.clone();
                async move { listener.accept().await.unwrap() }
            });
            let got = dial_for(&a, given_up).await;
            assert_eq!(got.is_some(), given_up > 20, "after {given_up} ms");
            drop(got);
            time::sleep(secs(2)).await;
            if accepting.is_finished() {
                // It was accepted: a connection to nobody.
                let conn = accepting.await.unwrap();
                let told = read(&conn).await;
                let expected =
                    if given_up > 20 { Ok(String::new()) } else { Err(Cause::ConnReset) };
                assert_eq!(told, expected, "after {given_up} ms");
            } else {
                assert!(given_up <= 11, "after {given_up} ms");
                let (_ab, _) = join(a.dial("β:1"), async {}).await;
                accepting.await.unwrap();
            }
            time::sleep(secs(2)).await;
            assert_eq!(net.netstat("α"), "α is up, restarted 0 time(s)", "after {given_up} ms");
            let left =
                "β is up, restarted 0 time(s)\n  β:1  listens, 0 dial(s) and 0 accept(s) wait";
            assert_eq!(net.netstat("β"), left, "after {given_up} ms");
        });
    }
}

#[test]
fn a_run_with_nothing_left_to_happen_ends_at_once() {
    use virtnet::{Ending, Run, Schedule};
    // What was cancelled leaves no timer: the stall is noticed where it comes about.
    let run = Run::new(1).schedule(Schedule::Fifo);
    let outcome = run.execute(async |_| {
        let t = two(exact()).await;
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
    fifo(async |sim| {
        let t = two(exact()).await;
        t.net.link("α", "β").short_io(1.0);
        let text: Vec<u8> = (0..5_000_u32).map(|n| (n % 251) as u8).collect();
        let (ab, sent) = (t.ab.clone(), text.clone());
        let writer = sim.spawn(async move { write_all(&ab, &sent).await });
        let mut got = Vec::new();
        let mut short = 0;
        while got.len() < text.len() {
            let mut buf = [0; 100];
            let count = futures::AsyncReadExt::read(&mut &t.ba, &mut buf).await;
            let count = count.map_err(|error| cause(&error)).unwrap();
            short += u32::from(count < 100);
            got.extend_from_slice(&buf[..count]);
        }
        assert_eq!(got, text);
        assert!(short > 40, "{short} of the reads were short");
        writer.await.unwrap().unwrap();
    });
}

#[test]
fn connections_of_two_networks_are_none_of_each_others_business() {
    fifo(async |_| {
        let (t, u) = (two(exact()).await, two(exact()).await);
        t.net.partition(&["α"], &["β"]);
        t.net.reset("α", "β");
        assert_eq!(write(&u.ab, "x").await, Ok(1));
        assert_eq!(timed(read(&u.ba)).await, (ms(10), Ok("x".into())));
        assert_eq!(connect(&u.a, &u.lb).await.0.local_addr().port(), 2);
    });
}

#[test]
fn a_writer_that_waits_for_space_fails_when_the_reader_closes() {
    for unread in [0, 1, 1_000, 3_000, 4_000] {
        fifo(async move |sim| {
            let t = two(exact().window(4_000)).await;
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
            assert_eq!((took, cause(&error)), expected, "{unread} unread");
        });
    }
}

#[test]
fn what_has_arrived_is_not_read_from_an_end_that_is_closed() {
    for (closes_host, down) in [(false, Cause::SockDown), (true, Cause::HostDown)] {
        fifo(async move |_| {
            let t = two(exact()).await;
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
fn to_read_or_write_nothing_takes_no_time_whether_anything_has_arrived_or_not() {
    fifo(async |_| {
        let t = two(exact()).await;
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
