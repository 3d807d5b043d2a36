//! Nodes die, come back, stop and go on; and a crash is a crash.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures::future::{join, pending};
use futures::{AsyncReadExt, FutureExt};
use virtnet::simnet::{ClockSkew, FaultKind, Latency, Network, Node};
use virtnet::{Cause, Conn, Ending, Host, Listener, Outcome, Run, Schedule, Sim, time};

use crate::simnet::{
    ConnectedPair, connect, connected_pair, echo, exact_config, ms, read, run_fifo, secs,
    sleep_until_after, timed, write, write_all,
};

/// A host α and a node β that echoes, and a connection to it.
async fn echo_node_and_client(sim: &Sim) -> (Network, Node, Host, Conn) {
    let net = Network::with("t", exact_config());
    let node = net.node("β", echo);
    let a = net.new_host("α").await.unwrap();
    sim.sleep(ms(10)).await;
    let conn = a.dial("β:1").await.unwrap();
    (net, node, a, conn)
}

async fn assert_echo(conn: &Conn) {
    write_all(conn, b"echo").await.unwrap();
    assert_eq!(read(conn).await, Ok("echo".into()));
}

#[test]
fn crash_resets_connections_and_refuses_dials() {
    run_fifo(async |sim| {
        let (net, node, a, conn) = echo_node_and_client(&sim).await;
        assert_echo(&conn).await;
        node.crash();
        node.crash();
        assert!(!node.is_up());
        assert_eq!(timed(read(&conn)).await, (ms(10), Err(Cause::ConnReset)));
        assert!(node.host().is_none());
        let (took, error) = timed(a.dial("β:1")).await;
        assert_eq!((took, error.unwrap_err().root()), (ms(21), &Cause::ConnRefused));
        let counts = net.fault_stats().kind(FaultKind::Crash);
        assert_eq!((counts.requested, counts.applied, counts.effective), (2, 1, 1));
    });
}

#[test]
fn powered_off_node_is_silent_until_restart() {
    run_fifo(async |sim| {
        let (net, node, a, conn) = echo_node_and_client(&sim).await;
        let idle = a.dial("β:1").await.unwrap();
        node.power_off();
        let start = time::now();
        assert_eq!(write(&conn, "?").await, Ok(1));
        let (dialed, result) = join(a.dial("β:1"), read(&conn)).await;
        assert_eq!(*dialed.unwrap_err().root(), Cause::TimedOut);
        assert_eq!((time::now() - start, result), (secs(60), Err(Cause::TimedOut)));
        assert!(sim.timeout(secs(1_000), read(&idle)).await.is_err(), "nobody tells an idle one");
        node.restart();
        sim.sleep(ms(100)).await;
        assert_eq!(write(&idle, "?").await, Ok(1));
        assert_eq!(timed(read(&idle)).await, (ms(20), Err(Cause::ConnReset)));
        assert_eq!(net.fault_stats().kind(FaultKind::PowerOff).effective, 1);
    });
}

#[test]
fn blocked_writer_fails_however_its_peer_dies() {
    for death in ["crash", "power_off", "power_off, restart", "cut, crash, heal", "cut, off, on"] {
        run_fifo(async move |sim| {
            let net = Network::with("t", exact_config().window(4));
            let node = net.node("β", async |host| {
                let listener = host.listen(":1").await.unwrap();
                let _conn = listener.accept().await;
                pending::<()>().await;
            });
            let a = net.new_host("α").await.unwrap();
            sim.sleep(ms(10)).await;
            let conn = a.dial("β:1").await.unwrap();
            assert_eq!(write(&conn, "full").await, Ok(4));
            sim.sleep(secs(1)).await;
            let dying = async {
                sim.sleep(ms(10)).await;
                if death.starts_with("cut") {
                    net.partition(&["α"], &["β"]);
                }
                sim.sleep(secs(1)).await;
                if death.contains("crash") {
                    node.crash();
                } else {
                    node.power_off();
                }
                sim.sleep(secs(3)).await;
                if death.contains("restart") || death.ends_with("on") {
                    node.restart();
                }
                net.heal();
            };
            let (result, ()) = join(sim.timeout(secs(200), write(&conn, "more")), dying).await;
            let expected = if death == "power_off" { Cause::TimedOut } else { Cause::ConnReset };
            assert_eq!(result, Ok(Err(expected)), "{death}");
        });
    }
}

