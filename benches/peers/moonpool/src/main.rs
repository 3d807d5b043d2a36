//! moonpool-sim: an executor that draws which task is next, and a network of streams.
//!
//! `same` drives its world and executor by hand, which is the fastest way: faults off, latencies
//! of 1 to 10 ms. `default` is its `SimulationBuilder`, whose buggify and random failures are
//! always on, so that only short runs finish.

mod builder;

use std::future::Future;
use std::hint::black_box;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use moonpool_sim::executor::{Executor, spawn as start, until_stalled};
use moonpool_sim::{
    ChaosConfiguration, LatencyDistribution, NetworkConfiguration, NetworkProvider,
    SimNetworkProvider, SimTimeProvider, SimWorld, TcpListenerTrait, TimeProvider,
};
use peers_common::{BLOCKS, BlockBuf, MESSAGE, SHARE, Workload, answer, done, nap};

type Conn = <SimNetworkProvider as NetworkProvider>::TcpStream;

fn main() {
    answer(|variant, workload, n| match (workload, variant) {
        (Workload::Startup, "default") => builder::startup(n),
        (_, "default") => panic!("its faults would strike"),
        (Workload::Pingpong, _) => run(1, |net, _| pingpong(net, n)),
        (Workload::Many(clients), _) => run(1, |net, _| many(net, clients, n / clients)),
        (Workload::Timers(tasks), _) => run(1, |_, time| timers(time, tasks, n / tasks)),
        (Workload::Bulk, _) => run(1, |net, _| bulk(net, n)),
        (Workload::Startup, _) => (0..n).for_each(|seed| run(seed, |net, _| startup(net))),
        (Workload::Spawn, _) => run(1, |_, time| spawn(time, n)),
        (Workload::Connect, _) => run(1, |net, _| connect(net, n)),
    });
}

fn run<Fut: Future<Output = ()> + Send + 'static>(
    seed: u64,
    main: impl FnOnce(SimNetworkProvider, SimTimeProvider) -> Fut,
) {
    let between = |least, most| LatencyDistribution::Uniform {
        start: Duration::from_millis(least),
        end: Duration::from_millis(most),
    };
    let config = NetworkConfiguration {
        bind_latency: between(0, 0),
        accept_latency: between(0, 0),
        connect_latency: between(1, 10),
        read_latency: between(0, 0),
        write_latency: between(1, 10),
        chaos: ChaosConfiguration::disabled(),
    };
    let mut sim = SimWorld::new_with_network_config_and_seed(config, seed);
    let main = main(sim.network_provider(), sim.time_provider());
    Executor::new(seed).block_on(async {
        let main = start("main", main);
        loop {
            until_stalled().await;
            if main.is_finished() {
                break main.await.unwrap();
            }
            sim.step();
        }
    });
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

async fn pingpong(net: SimNetworkProvider, n: u64) {
    let listener = net.bind("b").await.unwrap();
    let server = start("server", async move { echo(listener.accept().await.unwrap().0, n).await });
    ask(net.connect("b").await.unwrap(), n).await;
    server.await.unwrap();
}

/// Each client has a listener of its own: one holds a single connection that was not accepted yet.
async fn many(net: SimNetworkProvider, clients: u64, times: u64) {
    for server in 0..clients.div_ceil(SHARE) {
        for client in SHARE * server..clients.min(SHARE * (server + 1)) {
            let listener = net.bind(&format!("s{server}:{client}")).await.unwrap();
            drop(start("server", async move {
                echo(listener.accept().await.unwrap().0, times).await;
            }));
        }
    }
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let net = net.clone();
            let at = format!("s{}:{client}", client / SHARE);
            start("client", async move { ask(net.connect(&at).await.unwrap(), times).await })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

async fn timers(time: SimTimeProvider, tasks: u64, times: u64) {
    let mut handles = Vec::new();
    for mut state in 0..tasks {
        let sleeper = time.clone();
        handles.push(start("sleeper", async move {
            for _ in 0..times {
                sleeper.sleep(nap(&mut state)).await.unwrap();
            }
            done(times);
        }));
        // At one instant it allows 1 000 000 polls.
        if state % 500_000 == 499_999 {
            time.sleep(Duration::from_nanos(1)).await.unwrap();
        }
    }
    for task in handles {
        task.await.unwrap();
    }
}

async fn bulk(net: SimNetworkProvider, mebibytes: u64) {
    let listener = net.bind("b").await.unwrap();
    let server = start("server", async move {
        let (mut conn, _) = listener.accept().await.unwrap();
        let mut buf = BlockBuf::read();
        for _ in 0..BLOCKS * mebibytes {
            conn.read_exact(&mut buf).await.unwrap();
        }
        black_box(buf[0]);
        done(mebibytes);
    });
    let mut conn = net.connect("b").await.unwrap();
    let buf = BlockBuf::written();
    for _ in 0..BLOCKS * mebibytes {
        conn.write_all(&buf).await.unwrap();
    }
    server.await.unwrap();
}

/// At this level there are no hosts to be made: an address is a name.
async fn startup(net: SimNetworkProvider) {
    let listener = net.bind("b").await.unwrap();
    let server = start("server", async move { echo(listener.accept().await.unwrap().0, 1).await });
    let client = async move { ask(net.connect("b").await.unwrap(), 1).await };
    start("client", client).await.unwrap();
    server.await.unwrap();
}

async fn spawn(time: SimTimeProvider, n: u64) {
    for i in 0..n {
        black_box(start("task", async move { i }).await.unwrap());
        // As there.
        if i % 100_000 == 0 {
            time.sleep(Duration::from_nanos(1)).await.unwrap();
        }
    }
    done(n);
}

async fn connect(net: SimNetworkProvider, n: u64) {
    let listener = net.bind("b").await.unwrap();
    let server = start("server", async move {
        for _ in 0..n {
            drop(listener.accept().await.unwrap());
        }
    });
    for _ in 0..n {
        drop(net.connect("b").await.unwrap());
    }
    done(n);
    server.abort();
}
