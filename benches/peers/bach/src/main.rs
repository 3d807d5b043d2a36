//! bach: queues and tasks over discrete events, and UDP.
//!
//! `default` is its runtime without changes: 50 ms for every packet, queues of 4 096 and 65 535.
//! `same` has the latencies of the other contenders, 1 to 10 ms, by a custom queue ([`latency`]),
//! which is cheaper than bach's packet monitor. `tuned` has 5 ms for every packet. Both have short
//! queues, which are cheaper to create. bach has no TCP, so a connection is a pair of sockets.

mod latency;

use std::hint::black_box;

use bach::environment::default::Runtime;
use bach::environment::net::queue::Fixed;
use bach::ext::*;
use bach::net::{SocketAddr, UdpSocket, lookup_host};
use bach::time::sleep;
use peers_common::{BLOCK, BLOCKS, BlockBuf, MESSAGE, SHARE, Workload, answer, done, nap};

use latency::Uniform;

/// How many datagrams of the bulk workload are under way at most, and how many one answer is for.
const WINDOW: u64 = 64;
const ANSWERED: u64 = 32;

fn main() {
    answer(|variant, workload, n| {
        let run = |seed, main: &dyn Fn()| runtime(variant, seed).run(main);
        match workload {
            Workload::Pingpong => run(1, &|| pingpong(n)),
            Workload::Many(clients) => run(1, &|| many(clients, n / clients)),
            Workload::Timers(tasks) => run(1, &|| timers(tasks, n / tasks)),
            Workload::Bulk => run(1, &|| bulk(n)),
            Workload::Startup => (0..n).for_each(|seed| run(seed, &startup)),
            Workload::Spawn => run(1, &|| spawn(n)),
            Workload::Connect => run(1, &|| connect(n)),
        }
    });
}

fn runtime(variant: &str, seed: u64) -> Runtime {
    let runtime = Runtime::new().with_seed(seed);
    match variant {
        "default" => runtime,
        "same" => runtime.with_net_queues(Some(Box::new(Uniform::new(seed)))),
        "tuned" => {
            let limit = Some(latency::LIMIT);
            let queues = Fixed::default()
                .with_tx_packet_limit(limit)
                .with_rx_packet_limit(limit)
                .with_inflight_limit(limit)
                .with_net_latency(5.ms());
            runtime.with_net_queues(Some(Box::new(queues)))
        }
        _ => panic!("no variant {variant}"),
    }
}

async fn socket() -> UdpSocket {
    UdpSocket::bind("0.0.0.0:0").await.unwrap()
}

async fn find(server: u64) -> SocketAddr {
    lookup_host(format!("s{server}:80")).await.unwrap().next().unwrap()
}

/// Answers so many messages, of whomever.
fn serve(server: u64, times: u64) {
    async move {
        let socket = UdpSocket::bind(format!("s{server}:80")).await.unwrap();
        let mut buf = [0; MESSAGE];
        for _ in 0..times {
            let (len, from) = socket.recv_from(&mut buf).await.unwrap();
            socket.send_to(&buf[..len], from).await.unwrap();
        }
        // Its sockets close with it, and what it sent must arrive.
        std::future::pending::<()>().await;
    }
    .group(format!("s{server}"))
    .spawn();
}

async fn ask(socket: &UdpSocket, server: SocketAddr, times: u64) {
    let mut buf = [7; MESSAGE];
    for _ in 0..times {
        socket.send_to(&buf, server).await.unwrap();
        socket.recv_from(&mut buf).await.unwrap();
    }
    done(times);
}

fn client(number: u64, server: u64, times: u64) {
    async move { ask(&socket().await, find(server).await, times).await }
        .group(format!("c{number}"))
        .primary()
        .spawn();
}

fn pingpong(n: u64) {
    serve(0, n);
    client(0, 0, n);
}

fn many(clients: u64, times: u64) {
    (0..clients.div_ceil(SHARE)).for_each(|server| serve(server, SHARE * times));
    (0..clients).for_each(|number| client(number, number / SHARE, times));
}

fn timers(tasks: u64, times: u64) {
    for mut state in 0..tasks {
        async move {
            for _ in 0..times {
                sleep(nap(&mut state)).await;
            }
            done(times);
        }
        .primary()
        .spawn();
    }
}

fn bulk(mebibytes: u64) {
    let blocks = BLOCKS * mebibytes;
    async move {
        let socket = UdpSocket::bind("s0:80").await.unwrap();
        let mut buf = BlockBuf::read();
        for block in 1..=blocks {
            let (_, from) = socket.recv_from(&mut buf).await.unwrap();
            if block % ANSWERED == 0 {
                socket.send_to(&[1], from).await.unwrap();
            }
        }
        black_box(buf[0]);
        done(mebibytes);
    }
    .group("s0")
    .primary()
    .spawn();
    async move {
        let (socket, server) = (socket().await, find(0).await);
        let buf = BlockBuf::written();
        let mut under_way = 0;
        for _ in 0..blocks {
            if under_way == WINDOW {
                socket.recv_from(&mut [0]).await.unwrap();
                under_way -= ANSWERED;
            }
            assert_eq!(socket.send_to(&buf, server).await.unwrap(), BLOCK);
            under_way += 1;
        }
        std::future::pending::<()>().await;
    }
    .group("c0")
    .spawn();
}

fn startup() {
    serve(0, 1);
    client(0, 0, 1);
    async {}.group("idle").spawn();
}

fn spawn(n: u64) {
    async move {
        for i in 0..n {
            black_box(bach::spawn(async move { i }).await.unwrap());
            // At one instant it allows 100 000 steps.
            if i % 10_000 == 0 {
                sleep(1.ns()).await;
            }
        }
        done(n);
    }
    .primary()
    .spawn();
}

fn connect(n: u64) {
    serve(0, n);
    async move {
        let server = find(0).await;
        for _ in 0..n {
            ask(&socket().await, server, 1).await;
        }
    }
    .group("c0")
    .primary()
    .spawn();
}