#[test]
fn lost_reset_of_crashed_node_is_sent_again_in_reply_to_data() {
    run_fifo(async |sim| {
        let (net, node, _, conn) = echo_node_and_client(&sim).await;
        net.partition(&["α"], &["β"]);
        node.crash();
        sim.sleep(secs(2)).await;
        net.heal();
        sim.sleep(secs(2)).await;
        assert_eq!(write(&conn, "anybody?").await, Ok(8));
        assert_eq!(timed(read(&conn)).await, (ms(20), Err(Cause::ConnReset)));
    });
}

#[test]
fn blocked_writer_after_lost_reset_fails_within_a_second() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config().window(4));
        let node = net.node("β", async |host| {
            let listener = host.listen(":1").await.unwrap();
            let conn = listener.accept().await.unwrap();
            write_all(&conn, b"lost").await.unwrap();
            pending::<()>().await;
        });
        let a = net.new_host("α").await.unwrap();
        sim.sleep(ms(10)).await;
        let conn = a.dial("β:1").await.unwrap();
        net.partition_one_way(&["β"], &["α"]);
        sim.sleep(secs(5)).await;
        node.restart();
        sim.sleep(secs(1)).await;
        net.heal();
        assert_eq!(write(&conn, "full").await, Ok(4));
        let result = sim.timeout(secs(1), write(&conn, "more")).await;
        assert_eq!(result, Ok(Err(Cause::ConnReset)));
    });
}

#[test]
fn writer_to_closed_peer_breaks_after_its_reset_was_lost_and_it_crashed() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config().window(8));
        let node = net.node("β", async |host| {
            let conn = host.listen(":1").await.unwrap().accept().await.unwrap();
            conn.close().unwrap();
            pending::<()>().await;
        });
        let a = net.new_host("α").await.unwrap();
        sim.sleep(ms(10)).await;
        let conn = a.dial("β:1").await.unwrap();
        assert_eq!(read(&conn).await, Ok(String::new()));
        assert_eq!(write(&conn, "12345678").await, Ok(8));
        net.partition_one_way(&["β"], &["α"]);
        // The reset for that is lost, and waits to be sent again.
        sim.sleep(ms(100)).await;
        node.crash();
        sim.sleep(ms(1)).await;
        net.heal();
        let result = sim.timeout(secs(100), write(&conn, "more")).await;
        assert_eq!(result, Ok(Err(Cause::BrokenPipe)));
    });
}

#[test]
fn blocked_writer_on_lossy_link_fails_when_peer_crashes() {
    for seed in 0..20 {
        let run = Run::new(seed).schedule(Schedule::Fifo);
        run.execute(async |sim| {
            let net = Network::with("t", exact_config().window(4));
            let node = net.node("β", async |host| {
                let listener = host.listen(":1").await.unwrap();
                let conn = listener.accept().await.unwrap();
                time::sleep(secs(1)).await;
                write_all(&conn, b"lost").await.unwrap();
                pending::<()>().await;
            });
            let a = net.new_host("α").await.unwrap();
            sim.sleep(ms(10)).await;
            let conn = a.dial("β:1").await.unwrap();
            assert_eq!(write(&conn, "full").await, Ok(4));
            sim.sleep(ms(500)).await;
            net.link("α", "β").loss(0.7);
            let dying = async {
                sim.sleep(ms(501)).await;
                node.crash();
            };
            let (result, ()) = join(sim.timeout(secs(100), write(&conn, "more")), dying).await;
            assert_eq!(result, Ok(Err(Cause::ConnReset)));
        })
        .unwrap();
    }
}

#[test]
fn idle_keep_alive_connection_is_reset_when_its_peer_is_gone() {
    for death in ["crash", "time out"] {
        run_fifo(async move |sim| {
            let t = connected_pair(exact_config().keep_alive(Some(secs(5)))).await;
            let node = t.net.node("γ", echo);
            sim.sleep(ms(10)).await;
            let (idle, timed_out) = if death == "crash" {
                (t.a.dial("γ:1").await.unwrap(), None)
            } else {
                (t.ab.clone(), Some(t.ba.clone()))
            };
            t.net.partition(&["α"], &["β", "γ"]);
            if let Some(timed_out) = &timed_out {
                assert_eq!(write(timed_out, "x").await, Ok(1));
                // So long as this: its other end has yet to give up.
                assert_eq!(read(timed_out).await, Err(Cause::TimedOut));
            } else {
                node.crash();
                sim.sleep(secs(3)).await;
            }
            t.net.heal();
            let result = sim.timeout(secs(100), read(&idle)).await;
            assert_eq!(result, Ok(Err(Cause::ConnReset)), "{death}");
        });
    }
}

