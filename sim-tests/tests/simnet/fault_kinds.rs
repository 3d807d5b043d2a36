//! Zones, wipes, a slow registry, and programs that are replaced.

use std::cell::RefCell;
use std::rc::Rc;

use futures::future::pending;
use virtnet::simnet::{FaultKind, Faults, Latency, Network, Node};
use virtnet::{
    FaultAction, FaultTarget, Host, NodeDeath, RecordKind, Run, Schedule, Sim, Tape, time,
};

use crate::simnet::{echo_node, exact_config, ms, run_fifo, secs, sleep_until_after, timed};

/// Nodes α and β in one region, γ and δ in another, ε in a third; all of them echo.
fn three_regions(net: &Network) -> Vec<Node> {
    let regions = [("α", "east"), ("β", "east"), ("γ", "west"), ("δ", "west"), ("ε", "north")];
    let node = |(name, region)| net.node_in(region, name, crate::simnet::echo);
    regions.map(node).to_vec()
}

fn nodes_up(nodes: &[Node]) -> String {
    nodes.iter().filter(|node| node.is_up()).map(Node::name).collect()
}

#[test]
fn region_without_power_is_silent_and_its_nodes_start_when_power_is_back() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let nodes = three_regions(&net);
        let client = net.new_host("c").await.unwrap();
        sim.sleep(secs(1)).await;
        nodes[0].crash();
        sim.sleep(secs(1)).await;
        net.power_off_region("east");
        sim.sleep(secs(1)).await;
        assert_eq!(nodes_up(&nodes), "γδε");
        // Silent, not refused.
        assert!(time::timeout(secs(1), client.dial("β:1")).await.is_err());
        nodes[1].restart();
        sim.sleep(secs(1)).await;
        nodes[1].crash();
        sim.sleep(secs(1)).await;
        net.restore_region("east");
        net.restore_region("east");
        sim.sleep(secs(1)).await;
        // α was down before, and β was started since: neither is a matter of the outage.
        assert_eq!(nodes_up(&nodes), "γδε");
        net.power_off_region("west");
        sim.sleep(secs(1)).await;
        net.restore_region("west");
        sim.sleep(secs(1)).await;
        assert_eq!(nodes_up(&nodes), "γδε");
        client.dial("δ:1").await.unwrap();
        let counts = net.fault_stats().kind(FaultKind::Zone);
        assert_eq!((counts.requested, counts.applied, counts.effective), (2, 2, 2));
        assert_eq!(net.fault_stats().kind(FaultKind::PowerOff).applied, 0);
    });
}

#[test]
fn plan_with_zone_takes_whole_regions_down_within_the_node_limit() {
    let outages = |tape: Tape, max_down: usize| {
        let run = Run::new(7).schedule(Schedule::Fifo).tape(tape);
        run.execute(async move |sim| {
            let net = Network::with("t", exact_config());
            let nodes = three_regions(&net);
            sim.sleep(secs(1)).await;
            let start = sim.now();
            let mut plan = net.fault_plan(Faults::none().with(FaultKind::Zone).max_down(max_down));
            let watch = async {
                sleep_until_after(start, secs(2)).await;
                let during = nodes_up(&nodes);
                sleep_until_after(start, secs(70)).await;
                (during, nodes_up(&nodes))
            };
            let (seen, ()) = futures::join!(watch, plan.run_for(secs(60)));
            (seen, plan.applied_faults().len())
        })
        .unwrap()
    };
    // One outage at the beginning, of the region with the given index.
    let tape = |region: u64| {
        let tape = Tape::zero().with("fault simt/plan zone", 1, 2);
        let tape = tape.with("fault simt/plan zone#1", 0, 11);
        tape.with("fault simt/plan zone#1", 2, 5_000_000_000).with(
            "fault simt/plan zone#1",
            3,
            region,
        )
    };
    let all = "αβγδε".to_string();
    assert_eq!(outages(tape(0), 2), (("γδε".into(), all.clone()), 1));
    assert_eq!(outages(tape(1), 2), (("αβε".into(), all.clone()), 1));
    assert_eq!(outages(tape(2), 2), (("αβγδ".into(), all.clone()), 1));
    assert_eq!(outages(tape(0), 1), ((all.clone(), all), 0));
}

