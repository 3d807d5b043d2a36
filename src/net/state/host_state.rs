//! A host, the table of its sockets, and one end of a connection.
//!
//! Knows who has which port, and how a closing reaches everything that is open. Contains no
//! `async` and does not know how addresses are asked for or connections made.
//!
//! Who owns whom, so that nothing is ever leaked:
//!
//! ```text
//! network ──► HostState ◄── Port ◄── Endpoint ◄── Conn (a user's)
//!               ┆             ▲
//!               ┆             └───── Bound    ◄── Listener (a user's)
//!               ┆ weakly
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
use crate::net::engine::raw_conn::ConnHandle;
use crate::net::error::CauseKind;
use crate::net::state::accept_queue::Backlog;
use crate::net::state::port_set::PortSet;
use crate::net::state::shutdown::{Closable, Latch, down_cause};
use crate::net::state::ticket_queue::TicketQueue;
use crate::net::state::wait_list::{DeferredWakes, for_each_catching};

/// What all handles of one host share.
#[derive(Debug)]
pub(crate) struct HostState {
    /// The host with port 0, from which all its addresses are made.
    pub(crate) addr: Addr,
    /// Falls when the network closes, before any of its hosts is shut.
    net: Latch,
    /// Falls when this host closes or its network does.
    latch: Latch,
    /// Whether its own closing has been asked for; the network's does not count.
    closed: Latch,
    table: RunCell<SocketTable>,
}

/// The sockets of a host, by port.
#[derive(Debug)]
pub(crate) struct SocketTable {
    pub(crate) ports: PortSet,
    /// A port that is taken and not here belongs to a dial or an accept under way. Not a
    /// vector by port: a listener on port 50 051 should not cost a megabyte.
    sockets: SmallMap<u16, Socket>,
    /// How many listeners there have been.
    listeners: u64,
    /// Whoever is blocked by an operation that the host's closing interrupts: dials.
    blocked: TicketQueue<Waiter>,
}

run_local!(SocketTable);

#[derive(Debug)]
enum Socket {
    /// Boxed, because most sockets are connections.
    Listener {
        serial: u64,
        backlog: Box<Backlog<Arc<Endpoint>>>,
    },
    Conn(Weak<Endpoint>),
}

/// Names a listener for ever: a port can be bound again, a serial number cannot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerKey {
    pub(crate) port: u16,
    pub(crate) serial: u64,
}

impl HostState {
    #[inline]
    pub(crate) fn new(addr: Addr) -> Arc<Self> {
        let table = || SocketTable {
            ports: PortSet::new(),
            sockets: SmallMap::default(),
            listeners: 0,
            blocked: TicketQueue::default(),
        };
        let (net, latch, closed) = (Latch::default(), Latch::default(), Latch::default());
        Arc::new(Self { addr, net, latch, closed, table: RunCell::new(table) })
    }

    /// Says why nothing can be done with this host, if so.
    #[inline]
    pub(crate) fn down(&self) -> Option<CauseKind> {
        down_cause(&self.net, &self.latch, false)
    }

    /// Says why nothing can be done with a socket of this host that is down.
    pub(crate) fn socket_down(&self) -> CauseKind {
        down_cause(&self.net, &self.latch, true).unwrap_or(CauseKind::SockDown)
    }

    /// Works on the table, under its lock.
    #[inline]
    pub(crate) fn table<R>(&self, work: impl FnOnce(&mut SocketTable) -> R) -> R {
        self.table.with(work)
    }

    /// Works on the table, unless it was made in a run that is over.
    #[inline]
    pub(crate) fn try_table<R>(&self, work: impl FnOnce(&mut SocketTable) -> R) -> Option<R> {
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
        self.closed.trip()
    }

    /// Says that the network is down, from now on the reason for everything.
    pub(crate) fn net_down(&self) {
        self.net.trip();
    }