#[test]
fn restarted_node_resets_data_sent_to_its_previous_incarnation() {
    run_fifo(async |sim| {
        let (net, node, a, conn) = echo_node_and_client(&sim).await;
        let old = node.host().unwrap();
        net.partition(&["α"], &["β"]);
        assert_eq!(write(&conn, "meant for the first life").await, Ok(24));
        node.power_off();
        sim.sleep(ms(1)).await;
        node.restart();
        assert!(node.is_up());
        sim.sleep(ms(50)).await;
        let new = node.host().unwrap();
        assert!(new != old && old.is_closed() && !new.is_closed());
        assert_eq!(net.region("").host("β"), Some(new));
        assert_eq!(*old.dial("α:1").await.unwrap_err().root(), Cause::HostDown);
        net.heal();
        assert_eq!(read(&conn).await, Err(Cause::ConnReset));
        sim.sleep(secs(2)).await;
        let conn = a.dial("β:1").await.unwrap();
        assert_eq!(conn.peer_addr().port(), 2, "ports begin at 1 again");
        assert_echo(&conn).await;
        assert_eq!(net.fault_stats().kind(FaultKind::Restart).effective, 1);
    });
}

#[test]
fn close_host_ends_streams_in_order_and_keeps_tasks_running() {
    run_fifo(async |sim| {
        let ticks = Rc::new(Cell::new(0));
        let net = Network::with("t", exact_config());
        let node = net.node("β", {
            let ticks = ticks.clone();
            move |host| {
                let ticks = ticks.clone();
                virtnet::spawn(echo(host));
                async move {
                    loop {
                        time::sleep(secs(1)).await;
                        ticks.set(ticks.get() + 1);
                    }
                }
            }
        });
        let a = net.new_host("α").await.unwrap();
        sim.sleep(ms(10)).await;
        let conn = a.dial("β:1").await.unwrap();
        assert_echo(&conn).await;
        let ticks_before = ticks.get();
        node.close_host();
        assert!(node.is_up());
        assert_eq!(timed(read(&conn)).await, (ms(10), Ok(String::new())));
        assert_eq!(*a.dial("β:1").await.unwrap_err().root(), Cause::ConnRefused);
        sim.sleep(secs(10)).await;
        assert!(ticks.get() >= ticks_before + 10);
        assert_eq!(net.fault_stats().kind(FaultKind::Close).effective, 1);
        node.restart();
        sim.sleep(secs(2)).await;
        assert_echo(&a.dial("β:1").await.unwrap()).await;
    });
}

#[test]
fn paused_node_acknowledges_data_and_reads_it_after_resume() {
    run_fifo(async |sim| {
        let (net, node, _, conn) = echo_node_and_client(&sim).await;
        node.pause();
        let start = time::now();
        assert_eq!(write(&conn, "echo").await, Ok(4));
        let (result, ()) = join(timed(read(&conn)), async {
            sleep_until_after(start, secs(300)).await;
            node.resume();
        })
        .await;
        assert_eq!(
            result,
            (secs(300) + ms(10), Ok("echo".into())),
            "it was acknowledged: no timeout"
        );
        assert_eq!(net.fault_stats().kind(FaultKind::Pause).effective, 1);
    });
}

#[test]
fn dial_of_node_paused_during_lookup_sends_syn_after_resume() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let accepted_at = Rc::new(Cell::new(None));
        let set_accepted_at = accepted_at.clone();
        net.node("β", move |host| {
            let set_accepted_at = set_accepted_at.clone();
            async move {
                let listener = host.listen(":1").await.unwrap();
                let _conn = listener.accept().await.unwrap();
                set_accepted_at.set(Some(time::now()));
                pending::<()>().await;
            }
        });
        let node = net.node("α", async |host: Host| {
            time::sleep_until(virtnet::Instant::ZERO + ms(100)).await;
            let _conn = host.dial("β:1").await.unwrap();
            pending::<()>().await;
        });
        let dialed_at = virtnet::Instant::ZERO + ms(100);
        sim.sleep_until(dialed_at + Duration::from_micros(500)).await;
        node.pause();
        sim.sleep(secs(1)).await;
        assert_eq!(
            (accepted_at.get(), net.fault_stats().kind(FaultKind::Pause).effective),
            (None, 1)
        );
        let resumed_at = sim.now();
        node.resume();
        sim.sleep(secs(1)).await;
        assert_eq!(accepted_at.get(), Some(resumed_at + ms(10)));
    });
}

