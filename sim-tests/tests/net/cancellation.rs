//! Cancellation: dropping a future at any await leaks nothing and loses nothing.
//!
//! The test network yields at each await of the API, and the tests drop their futures at each.

use std::task::Poll;

use virtnet::{Addr, Cause};

use crate::support::test_network::TestNetwork;
use crate::support::{
    ManualTask, accept, connect, dial, expect_ready_now, free_ports, read, two_hosts, write,
};

#[test]
fn dial_dropped_at_any_await_frees_its_port_and_connection() {
    let mut finished = false;
    for polls in 0.. {
        let network = TestNetwork::new(2);
        let (a, b) = (network.host("α"), network.host("β"));
        let listener = expect_ready_now(b.listen("")).unwrap();
        let mut accepting = accept(&listener);
        accepting.expect_pending();
        let mut dialing = dial(&a, "β:1");
        for _ in 0..polls {
            finished = finished || dialing.poll().is_ready();
        }
        if finished {
            assert!(polls > 8, "there are more awaits than {polls}");
            break;
        }
        drop(dialing);
        assert_eq!(free_ports(&a, 2), [1, 2], "after {polls} polls");
        if let Poll::Ready(accepted) = accepting.poll() {
            // It was confirmed: a connection that is there, and whose other end is gone.
            assert_eq!(accepted.unwrap().local_addr().port(), 2);
        } else {
            assert_eq!(free_ports(&b, 2), [2, 3], "after {polls} polls");
            let (dialed, accepted) = connect_again(&network, accepting);
            assert_eq!((dialed, accepted), ("α:1->β:2".into(), "β:2->α:1".into()));
        }
        assert_eq!(
            (network.live_conns(), free_ports(&b, 2)),
            (0, vec![2, 3]),
            "after {polls} polls"
        );
    }
}

/// Connects once more, to see that the accept has not lost its place; gives both ends in words.
fn connect_again(
    network: &TestNetwork,
    mut accepting: ManualTask<Result<virtnet::Conn, String>>,
) -> (String, String) {
    let mut dialing = dial(&network.subnetwork.host("α").unwrap(), "β:1");
    let describe = |conn: &virtnet::Conn| format!("{}->{}", conn.local_addr(), conn.peer_addr());
    let dialed = (0..99).find_map(|_| match dialing.poll() {
        Poll::Ready(dialed) => Some(dialed.unwrap()),
        Poll::Pending => None,
    });
    (describe(&dialed.expect("the dial is done")), describe(&accepting.expect_ready().unwrap()))
}

#[test]
fn new_host_dropped_at_any_await_withdraws_its_name() {
    for polls in 0.. {
        let network = TestNetwork::new(2);
        let net = network.subnetwork.clone();
        let mut making = ManualTask::new(async move { net.new_host("α").await });
        if (0..polls).any(|_| making.poll().is_ready()) {
            assert!(polls > 6, "there are more awaits than {polls}");
            assert_eq!(network.registered_names(), ["α"]);
            break;
        }
        drop(making);
        assert!(
            network.registered_names().is_empty() && network.subnetwork.host("α").is_none(),
            "after {polls} polls"
        );
        network.host("α");
    }
}

#[test]
fn new_host_with_a_taken_name_does_not_withdraw_it() {
    let network = TestNetwork::new(1);
    let _host = network.host("α");
    let net = network.subnetwork.clone();
    let mut making = ManualTask::new(async move { net.new_host("α").await.map(drop) });
    while making.poll().is_pending() {}
    assert_eq!(network.registered_names(), ["α"]);
}

#[test]
fn network_closed_during_new_host_gets_no_host() {
    let network = TestNetwork::new(9);
    let net = network.subnetwork.clone();
    let mut making = ManualTask::new(async move { net.new_host("α").await });
    (0..25).for_each(|_| making.expect_pending());
    assert_eq!(network.registered_names(), ["α"]);
    making.take_wakes();
    network.subnetwork.close().unwrap();
    assert_eq!(making.take_wakes(), 1);
    let error = making.expect_ready().unwrap_err();
    assert_eq!(error.to_string(), "virtnet \"lab\": new host \"α\": network is down");
    assert!(network.registered_names().is_empty() && network.subnetwork.host("α").is_none());
}

