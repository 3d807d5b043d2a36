//! TLS connections that end badly: dropped handles, truncated streams and pending half-closes.
//!
//! The conformance of TLS is tested beside this file.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use futures::future::{join, join3, try_join};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::poll;
use virtnet::os::Tcp;
use virtnet::{Conn, Host, Listener, Run, Sim, pipenet, simnet};

use crate::net::conformance::{receive, receive_all};
use crate::os::conformance::{NetworkerPair, with_tls};
use crate::sim::handles::assert_drops_without_panic;

/// Two hosts of a network, made inside a run.
async fn new_hosts(simulated: bool) -> (Host, Host) {
    if simulated {
        let net = simnet::Network::new("t");
        (net.new_host("client").await.unwrap(), net.new_host("server").await.unwrap())
    } else {
        let net = pipenet::Network::new("t");
        (net.host("client"), net.host("server"))
    }
}

/// What a program may hold: both ends of a connection, and a listener that waits.
async fn connected_ends(simulated: bool) -> (Conn, Conn, Listener) {
    let (client, server) = new_hosts(simulated).await;
    connect_hosts(client, server).await
}

async fn connect_hosts(client: Host, server: Host) -> (Conn, Conn, Listener) {
    let NetworkerPair { a, b, .. } = with_tls(client, server, "");
    let listener = b.listen("").await.unwrap();
    let (dialed, accepted) = join(a.dial("server:1"), listener.accept()).await;
    (dialed.unwrap(), accepted.unwrap(), listener)
}

#[test]
fn tls_handles_dropped_after_the_run_or_on_a_thread_do_not_panic() {
    for simulated in [false, true] {
        let run = || Run::new(1);
        let (dialed, accepted, listener) = run().execute(|_| connected_ends(simulated)).unwrap();
        drop(dialed);
        drop(accepted.split());
        drop(listener);
        let drop_on_thread = async move |_| {
            let ends = connected_ends(simulated).await;
            std::thread::spawn(move || drop(ends)).join()
        };
        assert!(run().execute(drop_on_thread).unwrap().is_ok());
    }
}

#[test]
fn tls_handles_dropped_at_teardown_or_while_unwinding_do_not_panic() {
    for simulated in [false, true] {
        assert_drops_without_panic(async move |_| connected_ends(simulated).await);
    }
}

#[test]
fn every_read_of_a_cut_off_tls_stream_is_an_error() {
    crate::lonet::run(async {
        let (client, server) = new_hosts(false).await;
        let (dialed, accepted, _listener) = connect_hosts(client.clone(), server).await;
        // The network below goes, with no word from TLS.
        client.close().unwrap();
        for (mut end, kind) in
            [(&dialed, ErrorKind::ConnectionAborted), (&accepted, ErrorKind::UnexpectedEof)]
        {
            assert_eq!(end.read(&mut [0]).await.unwrap_err().kind(), kind);
            let second_error = end.read(&mut [0]).await.unwrap_err();
            assert_eq!(second_error.kind(), ErrorKind::UnexpectedEof);
        }
    });
}

#[test]
fn tls_dial_without_a_host_name_reaches_the_local_listener() {
    crate::lonet::run(async {
        let (client, server) = new_hosts(false).await;
        let networks = [with_tls(client, server, ""), with_tls(Tcp::new(), Tcp::new(), ":0")];
        for NetworkerPair { b, listen_addr, .. } in networks {
            let listener = b.listen(listen_addr).await.unwrap();
            let local_addr = format!(":{}", listener.local_addr().port());
            let (dialed, accepted) =
                try_join(b.dial(&local_addr), listener.accept()).await.unwrap();
            assert_eq!(dialed.local_addr(), accepted.peer_addr());
        }
    });
}

#[test]
fn tls_write_during_a_pending_half_close_is_a_broken_pipe() {
    crate::lonet::run(async {
        let (dialed, accepted, _listener) = connected_ends(false).await;
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
fn dropped_tls_write_half_half_closes_while_the_peer_is_not_reading() {
    let run = async move |sim: Sim| {
        let (dialed, accepted, _listener) = connected_ends(false).await;
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
fn tls_half_close_pending_beside_a_read_does_not_busy_poll() {
    let run = async move |sim: Sim| {
        let (dialed, accepted, _listener) = connected_ends(false).await;
        let client = sim.spawn(async move {
            (&dialed).write_all(b"question").await.unwrap();
            let pause = sim.sleep(Duration::from_millis(500));
            join3(dialed.shutdown(), receive_all(&dialed), pause).await.1
        });
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(receive_all(&accepted).await, "question");
        (&accepted).write_all(b"answer").await.unwrap();
        accepted.shutdown().await.unwrap();
        assert_eq!(client.await.unwrap(), "answer");
    };
    let outcome = Run::new(1).execute(run);
    assert!(outcome.is_done() && outcome.steps < 100, "{} steps", outcome.steps);
}
