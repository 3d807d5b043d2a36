//! The fixture of two connected hosts, and futures that a test polls by hand.
//!
//! No executor is involved: a test contains everything that happens between two polls, so its
//! outcome does not depend on a schedule.

pub(crate) mod subprocess;
pub(crate) mod test_network;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::FutureExt;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{Conn, Host, Listener, SubNetwork, pipenet};

/// Two hosts, a listener on each, and one open connection between them.
///
/// ```text
/// α:1 lα          β:1 lβ
/// α:2 cαβ ─────── β:2 cβα
/// ```
#[derive(Debug)]
pub(crate) struct TwoHosts {
    pub(crate) net: SubNetwork,
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) la: Listener,
    pub(crate) lb: Listener,
    pub(crate) ab: Conn,
    pub(crate) ba: Conn,
}

/// Makes the fixture on a fresh pipenet.
pub(crate) fn two_hosts() -> TwoHosts {
    two_hosts_on(pipenet::Network::new("t").subnetwork())
}

/// Makes the fixture on any subnetwork whose futures get along without an executor.
pub(crate) fn two_hosts_on(net: SubNetwork) -> TwoHosts {
    let a = expect_ready_now(net.new_host("α")).unwrap();
    let b = expect_ready_now(net.new_host("β")).unwrap();
    let (la, lb) =
        (expect_ready_now(a.listen("")).unwrap(), expect_ready_now(b.listen("")).unwrap());
    let (ab, ba) = connect(&a, &lb);
    TwoHosts { net, a, b, la, lb, ab, ba }
}

/// Connects a host with a listener.
pub(crate) fn connect(host: &Host, listener: &Listener) -> (Conn, Conn) {
    let addr = listener.local_addr().to_string();
    let mut accept = ManualTask::new({
        let listener = listener.clone();
        async move { listener.accept().await }
    });
    assert!(accept.poll().is_pending());
    let mut dial = ManualTask::new({
        let host = host.clone();
        async move { host.dial(&addr).await }
    });
    (dial.expect_ready().unwrap(), accept.expect_ready().unwrap())
}

/// A future polled by hand, and how often it was woken.
pub(crate) struct ManualTask<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    wakes: Arc<WakeCounter>,
}

#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T> ManualTask<T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    /// Makes a task of it whose value is another.
    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U + 'static) -> ManualTask<U>
    where
        T: 'static,
    {
        ManualTask { future: Box::pin(self.future.map(map)), wakes: self.wakes }
    }

    /// Polls once.
    pub(crate) fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(self.wakes.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls once, for whoever runs it as part of something else.
    pub(crate) fn poll_with(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        self.future.as_mut().poll(cx)
    }

    /// Polls once, and says that it must be done then.
    #[track_caller]
    pub(crate) fn expect_ready(&mut self) -> T {
        match self.poll() {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    /// Polls once, and says that it must wait then.
    #[track_caller]
    pub(crate) fn expect_pending(&mut self) {
        assert!(self.poll().is_pending(), "it does not wait");
    }

    /// Counts how often it was woken since it was last asked.
    pub(crate) fn take_wakes(&self) -> usize {
        self.wakes.0.swap(0, Ordering::Relaxed)
    }
}

/// Runs what never waits.
#[track_caller]
pub(crate) fn expect_ready_now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// Reads once, up to `len` bytes.
pub(crate) fn read(conn: &Conn, len: usize) -> ManualTask<Result<String, String>> {
    let conn = conn.clone();
    ManualTask::new(async move {
        let mut buf = vec![0; len];
        let count = (&conn).read(&mut buf).await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&buf[..count]).into_owned())
    })
}

/// Writes once, and gives how much was taken.
pub(crate) fn write(conn: &Conn, text: &str) -> ManualTask<Result<usize, String>> {
    let (conn, text) = (conn.clone(), text.to_string());
    ManualTask::new(async move {
        (&conn).write(text.as_bytes()).await.map_err(|error| error.to_string())
    })
}

/// Dials, and gives both addresses of the connection.
pub(crate) fn dial(host: &Host, addr: &str) -> ManualTask<Result<Conn, String>> {
    let (host, addr) = (host.clone(), addr.to_string());
    ManualTask::new(async move { host.dial(&addr).await.map_err(|error| error.to_string()) })
}

/// Accepts.
pub(crate) fn accept(listener: &Listener) -> ManualTask<Result<Conn, String>> {
    let listener = listener.clone();
    ManualTask::new(async move { listener.accept().await.map_err(|error| error.to_string()) })
}

/// Says which ports of a host are free, by listening: the lowest `count` of them.
pub(crate) fn free_ports(host: &Host, count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| expect_ready_now(host.listen("")).unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().port()).collect()
}
