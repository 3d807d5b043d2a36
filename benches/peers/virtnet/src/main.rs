//! virtnet with its defaults: a seed, keyed choices, a fingerprint of all events, faults that may
//! occur at any time, and a checked digest of every stream.
//!
//! Only the limits on a run's length are lifted; tests keep them.

use std::future::Future;
use std::hint::black_box;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use peers_common::{BLOCKS, BlockBuf, MESSAGE, SHARE, Workload, answer, done, nap};
use virtnet::{Conn, Run, Sim, simnet};

fn main() {
    answer(|_, workload, n| match workload {
        Workload::Pingpong => run(1, |sim| pingpong(sim, n)),
        Workload::Many(clients) => run(1, |sim| many(sim, clients, n / clients)),
        Workload::Timers(tasks) => run(1, |sim| timers(sim, tasks, n / tasks)),
        Workload::Bulk => run(1, |sim| bulk(sim, n)),
        Workload::Startup => (0..n).for_each(|seed| run(seed, startup)),
        Workload::Spawn => run(1, |sim| spawn(sim, n)),
        Workload::Connect => run(1, |sim| connect(sim, n)),
    });
}

fn run<Fut: Future<Output = ()> + 'static>(seed: u64, main: impl FnOnce(Sim) -> Fut) {
    Run::new(seed)
        .time_limit(Duration::MAX)
        .step_limit(u64::MAX)
        .livelock_limit(u64::MAX)
        .execute(main)
        .unwrap();
}

async fn echo(mut conn: Conn, times: u64) {
    let mut buf = [0; MESSAGE];
    for _ in 0..times {
        conn.read_exact(&mut buf).await.unwrap();
        conn.write_all(&buf).await.unwrap();
    }
}

async fn ask(mut conn: Conn, times: u64) {
    let mut buf = [7; MESSAGE];
    for _ in 0..times {
        conn.write_all(&buf).await.unwrap();
        conn.read_exact(&mut buf).await.unwrap();
    }
    done(times);
}

async fn pingpong(sim: Sim, n: u64) {
    let net = simnet::Network::new("bench");
    let listener = net.new_host("b").await.unwrap().listen(":80").await.unwrap();
    let server = sim.spawn(async move { echo(listener.accept().await.unwrap(), n).await });
    ask(net.new_host("a").await.unwrap().dial("b:80").await.unwrap(), n).await;
    server.await.unwrap();
}

async fn many(sim: Sim, clients: u64, times: u64) {
    let net = simnet::Network::new("bench");
    for server in 0..clients.div_ceil(SHARE) {
        let host = net.new_host(&format!("s{server}")).await.unwrap();
        let listener = host.listen(":80").await.unwrap();
        sim.spawn(async move {
            while let Ok(conn) = listener.accept().await {
                Sim::current().spawn(echo(conn, times));
            }
        });
    }
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let net = net.clone();
            sim.spawn(async move {
                let host = net.new_host(&format!("c{client}")).await.unwrap();
                ask(host.dial(&format!("s{}:80", client / SHARE)).await.unwrap(), times).await;
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

async fn timers(sim: Sim, tasks: u64, times: u64) {
    let tasks: Vec<_> = (0..tasks)
        .map(|mut state| {
            sim.spawn(async move {
                for _ in 0..times {
                    sim.sleep(nap(&mut state)).await;
                }
                done(times);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn bulk(sim: Sim, mebibytes: u64) {
    let net = simnet::Network::new("bench");
    let listener = net.new_host("b").await.unwrap().listen(":80").await.unwrap();
    let server = sim.spawn(async move {
        let mut conn = listener.accept().await.unwrap();
        let mut buf = BlockBuf::read();
        for _ in 0..BLOCKS * mebibytes {
            conn.read_exact(&mut buf).await.unwrap();
        }
        black_box(buf[0]);
        done(mebibytes);
    });
    let mut conn = net.new_host("a").await.unwrap().dial("b:80").await.unwrap();
    let buf = BlockBuf::written();
    for _ in 0..BLOCKS * mebibytes {
        conn.write_all(&buf).await.unwrap();
    }
    server.await.unwrap();
}

async fn startup(sim: Sim) {
    let net = simnet::Network::new("t");
    let a = net.new_host("a").await.unwrap();
    let b = net.new_host("b").await.unwrap();
    let _c = net.new_host("c").await.unwrap();
    let listener = b.listen(":80").await.unwrap();
    let server = sim.spawn(async move { echo(listener.accept().await.unwrap(), 1).await });
    sim.spawn(async move { ask(a.dial("b:80").await.unwrap(), 1).await }).await.unwrap();
    server.await.unwrap();
}

async fn spawn(sim: Sim, n: u64) {
    for i in 0..n {
        black_box(sim.spawn(async move { i }).await.unwrap());
    }
    done(n);
}

async fn connect(sim: Sim, n: u64) {
    let net = simnet::Network::new("bench");
    let listener = net.new_host("b").await.unwrap().listen(":80").await.unwrap();
    sim.spawn(async move {
        while let Ok(conn) = listener.accept().await {
            drop(conn);
        }
    });
    let host = net.new_host("a").await.unwrap();
    for _ in 0..n {
        drop(host.dial("b:80").await.unwrap());
    }
    done(n);
}
