//! Dropped handles: the last handle of a connection, listener or network frees its resources.
//!
//! A network owns its hosts, a connection or a listener owns its port, and only handles keep a
//! network alive.

use std::sync::Arc;

use virtnet::{
    Accept, Addr, AddrError, Args, Cause, Conn, Error, Host, Incoming, Listener, NetEvent,
    Networker, Notifier, Op, ReadHalf, RegistryError, SubNetwork, Traced, WriteHalf, pipenet,
};

use crate::support::test_network::TestNetwork;
use crate::support::{
    TwoHosts, accept, dial, expect_ready_now, free_ports, read, two_hosts, write,
};

#[test]
fn public_types_are_send_sync_and_debug_and_their_futures_send() {
    fn holds<T: Send + Sync>() {}
    fn debugs<T: std::fmt::Debug>() {}
    macro_rules! all {
        ($($name:ty),* $(,)?) => { $(holds::<$name>(); debugs::<$name>();)* };
    }
    all!(Addr, AddrError, Error, Op, Cause, RegistryError, Args, SubNetwork, Host, Listener);
    all!(Incoming, Conn, ReadHalf, WriteHalf, Notifier, Accept, NetEvent, Traced<Host>);
    all!(pipenet::Network);
    holds::<Arc<dyn Networker>>();
    fn sends(_: impl Send) {}
    let two = two_hosts();
    sends(two.a.dial("β:1"));
    sends(two.a.listen(""));
    sends(two.la.accept());
    sends(two.net.new_host("γ"));
    sends(two.ab.shutdown());
}

#[test]
fn addr_is_16_bytes_and_error_below_128() {
    assert_eq!(size_of::<Addr>(), 16);
    assert!(size_of::<Error>() < 128, "{}", size_of::<Error>());
}

#[test]
fn used_network_is_freed_with_its_last_handle() {
    for close in [false, true] {
        let network = TestNetwork::new(0);
        let (a, b) = (network.host("α"), network.host("β"));
        let listener = expect_ready_now(b.listen("")).unwrap();
        let mut accepting = accept(&listener);
        accepting.expect_pending();
        let dialed = dial(&a, "β:1").expect_ready().unwrap();
        let accepted = accepting.expect_ready().unwrap();
        let mut reading = read(&dialed, 1);
        reading.expect_pending();
        let mut queued = dial(&a, "β:1");
        queued.expect_pending();
        if close {
            network.subnetwork.close().unwrap();
        }
        let engine = network.engine.clone();
        drop((network, a, b, accepting, dialed, accepted, reading, queued, listener));
        assert_eq!(engine.conn_counts.alive.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&engine), 1, "somebody still holds the engine");
    }
}

#[test]
fn connection_outlives_the_handles_of_its_network() {
    let TwoHosts { net, a, b, la, lb, ab, ba } = two_hosts();
    drop((net, a, b, la, lb));
    let mut reading = read(&ba, 8);
    reading.expect_pending();
    assert_eq!(write(&ab, "still").expect_ready(), Ok(5));
    assert_eq!(reading.expect_ready(), Ok("still".to_string()));
}

#[test]
fn connection_closes_and_frees_its_port_with_its_last_handle() {
    let two = two_hosts();
    let mut reading = read(&two.ba, 8);
    reading.expect_pending();
    let second_handle = two.ab.clone();
    drop(two.ab);
    reading.expect_pending();
    assert_eq!(free_ports(&two.a, 1), [3]);
    drop(second_handle);
    assert_eq!(reading.expect_ready(), Ok(String::new()));
    assert_eq!(free_ports(&two.a, 1), [2]);
}

#[test]
fn listener_closes_and_refuses_dials_with_its_last_handle() {
    let two = two_hosts();
    let mut dialing = dial(&two.a, "β:1");
    dialing.expect_pending();
    let (second_handle, incoming) = (two.lb.clone(), two.lb.incoming());
    drop(two.lb);
    drop(second_handle);
    dialing.expect_pending();
    assert_eq!(dialing.take_wakes(), 0);
    drop(incoming);
    assert_eq!(dialing.take_wakes(), 1);
    assert_eq!(dialing.expect_ready().unwrap_err(), "dial pipet α:3->β:1: connection refused");
    assert_eq!(free_ports(&two.b, 1), [1]);
}

#[test]
fn dropped_write_half_half_closes() {
    let two = two_hosts();
    let (reader, writer) = two.ab.split();
    drop(writer);
    assert_eq!(read(&two.ba, 8).expect_ready(), Ok(String::new()));
    write(&two.ba, "more").expect_pending();
    drop(reader);
    let broken_pipe = "write pipet β:2->α:2: io: read/write on closed pipe";
    assert_eq!(write(&two.ba, "more").expect_ready().unwrap_err(), broken_pipe);
}

#[test]
fn closed_handles_keep_their_names_and_may_be_closed_again() {
    let two = two_hosts();
    two.net.close().unwrap();
    for _ in 0..2 {
        two.ab.close().unwrap();
        two.la.close().unwrap();
        two.a.close().unwrap();
        two.net.close().unwrap();
    }
    assert_eq!((two.a.name(), two.a.network(), two.net.network()), ("α", "pipet", "pipet"));
    assert_eq!(two.la.local_addr().to_string(), "α:1");
    assert_eq!(format!("{:?} {:?}", two.ab, two.la), "Conn(α:2->β:2) Listener(α:1)");
    assert_eq!(format!("{:?}", two.a), "Host(\"α\" on \"pipet\", closed)");
    assert_eq!(listen_error(&two), "listen pipet α:0: network is down");
}

fn listen_error(two: &TwoHosts) -> String {
    expect_ready_now(two.a.listen("")).unwrap_err().to_string()
}

#[test]
fn connection_end_is_closed_gracefully_exactly_once() {
    let network = TestNetwork::new(0);
    let (a, b) = (network.host("α"), network.host("β"));
    let listener = expect_ready_now(b.listen("")).unwrap();
    let mut accepting = accept(&listener);
    accepting.expect_pending();
    let (dialed, accepted) =
        (dial(&a, "β:1").expect_ready().unwrap(), accepting.expect_ready().unwrap());
    dialed.close().unwrap();
    dialed.close().unwrap();
    drop(dialed);
    assert_eq!((network.closed_conns(), network.aborted_conns()), (1, 0));
    b.close().unwrap();
    accepted.close().unwrap();
    network.subnetwork.close().unwrap();
    assert_eq!((network.closed_conns(), network.aborted_conns()), (2, 0));
}
