//! A network whose every part can be made to wait, and which counts what it has given out.
//!
//! Knows the implementer's side of the net layer. Its connections carry nothing.

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

use crate::support::Task;

/// The network, and the engine's side of it.
pub(crate) struct Lab {
    pub(crate) net: SubNetwork,
    pub(crate) notifier: Notifier,
    pub(crate) engine: Arc<LabEngine>,
}

/// Engine and registry in one; each of their awaits yields a number of times first.
#[derive(Default)]
pub(crate) struct LabEngine {
    yields: usize,
    notifier: OnceLock<Notifier>,
    names: Mutex<BTreeSet<String>>,
    pub(crate) wires: Arc<Wires>,
    /// Runs in the very poll in which a dial or a host is about to succeed, and may make it
    /// fail.
    pub(crate) meddle: OnceLock<Box<dyn Fn() -> Result<(), Cause> + Send + Sync>>,
}

/// How many ends of connections there are, and what became of them.
#[derive(Default)]
pub(crate) struct Wires {
    pub(crate) alive: AtomicUsize,
    pub(crate) closed: AtomicUsize,
    pub(crate) aborted: AtomicUsize,
    /// Which closing from now on is to panic; 0 is none.
    pub(crate) fuse: AtomicUsize,
}

impl Lab {
    pub(crate) fn new(yields: usize) -> Self {
        let engine = Arc::new(LabEngine { yields, ..LabEngine::default() });
        let (net, notifier) = SubNetwork::new("lab", engine.clone(), engine.clone());
        let _ = engine.notifier.set(notifier.clone());
        Self { net, notifier, engine }
    }

    /// Makes a host, however often that yields.
    pub(crate) fn host(&self, name: &str) -> Host {
        let (net, name) = (self.net.clone(), name.to_string());
        let mut task = Task::new(async move { net.new_host(&name).await });
        loop {
            if let Poll::Ready(host) = task.poll() {
                return host.unwrap();
            }
        }
    }

    pub(crate) fn wire(&self) -> Box<dyn RawConn> {
        self.engine.wire()
    }

    pub(crate) fn alive(&self) -> usize {
        self.engine.wires.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn closed(&self) -> usize {
        self.engine.wires.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn aborted(&self) -> usize {
        self.engine.wires.aborted.load(Ordering::Relaxed)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.engine.names.lock().unwrap().iter().cloned().collect()
    }
}

impl LabEngine {
    fn wire(&self) -> Box<dyn RawConn> {
        self.wires.alive.fetch_add(1, Ordering::Relaxed);
        Box::new(Wire {
            wires: self.wires.clone(),
            down: OnceLock::new(),
            waiting: Mutex::default(),
        })
    }

    async fn pause(&self) {
        let mut left = self.yields;
        poll_fn(|cx| match left {
            0 => Poll::Ready(()),
            _ => {
                left -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }
}

impl Engine for LabEngine {
    fn new_host<'a>(
        &'a self,
        hostname: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>> {
        async move {
            self.pause().await;
            registry.announce(hostname, "").await?;
            self.pause().await;
            self.meddle.get().map_or(Ok(()), |meddle| meddle())
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
            self.pause().await;
            let accept = self.notifier.get().ok_or(Cause::NetDown)?.accept(src, dst).await?;
            self.pause().await;
            let addr = accept.addr().clone();
            accept.confirm(self.wire());
            let near = self.wire();
            self.pause().await;
            self.meddle.get().map_or(Ok(()), |meddle| meddle())?;
            Ok((near, addr))
        }
        .boxed()
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

impl Registry for LabEngine {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        async move {
            self.pause().await;
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
            self.pause().await;
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
struct Wire {
    wires: Arc<Wires>,
    down: OnceLock<()>,
    waiting: Mutex<Vec<Waker>>,
}

impl Wire {
    fn poll<T>(&self, cx: &Context<'_>) -> Poll<io::Result<T>> {
        if self.down.get().is_some() {
            return Poll::Ready(Err(Cause::BrokenPipe.into()));
        }
        self.waiting.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    }

    fn shut(&self) {
        let _ = self.down.set(());
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl RawConn for Wire {
    fn poll_read(&self, cx: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx)
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx)
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn abort(&self) {
        self.wires.aborted.fetch_add(1, Ordering::Relaxed);
        self.shut();
    }

    fn close(&self) {
        self.wires.closed.fetch_add(1, Ordering::Relaxed);
        if self.wires.fuse.load(Ordering::Relaxed) > 0 {
            assert_ne!(self.wires.fuse.fetch_sub(1, Ordering::Relaxed), 1, "the fuse is burnt");
        }
        self.shut();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.wires.alive.fetch_sub(1, Ordering::Relaxed);
    }
}
