//! The same seed is the same run, and what is added in one place moves nothing in another.

use std::time::Duration;

use futures::future::join_all;
use virtnet::simnet::{FaultStats, Faults, Network};
use virtnet::{Fingerprint, Outcome, Run, Schedule, time};

use crate::simnet::{connect, echo_node, ms, read, secs, timed, write};

const SCHEDULES: [Schedule; 3] = [Schedule::Fifo, Schedule::Random, Schedule::Pct { depth: 3 }];

/// Three nodes and two clients under a plan.
fn run_busy_network(seed: u64, schedule: Schedule) -> (Fingerprint, FaultStats, Duration) {
    let run = Run::new(seed).schedule(schedule);
    let outcome = run.execute(async |sim| {
        let net = Network::new("t");
        for name in ["α", "β", "γ"] {
            echo_node(&net, name);
        }
        let clients = ["δ", "ε"].map(|name| net.new_host(name));
        let clients: Vec<_> = join_all(clients).await.into_iter().map(Result::unwrap).collect();
        for client in clients {
            sim.task(client.name()).spawn(async move {
                for round in 0.. {
                    let node = ["α:1", "β:1", "γ:1"][round % 3];
                    if let Ok(Ok(conn)) = time::timeout(secs(2), client.dial(node)).await {
                        for _ in 0..5 {
                            let _ = time::timeout(secs(1), write(&conn, "echo")).await;
                            let _ = time::timeout(secs(1), read(&conn)).await;
                        }
                    }
                    time::sleep(ms(200)).await;
                }
            });
        }
        net.fault_plan(Faults::all().every_run()).run_for(secs(20)).await;
        sim.sleep(secs(2)).await;
        net.fault_stats()
    });
    let (fingerprint, elapsed) = (outcome.fingerprint, outcome.elapsed);
    (fingerprint, outcome.unwrap(), elapsed)
}

#[test]
fn same_seed_gives_the_same_run_after_other_runs_and_on_any_thread() {
    for schedule in SCHEDULES {
        let first: Vec<_> = (0..6).map(|seed| run_busy_network(seed, schedule)).collect();
        for seed in [4, 1, 5] {
            assert_eq!(
                run_busy_network(seed, schedule),
                first[seed as usize],
                "seed {seed}, {schedule:?}"
            );
        }
        let on_other_thread =
            std::thread::spawn(move || run_busy_network(3, schedule)).join().unwrap();
        assert_eq!(on_other_thread, first[3]);
        let different: std::collections::BTreeSet<_> = first.iter().map(|run| run.0).collect();
        assert_eq!(different.len(), 6, "six seeds are six runs");
    }
}

#[test]
fn task_woken_by_many_sources_is_the_same_in_first_and_second_run_of_a_thread() {
    let run_once = |seed: u64| {
        let outcome = Run::new(seed).execute(async |sim| {
            let net = Network::new("t");
            let echo = echo_node(&net, "α");
            let client = net.new_host("β").await.unwrap();
            sim.sleep(ms(200)).await;
            let conns = join_all((0..5).map(|_| client.dial("α:1"))).await;
            let conns: Vec<_> = conns.into_iter().map(Result::unwrap).collect();
            // Nothing else ever wakes it.
            let reader = sim.spawn(async move {
                for _ in 0..20 {
                    join_all(conns.iter().map(async |conn| {
                        write(conn, "echo").await.unwrap();
                        read(conn).await.unwrap();
                    }))
                    .await;
                }
            });
            reader.await.unwrap();
            drop(echo);
            sim.now()
        });
        (outcome.fingerprint, outcome.unwrap())
    };
    for seed in 0..8 {
        let runs = std::thread::spawn(move || (run_once(seed), run_once(seed))).join().unwrap();
        assert_eq!(runs.0, runs.1, "seed {seed}");
    }
}