#[test]
fn zone_in_a_single_region_is_neither_requested_nor_applied() {
    for seed in 0..8 {
        let stats = Run::new(seed).execute(async |sim| {
            let net = Network::new("t");
            let _nodes = ["α", "β", "γ", "δ", "ε"].map(|name| echo_node(&net, name));
            sim.sleep(secs(1)).await;
            net.fault_plan(Faults::from([FaultKind::Zone])).run_for(secs(60)).await;
            net.fault_stats()
        });
        let counts = stats.unwrap().kind(FaultKind::Zone);
        assert_eq!((counts.requested, counts.applied), (0, 0), "seed {seed}");
    }
}

#[test]
fn previous_death_names_crash_power_failure_and_wipe() {
    let deaths = Rc::new(RefCell::new(Vec::new()));
    let seen = deaths.clone();
    run_fifo(async move |sim| {
        assert_eq!(sim.previous_death(), None);
        let net = Network::with("t", exact_config());
        let node = net.node("α", move |_: Host| {
            seen.borrow_mut().push(Sim::current().previous_death());
            pending::<()>()
        });
        let ends: [&dyn Fn(&Node); 7] = [
            &|node| node.crash(),
            &|node| node.power_off(),
            &|node| node.restart_wiped(),
            &|node| node.restart(),
            &|node| {
                node.crash();
                node.power_off();
            },
            &|node| {
                node.power_off();
                node.restart_wiped();
            },
            &|node| node.crash(),
        ];
        for end in ends {
            sim.sleep(secs(1)).await;
            end(&node);
            sim.sleep(secs(1)).await;
            if !node.is_up() {
                node.restart();
            }
        }
        sim.sleep(secs(1)).await;
        let counts = net.fault_stats().kind(FaultKind::Wipe);
        assert_eq!((counts.requested, counts.applied, counts.effective), (2, 2, 2));
        assert_eq!(sim.previous_death(), None);
    });
    let expected = [
        None,
        Some(NodeDeath::Crash),
        Some(NodeDeath::PowerOff),
        Some(NodeDeath::Wipe),
        Some(NodeDeath::Restart),
        Some(NodeDeath::PowerOff),
        Some(NodeDeath::Wipe),
        Some(NodeDeath::Crash),
    ];
    assert_eq!(*deaths.borrow(), expected);
}

#[test]
fn replaced_program_runs_from_the_next_start() {
    let started = Rc::new(RefCell::new(String::new()));
    let log = started.clone();
    run_fifo(async move |sim| {
        let net = Network::with("t", exact_config());
        let program = |version: char| {
            let log = log.clone();
            move |_: Host| {
                log.borrow_mut().push(version);
                pending::<()>()
            }
        };
        let node = net.node("α", program('a'));
        sim.sleep(secs(1)).await;
        node.replace(program('b'));
        sim.sleep(secs(1)).await;
        assert_eq!(*log.borrow(), "a");
        node.restart();
        sim.sleep(secs(1)).await;
        node.crash();
        node.replace(program('c'));
        sim.sleep(secs(1)).await;
        node.restart();
        node.replace(program('d'));
        sim.sleep(secs(1)).await;
    });
    // A start that was requested and has not happened yet has the latest program.
    assert_eq!(*started.borrow(), "abd");
}

