//! The conformance suite of a subnetwork, run here on pipenet and simnet and elsewhere on lonet.
//!
//! The suite uses [`SubNetwork`] on any executor. Behaviour that differs between networks, such as
//! whether a write waits for a read, is not tested here.

use std::cell::Cell;
use std::rc::Rc;

use futures::executor::LocalPool;
use futures::future::{join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::task::LocalSpawnExt;
use futures::{StreamExt, TryStreamExt};
use virtnet::{
    Cause, Conn, Host, Listener, Networker, Op, Run, Schedule, SubNetwork, pipenet, simnet,
};

/// Runs the whole suite on networks of one kind, a fresh one for each part.
pub(crate) async fn suite(new_network: impl AsyncFn() -> SubNetwork) {
    host_name_stays_taken_after_close(new_network().await).await;
    listen_takes_the_lowest_free_port(new_network().await).await;
    both_ends_report_matching_addresses(new_network().await).await;
    bytes_arrive_in_order_both_ways(new_network().await).await;
    half_close_ends_one_direction(new_network().await).await;
    split_halves_work_concurrently(new_network().await).await;
    every_dial_is_accepted_once(new_network().await).await;
    incoming_is_a_stream_that_ends_after_close(new_network().await).await;
    closed_end_gives_end_of_stream_to_peer(new_network().await).await;
    dial_without_a_listener_fails_with_its_cause(new_network().await).await;
    auto_close_closes_network_with_its_last_host(new_network().await).await;
    program_runs_on_a_dyn_networker(new_network().await).await;
}

async fn new_hosts(net: &SubNetwork) -> (Host, Host) {
    (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap())
}

/// Connects a host with a listener.
async fn connect(host: &Host, listener: &Listener) -> (Conn, Conn) {
    let addr = listener.local_addr().to_string();
    let (dialed, accepted) = join(host.dial(&addr), listener.accept()).await;
    (dialed.unwrap(), accepted.unwrap())
}

async fn send(mut conn: &Conn, text: &str) {
    conn.write_all(text.as_bytes()).await.unwrap();
}

pub(crate) async fn receive(mut conn: &Conn, len: usize) -> String {
    let mut buf = vec![0; len];
    conn.read_exact(&mut buf).await.unwrap();
    String::from_utf8(buf).unwrap()
}

pub(crate) async fn receive_all(mut conn: &Conn) -> String {
    let mut text = String::new();
    conn.read_to_string(&mut text).await.unwrap();
    text
}

async fn host_name_stays_taken_after_close(net: SubNetwork) {
    assert!(net.host("α").is_none());
    let (a, b) = new_hosts(&net).await;
    assert_eq!((a.name(), a.network()), ("α", net.network()));
    assert!(net.host("α").as_ref() == Some(&a) && a != b);
    a.close().unwrap();
    a.close().unwrap();
    assert!(a.is_closed() && !b.is_closed());
    assert_eq!(net.host("α"), Some(a), "a closed host is found as well");
    let error = net.new_host("α").await.unwrap_err();
    assert_eq!((error.op, error.root()), (Op::NewHost, &Cause::HostExists));
    net.close().unwrap();
    assert!(b.is_closed());
    assert_eq!(*net.new_host("γ").await.unwrap_err().root(), Cause::NetDown);
}

async fn listen_takes_the_lowest_free_port(net: SubNetwork) {
    let (a, _) = new_hosts(&net).await;
    let listen =
        async |addr| a.listen(addr).await.map(|listener| (listener.local_addr().port(), listener));
    let (one, first) = listen("").await.unwrap();
    let (three, _third) = listen(":3").await.unwrap();
    let (two, second) = listen(":0").await.unwrap();
    let (four, _fourth) = listen("α:0").await.unwrap();
    assert_eq!([one, two, three, four], [1, 2, 3, 4]);
    let taken = listen(":2").await.unwrap_err();
    assert_eq!((taken.op, taken.root()), (Op::Listen, &Cause::AddrInUse));
    assert_eq!(*listen("β:7").await.unwrap_err().root(), Cause::AddrNotLocal);
    first.close().unwrap();
    drop(second);
    let (one, reopened) = listen("").await.unwrap();
    first.close().unwrap();
    assert_eq!(*listen(":1").await.unwrap_err().root(), Cause::AddrInUse, "a stale close");
    assert_eq!((one, listen("").await.unwrap().0), (1, 2));
    drop(reopened);
}

async fn both_ends_report_matching_addresses(net: SubNetwork) {
    let (a, b) = new_hosts(&net).await;
    let listener = b.listen(":5").await.unwrap();
    let (dialed, accepted) = connect(&a, &listener).await;
    assert_eq!(dialed.local_addr().to_string(), "α:1");
    assert_eq!(accepted.local_addr().to_string(), "β:1", "not the port of the listener");
    assert_eq!(dialed.peer_addr(), accepted.local_addr());
    assert_eq!(dialed.local_addr(), accepted.peer_addr());
    let local_listener = a.listen("").await.unwrap();
    let (dialed, accepted) = connect(&a, &local_listener).await;
    assert_eq!(dialed.peer_addr(), accepted.local_addr(), "a host may dial itself");
}

async fn bytes_arrive_in_order_both_ways(net: SubNetwork) {
    let (a, b) = new_hosts(&net).await;
    let listener = b.listen("").await.unwrap();
    let (dialed, accepted) = connect(&a, &listener).await;
    let text: String = (0..20_000).map(|number| format!("{number} ")).collect();
    let forward = join(send(&dialed, &text), receive(&accepted, text.len()));
    let reverse = join(send(&accepted, &text), receive(&dialed, text.len()));
    let (((), forward), ((), reverse)) = join(forward, reverse).await;
    assert!(forward == text && reverse == text);
}

async fn half_close_ends_one_direction(net: SubNetwork) {
    let (a, b) = new_hosts(&net).await;
    let listener = b.listen("").await.unwrap();
    let (dialed, accepted) = connect(&a, &listener).await;
    let client = async {
        send(&dialed, "question").await;
        dialed.shutdown().await.unwrap();
        receive_all(&dialed).await
    };
    let server = async {
        let question = receive_all(&accepted).await;
        send(&accepted, "answer").await;
        accepted.close().unwrap();
        question
    };
    assert_eq!(join(client, server).await, ("answer".into(), "question".into()));
    let mut dialed = dialed;
    assert!(dialed.write(b"more").await.is_err(), "half-closed is closed for writing");
}

async fn split_halves_work_concurrently(net: SubNetwork) {
    let (a, b) = new_hosts(&net).await;
    let listener = b.listen("").await.unwrap();
    let (dialed, accepted) = connect(&a, &listener).await;
    let (mut reader, mut writer) = dialed.split();
    let write = async move { writer.write_all(b"to the end").await };
    let echo = async {
        let received = receive_all(&accepted).await;
        send(&accepted, &received).await;
        drop(accepted);
    };
    let mut received = String::new();
    let (wrote, (), read) = futures::join!(write, echo, reader.read_to_string(&mut received));
    wrote.unwrap();
    read.unwrap();
    assert_eq!(received, "to the end");
}

/// Lets five dials and five accepts meet; gives the dialing ports in the order of accepts, and the
/// accepted ports in the order of dials.
async fn connect_five_dials(net: &SubNetwork) -> (Vec<u16>, Vec<u16>) {
    let (a, b) = new_hosts(net).await;
    let listener = b.listen("").await.unwrap();
    let dials = join_all((0..5).map(|_| a.dial("β:1")));
    let accepts = async {
        let mut conns = Vec::new();
        for _ in 0..5 {
            conns.push(listener.accept().await.unwrap());
        }
        conns
    };
    let (dialed, accepted) = join(dials, accepts).await;
    let ports =
        |conns: &[Conn]| -> Vec<u16> { conns.iter().map(|conn| conn.peer_addr().port()).collect() };
    let dialed: Vec<Conn> = dialed.into_iter().map(Result::unwrap).collect();
    (ports(&accepted), ports(&dialed))
}

async fn every_dial_is_accepted_once(net: SubNetwork) {
    let (mut accepted, mut dialed) = connect_five_dials(&net).await;
    accepted.sort_unstable();
    dialed.sort_unstable();
    assert_eq!(accepted, [1, 2, 3, 4, 5]);
    assert_eq!(dialed, [2, 3, 4, 5, 6]);
}

/// On networks whose dials do not overtake each other; not part of the suite, because those of an
/// operating system do.
async fn dials_are_accepted_in_arrival_order(net: SubNetwork) {
    let (accepted, dialed) = connect_five_dials(&net).await;
    assert_eq!(accepted, [1, 2, 3, 4, 5]);
    assert_eq!(dialed, [2, 3, 4, 5, 6]);
}

async fn incoming_is_a_stream_that_ends_after_close(net: SubNetwork) {
    let (a, b) = new_hosts(&net).await;
    let listener = b.listen("").await.unwrap();
    let incoming = listener.incoming().take(3).try_collect::<Vec<_>>();
    let (dialed, accepted) = join(join_all((0..3).map(|_| a.dial("β:1"))), incoming).await;
    assert!(dialed.iter().all(Result::is_ok));
    assert_eq!(accepted.unwrap().len(), 3);
    let mut incoming = listener.incoming();
    listener.close().unwrap();
    assert_eq!(*incoming.next().await.unwrap().unwrap_err().root(), Cause::SockDown);
    assert!(incoming.next().await.is_none());
}

async fn closed_end_gives_end_of_stream_to_peer(net: SubNetwork) {
    let (a, b) = new_hosts(&net).await;
    let listener = b.listen("").await.unwrap();
    let (dialed, accepted) = connect(&a, &listener).await;
    let send_and_drop = async {
        send(&dialed, "last words").await;
        drop(dialed);
    };
    assert_eq!(join(send_and_drop, receive_all(&accepted)).await.1, "last words");
    accepted.close().unwrap();
    let error = (&accepted).read(&mut [0]).await.unwrap_err();
    let error = error.get_ref().unwrap().downcast_ref::<virtnet::Error>().unwrap();
    assert_eq!((error.op, error.root()), (Op::Read, &Cause::SockDown));
    assert_eq!(error.addr, Some(accepted.local_addr()));
}

async fn dial_without_a_listener_fails_with_its_cause(net: SubNetwork) {
    let (a, b) = new_hosts(&net).await;
    let refused = async |addr| a.dial(addr).await.unwrap_err().root().clone();
    let listener = b.listen("").await.unwrap();
    let (dialed, _accepted) = connect(&a, &listener).await;
    assert_eq!(refused("β:2").await, Cause::ConnRefused, "the port of a connection");
    assert_eq!(refused("β:0").await, Cause::ConnRefused);
    assert_eq!(refused("γ:1").await, Cause::NoSuchHost);
    listener.close().unwrap();
    assert_eq!(refused("β:1").await, Cause::ConnRefused);
    b.close().unwrap();
    assert_eq!(refused("β:1").await, Cause::ConnRefused);
    assert_eq!(receive_all(&dialed).await, "");
    a.close().unwrap();
    assert_eq!(refused("β:1").await, Cause::HostDown);
}

async fn auto_close_closes_network_with_its_last_host(net: SubNetwork) {
    let (a, b) = new_hosts(&net).await;
    net.auto_close();
    a.close().unwrap();
    a.close().unwrap();
    let listener = b.listen("").await.unwrap();
    b.close().unwrap();
    assert_eq!(*listener.accept().await.unwrap_err().root(), Cause::NetDown);
}

async fn program_runs_on_a_dyn_networker(net: SubNetwork) {
    async fn program(network: &dyn Networker, peer: &str) -> Conn {
        let addr = format!("{peer}:1");
        network.dial(&addr).await.unwrap()
    }
    let (a, b) = new_hosts(&net).await;
    let b: std::sync::Arc<dyn Networker> = std::sync::Arc::new(b);
    let listener = b.listen("").await.unwrap();
    let (dialed, accepted) = join(program(&a, b.name()), listener.accept()).await;
    assert_eq!(dialed.peer_addr(), accepted.unwrap().local_addr());
    b.close().unwrap();
    assert_eq!(b.network(), net.network());
}

#[test]
fn pipenet_on_a_local_pool_passes_the_suite() {
    let done = Rc::new(Cell::new(false));
    let mut pool = LocalPool::new();
    let suite_future = {
        let done = done.clone();
        async move {
            suite(async || pipenet::Network::new("t").subnetwork()).await;
            let net = pipenet::Network::new("t").subnetwork();
            dials_are_accepted_in_arrival_order(net).await;
            done.set(true);
        }
    };
    pool.spawner().spawn_local(suite_future).unwrap();
    // What waits for ever is a failure, and must not be a test that hangs.
    pool.run_until_stalled();
    assert!(done.get(), "the suite waits for something that never comes");
}

#[test]
fn pipenet_in_a_run_passes_the_suite_under_every_schedule() {
    for schedule in [Schedule::Fifo, Schedule::Random, Schedule::Pct { depth: 3 }] {
        for seed in 0..50 {
            Run::new(seed)
                .schedule(schedule)
                .execute(async |_| {
                    suite(async || pipenet::Network::new("t").subnetwork()).await;
                    let net = pipenet::Network::new("t").subnetwork();
                    dials_are_accepted_in_arrival_order(net).await;
                })
                .unwrap();
        }
    }
}

#[test]
fn simnet_without_faults_passes_the_suite_under_every_schedule() {
    for schedule in [Schedule::Fifo, Schedule::Random, Schedule::Pct { depth: 3 }] {
        for seed in 0..50 {
            Run::new(seed)
                .schedule(schedule)
                .execute(async |_| {
                    suite(async || simnet::Network::new("t").region("")).await;
                    let net = simnet::Network::new("t").region("");
                    dials_are_accepted_in_arrival_order(net).await;
                })
                .unwrap();
        }
    }
}
