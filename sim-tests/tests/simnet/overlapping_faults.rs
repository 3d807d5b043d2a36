//! Faults that meet: of one plan, of a plan and a test, and of a link and those who use it.

use std::time::Duration;

use futures::future::{join, pending};
use virtnet::simnet::{ClockSkew, FaultKind, Faults, Network};
use virtnet::{Cause, Host, RecordKind, Run, Schedule, Sim, Tape, time};

use crate::simnet::{
    connect, echo_node, exact, fifo, ms, read, read_exact, secs, timed, two, until, write,
    write_all,
};

/// A tape on which a plan of a minute strikes: the family and number of each strike, what may be
/// hit, and how long it lasts.
fn strikes(strikes: &[(&str, u64, Duration)]) -> Tape {
    with_strikes(Tape::zero(), "plan", strikes)
}

/// Adds the strikes of another plan of a minute: `plan#1` is the second of its network.
fn with_strikes(mut tape: Tape, plan: &str, strikes: &[(&str, u64, Duration)]) -> Tape {
    for (strike, victim, lasts) in strikes {
        let family = strike.split('#').next().unwrap();
        let subject = format!("fault simt/{plan} {strike}");
        // The duration is drawn on top of an eighth of a slot, which has 5 s.
        let more = (*lasts - ms(625)).as_nanos() as u64;
        tape = tape.with(&format!("fault simt/{plan} {family}"), 1, 2).with(&subject, 0, 11);
        tape = tape.with(&subject, 2, more).with(&subject, 3, *victim);
    }
    tape
}

/// Runs a story on a tape, first come, first served.
#[track_caller]
fn on<T: 'static>(tape: Tape, story: impl AsyncFnOnce(Sim) -> T + 'static) -> T {
    let run = Run::new(7).schedule(Schedule::Fifo).tape(tape);
    run.execute(|sim| async move { story(sim).await }).unwrap()
}

/// Hosts α, β, γ, which all listen.
async fn three(net: &Network) -> Vec<Host> {
    let mut hosts = Vec::new();
    for name in ["α", "β", "γ"] {
        let host = net.new_host(name).await.unwrap();
        let listener = host.listen(":1").await.unwrap();
        virtnet::spawn(crate::simnet::serve(listener));
        hosts.push(host);
    }
    hosts
}

/// Whether one gets through to the other before long.
async fn meets(host: &Host, other: &str) -> bool {
    time::timeout(ms(100), host.dial(&format!("{other}:1"))).await.is_ok()
}

