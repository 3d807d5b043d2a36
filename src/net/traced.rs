//! A networker that tells what is done through it.
//!
//! Knows the four events worth telling and when each is due. Does not know what becomes of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, FutureExt};

use super::addr::Addr;
use super::conn::{Conn, Tap};
use super::error::Error;
use super::listener::Listener;
use super::networker::Networker;

/// Wraps a [`Networker`] and gives every event to a sink, in the task that caused it.
///
/// | event | when |
/// | --- | --- |
/// | `Dial` | before every dial, also one that will fail |
/// | `Connect` | after a dial that succeeded, on the dialing side |
/// | `Listen` | after a listen that succeeded, with the port that was taken |
/// | `Transmit` | after a write that succeeded, on the writing side, dialed or accepted |
///
/// Accepting, reading, closing and failing tell nothing. It starts switched on. A clone has the
/// same sink, and is switched on and off with it.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use virtnet::{pipenet, Networker, Traced};
///
/// # futures::executor::block_on(async {
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let log = seen.clone();
/// let host = pipenet::Network::new("t").host("α");
/// let host = Traced::new(host, move |event| log.lock().unwrap().push(event.to_string()));
/// host.listen("").await.unwrap();
/// host.dial("β:7").await.unwrap_err();
/// assert_eq!(*seen.lock().unwrap(), ["listen α:1", "dial α->β:7"]);
/// # })
/// ```
#[derive(Clone)]
pub struct Traced<N> {
    inner: N,
    tracer: Arc<Tracer>,
}

/// Tells what was done on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetEvent {
    /// A dial begins.
    Dial {
        /// The name of the host that dials.
        host: String,
        /// The address as it was given, which may be malformed.
        addr: String,
    },
    /// A dial has succeeded.
    Connect {
        /// The dialing end.
        src: Addr,
        /// The accepted end.
        dst: Addr,
        /// The address as it was given.
        dialed: String,
    },
    /// A listener was bound.
    Listen {
        /// Where it listens.
        addr: Addr,
    },
    /// Bytes were written.
    Transmit {
        /// The end that wrote.
        src: Addr,
        /// The end that is to read.
        dst: Addr,
        /// What the write took; a write that is taken in parts tells of each.
        data: Vec<u8>,
    },
}

struct Tracer {
    on: AtomicBool,
    sink: Box<dyn Fn(&NetEvent) + Send + Sync>,
}

impl Tracer {
    fn tell(&self, event: impl FnOnce() -> NetEvent) {
        if self.on.load(Ordering::Relaxed) {
            (self.sink)(&event());
        }
    }
}

impl<N: Networker> Traced<N> {
    /// Wraps a networker; `sink` is called for each event, before the operation goes on.
    pub fn new(inner: N, sink: impl Fn(&NetEvent) + Send + Sync + 'static) -> Self {
        let tracer = Tracer { on: AtomicBool::new(true), sink: Box::new(sink) };
        Self { inner, tracer: Arc::new(tracer) }
    }

    /// Tells from now on, also of connections that are open.
    pub fn on(&self) {
        self.tracer.on.store(true, Ordering::Relaxed);
    }

    /// Tells nothing from now on, also of connections that are open.
    pub fn off(&self) {
        self.tracer.on.store(false, Ordering::Relaxed);
    }

    /// Makes what a connection calls for each of its writes.
    fn tap(&self) -> Tap {
        let tracer = self.tracer.clone();
        Arc::new(move |conn, data| {
            tracer.tell(|| NetEvent::Transmit {
                src: conn.local_addr(),
                dst: conn.peer_addr(),
                data: data.to_vec(),
            });
        })
    }
}

impl<N: Networker> Networker for Traced<N> {
    fn network(&self) -> &str {
        self.inner.network()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn dial<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Conn, Error>> {
        async move {
            let host = || self.name().to_string();
            self.tracer.tell(|| NetEvent::Dial { host: host(), addr: addr.to_string() });
            let conn = self.inner.dial(addr).await?;
            self.tracer.tell(|| NetEvent::Connect {
                src: conn.local_addr(),
                dst: conn.peer_addr(),
                dialed: addr.to_string(),
            });
            Ok(conn.tapped(self.tap()))
        }
        .boxed()
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Listener, Error>> {
        async move {
            let listener = self.inner.listen(addr).await?;
            self.tracer.tell(|| NetEvent::Listen { addr: listener.local_addr() });
            Ok(listener.tapped(self.tap()))
        }
        .boxed()
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}

impl fmt::Display for NetEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial { host, addr } => write!(f, "dial {host}->{addr}"),
            Self::Connect { src, dst, dialed } => {
                write!(f, "connect {src}->{dst} (dialed {dialed})")
            }
            Self::Listen { addr } => write!(f, "listen {addr}"),
            Self::Transmit { src, dst, data } => {
                write!(f, "transmit {src}->{dst} \"{}\"", data.escape_ascii())
            }
        }
    }
}

impl<N: fmt::Debug> fmt::Debug for Traced<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = self.tracer.on.load(Ordering::Relaxed);
        f.debug_struct("Traced").field("inner", &self.inner).field("on", &on).finish()
    }
}
