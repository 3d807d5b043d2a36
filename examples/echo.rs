//! A client and a server on the simulated network: another seed is another run.
//!
//! ```sh
//! cargo run --example echo
//! ```

use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::simnet::{Config, Latency, Network};
use virtnet::{Host, Run, Sim};

async fn serve(host: Host) -> std::io::Result<()> {
    let listener = host.listen(":7").await?;
    loop {
        let (reader, mut writer) = listener.accept().await?.split();
        futures::io::copy(reader, &mut writer).await?;
    }
}

/// Makes the network and the server, and returns the time of one round trip.
async fn round_trip(sim: Sim) -> std::io::Result<Duration> {
    let ms = Duration::from_millis;
    let net = Network::with("t", Config::new().latency(Latency::uniform(ms(1), ms(50))));
    net.node("server", serve);
    let client = net.new_host("client").await?;
    sim.sleep(Duration::from_secs(1)).await; // the server is listening by then

    let mut conn = client.dial("server:7").await?;
    let start = sim.now();
    conn.write_all(b"hello").await?;
    let mut answer = [0; 5];
    conn.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(start.elapsed())
}

fn main() {
    for seed in 0..5 {
        let outcome = Run::new(seed).execute(round_trip);
        let (steps, fingerprint) = (outcome.steps, outcome.fingerprint);
        let time = outcome.unwrap().unwrap();
        println!("seed {seed}: {time:>12?} in {steps} steps, fingerprint {fingerprint}");
    }
}

#[test]
fn echo_with_same_seed_is_same_run() {
    main();
    let fingerprint = |seed| Run::new(seed).execute(round_trip).fingerprint;
    assert_eq!(fingerprint(3), fingerprint(3));
}