#[test]
fn pause_right_after_restart_applies_to_the_new_incarnation() {
    run_fifo(async |sim| {
        let (_net, node, a, _conn) = echo_node_and_client(&sim).await;
        node.restart();
        node.pause();
        sim.sleep(secs(5)).await;
        assert!(a.dial("β:1").await.is_err(), "it runs");
        node.resume();
        sim.sleep(secs(2)).await;
        assert_echo(&a.dial("β:1").await.unwrap()).await;
        node.restart();
        node.pause();
        node.resume();
        sim.sleep(secs(2)).await;
        assert_echo(&a.dial("β:1").await.unwrap()).await;
    });
}

#[test]
fn pause_of_crashed_node_does_not_outlive_its_restart() {
    for paused_when_dead in [false, true] {
        run_fifo(async move |sim| {
            let (net, node, a, _conn) = echo_node_and_client(&sim).await;
            if !paused_when_dead {
                node.pause();
                sim.sleep(ms(10)).await;
            }
            node.crash();
            sim.sleep(ms(10)).await;
            if paused_when_dead {
                node.pause();
                sim.sleep(ms(10)).await;
            }
            node.restart();
            sim.sleep(secs(2)).await;
            assert!(net.netstat("β").starts_with("β is up"), "{}", net.netstat("β"));
            let conn = a.dial("β:1").await.unwrap();
            assert_echo(&conn).await;
            node.pause();
            assert_eq!(write(&conn, "echo").await, Ok(4));
            assert!(sim.timeout(secs(9), read(&conn)).await.is_err(), "it can be paused again");
        });
    }
}

#[test]
fn clock_drift_scales_sleeps_and_clock_offset_moves_only_the_wall_clock() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let node = net.node("β", {
            let seen = seen.clone();
            move |_| {
                let seen = seen.clone();
                async move {
                    loop {
                        let start = (time::now(), Sim::current().system_time());
                        time::sleep(secs(10)).await;
                        let elapsed = time::now() - start.0;
                        let wall = Sim::current().system_time().duration_since(start.1).unwrap();
                        seen.borrow_mut().push((elapsed, wall));
                    }
                }
            }
        });
        sim.sleep(ms(1)).await;
        let start = sim.now();
        sim.sleep(secs(1)).await;
        node.set_clock(ClockSkew::none().drift_ppm(250_000));
        sleep_until_after(start, secs(10)).await;
        assert_eq!(seen.take().len(), 1, "a sleep that had begun keeps its instant");
        sleep_until_after(start, secs(18) - Duration::from_nanos(1)).await;
        assert_eq!(seen.take(), []);
        sim.sleep(Duration::from_nanos(2)).await;
        assert_eq!(seen.take(), [(secs(10), secs(10))], "8 s of true time are 10 of its own");
        node.set_clock(ClockSkew::ahead(Duration::from_secs(60)));
        sleep_until_after(start, secs(26)).await;
        // The wall clock had gained 4.25 s, and is a minute ahead of the true one instead.
        assert_eq!(seen.take(), [(secs(8), secs(68) - ms(4_250))]);
        assert_eq!(net.fault_stats().kind(FaultKind::Clock).effective, 2);
        node.set_clock(ClockSkew::none());
        assert_eq!(sim.now() - start, secs(26), "the true clock is as ever");
    });
}

