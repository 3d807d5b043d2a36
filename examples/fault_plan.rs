//! A sweep over many seeds, each with drawn faults: a counter must never lose an addition that it
//! has acknowledged, and must work again when the faults are over.
//!
//! ```sh
//! cargo run --example fault_plan
//! ```

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::check::Check;
use virtnet::simnet::{FaultKind, Faults, Network};
use virtnet::{Host, Sim};

async fn count(host: Host, disk: Rc<Cell<u32>>) -> std::io::Result<()> {
    let listener = host.listen(":1").await?;
    while let Ok(mut conn) = listener.accept().await {
        disk.set(disk.get() + 1);
        let _ = conn.write_all(b"k").await;
    }
    Ok(())
}

/// Asks the counter to add 1, and returns true if the counter acknowledges it.
async fn add(client: &Host) -> bool {
    let request = async {
        let mut conn = client.dial("counter:1").await?;
        conn.read_exact(&mut [0]).await
    };
    // Without this limit the sweep fails: if a node crashes and the reset is lost, its peer reads
    // from a half-open connection forever, as in TCP.
    matches!(virtnet::time::timeout(Duration::from_secs(20), request).await, Ok(Ok(())))
}

async fn scenario(sim: Sim) {
    let net = Network::new("t");
    let (disk, acknowledged) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let stored = disk.clone();
    net.node("counter", move |host| count(host, stored.clone()));
    let client = net.new_host("client").await.unwrap();
    let sum = acknowledged.clone();
    let adding = sim.task("client").spawn(async move {
        for _ in 0..20 {
            sum.set(sum.get() + u32::from(add(&client).await));
            sim.sleep(Duration::from_secs(1)).await;
        }
        add(&client).await
    });

    let kinds = Faults::from([FaultKind::Partition, FaultKind::Crash, FaultKind::Loss]);
    net.fault_plan(kinds).run_for(Duration::from_secs(20)).await;
    // All faults are undone here.
    assert!(adding.await.unwrap(), "the counter does not work after the faults");
    assert!(acknowledged.get() < disk.get(), "an acknowledged addition is lost");
}

fn main() {
    // A kind of fault that has an effect in no seed fails the sweep.
    let report = Check::new("counter").seeds(0..200).run(scenario);
    println!("{report}");
    report.assert();
}

#[test]
fn counter_survives_faults() {
    main();
}
