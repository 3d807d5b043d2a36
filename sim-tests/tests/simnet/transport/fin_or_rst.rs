//! A close sends FIN if everything that had arrived was read, and otherwise RST, as in TCP.

use std::time::Duration;

use futures::future::join;
use virtnet::simnet::Config;
use virtnet::{Cause, time};

use crate::simnet::{
    ConnectedPair, connect, connected_pair, exact_config, ms, read, run_fifo, secs, timed, write,
    write_all,
};

/// How the end `ba` of the fixture comes to be closed.
type CloseCase = (&'static str, fn(&mut ConnectedPair));

const CLOSES: [CloseCase; 4] = [
    ("close", |t| t.ba.close().unwrap()),
    ("host", |t| t.b.close().unwrap()),
    ("drop", |t| {
        // The only handle to that end is replaced by one to the other.
        t.ba = t.ab.clone();
    }),
    ("halves", |t| {
        let ba = std::mem::replace(&mut t.ba, t.ab.clone());
        let (reader, writer) = ba.split();
        drop(reader);
        drop(writer);
    }),
];

/// Plays a story once for each way to close.
fn for_each_close(
    config: fn() -> Config,
    scenario: impl AsyncFn(&mut ConnectedPair, &CloseCase) + Copy + 'static,
) {
    for close in &CLOSES {
        run_fifo(async move |_| {
            let mut t = connected_pair(config()).await;
            scenario(&mut t, close).await;
        });
    }
}

#[test]
fn close_with_bytes_unread_resets_a_parked_reader_one_way_later() {
    for_each_close(exact_config, async |t, (name, close)| {
        write_all(&t.ab, b"request").await.unwrap();
        time::sleep(secs(1)).await;
        let start = time::now();
        let ab = t.ab.clone();
        let closing = async { close(t) };
        let (result, ()) = join(async { (read(&ab).await, time::now() - start) }, closing).await;
        assert_eq!(result, (Err(Cause::ConnReset), ms(10)), "{name}");
    });
}

#[test]
fn close_with_bytes_unread_resets_a_parked_writer_one_way_later() {
    for_each_close(
        || exact_config().window(4),
        async |t, (name, close)| {
            write_all(&t.ab, b"full").await.unwrap();
            time::sleep(secs(1)).await;
            let ab = t.ab.clone();
            let closing = async { close(t) };
            let (result, ()) = join(timed(write(&ab, "more")), closing).await;
            assert_eq!(result, (ms(10), Err(Cause::ConnReset)), "{name}");
            assert_eq!(read(&ab).await, Err(Cause::ConnReset), "{name}");
        },
    );
}

#[test]
fn close_with_bytes_unread_keeps_received_data_readable_and_loses_the_rest() {
    for_each_close(exact_config, async |t, (name, close)| {
        write_all(&t.ab, b"request").await.unwrap();
        write_all(&t.ba, b"arrived").await.unwrap();
        time::sleep(secs(1)).await;
        write_all(&t.ba, b"under way").await.unwrap();
        close(t);
        let start = time::now();
        assert_eq!(read(&t.ab).await, Ok("arrived".into()), "{name}");
        assert_eq!(read(&t.ab).await, Err(Cause::ConnReset), "{name}");
        assert_eq!(time::now() - start, ms(10), "{name}");
        assert_eq!(write(&t.ab, "more").await, Err(Cause::ConnReset), "{name}");
    });
}

#[test]
fn close_with_a_part_of_a_segment_unread_is_a_reset() {
    for_each_close(exact_config, async |t, (name, close)| {
        write_all(&t.ab, b"request").await.unwrap();
        crate::simnet::read_exact(&t.ba, 6).await;
        close(t);
        assert_eq!(read(&t.ab).await, Err(Cause::ConnReset), "{name}");
    });
}

#[test]
fn close_with_everything_read_is_the_end_of_the_stream() {
    for_each_close(exact_config, async |t, (name, close)| {
        write_all(&t.ab, b"request").await.unwrap();
        write_all(&t.ba, b"answer").await.unwrap();
        assert_eq!(read(&t.ba).await, Ok("request".into()), "{name}");
        close(t);
        assert_eq!(read(&t.ab).await, Ok("answer".into()), "{name}");
        assert_eq!(read(&t.ab).await, Ok(String::new()), "{name}");
        t.ab.close().unwrap();
    });
}

#[test]
fn close_with_the_end_of_the_stream_unread_is_no_reset() {
    for_each_close(exact_config, async |t, (name, close)| {
        t.ab.shutdown().await.unwrap();
        time::sleep(secs(1)).await;
        close(t);
        assert_eq!(read(&t.ab).await, Ok(String::new()), "{name}");
    });
}

#[test]
fn close_with_bytes_and_the_end_of_the_stream_unread_is_a_reset() {
    for_each_close(exact_config, async |t, close| {
        write_all(&t.ab, b"request").await.unwrap();
        t.ab.shutdown().await.unwrap();
        time::sleep(secs(1)).await;
        close.1(t);
        assert_eq!(read(&t.ab).await, Err(Cause::ConnReset), "{}", close.0);
    });
}

#[test]
fn half_close_with_bytes_unread_is_the_end_of_the_stream() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        write_all(&t.ab, b"request").await.unwrap();
        time::sleep(secs(1)).await;
        t.ba.shutdown().await.unwrap();
        assert_eq!(read(&t.ab).await, Ok(String::new()));
        assert_eq!(write(&t.ab, "more").await, Ok(4));
        assert_eq!(read(&t.ba).await, Ok("request".into()));
        assert_eq!(read(&t.ba).await, Ok("more".into()));
    });
}

