//! Plans: drawn from the seed, felt by the program, and undone in the end whatever they did.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{pending, select};
use virtnet::simnet::{ClockSkew, FaultKind, FaultStats, Faults, Network, Node};
use virtnet::{Host, Run, Schedule, Sim, Tape, time};

use crate::simnet::{
    connect, connected_pair, echo_node, exact_config, ms, read, run_fifo, secs, serve_echo,
    sleep_until_after, timed, write,
};

const FAULT_NAMES: [&str; 18] = [
    "partition",
    "one_way",
    "hold",
    "reset",
    "latency",
    "loss",
    "bandwidth",
    "crash",
    "power_off",
    "pause",
    "close",
    "restart",
    "clock",
    "slow_node",
    "registry",
    "short_io",
    "wipe",
    "slow_registry",
];

/// Asks a node for an echo, over and over.
async fn run_echo_client(host: Host, node: &'static str, answers: Rc<Cell<u32>>) {
    loop {
        let limit = secs(3);
        if let Ok(Ok(conn)) = time::timeout(limit, host.dial(&format!("{node}:1"))).await {
            for _ in 0..5 {
                let wrote = time::timeout(limit, write(&conn, "echo, echo, echo")).await;
                let got = time::timeout(limit, read(&conn)).await;
                if !matches!((wrote, got), (Ok(Ok(_)), Ok(Ok(text))) if !text.is_empty()) {
                    break;
                }
                answers.set(answers.get() + 1);
                time::sleep(ms(300)).await;
            }
        }
        time::sleep(ms(300)).await;
    }
}

const NODES: [&str; 4] = ["α", "β", "γ", "δ"];

/// Four nodes that echo, each with a client of the next one.
fn start_echo_ring(net: &Network) -> (Vec<Node>, Rc<Cell<u32>>) {
    let answers = Rc::new(Cell::new(0));
    let node = |number: usize| {
        let answers = answers.clone();
        net.node(NODES[number], move |host: Host| {
            let answers = answers.clone();
            async move {
                let Ok(listener) = host.listen(":1").await else { return };
                virtnet::spawn(serve_echo(listener));
                run_echo_client(host, NODES[(number + 1) % 4], answers).await;
            }
        })
    };
    ((0..4).map(node).collect(), answers)
}

/// All is well: every node talks to every other, at the usual speed, and knows the time.
async fn assert_network_is_healthy(sim: Sim, net: &Network, nodes: &[Node]) {
    sim.sleep(secs(65)).await;
    assert!(nodes.iter().all(Node::is_up));
    for (number, node) in nodes.iter().enumerate() {
        let host = node.host().expect("it has a host");
        let next = NODES[(number + 1) % 4];
        let (seen, target) = (Rc::new(Cell::new(None)), node.clone());
        let result = seen.clone();
        target.spawn(async move {
            let node_wall = Sim::current().system_time();
            let (dialed, conn) = timed(host.dial(&format!("{next}:1"))).await;
            let conn = conn.unwrap();
            write(&conn, "x").await.unwrap();
            let (took, _) = timed(read(&conn)).await;
            result.set(Some((node_wall, dialed, took)));
        });
        let (now, wall) = (sim.now(), sim.system_time());
        sim.sleep(secs(1)).await;
        let seen = seen.get();
        let Some((node_wall, dialed, took)) = seen else { panic!("{} is held up", node.name()) };
        assert_eq!((dialed, took), (ms(21), ms(20)), "{} at {now:?}", node.name());
        assert_eq!(node_wall, wall, "{}", node.name());
    }
    for name in NODES {
        assert!(net.netstat(name).starts_with(&format!("{name} is up")), "{}", net.netstat(name));
    }
}

/// Runs the ring under a plan, and gives the stats, what was done, and how many answers came.
fn run_under_plan(seed: u64, faults: Faults, duration: Duration) -> (FaultStats, Vec<String>, u32) {
    let run = Run::new(seed).schedule(Schedule::Fifo);
    run.execute(async move |sim| {
        let net = Network::with("t", exact_config());
        let (nodes, answers) = start_echo_ring(&net);
        sim.sleep(secs(1)).await;
        let mut plan = net.fault_plan(faults);
        plan.run_for(duration).await;
        let done = plan.applied_faults().iter().map(|(at, what)| format!("{at} {what}")).collect();
        assert_network_is_healthy(sim, &net, &nodes).await;
        (net.fault_stats(), done, answers.get())
    })
    .unwrap()
}

#[test]
fn sweep_makes_every_fault_kind_effective_and_undoes_all() {
    let mut sum = FaultStats::default();
    for seed in 0..16 {
        let faults = Faults::all().with(FaultKind::Wipe);
        let faults = if seed % 4 == 0 { faults.every_run() } else { faults };
        let (stats, done, answers) = run_under_plan(seed, faults, secs(60));
        assert!(answers > 100, "seed {seed}: {answers} answers, though {done:?}");
        sum += &stats;
    }
    sum.assert_effective();
    for family in FAULT_NAMES {
        let counts = sum.kind(family.parse().unwrap());
        assert_eq!(counts.requested, 16, "{family}");
        assert!(counts.drawn >= counts.applied, "{family}: {counts}");
        assert!(counts.applied >= counts.effective && counts.effective > 0, "{family}: {counts}");
    }
}

