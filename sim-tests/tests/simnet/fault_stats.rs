//! Plans of faults, and the stats that they leave. Knows the simulated network from outside.

use std::time::Duration;

use virtnet::simnet::{FaultKind, Faults, Latency, Network};
use virtnet::{Run, Tape};

const MS: Duration = Duration::from_millis(1);

#[test]
fn latency_raised_twice_by_a_plan_does_not_compound() {
    for seed in 0..20 {
        Run::new(seed)
            .execute(async |sim| {
                let net = Network::new("t");
                let (near, far) =
                    (net.new_host("near").await.unwrap(), net.new_host("far").await.unwrap());
                let listener = far.listen(":1").await.unwrap();
                sim.spawn(async move { while listener.accept().await.is_ok() {} });
                near.dial("far:1").await.unwrap();
                let dials = async {
                    for _ in 0..200 {
                        let start = sim.now();
                        near.dial("far:1").await.unwrap();
                        // A hundred times 10 ms, there and back, and what the schedule adds.
                        assert!(start.elapsed() < 2_500 * MS, "{:?}", start.elapsed());
                        sim.sleep(100 * MS).await;
                    }
                };
                let mut plan = net.fault_plan(Faults::none().with(FaultKind::Latency));
                futures::join!(plan.run_for(20_000 * MS), dials);
            })
            .unwrap();
    }
}

#[test]
fn planned_latency_fault_raises_a_manual_latency() {
    let raised = (0..20).any(|seed| {
        Run::new(seed)
            .execute(async |sim| {
                let net = Network::new("t");
                let (near, far) =
                    (net.new_host("near").await.unwrap(), net.new_host("far").await.unwrap());
                let listener = far.listen(":1").await.unwrap();
                sim.spawn(async move { while listener.accept().await.is_ok() {} });
                net.link("near", "far").latency(Latency::constant(100 * MS));
                near.dial("far:1").await.unwrap();
                let mut longest = Duration::ZERO;
                let dials = async {
                    for _ in 0..20 {
                        let start = sim.now();
                        // A hundred times as high there and back is a connect timeout.
                        let _ = near.dial("far:1").await;
                        longest = longest.max(start.elapsed());
                    }
                };
                let mut plan = net.fault_plan(Faults::none().with(FaultKind::Latency));
                futures::join!(plan.run_for(20_000 * MS), dials);
                longest
            })
            .unwrap()
            > 700 * MS
    });
    assert!(raised);
}

#[test]
fn fault_effective_count_never_exceeds_applied_count() {
    for seed in 0..50 {
        let stats = Run::new(seed)
            .execute(async |sim| {
                let net = Network::new("t");
                net.node("far", async |host| {
                    let listener = host.listen(":1").await.unwrap();
                    while listener.accept().await.is_ok() {}
                });
                let near = net.new_host("near").await.unwrap();
                let dials = async {
                    for _ in 0..50 {
                        let dial = sim.timeout(1_000 * MS, near.dial("far:1"));
                        let _ = dial.await;
                        sim.sleep(100 * MS).await;
                    }
                };
                let mut plan =
                    net.fault_plan(Faults::all().every_run().without(FaultKind::Restart));
                futures::join!(plan.run_for(20_000 * MS), dials);
                net.fault_stats()
            })
            .unwrap();
        for (family, counts) in stats.iter() {
            assert!(counts.effective <= counts.applied, "{family}: {counts}");
            // To be started again after a crash is the end of a fault, and none.
            assert!(counts.applied <= counts.drawn, "{family}: {counts}");
        }
    }
}

#[test]
fn second_planned_fault_of_a_kind_outlasts_the_first() {
    // ConnectedPair of a second each at 0 and at 1 s, of two seconds and more.
    let mut tape = Tape::zero().with("fault simt/plan latency", 1, 2);
    for slot in ["latency#1", "latency#2"] {
        let subject = format!("fault simt/plan {slot}");
        tape = tape.with(&subject, 0, 11).with(&subject, 2, 1_999_999_999);
    }
    Run::new(0)
        .tape(tape)
        .execute(async |sim| {
            let net = Network::new("t");
            let (near, far) =
                (net.new_host("near").await.unwrap(), net.new_host("far").await.unwrap());
            let listener = far.listen(":1").await.unwrap();
            sim.spawn(async move { while listener.accept().await.is_ok() {} });
            near.dial("far:1").await.unwrap();
            let mut took = Vec::new();
            let dials = async {
                for _ in 0..8 {
                    let start = sim.now();
                    near.dial("far:1").await.unwrap();
                    took.push(start.elapsed().as_millis());
                    sim.sleep(500 * MS).await;
                }
            };
            let mut plan = net.fault_plan(Faults::none().with(FaultKind::Latency));
            futures::join!(plan.run_for(12_000 * MS), dials);
            assert_eq!(plan.applied_faults().len(), 2);
            // A look-up of 1 ms and a round trip of 8 ms, until 3.1 s.
            assert_eq!(took, [9, 9, 9, 9, 9, 9, 9, 3]);
        })
        .unwrap();
}
