//! The workloads on lonet and `os::Tcp`, which differ only in how the network is opened.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::os::Tcp;
use virtnet::{Conn, Listener, Networker, SubNetwork, lonet};

use crate::server_process::{ServerProcess, announce};
use crate::tokio_workloads::block_on_tokio;

/// Where the networks of lonet are, in this process and its servers.
pub(crate) static NETWORKS_FOLDER: OnceLock<PathBuf> = OnceLock::new();

async fn join_lonet(name: &str) -> SubNetwork {
    let folder = NETWORKS_FOLDER.get().expect("the first thing that is done");
    lonet::Config::new().folder(folder).join(name).await.unwrap()
}

async fn echo(mut conn: Conn, times: u64) {
    let mut buf = [0; 64];
    for _ in 0..times {
        conn.read_exact(&mut buf).await.unwrap();
        conn.write_all(&buf).await.unwrap();
    }
}

async fn ping(mut conn: Conn, times: u64) -> Duration {
    let (mut buf, start) = ([7; 64], Instant::now());
    for _ in 0..times {
        conn.write_all(&buf).await.unwrap();
        conn.read_exact(&mut buf).await.unwrap();
    }
    start.elapsed()
}

async fn connect_pair(network: &dyn Networker, listener: &Listener) -> (Conn, Conn) {
    let addr = listener.local_addr().to_string();
    let (dialed, accepted) = join(network.dial(&addr), listener.accept()).await;
    (dialed.unwrap(), accepted.unwrap())
}

/// A way onto a network of ours, and a listener on it.
fn new_lonet() -> (impl Networker, Listener) {
    futures::executor::block_on(async {
        let net = join_lonet("").await;
        let server = net.new_host("server").await.unwrap();
        (net.new_host("client").await.unwrap(), server.listen(":80").await.unwrap())
    })
}

fn new_tcp() -> (impl Networker, Listener) {
    let tcp = Tcp::new();
    let listener = futures::executor::block_on(tcp.listen("127.0.0.1:0")).unwrap();
    (tcp, listener)
}

fn pingpong((network, listener): (impl Networker, Listener), times: u64) -> Duration {
    block_on_tokio(async {
        let (dialed, accepted) = connect_pair(&network, &listener).await;
        let echo = ::tokio::spawn(echo(accepted, times));
        let took = ::tokio::spawn(ping(dialed, times)).await.unwrap();
        echo.await.unwrap();
        took
    })
}

/// Each thread on the executor of async-io, which is where the reactor is at home.
fn two_threads((network, listener): (impl Networker, Listener), times: u64) -> Duration {
    let addr = listener.local_addr().to_string();
    let echo = thread::spawn(move || {
        async_io::block_on(async { echo(listener.accept().await.unwrap(), times).await });
    });
    let took = async_io::block_on(async { ping(network.dial(&addr).await.unwrap(), times).await });
    echo.join().unwrap();
    took
}

/// On the executor of async-io, as above; on tokio every wake-up crosses a thread more.
fn dials((network, listener): (impl Networker, Listener), times: u64) -> Duration {
    async_io::block_on(async {
        let start = Instant::now();
        for _ in 0..times {
            drop(connect_pair(&network, &listener).await);
        }
        start.elapsed()
    })
}

pub(crate) fn lonet_pingpong(times: u64) -> Duration {
    pingpong(new_lonet(), times)
}

pub(crate) fn tcp_pingpong(times: u64) -> Duration {
    pingpong(new_tcp(), times)
}

pub(crate) fn lonet_two_threads(times: u64) -> Duration {
    two_threads(new_lonet(), times)
}

pub(crate) fn tcp_two_threads(times: u64) -> Duration {
    two_threads(new_tcp(), times)
}

pub(crate) fn lonet_dials(times: u64) -> Duration {
    dials(new_lonet(), times)
}

pub(crate) fn tcp_dials(times: u64) -> Duration {
    dials(new_tcp(), times)
}

// ---- in two processes ----

/// Serves in a process of its own, until that is ended: an echo on each connection.
fn serve(listener: &Listener) {
    async_io::block_on(async {
        loop {
            let mut conn = listener.accept().await.unwrap();
            let mut buf = [0; 64];
            while conn.read_exact(&mut buf).await.is_ok() {
                conn.write_all(&buf).await.unwrap();
            }
        }
    });
}

pub(crate) fn lonet_serve(folder: String) {
    NETWORKS_FOLDER.set(folder.into()).unwrap();
    let net = async_io::block_on(join_lonet(""));
    let server = async_io::block_on(net.new_host("server")).unwrap();
    let listener = async_io::block_on(server.listen(":80")).unwrap();
    announce(&[&net.network()["lonet".len()..], "server:80"]);
    serve(&listener);
}

pub(crate) fn tcp_serve() {
    let (_tcp, listener) = new_tcp();
    announce(&[&listener.local_addr().to_string()]);
    serve(&listener);
}

fn lonet_client(server: &ServerProcess) -> impl Networker + use<> {
    async_io::block_on(async {
        join_lonet(&server.announced[0]).await.new_host("client").await.unwrap()
    })
}

fn ping_process(network: impl Networker, addr: &str, times: u64) -> Duration {
    async_io::block_on(async { ping(network.dial(addr).await.unwrap(), times).await })
}

pub(crate) fn lonet_pingpong_processes(times: u64) -> Duration {
    let server = ServerProcess::start_with_folder("lonet", NETWORKS_FOLDER.get().unwrap());
    ping_process(lonet_client(&server), &server.announced[1], times)
}

pub(crate) fn tcp_pingpong_processes(times: u64) -> Duration {
    let server = ServerProcess::start("tcp");
    ping_process(Tcp::new(), &server.announced[0], times)
}

pub(crate) fn lonet_dials_processes(times: u64) -> Duration {
    let server = ServerProcess::start_with_folder("lonet", NETWORKS_FOLDER.get().unwrap());
    let network = lonet_client(&server);
    async_io::block_on(async {
        let start = Instant::now();
        for _ in 0..times {
            drop(network.dial(&server.announced[1]).await.unwrap());
        }
        start.elapsed()
    })
}