#[test]
fn plan_of_one_fault_kind_applies_only_that_kind_and_undoes_it() {
    for family in FAULT_NAMES {
        let mut sum = FaultStats::default();
        for seed in 0..4 {
            let faults = Faults::none().with(family.parse().unwrap());
            let (stats, done, _) = run_under_plan(seed, faults, secs(40));
            assert!(
                done.iter().all(|what| what.contains(family.split('_').next().unwrap())),
                "{done:?}"
            );
            sum += &stats;
        }
        assert!(sum.kind(family.parse().unwrap()).effective > 0, "{sum}");
        let others = FAULT_NAMES.iter().filter(|other| **other != family);
        assert!(
            others.into_iter().all(|other| sum.kind(other.parse().unwrap()).applied == 0),
            "{family}: {sum}"
        );
    }
}

#[test]
fn plan_dropped_midway_undoes_its_faults() {
    for seed in 0..8 {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        run.execute(async move |sim| {
            let net = Network::with("t", exact_config());
            let (nodes, _) = start_echo_ring(&net);
            sim.sleep(secs(1)).await;
            let mut plan = net.fault_plan(Faults::all().every_run());
            let _ = sim.timeout(secs(12 + seed), plan.run_for(secs(60))).await;
            assert!(!plan.applied_faults().is_empty());
            drop(plan);
            assert_network_is_healthy(sim, &net, &nodes).await;
        })
        .unwrap();
    }
}

#[test]
fn plan_end_keeps_manual_faults() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config()).await;
        let node = echo_node(&t.net, "γ");
        t.net.link("α", "β").latency(virtnet::simnet::Latency::constant(ms(33)));
        node.set_clock(ClockSkew::ahead(Duration::from_secs(7)));
        node.set_poll_cost(ms(3));
        time::sleep(ms(10)).await;
        t.net.partition(&["γ"], &["β"]);
        t.net
            .fault_plan(
                Faults::all().every_run().without(FaultKind::Registry).without(FaultKind::Hold),
            )
            .run_for(secs(60))
            .await;
        assert!(node.is_up());
        time::sleep(secs(10)).await;
        let asked_at = (time::now(), sim.system_time());
        let node_time = node.spawn(async {
            time::yield_now().await;
            Sim::current().system_time()
        });
        let ahead = node_time.await.unwrap().duration_since(asked_at.1).unwrap();
        assert_eq!(ahead, secs(7) + (time::now() - asked_at.0), "its clock is as it was set");
        assert!(time::now() - asked_at.0 >= ms(3), "it is as slow as it was made");
        assert!(t.b.dial("γ:1").await.is_err());
        t.net.heal();
        let (took, _) = timed(connect(&t.a, &t.lb)).await;
        assert_eq!(took, ms(67));
    });
}

#[test]
fn plan_end_keeps_a_node_paused_manually_meanwhile() {
    let mut drawn_pauses = 0;
    for seed in 0..8 {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        let outcome = run.execute(async |sim| {
            let net = Network::with("t", exact_config());
            let node = echo_node(&net, "β");
            sim.sleep(secs(1)).await;
            let mut plan = net.fault_plan(Faults::none().with(FaultKind::Pause));
            let is_paused = || net.netstat("β").starts_with("β is paused");
            let by_hand = async {
                while !is_paused() {
                    sim.sleep(ms(1)).await;
                }
                node.pause();
                pending::<()>().await;
            };
            let finished = select(Box::pin(plan.run_for(secs(60))), Box::pin(by_hand)).await;
            drop(finished);
            let was_paused = !plan.applied_faults().is_empty();
            assert_eq!(is_paused(), was_paused, "it goes on");
            node.resume();
            assert!(!is_paused());
            u32::from(was_paused)
        });
        drawn_pauses += outcome.unwrap();
    }
    assert!(drawn_pauses > 0, "no pause was drawn");
}

#[test]
fn plan_end_keeps_a_manual_hold_and_a_manual_registry_outage() {
    for seed in 0..8 {
        Run::new(seed)
            .schedule(Schedule::Fifo)
            .execute(async |_| {
                let t = connected_pair(exact_config()).await;
                t.net.hold("α", "β");
                t.net.registry_down();
                t.net
                    .fault_plan(Faults::none().with(FaultKind::Hold).with(FaultKind::Registry))
                    .run_for(secs(60))
                    .await;
                t.net
                    .fault_plan(Faults::none().with(FaultKind::Hold).with(FaultKind::Registry))
                    .run_for(secs(60))
                    .await;
                write(&t.ab, "held").await.unwrap();
                assert!(time::timeout(secs(5), read(&t.ba)).await.is_err(), "it is held no more");
                assert!(t.a.dial("β:1").await.is_err(), "the registry is up");
                t.net.release("β", "α");
                t.net.registry_up();
                assert_eq!(timed(read(&t.ba)).await, (Duration::ZERO, Ok("held".into())));
                connect(&t.a, &t.lb).await;
            })
            .unwrap();
    }
}

