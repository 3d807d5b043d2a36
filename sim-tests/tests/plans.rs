//! Plans of faults, and the ledger that they leave. Knows the simulated network from outside.

use std::time::Duration;

use virtnet::Run;
use virtnet::simnet::{Faults, Latency, Network};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_plan_that_raises_a_latency_twice_does_not_raise_what_it_has_raised() {
    for seed in 0..20 {
        Run::new(seed)
            .execute(async |sim| {
                let net = Network::new("t");
                let (near, far) = (net.host("near").await.unwrap(), net.host("far").await.unwrap());
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
                let mut chaos = net.chaos(Faults::none().latency());
                futures::join!(chaos.run_for(20_000 * MS), dials);
            })
            .unwrap();
    }
}

#[test]
fn a_plan_raises_the_latency_that_was_set_by_hand() {
    let raised = (0..20).any(|seed| {
        Run::new(seed)
            .execute(async |sim| {
                let net = Network::new("t");
                let (near, far) = (net.host("near").await.unwrap(), net.host("far").await.unwrap());
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
                let mut chaos = net.chaos(Faults::none().latency());
                futures::join!(chaos.run_for(20_000 * MS), dials);
                longest
            })
            .unwrap()
            > 700 * MS
    });
    assert!(raised);
}

#[test]
fn no_fault_has_more_effects_than_applications() {
    for seed in 0..50 {
        let ledger = Run::new(seed)
            .execute(async |sim| {
                let net = Network::new("t");
                net.node("far", async |host| {
                    let listener = host.listen(":1").await.unwrap();
                    while listener.accept().await.is_ok() {}
                });
                let near = net.host("near").await.unwrap();
                let dials = async {
                    for _ in 0..50 {
                        let dial = sim.timeout(1_000 * MS, near.dial("far:1"));
                        let _ = dial.await;
                        sim.sleep(100 * MS).await;
                    }
                };
                let mut chaos = net.chaos(Faults::all().without("restart"));
                futures::join!(chaos.run_for(20_000 * MS), dials);
                net.ledger()
            })
            .unwrap();
        for (family, counts) in ledger.iter() {
            assert!(counts.effective <= counts.applied, "{family}: {counts}");
            // To be started again after a crash is the end of a fault, and none.
            assert!(counts.applied <= counts.drawn, "{family}: {counts}");
        }
    }
}