#[test]
fn slow_registry_delays_lookups_until_undone() {
    let tape = Tape::zero().with("fault simt/plan slow_registry", 1, 2);
    let tape = tape.with("fault simt/plan slow_registry#1", 0, 11);
    let tape = tape.with("fault simt/plan slow_registry#1", 5, 1);
    let run = Run::new(7).schedule(Schedule::Fifo).tape(tape);
    run.execute(async |sim| {
        let net = Network::with("t", exact_config());
        let _node = echo_node(&net, "α");
        let client = net.new_host("c").await.unwrap();
        sim.sleep(secs(1)).await;
        let dial = async || timed(client.dial("α:1")).await.0;
        assert_eq!(dial().await, ms(1 + 20));
        net.set_registry_latency(Latency::constant(ms(7)));
        assert_eq!(dial().await, ms(7 + 20));
        // The plan's is 50 times that of the call, and over after 625 ms.
        let start = sim.now();
        let mut plan = net.fault_plan(Faults::from([FaultKind::SlowRegistry]));
        let dials = async {
            sleep_until_after(start, ms(10)).await;
            assert_eq!(dial().await, ms(350 + 20));
            sleep_until_after(start, secs(1)).await;
            assert_eq!(dial().await, ms(7 + 20));
        };
        futures::join!(plan.run_for(secs(60)), dials);
        assert_eq!(plan.applied_faults()[0].1, "slow_registry: 50 times as slow");
        let counts = net.fault_stats().kind(FaultKind::SlowRegistry);
        assert_eq!((counts.requested, counts.applied, counts.effective), (2, 2, 2));
    })
    .unwrap();
}

#[test]
fn added_kind_moves_no_draw_of_other_kinds() {
    let applied = |seed: u64, faults: Faults| {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        let outcome = run.execute(async move |sim| {
            let net = Network::with("t", exact_config());
            let _nodes = three_regions(&net);
            sim.sleep(secs(1)).await;
            let mut plan = net.fault_plan(faults);
            plan.run_for(secs(60)).await;
            plan.applied_faults().to_vec()
        });
        outcome.unwrap()
    };
    let few = || Faults::from([FaultKind::Partition, FaultKind::Clock, FaultKind::SlowNode]);
    for seed in 0..20 {
        let more = few().with(FaultKind::SlowRegistry).with(FaultKind::Registry);
        let mut with_more = applied(seed, more);
        let count = with_more.len();
        with_more.retain(|(_, what)| !what.contains("registry"));
        assert!(with_more.len() < count, "seed {seed}");
        assert_eq!(with_more, applied(seed, few()), "seed {seed}");
    }
}

#[test]
fn all_faults_draw_a_swarm_and_every_run_draws_all() {
    for (faults, text) in [
        (Faults::all(), "Faults::all()"),
        (Faults::all().every_run(), "Faults::all().every_run()"),
        (Faults::all().every_run().swarm(), "Faults::all()"),
        (Faults::from([FaultKind::Wipe]).swarm(), "Faults::none().with(FaultKind::Wipe).swarm()"),
    ] {
        assert_eq!(format!("{faults:?}"), text);
    }
    let drawn = |faults: fn() -> Faults| {
        let counts = (0..20).map(|seed| {
            let outcome = Run::new(seed).execute(async move |sim| {
                let net = Network::new("t");
                let _nodes = three_regions(&net);
                sim.sleep(secs(1)).await;
                net.fault_plan(faults()).run_for(secs(120)).await;
                net.fault_stats()
            });
            let stats = outcome.unwrap();
            stats.iter().filter(|(_, counts)| counts.drawn > 0).count()
        });
        counts.collect::<Vec<_>>()
    };
    // All kinds but `wipe` and `accept`.
    let all = FaultKind::ALL.len() - 2;
    let every_run = drawn(|| Faults::all().every_run());
    assert!(every_run.iter().filter(|kinds| **kinds >= all - 2).count() > 15, "{every_run:?}");
    let swarm = drawn(Faults::all);
    assert!(swarm.iter().all(|kinds| *kinds < all - 1), "{swarm:?}");
}