#[test]
fn of_two_partitions_of_a_plan_that_ends_first_which_was_to() {
    // α is cut off for 9 s from the beginning on, and β for 1 s after 5 s.
    let tape = strikes(&[("partition#1", 0, secs(9)), ("partition#2", 1, secs(1))]);
    on(tape, async |sim| {
        let net = Network::with("t", exact());
        let hosts = three(&net).await;
        let start = sim.now();
        let mut chaos = net.fault_plan(Faults::none().with(FaultKind::Partition));
        let looking = async {
            let told = [(1, false, true), (5, false, false), (7, false, true), (10, true, true)];
            for (at, first, second) in told {
                until(start, secs(at) + ms(100)).await;
                let seen = join(meets(&hosts[2], "α"), meets(&hosts[2], "β")).await;
                assert_eq!(seen, (first, second), "after {at} s");
            }
        };
        join(chaos.run_for(secs(60)), looking).await;
        assert_eq!(chaos.applied_faults().len(), 2, "{chaos}");
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
    let tape = strikes(&[("latency#1", 0, secs(9))]);
    let tape = with_strikes(tape, "plan#1", &[("latency#2", 0, secs(1))]);
    let tape = tape.with("fault simt/plan#1 latency#2", 5, 1);
    let texts = fault_texts(tape, async |sim| {
        let net = Network::with("t", exact());
        let hosts = three(&net).await;
        assert!(meets(&hosts[0], "β").await);
        let start = sim.now();
        let mut plans = [(); 2].map(|()| net.fault_plan(Faults::none().with(FaultKind::Latency)));
        let [first, second] = &mut plans;
        let looking = async {
            for (at, round_trip) in [(1, 80), (5, 200), (7, 80), (10, 20)] {
                until(start, secs(at) + ms(100)).await;
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
    let tape = strikes(&[
        ("hold#1", 0, secs(9)),
        ("pause#1", 0, secs(9)),
        ("registry#1", 0, secs(9)),
        ("clock#1", 0, secs(9)),
        ("slow_node#1", 0, secs(9)),
    ]);
    let texts = fault_texts(tape, async |sim| {
        let net = Network::with("t", exact());
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
fn a_partition_that_a_test_has_healed_ends_no_later_one_of_the_plan() {
    let tape = strikes(&[("partition#1", 0, secs(7)), ("partition#2", 1, secs(9))]);
    on(tape, async |sim| {
        let net = Network::with("t", exact());
        let hosts = three(&net).await;
        let start = sim.now();
        let mut chaos = net.fault_plan(Faults::none().with(FaultKind::Partition));
        let looking = async {
            until(start, secs(1)).await;
            net.heal();
            assert!(meets(&hosts[2], "α").await);
            for (at, there) in [(6, false), (8, false), (13, false), (15, true)] {
                until(start, secs(at)).await;
                assert_eq!(meets(&hosts[2], "β").await, there, "after {at} s");
            }
        };
        join(chaos.run_for(secs(60)), looking).await;
    });
}

#[test]
fn a_quiet_gap_is_quiet_whatever_was_to_last_longer() {
    let tape = strikes(&[("partition#1", 0, secs(9)), ("crash#1", 0, secs(9))]);
    let tape = tape.with("fault simt/plan quiet#1", 0, 3);
    on(tape, async |sim| {
        let net = Network::with("t", exact());
        let hosts = three(&net).await;
        let node = echo_node(&net, "δ");
        sim.sleep(secs(1)).await;
        let start = sim.now();
        let mut chaos =
            net.fault_plan(Faults::none().with(FaultKind::Partition).with(FaultKind::Crash));
        let looking = async {
            until(start, secs(4)).await;
            assert!(!meets(&hosts[2], "α").await && !node.is_up());
            until(start, secs(5) + ms(100)).await;
            assert!(meets(&hosts[2], "α").await && node.is_up());
        };
        join(chaos.run_for(secs(60)), looking).await;
        assert_eq!(chaos.applied_faults().len(), 2, "{chaos}");
    });
}

#[test]
fn a_plan_that_runs_again_does_other_things() {
    for seed in 0..4 {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        run.execute(async |sim| {
            let net = Network::with("t", exact());
            let _hosts = three(&net).await;
            let mut chaos = net.fault_plan(
                Faults::none()
                    .with(FaultKind::Partition)
                    .with(FaultKind::Registry)
                    .with(FaultKind::OneWay),
            );
            let start = sim.now();
            chaos.run_for(secs(60)).await;
            let told = |chaos: &virtnet::simnet::FaultPlan, from: usize, start| {
                let done = chaos.applied_faults()[from..].iter();
                done.map(|(at, what)| (*at - start, what.clone())).collect::<Vec<_>>()
            };
            let (first, middle) = (told(&chaos, 0, start), sim.now());
            chaos.run_for(secs(60)).await;
            let second = told(&chaos, first.len(), middle);
            assert!(!first.is_empty() && !second.is_empty());
            assert_ne!(first, second);
        })
        .unwrap();
    }
}

#[test]
fn a_plan_restarts_nobody_while_as_many_are_down_as_may_be() {
    let tape =
        strikes(&[("crash#1", 0, secs(9)), ("restart#1", 1, secs(1)), ("restart#3", 1, secs(1))]);
    on(tape, async |sim| {
        let net = Network::with("t", exact());
        let nodes = ["α", "β", "γ"].map(|name| echo_node(&net, name));
        sim.sleep(secs(1)).await;
        let mut chaos = net
            .fault_plan(Faults::none().with(FaultKind::Crash).with(FaultKind::Restart).max_down(1));
        chaos.run_for(secs(60)).await;
        let done: Vec<_> = chaos.applied_faults().iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(done, ["crash α", "restart β"], "{chaos}");
        drop(nodes);
    });
}

#[test]
fn a_node_that_has_yet_to_boot_is_down() {
    // The first is started again after 5 s, but is not there until the registry is.
    let tape =
        strikes(&[("crash#1", 0, secs(5)), ("crash#2", 1, secs(1)), ("crash#3", 1, secs(1))]);
    on(tape, async |sim| {
        let net = Network::with("t", exact());
        let nodes = ["α", "β", "γ"].map(|name| echo_node(&net, name));
        sim.sleep(secs(1)).await;
        let mut chaos = net.fault_plan(Faults::none().with(FaultKind::Crash).max_down(1));
        let start = sim.now();
        net.registry_down();
        let mending = async {
            until(start, secs(8)).await;
            net.registry_up();
        };
        join(chaos.run_for(secs(60)), mending).await;
        let done: Vec<_> = chaos.applied_faults().iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(done, ["crash α", "crash β"], "{chaos}");
        assert_eq!(chaos.applied_faults()[1].0, start + secs(10), "{chaos}");
        drop(nodes);
    });
}

#[test]
fn what_queues_for_a_slow_link_is_out_sooner_when_it_is_made_fast() {
    fifo(async |_| {
        let t = two(exact()).await;
        let (other, far) = connect(&t.a, &t.lb).await;
        t.net.link("α", "β").bandwidth(100);
        let start = time::now();
        write_all(&t.ab, &[1; 1_000]).await.unwrap();
        write_all(&t.ab, &[2; 1_000]).await.unwrap();
        until(start, secs(5)).await;
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
        let told = join(reading, other).await;
        assert_eq!(told, ((ms(5_510), ms(6_510)), ms(7_010)));
    });
}

#[test]
fn what_queues_for_a_link_that_a_plan_made_slow_is_out_when_the_plan_is_over() {
    let tape = strikes(&[("bandwidth#1", 0, secs(3))]).with("fault simt/plan bandwidth#1", 5, 3);
    on(tape, async |sim| {
        let t = two(exact()).await;
        let start = sim.now();
        let mut chaos = t.net.fault_plan(Faults::none().with(FaultKind::Bandwidth));
        let talking = async {
            sim.sleep(ms(1)).await;
            // At 4 000 bytes a second this takes 15 s, of which 3 s have passed.
            write_all(&t.ab, &[1; 60_000]).await.unwrap();
            read_exact(&t.ba, 60_000).await;
            time::now() - start
        };
        let (_, took) = join(chaos.run_for(secs(60)), talking).await;
        assert_eq!(took, secs(3) + ms(10));
    });
}

#[test]
fn a_node_that_loses_its_power_after_a_crash_is_silent() {
    fifo(async |sim| {
        let net = Network::with("t", exact());
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
fn a_crash_behind_a_hold_is_a_reset_when_that_is_released() {
    fifo(async |sim| {
        let net = Network::with("t", exact());
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
fn a_dial_that_waits_to_be_accepted_is_told_of_every_death() {
    for (death, took, expected) in [
        ("crash", ms(10), Cause::ConnRefused),
        ("power_off", secs(35), Cause::TimedOut),
        ("close", ms(10), Cause::ConnRefused),
        ("restart", ms(10), Cause::ConnRefused),
        ("partition", secs(35), Cause::TimedOut),
    ] {
        fifo(async move |sim| {
            let net = Network::with("t", exact().connect_timeout(secs(60)));
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
            let (told, ()) = join(timed(a.dial("β:1")), dying).await;
            assert_eq!(*told.1.unwrap_err().root(), expected, "{death}");
            let late = told.0 - secs(25);
            assert!(late >= took || expected == Cause::TimedOut, "{death}: {late:?}");
            assert!(late <= took, "{death}: {late:?}");
        });
    }
}
