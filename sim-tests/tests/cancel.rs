//! Dropping a future is how an operation is cancelled; nothing leaks and nothing is lost.
//!
//! Knows every await of the API: the lab yields at each, and each test drops its future at each.

use std::task::Poll;

use virtnet::{Addr, Cause};

use crate::lab::Lab;
use crate::support::Task;
use crate::support::{accept, connect, dial, free_ports, now, read, two_hosts, write};

#[test]
fn a_dial_dropped_at_any_await_leaves_nothing_behind() {
    let mut finished = false;
    for polls in 0.. {
        let lab = Lab::new(2);
        let (a, b) = (lab.host("α"), lab.host("β"));
        let listener = now(b.listen("")).unwrap();
        let mut accepting = accept(&listener);
        accepting.waits();
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
            let (dialed, accepted) = lab_connect(&lab, accepting);
            assert_eq!((dialed, accepted), ("α:1->β:2".into(), "β:2->α:1".into()));
        }
        assert_eq!((lab.alive(), free_ports(&b, 2)), (0, vec![2, 3]), "after {polls} polls");
    }
}

/// Connects once more, to see that the accept has not lost its place; gives both ends in words.
fn lab_connect(lab: &Lab, mut accepting: Task<Result<virtnet::Conn, String>>) -> (String, String) {
    let mut dialing = dial(&lab.net.host("α").unwrap(), "β:1");
    let words = |conn: &virtnet::Conn| format!("{}->{}", conn.local_addr(), conn.peer_addr());
    let dialed = (0..99).find_map(|_| match dialing.poll() {
        Poll::Ready(dialed) => Some(dialed.unwrap()),
        Poll::Pending => None,
    });
    (words(&dialed.expect("the dial is done")), words(&accepting.done().unwrap()))
}

#[test]
fn a_host_dropped_at_any_await_gives_its_name_back() {
    for polls in 0.. {
        let lab = Lab::new(2);
        let net = lab.net.clone();
        let mut making = Task::new(async move { net.new_host("α").await });
        if (0..polls).any(|_| making.poll().is_ready()) {
            assert!(polls > 6, "there are more awaits than {polls}");
            assert_eq!(lab.names(), ["α"]);
            break;
        }
        drop(making);
        assert!(lab.names().is_empty() && lab.net.host("α").is_none(), "after {polls} polls");
        lab.host("α");
    }
}

#[test]
fn the_name_of_another_host_is_never_given_back() {
    let lab = Lab::new(1);
    let _host = lab.host("α");
    let net = lab.net.clone();
    let mut making = Task::new(async move { net.new_host("α").await.map(drop) });
    while making.poll().is_pending() {}
    assert_eq!(lab.names(), ["α"]);
}

#[test]
fn a_network_that_closes_while_a_host_is_made_gets_no_host() {
    let lab = Lab::new(9);
    let net = lab.net.clone();
    let mut making = Task::new(async move { net.new_host("α").await });
    (0..25).for_each(|_| making.waits());
    assert_eq!(lab.names(), ["α"]);
    making.woken();
    lab.net.close().unwrap();
    assert_eq!(making.woken(), 1);
    let error = making.done().unwrap_err();
    assert_eq!(error.to_string(), "virtnet \"lab\": new host \"α\": network is down");
    assert!(lab.names().is_empty() && lab.net.host("α").is_none());
}

#[test]
fn a_host_that_closes_while_it_dials_gets_no_connection() {
    for polls in 1..10 {
        let lab = Lab::new(2);
        let (a, b) = (lab.host("α"), lab.host("β"));
        let listener = now(b.listen("")).unwrap();
        let _accepting = {
            let mut accepting = accept(&listener);
            accepting.waits();
            accepting
        };
        let mut dialing = dial(&a, "β:1");
        (0..polls.min(8)).for_each(|_| dialing.waits());
        dialing.woken();
        a.close().unwrap();
        assert_eq!(dialing.woken(), 1);
        assert_eq!(dialing.done().unwrap_err(), "dial lab α:1->β:1: host is down");
    }
}

