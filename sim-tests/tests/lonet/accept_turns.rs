//! Dials are taken in by whoever waits in an accept, and nobody depends on it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::{join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{StreamExt, poll};
use virtnet::{Cause, Conn, Error, Host, Listener, SubNetwork};

use crate::lonet::{TEST_LIMIT, TempNetworks, run, within_limit};

/// Counts how often it is woken, and does nothing about it.
#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls something as often as the reactor is asked at last, so that it really waits.
fn poll_until_parked<T>(mut future: Pin<&mut impl Future<Output = T>>, waker: &Waker) {
    for _ in 0..4 {
        assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
}

fn two_hosts(temp: &TempNetworks) -> (SubNetwork, Host, Host) {
    let net = run(temp.config().join("t")).unwrap();
    let [a, b] = ["α", "β"].map(|name| run(net.new_host(name)).unwrap());
    (net, a, b)
}

/// Lets a dial and an accept come to one connection.
async fn assert_connect(
    dial: impl Future<Output = Result<Conn, Error>>,
    accept: impl Future<Output = Result<Conn, Error>>,
) {
    let (dialed, accepted) = join(dial, accept).await;
    assert_eq!(dialed.unwrap().peer_addr(), accepted.unwrap().local_addr());
}

fn is_refused(dialed: Result<Conn, Error>) -> bool {
    matches!(dialed, Err(error) if *error.root() == Cause::ConnRefused)
}

#[test]
fn accept_that_is_no_longer_polled_does_not_block_other_accepts() {
    let temp = TempNetworks::new();
    let (_net, a, b) = two_hosts(&temp);
    let (idle_listener, polled_listener) =
        (run(a.listen(":1")).unwrap(), run(a.listen(":2")).unwrap());
    let counter = Arc::<CountingWaker>::default();
    let mut accept = pin!(idle_listener.accept());
    // Nobody else accepts: it is called, unless the thread was there first, and does not come.
    let start = Instant::now();
    while counter.0.load(Ordering::SeqCst) == 0 {
        poll_until_parked(accept.as_mut(), &counter.clone().into());
        assert!(is_refused(run(b.dial("α:3"))));
        assert!(start.elapsed() < TEST_LIMIT, "who waits in an accept is not asked to help");
    }
    // Somebody else does, and takes turns with it.
    let start = Instant::now();
    for _ in 0..50 {
        run(assert_connect(b.dial("α:2"), polled_listener.accept()));
        assert!(is_refused(run(b.dial("α:3"))));
    }
    assert!(start.elapsed() < TEST_LIMIT / 4, "{:?}", start.elapsed());
    // It has lost nothing itself.
    run(assert_connect(b.dial("α:1"), accept));
}

#[test]
fn accept_dropped_when_it_is_woken_leaves_the_dial_to_the_next_accept() {
    let temp = TempNetworks::new();
    let (_net, a, b) = two_hosts(&temp);
    let listener = run(a.listen(":1")).unwrap();
    for round in 0..50 {
        let counter = Arc::<CountingWaker>::default();
        let mut accept = Box::pin(listener.accept());
        poll_until_parked(accept.as_mut(), &counter.clone().into());
        let dialing = thread::spawn({
            let b = b.clone();
            move || block_on(within_limit(dial_until_greeted(&b)))
        });
        let start = Instant::now();
        while counter.0.load(Ordering::SeqCst) == 0 && start.elapsed() < TEST_LIMIT {
            thread::yield_now();
        }
        // At another moment each time: before, while and after the thread has taken over.
        thread::sleep(Duration::from_micros(100 * round));
        drop(accept);
        run(async {
            let mut accepted = listener.accept().await.unwrap();
            accepted.write_all(b"x").await.unwrap();
        });
        dialing.join().unwrap();
    }
}

/// Dials, and again if the accept was dropped while it was answered: then that is a reset.
async fn dial_until_greeted(host: &Host) {
    while !matches!(host.dial("α:1").await.unwrap().read(&mut [0]).await, Ok(1)) {}
}

#[test]
fn concurrent_listeners_of_one_host_each_accept_their_own_dials() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    let hosts = ["α", "β", "γ"].map(|name| run(net.new_host(name)).unwrap());
    let listeners = [1, 2, 3].map(|port| run(hosts[0].listen(&format!(":{port}"))).unwrap());
    let spawn_server = |listener: Listener| {
        // Each in a thread of its own, on an executor that knows no reactor.
        thread::spawn(move || {
            let served = async { listener.incoming().take(40).map(Result::unwrap).count().await };
            block_on(within_limit(served))
        })
    };
    let served = listeners.map(spawn_server);
    let dials = (0..120).map(|number| {
        let (host, port) = (&hosts[number % 2 + 1], number % 3 + 1);
        async move { host.dial(&format!("α:{port}")).await.unwrap() }
    });
    let dialed = run(join_all(dials));
    assert_eq!(served.map(|served| served.join().unwrap()), [40; 3]);
    drop(dialed);
    assert!(is_refused(run(hosts[1].dial("α:1"))), "its listener is gone");
}

#[test]
fn dial_after_the_last_accept_waits_for_the_next_or_is_refused() {
    let temp = TempNetworks::new();
    let (net, a, b) = two_hosts(&temp);
    let listener = run(a.listen(":1")).unwrap();
    for _ in 0..10 {
        run(assert_connect(b.dial("α:1"), listener.accept()));
        assert!(is_refused(run(b.dial("α:2"))));
        assert!(is_refused(run(b.dial("α:2"))));
        run(async {
            // A dial that nobody accepts yet is still there when somebody does.
            let mut dial = pin!(b.dial("α:1"));
            assert!(poll!(&mut dial).is_pending());
            async_io::Timer::after(Duration::from_millis(10)).await;
            assert!(poll!(&mut dial).is_pending());
            assert_connect(dial, listener.accept()).await;
        });
    }
    let mut last = pin!(listener.accept());
    let waker = Waker::noop();
    poll_until_parked(last.as_mut(), waker);
    net.close().unwrap();
    let Poll::Ready(Err(error)) = last.poll(&mut Context::from_waker(waker)) else {
        panic!("it waits on a closed network");
    };
    assert_eq!(*error.root(), Cause::NetDown);
}
