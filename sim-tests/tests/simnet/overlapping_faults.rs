//! Faults that meet: of one plan, of a plan and a test, and of a link and those who use it.

use std::time::Duration;

use futures::future::{join, pending};
use virtnet::simnet::{ClockSkew, FaultKind, Faults, Network};
use virtnet::{Cause, Host, RecordKind, Run, Schedule, Sim, Tape, time};

use crate::simnet::{
    connect, connected_pair, echo_node, exact_config, ms, read, read_exact, run_fifo, secs,
    sleep_until_after, timed, write, write_all,
};

/// A tape on which a plan of a minute strikes: the family and number of each strike, what may be
/// hit, and how long it lasts.
fn fault_tape(faults: &[(&str, u64, Duration)]) -> Tape {
    with_faults(Tape::zero(), "plan", faults)
}

/// Adds the faults of another plan of a minute: `plan#1` is the second of its network.
fn with_faults(mut tape: Tape, plan: &str, faults: &[(&str, u64, Duration)]) -> Tape {
    for (fault, victim, duration) in faults {
        let family = fault.split('#').next().unwrap();
        let subject = format!("fault simt/{plan} {fault}");
        // The duration is drawn on top of an eighth of a slot, which has 5 s.
        let extra_nanos = (*duration - ms(625)).as_nanos() as u64;
        tape = tape.with(&format!("fault simt/{plan} {family}"), 1, 2).with(&subject, 0, 11);
        tape = tape.with(&subject, 2, extra_nanos).with(&subject, 3, *victim);
    }
    tape
}

/// Runs a story on a tape, first come, first served.
#[track_caller]
fn run_on_tape<T: 'static>(tape: Tape, scenario: impl AsyncFnOnce(Sim) -> T + 'static) -> T {
    let run = Run::new(7).schedule(Schedule::Fifo).tape(tape);
    run.execute(|sim| async move { scenario(sim).await }).unwrap()
}

/// Hosts α, β, γ, which all listen.
async fn three_listening_hosts(net: &Network) -> Vec<Host> {
    let mut hosts = Vec::new();
    for name in ["α", "β", "γ"] {
        let host = net.new_host(name).await.unwrap();
        let listener = host.listen(":1").await.unwrap();
        virtnet::spawn(crate::simnet::serve_echo(listener));
        hosts.push(host);
    }
    hosts
}

/// Whether one gets through to the other before long.
async fn can_dial(host: &Host, target: &str) -> bool {
    time::timeout(ms(100), host.dial(&format!("{target}:1"))).await.is_ok()
}

#[test]
fn overlapping_partitions_of_a_plan_each_end_at_their_own_time() {
    // α is cut off for 9 s from the beginning on, and β for 1 s after 5 s.
    let tape = fault_tape(&[("partition#1", 0, secs(9)), ("partition#2", 1, secs(1))]);
    run_on_tape(tape, async |sim| {
        let net = Network::with("t", exact_config());
        let hosts = three_listening_hosts(&net).await;
        let start = sim.now();
        let mut plan = net.fault_plan(Faults::none().with(FaultKind::Partition));
        let checking = async {
            let cases = [(1, false, true), (5, false, false), (7, false, true), (10, true, true)];
            for (at, first, second) in cases {
                sleep_until_after(start, secs(at) + ms(100)).await;
                let seen = join(can_dial(&hosts[2], "α"), can_dial(&hosts[2], "β")).await;
                assert_eq!(seen, (first, second), "after {at} s");
            }
        };
        join(plan.run_for(secs(60)), checking).await;
        assert_eq!(plan.applied_faults().len(), 2, "{plan}");
    });
}

/// The texts of the faults that a run records.
fn fault_texts(tape: Tape, story: impl AsyncFnOnce(Sim) + 'static) -> Vec<String> {
    let run = Run::new(7).schedule(Schedule::Fifo).tape(tape).keep_trace();
    let outcome = run.execute(|sim| async move { story(sim).await });
    let trace = outcome.trace.clone().unwrap();
    outcome.unwrap();
    let faults =
        trace.records().iter().filter(|record| matches!(record.kind, RecordKind::Fault(_)));
    faults.map(|record| record.text.clone()).collect()
}

