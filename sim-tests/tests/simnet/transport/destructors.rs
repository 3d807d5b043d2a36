//! Destructors that use connections, listeners and hosts, at every way in which a run can end.

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use futures::channel::mpsc::unbounded;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::StreamExt;
use virtnet::simnet::{FaultKind, Faults, Network};
use virtnet::{Conn, Host, Listener, Run, SubNetwork, pipenet, time};

use crate::simnet::{connect, exact_config, ms, secs};

/// Everything that a destructor can have in hand, which it uses when it is dropped.
struct UseOnDrop {
    net: SubNetwork,
    host: Host,
    listener: Listener,
    near: Conn,
    far: Conn,
    dropped: Rc<Cell<u32>>,
}

/// Polls an operation a few times, as a destructor would that cannot wait.
fn poll_briefly<T>(operation: impl Future<Output = T>) {
    let mut operation = pin!(operation);
    for _ in 0..3 {
        let polled = operation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            return;
        }
    }
}

/// Writes until a write is not ready or fails, as `write_all` does; at most so many times.
fn write_until_blocked(mut conn: &Conn) {
    for _ in 0..1_000 {
        let mut write = pin!(conn.write(&[7; 64]));
        let polled = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if !matches!(polled, std::task::Poll::Ready(Ok(1..))) {
            return;
        }
    }
}

impl Drop for UseOnDrop {
    fn drop(&mut self) {
        let Self { net, host, listener, near, far, dropped } = self;
        poll_briefly(async { (&*near).write_all(b"good bye").await });
        write_until_blocked(far);
        poll_briefly(async { (&*near).read(&mut [0; 8]).await });
        poll_briefly(near.shutdown());
        poll_briefly(host.dial("β:1"));
        poll_briefly(host.listen(":9"));
        poll_briefly(listener.accept());
        poll_briefly(net.new_host("δ"));
        poll_briefly(time::sleep(secs(1)));
        drop(virtnet::spawn(async {}));
        let _ = (near.close(), far.close(), listener.close(), host.close(), net.close());
        poll_briefly(async { (&*near).write_all(b"after all that").await });
        poll_briefly(async { (&*far).read(&mut [0; 8]).await });
        dropped.set(dropped.get() + 1);
    }
}

const ENDINGS: [&str; 6] = ["done", "panicked", "deadlock", "time limit", "step limit", "livelock"];

/// Ends the run so.
async fn end_run(ending: &str) {
    match ending {
        "done" => {}
        "panicked" => panic!("as it should"),
        "deadlock" => pending().await,
        "time limit" => time::sleep(secs(1_000_000)).await,
        "step limit" => loop {
            time::sleep(ms(1)).await;
        },
        "livelock" => {
            // Two that wake each other at one instant.
            let ((to, mut from), (back, mut forth)) = (unbounded(), unbounded());
            to.unbounded_send(()).unwrap();
            let one = virtnet::spawn(async move {
                while from.next().await.is_some() && back.unbounded_send(()).is_ok() {}
            });
            while forth.next().await.is_some() && to.unbounded_send(()).is_ok() {}
            one.await.unwrap();
        }
        _ => unreachable!("no ending {ending}"),
    }
}

/// One set in a task that is parked in a write, one in a task that is parked in a read, one in a
/// task that was never polled, one in the main task.
async fn scenario(hosts: [Host; 2], net: SubNetwork, ending: &'static str, dropped: Rc<Cell<u32>>) {
    let [a, b] = hosts;
    let listener = b.listen(":1").await.unwrap();
    let new_on_drop = async || {
        let (near, far) = connect(&a, &listener).await;
        let (net, host, listener) = (net.clone(), a.clone(), listener.clone());
        UseOnDrop { net, host, listener, near, far, dropped: dropped.clone() }
    };
    let writer = new_on_drop().await;
    virtnet::spawn(async move {
        let _ = (&writer.near).write_all(&[0; 1 << 20]).await;
        pending::<()>().await;
        drop(writer);
    });
    let reader = new_on_drop().await;
    virtnet::spawn(async move {
        let _ = (&reader.near).read(&mut [0]).await;
        pending::<()>().await;
        drop(reader);
    });
    let main_on_drop = new_on_drop().await;
    time::sleep(ms(100)).await;
    let late = new_on_drop().await;
    virtnet::spawn(async move {
        pending::<()>().await;
        drop(late);
    });
    end_run(ending).await;
    drop(main_on_drop);
}

fn limited(seed: u64) -> Run {
    Run::new(seed).time_limit(secs(1_000)).step_limit(20_000).livelock_limit(1_000)
}

/// The run ended so, and each destructor came to its end.
#[track_caller]
fn assert_ended(name: &str, ending: &str, dropped: &Cell<u32>) {
    assert_eq!(dropped.get(), 4, "{ending}: a destructor did not come to its end");
    assert_eq!(name, ending);
}

#[test]
fn destructors_that_use_a_simulated_network_end_at_every_ending() {
    for ending in ENDINGS {
        for seed in 0..5 {
            for faults in [false, true] {
                let dropped = Rc::new(Cell::new(0));
                let counted = dropped.clone();
                let outcome = limited(seed).execute(async move |_| {
                    let net = Network::with("t", exact_config().window(1_000));
                    let hosts =
                        [net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap()];
                    if faults {
                        drop(net.link("α", "β").loss(0.1).short_io(0.5));
                        let mut plan = net.fault_plan(Faults::none().with(FaultKind::Latency));
                        plan.run_for(ms(10)).await;
                    }
                    scenario(hosts, net.region(""), ending, counted).await;
                });
                assert_ended(outcome.ending.name(), ending, &dropped);
            }
        }
    }
}

#[test]
fn destructors_that_use_a_pipe_network_end_at_every_ending() {
    for ending in ENDINGS {
        for seed in 0..5 {
            let dropped = Rc::new(Cell::new(0));
            let counted = dropped.clone();
            let outcome = limited(seed).execute(async move |_| {
                let net = pipenet::Network::new("t");
                let hosts = [net.host("α"), net.host("β")];
                scenario(hosts, net.subnetwork(), ending, counted).await;
            });
            assert_ended(outcome.ending.name(), ending, &dropped);
        }
    }
}

/// A node that dies runs its destructors in the middle of the run.
#[test]
fn destructors_that_use_a_network_end_when_their_node_dies() {
    for kill in ["crash", "power_off"] {
        let dropped = Rc::new(Cell::new(0));
        let counted = dropped.clone();
        let outcome = limited(1).execute(async move |sim| {
            let net = Network::with("t", exact_config().window(1_000));
            let (subnetwork, b) = (net.region(""), net.new_host("β").await.unwrap());
            let listener = b.listen(":1").await.unwrap();
            let node = net.node("α", move |host: Host| {
                let (net, listener) = (subnetwork.clone(), listener.clone());
                let dropped = counted.clone();
                async move {
                    let (near, far) = connect(&host, &listener).await;
                    let _uses = UseOnDrop { net, host, listener, near, far, dropped };
                    pending::<()>().await;
                }
            });
            sim.sleep(secs(1)).await;
            match kill {
                "crash" => node.crash(),
                _ => node.power_off(),
            }
            sim.sleep(secs(1)).await;
        });
        assert!(outcome.is_done(), "{kill}: {outcome}");
        assert!(outcome.caught_panics.is_empty(), "{kill}: {:?}", outcome.caught_panics);
        assert_eq!(dropped.get(), 1, "{kill}");
    }
}
