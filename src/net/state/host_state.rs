//! A host's state: its socket table, its ports, and its connection endpoints.
//!
//! Closing a host reaches every open socket through the table. This module has no `async` code.
//!
//! Ownership, which rules out leaks:
//!
//! ```text
//! network ──► HostState ◄── Port ◄── Endpoint      ◄── Conn (held by a program)
//!               ┆             ▲
//!               ┆             └───── ListenerInner ◄── Listener (held by a program)
//!               ┆ weak
//!               └┄┄► Endpoint
//! ```

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::util::run_cell::{RunCell, run_local};
use crate::util::small_map::SmallMap;
use crate::util::stall_probe::report_effect;
use crate::util::waiter::Waiter;

use crate::net::addr::Addr;
use crate::net::engine::raw_conn::RawConn;
use crate::net::error::CauseKind;
use crate::net::state::accept_queue::AcceptQueue;
use crate::net::state::port_set::PortSet;
use crate::net::state::shutdown::{Closable, Latch, down_cause};
use crate::net::state::ticket_queue::TicketQueue;
use crate::net::state::wait_list::{DeferredWakes, for_each_catching};

/// The part that all handles of one host share.
#[derive(Debug)]
pub(crate) struct HostState {
    /// The host with port 0, from which all its addresses are made.
    pub(crate) addr: Addr,
    /// Falls when the network closes, before any of its hosts is shut.
    net_latch: Latch,
    /// Falls when this host closes or its network does.
    host_latch: Latch,
    /// Whether its own closing has been asked for; the network's does not count.
    close_requested: Latch,
    table: RunCell<SocketTable>,
}

/// The sockets of a host, by port.
#[derive(Debug)]
pub(crate) struct SocketTable {
    pub(crate) ports: PortSet,
    /// A port that is taken and not here belongs to a dial or an accept under way. Not a
    /// vector by port: a listener on port 50 051 should not cost a megabyte.
    sockets: SmallMap<u16, Socket>,
    /// The number of listeners so far.
    last_generation: u64,
    /// Whoever is blocked by an operation that the host's closing interrupts: dials.
    waiters: TicketQueue<Waiter>,
}

run_local!(SocketTable);

#[derive(Debug)]
enum Socket {
    /// Boxed, because most sockets are connections.
    Listener {
        generation: u64,
        queue: Box<AcceptQueue<Arc<Endpoint>>>,
    },
    Conn(Weak<Endpoint>),
}

/// Names a listener for ever: a port can be bound again, a serial number cannot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerKey {
    pub(crate) port: u16,
    pub(crate) generation: u64,
}

impl HostState {
    #[inline]
    pub(crate) fn new(addr: Addr) -> Arc<Self> {
        let table = || SocketTable {
            ports: PortSet::new(),
            sockets: SmallMap::default(),
            last_generation: 0,
            waiters: TicketQueue::default(),
        };
        let (net_latch, host_latch, close_requested) =
            (Latch::default(), Latch::default(), Latch::default());
        Arc::new(Self { addr, net_latch, host_latch, close_requested, table: RunCell::new(table) })
    }

    /// Says why nothing can be done with this host, if so.
    #[inline]
    pub(crate) fn down_cause(&self) -> Option<CauseKind> {
        down_cause(&self.net_latch, &self.host_latch, false)
    }

    /// Says why nothing can be done with a socket of this host that is down.
    pub(crate) fn socket_down_cause(&self) -> CauseKind {
        down_cause(&self.net_latch, &self.host_latch, true).unwrap_or(CauseKind::SockDown)
    }

    /// Works on the table, under its lock.
    #[inline]
    pub(crate) fn with_table<R>(&self, work: impl FnOnce(&mut SocketTable) -> R) -> R {
        self.table.with(work)
    }

    /// Works on the table, unless it was made in a run that is over.
    #[inline]
    pub(crate) fn try_with_table<R>(&self, work: impl FnOnce(&mut SocketTable) -> R) -> Option<R> {
        self.table.try_with(work)
    }