#[test]
fn of_two_plans_and_a_test_each_undoes_its_own_latency() {
    // The first plan slows the link for 9 s, 4 times; the second for 1 s after 5 s, 10 times.
    let tape = fault_tape(&[("latency#1", 0, secs(9))]);
    let tape = with_faults(tape, "plan#1", &[("latency#2", 0, secs(1))]);
    let tape = tape.with("fault simt/plan#1 latency#2", 5, 1);
    let texts = fault_texts(tape, async |sim| {
        let net = Network::with("t", exact_config());
        let hosts = three_listening_hosts(&net).await;
        assert!(can_dial(&hosts[0], "β").await);
        let start = sim.now();
        let mut plans = [(); 2].map(|()| net.fault_plan(Faults::none().with(FaultKind::Latency)));
        let [first, second] = &mut plans;
        let looking = async {
            for (at, round_trip) in [(1, 80), (5, 200), (7, 80), (10, 20)] {
                sleep_until_after(start, secs(at) + ms(100)).await;
                let (took, conn) = timed(hosts[0].dial("β:1")).await;
                drop(conn.unwrap());
                // The look-up takes 1 ms, and only the rest is on the link.
                assert_eq!(took, ms(1 + round_trip), "after {at} s");
            }
        };
        futures::join!(first.run_for(secs(60)), second.run_for(secs(60)), looking);
    });
    let expected = [
        "latency α β: 40ms",
        "latency α β: 100ms",
        "latency α β: undone, 40ms",
        "latency α β: undone, 10ms",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn plan_beside_manual_hold_pause_and_registry_undoes_exactly_its_own() {
    let tape = fault_tape(&[
        ("hold#1", 0, secs(9)),
        ("pause#1", 0, secs(9)),
        ("registry#1", 0, secs(9)),
        ("clock#1", 0, secs(9)),
        ("slow_node#1", 0, secs(9)),
    ]);
    let texts = fault_texts(tape, async |sim| {
        let net = Network::with("t", exact_config());
        let node = echo_node(&net, "α");
        let host = net.new_host("β").await.unwrap();
        sim.sleep(secs(1)).await;
        host.dial("α:1").await.unwrap();
        net.hold("β", "α");
        net.registry_down();
        node.set_poll_cost(ms(3));
        node.set_clock(ClockSkew::ahead(secs(7)));
        let faults = Faults::from([
            FaultKind::Hold,
            FaultKind::Registry,
            FaultKind::Clock,
            FaultKind::SlowNode,
        ]);
        net.fault_plan(faults).run_for(secs(60)).await;
        net.release("α", "β");
        net.registry_up();
    });
    let undone: Vec<_> = texts
        .iter()
        .filter(|text| ["undone", "release", "up"].iter().any(|word| text.contains(word)))
        .collect();
    let expected = [
        "clock α: undone, offset 7s, drift 0 ppm; the wall clock steps by 6.95s",
        "slow_node α: undone, 3ms a poll",
        "release α β",
        "registry up",
    ];
    assert_eq!(undone, expected, "{texts:#?}");
}

#[test]
fn end_of_a_healed_planned_partition_does_not_end_a_later_one() {
    let tape = fault_tape(&[("partition#1", 0, secs(7)), ("partition#2", 1, secs(9))]);
    run_on_tape(tape, async |sim| {
        let net = Network::with("t", exact_config());
        let hosts = three_listening_hosts(&net).await;
        let start = sim.now();
        let mut plan = net.fault_plan(Faults::none().with(FaultKind::Partition));
        let checking = async {
            sleep_until_after(start, secs(1)).await;
            net.heal();
            assert!(can_dial(&hosts[2], "α").await);
            for (at, reaches) in [(6, false), (8, false), (13, false), (15, true)] {
                sleep_until_after(start, secs(at)).await;
                assert_eq!(can_dial(&hosts[2], "β").await, reaches, "after {at} s");
            }
        };
        join(plan.run_for(secs(60)), checking).await;
    });
}

#[test]
fn quiet_gap_of_a_plan_ends_longer_faults() {
    let tape = fault_tape(&[("partition#1", 0, secs(9)), ("crash#1", 0, secs(9))]);
    let tape = tape.with("fault simt/plan quiet#1", 0, 3);
    run_on_tape(tape, async |sim| {
        let net = Network::with("t", exact_config());
        let hosts = three_listening_hosts(&net).await;
        let node = echo_node(&net, "δ");
        sim.sleep(secs(1)).await;
        let start = sim.now();
        let mut plan =
            net.fault_plan(Faults::none().with(FaultKind::Partition).with(FaultKind::Crash));
        let checking = async {
            sleep_until_after(start, secs(4)).await;
            assert!(!can_dial(&hosts[2], "α").await && !node.is_up());
            sleep_until_after(start, secs(5) + ms(100)).await;
            assert!(can_dial(&hosts[2], "α").await && node.is_up());
        };
        join(plan.run_for(secs(60)), checking).await;
        assert_eq!(plan.applied_faults().len(), 2, "{plan}");
    });
}

#[test]
fn plan_run_twice_draws_different_faults() {
    for seed in 0..4 {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        run.execute(async |sim| {
            let net = Network::with("t", exact_config());
            let _hosts = three_listening_hosts(&net).await;
            let mut plan = net.fault_plan(
                Faults::none()
                    .with(FaultKind::Partition)
                    .with(FaultKind::Registry)
                    .with(FaultKind::OneWay),
            );
            let start = sim.now();
            plan.run_for(secs(60)).await;
            let faults_since = |plan: &virtnet::simnet::FaultPlan, from: usize, start| {
                let done = plan.applied_faults()[from..].iter();
                done.map(|(at, what)| (*at - start, what.clone())).collect::<Vec<_>>()
            };
            let (first, middle) = (faults_since(&plan, 0, start), sim.now());
            plan.run_for(secs(60)).await;
            let second = faults_since(&plan, first.len(), middle);
            assert!(!first.is_empty() && !second.is_empty());
            assert_ne!(first, second);
        })
        .unwrap();
    }
}

#[test]
fn plan_restarts_no_node_while_max_down_is_reached() {
    let tape = fault_tape(&[
        ("crash#1", 0, secs(9)),
        ("restart#1", 1, secs(1)),
        ("restart#3", 1, secs(1)),
    ]);
    run_on_tape(tape, async |sim| {
        let net = Network::with("t", exact_config());
        let nodes = ["α", "β", "γ"].map(|name| echo_node(&net, name));
        sim.sleep(secs(1)).await;
        let mut plan = net
            .fault_plan(Faults::none().with(FaultKind::Crash).with(FaultKind::Restart).max_down(1));
        plan.run_for(secs(60)).await;
        let done: Vec<_> = plan.applied_faults().iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(done, ["crash α", "restart β"], "{plan}");
        drop(nodes);
    });
}

#[test]
fn node_that_has_not_booted_counts_as_down() {
    // The first is started again after 5 s, but is not there until the registry is.
    let tape =
        fault_tape(&[("crash#1", 0, secs(5)), ("crash#2", 1, secs(1)), ("crash#3", 1, secs(1))]);
    run_on_tape(tape, async |sim| {
        let net = Network::with("t", exact_config());
        let nodes = ["α", "β", "γ"].map(|name| echo_node(&net, name));
        sim.sleep(secs(1)).await;
        let mut plan = net.fault_plan(Faults::none().with(FaultKind::Crash).max_down(1));
        let start = sim.now();
        net.registry_down();
        let mending = async {
            sleep_until_after(start, secs(8)).await;
            net.registry_up();
        };
        join(plan.run_for(secs(60)), mending).await;
        let done: Vec<_> = plan.applied_faults().iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(done, ["crash α", "crash β"], "{plan}");
        assert_eq!(plan.applied_faults()[1].0, start + secs(10), "{plan}");
        drop(nodes);
    });
}

#[test]
fn queued_data_leaves_sooner_when_bandwidth_is_raised() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        let (other, far) = connect(&t.a, &t.lb).await;
        t.net.link("α", "β").bandwidth(100);
        let start = time::now();
        write_all(&t.ab, &[1; 1_000]).await.unwrap();
        write_all(&t.ab, &[2; 1_000]).await.unwrap();
        sleep_until_after(start, secs(5)).await;
        // Half of the first is out, and 1 500 bytes are not.
        t.net.link("α", "β").bandwidth(1_000);
        write_all(&other, &[3; 500]).await.unwrap();
        let reading = async {
            read_exact(&t.ba, 1_000).await;
            let first = time::now() - start;
            read_exact(&t.ba, 1_000).await;
            (first, time::now() - start)
        };
        let other = async {
            read_exact(&far, 500).await;
            time::now() - start
        };
        let result = join(reading, other).await;
        assert_eq!(result, ((ms(5_510), ms(6_510)), ms(7_010)));
    });
}