#[test]
fn hosts_kept_from_previous_runs_do_not_change_a_run() {
    // The first host greets the last, whatever they are called and wherever they stand.
    let run_greeting = |network: &'static str, names: [&'static str; 3]| {
        let outcome = Run::new(7).execute(async move |sim| {
            let net = Network::new(network);
            let mut hosts = Vec::new();
            for name in names {
                hosts.push(net.new_host(name).await.unwrap());
            }
            let listener = hosts[2].listen(":1").await.unwrap();
            let greeted = sim.spawn(async move { listener.accept().await.unwrap() });
            let conn = hosts[0].dial(&format!("{}:1", names[2])).await.unwrap();
            let ends = (conn.local_addr().to_string(), conn.peer_addr().to_string());
            (ends, conn, greeted.await.unwrap(), hosts)
        });
        let fingerprint = outcome.fingerprint;
        let (ends, conn, greeted, hosts) = outcome.unwrap();
        ((ends, fingerprint), (conn, greeted, hosts))
    };
    let programs = [
        ("t", ["α", "β", "γ"]),
        ("t", ["α", "β", "γ"]),
        ("t", ["γ", "β", "α"]),
        ("t", ["α", "γ", "β"]),
        ("u", ["α", "β", "γ"]),
        ("t", ["α", "β", "γ"]),
    ];
    let mut kept_handles = Vec::new();
    for (network, names) in programs {
        let alone = std::thread::spawn(move || run_greeting(network, names).0).join().unwrap();
        let (run, handles) = run_greeting(network, names);
        assert_eq!(run, alone, "{network}: {names:?}");
        assert_eq!(run.0, (format!("{}:1", names[0]), format!("{}:2", names[2])));
        kept_handles.push(handles);
    }
    // What was kept is named as ever.
    let names: Vec<_> =
        kept_handles.iter().map(|(_, _, hosts)| hosts[0].name().to_string()).collect();
    assert_eq!(names, ["α", "α", "γ", "α", "α", "α"]);
}

#[test]
fn run_replayed_from_its_tape_has_the_same_fingerprint() {
    let run = |tape| {
        let run = Run::new(5);
        let run = match tape {
            None => run,
            Some(tape) => run.tape(tape),
        };
        run.execute(async |sim| {
            let net = Network::new("t");
            let a = echo_node(&net, "α");
            let b = net.new_host("β").await.unwrap();
            sim.sleep(ms(100)).await;
            let mut plan = net.fault_plan(Faults::all().every_run());
            let plan = plan.run_for(secs(5));
            let talking = async {
                for _ in 0..20 {
                    let _ = time::timeout(ms(500), b.dial("α:1")).await;
                }
            };
            futures::future::join(plan, talking).await;
            drop(a);
        })
    };
    let first: Outcome<()> = run(None);
    let tape: virtnet::Tape = first.tape.to_string().parse().unwrap();
    assert_eq!(run(Some(tape)).fingerprint, first.fingerprint);
}

/// What else is going on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Activity {
    Nothing,
    Host,
    Node,
    Connection,
    Traffic,
    Network,
    FailingDial,
}

/// How long messages take between α and β, in a run in which something else may go on as well.
fn measure_latencies(activity: Activity) -> Vec<Duration> {
    let run = Run::new(11).schedule(Schedule::Fifo);
    let outcome = run.execute(async move |sim| {
        let net = Network::new("t");
        if activity == Activity::Network {
            let other = Network::new("u");
            other.new_host("α").await.unwrap();
        }
        let extra = (activity != Activity::Nothing).then(|| net.new_host("γ"));
        let extra = match extra {
            Some(extra) => Some(extra.await.unwrap()),
            None => None,
        };
        if activity == Activity::Node {
            echo_node(&net, "δ");
        }
        let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        let listener = b.listen("").await.unwrap();
        if activity == Activity::FailingDial {
            let _ = extra.as_ref().unwrap().dial("β:99").await;
        }
        let (ab, ba) = connect(&a, &listener).await;
        if let (Activity::Connection | Activity::Traffic, Some(extra)) = (activity, extra) {
            let (cb, bc) = connect(&extra, &listener).await;
            sim.task("traffic").spawn(async move {
                if activity != Activity::Traffic {
                    return;
                }
                loop {
                    write(&cb, "traffic").await.unwrap();
                    read(&bc).await.unwrap();
                }
            });
        }
        let mut took = Vec::new();
        for _ in 0..20 {
            write(&ab, "there").await.unwrap();
            took.push(timed(read(&ba)).await.0);
            write(&ba, "back").await.unwrap();
            took.push(timed(read(&ab)).await.0);
        }
        took
    });
    outcome.unwrap()
}

#[test]
fn unrelated_activity_moves_no_latency_between_two_hosts() {
    let usual = measure_latencies(Activity::Nothing);
    assert_eq!(usual.len(), 40);
    for activity in [
        Activity::Host,
        Activity::Node,
        Activity::Connection,
        Activity::Traffic,
        Activity::Network,
        Activity::FailingDial,
    ] {
        assert_eq!(measure_latencies(activity), usual, "{activity:?}");
    }
}