    /// Says whether the host can be used: the run that made it, if one did, goes on in this thread.
    #[cfg(feature = "tls")]
    pub(crate) fn is_accessible(&self) -> bool {
        self.table.is_accessible()
    }

    /// Makes sure that this is the thread of the run that made the host, or that the run is over.
    ///
    /// # Panics
    ///
    /// If it goes on in another thread.
    #[track_caller]
    pub(crate) fn assert_accessible(&self) {
        self.table.assert_accessible();
    }

    /// Says that the host was asked to close; true the first time.
    pub(crate) fn mark_closed(&self) -> bool {
        self.close_requested.trip()
    }

    /// Says that the network is down, from now on the reason for everything.
    pub(crate) fn mark_net_down(&self) {
        self.net_latch.trip();
    }

    /// Shuts the host: interrupts what is blocked, then every socket in the order of ports.
    ///
    /// Ports stay taken until each socket is closed by its owner.
    pub(crate) fn shut_down(&self) {
        if !self.host_latch.trip() {
            return;
        }
        // Whoever has not entered the table by now finds the latch down when he does.
        let mut wakers = DeferredWakes::default();
        let mut endpoints = Vec::new();
        let waiters = self.try_with_table(|SocketTable { ports, sockets, waiters, .. }| {
            for (_, socket) in sockets.iter_mut() {
                match socket {
                    Socket::Conn(endpoint) => endpoints.extend(endpoint.upgrade()),
                    Socket::Listener { queue, .. } => {
                        endpoints.extend(queue.clear(ports, &mut wakers));
                    }
                }
            }
            waiters.clear()
        });
        // No connection is live from here on, whatever an engine or a waker may do.
        endpoints.retain(|endpoint| endpoint.mark_down());
        let mut waiters = waiters.into_iter().flatten();
        let steps: [&mut dyn FnMut(); 3] = [
            &mut || std::mem::take(&mut wakers).wake(), //
            &mut || for_each_catching(&endpoints, |endpoint| endpoint.raw.close()),
            &mut || for_each_catching(&mut waiters, Waiter::wake),
        ];
        for_each_catching(steps, |steps| steps());
    }
}

impl Closable for HostState {
    fn is_down(&self) -> bool {
        self.host_latch.is_tripped()
    }

    fn with_waiters<R>(&self, work: impl FnOnce(&mut TicketQueue<Waiter>) -> R) -> Option<R> {
        self.try_with_table(|table| work(&mut table.waiters))
    }
}

impl SocketTable {
    /// Finds the queue of a listener that has not been closed.
    #[inline(always)]
    pub(crate) fn accept_queue(
        &mut self,
        key: ListenerKey,
    ) -> Option<(&mut AcceptQueue<Arc<Endpoint>>, &mut PortSet)> {
        match self.sockets.get_mut(&key.port) {
            Some(Socket::Listener { generation, queue }) if *generation == key.generation => {
                Some((&mut **queue, &mut self.ports))
            }
            _ => None,
        }
    }

    /// Finds who listens at a port, and the queue.
    pub(crate) fn listener(
        &mut self,
        port: u16,
    ) -> Option<(ListenerKey, &mut AcceptQueue<Arc<Endpoint>>, &mut PortSet)> {
        match self.sockets.get_mut(&port)? {
            Socket::Conn(_) => None,
            Socket::Listener { generation, queue } => {
                Some((ListenerKey { port, generation: *generation }, &mut **queue, &mut self.ports))
            }
        }
    }

    /// Gives the ports of the listeners, and how many dials and accepts wait at each.
    pub(crate) fn listeners(&mut self) -> Vec<(u16, usize, usize)> {
        let listener = |(port, socket): (&u16, &mut Socket)| match socket {
            Socket::Conn(_) => None,
            Socket::Listener { queue, .. } => {
                let (dials, accepts) = queue.waiting_counts();
                Some((*port, dials, accepts))
            }
        };
        self.sockets.iter_mut().filter_map(listener).collect()
    }

    /// Sets how many of the next accepts of each listener fail.
    pub(crate) fn set_accept_failures(&mut self, count: u32) {
        for (_, socket) in self.sockets.iter_mut() {
            if let Socket::Listener { queue, .. } = socket {
                queue.set_failure_count(count);
            }
        }
    }

