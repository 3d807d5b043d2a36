//! How fast lonet and `os::Tcp` are, beside tokio's TCP on the loopback interface.
//!
//! ```text
//! cargo bench --bench real                 all
//! cargo bench --bench real -- pingpong     only what has that in its name
//! ```
//!
//! The machine may be shared and noisy, so what is printed is the median of ratios: in each pass
//! all of them run right after each other. All are clients and servers in the same process; in one
//! thread they take turns, in two they wait for each other across threads, as processes do.

use std::future::Future;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use virtnet::os::Tcp;
use virtnet::{Conn, Listener, Networker, lonet};

/// How often each is timed.
const PASSES: usize = 7;

type Work = fn(u64) -> Duration;

/// One thing, done by three: the first is tokio.
type Workload = (&'static str, u64, [(&'static str, Work); 3]);

const WORKLOADS: &[Workload] = &[
    (
        "pingpong, one thread",
        20_000,
        [("tokio", tokio_pingpong), ("lonet", lonet_pingpong), ("os::Tcp", tcp_pingpong)],
    ),
    (
        "pingpong, two threads",
        10_000,
        [("tokio", tokio_two_threads), ("lonet", lonet_two_threads), ("os::Tcp", tcp_two_threads)],
    ),
    (
        "dial, accept, close",
        2_000,
        [("tokio", tokio_dials), ("lonet", lonet_dials), ("os::Tcp", tcp_dials)],
    ),
];

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("{:24} {:10} {:>12} {:>14} {:>8}", "", "", "ns each", "a second", "ratio");
    for (name, times, works) in WORKLOADS {
        if !only.is_empty() && !only.iter().any(|only| name.contains(&**only)) {
            continue;
        }
        let mut passes = Vec::new();
        for pass in 0..=PASSES {
            let each = works.map(|(_, work)| work(*times).as_nanos() as f64 / *times as f64);
            // The first one warms up.
            if pass > 0 {
                passes.push(each);
            }
        }
        for (at, (who, _)) in works.iter().enumerate() {
            let each = median(passes.iter().map(|pass| pass[at]).collect());
            let ratio = median(passes.iter().map(|pass| pass[at] / pass[0]).collect());
            println!("{name:24} {who:10} {each:12.0} {:14.0} {ratio:8.2}", 1e9 / each);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn on_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.expect("a runtime").block_on(future)
}

// ---- tokio ----

async fn tokio_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (dialed, accepted) = join(TcpStream::connect(at), listener.accept()).await;
    let (dialed, (accepted, _)) = (dialed.unwrap(), accepted.unwrap());
    dialed.set_nodelay(true).unwrap();
    accepted.set_nodelay(true).unwrap();
    (dialed, accepted)
}

async fn tokio_echo(mut conn: TcpStream, times: u64) {
    let mut buf = [0; 64];
    for _ in 0..times {
        conn.read_exact(&mut buf).await.unwrap();
        conn.write_all(&buf).await.unwrap();
    }
}

async fn tokio_ask(mut conn: TcpStream, times: u64) -> Duration {
    let (mut buf, start) = ([7; 64], Instant::now());
    for _ in 0..times {
        conn.write_all(&buf).await.unwrap();
        conn.read_exact(&mut buf).await.unwrap();
    }
    start.elapsed()
}

fn tokio_pingpong(times: u64) -> Duration {
    on_tokio(async {
        let (dialed, accepted) = tokio_pair().await;
        let echo = tokio::spawn(tokio_echo(accepted, times));
        let took = tokio::spawn(tokio_ask(dialed, times)).await.unwrap();
        echo.await.unwrap();
        took
    })
}

fn tokio_two_threads(times: u64) -> Duration {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let echo = thread::spawn(move || {
        on_tokio(async {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            let (conn, _) = listener.accept().await.unwrap();
            conn.set_nodelay(true).unwrap();
            tokio_echo(conn, times).await;
        });
    });
    let took = on_tokio(async {
        let conn = TcpStream::connect(at).await.unwrap();
        conn.set_nodelay(true).unwrap();
        tokio_ask(conn, times).await
    });
    echo.join().unwrap();
    took
}

fn tokio_dials(times: u64) -> Duration {
    on_tokio(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let start = Instant::now();
        for _ in 0..times {
            let (dialed, accepted) = join(TcpStream::connect(at), listener.accept()).await;
            drop((dialed.unwrap(), accepted.unwrap()));
        }
        start.elapsed()
    })
}

// ---- ours, on the same executor ----

async fn echo(mut conn: Conn, times: u64) {
    let mut buf = [0; 64];
    for _ in 0..times {
        conn.read_exact(&mut buf).await.unwrap();
        conn.write_all(&buf).await.unwrap();
    }
}

async fn ask(mut conn: Conn, times: u64) -> Duration {
    let (mut buf, start) = ([7; 64], Instant::now());
    for _ in 0..times {
        conn.write_all(&buf).await.unwrap();
        conn.read_exact(&mut buf).await.unwrap();
    }
    start.elapsed()
}

async fn pair(network: &dyn Networker, listener: &Listener) -> (Conn, Conn) {
    let at = listener.local_addr().to_string();
    let (dialed, accepted) = join(network.dial(&at), listener.accept()).await;
    (dialed.unwrap(), accepted.unwrap())
}

/// A way onto a network of ours, and a listener on it.
fn lonet_way() -> (impl Networker, Listener) {
    futures::executor::block_on(async {
        let net = lonet::join("").await.unwrap();
        let server = net.new_host("server").await.unwrap();
        (net.new_host("client").await.unwrap(), server.listen(":80").await.unwrap())
    })
}

fn tcp_way() -> (impl Networker, Listener) {
    let tcp = Tcp::new();
    let listener = futures::executor::block_on(tcp.listen("127.0.0.1:0")).unwrap();
    (tcp, listener)
}

fn pingpong((network, listener): (impl Networker, Listener), times: u64) -> Duration {
    on_tokio(async {
        let (dialed, accepted) = pair(&network, &listener).await;
        let echo = tokio::spawn(echo(accepted, times));
        let took = tokio::spawn(ask(dialed, times)).await.unwrap();
        echo.await.unwrap();
        took
    })
}

/// Each thread on the executor of async-io, which is where the reactor is at home.
fn two_threads((network, listener): (impl Networker, Listener), times: u64) -> Duration {
    let at = listener.local_addr().to_string();
    let echo = thread::spawn(move || {
        async_io::block_on(async { echo(listener.accept().await.unwrap(), times).await });
    });
    let took = async_io::block_on(async { ask(network.dial(&at).await.unwrap(), times).await });
    echo.join().unwrap();
    took
}

/// On the executor of async-io, as above; on tokio every wake-up crosses a thread more.
fn dials((network, listener): (impl Networker, Listener), times: u64) -> Duration {
    async_io::block_on(async {
        let start = Instant::now();
        for _ in 0..times {
            drop(pair(&network, &listener).await);
        }
        start.elapsed()
    })
}

fn lonet_pingpong(times: u64) -> Duration {
    pingpong(lonet_way(), times)
}

fn tcp_pingpong(times: u64) -> Duration {
    pingpong(tcp_way(), times)
}

fn lonet_two_threads(times: u64) -> Duration {
    two_threads(lonet_way(), times)
}

fn tcp_two_threads(times: u64) -> Duration {
    two_threads(tcp_way(), times)
}

fn lonet_dials(times: u64) -> Duration {
    dials(lonet_way(), times)
}

fn tcp_dials(times: u64) -> Duration {
    dials(tcp_way(), times)
}
