//! A dial on the simulated network ends by its connect timeout, whatever it waits for.

use std::time::Duration;

use futures::future::join;
use virtnet::simnet::{Latency, Network};
use virtnet::{Cause, Conn, Error, Host, Run, pipenet, time};

use crate::simnet::{connected_pair, exact_config, ms, read, run_fifo, secs, timed, write};

const NS: Duration = Duration::from_nanos(1);

fn root_cause(dialed: Result<Conn, Error>) -> Cause {
    dialed.unwrap_err().root().clone()
}

#[test]
fn unaccepted_dial_on_simnet_times_out_and_leaves_the_queue() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        let (took, dialed) = timed(t.a.dial("β:1")).await;
        assert_eq!((took, root_cause(dialed)), (secs(10), Cause::TimedOut));
        assert!(t.net.netstat("β").contains("β:1  listens, 0 dial(s)"), "{}", t.net.netstat("β"));
        // The port is free again, and the next accept waits for the next dial.
        let redialing = async {
            time::sleep(secs(1)).await;
            t.a.dial("β:1").await
        };
        let (accepted, dialed) = join(timed(t.lb.accept()), redialing).await;
        let (took, accepted) = (accepted.0, accepted.1.unwrap());
        assert_eq!((took, dialed.unwrap().local_addr().port()), (secs(1) + ms(11), 2));
        assert_eq!(accepted.peer_addr().to_string(), "α:2");
    });
}

#[test]
fn unaccepted_dial_on_pipenet_is_a_deadlock() {
    let outcome = Run::new(1).execute(async |_| {
        let net = pipenet::Network::new("t");
        let _listener = net.host("b").listen(":80").await.unwrap();
        net.host("a").dial("b:80").await.map(drop)
    });
    assert_eq!(outcome.ending.name(), "deadlock", "{outcome}");
}

/// The look-up, the way there, the wait for the accept and the way back: what the timeout bounds.
#[test]
fn dial_times_out_in_every_stage_after_the_connect_timeout() {
    let total = ms(1 + 10 + 50 + 10);
    for timeout in [NS, ms(1) - NS, ms(1), ms(5), ms(11), ms(30), ms(61), total - NS, total] {
        run_fifo(async move |_| {
            let t = connected_pair(exact_config().connect_timeout(secs(10))).await;
            let net = Network::with("u", exact_config().connect_timeout(timeout));
            let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
            let listener = b.listen(":1").await.unwrap();
            let accept = async {
                time::sleep(ms(61)).await;
                time::timeout(secs(100), listener.accept()).await
            };
            let (dialed, accepted) = join(timed(a.dial("β:1")), accept).await;
            if timeout == total {
                assert_eq!(dialed.0, total);
                dialed.1.unwrap();
                accepted.unwrap().unwrap();
            } else {
                assert_eq!((dialed.0, root_cause(dialed.1)), (timeout, Cause::TimedOut));
                // In time for the accept and too late for its answer: half open, and then reset.
                let in_time = accepted.map(Result::unwrap);
                assert_eq!(in_time.is_ok(), timeout > ms(61), "{timeout:?}");
                if let Ok(half_open) = in_time {
                    assert_eq!(read(&half_open).await, Err(Cause::ConnReset));
                }
            }
            drop(t);
        });
    }
}

#[test]
fn dial_whose_lookup_exceeds_the_connect_timeout_times_out() {
    run_fifo(async |_| {
        let slow = exact_config().registry_latency(Latency::constant(secs(20)));
        let net = Network::with("t", slow);
        let a = net.new_host("α").await.unwrap();
        let (took, dialed) = timed(a.dial("β:1")).await;
        assert_eq!((took, root_cause(dialed)), (secs(10), Cause::TimedOut));
    });
}

#[test]
fn dial_to_a_paused_node_times_out() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let node = net.node("β", async |host: Host| {
            let listener = host.listen(":1").await.unwrap();
            while let Ok(mut conn) = listener.accept().await {
                futures::AsyncWriteExt::write_all(&mut conn, b"hello").await.unwrap();
            }
        });
        let a = net.new_host("α").await.unwrap();
        sim.sleep(secs(1)).await;
        node.pause();
        // The first accept waited before the pause, and takes a dial without its task.
        let first = a.dial("β:1").await.unwrap();
        let (took, second) = timed(a.dial("β:1")).await;
        assert_eq!((took, root_cause(second)), (secs(10), Cause::TimedOut));
        node.resume();
        assert_eq!(read(&first).await, Ok("hello".into()));
        let third = a.dial("β:1").await.unwrap();
        assert_eq!(read(&third).await, Ok("hello".into()));
    });
}

/// Dials in the queue of a listener that is closed or lost meanwhile.
#[test]
fn queued_dial_is_refused_when_the_listener_closes_and_times_out_otherwise() {
    for (event, expected) in [
        ("listener", (secs(1) + ms(10), Cause::ConnRefused)),
        ("host", (secs(1) + ms(10), Cause::ConnRefused)),
        ("partition", (secs(10), Cause::TimedOut)),
        ("hold", (secs(10), Cause::TimedOut)),
        ("heal", (secs(10), Cause::TimedOut)),
    ] {
        run_fifo(async move |_| {
            let t = connected_pair(exact_config()).await;
            let injecting = async {
                time::sleep(secs(1)).await;
                match event {
                    "listener" => t.lb.close().unwrap(),
                    "host" => t.b.close().unwrap(),
                    "partition" => t.net.partition(&["α"], &["β"]),
                    "hold" => t.net.hold("α", "β"),
                    _ => t.net.heal(),
                }
            };
            let (dialed, ()) = join(timed(t.a.dial("β:1")), injecting).await;
            assert_eq!((dialed.0, root_cause(dialed.1)), expected, "{event}");
        });
    }
}

#[test]
fn dials_that_time_out_leave_nothing_in_the_queue() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config().connect_timeout(ms(100))).await;
        for _ in 0..50 {
            let dials = (0..20).map(|_| t.a.dial("β:1"));
            for dialed in futures::future::join_all(dials).await {
                assert_eq!(root_cause(dialed), Cause::TimedOut);
            }
        }
        assert!(t.net.netstat("β").contains("listens, 0 dial(s) and 0 accept(s)"));
        assert!(time::timeout(secs(1), t.lb.accept()).await.is_err());
        let (dialed, accepted) = join(t.a.dial("β:1"), t.lb.accept()).await;
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        assert_eq!(write(&dialed, "x").await, Ok(1));
        assert_eq!(read(&accepted).await, Ok("x".into()));
    });
}
