//! Code that is not ours: wakers that own things or panic, engines that panic.
//!
//! Knows that under a lock nothing foreign may run, and that one that fails takes no other along.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::{AsyncReadExt, StreamExt};
use virtnet::{Cause, Conn, Run};

use crate::lab::Lab;
use crate::support::{TwoHosts, accept, connect, dial, free_ports, now, read, two_hosts, write};

/// Does nothing when it is woken, and drops a connection when it is dropped.
struct Owner(#[expect(dead_code, reason = "it is there to be dropped")] Mutex<Conn>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

/// Fails rather than hangs, should there be a dead-lock.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("it hangs, or has panicked");
}

/// Lets a waker that owns a connection be displaced, and one be dropped with who waits.
fn displace_owners() {
    let TwoHosts { net: _net, a, b, la: _la, lb, ab, ba } = two_hosts();
    let (dc, cd) = connect(&a, &lb);
    drop(free_ports(&b, 1));
    for (owned, displace) in [(ba, true), (cd, false)] {
        let mut accepting = Box::pin(lb.accept());
        let owner = Waker::from(Arc::new(Owner(Mutex::new(owned))));
        assert!(accepting.as_mut().poll(&mut Context::from_waker(&owner)).is_pending());
        drop(owner);
        if displace {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(accepting.as_mut().poll(&mut cx).is_pending());
        }
    }
    assert_eq!(free_ports(&b, 3), [2, 3, 4], "a port is lost");
    let owner = Waker::from(Arc::new(Owner(Mutex::new(ab))));
    let mut dialing = Box::pin(a.dial("β:1"));
    assert!(dialing.as_mut().poll(&mut Context::from_waker(&owner)).is_pending());
    drop((owner, dialing, dc));
    assert_eq!(free_ports(&a, 3), [2, 3, 4], "a port is lost");
}

#[test]
fn a_waker_may_own_a_connection() {
    in_time(displace_owners);
    in_time(|| Run::new(0).execute(async |_| displace_owners()).unwrap());
}

#[test]
fn a_waker_that_panics_takes_no_other_along() {
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
    second.waits();
    reading.waits();
    catch_unwind(AssertUnwindSafe(|| two.b.close())).unwrap_err();
    assert_eq!((second.woken(), reading.woken()), (1, 1));
    assert_eq!(reading.done().unwrap_err(), "read pipet α:2->β:2: host is down");
}

#[test]
fn a_connection_that_panics_when_closed_leaves_no_other_open() {
    let lab = Lab::new(0);
    let (a, b) = (lab.host("α"), lab.host("β"));
    let listener = now(b.listen("")).unwrap();
    let mut ends = Vec::new();
    for _ in 0..3 {
        let mut accepting = accept(&listener);
        accepting.waits();
        ends.push(dial(&a, "β:1").done().unwrap());
        ends.push(accepting.done().unwrap());
    }
    lab.engine.wires.fuse.store(2, Ordering::Relaxed);
    catch_unwind(AssertUnwindSafe(|| lab.net.close())).unwrap_err();
    assert_eq!(lab.closed(), 6, "one was not closed");
    for end in ends {
        let error = write(&end, "x").done().unwrap_err();
        assert!(error.ends_with(": network is down"), "{error}");
    }
    assert!(a.is_closed() && b.is_closed());
    assert_eq!(lab.net.close(), Ok(()), "engine and registry were closed well");
}

#[test]
fn who_reads_with_a_new_waker_each_time_leaves_few_behind() {
    struct Mute;
    impl Wake for Mute {
        fn wake(self: Arc<Self>) {}
    }
    let two = two_hosts();
    let mute = |_| Arc::new(Mute);
    let wakers: Vec<_> = (0..5_000).map(mute).collect();
    for waker in &wakers {
        let (waker, mut buf, mut conn) = (Waker::from(waker.clone()), [0], &two.ab);
        let mut reading = conn.read(&mut buf);
        let poll = std::pin::Pin::new(&mut reading).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    let left = wakers.iter().filter(|waker| Arc::strong_count(waker) > 1).count();
    assert!((1..1_100).contains(&left), "{left} of 5000 are kept");
    assert!(Arc::strong_count(&wakers[4_999]) > 1, "the last one waits");
}

#[test]
fn incoming_goes_on_when_a_port_is_free_again() {
    let two = two_hosts();
    let mut all = free_listeners(&two);
    let (mut incoming, mut dialing) = (two.lb.incoming(), dial(&two.a, "β:1"));
    dialing.waits();
    let full = now(incoming.next()).unwrap().unwrap_err();
    assert_eq!(full.cause, Cause::NoFreePort);
    all.pop();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(incoming.poll_next_unpin(&mut cx).is_pending());
    dialing.done().unwrap();
    now(incoming.next()).unwrap().unwrap();
    two.lb.close().unwrap();
    assert_eq!(now(incoming.next()).unwrap().unwrap_err().cause, Cause::SockDown);
    assert!(now(incoming.next()).is_none());
}

/// Takes all ports that β has left.
fn free_listeners(two: &TwoHosts) -> Vec<virtnet::Listener> {
    std::iter::from_fn(|| now(two.b.listen("")).ok()).collect()
}