/// Whether a host can dial port 1 of another within 5 s.
async fn can_dial(from: &Host, to: &str) -> bool {
    let addr = format!("{to}:1");
    time::timeout(secs(5), from.dial(&addr)).await.is_ok_and(|dialed| dialed.is_ok())
}

#[test]
fn healed_core_is_reachable_and_the_rest_stays_dead() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let nodes = ["α", "β", "γ", "δ"].map(|name| echo_node(&net, name));
        let client = net.new_host("c").await.unwrap();
        sim.sleep(secs(1)).await;
        net.partition(&["c"], &["α", "β", "γ", "δ"]);
        net.link("c", "β").latency(Latency::constant(ms(100)));
        net.registry_down();
        nodes[0].crash();
        nodes[1].pause();
        nodes[2].crash();
        sim.sleep(secs(1)).await;
        net.heal_core(&["α", "β", "c"]);
        sim.sleep(secs(1)).await;
        assert_eq!(nodes_up(&nodes), "αβ");
        let mut reached = Vec::new();
        for name in ["α", "β", "γ", "δ"] {
            reached.push(can_dial(&client, name).await);
        }
        assert_eq!(reached, [true, true, false, false]);
        let (took, _) = timed(client.dial("β:1")).await;
        assert!(took >= ms(200), "an override of the test stays: {took:?}");
        assert_eq!(net.fault_stats().kind(FaultKind::PowerOff).applied, 2);
    });
}

#[test]
fn healed_core_is_left_alone_by_running_and_later_plans() {
    for seed in 0..40 {
        let run = Run::new(seed);
        run.execute(async move |sim| {
            let net = Network::new("t");
            let nodes = ["α", "β", "γ"].map(|name| echo_node(&net, name));
            let client = net.new_host("c").await.unwrap();
            sim.sleep(secs(1)).await;
            let mut plan = net.fault_plan(Faults::all().every_run());
            let mut second = net.fault_plan(Faults::all().every_run());
            let checks = async {
                sim.sleep(secs(15)).await;
                net.heal_core(&["α", "β"]);
                let healed_at = sim.now();
                // The longest time after which a lost segment is sent again is a minute.
                sim.sleep(secs(60)).await;
                while sim.now() - healed_at < secs(120) {
                    for addr in ["α:1", "β:1"] {
                        let (took, conn) = timed(client.dial(addr)).await;
                        assert!(conn.is_ok() && took < ms(100), "seed {seed}: {conn:?} {took:?}");
                    }
                    assert_eq!(nodes_up(&nodes), "αβ", "seed {seed}");
                    sim.sleep(secs(1)).await;
                }
            };
            futures::join!(plan.run_for(secs(60)), second.run_for(secs(100)), checks);
            let applied = plan.applied_faults().len();
            assert!(applied > 0, "seed {seed}");
            net.fault_plan(Faults::all().every_run()).run_for(secs(20)).await;
            assert_eq!(nodes_up(&nodes), "αβ", "seed {seed}");
        })
        .unwrap();
    }
}

#[test]
fn heal_core_of_no_hosts_or_an_unknown_host_panics() {
    let panic_text = |core: &'static [&'static str]| {
        let outcome = Run::new(0).execute(async move |_| {
            let net = Network::new("t");
            net.new_host("α").await.unwrap();
            net.heal_core(core);
        });
        outcome.into_result().unwrap_err().to_string()
    };
    assert!(panic_text(&[]).contains("a core of no hosts: name at least one"));
    assert!(panic_text(&["β"]).contains("no host \"β\" was ever made"));
}

