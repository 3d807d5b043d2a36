//! What every network does alike, on this one, on any executor.

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::SubNetwork;

use crate::lonet::{Place, run, soon};
use crate::net::conformance::suite;

async fn conforms() {
    let place = Place::new();
    suite(async || place.config().join("").await.unwrap()).await;
}

#[test]
fn lonet_conforms_on_the_executor_of_async_io() {
    run(conforms());
}

#[test]
fn lonet_conforms_on_an_executor_that_knows_no_reactor() {
    futures::executor::block_on(soon(conforms()));
}

#[test]
fn lonet_conforms_on_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(soon(conforms()));
}

#[test]
fn its_handles_are_used_from_many_threads_at_once() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(soon(async {
        let net = place.config().join("t").await.unwrap();
        let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        let listener = b.listen("").await.unwrap();
        let served = tokio::spawn(async move {
            for _ in 0..64 {
                let mut conn = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut text = String::new();
                    conn.read_to_string(&mut text).await.unwrap();
                    conn.write_all(text.as_bytes()).await.unwrap();
                });
            }
        });
        let ask = |number: usize| {
            let host = a.clone();
            tokio::spawn(async move {
                let mut conn = host.dial("β:1").await.unwrap();
                let question = number.to_string().repeat(10_000);
                conn.write_all(question.as_bytes()).await.unwrap();
                conn.shutdown().await.unwrap();
                let mut answer = String::new();
                conn.read_to_string(&mut answer).await.unwrap();
                assert_eq!(answer, question);
            })
        };
        for asked in (0..64).map(ask).collect::<Vec<_>>() {
            asked.await.unwrap();
        }
        served.await.unwrap();
    }));
}

/// Long enough for what is on its way between two threads to arrive.
async fn a_while() {
    async_io::Timer::after(std::time::Duration::from_millis(200)).await;
}

#[test]
fn a_dial_that_was_dropped_leaves_no_ghost_and_the_others_keep_their_order() {
    let place = Place::new();
    run(async {
        let net = place.config().join("t").await.unwrap();
        let host = async |name| net.new_host(name).await.unwrap();
        let hosts = [host("α").await, host("γ").await, host("δ").await];
        let listener = host("β").await.listen("").await.unwrap();
        let mut dials = Vec::new();
        for host in &hosts {
            let mut dial = Box::pin(host.dial("β:1"));
            // It waits by itself until it is in the queue.
            let waits = futures::future::select(&mut dial, Box::pin(a_while())).await;
            assert!(matches!(waits, futures::future::Either::Right(_)));
            dials.push(dial);
        }
        drop(dials.remove(1));
        a_while().await;
        let accepted = async {
            let (first, second) = (listener.accept().await, listener.accept().await);
            [first, second].map(|conn| conn.unwrap().peer_addr().host().to_string())
        };
        let (dialed, accepted) = futures::join!(futures::future::join_all(dials), accepted);
        assert!(dialed.iter().all(Result::is_ok));
        assert_eq!(accepted, ["α", "δ"]);
    });
}

#[test]
fn a_listener_keeps_its_network() {
    let place = Place::new();
    run(async {
        let config = place.config();
        let make = async |name| config.join("t").await.unwrap().new_host(name).await.unwrap();
        let listener = make("β").await.listen("").await.unwrap();
        let client = make("α").await;
        let (dialed, accepted) = futures::join!(client.dial("β:1"), listener.accept());
        assert_eq!(dialed.unwrap().peer_addr(), accepted.unwrap().local_addr());
        drop(listener);
        // With the last handle it is gone, and its process refuses.
        let error = client.dial("β:1").await.unwrap_err().to_string();
        assert!(error.ends_with("connect: connection refused"), "{error}");
    });
}

#[test]
fn lonet_conforms_when_each_host_is_on_a_subnetwork_of_its_own() {
    let place = Place::new();
    run(async {
        let nets: [SubNetwork; 2] =
            [place.config().join("t").await.unwrap(), place.config().join("t").await.unwrap()];
        let (a, b) = (nets[0].new_host("α").await.unwrap(), nets[1].new_host("β").await.unwrap());
        assert!(nets[0].host("β").is_none());
        let listener = b.listen("").await.unwrap();
        let (dialed, accepted) = futures::join!(a.dial("β:1"), listener.accept());
        assert_eq!(dialed.unwrap().peer_addr(), accepted.unwrap().local_addr());
    });
}
