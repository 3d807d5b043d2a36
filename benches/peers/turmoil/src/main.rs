//! turmoil: hosts that are tokio runtimes, on one thread, in ticks of virtual time.
//!
//! `default` is `Builder::new`: ticks of 1 ms, latencies of 0 to 100 ms. `same` has the latencies
//! of the other contenders, 1 to 10 ms. `tuned` is the fastest configuration: no latency, and
//! ticks of 100 ms where only timers matter. (Longer TCP buffers make the bulk workload slower.)

use std::hint::black_box;
use std::time::Duration;

use peers_common::{BLOCKS, BlockBuf, MESSAGE, SHARE, Workload, answer, done, nap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};
use turmoil::{Builder, Result, Sim};

/// Where all servers listen.
const HERE: (&str, u16) = ("0.0.0.0", 80);

fn main() {
    answer(|variant, workload, n| {
        let sim = |seed| builder(variant, workload, seed).build();
        match workload {
            Workload::Pingpong => pingpong(sim(1), n),
            Workload::Many(clients) => many(sim(1), clients, n / clients),
            Workload::Timers(tasks) => timers(sim(1), tasks, n / tasks),
            Workload::Bulk => bulk(sim(1), n),
            Workload::Startup => (0..n).for_each(|seed| startup(sim(seed))),
            Workload::Spawn => spawn(sim(1), n),
            Workload::Connect => connect(sim(1), n),
        }
    });
}

fn builder(variant: &str, workload: Workload, seed: u64) -> Builder {
    let ms = Duration::from_millis;
    let mut builder = Builder::new();
    builder.rng_seed(seed).simulation_duration(Duration::from_secs(u32::MAX.into()));
    match variant {
        "default" => {}
        "same" => {
            builder.min_message_latency(ms(1)).max_message_latency(ms(10));
        }
        "tuned" => {
            builder.min_message_latency(ms(0)).max_message_latency(ms(0));
            if matches!(workload, Workload::Timers(_)) {
                builder.tick_duration(ms(100));
            }
        }
        _ => panic!("no variant {variant}"),
    }
    builder
}

async fn echo(mut conn: TcpStream, times: u64) -> Result {
    let mut buf = [0; MESSAGE];
    for _ in 0..times {
        conn.read_exact(&mut buf).await?;
        conn.write_all(&buf).await?;
    }
    Ok(())
}

async fn ask(mut conn: TcpStream, times: u64) -> Result {
    let mut buf = [7; MESSAGE];
    for _ in 0..times {
        conn.write_all(&buf).await?;
        conn.read_exact(&mut buf).await?;
    }
    done(times);
    Ok(())
}

fn pingpong(mut sim: Sim<'_>, n: u64) {
    sim.host("b", move || async move {
        let listener = TcpListener::bind(HERE).await?;
        echo(listener.accept().await?.0, n).await
    });
    sim.client("a", async move { ask(TcpStream::connect("b:80").await?, n).await });
    sim.run().unwrap();
}

fn many(mut sim: Sim<'_>, clients: u64, times: u64) {
    for server in 0..clients.div_ceil(SHARE) {
        sim.host(format!("s{server}"), move || async move {
            let listener = TcpListener::bind(HERE).await?;
            loop {
                let (conn, _) = listener.accept().await?;
                tokio::spawn(async move { echo(conn, times).await.unwrap() });
            }
        });
    }
    for client in 0..clients {
        sim.client(format!("c{client}"), async move {
            ask(TcpStream::connect(format!("s{}:80", client / SHARE)).await?, times).await
        });
    }
    sim.run().unwrap();
}

fn timers(mut sim: Sim<'_>, tasks: u64, times: u64) {
    sim.client("a", async move {
        let tasks: Vec<_> = (0..tasks)
            .map(|mut state| {
                tokio::spawn(async move {
                    for _ in 0..times {
                        tokio::time::sleep(nap(&mut state)).await;
                    }
                    done(times);
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
    sim.run().unwrap();
}

fn bulk(mut sim: Sim<'_>, mebibytes: u64) {
    sim.client("b", async move {
        let listener = TcpListener::bind(HERE).await?;
        let (mut conn, _) = listener.accept().await?;
        let mut buf = BlockBuf::read();
        for _ in 0..BLOCKS * mebibytes {
            conn.read_exact(&mut buf).await?;
        }
        black_box(buf[0]);
        done(mebibytes);
        Ok(())
    });
    sim.client("a", async move {
        let mut conn = TcpStream::connect("b:80").await?;
        let buf = BlockBuf::written();
        for _ in 0..BLOCKS * mebibytes {
            conn.write_all(&buf).await?;
        }
        Ok(())
    });
    sim.run().unwrap();
}

fn startup(mut sim: Sim<'_>) {
    sim.host("b", || async {
        let listener = TcpListener::bind(HERE).await?;
        echo(listener.accept().await?.0, 1).await
    });
    sim.host("c", || async { Ok(()) });
    sim.client("a", async { ask(TcpStream::connect("b:80").await?, 1).await });
    sim.run().unwrap();
}

fn spawn(mut sim: Sim<'_>, n: u64) {
    sim.client("a", async move {
        for i in 0..n {
            black_box(tokio::spawn(async move { i }).await?);
        }
        done(n);
        Ok(())
    });
    sim.run().unwrap();
}

fn connect(mut sim: Sim<'_>, n: u64) {
    sim.host("b", || async {
        let listener = TcpListener::bind(HERE).await?;
        loop {
            drop(listener.accept().await?);
        }
    });
    sim.client("a", async move {
        for _ in 0..n {
            drop(TcpStream::connect("b:80").await?);
        }
        done(n);
        Ok(())
    });
    sim.run().unwrap();
}
