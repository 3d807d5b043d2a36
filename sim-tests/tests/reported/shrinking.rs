//! What a report of a failing seed says, and what shrinking leaves of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use virtnet::simnet::{Config, Faults, Latency, Network};
use virtnet::{RecordKind, Run, Sim, Trace};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

/// The fault records of a trace: the second and the text.
fn faults(trace: &Trace) -> Vec<String> {
    let faults = trace.records().iter().filter(|record| record.kind == RecordKind::Fault);
    faults
        .map(|record| format!("{} {}", record.at.as_nanos() / 1_000_000_000, record.text))
        .collect()
}

#[test]
fn a_fault_record_of_a_node_says_by_how_much_and_when_it_is_undone() {
    let outcome = Run::new(0).keep_trace().execute(async |sim| {
        let node = Network::new("t").node("s", async |_| {});
        sim.sleep(SEC).await;
        node.clock(0, 0);
        node.poll_cost(Duration::ZERO);
        node.clock(-5_000_000_000, 0);
        sim.sleep(SEC).await;
        node.clock(0, 0);
        sim.sleep(SEC).await;
        node.clock(1_500_000_000, 20_000);
        sim.sleep(SEC).await;
        node.clock(0, -100);
        sim.sleep(SEC).await;
        node.clock(0, 0);
        node.poll_cost(5 * MS);
        sim.sleep(SEC).await;
        node.poll_cost(Duration::ZERO);
        node.poll_cost(Duration::ZERO);
    });
    let expected = [
        "1 clock s: offset -5s, drift 0 ppm; the wall clock steps by -5s",
        "2 clock s: undone, offset 0ns, drift 0 ppm; the wall clock steps by 5s",
        "3 clock s: offset 1.5s, drift 20000 ppm; the wall clock steps by 1.5s",
        // It has gained 20 ms meanwhile.
        "4 clock s: offset 0ns, drift -100 ppm; the wall clock steps by -1.52s",
        "5 clock s: undone, offset 0ns, drift 0 ppm; the wall clock steps by 100µs",
        "5 slow_node s: 5ms a poll",
        "6 slow_node s: undone, 0ns a poll",
    ];
    assert_eq!(faults(&outcome.trace.unwrap()), expected);
}

#[test]
fn a_fault_record_of_a_link_says_the_value_that_applies() {
    let outcome = Run::new(0).keep_trace().execute(async |_| {
        let net = Network::with("t", Config::new().bandwidth(Some(9_000)));
        for host in ["a", "b"] {
            net.host(host).await.unwrap();
        }
        net.link("a", "b").latency(Latency::constant(300 * MS)).loss(0.015).short_io(1.0);
        net.link("a", "b").latency(Latency::uniform(MS, 3 * MS)).bandwidth(4_000);
        net.link("a", "b").latency(Latency::exponential(MS, 5 * MS)).loss(0.0);
        net.link("a", "b").latency(Latency::log_normal(MS, 5 * MS));
    });
    let expected = [
        "0 latency a b: 300ms",
        "0 loss a b: 1.5 %",
        "0 short_io a b: 100 %",
        "0 latency a b: 1ms to 3ms",
        "0 bandwidth a b: 4000 bytes a second",
        "0 latency a b: 1ms at least, 5ms on average",
        "0 loss a b: 0 %",
        "0 latency a b: 1ms at least, 5ms as median",
    ];
    assert_eq!(faults(&outcome.trace.unwrap()), expected);
}

/// A plan of some families on two nodes that talk.
async fn plan_of(families: &'static [&'static str], sim: Sim) -> Vec<String> {
    let net = Network::new("t");
    for node in ["a", "b"] {
        net.node(node, async |_| {});
    }
    let client = net.host("c").await.unwrap();
    sim.sleep(SEC).await;
    for node in ["a:1", "b:1"] {
        client.dial(node).await.unwrap_err();
    }
    let faults = families.iter().fold(Faults::none(), |faults, family| faults.with(family));
    let mut chaos = net.chaos(faults);
    chaos.run_for(60 * SEC).await;
    chaos.done().iter().map(|(_, what)| what.clone()).collect()
}

#[test]
fn the_end_of_each_fault_of_a_plan_stands_in_the_trace() {
    const FAMILIES: &[&str] =
        &["clock", "slow_node", "latency", "loss", "bandwidth", "short_io", "partition", "one_way"];
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let run = Run::new(seed).keep_trace();
        let outcome = run.execute(async |sim| plan_of(FAMILIES, sim).await);
        // Two partitions alike end one after the other, two link edits alike at once.
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for fault in faults(outcome.trace.as_ref().unwrap()) {
            let (_, text) = fault.split_once(' ').unwrap();
            let (what, details) = text.split_once(": ").unwrap_or((text, ""));
            let (family, _) = what.split_once(' ').unwrap();
            if details.starts_with("undone") {
                let count = open.remove(what);
                let count = count.unwrap_or_else(|| panic!("seed {seed}: {text} ends nothing"));
                if count > 1 && ["partition", "one_way"].contains(&family) {
                    open.insert(what.to_string(), count - 1);
                }
                seen.insert(family.to_string());
            } else {
                *open.entry(what.to_string()).or_default() += 1;
            }
        }
        assert_eq!(open, BTreeMap::new(), "seed {seed}: {:?}", outcome.unwrap());
    }
    assert_eq!(seen, FAMILIES.iter().map(ToString::to_string).collect());
}