#[test]
fn queued_data_leaves_when_planned_bandwidth_fault_ends() {
    let tape = fault_tape(&[("bandwidth#1", 0, secs(3))]).with("fault simt/plan bandwidth#1", 5, 3);
    run_on_tape(tape, async |sim| {
        let t = connected_pair(exact_config()).await;
        let start = sim.now();
        let mut plan = t.net.fault_plan(Faults::none().with(FaultKind::Bandwidth));
        let talking = async {
            sim.sleep(ms(1)).await;
            // At 4 000 bytes a second this takes 15 s, of which 3 s have passed.
            write_all(&t.ab, &[1; 60_000]).await.unwrap();
            read_exact(&t.ba, 60_000).await;
            time::now() - start
        };
        let (_, took) = join(plan.run_for(secs(60)), talking).await;
        assert_eq!(took, secs(3) + ms(10));
    });
}

#[test]
fn crashed_node_that_is_powered_off_is_silent() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let node = echo_node(&net, "β");
        let a = net.new_host("α").await.unwrap();
        sim.sleep(ms(10)).await;
        let conn = a.dial("β:1").await.unwrap();
        net.partition(&["α"], &["β"]);
        node.crash();
        sim.sleep(secs(1)).await;
        node.power_off();
        node.power_off();
        net.heal();
        assert_eq!(*a.dial("β:1").await.unwrap_err().root(), Cause::TimedOut);
        assert_eq!(write(&conn, "?").await, Ok(1));
        assert_eq!(timed(read(&conn)).await, (secs(60), Err(Cause::TimedOut)));
        let counts = net.fault_stats().kind(FaultKind::PowerOff);
        assert_eq!((counts.applied, counts.effective), (1, 1));
        node.crash();
        assert_eq!(net.fault_stats().kind(FaultKind::Crash).applied, 1, "it is dead already");
        node.restart();
        sim.sleep(secs(2)).await;
        a.dial("β:1").await.unwrap();
    });
}