#[test]
fn host_closed_during_dial_gets_no_connection() {
    for polls in 1..10 {
        let network = TestNetwork::new(2);
        let (a, b) = (network.host("α"), network.host("β"));
        let listener = expect_ready_now(b.listen("")).unwrap();
        let _accepting = {
            let mut accepting = accept(&listener);
            accepting.expect_pending();
            accepting
        };
        let mut dialing = dial(&a, "β:1");
        (0..polls.min(8)).for_each(|_| dialing.expect_pending());
        dialing.take_wakes();
        a.close().unwrap();
        assert_eq!(dialing.take_wakes(), 1);
        assert_eq!(dialing.expect_ready().unwrap_err(), "dial lab α:1->β:1: host is down");
    }
}

#[test]
fn host_closed_in_the_poll_that_connects_gets_no_connection() {
    for fails in [false, true] {
        let network = TestNetwork::new(0);
        let (a, b) = (network.host("α"), network.host("β"));
        let listener = expect_ready_now(b.listen("")).unwrap();
        let mut accepting = accept(&listener);
        accepting.expect_pending();
        let host = a.clone();
        let hook = Box::new(move || {
            host.close().unwrap();
            if fails { Err(Cause::TimedOut) } else { Ok(()) }
        });
        assert!(network.engine.before_success.set(hook).is_ok());
        let error = dial(&a, "β:1").expect_ready().unwrap_err();
        assert_eq!(error, "dial lab α:1->β:1: host is down");
        drop(accepting.expect_ready());
        assert_eq!((network.live_conns(), network.aborted_conns()), (0, usize::from(!fails)));
    }
}

#[test]
fn network_closed_in_the_poll_that_makes_a_host_gets_no_host() {
    let network = TestNetwork::new(0);
    let net = network.subnetwork.clone();
    let hook = Box::new(move || net.close().map_err(|error| error.cause));
    assert!(network.engine.before_success.set(hook).is_ok());
    let error = expect_ready_now(network.subnetwork.new_host("α")).unwrap_err();
    assert_eq!(error.to_string(), "virtnet \"lab\": new host \"α\": network is down");
    assert!(network.registered_names().is_empty() && network.subnetwork.host("α").is_none());
}

#[test]
fn listener_closed_before_accept_is_polled_closes_the_connection() {
    for by_host in [false, true] {
        let two = two_hosts();
        let mut accepting = accept(&two.lb);
        accepting.expect_pending();
        let dialed = dial(&two.a, "β:1").expect_ready().unwrap();
        if by_host { two.b.close() } else { two.lb.close() }.unwrap();
        assert_eq!(read(&dialed, 8).expect_ready(), Ok(String::new()));
        let cause = if by_host { "host is down" } else { "socket is down" };
        assert_eq!(accepting.expect_ready().unwrap_err(), format!("accept pipet β:1: {cause}"));
    }
}

#[test]
fn finished_read_and_write_are_not_woken_by_close() {
    let two = two_hosts();
    let (mut writing, mut reading) = (write(&two.ab, "one"), read(&two.ba, 8));
    writing.expect_pending();
    reading.expect_pending();
    assert_eq!((writing.take_wakes(), writing.expect_ready()), (1, Ok(3)));
    assert_eq!((reading.take_wakes(), reading.expect_ready()), (1, Ok("one".to_string())));
    read(&two.ba, 8).expect_pending();
    assert_eq!(write(&two.ab, "two").expect_ready(), Ok(3));
    two.ba.close().unwrap();
    assert_eq!((writing.take_wakes(), reading.take_wakes()), (0, 0));
}

#[test]
fn queued_dial_dropped_leaves_the_queue_and_frees_its_port() {
    let two = two_hosts();
    let mut dials: Vec<_> = (0..3).map(|_| dial(&two.a, "β:1")).collect();
    dials.iter_mut().for_each(ManualTask::expect_pending);
    drop(dials.remove(1));
    let mut first = accept(&two.lb);
    first.expect_pending();
    let dialed = dials[0].expect_ready().unwrap();
    assert_eq!(first.expect_ready().unwrap().peer_addr(), dialed.local_addr());
    let mut second = accept(&two.lb);
    second.expect_pending();
    assert_eq!(dials[1].expect_ready().unwrap().local_addr().port(), 5, "the third of them");
    assert_eq!(second.expect_ready().unwrap().peer_addr().port(), 5);
    let mut third = accept(&two.lb);
    third.expect_pending();
    assert_eq!(free_ports(&two.a, 1), [4], "the port of the dial that was dropped");
}

