//! Virtual time is right, to the nanosecond: latency, bandwidth, timeouts, and when what was lost
//! is sent again.

use std::time::Duration;

use futures::future::join;
use virtnet::simnet::{Config, Latency, Network};
use virtnet::{Cause, Run, Tape, time};

use crate::simnet::{
    connect, connected_pair, exact_config, ms, read, read_exact, run_fifo, secs, sleep_until_after,
    timed, write, write_all,
};

const NS: Duration = Duration::from_nanos(1);

#[test]
fn dial_takes_one_lookup_and_one_round_trip() {
    run_fifo(async |_| {
        let net = Network::with("t", exact_config());
        let (took, a) = timed(net.new_host("α")).await;
        assert_eq!(took, ms(1), "to announce a name is one question");
        let b = net.new_host("β").await.unwrap();
        let listener = b.listen("").await.unwrap();
        let a = a.unwrap();
        let (dialed, accepted) = join(timed(a.dial("β:1")), timed(listener.accept())).await;
        assert_eq!((dialed.0, accepted.0), (ms(21), ms(11)));
        let (refused, error) = timed(a.dial("β:9")).await;
        assert_eq!((refused, error.unwrap_err().root()), (ms(21), &Cause::ConnRefused));
        let (unknown, error) = timed(a.dial("γ:1")).await;
        assert_eq!((unknown, error.unwrap_err().root()), (ms(1), &Cause::NoSuchHost));
    });
}

#[test]
fn message_takes_the_latency_of_its_region_its_distance_or_the_loopback() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        assert_eq!(write(&t.ab, "near").await, Ok(4));
        assert_eq!(timed(read(&t.ba)).await, (ms(10), Ok("near".into())));
        let far = t.net.region("west").new_host("γ").await.unwrap();
        let (took, ends) = timed(connect(&far, &t.lb)).await;
        assert_eq!(took, ms(101));
        assert_eq!(write(&ends.1, "far").await, Ok(3));
        assert_eq!(timed(read(&ends.0)).await, (ms(50), Ok("far".into())));
        let (took, ends) = timed(connect(&t.b, &t.lb)).await;
        assert_eq!(took, ms(1) + Duration::from_micros(20), "a host is very near to itself");
        assert_eq!(write(&ends.0, "self").await, Ok(4));
        assert_eq!(timed(read(&ends.1)).await, (Duration::from_micros(10), Ok("self".into())));
    });
}

#[test]
fn zero_tape_gives_minimum_latencies() {
    let run = Run::new(3).tape(Tape::zero());
    run.execute(async |_| {
        let t = connected_pair(Config::new()).await;
        let (took, (ab, ba)) = timed(connect(&t.a, &t.lb)).await;
        assert_eq!(took, ms(3), "1 ms to look up, and 1 ms each way");
        assert_eq!(write(&ab, "x").await, Ok(1));
        assert_eq!(timed(read(&ba)).await.0, ms(1));
        let far = t.net.region("west").new_host("γ").await.unwrap();
        assert_eq!(timed(connect(&far, &t.lb)).await.0, ms(41));
        for latency in [Latency::exponential(ms(7), ms(70)), Latency::log_normal(ms(7), ms(70))] {
            t.net.link("α", "β").latency(latency);
            assert_eq!(write(&ab, "x").await, Ok(1));
            assert_eq!(timed(read(&ba)).await.0, ms(7));
        }
    })
    .unwrap();
}

