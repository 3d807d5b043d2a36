//! The bare executor, `limit-futures`: a slab of boxed futures, a ready queue and a binary heap.
//!
//! It has no seed, trace or names; its network is pipes with latency. The executor and the pipes
//! are those of `cargo bench`.

// That bench uses more of them.
#[allow(dead_code)]
#[path = "../../../speed/bare.rs"]
mod bare;
#[path = "../../../speed/bare_net.rs"]
mod bare_net;

use std::hint::black_box;

use bare_net::{Endpoint, Listener};
use peers_common::{BLOCKS, BlockBuf, MESSAGE, SHARE, Workload, answer, done, nap};

fn main() {
    answer(|_, workload, n| match workload {
        Workload::Pingpong => bare::run(pingpong(n)),
        Workload::Many(clients) => bare::run(many(clients, n / clients)),
        Workload::Timers(tasks) => bare::run(timers(tasks, n / tasks)),
        Workload::Bulk => bare::run(bulk(n)),
        Workload::Startup => (0..n).for_each(|_| bare::run(startup())),
        Workload::Spawn => bare::run(spawn(n)),
        Workload::Connect => bare::run(connect(n)),
    });
}

async fn echo(conn: Endpoint, times: u64) {
    let mut buf = [0; MESSAGE];
    for _ in 0..times {
        conn.read_exact(&mut buf).await;
        conn.write_all(&buf).await;
    }
}

async fn ask(conn: &Endpoint, times: u64) {
    let mut buf = [7; MESSAGE];
    for _ in 0..times {
        conn.write_all(&buf).await;
        conn.read_exact(&mut buf).await;
    }
    done(times);
}

async fn pingpong(n: u64) {
    let listener = Listener::default();
    let at = listener.clone();
    let server = bare::spawn(async move { echo(listener.accept().await, n).await });
    ask(&at.dial().await, n).await;
    server.await;
}

async fn many(clients: u64, times: u64) {
    let listeners: Vec<Listener> =
        (0..clients.div_ceil(SHARE)).map(|_| Listener::default()).collect();
    for listener in &listeners {
        let listener = listener.clone();
        drop(bare::spawn(async move {
            loop {
                let conn = listener.accept().await;
                drop(bare::spawn(echo(conn, times)));
            }
        }));
    }
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let listener = listeners[(client / SHARE) as usize].clone();
            bare::spawn(async move { ask(&listener.dial().await, times).await })
        })
        .collect();
    for client in clients {
        client.await;
    }
}

async fn timers(tasks: u64, times: u64) {
    let tasks: Vec<_> = (0..tasks)
        .map(|mut state| {
            bare::spawn(async move {
                for _ in 0..times {
                    bare::sleep(nap(&mut state).as_nanos() as u64).await;
                }
                done(times);
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
}

async fn bulk(mebibytes: u64) {
    let listener = Listener::default();
    let at = listener.clone();
    let server = bare::spawn(async move {
        let conn = listener.accept().await;
        let mut buf = BlockBuf::read();
        for _ in 0..BLOCKS * mebibytes {
            conn.read_exact(&mut buf).await;
        }
        black_box(buf[0]);
        done(mebibytes);
    });
    let conn = at.dial().await;
    let buf = BlockBuf::written();
    for _ in 0..BLOCKS * mebibytes {
        conn.write_all(&buf).await;
    }
    server.await;
}

async fn startup() {
    let listener = Listener::default();
    let at = listener.clone();
    let server = bare::spawn(async move { echo(listener.accept().await, 1).await });
    bare::spawn(async move { ask(&at.dial().await, 1).await }).await;
    server.await;
}

async fn spawn(n: u64) {
    for i in 0..n {
        black_box(bare::spawn(async move { i }).await);
    }
    done(n);
}

async fn connect(n: u64) {
    let listener = Listener::default();
    let at = listener.clone();
    drop(bare::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    }));
    for _ in 0..n {
        drop(at.dial().await);
    }
    done(n);
}
