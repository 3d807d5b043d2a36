//! [`Traced`]: a networker that reports each dial, connect, listen and write to a sink.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt};

use crate::net::addr::Addr;
use crate::net::conn::{Conn, WriteObserver};
use crate::net::error::Error;
use crate::net::listener::Listener;
use crate::net::networker::Networker;

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
    sink: Arc<EventSink>,
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
        /// The listening address.
        addr: Addr,
    },
    /// Bytes were written.
    Transmit {
        /// The end that wrote.
        src: Addr,
        /// The end that is to read.
        dst: Addr,
        /// The bytes that the write took. A write that is taken in parts gives an event for each.
        data: Vec<u8>,
    },
}

struct EventSink {
    is_on: AtomicBool,
    callback: Box<dyn Fn(&NetEvent) + Send + Sync>,
}

impl EventSink {
    fn emit(&self, event: impl FnOnce() -> NetEvent) {
        if self.is_on.load(Ordering::Relaxed) {
            (self.callback)(&event());
        }
    }
}

impl<N: Networker> Traced<N> {
    /// Wraps a networker; `sink` is called for each event, before the operation goes on.
    pub fn new(inner: N, sink: impl Fn(&NetEvent) + Send + Sync + 'static) -> Self {
        let event_sink = EventSink { is_on: AtomicBool::new(true), callback: Box::new(sink) };
        Self { inner, sink: Arc::new(event_sink) }
    }

    /// Tells from now on, also of connections that are open.
    pub fn on(&self) {
        self.sink.is_on.store(true, Ordering::Relaxed);
    }

    /// Tells nothing from now on, also of connections that are open.
    pub fn off(&self) {
        self.sink.is_on.store(false, Ordering::Relaxed);
    }

    /// Makes what a connection calls for each of its writes.
    fn observer(&self) -> WriteObserver {
        let sink = self.sink.clone();
        Arc::new(move |conn, data| {
            sink.emit(|| NetEvent::Transmit {
                src: conn.local_addr(),
                dst: conn.peer_addr(),
                data: data.to_vec(),
            });
        })
    }
}

/// Collects events, to be compared with what was to happen.
///
/// Ports are predictable, so that a test can write the whole sequence down. Events of several
/// access points stand in one order: that in which they were told. A clone is the same log.
///
/// ```
/// use virtnet::{EventLog, Networker, Traced, pipenet};
///
/// # futures::executor::block_on(async {
/// let log = EventLog::new();
/// let host = Traced::new(pipenet::Network::new("t").host("α"), log.sink());
/// let listener = host.listen("").await?;
/// host.dial("β:7").await.unwrap_err();
/// log.assert(&["listen α:1", "dial α->β:7"]);
/// # Ok::<(), virtnet::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventLog {
    events: Arc<Mutex<Vec<NetEvent>>>,
}

/// Tells where a sequence of events is another than was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDifference {
    /// Which event it is, from 0.
    pub index: usize,
    /// The expected event; `None` if no more events were expected.
    pub expected: Option<String>,
    /// The event that happened; `None` if no more events happened.
    pub happened: Option<String>,
}

impl EventLog {
    /// Begins an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a sink for [`Traced::new`].
    pub fn sink(&self) -> impl Fn(&NetEvent) + Send + Sync + use<> {
        let log = self.clone();
        move |event| log.events().push(event.clone())
    }

    /// Takes what was told since this was last asked.
    pub fn take(&self) -> Vec<NetEvent> {
        std::mem::take(&mut *self.events())
    }

    /// Finds the first event that is another than expected, as it is printed.
    pub fn difference(&self, expected: &[&str]) -> Option<EventDifference> {
        let actual: Vec<_> = self.events().iter().map(ToString::to_string).collect();
        let index = (0..expected.len().max(actual.len()))
            .find(|&index| expected.get(index).copied() != actual.get(index).map(|it| &**it))?;
        let expected = expected.get(index).map(ToString::to_string);
        Some(EventDifference { index, expected, happened: actual.get(index).cloned() })
    }

    /// Demands that exactly this has happened, in this order.
    ///
    /// # Panics
    ///
    /// If not, with the first difference.
    #[track_caller]
    pub fn assert(&self, expected: &[&str]) {
        if let Some(difference) = self.difference(expected) {
            panic!("{difference}");
        }
    }

    fn events(&self) -> MutexGuard<'_, Vec<NetEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for EventDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |event: &Option<String>| event.clone().unwrap_or("nothing more".into());
        let (expected, actual) = (or_none(&self.expected), or_none(&self.happened));
        let number = self.index + 1;
        write!(f, "event {number} differs:\n  expected  {expected}\n  happened  {actual}")
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
            self.sink.emit(|| NetEvent::Dial { host: host(), addr: addr.to_string() });
            let conn = self.inner.dial(addr).await?;
            self.sink.emit(|| NetEvent::Connect {
                src: conn.local_addr(),
                dst: conn.peer_addr(),
                dialed: addr.to_string(),
            });
            Ok(conn.with_observer(self.observer()))
        }
        .boxed()
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Listener, Error>> {
        async move {
            let listener = self.inner.listen(addr).await?;
            self.sink.emit(|| NetEvent::Listen { addr: listener.local_addr() });
            Ok(listener.with_observer(self.observer()))
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
        let on = self.sink.is_on.load(Ordering::Relaxed);
        f.debug_struct("Traced").field("inner", &self.inner).field("on", &on).finish()
    }
}
