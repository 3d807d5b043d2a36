//! Look-ups are events: they take time, may be refused, and may be out of date after a restart.

use futures::future::{join, pending};
use virtnet::simnet::{FaultKind, Latency, Network};
use virtnet::{Cause, Run, Schedule, time};

use crate::simnet::{connect, echo, exact, fifo, ms, read, secs, timed, two};

#[test]
fn a_registry_that_is_down_fails_look_ups_also_those_under_way() {
    fifo(async |_| {
        let t = two(exact()).await;
        let (told, ()) = join(timed(t.a.dial("β:1")), async {
            time::sleep(ms(1) / 2).await;
            t.net.registry_down();
        })
        .await;
        assert_eq!((told.0, told.1.unwrap_err().root()), (ms(1), &Cause::RegistryDown));
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
fn a_node_that_boots_without_a_registry_tries_until_there_is_one() {
    fifo(async |sim| {
        let net = Network::with("t", exact());
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
fn after_a_restart_some_are_told_the_old_place_for_a_second_and_none_later() {
    let mut stale = 0;
    for seed in 0..60 {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        stale += run
            .execute(async |sim| {
                let net = Network::with("t", exact());
                let node = net.node("β", async |host| {
                    let listener = host.listen(":1").await.unwrap();
                    while listener.accept().await.is_ok() {}
                });
                let a = net.new_host("α").await.unwrap();
                sim.sleep(ms(10)).await;
                node.restart();
                sim.sleep(ms(10)).await;
                let told = a.dial("β:1").await;
                sim.sleep(secs(1)).await;
                a.dial("β:1").await.expect("a second is over");
                match told {
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
fn names_are_one_for_all_regions_and_are_taken_once() {
    fifo(async |_| {
        let net = Network::with("t", exact());
        let (west, east) = (net.region("west"), net.region("east"));
        let (one, other) = join(west.new_host("α"), east.new_host("α")).await;
        assert!(one.is_ok());
        assert_eq!(*other.unwrap_err().root(), Cause::HostExists);
        assert_eq!(net.region("west").host("α"), one.ok());
        let b = east.new_host("β").await.unwrap();
        let _listener = b.listen("").await.unwrap();
        let a = west.host("α").unwrap();
        let (dialed, _) = join(timed(a.dial("β:1")), _listener.accept()).await;
        assert_eq!(dialed.0, ms(101), "from one region to another it is far");
    });
}

#[test]
fn a_region_that_is_closed_takes_its_own_hosts_along_and_no_others() {
    fifo(async |sim| {
        let net = Network::with("t", exact());
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
fn a_partition_stops_a_dial_that_is_still_looking_up_and_a_heal_lets_it_go_on() {
    fifo(async |sim| {
        let t = two(exact()).await;
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
fn a_name_that_is_taken_while_it_is_asked_about_is_found_if_that_was_in_time() {
    let found = (0..40).filter(|seed| {
        let run = Run::new(*seed).schedule(Schedule::Fifo);
        let dialed = run.execute(async |_| {
            let config = exact().registry_latency(Latency::uniform(ms(1), ms(5)));
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
fn a_dial_that_is_given_up_wherever_it_is_leaves_nothing_behind() {
    // It asks until 1 ms, travels until 11 ms, and its answer until 21 ms.
    for (given_up, accepts) in [(0, 0), (5, 0), (15, 1), (20, 1)] {
        fifo(async move |sim| {
            let t = two(exact()).await;
            let before = (t.net.netstat("α"), t.net.netstat("β"));
            let dialing = async {
                let limit = ms(given_up) + ms(1) / 2;
                assert!(sim.timeout(limit, t.a.dial("β:1")).await.is_err());
            };
            let accepting = async {
                let accepted = sim.timeout(ms(100), t.lb.accept()).await;
                assert_eq!(u64::from(accepted.is_ok()), accepts, "given up after {given_up} ms");
                if let Ok(conn) = accepted {
                    assert_eq!(read(&conn.unwrap()).await, Err(Cause::ConnReset));
                }
            };
            join(dialing, accepting).await;
            sim.sleep(ms(100)).await;
            assert_eq!((t.net.netstat("α"), t.net.netstat("β")), before);
            let (dialed, accepted) = connect(&t.a, &t.lb).await;
            assert_eq!((dialed.local_addr().port(), accepted.local_addr().port()), (2, 3));
        });
    }
}