#[test]
fn crash_behind_a_hold_resets_connection_on_release() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let node = net.node("β", async |host| {
            let conn = host.listen(":1").await.unwrap().accept().await.unwrap();
            time::sleep(secs(1)).await;
            write_all(&conn, b"last words").await.unwrap();
            pending::<()>().await;
        });
        let a = net.new_host("α").await.unwrap();
        sim.sleep(ms(10)).await;
        let conn = a.dial("β:1").await.unwrap();
        net.hold("α", "β");
        sim.sleep(secs(2)).await;
        node.crash();
        assert!(sim.timeout(secs(20), read(&conn)).await.is_err());
        net.release("α", "β");
        assert_eq!(read(&conn).await, Ok("last words".into()));
        assert_eq!(timed(read(&conn)).await, (secs(0), Err(Cause::ConnReset)));
    });
}

#[test]
fn dial_awaiting_accept_fails_however_its_peer_becomes_unreachable() {
    for (death, took, expected) in [
        ("crash", ms(10), Cause::ConnRefused),
        ("power_off", secs(35), Cause::TimedOut),
        ("close", ms(10), Cause::ConnRefused),
        ("restart", ms(10), Cause::ConnRefused),
        ("partition", secs(35), Cause::TimedOut),
    ] {
        run_fifo(async move |sim| {
            let net = Network::with("t", exact_config().connect_timeout(secs(60)));
            let node = net.node("β", async |host| {
                let _listener = host.listen(":1").await.unwrap();
                pending::<()>().await;
            });
            let a = net.new_host("α").await.unwrap();
            sim.sleep(ms(10)).await;
            let dying = async {
                sim.sleep(secs(25)).await;
                match death {
                    "crash" => node.crash(),
                    "power_off" => node.power_off(),
                    "close" => node.close_host(),
                    "restart" => node.restart(),
                    _ => net.partition(&["α"], &["β"]),
                }
            };
            let (result, ()) = join(timed(a.dial("β:1")), dying).await;
            assert_eq!(*result.1.unwrap_err().root(), expected, "{death}");
            let late = result.0 - secs(25);
            assert!(late >= took || expected == Cause::TimedOut, "{death}: {late:?}");
            assert!(late <= took, "{death}: {late:?}");
        });
    }
}