#[test]
fn a_host_that_closes_in_the_very_poll_that_connects_it_gets_no_connection() {
    for fails in [false, true] {
        let lab = Lab::new(0);
        let (a, b) = (lab.host("α"), lab.host("β"));
        let listener = now(b.listen("")).unwrap();
        let mut accepting = accept(&listener);
        accepting.waits();
        let host = a.clone();
        let meddle = Box::new(move || {
            host.close().unwrap();
            if fails { Err(Cause::TimedOut) } else { Ok(()) }
        });
        assert!(lab.engine.meddle.set(meddle).is_ok());
        let error = dial(&a, "β:1").done().unwrap_err();
        assert_eq!(error, "dial lab α:1->β:1: host is down");
        drop(accepting.done());
        assert_eq!((lab.alive(), lab.aborted()), (0, usize::from(!fails)));
    }
}

#[test]
fn a_network_that_closes_in_the_very_poll_that_makes_a_host_gets_no_host() {
    let lab = Lab::new(0);
    let net = lab.net.clone();
    let meddle = Box::new(move || net.close().map_err(|error| error.cause));
    assert!(lab.engine.meddle.set(meddle).is_ok());
    let error = now(lab.net.new_host("α")).unwrap_err();
    assert_eq!(error.to_string(), "virtnet \"lab\": new host \"α\": network is down");
    assert!(lab.names().is_empty() && lab.net.host("α").is_none());
}

#[test]
fn a_listener_that_closes_before_its_accept_is_polled_closes_the_connection() {
    for by_host in [false, true] {
        let two = two_hosts();
        let mut accepting = accept(&two.lb);
        accepting.waits();
        let dialed = dial(&two.a, "β:1").done().unwrap();
        if by_host { two.b.close() } else { two.lb.close() }.unwrap();
        assert_eq!(read(&dialed, 8).done(), Ok(String::new()));
        let why = if by_host { "host is down" } else { "socket is down" };
        assert_eq!(accepting.done().unwrap_err(), format!("accept pipet β:1: {why}"));
    }
}

#[test]
fn nobody_is_woken_who_does_not_wait() {
    let two = two_hosts();
    let (mut writing, mut reading) = (write(&two.ab, "one"), read(&two.ba, 8));
    writing.waits();
    reading.waits();
    assert_eq!((writing.woken(), writing.done()), (1, Ok(3)));
    assert_eq!((reading.woken(), reading.done()), (1, Ok("one".to_string())));
    read(&two.ba, 8).waits();
    assert_eq!(write(&two.ab, "two").done(), Ok(3));
    two.ba.close().unwrap();
    assert_eq!((writing.woken(), reading.woken()), (0, 0));
}

#[test]
fn a_dial_in_the_queue_leaves_it() {
    let two = two_hosts();
    let mut dials: Vec<_> = (0..3).map(|_| dial(&two.a, "β:1")).collect();
    dials.iter_mut().for_each(Task::waits);
    drop(dials.remove(1));
    let mut first = accept(&two.lb);
    first.waits();
    let dialed = dials[0].done().unwrap();
    assert_eq!(first.done().unwrap().peer_addr(), dialed.local_addr());
    let mut second = accept(&two.lb);
    second.waits();
    assert_eq!(dials[1].done().unwrap().local_addr().port(), 5, "the third of them");
    assert_eq!(second.done().unwrap().peer_addr().port(), 5);
    let mut third = accept(&two.lb);
    third.waits();
    assert_eq!(free_ports(&two.a, 1), [4], "the port of the dial that was dropped");
}