#[test]
fn plan_does_not_restart_a_node_restarted_manually_meanwhile() {
    let mut crashes = 0;
    for seed in 0..8 {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        let outcome = run.execute(async |sim| {
            let net = Network::with("t", exact_config());
            let node = echo_node(&net, "β");
            sim.sleep(secs(1)).await;
            let mut plan = net.fault_plan(Faults::none().with(FaultKind::Crash).max_down(1));
            let restarts = Cell::new(0);
            let by_hand = async {
                loop {
                    sim.sleep(ms(1)).await;
                    if !node.is_up() {
                        node.restart();
                        restarts.set(restarts.get() + 1);
                    }
                }
            };
            select(Box::pin(plan.run_for(secs(60))), Box::pin(by_hand)).await;
            sim.sleep(secs(1)).await;
            let (restarts, table) = (restarts.get(), net.netstat("β"));
            assert!(
                table.contains(&format!("restarted {restarts} time(s)")),
                "{restarts}: {table}"
            );
            restarts
        });
        crashes += outcome.unwrap();
    }
    assert!(crashes > 0, "no crash was drawn");
}

#[test]
fn plan_owned_by_a_crashed_node_is_undone() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let plan_net = net.clone();
        let saboteur = net.node("γ", move |_| {
            let net = plan_net.clone();
            async move {
                net.fault_plan(Faults::none().with(FaultKind::Hold)).run_for(secs(1_000)).await;
            }
        });
        let listener = net.new_host("β").await.unwrap().listen("").await.unwrap();
        let a = net.new_host("α").await.unwrap();
        let (near, far) = connect(&a, &listener).await;
        let is_held = async || {
            write(&near, "x").await.unwrap();
            time::timeout(ms(50), read(&far)).await.is_err()
        };
        let mut waited = 0;
        while !is_held().await {
            sim.sleep(ms(100)).await;
            waited += 1;
            assert!(waited < 10_000, "no hold was drawn");
        }
        saboteur.crash();
        sim.sleep(ms(50)).await;
        while time::timeout(ms(50), read(&far)).await.is_ok() {}
        assert!(!is_held().await, "it is still held");
    });
}

#[test]
fn plan_on_the_zero_tape_does_nothing_and_takes_its_full_duration() {
    let run = Run::new(9).tape(Tape::zero());
    run.execute(async |sim| {
        let net = Network::with("t", exact_config());
        let (nodes, _) = start_echo_ring(&net);
        sim.sleep(secs(1)).await;
        let mut plan = net.fault_plan(Faults::all().every_run());
        assert_eq!(timed(plan.run_for(secs(60))).await.0, secs(60));
        assert_eq!(plan.applied_faults(), []);
        assert!(net.fault_stats().iter().all(|(_, counts)| counts.drawn + counts.applied == 0));
        assert_network_is_healthy(sim, &net, &nodes).await;
    })
    .unwrap();
}

#[test]
fn added_fault_kind_moves_no_fault_of_another_kind() {
    for seed in 0..4 {
        let alone = run_under_plan(seed, Faults::none().with(FaultKind::Clock), secs(60)).1;
        let both = run_under_plan(
            seed,
            Faults::none().with(FaultKind::Clock).with(FaultKind::Latency).with(FaultKind::Loss),
            secs(60),
        )
        .1;
        let clocks_of_both: Vec<_> =
            both.iter().filter(|what| what.contains("clock")).cloned().collect();
        assert_eq!(alone, clocks_of_both, "seed {seed}");
    }
}

#[test]
fn plan_takes_at_most_max_down_nodes_down() {
    let mut max_down = 0;
    for seed in 0..5 {
        for allowed in [1, 2] {
            let run = Run::new(seed).schedule(Schedule::Fifo);
            max_down = max_down.max(
                run.execute(async move |sim| {
                    let net = Network::with("t", exact_config());
                    let (nodes, _) = start_echo_ring(&net);
                    sim.sleep(secs(1)).await;
                    let start = sim.now();
                    let faults = Faults::none()
                        .with(FaultKind::Crash)
                        .with(FaultKind::PowerOff)
                        .max_down(allowed);
                    let plan = net.clone();
                    let fault_plan =
                        sim.spawn(async move { plan.fault_plan(faults).run_for(secs(60)).await });
                    let mut max_down = 0;
                    for step in 0..6_000 {
                        sleep_until_after(start, ms(step * 10)).await;
                        let down = nodes.iter().filter(|node| !node.is_up()).count();
                        assert!(down <= allowed, "{down} are down");
                        max_down = max_down.max(down);
                    }
                    fault_plan.await.unwrap();
                    max_down
                })
                .unwrap(),
            );
        }
    }
    assert_eq!(max_down, 2);
}
