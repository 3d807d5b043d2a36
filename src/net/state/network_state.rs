//! A network: its hosts, and how it ends.
//!
//! Knows the hosts by name, the engine and the registry, and the one order in which all of them
//! are closed. Contains no `async` and does not know how hosts come to be.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use crate::util::run_cell::{RunCell, run_local};
use crate::util::small_map::SmallMap;
use crate::util::waiter::Waiter;

use crate::net::addr::Addr;
use crate::net::engine::{Engine, Registry, Transport};
use crate::net::error::{Cause, CauseKind, Error, Op};
use crate::net::go_quote::quoted;
use crate::net::state::host_state::{HostState, SocketTable};
use crate::net::state::shutdown::{Closable, Latch};
use crate::net::state::ticket_queue::TicketQueue;
use crate::net::state::wait_list::for_each_catching;

/// What all handles of one network share.
pub(crate) struct NetState<P: TransportParts + ?Sized = dyn TransportParts> {
    pub(crate) name: Arc<str>,
    /// Falls when the network closes.
    latch: Latch,
    hosts: RunCell<Hosts>,
    /// What closing came to, once it is over.
    closed: OnceLock<Option<Cause>>,
    /// Here and not boxed: that saves two allocations a network.
    parts: P,
}

/// What a network is made of.
pub(crate) trait TransportParts: Send + Sync + 'static {
    fn parts(&self) -> Transports<'_>;
}

/// What carries a network and knows its names.
pub(crate) enum Transports<'a> {
    EngineAndRegistry(&'a dyn Engine, &'a dyn Registry),
    Single(&'a dyn Transport),
}

impl<E: Engine, R: Registry> TransportParts for (E, R) {
    fn parts(&self) -> Transports<'_> {
        Transports::EngineAndRegistry(&self.0, &self.1)
    }
}

#[derive(Default)]
struct Hosts {
    /// Never shrinks: a closed host is still found.
    by_name: SmallMap<ByName, ()>,
    /// How many have not been asked to close.
    open: usize,
    /// Whether the network closes with the last of them.
    auto_close: bool,
    /// Closed hosts whose name another has now; they have to hear that the network is down.
    former: Vec<Weak<HostState>>,
    /// Whoever is blocked by an operation that the network's closing interrupts.
    blocked: TicketQueue<Waiter>,
}

run_local!(Hosts);

/// A host, ordered and found by its name.
struct ByName(Arc<HostState>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        self.0.addr.host()
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.addr.host().cmp(other.0.addr.host())
    }
}

/// What came of adding a host.
enum Added {
    InPlaceOf(Option<Arc<HostState>>),
    NetDown,
    /// The name is that of an open host.
    Taken,
}

impl Hosts {
    /// Adds a host, also in place of a closed one.
    fn add(&mut self, host: &Arc<HostState>) -> Added {
        let mut old = None;
        let name = host.addr.host();
        if !self.by_name.insert(name, || (ByName(host.clone()), ())) {
            old = self.by_name.get(name).map(|(old, ())| old.0.clone());
            if old.as_ref().is_some_and(|old| old.down().is_none()) {
                return Added::Taken;
            }
            self.by_name.remove(name);
            self.by_name.insert(name, || (ByName(host.clone()), ()));
            self.former.retain(|host| host.strong_count() > 0);
            self.former.extend(old.as_ref().map(Arc::downgrade));
        }
        self.open += 1;
        Added::InPlaceOf(old)
    }

    /// Tells all hosts that the network is down. Gives those to be shut, and those to be woken.
    #[inline]
    fn down(&mut self) -> (Vec<Arc<HostState>>, impl Iterator<Item = Waiter> + use<>) {
        let mut hosts: Vec<_> = self.by_name.iter_mut().map(|(host, ())| host.0.clone()).collect();
        hosts.extend(self.former.iter().filter_map(Weak::upgrade));
        hosts.iter().for_each(|host| host.net_down());
        (hosts, self.blocked.clear())
    }
}

impl<P: TransportParts> NetState<P> {
    pub(crate) fn new(name: Arc<str>, parts: P) -> Self {
        Self {
            name,
            latch: Latch::default(),
            hosts: RunCell::default(),
            closed: OnceLock::new(),
            parts,
        }
    }
}