#[test]
fn corrected_clock_fixes_wall_time_and_never_runs_backwards() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let node = net.node("β", async |_| pending::<()>().await);
        let clocks = async || {
            let result = node.spawn(async { (time::now(), Sim::current().system_time()) }).await;
            let (local, wall) = result.unwrap();
            let true_wall = sim.system_time();
            let ahead = wall.duration_since(true_wall).unwrap_or_else(|error| error.duration());
            (local - sim.now(), sim.now() - local, ahead)
        };
        sim.sleep(secs(1)).await;
        node.set_clock(ClockSkew::behind(Duration::from_secs(7)).drift_ppm(250_000));
        sim.sleep(secs(8)).await;
        assert_eq!(clocks().await, (secs(2), secs(0), secs(5)), "7 s behind, and 2 gained");
        node.set_clock(ClockSkew::behind(Duration::from_secs(7)).drift_ppm(250_000));
        assert_eq!(clocks().await, (secs(2), secs(0), secs(7)), "an offset is from the true time");
        node.set_clock(ClockSkew::none());
        assert_eq!(clocks().await, (secs(2), secs(0), secs(0)), "on the wall it is right at once");
        sim.sleep(secs(100)).await;
        assert_eq!(clocks().await, (secs(2), secs(0), secs(0)), "and stays so");
        node.set_clock(ClockSkew::none().drift_ppm(-500_000));
        sim.sleep(secs(10)).await;
        node.set_clock(ClockSkew::none());
        assert_eq!(clocks().await, (secs(0), secs(3), secs(0)), "it never runs backwards");
    });
}

#[test]
fn clock_skew_is_effective_only_when_the_skewed_clock_is_read() {
    run_fifo(async |sim| {
        let (net, node, _, conn) = echo_node_and_client(&sim).await;
        let effective = |family: &str| net.fault_stats().kind(family.parse().unwrap()).effective;
        node.set_clock(ClockSkew::ahead(Duration::from_secs(60)));
        node.set_poll_cost(ms(5));
        sim.sleep(secs(1)).await;
        assert_echo(&conn).await;
        assert_eq!(
            (effective("clock"), effective("slow_node")),
            (0, 0),
            "it is polled, and no more"
        );
        node.set_poll_cost(Duration::ZERO);
        let run_on_node = async |read: fn(Sim)| node.spawn(async move { read(sim) }).await.unwrap();
        run_on_node(|sim| {
            drop((Sim::try_current(), sim.rng(), sim.yield_now(), time::yield_now()));
        })
        .await;
        run_on_node(|sim| drop((sim.now(), time::now(), sim.sleep(ms(1))))).await;
        assert_eq!(effective("clock"), 0, "nobody has looked at the clock on the wall");
        run_on_node(|sim| assert!(sim.system_time() != std::time::SystemTime::UNIX_EPOCH)).await;
        assert_eq!(effective("clock"), 1);
        // Each way to read the other one, too, if that is wrong.
        let readers: [fn(Sim); 4] = [
            |sim| _ = sim.now(),
            |_| _ = time::now(),
            |sim| drop(sim.sleep(ms(1))),
            |_| _ = time::now().elapsed(),
        ];
        for (previous_count, reader) in (1..).zip(readers) {
            node.set_clock(ClockSkew::none().drift_ppm(-500_000));
            sim.sleep(secs(1)).await;
            assert_eq!(effective("clock"), previous_count);
            run_on_node(reader).await;
            run_on_node(reader).await;
            assert_eq!(effective("clock"), previous_count + 1);
        }
    });
}

#[test]
fn slow_node_polls_its_tasks_one_after_another() {
    run_fifo(async |sim| {
        let (net, node, a, conn) = echo_node_and_client(&sim).await;
        assert_echo(&conn).await;
        let other = a.dial("β:1").await.unwrap();
        sim.sleep(secs(1)).await;
        node.set_poll_cost(ms(500));
        write_all(&conn, b"x").await.unwrap();
        write_all(&other, b"y").await.unwrap();
        let (one, two) = join(timed(read(&conn)), timed(read(&other))).await;
        assert_eq!((one.0, two.0), (ms(20), ms(520)));
        assert_eq!(net.fault_stats().kind(FaultKind::SlowNode).effective, 1);
        node.set_poll_cost(Duration::ZERO);
        sim.sleep(secs(1)).await;
        write_all(&conn, b"x").await.unwrap();
        assert_eq!(timed(read(&conn)).await.0, ms(20));
    });
}