#[test]
fn half_close_then_close_with_bytes_unread_is_a_reset_after_the_end_of_the_stream() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        write_all(&t.ab, b"request").await.unwrap();
        t.ba.shutdown().await.unwrap();
        time::sleep(secs(1)).await;
        t.ba.close().unwrap();
        time::sleep(secs(1)).await;
        // As Linux: the end of the stream had been told, so that a write finds a broken pipe.
        assert_eq!(write(&t.ab, "more").await, Err(Cause::BrokenPipe));
        assert_eq!(read(&t.ab).await, Ok(String::new()));
    });
}

#[test]
fn bytes_arriving_after_the_close_are_answered_with_a_reset() {
    for_each_close(exact_config, async |t, (name, close)| {
        let start = time::now();
        close(t);
        assert_eq!(write(&t.ab, "late").await, Ok(4), "{name}");
        assert_eq!(read(&t.ab).await, Ok(String::new()), "{name}: the FIN comes first");
        assert_eq!(time::now() - start, ms(10), "{name}");
        assert_eq!(write(&t.ab, "more").await, Ok(4), "{name}");
        time::sleep(ms(10)).await;
        assert_eq!(write(&t.ab, "more").await, Err(Cause::BrokenPipe), "{name}");
    });
}

#[test]
fn bytes_arriving_after_the_close_do_not_stop_data_already_sent() {
    for_each_close(exact_config, async |t, (name, close)| {
        write_all(&t.ab, b"first half").await.unwrap();
        time::sleep(ms(9)).await;
        write_all(&t.ab, b"second half").await.unwrap();
        assert_eq!(read(&t.ba).await, Ok("first half".into()), "{name}");
        time::sleep(ms(8)).await;
        write_all(&t.ba, b"answered early").await.unwrap();
        close(t);
        let result = timed(read(&t.ab)).await;
        assert_eq!(result, (ms(10), Ok("answered early".into())), "{name}");
        assert_eq!(read(&t.ab).await, Ok(String::new()), "{name}");
        time::sleep(ms(2)).await;
        assert_eq!(write(&t.ab, "third").await, Err(Cause::BrokenPipe), "{name}");
    });
}

/// At a thousand bytes a second, of which the last have not left when the late bytes arrive.
#[test]
fn bytes_arriving_after_the_close_lose_data_not_yet_sent() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        drop(t.net.link("α", "β").bandwidth(1_000));
        write_all(&t.ba, &[1; 100]).await.unwrap();
        write_all(&t.ba, &[2; 900]).await.unwrap();
        t.ba.close().unwrap();
        time::sleep(ms(200)).await;
        write_all(&t.ab, b"late").await.unwrap();
        assert_eq!(crate::simnet::read_exact(&t.ab, 100).await, [1; 100]);
        assert_eq!(read(&t.ab).await, Err(Cause::ConnReset));
    });
}

#[test]
fn writer_that_fills_the_window_of_a_closed_end_is_reset() {
    for_each_close(
        || exact_config().window(4),
        async |t, (name, close)| {
            close(t);
            let wrote = timed(write_all(&t.ab, b"more than the window")).await;
            assert_eq!(wrote, (ms(20), Err(Cause::BrokenPipe)), "{name}");
        },
    );
}