#[test]
fn drawn_latencies_lie_in_range_and_match_their_mean_or_median() {
    let sample = |latency: Latency| {
        let run = Run::new(5).schedule(virtnet::Schedule::Fifo);
        let mut sample = run
            .execute(async move |_| {
                let t = connected_pair(exact_config().latency(latency)).await;
                let mut sample = Vec::new();
                for _ in 0..400 {
                    assert_eq!(write(&t.ab, "x").await, Ok(1));
                    sample.push(timed(read(&t.ba)).await.0);
                }
                sample
            })
            .unwrap();
        sample.sort();
        let mean = sample.iter().sum::<Duration>() / 400;
        (sample[0], sample[200], mean, sample[399])
    };
    let (min, _, mean, max) = sample(Latency::uniform(ms(10), ms(30)));
    assert!(min >= ms(10) && max <= ms(30) && mean > ms(19) && mean < ms(21), "{mean:?}");
    let (min, _, mean, _) = sample(Latency::exponential(ms(10), ms(30)));
    assert!(min >= ms(10) && mean > ms(27) && mean < ms(33), "{mean:?}");
    let (min, median, ..) = sample(Latency::log_normal(ms(10), ms(30)));
    assert!(min >= ms(10) && median > ms(27) && median < ms(33), "{median:?}");
}

#[test]
fn connections_share_link_bandwidth_in_write_order() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().bandwidth(Some(1_000))).await;
        let (other, far) = connect(&t.a, &t.lb).await;
        let start = time::now();
        write_all(&t.ab, &[1; 500]).await.unwrap();
        write_all(&t.ab, &[2; 250]).await.unwrap();
        write_all(&other, &[3; 100]).await.unwrap();
        write_all(&t.ba, &[4; 100]).await.unwrap();
        t.ab.shutdown().await.unwrap();
        let read_at = async |conn, count| {
            read_exact(conn, count).await;
            time::now() - start
        };
        assert_eq!(read_at(&t.ab, 100).await, ms(110), "the way back is another");
        assert_eq!(read_at(&t.ba, 500).await, ms(510));
        assert_eq!(read_at(&t.ba, 250).await, ms(760));
        assert_eq!(read_at(&far, 100).await, ms(860), "connections share the link");
        assert_eq!(read(&t.ba).await, Ok(String::new()));
        assert_eq!(time::now() - start, ms(860));
        let start = time::now();
        t.net.link("α", "β").bandwidth(3);
        write_all(&other, b"x").await.unwrap();
        read_exact(&far, 1).await;
        assert_eq!(time::now() - start, ms(10) + Duration::from_nanos(333_333_333));
    });
}

#[test]
fn unanswered_dial_fails_after_the_connect_timeout() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().connect_timeout(ms(2_500))).await;
        t.net.partition(&["α"], &["β"]);
        let (took, dialed) = timed(t.a.dial("β:1")).await;
        assert_eq!((took, dialed.unwrap_err().root()), (ms(2_500), &Cause::TimedOut));
        t.net.heal();
        t.net.partition_one_way(&["β"], &["α"]);
        let (dialed, accepted) = join(timed(t.a.dial("β:1")), t.lb.accept()).await;
        assert_eq!((dialed.0, dialed.1.unwrap_err().root()), (ms(2_500), &Cause::TimedOut));
        let half_open = accepted.unwrap();
        assert_eq!(write(&half_open, "?").await, Ok(1), "its end was there, and knows nothing yet");
        t.net.heal();
        assert_eq!(read(&half_open).await, Err(Cause::ConnReset));
        assert_eq!(
            crate::support::expect_ready_now(t.a.listen("")).unwrap().local_addr().port(),
            2
        );
    });
}

#[test]
fn dial_waits_for_an_accept_within_the_connect_timeout() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().connect_timeout(secs(60))).await;
        let late = async {
            time::sleep(secs(55)).await;
            t.lb.accept().await.unwrap()
        };
        let (dialed, _) = join(timed(t.a.dial("β:1")), late).await;
        assert_eq!(dialed.0, secs(55) + ms(10));
        dialed.1.unwrap();
    });
}

#[test]
fn zero_latency_dial_with_1_ns_connect_timeout_succeeds_if_accepted() {
    run_fifo(async |_| {
        let nothing = Latency::constant(Duration::ZERO);
        let config = exact_config().latency(nothing).registry_latency(nothing).connect_timeout(NS);
        let t = connected_pair(config).await;
        let dialed = timed(t.a.dial("β:1")).await;
        assert_eq!((dialed.0, dialed.1.unwrap_err().root()), (NS, &Cause::TimedOut));
    });
}