#[test]
fn accept_dropped_before_confirm_keeps_its_dial_first_in_queue() {
    let two = two_hosts();
    let (mut first, mut second) = (dial(&two.a, "β:1"), dial(&two.a, "β:1"));
    first.expect_pending();
    second.expect_pending();
    let mut dropped = accept(&two.lb);
    dropped.expect_pending();
    assert_eq!((first.take_wakes(), second.take_wakes()), (1, 0), "only the first is offered");
    drop(dropped);
    assert_eq!(free_ports(&two.b, 1), [3], "the offered port is free again");
    first.expect_pending();
    let mut next = accept(&two.lb);
    next.expect_pending();
    assert_eq!((first.take_wakes(), second.take_wakes()), (1, 0));
    let dialed = first.expect_ready().unwrap();
    assert_eq!(next.expect_ready().unwrap().peer_addr(), dialed.local_addr());
}

#[test]
fn dropped_accept_hands_its_dial_to_the_waiting_accept() {
    let two = two_hosts();
    let mut dialing = dial(&two.a, "β:1");
    dialing.expect_pending();
    let (mut dropped, mut next) = (accept(&two.lb), accept(&two.lb));
    dropped.expect_pending();
    next.expect_pending();
    drop(dropped);
    dialing.expect_ready().unwrap();
    next.expect_ready().unwrap();
}

#[test]
fn dropped_accept_hands_connection_to_a_later_accept() {
    let two = two_hosts();
    let mut dropped = accept(&two.lb);
    dropped.expect_pending();
    let dialed = dial(&two.a, "β:1").expect_ready().unwrap();
    assert_eq!(dropped.take_wakes(), 1);
    drop(dropped);
    let later = dial(&two.a, "β:1");
    let mut later = later;
    later.expect_pending();
    let accepted = accept(&two.lb).expect_ready().unwrap();
    assert_eq!(accepted.peer_addr(), dialed.local_addr());
    let mut asking = read(&accepted, 8);
    asking.expect_pending();
    assert_eq!(write(&dialed, "alive").expect_ready(), Ok(5));
    assert_eq!(asking.expect_ready(), Ok("alive".to_string()));
}

#[test]
fn dropped_accept_hands_connection_to_next_waiter() {
    let two = two_hosts();
    let (mut dropped, mut next) = (accept(&two.lb), accept(&two.lb));
    dropped.expect_pending();
    next.expect_pending();
    let dialed = dial(&two.a, "β:1").expect_ready().unwrap();
    assert_eq!((dropped.take_wakes(), next.take_wakes()), (1, 0), "only the first is woken");
    drop(dropped);
    assert_eq!(next.take_wakes(), 1);
    assert_eq!(next.expect_ready().unwrap().peer_addr(), dialed.local_addr());
}

#[test]
fn confirm_after_the_accept_was_dropped_aborts_the_connection() {
    let network = TestNetwork::new(0);
    let host = network.host("α");
    let listener = expect_ready_now(host.listen("")).unwrap();
    let (src, dst) = (Addr::new("lab", "β", 44), listener.local_addr());
    let mut accepting = accept(&listener);
    accepting.expect_pending();
    let offer = expect_ready_now(network.notifier.accept(&src, &dst)).unwrap();
    assert_eq!(offer.addr().to_string(), "α:2");
    drop(accepting);
    assert_eq!(free_ports(&host, 1), [3], "the offered port stays taken");
    offer.confirm(network.new_conn());
    assert_eq!(
        (network.aborted_conns(), network.live_conns(), free_ports(&host, 1)),
        (1, 0, vec![2])
    );
}

#[test]
fn refused_or_dropped_offer_keeps_the_accept_waiting() {
    let network = TestNetwork::new(0);
    let host = network.host("α");
    let listener = expect_ready_now(host.listen("")).unwrap();
    let (src, dst) = (Addr::new("lab", "β", 44), listener.local_addr());
    let (mut first, mut second) = (accept(&listener), accept(&listener));
    first.expect_pending();
    second.expect_pending();
    expect_ready_now(network.notifier.accept(&src, &dst)).unwrap().refuse(Cause::ConnReset);
    drop(expect_ready_now(network.notifier.accept(&src, &dst)).unwrap());
    assert_eq!((first.take_wakes(), second.take_wakes()), (0, 0));
    let offer = expect_ready_now(network.notifier.accept(&src, &dst)).unwrap();
    assert_eq!(offer.addr().to_string(), "α:2", "the same port again");
    offer.confirm(network.new_conn());
    assert_eq!((first.take_wakes(), second.take_wakes()), (1, 0), "and the same accept");
    assert_eq!(first.expect_ready().unwrap().peer_addr(), src);
}