#[test]
fn an_accept_dropped_before_it_is_confirmed_leaves_the_dial_first_in_line() {
    let two = two_hosts();
    let (mut first, mut second) = (dial(&two.a, "β:1"), dial(&two.a, "β:1"));
    first.waits();
    second.waits();
    let mut gone = accept(&two.lb);
    gone.waits();
    assert_eq!((first.woken(), second.woken()), (1, 0), "only the first is offered");
    drop(gone);
    assert_eq!(free_ports(&two.b, 1), [3], "the offered port is free again");
    first.waits();
    let mut next = accept(&two.lb);
    next.waits();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    let dialed = first.done().unwrap();
    assert_eq!(next.done().unwrap().peer_addr(), dialed.local_addr());
}

#[test]
fn an_accept_dropped_while_another_waits_hands_its_dial_over() {
    let two = two_hosts();
    let mut dialing = dial(&two.a, "β:1");
    dialing.waits();
    let (mut gone, mut next) = (accept(&two.lb), accept(&two.lb));
    gone.waits();
    next.waits();
    drop(gone);
    dialing.done().unwrap();
    next.done().unwrap();
}

#[test]
fn a_connection_whose_accept_was_dropped_goes_to_the_next_accept() {
    let two = two_hosts();
    let mut gone = accept(&two.lb);
    gone.waits();
    let dialed = dial(&two.a, "β:1").done().unwrap();
    assert_eq!(gone.woken(), 1);
    drop(gone);
    let later = dial(&two.a, "β:1");
    let mut later = later;
    later.waits();
    let accepted = accept(&two.lb).done().unwrap();
    assert_eq!(accepted.peer_addr(), dialed.local_addr());
    let mut asking = read(&accepted, 8);
    asking.waits();
    assert_eq!(write(&dialed, "alive").done(), Ok(5));
    assert_eq!(asking.done(), Ok("alive".to_string()));
}

#[test]
fn a_connection_whose_accept_was_dropped_goes_to_one_that_waits() {
    let two = two_hosts();
    let (mut gone, mut next) = (accept(&two.lb), accept(&two.lb));
    gone.waits();
    next.waits();
    let dialed = dial(&two.a, "β:1").done().unwrap();
    assert_eq!((gone.woken(), next.woken()), (1, 0), "only the first is woken");
    drop(gone);
    assert_eq!(next.woken(), 1);
    assert_eq!(next.done().unwrap().peer_addr(), dialed.local_addr());
}

#[test]
fn an_acceptor_that_is_gone_at_the_confirm_makes_it_a_reset() {
    let lab = Lab::new(0);
    let host = lab.host("α");
    let listener = now(host.listen("")).unwrap();
    let (src, dst) = (Addr::new("lab", "β", 44), listener.local_addr());
    let mut accepting = accept(&listener);
    accepting.waits();
    let offer = now(lab.notifier.accept(&src, &dst)).unwrap();
    assert_eq!(offer.addr().to_string(), "α:2");
    drop(accepting);
    assert_eq!(free_ports(&host, 1), [3], "the offered port stays taken");
    offer.confirm(lab.wire());
    assert_eq!((lab.aborted(), lab.alive(), free_ports(&host, 1)), (1, 0, vec![2]));
}

#[test]
fn what_is_refused_or_not_answered_lets_the_accept_go_on() {
    let lab = Lab::new(0);
    let host = lab.host("α");
    let listener = now(host.listen("")).unwrap();
    let (src, dst) = (Addr::new("lab", "β", 44), listener.local_addr());
    let (mut first, mut second) = (accept(&listener), accept(&listener));
    first.waits();
    second.waits();
    now(lab.notifier.accept(&src, &dst)).unwrap().refuse(Cause::ConnReset);
    drop(now(lab.notifier.accept(&src, &dst)).unwrap());
    assert_eq!((first.woken(), second.woken()), (0, 0));
    let offer = now(lab.notifier.accept(&src, &dst)).unwrap();
    assert_eq!(offer.addr().to_string(), "α:2", "the same port again");
    offer.confirm(lab.wire());
    assert_eq!((first.woken(), second.woken()), (1, 0), "and the same accept");
    assert_eq!(first.done().unwrap().peer_addr(), src);
}

