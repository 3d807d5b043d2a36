//! What TLS adds to a connection, where that ends badly.
//!
//! Knows ends that are dropped wherever a program likes, and streams that are cut off. That it
//! works stands in `os`.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use futures::future::{join, join3, try_join};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::poll;
use virtnet::os::Tcp;
use virtnet::{Conn, Host, Listener, Run, Sim, pipenet, simnet};

use crate::conformance::{receive, receive_all};
use crate::handles::are_dropped_in_silence;
use crate::os::{Two, with_tls};

/// Two hosts of a network, made inside a run.
async fn hosts(simulated: bool) -> (Host, Host) {
    if simulated {
        let net = simnet::Network::new("t");
        (net.new_host("client").await.unwrap(), net.new_host("server").await.unwrap())
    } else {
        let net = pipenet::Network::new("t");
        (net.host("client"), net.host("server"))
    }
}

/// What a program may hold: both ends of a connection, and a listener that waits.
async fn held(simulated: bool) -> (Conn, Conn, Listener) {
    let (client, server) = hosts(simulated).await;
    held_by(client, server).await
}

async fn held_by(client: Host, server: Host) -> (Conn, Conn, Listener) {
    let Two { a, b, .. } = with_tls(client, server, "");
    let listener = b.listen("").await.unwrap();
    let (dialed, accepted) = join(a.dial("server:1"), listener.accept()).await;
    (dialed.unwrap(), accepted.unwrap(), listener)
}

#[test]
fn what_is_dropped_after_its_run_or_elsewhere_is_dropped_in_silence() {
    for simulated in [false, true] {
        let run = || Run::new(1);
        let (dialed, accepted, listener) = run().execute(|_| held(simulated)).unwrap();
        drop(dialed);
        drop(accepted.split());
        drop(listener);
        let elsewhere = async move |_| {
            let held = held(simulated).await;
            std::thread::spawn(move || drop(held)).join()
        };
        assert!(run().execute(elsewhere).unwrap().is_ok());
    }
}

#[test]
fn what_is_dropped_at_the_end_of_its_run_or_while_unwinding_is_dropped_in_silence() {
    for simulated in [false, true] {
        are_dropped_in_silence(async move |_| held(simulated).await);
    }
}

#[test]
fn a_stream_that_is_cut_off_has_no_end_for_anybody() {
    crate::lonet::run(async {
        let (client, server) = hosts(false).await;
        let (dialed, accepted, _listener) = held_by(client.clone(), server).await;
        // The network below goes, with no word from TLS.
        client.close().unwrap();
        for (mut end, why) in
            [(&dialed, ErrorKind::ConnectionAborted), (&accepted, ErrorKind::UnexpectedEof)]
        {
            assert_eq!(end.read(&mut [0]).await.unwrap_err().kind(), why);
            let others = end.read(&mut [0]).await.unwrap_err();
            assert_eq!(others.kind(), ErrorKind::UnexpectedEof);
        }
    });
}

#[test]
fn an_address_without_a_host_is_that_of_this_access_point() {
    crate::lonet::run(async {
        let (client, server) = hosts(false).await;
        let networks = [with_tls(client, server, ""), with_tls(Tcp::new(), Tcp::new(), ":0")];
        for Two { b, at, .. } in networks {
            let listener = b.listen(at).await.unwrap();
            let here = format!(":{}", listener.local_addr().port());
            let (dialed, accepted) = try_join(b.dial(&here), listener.accept()).await.unwrap();
            assert_eq!(dialed.local_addr(), accepted.peer_addr());
        }
    });
}

#[test]
fn nothing_is_taken_once_a_half_close_is_under_way() {
    crate::lonet::run(async {
        let (dialed, accepted, _listener) = held(false).await;
        (&dialed).write_all(b"all").await.unwrap();
        // Nobody reads, and so it waits.
        assert!(poll!(pin!(dialed.shutdown())).is_pending());
        let error = (&dialed).write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let (shut, text) = join(dialed.shutdown(), receive_all(&accepted)).await;
        shut.unwrap();
        assert_eq!(text, "all");
    });
}

#[test]
fn dropping_the_half_that_writes_half_closes_though_nobody_reads_at_that_moment() {
    let run = async move |sim: Sim| {
        let (dialed, accepted, _listener) = held(false).await;
        let (reader, mut writer) = dialed.split();
        let answer = sim.spawn(async move {
            let (mut reader, mut answer) = (reader, String::new());
            reader.read_to_string(&mut answer).await.map(|_| answer)
        });
        writer.write_all(b"question").await.unwrap();
        let (flushed, question) = join(writer.flush(), receive(&accepted, 8)).await;
        flushed.unwrap();
        assert_eq!(question, "question");
        sim.sleep(Duration::from_secs(1)).await;
        drop(writer);
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(receive_all(&accepted).await, "");
        (&accepted).write_all(b"answer").await.unwrap();
        accepted.shutdown().await.unwrap();
        assert_eq!(answer.await.unwrap().unwrap(), "answer");
    };
    Run::new(1).execute(run).unwrap();
}

#[test]
fn a_half_close_that_waits_beside_a_read_lets_the_task_sleep() {
    let run = async move |sim: Sim| {
        let (dialed, accepted, _listener) = held(false).await;
        let asks = sim.spawn(async move {
            (&dialed).write_all(b"question").await.unwrap();
            let other = sim.sleep(Duration::from_millis(500));
            join3(dialed.shutdown(), receive_all(&dialed), other).await.1
        });
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(receive_all(&accepted).await, "question");
        (&accepted).write_all(b"answer").await.unwrap();
        accepted.shutdown().await.unwrap();
        assert_eq!(asks.await.unwrap(), "answer");
    };
    let outcome = Run::new(1).execute(run);
    assert!(outcome.is_done() && outcome.steps < 100, "{} steps", outcome.steps);
}