#[test]
fn restarted_node_does_not_inherit_poll_cost_backlog() {
    run_fifo(async |sim| {
        let (_, node, a, conn) = echo_node_and_client(&sim).await;
        node.set_poll_cost(secs(500));
        write_all(&conn, b"x").await.unwrap();
        sim.sleep(secs(1)).await;
        node.set_poll_cost(Duration::ZERO);
        node.restart();
        sim.sleep(secs(2)).await;
        assert_echo(&a.dial("β:1").await.unwrap()).await;
    });
}

/// Does something when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn destructors_run_by_a_crash_have_no_effect_outside() {
    let run = Run::new(1).schedule(Schedule::Fifo);
    let outcome = run.execute(async |sim| {
        let ConnectedPair { net, a, b, lb, .. } = connected_pair(exact_config()).await;
        let spawned = Rc::new(Cell::new(false));
        let other = net.node("δ", echo);
        let (other_node, ran, world) = (other.clone(), spawned.clone(), net.clone());
        let node = net.node("γ", move |host: Host| {
            let (other, ran, world) = (other_node.clone(), ran.clone(), world.clone());
            async move {
                let conn = host.dial("β:1").await.unwrap();
                let _on_drop = OnDrop(move || {
                    let _ = futures::executor::block_on(async {
                        futures::poll!(Box::pin(write(&conn, "boo")))
                    });
                    let _ = conn.close();
                    drop(futures::executor::block_on(async {
                        futures::poll!(Box::pin(host.dial("α:1")))
                    }));
                    let ran = ran.clone();
                    virtnet::spawn(async move { ran.set(true) });
                    other.crash();
                    world.partition(&["α"], &["β"]);
                    world.registry_down();
                    panic!("a destructor that panics");
                });
                pending::<()>().await;
            }
        });
        let accepted = lb.accept().await.unwrap();
        sim.sleep(ms(50)).await;
        node.crash();
        assert_eq!(read(&accepted).await, Err(Cause::ConnReset), "no byte and no FIN");
        sim.sleep(secs(100)).await;
        assert!(!spawned.get() && other.is_up());
        assert!(!net.netstat("α").contains("γ"), "{}", net.netstat("α"));
        connect(&a, &lb).await;
        assert_eq!(net.fault_stats().kind(FaultKind::Partition).applied, 0);
        assert_eq!(net.fault_stats().kind(FaultKind::Crash).applied, 1);
        drop(b);
    });
    assert_eq!(outcome.caught_panics.len(), 1, "{:?}", outcome.caught_panics);
    let caught = outcome.caught_panics[0].to_string();
    assert!(caught.contains("node/γ") && caught.contains("a destructor that panics"), "{caught}");
    outcome.unwrap();
}

#[test]
fn dial_of_node_that_dies_leaves_no_live_connection() {
    for (death, accepts_at) in [("crash", 0), ("power_off", 0), ("crash", 100), ("power_off", 100)]
    {
        for dies_at in 1..25 {
            run_fifo(async move |sim| {
                let net = Network::with("t", exact_config());
                let b = net.new_host("β").await.unwrap();
                let listener = b.listen("").await.unwrap();
                let start = sim.now();
                let node = net.node("γ", async |host: Host| {
                    let _conn = host.dial("β:1").await;
                    pending::<()>().await;
                });
                sleep_until_after(start, ms(dies_at)).await;
                if death == "crash" {
                    node.crash();
                } else {
                    node.power_off();
                }
                sleep_until_after(start, ms(accepts_at)).await;
                let accepted = sim.timeout(secs(50), listener.accept()).await;
                if let Ok(conn) = accepted {
                    let conn = conn.unwrap();
                    let result = sim.timeout(secs(30), read(&conn)).await;
                    let expected =
                        if death == "crash" { Ok(Err(Cause::ConnReset)) } else { result.clone() };
                    assert_eq!(result, expected, "{death} at {dies_at} ms");
                    if death == "power_off" {
                        assert!(
                            result.is_err(),
                            "a sign from the dead at {dies_at} ms: {result:?}"
                        );
                        assert_eq!(write(&conn, "?").await, Ok(1));
                        let result = sim.timeout(secs(90), read(&conn)).await;
                        assert_eq!(result, Ok(Err(Cause::TimedOut)), "dead at {dies_at} ms");
                    }
                }
            });
        }
    }
}

