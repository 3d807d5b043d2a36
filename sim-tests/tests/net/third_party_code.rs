//! Third-party code: wakers that own connections or panic, connections that panic.
//!
//! No foreign code runs under a lock, and code that panics keeps nothing else from being woken or
//! closed.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::{AsyncReadExt, StreamExt};
use virtnet::{Cause, Conn, Run};

use crate::support::test_network::TestNetwork;
use crate::support::{
    TwoHosts, accept, connect, dial, expect_ready_now, free_ports, read, two_hosts, write,
};

/// Does nothing when it is woken, and drops a connection when it is dropped.
struct ConnOwningWaker(#[expect(dead_code, reason = "it is there to be dropped")] Mutex<Conn>);

impl Wake for ConnOwningWaker {
    fn wake(self: Arc<Self>) {}
}

/// Fails rather than hangs, should there be a dead-lock.
fn run_with_timeout(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("it hangs, or has panicked");
}

/// Lets a waker that owns a connection be displaced, and one be dropped with who waits.
fn replace_and_drop_owning_wakers() {
    let TwoHosts { net: _net, a, b, la: _la, lb, ab, ba } = two_hosts();
    let (dc, cd) = connect(&a, &lb);
    drop(free_ports(&b, 1));
    for (owned, is_replaced) in [(ba, true), (cd, false)] {
        let mut accepting = Box::pin(lb.accept());
        let owning_waker = Waker::from(Arc::new(ConnOwningWaker(Mutex::new(owned))));
        assert!(accepting.as_mut().poll(&mut Context::from_waker(&owning_waker)).is_pending());
        drop(owning_waker);
        if is_replaced {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(accepting.as_mut().poll(&mut cx).is_pending());
        }
    }
    assert_eq!(free_ports(&b, 3), [2, 3, 4], "a port is lost");
    let owning_waker = Waker::from(Arc::new(ConnOwningWaker(Mutex::new(ab))));
    let mut dialing = Box::pin(a.dial("β:1"));
    assert!(dialing.as_mut().poll(&mut Context::from_waker(&owning_waker)).is_pending());
    drop((owning_waker, dialing, dc));
    assert_eq!(free_ports(&a, 3), [2, 3, 4], "a port is lost");
}

#[test]
fn waker_that_owns_a_connection_may_be_replaced_or_dropped() {
    run_with_timeout(replace_and_drop_owning_wakers);
    run_with_timeout(|| Run::new(0).execute(async |_| replace_and_drop_owning_wakers()).unwrap());
}

#[test]
fn panicking_waker_does_not_keep_others_from_being_woken() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("from the waker");
        }
    }
    let two = two_hosts();
    let bomb = Waker::from(Arc::new(Bomb));
    let mut first = Box::pin(two.lb.accept());
    assert!(first.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
    let (mut second, mut reading) = (accept(&two.lb), read(&two.ba, 1));
    second.expect_pending();
    reading.expect_pending();
    catch_unwind(AssertUnwindSafe(|| two.b.close())).unwrap_err();
    assert_eq!((second.take_wakes(), reading.take_wakes()), (1, 1));
    assert_eq!(reading.expect_ready().unwrap_err(), "read pipet α:2->β:2: host is down");
}

#[test]
fn connection_that_panics_on_close_leaves_no_other_open() {
    let network = TestNetwork::new(0);
    let (a, b) = (network.host("α"), network.host("β"));
    let listener = expect_ready_now(b.listen("")).unwrap();
    let mut ends = Vec::new();
    for _ in 0..3 {
        let mut accepting = accept(&listener);
        accepting.expect_pending();
        ends.push(dial(&a, "β:1").expect_ready().unwrap());
        ends.push(accepting.expect_ready().unwrap());
    }
    network.engine.conn_counts.closes_until_panic.store(2, Ordering::Relaxed);
    catch_unwind(AssertUnwindSafe(|| network.subnetwork.close())).unwrap_err();
    assert_eq!(network.closed_conns(), 6, "one was not closed");
    for end in ends {
        let error = write(&end, "x").expect_ready().unwrap_err();
        assert!(error.ends_with(": network is down"), "{error}");
    }
    assert!(a.is_closed() && b.is_closed());
    assert_eq!(network.subnetwork.close(), Ok(()), "engine and registry were closed well");
}

#[test]
fn reads_with_a_new_waker_per_poll_keep_a_bounded_number() {
    struct NoopWake;
    impl Wake for NoopWake {
        fn wake(self: Arc<Self>) {}
    }
    let two = two_hosts();
    let new_wake = |_| Arc::new(NoopWake);
    let wakers: Vec<_> = (0..5_000).map(new_wake).collect();
    for waker in &wakers {
        let (waker, mut buf, mut conn) = (Waker::from(waker.clone()), [0], &two.ab);
        let mut reading = conn.read(&mut buf);
        let poll = std::pin::Pin::new(&mut reading).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    let kept_count = wakers.iter().filter(|waker| Arc::strong_count(waker) > 1).count();
    assert!((1..1_100).contains(&kept_count), "{kept_count} of 5000 are kept");
    assert!(Arc::strong_count(&wakers[4_999]) > 1, "the last one waits");
}

#[test]
fn incoming_continues_after_no_free_port_once_one_is_free() {
    let two = two_hosts();
    let mut listeners = listen_on_remaining_ports(&two);
    let (mut incoming, mut dialing) = (two.lb.incoming(), dial(&two.a, "β:1"));
    dialing.expect_pending();
    let no_port = expect_ready_now(incoming.next()).unwrap().unwrap_err();
    assert_eq!(no_port.cause, Cause::NoFreePort);
    listeners.pop();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(incoming.poll_next_unpin(&mut cx).is_pending());
    dialing.expect_ready().unwrap();
    expect_ready_now(incoming.next()).unwrap().unwrap();
    two.lb.close().unwrap();
    assert_eq!(expect_ready_now(incoming.next()).unwrap().unwrap_err().cause, Cause::SockDown);
    assert!(expect_ready_now(incoming.next()).is_none());
}

/// Takes all ports that β has left.
fn listen_on_remaining_ports(two: &TwoHosts) -> Vec<virtnet::Listener> {
    std::iter::from_fn(|| expect_ready_now(two.b.listen("")).ok()).collect()
}
