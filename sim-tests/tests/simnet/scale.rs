//! Nothing is quadratic: two thousand hosts boot, connect and echo.

use futures::future::join_all;
use virtnet::simnet::Network;
use virtnet::{Host, Run, Schedule};

use crate::simnet::{echo, exact_config, ms, read, secs, write};

/// So many nodes, each of which echoes and talks to the next; how many steps that took.
fn echo_ring_steps(size: usize) -> u64 {
    let run = Run::new(1).schedule(Schedule::Fifo);
    let outcome = run.execute(async move |sim| {
        let net = Network::with("t", exact_config());
        let node = |number: usize| net.node(&format!("h{number}"), echo);
        let nodes: Vec<_> = (0..size).map(node).collect();
        sim.sleep(ms(10)).await;
        let talk = |number: usize| {
            let host: Host = nodes[number].host().unwrap();
            async move {
                let conn = host.dial(&format!("h{}:1", (number + 1) % size)).await.unwrap();
                for _ in 0..3 {
                    write(&conn, "echo").await.unwrap();
                    assert_eq!(read(&conn).await, Ok("echo".into()));
                }
                conn
            }
        };
        let conns = join_all((0..size).map(talk)).await;
        sim.sleep(secs(1)).await;
        drop(conns);
    });
    let (steps, elapsed) = (outcome.steps, outcome.elapsed);
    outcome.unwrap();
    assert_eq!(elapsed, ms(10 + 21 + 60) + secs(1), "the more the same");
    steps
}

#[test]
fn echo_ring_of_2000_hosts_takes_steps_linear_in_its_size() {
    let (few, many) = (echo_ring_steps(200), echo_ring_steps(2_000));
    assert!(many < few * 11, "{few} steps for 200, {many} for 2 000");
}

#[test]
fn partition_of_400_hosts_times_out_all_crossing_dials_at_once() {
    let run = Run::new(1).schedule(Schedule::Fifo);
    let outcome = run.execute(async |sim| {
        let net = Network::with("t", exact_config());
        let nodes: Vec<_> = (0..400).map(|n| net.node(&format!("h{n}"), echo)).collect();
        sim.sleep(ms(10)).await;
        let names: Vec<_> = nodes.iter().map(|node| node.name().to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (left, right) = names.split_at(200);
        net.partition(left, right);
        for pair in names.windows(2) {
            net.link(pair[0], pair[1]).loss(0.5);
        }
        let dial = |number: usize| {
            let host = nodes[number].host().unwrap();
            async move { host.dial(&format!("h{}:1", number + 200)).await.is_err() }
        };
        let result = join_all((0..200).map(dial)).await;
        assert!(result.into_iter().all(|failed| failed));
        net.heal();
    });
    assert_eq!(outcome.elapsed, ms(10) + secs(10));
    outcome.unwrap();
}
