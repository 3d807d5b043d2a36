//! A test network whose engine and registry yield at each await, and which counts its connections.
//!
//! It implements the engine's side of the net layer. Its connections carry no data.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use futures::future::{BoxFuture, FutureExt};
use virtnet::{
    Addr, Args, Cause, Engine, Host, Notifier, RawConn, Registry, RegistryError, SubNetwork,
};

use crate::support::ManualTask;

/// The network, and the engine's side of it.
pub(crate) struct TestNetwork {
    pub(crate) subnetwork: SubNetwork,
    pub(crate) notifier: Notifier,
    pub(crate) engine: Arc<TestEngine>,
}

/// Engine and registry in one; each of their awaits yields a number of times first.
#[derive(Default)]
pub(crate) struct TestEngine {
    yields_per_await: usize,
    notifier: OnceLock<Notifier>,
    names: Mutex<BTreeSet<String>>,
    pub(crate) conn_counts: Arc<ConnCounts>,
    /// Runs in the very poll in which a dial or a host is about to succeed, and may make it
    /// fail.
    pub(crate) before_success: OnceLock<Box<dyn Fn() -> Result<(), Cause> + Send + Sync>>,
}

/// How many ends of connections there are, and what became of them.
#[derive(Default)]
pub(crate) struct ConnCounts {
    pub(crate) alive: AtomicUsize,
    pub(crate) closed: AtomicUsize,
    pub(crate) aborted: AtomicUsize,
    /// Which closing from now on is to panic; 0 is none.
    pub(crate) closes_until_panic: AtomicUsize,
}

impl TestNetwork {
    pub(crate) fn new(yields: usize) -> Self {
        let engine = Arc::new(TestEngine { yields_per_await: yields, ..TestEngine::default() });
        let (net, notifier) = SubNetwork::new("lab", engine.clone(), engine.clone());
        let _ = engine.notifier.set(notifier.clone());
        Self { subnetwork: net, notifier, engine }
    }

    /// Makes a host, however often that yields.
    pub(crate) fn host(&self, name: &str) -> Host {
        let (net, name) = (self.subnetwork.clone(), name.to_string());
        let mut task = ManualTask::new(async move { net.new_host(&name).await });
        loop {
            if let Poll::Ready(host) = task.poll() {
                return host.unwrap();
            }
        }
    }

    pub(crate) fn new_conn(&self) -> Box<dyn RawConn> {
        self.engine.new_conn()
    }

    pub(crate) fn live_conns(&self) -> usize {
        self.engine.conn_counts.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn closed_conns(&self) -> usize {
        self.engine.conn_counts.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn aborted_conns(&self) -> usize {
        self.engine.conn_counts.aborted.load(Ordering::Relaxed)
    }

    pub(crate) fn registered_names(&self) -> Vec<String> {
        self.engine.names.lock().unwrap().iter().cloned().collect()
    }
}

impl TestEngine {
    fn new_conn(&self) -> Box<dyn RawConn> {
        self.conn_counts.alive.fetch_add(1, Ordering::Relaxed);
        Box::new(IdleConn {
            counts: self.conn_counts.clone(),
            is_down: OnceLock::new(),
            wakers: Mutex::default(),
        })
    }

    async fn yield_repeatedly(&self) {
        let mut remaining = self.yields_per_await;
        poll_fn(|cx| match remaining {
            0 => Poll::Ready(()),
            _ => {
                remaining -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }
}

impl Engine for TestEngine {
    fn new_host<'a>(
        &'a self,
        hostname: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>> {
        async move {
            self.yield_repeatedly().await;
            registry.announce(hostname, "").await?;
            self.yield_repeatedly().await;
            self.before_success.get().map_or(Ok(()), |meddle| meddle())
        }
        .boxed()
    }

    fn dial<'a>(
        &'a self,
        src: &'a Addr,
        dst: &'a Addr,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>> {
        async move {
            self.yield_repeatedly().await;
            let accept = self.notifier.get().ok_or(Cause::NetDown)?.accept(src, dst).await?;
            self.yield_repeatedly().await;
            let addr = accept.addr().clone();
            accept.confirm(self.new_conn());
            let dialer_conn = self.new_conn();
            self.yield_repeatedly().await;
            self.before_success.get().map_or(Ok(()), |meddle| meddle())?;
            Ok((dialer_conn, addr))
        }
        .boxed()
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

impl Registry for TestEngine {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        async move {
            self.yield_repeatedly().await;
            if self.names.lock().unwrap().insert(hostname.to_string()) {
                return Ok(());
            }
            let (registry, cause) = ("lab".to_string(), Cause::HostExists);
            Err(RegistryError { registry, op: "announce", args: Args::None, cause })
        }
        .boxed()
    }

    fn query<'a>(&'a self, _hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        async move {
            self.yield_repeatedly().await;
            Ok(String::new())
        }
        .boxed()
    }

    fn withdraw(&self, hostname: &str) {
        self.names.lock().unwrap().remove(hostname);
    }

    fn close(&self) -> Result<(), RegistryError> {
        Ok(())
    }
}

/// An end of a connection on which nothing ever comes.
struct IdleConn {
    counts: Arc<ConnCounts>,
    is_down: OnceLock<()>,
    wakers: Mutex<Vec<Waker>>,
}

impl IdleConn {
    fn poll_until_down<T>(&self, cx: &Context<'_>) -> Poll<io::Result<T>> {
        if self.is_down.get().is_some() {
            return Poll::Ready(Err(Cause::BrokenPipe.into()));
        }
        self.wakers.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    }

    fn take_down(&self) {
        let _ = self.is_down.set(());
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl RawConn for IdleConn {
    fn poll_read(&self, cx: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_until_down(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_until_down(cx)
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_until_down(cx)
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn abort(&self) {
        self.counts.aborted.fetch_add(1, Ordering::Relaxed);
        self.take_down();
    }

    fn close(&self) {
        self.counts.closed.fetch_add(1, Ordering::Relaxed);
        if self.counts.closes_until_panic.load(Ordering::Relaxed) > 0 {
            assert_ne!(
                self.counts.closes_until_panic.fetch_sub(1, Ordering::Relaxed),
                1,
                "the fuse is burnt"
            );
        }
        self.take_down();
    }
}

impl Drop for IdleConn {
    fn drop(&mut self) {
        self.counts.alive.fetch_sub(1, Ordering::Relaxed);
    }
}
