//! Look-ups are events: they take time, may be refused, and may be out of date after a restart.

use futures::future::{join, pending};
use virtnet::simnet::{FaultKind, Latency, Network};
use virtnet::{Cause, Run, Schedule, time};

use crate::simnet::{connect, connected_pair, echo, exact_config, ms, read, run_fifo, secs, timed};

#[test]
fn registry_that_is_down_fails_lookups_including_those_in_progress() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        let (result, ()) = join(timed(t.a.dial("β:1")), async {
            time::sleep(ms(1) / 2).await;
            t.net.registry_down();
        })
        .await;
        assert_eq!((result.0, result.1.unwrap_err().root()), (ms(1), &Cause::RegistryDown));
        let error = t.net.new_host("γ").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "virtnet \"simt\": new host \"γ\": registry(simt): announce [\"γ\" \"2.0\"]: \
             registry is down"
        );
        let counts = t.net.fault_stats().kind(FaultKind::Registry);
        assert_eq!((counts.requested, counts.applied, counts.effective), (1, 1, 1));
        t.net.registry_up();
        t.net.new_host("γ").await.expect("a name that was not taken is free");
        t.net.registry_down();
        t.net.heal();
        assert_eq!(*t.a.dial("β:9").await.unwrap_err().root(), Cause::ConnRefused);
        assert_eq!(t.net.fault_stats().kind(FaultKind::Registry).applied, 2);
    });
}

#[test]
fn node_booting_without_registry_retries_until_it_is_up() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        net.registry_down();
        let node = net.node("β", async |_| pending::<()>().await);
        sim.sleep(secs(5)).await;
        assert!(node.is_up() && node.host().is_none());
        net.registry_up();
        sim.sleep(ms(102)).await;
        assert!(node.host().is_some());
    });
}

#[test]
fn lookup_after_restart_is_sometimes_stale_for_at_most_a_second() {
    let mut stale = 0;
    for seed in 0..60 {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        stale += run
            .execute(async |sim| {
                let net = Network::with("t", exact_config());
                let node = net.node("β", async |host| {
                    let listener = host.listen(":1").await.unwrap();
                    while listener.accept().await.is_ok() {}
                });
                let a = net.new_host("α").await.unwrap();
                sim.sleep(ms(10)).await;
                node.restart();
                sim.sleep(ms(10)).await;
                let result = a.dial("β:1").await;
                sim.sleep(secs(1)).await;
                a.dial("β:1").await.expect("a second is over");
                match result {
                    Ok(_) => 0,
                    Err(error) => {
                        assert_eq!(*error.root(), Cause::ConnRefused);
                        1
                    }
                }
            })
            .unwrap();
    }
    assert!((5..30).contains(&stale), "{stale} of 60 were told the old place");
}

#[test]
fn host_names_are_unique_across_regions() {
    run_fifo(async |_| {
        let net = Network::with("t", exact_config());
        let (west, east) = (net.region("west"), net.region("east"));
        let (one, other) = join(west.new_host("α"), east.new_host("α")).await;
        assert!(one.is_ok());
        assert_eq!(*other.unwrap_err().root(), Cause::HostExists);
        assert_eq!(net.region("west").host("α"), one.ok());
        let b = east.new_host("β").await.unwrap();
        let listener = b.listen("").await.unwrap();
        let a = west.host("α").unwrap();
        let (dialed, _) = join(timed(a.dial("β:1")), listener.accept()).await;
        assert_eq!(dialed.0, ms(101), "from one region to another it is far");
    });
}

#[test]
fn closed_region_closes_only_its_own_hosts() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let (west, east) = (net.region("west"), net.region("east"));
        let (a, b) = (west.new_host("α").await.unwrap(), east.new_host("β").await.unwrap());
        let node = net.node_in("west", "γ", echo);
        sim.sleep(secs(1)).await;
        let listener = b.listen("").await.unwrap();
        let (ab, ba) = connect(&a, &listener).await;
        west.close().unwrap();
        assert_eq!(timed(read(&ba)).await, (ms(50), Ok(String::new())));
        assert_eq!(read(&ab).await, Err(Cause::NetDown));
        assert_eq!(*b.dial("γ:1").await.unwrap_err().root(), Cause::ConnRefused);
        connect(&b, &listener).await;
        assert!(node.is_up(), "its tasks go on");
    });
}

#[test]
fn dial_partitioned_during_lookup_completes_after_heal() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config()).await;
        let cutting = async {
            t.net.partition(&["α"], &["β"]);
            sim.sleep(secs(1)).await;
            t.net.heal();
        };
        let (dialed, ()) = join(timed(connect(&t.a, &t.lb)), cutting).await;
        // It set out after 1 ms, and again 200 ms, 400 ms and 800 ms after it was lost.
        assert_eq!(dialed.0, ms(1 + 10 + 200 + 10 + 400 + 10 + 800 + 20));
    });
}

#[test]
fn name_announced_during_a_lookup_is_found_if_it_was_in_time() {
    let found = (0..40).filter(|seed| {
        let run = Run::new(*seed).schedule(Schedule::Fifo);
        let dialed = run.execute(async |_| {
            let config = exact_config().registry_latency(Latency::uniform(ms(1), ms(5)));
            let net = Network::with("t", config);
            let a = net.new_host("α").await.unwrap();
            // It is begun behind the dial: nobody has ever heard of β when that asks.
            let b = virtnet::spawn(async move { net.new_host("β").await });
            let dialed = a.dial("β:1").await;
            b.await.unwrap().unwrap();
            dialed.unwrap_err()
        });
        match dialed.unwrap().root() {
            Cause::ConnRefused => true,
            cause => {
                assert_eq!(*cause, Cause::NoSuchHost);
                false
            }
        }
    });
    let found = found.count();
    assert!((10..30).contains(&found), "{found} of 40 were in time");
}

#[test]
fn dial_canceled_in_any_phase_leaves_nothing_behind() {
    // It asks until 1 ms, travels until 11 ms, and its answer until 21 ms.
    for (canceled_after, accepts) in [(0, 0), (5, 0), (15, 1), (20, 1)] {
        run_fifo(async move |sim| {
            let t = connected_pair(exact_config()).await;
            let sockets_before = (t.net.netstat("α"), t.net.netstat("β"));
            let dialing = async {
                let limit = ms(canceled_after) + ms(1) / 2;
                assert!(sim.timeout(limit, t.a.dial("β:1")).await.is_err());
            };
            let accepting = async {
                let accepted = sim.timeout(ms(100), t.lb.accept()).await;
                assert_eq!(
                    u64::from(accepted.is_ok()),
                    accepts,
                    "given up after {canceled_after} ms"
                );
                if let Ok(conn) = accepted {
                    assert_eq!(read(&conn.unwrap()).await, Err(Cause::ConnReset));
                }
            };
            join(dialing, accepting).await;
            sim.sleep(ms(100)).await;
            assert_eq!((t.net.netstat("α"), t.net.netstat("β")), sockets_before);
            let (dialed, accepted) = connect(&t.a, &t.lb).await;
            assert_eq!((dialed.local_addr().port(), accepted.local_addr().port()), (2, 3));
        });
    }
}
