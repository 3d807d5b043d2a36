//! The workloads over the simulated network, and the same on the bare network.

use std::hint::black_box;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{Conn, Schedule, Sim, simnet};

use crate::{bare, bare_net, simulate};

/// The ports of all servers.
const PORT: &str = ":80";

async fn echo(mut conn: Conn, times: u64) {
    let mut buf = [0; 64];
    for _ in 0..times {
        conn.read_exact(&mut buf).await.unwrap();
        conn.write_all(&buf).await.unwrap();
    }
}

async fn ping(conn: &mut Conn, times: u64) {
    let mut buf = [7; 64];
    for _ in 0..times {
        conn.write_all(&buf).await.unwrap();
        conn.read_exact(&mut buf).await.unwrap();
    }
}

async fn bare_echo(conn: bare_net::Endpoint, times: u64) {
    let mut buf = [0; 64];
    for _ in 0..times {
        conn.read_exact(&mut buf).await;
        conn.write_all(&buf).await;
    }
}

async fn bare_ping(conn: &bare_net::Endpoint, times: u64) {
    let mut buf = [7; 64];
    for _ in 0..times {
        conn.write_all(&buf).await;
        conn.read_exact(&mut buf).await;
    }
}

pub(crate) fn pingpong(n: u64) {
    simulate(1, Schedule::Random, async move |sim| {
        let net = simnet::Network::new("bench");
        let listener = net.new_host("b").await.unwrap().listen(PORT).await.unwrap();
        let server = sim.spawn(async move { echo(listener.accept().await.unwrap(), n).await });
        let mut conn = net.new_host("a").await.unwrap().dial("b:80").await.unwrap();
        ping(&mut conn, n).await;
        server.await.unwrap();
    });
}

pub(crate) fn bare_pingpong(n: u64) {
    bare::run(async move {
        let listener = bare_net::Listener::default();
        let dialer = listener.clone();
        let server = bare::spawn(async move { bare_echo(listener.accept().await, n).await });
        let conn = dialer.dial().await;
        bare_ping(&conn, n).await;
        server.await;
    });
}

/// So many runs of three hosts, a connection and an echo, each with a seed of its own.
pub(crate) fn runs(n: u64) {
    for seed in 0..n {
        simulate(seed, Schedule::Random, async move |sim| {
            let net = simnet::Network::new("t");
            let a = net.new_host("a").await.unwrap();
            let b = net.new_host("b").await.unwrap();
            let _c = net.new_host("c").await.unwrap();
            let listener = b.listen(PORT).await.unwrap();
            let server = sim.spawn(async move { echo(listener.accept().await.unwrap(), 1).await });
            let client =
                sim.spawn(async move { ping(&mut a.dial("b:80").await.unwrap(), 1).await });
            client.await.unwrap();
            server.await.unwrap();
        });
    }
}

pub(crate) fn bare_runs(n: u64) {
    for _ in 0..n {
        bare::run(async {
            let listener = bare_net::Listener::default();
            let dialer = listener.clone();
            let server = bare::spawn(async move { bare_echo(listener.accept().await, 1).await });
            bare::spawn(async move { bare_ping(&dialer.dial().await, 1).await }).await;
            server.await;
        });
    }
}

