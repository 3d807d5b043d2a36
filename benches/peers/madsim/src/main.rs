//! madsim: an executor of its own under tokio's names, built with `--cfg madsim`.
//!
//! `default` is the runtime without changes, with latencies of 1 to 10 ms. madsim's test attribute
//! gives each seed a thread. For many short runs `default` does that, and `tuned` runs all of them
//! on one thread.

use std::future::Future;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use madsim::runtime::{Builder, Handle, NodeHandle, Runtime};
use madsim::{Config, task::JoinHandle};
use peers_common::{BLOCKS, BlockBuf, MESSAGE, SHARE, Workload, answer, done, nap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

fn main() {
    answer(|variant, workload, n| match (workload, variant) {
        (Workload::Pingpong, _) => run(1, pingpong(n)),
        (Workload::Many(clients), _) => run(1, many(clients, n / clients)),
        (Workload::Timers(tasks), _) => run(1, timers(tasks, n / tasks)),
        (Workload::Bulk, _) => run(1, bulk(n)),
        (Workload::Startup, "tuned") => (0..n).for_each(|seed| run(seed, startup())),
        (Workload::Startup, _) => {
            let (config, count) = (Config::default(), n);
            let (time_limit, check, allow_system_thread) = (None, false, false);
            let (seed, jobs) = (0, 1);
            Builder { seed, count, jobs, config, time_limit, check, allow_system_thread }
                .run(startup);
        }
        (Workload::Spawn, _) => run(1, spawn(n)),
        (Workload::Connect, _) => run(1, connect(n)),
    });
}

fn run(seed: u64, main: impl Future<Output = ()>) {
    Runtime::with_seed_and_config(seed, Config::default()).block_on(main);
}

/// Where the `n`th host listens, or is.
fn at(n: u64) -> SocketAddr {
    let ip = Ipv4Addr::from_bits(0x0A00_0001 + n as u32);
    SocketAddr::new(IpAddr::V4(ip), 80)
}

fn node(n: u64) -> NodeHandle {
    Handle::current().create_node().ip(at(n).ip()).build()
}

async fn echo(mut conn: TcpStream, times: u64) {
    let mut buf = [0; MESSAGE];
    for _ in 0..times {
        conn.read_exact(&mut buf).await.unwrap();
        conn.write_all(&buf).await.unwrap();
        conn.flush().await.unwrap();
    }
}

/// Dials once the servers have bound, which takes no real time.
async fn dial(server: u64) -> TcpStream {
    sleep(Duration::from_secs(1)).await;
    TcpStream::connect(at(server)).await.unwrap()
}

async fn ask(mut conn: TcpStream, times: u64) {
    let mut buf = [7; MESSAGE];
    for _ in 0..times {
        conn.write_all(&buf).await.unwrap();
        conn.flush().await.unwrap();
        conn.read_exact(&mut buf).await.unwrap();
    }
    done(times);
}

fn serve_one(n: u64, times: u64) -> JoinHandle<()> {
    node(n).spawn(async move {
        let listener = TcpListener::bind(at(n)).await.unwrap();
        echo(listener.accept().await.unwrap().0, times).await;
    })
}

async fn pingpong(n: u64) {
    let server = serve_one(0, n);
    node(1).spawn(async move { ask(dial(0).await, n).await }).await.unwrap();
    server.await.unwrap();
}

async fn many(clients: u64, times: u64) {
    let servers = clients.div_ceil(SHARE);
    for server in 0..servers {
        node(server).spawn(async move {
            let listener = TcpListener::bind(at(server)).await.unwrap();
            loop {
                let (conn, _) = listener.accept().await.unwrap();
                tokio::spawn(echo(conn, times));
            }
        });
    }
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            node(servers + client)
                .spawn(async move { ask(dial(client / SHARE).await, times).await })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

async fn timers(tasks: u64, times: u64) {
    let tasks: Vec<_> = (0..tasks)
        .map(|mut state| {
            tokio::spawn(async move {
                for _ in 0..times {
                    sleep(nap(&mut state)).await;
                }
                done(times);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn bulk(mebibytes: u64) {
    let server = node(0).spawn(async move {
        let listener = TcpListener::bind(at(0)).await.unwrap();
        let (mut conn, _) = listener.accept().await.unwrap();
        let mut buf = BlockBuf::read();
        for _ in 0..BLOCKS * mebibytes {
            conn.read_exact(&mut buf).await.unwrap();
        }
        black_box(buf[0]);
        done(mebibytes);
    });
    let client = node(1).spawn(async move {
        let mut conn = dial(0).await;
        let buf = BlockBuf::written();
        for _ in 0..BLOCKS * mebibytes {
            conn.write_all(&buf).await.unwrap();
            conn.flush().await.unwrap();
        }
        conn
    });
    server.await.unwrap();
    drop(client.await.unwrap());
}

async fn startup() {
    let server = serve_one(0, 1);
    node(2);
    node(1).spawn(async { ask(dial(0).await, 1).await }).await.unwrap();
    server.await.unwrap();
}

async fn spawn(n: u64) {
    for i in 0..n {
        black_box(tokio::spawn(async move { i }).await.unwrap());
    }
    done(n);
}

async fn connect(n: u64) {
    node(0).spawn(async {
        let listener = TcpListener::bind(at(0)).await.unwrap();
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let client = node(1).spawn(async move {
        sleep(Duration::from_secs(1)).await;
        for _ in 0..n {
            drop(TcpStream::connect(at(0)).await.unwrap());
        }
        done(n);
    });
    client.await.unwrap();
}
