//! What every network does alike, on this one, on any executor.

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::SubNetwork;

use crate::lonet::{TempNetworks, run, within_limit};
use crate::net::conformance::suite;

async fn run_conformance_suite() {
    let temp = TempNetworks::new();
    suite(async || temp.config().join("").await.unwrap()).await;
}

#[test]
fn lonet_on_async_io_executor_conforms() {
    run(run_conformance_suite());
}

#[test]
fn lonet_on_executor_without_reactor_conforms() {
    futures::executor::block_on(within_limit(run_conformance_suite()));
}

#[test]
fn lonet_on_tokio_conforms() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(within_limit(run_conformance_suite()));
}

#[test]
fn lonet_handles_used_from_many_threads_at_once_work() {
    let temp = TempNetworks::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(within_limit(async {
        let net = temp.config().join("t").await.unwrap();
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
        let spawn_client = |number: usize| {
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
        for client in (0..64).map(spawn_client).collect::<Vec<_>>() {
            client.await.unwrap();
        }
        served.await.unwrap();
    }));
}

/// Long enough for what is on its way between two threads to arrive.
async fn wait_for_other_thread() {
    async_io::Timer::after(std::time::Duration::from_millis(200)).await;
}

#[test]
fn dropped_dial_leaves_the_queue_and_the_others_keep_their_order() {
    let temp = TempNetworks::new();
    run(async {
        let net = temp.config().join("t").await.unwrap();
        let host = async |name| net.new_host(name).await.unwrap();
        let hosts = [host("α").await, host("γ").await, host("δ").await];
        let listener = host("β").await.listen("").await.unwrap();
        let mut dials = Vec::new();
        for host in &hosts {
            let mut dial = Box::pin(host.dial("β:1"));
            // It waits by itself until it is in the queue.
            let waits = futures::future::select(&mut dial, Box::pin(wait_for_other_thread())).await;
            assert!(matches!(waits, futures::future::Either::Right(_)));
            dials.push(dial);
        }
        drop(dials.remove(1));
        wait_for_other_thread().await;
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
fn listener_alone_keeps_its_network_open() {
    let temp = TempNetworks::new();
    run(async {
        let config = temp.config();
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
fn hosts_on_subnetworks_of_their_own_connect() {
    let temp = TempNetworks::new();
    run(async {
        let nets: [SubNetwork; 2] =
            [temp.config().join("t").await.unwrap(), temp.config().join("t").await.unwrap()];
        let (a, b) = (nets[0].new_host("α").await.unwrap(), nets[1].new_host("β").await.unwrap());
        assert!(nets[0].host("β").is_none());
        let listener = b.listen("").await.unwrap();
        let (dialed, accepted) = futures::join!(a.dial("β:1"), listener.accept());
        assert_eq!(dialed.unwrap().peer_addr(), accepted.unwrap().local_addr());
    });
}