#[test]
fn confirm_after_listener_or_host_close_aborts_the_connection() {
    let network = TestNetwork::new(0);
    let host = network.host("α");
    for by_host in [false, true] {
        let listener = expect_ready_now(host.listen("")).unwrap();
        let (src, dst) = (Addr::new("lab", "β", 44), listener.local_addr());
        let mut accepting = accept(&listener);
        accepting.expect_pending();
        let offer = expect_ready_now(network.notifier.accept(&src, &dst)).unwrap();
        if by_host { host.close() } else { listener.close() }.unwrap();
        assert_eq!(accepting.take_wakes(), 1);
        let cause = if by_host { "host is down" } else { "socket is down" };
        assert_eq!(accepting.expect_ready().unwrap_err(), format!("accept lab α:1: {cause}"));
        offer.confirm(network.new_conn());
        assert_eq!((network.live_conns(), network.aborted_conns()), (0, 1 + usize::from(by_host)));
    }
}

#[test]
fn bytes_handed_to_a_dropped_read_are_kept_for_later_reads() {
    let two = two_hosts();
    let mut dropped = read(&two.ba, 3);
    dropped.expect_pending();
    drop(dropped);
    let mut writing = write(&two.ab, "hello");
    assert_eq!(writing.expect_ready(), Ok(3));
    write(&two.ab, "lo").expect_pending();
    assert_eq!(read(&two.ba, 1).expect_ready(), Ok("h".to_string()));
    assert_eq!(read(&two.ba, 9).expect_ready(), Ok("el".to_string()));
    two.ab.close().unwrap();
    assert_eq!(read(&two.ba, 9).expect_ready(), Ok(String::new()));
}

#[test]
fn bytes_handed_over_before_close_are_read_before_end_of_stream() {
    let two = two_hosts();
    read(&two.ba, 8).expect_pending();
    assert_eq!(write(&two.ab, "last").expect_ready(), Ok(4));
    two.a.close().unwrap();
    assert_eq!(read(&two.ba, 8).expect_ready(), Ok("last".to_string()));
    assert_eq!(read(&two.ba, 8).expect_ready(), Ok(String::new()));
}

#[test]
fn concurrent_reads_are_all_woken_by_write_and_by_close() {
    let two = two_hosts();
    let mut readers: Vec<_> = (0..3).map(|_| read(&two.ba, 1)).collect();
    readers.iter_mut().for_each(ManualTask::expect_pending);
    assert_eq!(write(&two.ab, "abc").expect_ready(), Ok(1));
    assert!(readers.iter().all(|reader| reader.take_wakes() == 1));
    assert_eq!(readers[0].expect_ready(), Ok("a".to_string()));
    readers[1].expect_pending();
    readers[2].expect_pending();
    two.ab.close().unwrap();
    assert!(readers[1..].iter().all(|reader| reader.take_wakes() == 1));
    assert_eq!(
        (readers[1].expect_ready(), readers[2].expect_ready()),
        (Ok(String::new()), Ok(String::new()))
    );
}

#[test]
fn host_without_free_port_fails_listen_dial_and_accept() {
    let two = two_hosts();
    let listeners: Vec<_> =
        (3..=u16::MAX).map(|_| expect_ready_now(two.a.listen("")).unwrap()).collect();
    assert_eq!(
        expect_ready_now(two.a.listen("")).unwrap_err().to_string(),
        "listen pipet α:0: no free port"
    );
    assert_eq!(dial(&two.a, "β:1").expect_ready().unwrap_err(), "dial pipet α:0: no free port");
    let mut accepting = accept(&two.la);
    accepting.expect_pending();
    let mut dialing = dial(&two.b, "α:1");
    dialing.expect_pending();
    assert_eq!(accepting.expect_ready().unwrap_err(), "accept pipet α:1: no free port");
    drop(listeners);
    let mut accepting = accept(&two.la);
    accepting.expect_pending();
    dialing.expect_ready().unwrap();
    accepting.expect_ready().unwrap();
}

#[test]
fn empty_read_or_write_is_ready_at_once_and_fails_after_close() {
    let two = two_hosts();
    assert_eq!(read(&two.ab, 0).expect_ready(), Ok(String::new()));
    assert_eq!(write(&two.ab, "").expect_ready(), Ok(0));
    write(&two.ba, "x").expect_pending();
    let (_first, second) = connect(&two.a, &two.lb);
    second.close().unwrap();
    assert!(read(&second, 0).expect_ready().is_err() && write(&second, "").expect_ready().is_err());
}