/// A reset is sent once. What is lost is lost, and whatever arrives later is answered anew.
#[test]
fn lost_reset_leaves_the_connection_half_open_until_the_peer_sends() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().user_timeout(None)).await;
        write_all(&t.ab, b"request").await.unwrap();
        time::sleep(secs(1)).await;
        t.net.partition(&["α"], &["β"]);
        t.ba.close().unwrap();
        time::sleep(secs(1)).await;
        t.net.heal();
        assert!(time::timeout(secs(3_000), read(&t.ab)).await.is_err(), "it is half open");
        let start = time::now();
        assert_eq!(write(&t.ab, "more").await, Ok(4));
        assert_eq!(read(&t.ab).await, Err(Cause::ConnReset));
        assert_eq!(time::now() - start, ms(20));
    });
}

/// What is not acknowledged is sent again, so that the answer to it cannot get lost for good.
#[test]
fn reset_that_answers_bytes_is_repeated_until_it_arrives() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.partition_one_way(&["β"], &["α"]);
        t.ba.close().unwrap();
        write_all(&t.ab, b"request").await.unwrap();
        time::sleep(secs(1)).await;
        t.net.heal();
        let (took, result) = timed(read(&t.ab)).await;
        assert_eq!(result, Err(Cause::ConnReset));
        assert!(took <= secs(2), "{took:?}");
    });
}

#[test]
fn reset_that_answers_bytes_and_never_arrives_is_a_timeout() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.partition_one_way(&["β"], &["α"]);
        t.ba.close().unwrap();
        write_all(&t.ab, b"request").await.unwrap();
        let (took, result) = timed(read(&t.ab)).await;
        assert_eq!(result, Err(Cause::TimedOut));
        assert!(took >= secs(60) && took <= secs(61), "{took:?}");
    });
}

/// The bytes arrived and their acknowledgement was lost: they are repeated, and answered.
#[test]
fn lost_reset_with_bytes_unacknowledged_arrives_after_heal() {
    for close_first in [false, true] {
        run_fifo(async move |_| {
            let t = connected_pair(exact_config()).await;
            t.net.partition_one_way(&["β"], &["α"]);
            write_all(&t.ab, b"request").await.unwrap();
            time::sleep(if close_first { Duration::ZERO } else { secs(1) }).await;
            t.ba.close().unwrap();
            time::sleep(secs(2)).await;
            t.net.heal();
            let (took, result) = timed(read(&t.ab)).await;
            assert_eq!(result, Err(Cause::ConnReset), "{close_first}");
            assert!(took <= secs(4), "{close_first}: {took:?}");
        });
    }
}

#[test]
fn keep_alive_detects_a_lost_reset() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().keep_alive(Some(secs(5)))).await;
        write_all(&t.ab, b"request").await.unwrap();
        time::sleep(secs(1)).await;
        t.net.partition(&["α"], &["β"]);
        t.ba.close().unwrap();
        time::sleep(secs(1)).await;
        t.net.heal();
        let (took, result) = timed(read(&t.ab)).await;
        assert_eq!(result, Err(Cause::ConnReset));
        assert!(took <= secs(10), "{took:?}");
    });
}

#[test]
fn writer_blocked_by_a_full_window_detects_a_lost_reset() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().window(4)).await;
        write_all(&t.ab, b"full").await.unwrap();
        time::sleep(secs(1)).await;
        t.net.partition(&["α"], &["β"]);
        t.ba.close().unwrap();
        time::sleep(secs(1)).await;
        t.net.heal();
        let (took, result) = timed(write(&t.ab, "more")).await;
        assert_eq!(result, Err(Cause::ConnReset));
        assert!(took <= secs(1), "{took:?}");
    });
}

/// A host may dial itself, and a closed connection's port is free at once.
#[test]
fn close_with_bytes_unread_on_one_host_is_a_reset_and_frees_the_port() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        let (near, far) = connect(&t.b, &t.lb).await;
        write_all(&near, b"request").await.unwrap();
        time::sleep(ms(1)).await;
        far.close().unwrap();
        assert_eq!(read(&near).await, Err(Cause::ConnReset));
        let (redialed, _far) = connect(&t.b, &t.lb).await;
        assert_eq!(redialed.local_addr(), far.local_addr());
    });
}