    /// Shuts the host: interrupts what is blocked, then every socket in the order of ports.
    ///
    /// Ports stay taken until each socket is closed by its owner.
    pub(crate) fn shut_down(&self) {
        if !self.latch.trip() {
            return;
        }
        // Whoever has not entered the table by now finds the latch down when he does.
        let mut wakers = DeferredWakes::default();
        let mut ends = Vec::new();
        let blocked = self.try_table(|SocketTable { ports, sockets, blocked, .. }| {
            for (_, socket) in sockets.iter_mut() {
                match socket {
                    Socket::Conn(end) => ends.extend(end.upgrade()),
                    Socket::Listener { backlog, .. } => {
                        ends.extend(backlog.clear(ports, &mut wakers));
                    }
                }
            }
            blocked.clear()
        });
        // No connection is live from here on, whatever an engine or a waker may do.
        ends.retain(|end| end.mark_down());
        blocked.into_iter().flatten().for_each(|waiter| wakers.push(waiter));
        let work: [&mut dyn FnMut(); 2] = [
            &mut || std::mem::take(&mut wakers).wake(), //
            &mut || for_each_catching(&ends, |end| end.raw.close()),
        ];
        for_each_catching(work, |work| work());
    }
}

impl Closable for HostState {
    fn is_down(&self) -> bool {
        self.latch.is_down()
    }

    fn blocked<R>(&self, work: impl FnOnce(&mut TicketQueue<Waiter>) -> R) -> Option<R> {
        self.try_table(|table| work(&mut table.blocked))
    }
}

impl SocketTable {
    /// Finds the queue of a listener that has not been closed.
    #[inline(always)]
    pub(crate) fn backlog(
        &mut self,
        key: ListenerKey,
    ) -> Option<(&mut Backlog<Arc<Endpoint>>, &mut PortSet)> {
        match self.sockets.get_mut(&key.port) {
            Some(Socket::Listener { serial, backlog }) if *serial == key.serial => {
                Some((&mut **backlog, &mut self.ports))
            }
            _ => None,
        }
    }

    /// Finds who listens at a port, and the queue.
    pub(crate) fn listener(
        &mut self,
        port: u16,
    ) -> Option<(ListenerKey, &mut Backlog<Arc<Endpoint>>, &mut PortSet)> {
        match self.sockets.get_mut(&port)? {
            Socket::Conn(_) => None,
            Socket::Listener { serial, backlog } => {
                Some((ListenerKey { port, serial: *serial }, &mut **backlog, &mut self.ports))
            }
        }
    }

    /// Gives the ports of the listeners, and how many dials and accepts wait at each.
    pub(crate) fn listeners(&mut self) -> Vec<(u16, usize, usize)> {
        let listener = |(port, socket): (&u16, &mut Socket)| match socket {
            Socket::Conn(_) => None,
            Socket::Listener { backlog, .. } => {
                let (dials, accepts) = backlog.waiting();
                Some((*port, dials, accepts))
            }
        };
        self.sockets.iter_mut().filter_map(listener).collect()
    }

    /// Finds somebody who waits in an accept.
    pub(crate) fn accepting(&mut self) -> Option<Waiter> {
        self.sockets.iter_mut().find_map(|(_, socket)| match socket {
            Socket::Conn(_) => None,
            Socket::Listener { backlog, .. } => backlog.accepting(),
        })
    }

    /// Takes a connection into the table, at the port that it has already.
    #[inline]
    pub(crate) fn add(&mut self, end: &Arc<Endpoint>) {
        self.insert(end.port.number(), Arc::downgrade(end));
    }

    /// Takes a connection into the table, at the port of its end here.
    #[inline]
    pub(crate) fn insert(&mut self, number: u16, end: Weak<Endpoint>) {
        self.sockets.insert(&number, || (number, Socket::Conn(end)));
    }
}

/// A port that is taken; given back when it is dropped, or before, but once.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) host: Arc<HostState>,
    /// Its number, and [`HELD`] until it is given back: one word, because what moves it about reads
    /// it as one at once.
    word: AtomicU64,
}

const HELD: u64 = 1 << 16;

impl Port {
    /// Takes the lowest free port.
    #[inline(always)]
    pub(crate) fn lowest(host: &Arc<HostState>) -> Option<Self> {
        let number = host.table(|table| table.ports.take_lowest())?;
        Some(Self::taken(host.clone(), number))
    }

    /// Holds a port that has been taken from the table already.
    pub(crate) fn taken(host: Arc<HostState>, number: u16) -> Self {
        Self { host, word: AtomicU64::new(HELD | u64::from(number)) }
    }