#[test]
fn crashed_node_leaves_no_timer_behind() {
    let run = Run::new(1).schedule(Schedule::Fifo);
    let outcome: Outcome<()> = run.execute(async |sim| {
        let net = Network::with("t", exact_config());
        let node = net.node("β", async |host| {
            virtnet::spawn(async move { host.dial("β:7").await });
            time::sleep(secs(1_000)).await;
        });
        sim.sleep(ms(5)).await;
        node.spawn(async { time::sleep(secs(2_000)).await });
        node.crash();
        pending::<()>().await;
    });
    assert!(matches!(&outcome.ending, Ending::Deadlock(stall) if stall.tasks.len() == 1));
    assert_eq!(outcome.elapsed, ms(5), "{outcome}");
}

#[test]
fn node_crashes_and_restarts_itself_in_one_poll() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let (own_node, starts) = (Rc::new(RefCell::new(None::<Node>)), Rc::new(Cell::new(0)));
        let node = net.node("β", {
            let (own_node, starts) = (own_node.clone(), starts.clone());
            move |host: Host| {
                let (own_node, starts) = (own_node.clone(), starts.clone());
                async move {
                    starts.set(starts.get() + 1);
                    let listener: Listener = host.listen(":1").await.unwrap();
                    if starts.get() == 1 {
                        time::sleep(secs(1)).await;
                        let node = own_node.borrow().clone().unwrap();
                        node.crash();
                        node.restart();
                        assert!(node.is_up());
                        // It dies as soon as this poll returns.
                        pending::<()>().await;
                    }
                    listener.accept().await.unwrap();
                }
            }
        });
        *own_node.borrow_mut() = Some(node.clone());
        sim.sleep(secs(3)).await;
        assert_eq!((starts.get(), node.is_up()), (2, true));
        net.new_host("α").await.unwrap().dial("β:1").await.unwrap();
        // Twice over, and while it boots.
        node.restart();
        node.crash();
        node.restart();
        sim.sleep(Duration::from_micros(500)).await;
        node.restart();
        sim.sleep(secs(2)).await;
        assert_eq!(starts.get(), 3, "lives that ended before they had a host saw no program");
        assert_eq!(node.host().map(|host| host.name().to_string()), Some("β".into()));
        own_node.take();
    });
}

#[test]
fn task_spawned_in_a_node_through_any_sim_handle_dies_with_the_node() {
    run_fifo(async |sim| {
        let net = Network::with("t", exact_config());
        let ticks = Rc::new(Cell::new(0));
        let node = net.node("β", {
            let ticks = ticks.clone();
            move |_| {
                let (ticks, main_sim) = (ticks.clone(), sim);
                async move {
                    main_sim.spawn(async move {
                        loop {
                            main_sim.sleep(secs(1)).await;
                            ticks.set(ticks.get() + 1);
                        }
                    });
                }
            }
        });
        time::sleep(secs(10)).await;
        let spawned = node.spawn(pending::<()>());
        assert!(ticks.get() >= 9 && node.is_up(), "one that returns leaves its host up");
        node.crash();
        time::sleep(ms(1)).await;
        let ticks_before = ticks.get();
        assert!(spawned.await.is_err());
        assert!(node.spawn(async {}).await.is_err(), "a dead node runs nothing");
        time::sleep(secs(10)).await;
        assert_eq!(ticks.get(), ticks_before);
    });
}

#[test]
fn node_program_that_fails_or_panics_ends_the_run_and_is_named() {
    let ending = |fails: bool| {
        let run = Run::new(1).schedule(Schedule::Fifo);
        run.execute(async move |sim| {
            let net = Network::with("t", exact_config());
            net.node("β", move |_| async move {
                time::sleep(secs(1)).await;
                assert!(fails, "it panicked");
                Err::<(), _>("it failed")
            });
            sim.sleep(secs(5)).await;
        })
        .to_string()
    };
    let failed = ending(true);
    assert!(
        failed.contains("node/β") && failed.contains("node β failed: \"it failed\""),
        "{failed}"
    );
    let panicked = ending(false);
    assert!(panicked.contains("node/β") && panicked.contains("it panicked"), "{panicked}");
}