#[test]
fn a_listener_that_closes_between_offer_and_confirm_makes_it_a_reset() {
    let lab = Lab::new(0);
    let host = lab.host("α");
    for by_host in [false, true] {
        let listener = now(host.listen("")).unwrap();
        let (src, dst) = (Addr::new("lab", "β", 44), listener.local_addr());
        let mut accepting = accept(&listener);
        accepting.waits();
        let offer = now(lab.notifier.accept(&src, &dst)).unwrap();
        if by_host { host.close() } else { listener.close() }.unwrap();
        assert_eq!(accepting.woken(), 1);
        let why = if by_host { "host is down" } else { "socket is down" };
        assert_eq!(accepting.done().unwrap_err(), format!("accept lab α:1: {why}"));
        offer.confirm(lab.wire());
        assert_eq!((lab.alive(), lab.aborted()), (0, 1 + usize::from(by_host)));
    }
}

#[test]
fn a_read_that_was_dropped_has_asked_and_what_it_was_handed_is_kept() {
    let two = two_hosts();
    let mut gone = read(&two.ba, 3);
    gone.waits();
    drop(gone);
    let mut writing = write(&two.ab, "hello");
    assert_eq!(writing.done(), Ok(3));
    write(&two.ab, "lo").waits();
    assert_eq!(read(&two.ba, 1).done(), Ok("h".to_string()));
    assert_eq!(read(&two.ba, 9).done(), Ok("el".to_string()));
    two.ab.close().unwrap();
    assert_eq!(read(&two.ba, 9).done(), Ok(String::new()));
}

#[test]
fn what_was_handed_over_is_read_before_the_end_of_the_stream() {
    let two = two_hosts();
    read(&two.ba, 8).waits();
    assert_eq!(write(&two.ab, "last").done(), Ok(4));
    two.a.close().unwrap();
    assert_eq!(read(&two.ba, 8).done(), Ok("last".to_string()));
    assert_eq!(read(&two.ba, 8).done(), Ok(String::new()));
}

#[test]
fn all_who_read_at_once_are_served() {
    let two = two_hosts();
    let mut readers: Vec<_> = (0..3).map(|_| read(&two.ba, 1)).collect();
    readers.iter_mut().for_each(Task::waits);
    assert_eq!(write(&two.ab, "abc").done(), Ok(1));
    assert!(readers.iter().all(|reader| reader.woken() == 1));
    assert_eq!(readers[0].done(), Ok("a".to_string()));
    readers[1].waits();
    readers[2].waits();
    two.ab.close().unwrap();
    assert!(readers[1..].iter().all(|reader| reader.woken() == 1));
    assert_eq!((readers[1].done(), readers[2].done()), (Ok(String::new()), Ok(String::new())));
}

#[test]
fn a_host_without_a_free_port_says_so() {
    let two = two_hosts();
    let listeners: Vec<_> = (3..=u16::MAX).map(|_| now(two.a.listen("")).unwrap()).collect();
    assert_eq!(now(two.a.listen("")).unwrap_err().to_string(), "listen pipet α:0: no free port");
    assert_eq!(dial(&two.a, "β:1").done().unwrap_err(), "dial pipet α:0: no free port");
    let mut accepting = accept(&two.la);
    accepting.waits();
    let mut dialing = dial(&two.b, "α:1");
    dialing.waits();
    assert_eq!(accepting.done().unwrap_err(), "accept pipet α:1: no free port");
    drop(listeners);
    let mut accepting = accept(&two.la);
    accepting.waits();
    dialing.done().unwrap();
    accepting.done().unwrap();
}

#[test]
fn an_empty_read_or_write_is_done_at_once_and_leaves_nothing() {
    let two = two_hosts();
    assert_eq!(read(&two.ab, 0).done(), Ok(String::new()));
    assert_eq!(write(&two.ab, "").done(), Ok(0));
    write(&two.ba, "x").waits();
    let (_first, second) = connect(&two.a, &two.lb);
    second.close().unwrap();
    assert!(read(&second, 0).done().is_err() && write(&second, "").done().is_err());
}