    /// Gives its number; also after it was given back.
    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.word.load(Ordering::Relaxed) as u16
    }

    /// Takes a port, the lowest for 0, and puts a listener there.
    #[inline(always)]
    pub(crate) fn listen(host: &Arc<HostState>, number: u16) -> Result<(Self, u64), CauseKind> {
        let (number, serial) = host.table(|table| {
            if let Some(down) = host.down() {
                return Err(down);
            }
            let number = match number {
                0 => table.ports.take_lowest().ok_or(CauseKind::NoFreePort)?,
                _ if table.ports.take(number) => number,
                _ => return Err(CauseKind::AddrInUse),
            };
            table.listeners += 1;
            let serial = table.listeners;
            let listener = || Socket::Listener { serial, backlog: Box::default() };
            table.sockets.insert(&number, || (number, listener()));
            Ok((number, serial))
        })?;
        Ok((Self::taken(host.clone(), number), serial))
    }

    /// Gives the address of this port.
    pub(crate) fn addr(&self) -> Addr {
        self.host.addr.with_port(self.number())
    }

    /// Gives the port back, and closes the listener that was there.
    ///
    /// A second time does nothing: somebody else may have the number by then.
    pub(crate) fn give_back(&self) {
        let (mut wakers, mut listener) = (DeferredWakes::default(), None);
        self.host.try_table(|table| {
            // Looked at and changed under the lock alone.
            let word = self.word.load(Ordering::Relaxed);
            if word & HELD == 0 {
                return;
            }
            self.word.store(word & !HELD, Ordering::Relaxed);
            let number = word as u16;
            table.ports.give_back(number);
            if let Some(Socket::Listener { mut backlog, .. }) = table.sockets.remove(&number) {
                let ends = backlog.clear(&mut table.ports, &mut wakers);
                listener = Some((backlog, ends));
            }
        });
        wakers.wake();
        drop(listener);
    }

    /// Gives the port back, unless that was done before.
    fn release(&mut self) {
        if *self.word.get_mut() & HELD != 0 {
            self.give_back();
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.release();
    }
}

/// One end of a connection; closed when its last owner lets go.
#[repr(C)]
pub(crate) struct Endpoint {
    /// All an operation looks at while all is well, and so it stands with `raw`. Set by whichever
    /// of connection, host and network goes down first.
    down: Latch,
    raw: ConnHandle,
    pub(crate) peer: Addr,
    port: Port,
    told: AtomicU8,
}

/// What an end has told the program and will tell it again, or what the program has begun with it.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Told {
    /// A read has given the end of the stream, or an error.
    Read = 1,
    /// A write has given an error.
    Write = 2,
    /// A half-close has begun.
    HalfClose = 4,
}

impl Endpoint {
    #[inline]
    pub(crate) fn new(port: Port, peer: Addr, raw: ConnHandle) -> Arc<Self> {
        Arc::new(Self { down: Latch::default(), raw, peer, port, told: AtomicU8::new(0) })
    }

    /// Gives the address of this end.
    pub(crate) fn local(&self) -> Addr {
        self.raw.own_addr().unwrap_or_else(|| self.port.addr())
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
    pub(crate) fn attach(port: Port, peer: Addr, raw: ConnHandle) -> Result<Arc<Self>, CauseKind> {
        let end = Self::new(port, peer, raw);
        let host = &end.port.host;
        let refused = host.table(|table| {
            let down = host.down();
            if down.is_none() {
                table.add(&end);
            }
            down
        });
        match refused {
            None => Ok(end),
            Some(why) => {
                end.abort();
                Err(why)
            }
        }
    }

    /// Says whether this end is down; the reason is worked out only then.
    #[inline]
    pub(crate) fn is_down(&self) -> bool {
        self.down.is_down()
    }

    /// Notes what the program is told.
    #[cold]
    pub(crate) fn tell(&self, what: Told) {
        self.told.fetch_or(what as u8, Ordering::Relaxed);
    }

    /// Returns whether the program was told that before.
    #[cold]
    pub(crate) fn has_told(&self, what: Told) -> bool {
        self.told.load(Ordering::Relaxed) & what as u8 != 0
    }

    /// Says why this end is down, if it is.
    #[cold]
    pub(crate) fn why_down(&self) -> Option<CauseKind> {
        self.is_down().then(|| self.port.host.socket_down())
    }

    /// Gives what the engine made; while this end is down it is of no use, and an engine's promise
    /// that no poll is pending after `close` or `abort` covers who was about to use it.
    #[inline]
    pub(crate) const fn raw(&self) -> &ConnHandle {
        &self.raw
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
        // As `close`; nobody else has it, so that nothing has to fall.
        if !self.is_down() {
            self.raw.retire();
        }
        self.port.release();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.local(), self.peer)
    }
}