#[test]
fn failed_accepts_report_an_error_and_leave_the_dial_waiting() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let accepted = Rc::new(RefCell::new(Vec::new()));
        let results = accepted.clone();
        let node = net.node("α", move |host: Host| {
            let results = results.clone();
            async move {
                let listener = host.listen(":1").await.unwrap();
                loop {
                    let result = listener.accept().await;
                    let text =
                        result.as_ref().map_or_else(|error| error.to_string(), |_| "ok".into());
                    results.borrow_mut().push(text);
                    time::sleep(ms(100)).await;
                }
            }
        });
        let client = net.new_host("c").await.unwrap();
        sim.sleep(secs(1)).await;
        // The first accept waits already, the second begins later.
        node.fail_accepts(2);
        let (took, conn) = timed(client.dial("α:1")).await;
        assert!(conn.is_ok() && took >= ms(200), "{conn:?} {took:?}");
        client.dial("α:1").await.unwrap();
        let error = "accept simt α:1: too many open files";
        assert_eq!(*accepted.borrow(), [error, error, "ok", "ok"]);
        let counts = net.fault_stats().kind(FaultKind::Accept);
        assert_eq!((counts.requested, counts.applied, counts.effective), (1, 1, 1));
        node.fail_accepts(3);
        node.fail_accepts(0);
        assert!(client.dial("α:1").await.is_ok());
        assert_eq!(accepted.borrow().last().unwrap(), "ok");
    });
}

#[test]
fn plan_with_accept_makes_accepts_fail_and_undoes_it() {
    let mut effective = 0;
    for seed in 0..20 {
        let run = Run::new(seed);
        effective += run
            .execute(async move |sim| {
                let net = Network::new("t");
                let node = net.node("α", async |host: Host| {
                    let listener = host.listen(":1").await.unwrap();
                    loop {
                        if let Err(error) = listener.accept().await {
                            assert_eq!(error.cause, virtnet::Cause::TooManyFiles);
                        }
                    }
                });
                let client = net.new_host("c").await.unwrap();
                sim.sleep(secs(1)).await;
                let mut plan = net.fault_plan(Faults::from([FaultKind::Accept]));
                let dials = async {
                    for _ in 0..100 {
                        assert!(client.dial("α:1").await.is_ok());
                        sim.sleep(ms(300)).await;
                    }
                };
                futures::join!(plan.run_for(secs(30)), dials);
                assert!(node.is_up());
                let counts = net.fault_stats().kind(FaultKind::Accept);
                assert_eq!(counts.applied, counts.drawn);
                assert!(counts.effective <= counts.applied);
                counts.effective
            })
            .unwrap();
    }
    assert!(effective > 10, "{effective}");
    assert!(!format!("{:?}", Faults::all()).contains("Accept"));
}

#[test]
fn planned_link_faults_are_sometimes_one_way_and_are_undone() {
    let (mut one_way, mut both_ways) = (0, 0);
    for seed in 0..20 {
        let outcome = Run::new(seed).keep_trace().execute(async |sim| {
            let net = Network::new("t");
            let _node = echo_node(&net, "α");
            let client = net.new_host("c").await.unwrap();
            sim.sleep(secs(1)).await;
            client.dial("α:1").await.unwrap();
            let kinds = [FaultKind::Latency, FaultKind::Loss, FaultKind::Bandwidth];
            net.fault_plan(Faults::from(kinds)).run_for(secs(60)).await;
        });
        let mut applied = Vec::new();
        for record in outcome.trace.unwrap().records() {
            let RecordKind::Fault(change) = &record.kind else { continue };
            match (&change.action, &change.target) {
                (FaultAction::Apply(kind), target) => {
                    one_way += usize::from(matches!(target, FaultTarget::OneWayLink(..)));
                    both_ways += usize::from(matches!(target, FaultTarget::Link(..)));
                    applied.push((*kind, target.clone()));
                }
                (FaultAction::Undo(kind), target) => {
                    let undone = applied.iter().position(|it| *it == (*kind, target.clone()));
                    applied.remove(undone.expect("it was applied with that target"));
                }
                _ => {}
            }
        }
        assert_eq!(applied, [], "seed {seed}");
    }
    assert!(one_way > 20 && both_ways > one_way, "{one_way} {both_ways}");
}
