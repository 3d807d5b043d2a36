//! A writer that waits for room is never made to wait longer by keep-alive.

use std::time::Duration;

use virtnet::simnet::{Latency, Network};
use virtnet::{Cause, Host, Run, Schedule, time};

use crate::simnet::{exact_config, ms, read, secs, timed, write, write_all};

/// What is done to the way between α and β, or to β.
const FAULTS: [&str; 6] = ["partition", "one way there", "one way back", "hold", "loss", "power"];

/// A node that accepts and holds one connection, and reads nothing.
async fn hold_one_conn(host: Host) {
    let listener = host.listen(":1").await.unwrap();
    let _conn = listener.accept().await.unwrap();
    std::future::pending::<()>().await;
}

/// How long a write waits, beginning so long after (or before) the fault, until it fails, and why.
fn write_until_failure(
    fault: &'static str,
    keep_alive: Option<Duration>,
    write_first: bool,
) -> (Duration, Cause) {
    let run = Run::new(7).schedule(Schedule::Fifo).time_limit(secs(100_000));
    let outcome = run.execute(async move |sim| {
        let net = Network::with("t", exact_config().window(4).keep_alive(keep_alive));
        let node = net.node("β", hold_one_conn);
        let a = net.new_host("α").await.unwrap();
        sim.sleep(secs(1)).await;
        let ab = a.dial("β:1").await.unwrap();
        write_all(&ab, b"full").await.unwrap();
        sim.sleep(secs(1)).await;
        let injecting = async {
            if write_first {
                time::sleep(ms(100)).await;
            }
            match fault {
                "partition" => net.partition(&["α"], &["β"]),
                "one way there" => net.partition_one_way(&["α"], &["β"]),
                "one way back" => net.partition_one_way(&["β"], &["α"]),
                "hold" => net.hold("α", "β"),
                "loss" => drop(net.link("α", "β").loss(1.0)),
                "power" => node.power_off(),
                _ => unreachable!("no fault {fault}"),
            }
            if !write_first {
                time::sleep(ms(100)).await;
            }
        };
        let write = async {
            if !write_first {
                time::sleep(ms(100)).await;
            }
            timed(write(&ab, "x")).await
        };
        let (_, (took, wrote)) = futures::future::join(injecting, write).await;
        (took, wrote.unwrap_err())
    });
    outcome.unwrap()
}

#[test]
fn keep_alive_never_prolongs_the_wait_of_a_blocked_writer() {
    let mut mismatches = String::new();
    for fault in FAULTS {
        for write_first in [false, true] {
            let (without, cause) = write_until_failure(fault, None, write_first);
            assert_eq!(cause, Cause::TimedOut, "{fault}");
            assert!(without <= secs(61), "{fault}: {without:?}");
            for idle in [ms(1), ms(150), secs(1), secs(30), secs(60), secs(7_200), Duration::MAX] {
                let (with, cause) = write_until_failure(fault, Some(idle), write_first);
                if with > without || cause != Cause::TimedOut {
                    mismatches +=
                        &format!("\n{fault} {write_first} {idle:?}: {with:?}, not {without:?}");
                }
            }
        }
    }
    assert!(mismatches.is_empty(), "{mismatches}");
}

/// The news of room is lost: who waits for it asks 200 ms after it began to wait, whenever else it
/// would have asked, and however often it is polled.
#[test]
fn keep_alive_does_not_delay_the_window_probe() {
    for keep_alive in [None, Some(ms(50)), Some(secs(60)), Some(secs(7_200))] {
        let run = Run::new(7).schedule(Schedule::Fifo).time_limit(secs(100_000));
        let outcome = run.execute(async move |sim| {
            let net = Network::with("t", exact_config().window(4).keep_alive(keep_alive));
            let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
            let lb = b.listen(":1").await.unwrap();
            let (ab, ba) = crate::simnet::connect(&a, &lb).await;
            write_all(&ab, b"full").await.unwrap();
            sim.sleep(secs(1)).await;
            // A link that has been touched is looked at for all that it carries.
            drop(net.link("α", "β").latency(Latency::constant(ms(10))));
            net.partition_one_way(&["β"], &["α"]);
            assert_eq!(read(&ba).await, Ok("full".into()));
            sim.sleep(ms(20)).await;
            let healing = async {
                sim.sleep(ms(100)).await;
                net.heal();
            };
            let polled_often = async {
                let mut writing = std::pin::pin!(timed(write(&ab, "x")));
                loop {
                    let tick = std::pin::pin!(sim.sleep(ms(7)));
                    match futures::future::select(writing.as_mut(), tick).await {
                        futures::future::Either::Left((wrote, _)) => return wrote,
                        futures::future::Either::Right(_) => {}
                    }
                }
            };
            let (_, (took, wrote)) = futures::future::join(healing, polled_often).await;
            assert_eq!(wrote, Ok(1));
            took
        });
        let took = outcome.unwrap();
        assert!(took <= ms(230), "{keep_alive:?}: {took:?}");
    }
}
