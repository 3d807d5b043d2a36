//! A partition, and its end: writes wait and dials time out, and after `heal` the bytes arrive.
//!
//! ```sh
//! cargo run --example partition
//! ```

use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::simnet::{FaultKind, Network};
use virtnet::{Cause, Host, Run, Sim};

async fn serve(host: Host) -> std::io::Result<()> {
    let listener = host.listen(":80").await?;
    while let Ok(mut conn) = listener.accept().await {
        virtnet::spawn(async move {
            let mut request = [0; 5];
            while conn.read_exact(&mut request).await.is_ok() {
                conn.write_all(&request).await.unwrap();
            }
        });
    }
    Ok(())
}

async fn scenario(sim: Sim) {
    let net = Network::new("t");
    net.node("server", serve);
    let client = net.new_host("client").await.unwrap();
    sim.sleep(Duration::from_secs(1)).await;
    let mut conn = client.dial("server:80").await.unwrap();

    net.partition(&["client"], &["server"]);
    conn.write_all(b"hello").await.unwrap(); // into the send buffer
    let error = client.dial("server:80").await.unwrap_err();
    assert_eq!(*error.root(), Cause::TimedOut);
    println!("{:?}: {error}", sim.now());
    println!("{}", net.netstat("client"));

    net.heal();
    let mut answer = [0; 5];
    conn.read_exact(&mut answer).await.unwrap();
    println!("{:?}: the answer is {:?}", sim.now(), answer.escape_ascii().to_string());
    println!("{}", net.fault_stats());
    assert_eq!(net.fault_stats().kind(FaultKind::Partition).effective, 1);
}

fn main() {
    Run::new(7).execute(scenario).unwrap();
}

#[test]
fn bytes_written_in_a_partition_arrive_after_heal() {
    main();
}