#[test]
fn dead_node_sends_no_fin() {
    for powers_off in [false, true] {
        run_fifo(async move |sim| {
            let net = Network::with("t", exact_config());
            let node = net.node("β", async |host: Host| {
                let listener = host.listen(":1").await.unwrap();
                let half = listener.accept().await.unwrap();
                let (_reader, writer) = listener.accept().await.unwrap().split();
                let (_half, _writer) = (half, writer);
                pending::<()>().await;
            });
            let a = net.new_host("α").await.unwrap();
            sim.sleep(ms(10)).await;
            let conns = [a.dial("β:1").await.unwrap(), a.dial("β:1").await.unwrap()];
            if powers_off {
                node.power_off();
            } else {
                node.crash();
            }
            for conn in &conns {
                let mut buf = Vec::new();
                let result = sim.timeout(secs(500), (&mut &*conn).read_to_end(&mut buf)).await;
                match result {
                    Ok(Ok(_)) => panic!("a FIN from the dead"),
                    Ok(Err(error)) => {
                        assert_eq!(
                            (powers_off, crate::simnet::cause_of(&error)),
                            (false, Cause::ConnReset)
                        );
                    }
                    Err(_) => assert!(powers_off),
                }
            }
        });
    }
}

/// What was sent to whom nobody reads for any more still arrives, and the records tell of it.
#[test]
fn traced_run_has_same_fingerprint_when_receiver_leaves_before_delivery() {
    for dies in [true, false] {
        let run = |run: Run| {
            let outcome = run.execute(async move |sim| {
                let net = Network::with("t", exact_config().window(8));
                let node = net.node("β", move |host| async move {
                    let conn = host.listen(":1").await.unwrap().accept().await.unwrap();
                    assert_eq!(read(&conn).await, Ok("\u{1}".into()));
                    time::sleep(secs(1)).await;
                    drop(conn);
                    pending::<()>().await;
                });
                let a = net.new_host("α").await.unwrap();
                sim.sleep(ms(100)).await;
                let conn = a.dial("β:1").await.unwrap();
                assert_eq!(write(&conn, "\u{1}").await, Ok(1));
                sim.sleep(ms(1_012)).await;
                for _ in 0..7 {
                    assert_eq!(write(&conn, "-").await, Ok(1));
                }
                if dies {
                    node.crash();
                }
                sim.sleep(secs(5)).await;
            });
            assert!(outcome.is_done(), "{}", outcome.ending);
            outcome
        };
        let untraced = run(Run::new(3).schedule(Schedule::Fifo));
        let traced = run(Run::new(3).schedule(Schedule::Fifo).keep_trace());
        assert_eq!(traced.fingerprint, untraced.fingerprint);
        let trace = traced.trace.unwrap().to_string();
        assert!(trace.contains("data α:1->β:2 to a closed endpoint"), "{trace}");
    }
}

#[test]
fn panicking_destructor_at_run_end_does_not_stop_the_others() {
    struct PanicOnDrop(Rc<Cell<u32>>);
    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            panic!("unfinished");
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let count = dropped.clone();
    let outcome = Run::new(1).execute(async move |sim| {
        let net = Network::with("t", exact_config());
        for name in ["α", "β", "γ"] {
            let on_drop = PanicOnDrop(count.clone());
            net.node(name, move |_| {
                let _ = &on_drop;
                pending::<()>()
            });
        }
        sim.sleep(secs(1)).await;
    });
    assert!(matches!(outcome.ending, Ending::Panicked(_)), "{}", outcome.ending);
    assert!(outcome.ending.to_string().contains("unfinished"), "{}", outcome.ending);
    assert_eq!(dropped.get(), 3);
}

#[test]
fn write_in_a_destructor_at_run_end_does_not_change_the_run() {
    struct WriteOnDrop(Conn, bool);
    impl Drop for WriteOnDrop {
        fn drop(&mut self) {
            if self.1 {
                assert_eq!(write(&self.0, "bye").now_or_never(), Some(Ok(3)));
            }
        }
    }
    let run = |writes: bool| {
        let outcome = Run::new(3).record_choices().execute(async move |sim| {
            let two = connected_pair(exact_config().latency(Latency::uniform(ms(1), ms(2)))).await;
            let on_drop = WriteOnDrop(two.ab, writes);
            sim.task("last").spawn(async move {
                let _last = on_drop;
                pending::<()>().await;
            });
            sim.sleep(secs(1)).await;
        });
        assert!(outcome.is_done(), "{}", outcome.ending);
        (outcome.fingerprint, outcome.choices)
    };
    assert_eq!(run(true), run(false));
}
