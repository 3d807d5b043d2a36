//! The simulated network, held against what it promises.
//!
//! The fixture is two hosts α and β with an open connection, on a network whose every way takes
//! 10 ms and whose registry answers after 1 ms, so that each instant can be told in advance.

mod causality;
mod closing;
mod determinism;
mod fault_kinds;
mod fault_plans;
mod fault_stats;
mod faults;
mod integrity;
mod invalid_arguments;
mod name_service;
mod nodes;
mod overlapping_faults;
mod record_kinds;
mod scale;
mod streams;
mod tcp_acks;
mod timing;
mod transport;

use std::future::Future;
use std::io;
use std::time::Duration;

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::simnet::{Config, Latency, Network, Node};
use virtnet::{Cause, Conn, Host, Instant, Listener, Run, Schedule, Sim, time};

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Every way takes 10 ms, and the registry answers after 1 ms.
pub(crate) fn exact_config() -> Config {
    let config = Config::new().latency(Latency::constant(ms(10)));
    config.region_latency(Latency::constant(ms(50))).registry_latency(Latency::constant(ms(1)))
}

/// Runs a story in which everything happens first come, first served.
#[track_caller]
pub(crate) fn run_fifo<T: 'static>(scenario: impl AsyncFnOnce(Sim) -> T + 'static) -> T {
    let run = Run::new(7).schedule(Schedule::Fifo).time_limit(secs(40_000));
    run.execute(|sim| async move { scenario(sim).await }).unwrap()
}

/// Two hosts, of which the second listens, and an open connection.
///
/// ```text
/// α:1 ab ─── β:2 ba       β:1 lb
/// ```
pub(crate) struct ConnectedPair {
    pub(crate) net: Network,
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) lb: Listener,
    pub(crate) ab: Conn,
    pub(crate) ba: Conn,
}

pub(crate) async fn connected_pair(config: Config) -> ConnectedPair {
    let net = Network::with("t", config);
    let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
    let lb = b.listen("").await.unwrap();
    let (ab, ba) = connect(&a, &lb).await;
    ConnectedPair { net, a, b, lb, ab, ba }
}

pub(crate) async fn connect(host: &Host, listener: &Listener) -> (Conn, Conn) {
    let addr = listener.local_addr().to_string();
    let (dialed, accepted) = join(host.dial(&addr), listener.accept()).await;
    (dialed.unwrap(), accepted.unwrap())
}

/// A node that sends back what it is sent, on port 1.
pub(crate) fn echo_node(net: &Network, name: &str) -> Node {
    net.node(name, echo)
}

/// A program that sends back what it is sent, on port 1.
pub(crate) async fn echo(host: Host) {
    serve_echo(host.listen(":1").await.unwrap()).await;
}

/// Sends back what comes in.
pub(crate) async fn serve_echo(listener: Listener) {
    while let Ok(conn) = listener.accept().await {
        virtnet::spawn(async move {
            while let Ok(text) = read(&conn).await
                && !text.is_empty()
                && write_all(&conn, text.as_bytes()).await.is_ok()
            {}
        });
    }
}

/// What an operation on a connection failed for.
pub(crate) fn cause_of(error: &io::Error) -> Cause {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<virtnet::Error>());
    inner.expect("a connection's errors are the network's").root().clone()
}

/// Reads once: what there is, nothing at the end of the stream.
pub(crate) async fn read(mut conn: &Conn) -> Result<String, Cause> {
    let mut buf = [0; 1024];
    let count = conn.read(&mut buf).await.map_err(|error| cause_of(&error))?;
    Ok(String::from_utf8_lossy(&buf[..count]).into_owned())
}

/// Writes once.
pub(crate) async fn write(mut conn: &Conn, text: &str) -> Result<usize, Cause> {
    conn.write(text.as_bytes()).await.map_err(|error| cause_of(&error))
}

/// Writes it all.
pub(crate) async fn write_all(mut conn: &Conn, bytes: &[u8]) -> Result<(), Cause> {
    conn.write_all(bytes).await.map_err(|error| cause_of(&error))
}

/// Reads so many bytes.
pub(crate) async fn read_exact(mut conn: &Conn, count: usize) -> Vec<u8> {
    let mut buf = vec![0; count];
    conn.read_exact(&mut buf).await.unwrap();
    buf
}

/// How long something takes, and what comes of it.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (Duration, T) {
    let start = time::now();
    let output = future.await;
    (time::now() - start, output)
}

/// Waits until so long after an instant.
pub(crate) async fn sleep_until_after(start: Instant, after: Duration) {
    time::sleep_until(start + after).await;
}

/// What is said by whoever panics while it is asked for something.
pub(crate) fn panic_message(work: impl FnOnce()) -> String {
    let work = std::panic::AssertUnwindSafe(work);
    let payload = std::panic::catch_unwind(work).expect_err("it does not panic");
    let message = payload.downcast_ref::<String>().cloned();
    message.or_else(|| payload.downcast_ref::<&str>().map(|message| (*message).into())).unwrap()
}