    /// Finds a task that waits in an accept.
    pub(crate) fn pending_accept_waiter(&mut self) -> Option<Waiter> {
        self.sockets.iter_mut().find_map(|(_, socket)| match socket {
            Socket::Conn(_) => None,
            Socket::Listener { queue, .. } => queue.pending_accept_waiter(),
        })
    }

    /// Takes a connection into the table, at the port that it has already.
    #[inline]
    pub(crate) fn insert_endpoint(&mut self, endpoint: &Arc<Endpoint>) {
        self.insert(endpoint.port.number(), Arc::downgrade(endpoint));
    }

    /// Takes a connection into the table, at the port of its end here.
    #[inline]
    pub(crate) fn insert(&mut self, port: u16, endpoint: Weak<Endpoint>) {
        self.sockets.insert(&port, || (port, Socket::Conn(endpoint)));
    }
}

/// A port that is taken; given back when it is dropped, or before, but once.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) host: Arc<HostState>,
    /// Its number, and [`HELD_BIT`] until it is given back: one word, because what moves it about
    /// reads it as one at once.
    bits: AtomicU64,
}

const HELD_BIT: u64 = 1 << 16;

impl Port {
    /// Takes the lowest free port.
    #[inline(always)]
    pub(crate) fn take_lowest(host: &Arc<HostState>) -> Option<Self> {
        let number = host.with_table(|table| table.ports.take_lowest())?;
        Some(Self::from_taken(host.clone(), number))
    }

    /// Holds a port that has been taken from the table already.
    pub(crate) fn from_taken(host: Arc<HostState>, number: u16) -> Self {
        Self { host, bits: AtomicU64::new(HELD_BIT | u64::from(number)) }
    }

    /// Gives its number; also after it was given back.
    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.bits.load(Ordering::Relaxed) as u16
    }

    /// Takes a port, the lowest for 0, and puts a listener there.
    #[inline(always)]
    pub(crate) fn listen(host: &Arc<HostState>, number: u16) -> Result<(Self, u64), CauseKind> {
        let (number, generation) = host.with_table(|table| {
            if let Some(kind) = host.down_cause() {
                return Err(kind);
            }
            let number = match number {
                0 => table.ports.take_lowest().ok_or(CauseKind::NoFreePort)?,
                _ if table.ports.take(number) => number,
                _ => return Err(CauseKind::AddrInUse),
            };
            table.last_generation += 1;
            let generation = table.last_generation;
            let listener = || Socket::Listener { generation, queue: Box::default() };
            table.sockets.insert(&number, || (number, listener()));
            Ok((number, generation))
        })?;
        Ok((Self::from_taken(host.clone(), number), generation))
    }

    /// Gives the address of this port.
    pub(crate) fn addr(&self) -> Addr {
        self.host.addr.with_port(self.number())
    }

    /// Gives the port back, and closes the listener that was there.
    ///
    /// A second call does nothing: another socket may have the number by then.
    pub(crate) fn give_back(&self) {
        let (mut wakers, mut listener) = (DeferredWakes::default(), None);
        self.host.try_with_table(|table| {
            // Looked at and changed under the lock alone.
            let bits = self.bits.load(Ordering::Relaxed);
            if bits & HELD_BIT == 0 {
                return;
            }
            self.bits.store(bits & !HELD_BIT, Ordering::Relaxed);
            let number = bits as u16;
            table.ports.give_back(number);
            if let Some(Socket::Listener { mut queue, .. }) = table.sockets.remove(&number) {
                let endpoints = queue.clear(&mut table.ports, &mut wakers);
                listener = Some((queue, endpoints));
            }
        });
        wakers.wake();
        drop(listener);
    }

    /// Gives the port back, unless that was done before.
    fn give_back_if_held(&mut self) {
        if *self.bits.get_mut() & HELD_BIT != 0 {
            self.give_back();
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.give_back_if_held();
    }
}