impl NetState {
    /// Gives what carries it and knows its names.
    #[inline]
    pub(crate) fn carrier(&self) -> Transports<'_> {
        self.parts.parts()
    }

    /// Closes its engine, and then its registry. What is whole has nothing of its own to close.
    fn close_carrier(&self) -> [Option<Cause>; 2] {
        let Transports::EngineAndRegistry(carries, names) = self.carrier() else {
            return [None, None];
        };
        let mut causes = [None, None];
        let [engine, registry] = &mut causes;
        // The second even if the first panics.
        let work: [&mut dyn FnMut(); 2] = [
            &mut || *engine = carries.close().err(), //
            &mut || *registry = names.close().err().map(Cause::from),
        ];
        for_each_catching(work, |work| work());
        causes
    }

    /// Wakes who waits for what is whole, because a host has gone down, or all of them have.
    fn interrupt(&self, host: Option<&Addr>) {
        if let Transports::Single(whole) = self.carrier() {
            whole.interrupt(host);
        }
    }

    /// Says why nothing can be done on this network, if so.
    #[inline]
    pub(crate) fn down(&self) -> Option<CauseKind> {
        self.latch.is_down().then_some(CauseKind::NetDown)
    }

    /// Finds a host, open or closed.
    pub(crate) fn host(&self, name: &str) -> Option<Arc<HostState>> {
        self.hosts.with(|hosts| hosts.by_name.get(name).map(|(host, ())| host.0.clone()))
    }

    /// Finds somebody who waits in an accept, on whichever host.
    pub(crate) fn accepting(&self) -> Option<Waiter> {
        self.hosts.try_with(|hosts| {
            let mut hosts = hosts.by_name.iter_mut();
            hosts.find_map(|(host, ())| host.0.try_table(SocketTable::accepting).flatten())
        })?
    }

    /// Makes an address; it shares the names of the host if that lives here.
    pub(crate) fn addr_of(&self, host: &str, port: u16) -> Addr {
        let here = |hosts: &mut Hosts| Some(hosts.by_name.get(host)?.0.0.addr.with_port(port));
        self.hosts.with(here).unwrap_or_else(|| Addr::from_parts(&self.name, host, port))
    }

    /// Adds a host that the registry has let pass, unless the network is down.
    ///
    /// The registry says whose a name is. Where it gives out the name of a closed host again,
    /// as for a node that restarts, the new host takes the place of the old.
    ///
    /// # Panics
    ///
    /// If the registry gave out the name of an open host: names are then worth nothing.
    pub(crate) fn add_host(&self, host: &Arc<HostState>) -> Result<(), CauseKind> {
        let add = |hosts: &mut Hosts| {
            if self.is_down() { Added::NetDown } else { hosts.add(host) }
        };
        let added = self.hosts.with(add);
        match added {
            Added::NetDown => Err(CauseKind::NetDown),
            // The old host, if there was one, ends here: outside the lock.
            Added::InPlaceOf(_old) => Ok(()),
            Added::Taken => {
                let name = host.addr.host();
                panic!("the registry gave out the name {name:?} again, but its host is open")
            }
        }
    }

    /// Lets the network close with its last open host.
    ///
    /// # Panics
    ///
    /// If no host is open.
    pub(crate) fn auto_close(&self) {
        let open = self.hosts.with(|hosts| {
            hosts.auto_close |= hosts.open > 0;
            hosts.open
        });
        assert!(
            open > 0,
            "virtnet: the network {} has no open host whose closing could close it; \
             make a host before `auto_close`",
            quoted(&self.name)
        );
    }

    /// Closes a host; and the network, if that was the last and so it was agreed.
    pub(crate) fn close_host(&self, host: &HostState) -> Result<(), Error> {
        if !host.mark_closed() {
            return Ok(());
        }
        host.shut_down();
        self.interrupt(Some(&host.addr));
        let last = self.hosts.try_with(|hosts| {
            hosts.open -= 1;
            hosts.auto_close && hosts.open == 0
        });
        // The lock is gone: closing takes it again, and whoever closes meanwhile needs it.
        if last != Some(true) {
            return Ok(());
        }
        self.close(None).map_err(|error| {
            let cause = Cause::Nested(Box::new(error));
            Error::new(Op::Close, self.name.clone(), Some(host.addr.clone()), None, cause)
        })
    }

    /// See [`HostState::assert_accessible`].
    #[track_caller]
    pub(crate) fn assert_accessible(&self) {
        self.hosts.assert_accessible();
    }

    /// Ends the network: interrupts all, then closes the engine, then the registry.
    ///
    /// The first to call it does so, and gives the cause; all later calls return what came of it.
    /// A call that comes in the middle, from another thread or from the engine itself, returns
    /// `Ok` at once: to wait here would be a dead-lock in the making.
    pub(crate) fn close(&self, cause: Option<Cause>) -> Result<(), Error> {
        if self.latch.trip() {
            let (mut hosts, mut blocked) = self.hosts.try_with(Hosts::down).unzip();
            let mut carrier = [None, None];
            // Each of them, and the last even if the first panics.
            let work: [&mut dyn FnMut(); 3] = [
                &mut || {
                    self.interrupt(None);
                    for_each_catching(blocked.take().into_iter().flatten(), Waiter::wake);
                },
                &mut || {
                    for_each_catching(hosts.take().unwrap_or_default(), |host| host.shut_down())
                },
                &mut || carrier = self.close_carrier(),
            ];
            for_each_catching(work, |work| work());
            let mut causes: Vec<_> = [cause].into_iter().chain(carrier).flatten().collect();
            let outcome = match causes.len() {
                0 | 1 => causes.pop(),
                _ => Some(Cause::Many(causes)),
            };
            let _ = self.closed.set(outcome);
        }
        match self.closed.get() {
            Some(Some(cause)) => {
                Err(Error::new(Op::Close, self.name.clone(), None, None, cause.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl Closable for NetState {
    #[inline]
    fn is_down(&self) -> bool {
        self.latch.is_down()
    }

    fn blocked<R>(&self, work: impl FnOnce(&mut TicketQueue<Waiter>) -> R) -> Option<R> {
        self.hosts.try_with(|hosts| work(&mut hosts.blocked))
    }
}

impl fmt::Debug for NetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("name", &self.name).finish_non_exhaustive()
    }
}
