//! What happens to things when their handles go, and that nothing is left of them.
//!
//! Knows who keeps whom alive: the network its hosts; a connection or a listener its port; and
//! nobody the network but those who hold it.

use std::sync::Arc;

use virtnet::{
    Accept, Addr, AddrError, Args, Cause, Conn, Error, Host, Incoming, Listener, NetEvent,
    Networker, Notifier, Op, ReadHalf, RegistryError, SubNetwork, Traced, WriteHalf, pipenet,
};

use crate::lab::Lab;
use crate::support::{TwoHosts, accept, dial, free_ports, now, read, two_hosts, write};

#[test]
fn everything_may_be_sent_and_shared() {
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
fn addresses_and_errors_are_small() {
    assert_eq!(size_of::<Addr>(), 16);
    assert!(size_of::<Error>() < 128, "{}", size_of::<Error>());
}

#[test]
fn nothing_is_left_of_a_network_that_was_used() {
    for close in [false, true] {
        let lab = Lab::new(0);
        let (a, b) = (lab.host("α"), lab.host("β"));
        let listener = now(b.listen("")).unwrap();
        let mut accepting = accept(&listener);
        accepting.waits();
        let dialed = dial(&a, "β:1").done().unwrap();
        let accepted = accepting.done().unwrap();
        let mut reading = read(&dialed, 1);
        reading.waits();
        let mut queued = dial(&a, "β:1");
        queued.waits();
        if close {
            lab.net.close().unwrap();
        }
        let engine = lab.engine.clone();
        drop((lab, a, b, accepting, dialed, accepted, reading, queued, listener));
        assert_eq!(engine.wires.alive.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&engine), 1, "somebody still holds the engine");
    }
}

#[test]
fn a_connection_outlives_the_handles_of_its_network() {
    let TwoHosts { net, a, b, la, lb, ab, ba } = two_hosts();
    drop((net, a, b, la, lb));
    let mut reading = read(&ba, 8);
    reading.waits();
    assert_eq!(write(&ab, "still").done(), Ok(5));
    assert_eq!(reading.done(), Ok("still".to_string()));
}

#[test]
fn the_last_handle_of_a_connection_closes_it_and_gives_the_port_back() {
    let two = two_hosts();
    let mut reading = read(&two.ba, 8);
    reading.waits();
    let twin = two.ab.clone();
    drop(two.ab);
    reading.waits();
    assert_eq!(free_ports(&two.a, 1), [3]);
    drop(twin);
    assert_eq!(reading.done(), Ok(String::new()));
    assert_eq!(free_ports(&two.a, 1), [2]);
}

#[test]
fn the_last_handle_of_a_listener_closes_it_and_refuses_who_waits() {
    let two = two_hosts();
    let mut dialing = dial(&two.a, "β:1");
    dialing.waits();
    let (twin, incoming) = (two.lb.clone(), two.lb.incoming());
    drop(two.lb);
    drop(twin);
    dialing.waits();
    assert_eq!(dialing.woken(), 0);
    drop(incoming);
    assert_eq!(dialing.woken(), 1);
    assert_eq!(dialing.done().unwrap_err(), "dial pipet α:3->β:1: connection refused");
    assert_eq!(free_ports(&two.b, 1), [1]);
}

#[test]
fn dropping_the_half_that_writes_half_closes() {
    let two = two_hosts();
    let (reader, writer) = two.ab.split();
    drop(writer);
    assert_eq!(read(&two.ba, 8).done(), Ok(String::new()));
    write(&two.ba, "more").waits();
    drop(reader);
    let gone = "write pipet β:2->α:2: io: read/write on closed pipe";
    assert_eq!(write(&two.ba, "more").done().unwrap_err(), gone);
}

#[test]
fn what_is_closed_still_has_its_names_and_does_nothing() {
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
    assert_eq!(free_ports_after_close(&two), "listen pipet α:0: network is down");
}

fn free_ports_after_close(two: &TwoHosts) -> String {
    now(two.a.listen("")).unwrap_err().to_string()
}

#[test]
fn closing_is_in_good_order_and_happens_once() {
    let lab = Lab::new(0);
    let (a, b) = (lab.host("α"), lab.host("β"));
    let listener = now(b.listen("")).unwrap();
    let mut accepting = accept(&listener);
    accepting.waits();
    let (dialed, accepted) = (dial(&a, "β:1").done().unwrap(), accepting.done().unwrap());
    dialed.close().unwrap();
    dialed.close().unwrap();
    drop(dialed);
    assert_eq!((lab.closed(), lab.aborted()), (1, 0));
    b.close().unwrap();
    accepted.close().unwrap();
    lab.net.close().unwrap();
    assert_eq!((lab.closed(), lab.aborted()), (2, 0));
}