#[test]
fn user_timeout_counts_from_the_first_unacknowledged_byte() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        let start = time::now();
        assert_eq!(write(&t.ab, "one").await, Ok(3));
        sleep_until_after(start, ms(5)).await;
        t.net.partition(&["α"], &["β"]);
        sleep_until_after(start, secs(30)).await;
        assert_eq!(write(&t.ab, "two").await, Ok(3));
        let reading = async { (read(&t.ab).await, time::now() - start) };
        let (reader, sleeper) = join(reading, time::sleep(secs(30) - NS)).await;
        assert_eq!((reader, sleeper), ((Err(Cause::TimedOut), secs(60)), ()));
        assert_eq!(write(&t.ab, "three").await, Err(Cause::TimedOut));
    });
}

#[test]
fn data_without_user_timeout_is_retransmitted_forever() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().user_timeout(None)).await;
        t.net.partition(&["α"], &["β"]);
        assert_eq!(write(&t.ab, "patience").await, Ok(8));
        time::sleep(secs(20_000)).await;
        t.net.heal();
        let (took, text) = timed(read(&t.ba)).await;
        assert_eq!(text, Ok("patience".into()));
        assert!(took <= secs(60) + ms(10), "attempts are at most a minute apart: {took:?}");
    });
}

#[test]
fn lost_data_is_retransmitted_after_200_ms_and_then_with_doubled_delay() {
    // Lost at 10 ms: again at 210 ms, there at 220 ms; or lost there, and so on.
    for (healed, arrives) in [(100, 220), (219, 220), (221, 630), (629, 630), (631, 1_440)] {
        run_fifo(async move |_| {
            let t = connected_pair(exact_config()).await;
            let start = time::now();
            assert_eq!(write(&t.ab, "x").await, Ok(1));
            t.net.partition(&["α"], &["β"]);
            sleep_until_after(start, ms(healed)).await;
            t.net.heal();
            assert_eq!(read(&t.ba).await, Ok("x".into()));
            assert_eq!(time::now() - start, ms(arrives), "healed after {healed} ms");
        });
    }
}

#[test]
fn keep_alive_end_times_out_when_its_probe_is_unanswered() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().keep_alive(Some(secs(5)))).await;
        assert_eq!(write(&t.ba, "x").await, Ok(1));
        assert_eq!(read(&t.ab).await, Ok("x".into()));
        let last_received_at = time::now();
        sleep_until_after(last_received_at, secs(7)).await;
        t.net.partition(&["α"], &["β"]);
        assert_eq!(read(&t.ab).await, Err(Cause::TimedOut));
        // It asks after 10 s, having been answered after 5 s.
        assert_eq!(time::now() - last_received_at, secs(70));
    });
}

#[test]
fn keep_alive_of_a_silent_connection_counts_from_its_connect() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().keep_alive(Some(secs(5)))).await;
        let connected = time::now() - ms(10);
        t.net.partition(&["α"], &["β"]);
        assert_eq!(read(&t.ab).await, Err(Cause::TimedOut));
        assert_eq!(time::now() - connected, secs(65));
    });
}

#[test]
fn idle_reader_without_keep_alive_waits_forever() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config()).await;
        t.net.partition(&["α"], &["β"]);
        assert!(sim.timeout(secs(30_000), read(&t.ab)).await.is_err());
    });
}

#[test]
fn full_window_opens_one_link_latency_after_it_is_read() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().window(8)).await;
        let start = time::now();
        assert_eq!(write(&t.ab, "0123456789").await, Ok(8));
        let reading = async {
            sleep_until_after(start, ms(100)).await;
            read_exact(&t.ba, 2).await
        };
        let ((took, wrote), _) = join(timed(write(&t.ab, "89")), reading).await;
        assert_eq!((took, wrote), (ms(110), Ok(2)));
    });
}