/// So many clients, ten to a server, each with its share of `n` echoes.
pub(crate) fn many_clients(clients: u64, n: u64) {
    let round_trips = n / clients;
    simulate(1, Schedule::Random, async move |sim| {
        let net = simnet::Network::new("bench");
        for server in 0..clients.div_ceil(10) {
            let host = net.new_host(&format!("s{server}")).await.unwrap();
            let listener = host.listen(PORT).await.unwrap();
            sim.spawn(async move {
                while let Ok(conn) = listener.accept().await {
                    Sim::current().spawn(echo(conn, round_trips));
                }
            });
        }
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let net = net.clone();
                sim.spawn(async move {
                    let host = net.new_host(&format!("c{client}")).await.unwrap();
                    let mut conn = host.dial(&format!("s{}:80", client / 10)).await.unwrap();
                    ping(&mut conn, round_trips).await;
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

pub(crate) fn bare_many_clients(clients: u64, n: u64) {
    let round_trips = n / clients;
    bare::run(async move {
        let listeners: Vec<bare_net::Listener> =
            (0..clients.div_ceil(10)).map(|_| bare_net::Listener::default()).collect();
        for listener in &listeners {
            let listener = listener.clone();
            drop(bare::spawn(async move {
                loop {
                    let conn = listener.accept().await;
                    drop(bare::spawn(bare_echo(conn, round_trips)));
                }
            }));
        }
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let listener = listeners[client as usize / 10].clone();
                bare::spawn(async move { bare_ping(&listener.dial().await, round_trips).await })
            })
            .collect();
        for client in clients {
            client.await;
        }
    });
}

const BLOCK_LEN: usize = 64 * 1024;
/// Whoever writes and whoever reads do so at different places of a page: where two large buffers
/// begin at the same place of theirs, some processors take up to eight times as long to copy from
/// one to the other, and which of ours or the bare ones do is the allocator's whim.
const PAGE_SIZE: usize = 4096;

/// So many MiB in writes of 64 KiB.
pub(crate) fn bulk(mebibytes: u64) {
    simulate(1, Schedule::Random, async move |sim| {
        let net = simnet::Network::new("bench");
        let listener = net.new_host("b").await.unwrap().listen(PORT).await.unwrap();
        let server = sim.spawn(async move {
            let mut conn = listener.accept().await.unwrap();
            let mut buf = vec![0; BLOCK_LEN + PAGE_SIZE];
            let buf = &mut buf[PAGE_SIZE / 4..][..BLOCK_LEN];
            for _ in 0..16 * mebibytes {
                conn.read_exact(buf).await.unwrap();
            }
            black_box(buf[0]);
        });
        let mut conn = net.new_host("a").await.unwrap().dial("b:80").await.unwrap();
        let buf = vec![7; BLOCK_LEN + PAGE_SIZE];
        let buf = &buf[PAGE_SIZE / 2..][..BLOCK_LEN];
        for _ in 0..16 * mebibytes {
            conn.write_all(buf).await.unwrap();
        }
        server.await.unwrap();
    });
}

pub(crate) fn bare_bulk(mebibytes: u64) {
    bare::run(async move {
        let listener = bare_net::Listener::default();
        let dialer = listener.clone();
        let server = bare::spawn(async move {
            let conn = listener.accept().await;
            let mut buf = vec![0; BLOCK_LEN + PAGE_SIZE];
            let buf = &mut buf[PAGE_SIZE / 4..][..BLOCK_LEN];
            for _ in 0..16 * mebibytes {
                conn.read_exact(buf).await;
            }
            black_box(buf[0]);
        });
        let conn = dialer.dial().await;
        let buf = vec![7; BLOCK_LEN + PAGE_SIZE];
        let buf = &buf[PAGE_SIZE / 2..][..BLOCK_LEN];
        for _ in 0..16 * mebibytes {
            conn.write_all(buf).await;
        }
        server.await;
    });
}

/// So many connections one after the other: dialed, accepted, closed.
pub(crate) fn connect(n: u64) {
    simulate(1, Schedule::Random, async move |sim| {
        let net = simnet::Network::new("bench");
        let listener = net.new_host("b").await.unwrap().listen(PORT).await.unwrap();
        sim.spawn(async move {
            while let Ok(conn) = listener.accept().await {
                drop(conn);
            }
        });
        let host = net.new_host("a").await.unwrap();
        for _ in 0..n {
            drop(host.dial("b:80").await.unwrap());
        }
    });
}

pub(crate) fn bare_connect(n: u64) {
    bare::run(async move {
        let listener = bare_net::Listener::default();
        let dialer = listener.clone();
        drop(bare::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        }));
        for _ in 0..n {
            drop(dialer.dial().await);
        }
    });
}

/// Reports what a host costs: the memory of 10 000 with a connection each, how much dearer a round
/// trip is among them than among ten, and how long 1 000 take to boot.
pub(crate) fn report_scale(resident_kib: impl Fn() -> u64, time: impl Fn(fn()) -> Duration) {
    const FEW_CLIENTS: u64 = 10;
    const MANY_CLIENTS: u64 = 10_000;
    const ROUND_TRIPS: u64 = 40;
    /// The clock of processor time may move in steps of milliseconds.
    const BOOT_RUNS: u64 = 50;
    let total_boot_time = time(|| {
        for seed in 0..BOOT_RUNS {
            simulate(seed, Schedule::Random, async |_| {
                let net = simnet::Network::new("bench");
                let hosts = (0..1000).map(|n| {
                    let net = net.clone();
                    async move { net.new_host(&format!("h{n}")).await.unwrap() }
                });
                black_box(futures::future::join_all(hosts).await.len());
            });
        }
    });
    let boot_time = total_boot_time / BOOT_RUNS as u32;
    println!("1 000 hosts boot in {boot_time:?}");
    let kib_before = resident_kib();
    let many_time = time(|| many_clients(MANY_CLIENTS, MANY_CLIENTS * ROUND_TRIPS));
    let kib_grown = resident_kib().saturating_sub(kib_before);
    let many_setup_time = time(|| many_clients(MANY_CLIENTS, MANY_CLIENTS));
    let few = time(|| many_clients(FEW_CLIENTS, MANY_CLIENTS * ROUND_TRIPS));
    println!(
        "a host with its task, a connection and its share of a server: {} bytes",
        kib_grown * 1024 / MANY_CLIENTS
    );
    let report =
        |side: &str, many_time: Duration, many_setup_time: Duration, few_time: Duration| {
            let trip_time = many_time.saturating_sub(many_setup_time)
                / ((ROUND_TRIPS - 1) * MANY_CLIENTS) as u32;
            let few_time = few_time / (MANY_CLIENTS * ROUND_TRIPS) as u32;
            let ratio = trip_time.as_nanos() as f64 / few_time.as_nanos() as f64;
            println!(
                "{side}: {trip_time:?} a round trip among {MANY_CLIENTS}, {few_time:?} among \
             {FEW_CLIENTS}: {ratio:.1} times"
            );
        };
    report("ours", many_time, many_setup_time, few);
    let all = time(|| bare_many_clients(MANY_CLIENTS, MANY_CLIENTS * ROUND_TRIPS));
    let many_setup_time = time(|| bare_many_clients(MANY_CLIENTS, MANY_CLIENTS));
    report(
        "bare",
        all,
        many_setup_time,
        time(|| bare_many_clients(FEW_CLIENTS, MANY_CLIENTS * ROUND_TRIPS)),
    );
}
