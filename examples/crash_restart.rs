//! A node crashes and restarts: connections break, dials are refused, and only what the program
//! keeps outside of its tasks survives.
//!
//! ```sh
//! cargo run --example crash_restart
//! ```

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{Cause, Host, Run, Sim, simnet::Network};

/// Counts requests. `disk` survives a crash, and `memory` does not.
async fn count(host: Host, disk: Rc<Cell<u8>>) -> std::io::Result<()> {
    let death = Sim::current().previous_death();
    println!("{:?}: the counter starts; previous death: {death:?}", virtnet::time::now());
    let listener = host.listen(":1").await?;
    let mut memory = 0;
    loop {
        let mut conn = listener.accept().await?;
        memory += 1;
        disk.set(disk.get() + 1);
        conn.write_all(&[memory, disk.get()]).await?;
    }
}

async fn ask(client: &Host) -> std::io::Result<[u8; 2]> {
    let mut counts = [0; 2];
    client.dial("counter:1").await?.read_exact(&mut counts).await?;
    Ok(counts)
}

async fn scenario(sim: Sim) {
    let net = Network::new("t");
    let disk = Rc::new(Cell::new(0));
    let counter = net.node("counter", move |host| count(host, disk.clone()));
    let client = net.new_host("client").await.unwrap();
    sim.sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&client).await.unwrap(), [1, 1]);
    assert_eq!(ask(&client).await.unwrap(), [2, 2]);

    counter.crash();
    let error = client.dial("counter:1").await.unwrap_err();
    println!("{:?}: {error}", sim.now());
    assert_eq!(*error.root(), Cause::ConnRefused);

    counter.restart();
    sim.sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&client).await.unwrap(), [1, 3]);
}

fn main() {
    Run::new(7).execute(scenario).unwrap();
}

#[test]
fn crash_loses_memory_and_keeps_disk() {
    main();
}