/// One end of a connection; closed when its last owner lets go.
#[repr(C)]
pub(crate) struct Endpoint {
    /// All an operation looks at while all is well, and so it stands with `raw`. Set by whichever
    /// of connection, host and network goes down first.
    down: Latch,
    raw: Box<dyn RawConn>,
    pub(crate) peer: Addr,
    port: Port,
    events: AtomicU8,
}

/// A result that an endpoint has given to the program and will give again, or an operation that the
/// program has begun with it.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum EndpointEvent {
    /// A read has given the end of the stream, or an error.
    ReadEnded = 1,
    /// A write has given an error.
    WriteFailed = 2,
    /// A half-close has begun.
    HalfCloseStarted = 4,
}

impl Endpoint {
    #[inline]
    pub(crate) fn new(port: Port, peer: Addr, raw: Box<dyn RawConn>) -> Arc<Self> {
        Arc::new(Self { down: Latch::default(), raw, peer, port, events: AtomicU8::new(0) })
    }

    /// Gives the address of this end.
    pub(crate) fn local_addr(&self) -> Addr {
        self.raw.local_addr().unwrap_or_else(|| self.port.addr())
    }

    /// Gives the host of this end.
    pub(crate) fn host(&self) -> &HostState {
        &self.port.host
    }

    /// Makes the end of a connection that was dialed, and takes it into the table of its host.
    ///
    /// # Errors
    ///
    /// If the host went down meanwhile: the connection is torn down then, and the port given
    /// back. So a connection is never live on a closed host.
    #[inline(always)]
    pub(crate) fn attach(
        port: Port,
        peer: Addr,
        raw: Box<dyn RawConn>,
    ) -> Result<Arc<Self>, CauseKind> {
        let endpoint = Self::new(port, peer, raw);
        let host = &endpoint.port.host;
        let failure = host.with_table(|table| {
            let failure = host.down_cause();
            if failure.is_none() {
                table.insert_endpoint(&endpoint);
            }
            failure
        });
        match failure {
            None => Ok(endpoint),
            Some(cause) => {
                endpoint.abort();
                Err(cause)
            }
        }
    }

    /// Says whether this end is down; the reason is worked out only then.
    #[inline]
    pub(crate) fn is_down(&self) -> bool {
        self.down.is_tripped()
    }

    /// Notes what the program is told.
    #[cold]
    pub(crate) fn record_event(&self, description: EndpointEvent) {
        self.events.fetch_or(description as u8, Ordering::Relaxed);
    }

    /// Returns whether the program was told that before.
    #[cold]
    pub(crate) fn has_recorded(&self, description: EndpointEvent) -> bool {
        self.events.load(Ordering::Relaxed) & description as u8 != 0
    }

    /// Says why this end is down, if it is.
    #[cold]
    pub(crate) fn down_cause(&self) -> Option<CauseKind> {
        self.is_down().then(|| self.port.host.socket_down_cause())
    }

    /// Gives what the engine made; while this end is down it is of no use, and an engine's promise
    /// that no poll is pending after `close` or `abort` covers who was about to use it.
    #[inline]
    pub(crate) fn raw(&self) -> &dyn RawConn {
        &*self.raw
    }

    /// Says that this end is down; true the first time.
    fn mark_down(&self) -> bool {
        self.down.trip()
    }

    /// Closes this end in good order, and gives the port back.
    pub(crate) fn close(&self) {
        report_effect(|| format!("goes on and closes {self:?}"));
        if self.mark_down() {
            self.raw.close();
        }
        self.port.give_back();
    }

    /// See [`HostState::assert_accessible`].
    #[track_caller]
    pub(crate) fn assert_accessible(&self) {
        self.port.host.assert_accessible();
    }

    /// Tears the connection down, and gives the port back.
    pub(crate) fn abort(&self) {
        if self.mark_down() {
            self.raw.abort();
        }
        self.port.give_back();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        report_effect(|| format!("goes on and drops {self:?}"));
        // As `close`; there is no other handle, so that no latch has to be tripped.
        if !self.is_down() {
            self.raw.close();
        }
        self.port.give_back_if_held();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.local_addr(), self.peer)
    }
}
