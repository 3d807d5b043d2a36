//! A network's state: its hosts by name, and the order in which a network is closed.
//!
//! Closing interrupts all blocked operations, shuts the hosts, then closes the engine, then the
//! registry. This module has no `async` code.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use crate::util::run_cell::{RunCell, run_local};
use crate::util::small_map::SmallMap;
use crate::util::waiter::Waiter;

use crate::net::addr::Addr;
use crate::net::engine::{Engine, Registry};
use crate::net::error::{Cause, CauseKind, Error, Op};
use crate::net::go_quote::quoted;
use crate::net::state::host_state::{HostState, SocketTable};
use crate::net::state::shutdown::{Closable, Latch};
use crate::net::state::ticket_queue::TicketQueue;
use crate::net::state::wait_list::for_each_catching;

/// The part that all handles of one network share.
pub(crate) struct NetState {
    pub(crate) name: Arc<str>,
    /// Falls when the network closes.
    latch: Latch,
    hosts: RunCell<Hosts>,
    /// The result of closing, once it is over.
    close_result: OnceLock<Option<Cause>>,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) registry: Box<dyn Registry>,
}

#[derive(Default)]
struct Hosts {
    /// Never shrinks: a closed host is still found.
    by_name: SmallMap<HostByName, ()>,
    /// The number of hosts that were not closed.
    open_count: usize,
    /// Whether the network closes with the last of them.
    auto_close: bool,
    /// Closed hosts whose name another has now; they have to hear that the network is down.
    replaced: Vec<Weak<HostState>>,
    /// Whoever is blocked by an operation that the network's closing interrupts.
    waiters: TicketQueue<Waiter>,
}

run_local!(Hosts);

/// A host, ordered and found by its name.
struct HostByName(Arc<HostState>);

impl Borrow<str> for HostByName {
    fn borrow(&self) -> &str {
        self.0.addr.host()
    }
}

impl PartialEq for HostByName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for HostByName {}

impl PartialOrd for HostByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HostByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.addr.host().cmp(other.0.addr.host())
    }
}

/// The result of adding a host.
enum AddHostResult {
    Inserted(Option<Arc<HostState>>),
    NetDown,
    /// The name is that of an open host.
    NameTaken,
}

impl Hosts {
    /// Adds a host, also in place of a closed one.
    fn insert(&mut self, host: &Arc<HostState>) -> AddHostResult {
        let mut previous = None;
        let name = host.addr.host();
        if !self.by_name.insert(name, || (HostByName(host.clone()), ())) {
            previous = self.by_name.get(name).map(|(previous, ())| previous.0.clone());
            if previous.as_ref().is_some_and(|previous| previous.down_cause().is_none()) {
                return AddHostResult::NameTaken;
            }
            self.by_name.remove(name);
            self.by_name.insert(name, || (HostByName(host.clone()), ()));
            self.replaced.retain(|host| host.strong_count() > 0);
            self.replaced.extend(previous.as_ref().map(Arc::downgrade));
        }
        self.open_count += 1;
        AddHostResult::Inserted(previous)
    }

    /// Tells all hosts that the network is down. Gives those to be shut, and those to be woken.
    #[inline]
    fn mark_net_down(&mut self) -> (Vec<Arc<HostState>>, impl Iterator<Item = Waiter> + use<>) {
        let mut hosts: Vec<_> = self.by_name.iter_mut().map(|(host, ())| host.0.clone()).collect();
        hosts.extend(self.replaced.iter().filter_map(Weak::upgrade));
        hosts.iter().for_each(|host| host.mark_net_down());
        (hosts, self.waiters.clear())
    }
}

impl NetState {
    pub(crate) fn new(
        name: Arc<str>,
        engine: Box<dyn Engine>,
        registry: Box<dyn Registry>,
    ) -> Self {
        Self {
            name,
            latch: Latch::default(),
            hosts: RunCell::default(),
            close_result: OnceLock::new(),
            engine,
            registry,
        }
    }

    /// Says why nothing can be done on this network, if so.
    #[inline]
    pub(crate) fn down_cause(&self) -> Option<CauseKind> {
        self.latch.is_tripped().then_some(CauseKind::NetDown)
    }

    /// Finds a host, open or closed.
    pub(crate) fn host(&self, name: &str) -> Option<Arc<HostState>> {
        self.hosts.with(|hosts| hosts.by_name.get(name).map(|(host, ())| host.0.clone()))
    }

    /// Finds a task that waits in an accept, on any host.
    pub(crate) fn pending_accept_waiter(&self) -> Option<Waiter> {
        self.hosts.try_with(|hosts| {
            let mut hosts = hosts.by_name.iter_mut();
            hosts.find_map(|(host, ())| {
                host.0.try_with_table(SocketTable::pending_accept_waiter).flatten()
            })
        })?
    }

    /// Makes an address; it shares the names of the host if that lives here.
    pub(crate) fn addr_of(&self, host: &str, port: u16) -> Addr {
        let find = |hosts: &mut Hosts| Some(hosts.by_name.get(host)?.0.0.addr.with_port(port));
        self.hosts.with(find).unwrap_or_else(|| Addr::from_parts(&self.name, host, port))
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
            if self.is_down() { AddHostResult::NetDown } else { hosts.insert(host) }
        };
        let added = self.hosts.with(add);
        match added {
            AddHostResult::NetDown => Err(CauseKind::NetDown),
            // The old host, if there was one, ends here: outside the lock.
            AddHostResult::Inserted(_previous) => Ok(()),
            AddHostResult::NameTaken => {
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
            hosts.auto_close |= hosts.open_count > 0;
            hosts.open_count
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
        let was_last = self.hosts.try_with(|hosts| {
            hosts.open_count -= 1;
            hosts.auto_close && hosts.open_count == 0
        });
        // The lock is released: closing takes it again, and a concurrent close needs it.
        if was_last != Some(true) {
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
            let (mut hosts, mut waiters) = self.hosts.try_with(Hosts::mark_net_down).unzip();
            let (mut engine_cause, mut registry_cause) = (None, None);
            // Each of them, and the last even if the first panics.
            let steps: [&mut dyn FnMut(); 4] = [
                &mut || for_each_catching(waiters.take().into_iter().flatten(), Waiter::wake),
                &mut || {
                    for_each_catching(hosts.take().unwrap_or_default(), |host| host.shut_down());
                },
                &mut || engine_cause = self.engine.close().err(),
                &mut || registry_cause = self.registry.close().err().map(Cause::from),
            ];
            for_each_catching(steps, |steps| steps());
            let mut causes: Vec<_> =
                [cause, engine_cause, registry_cause].into_iter().flatten().collect();
            let result = match causes.len() {
                0 | 1 => causes.pop(),
                _ => Some(Cause::Many(causes)),
            };
            let _ = self.close_result.set(result);
        }
        match self.close_result.get() {
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
        self.latch.is_tripped()
    }

    fn with_waiters<R>(&self, work: impl FnOnce(&mut TicketQueue<Waiter>) -> R) -> Option<R> {
        self.hosts.try_with(|hosts| work(&mut hosts.waiters))
    }
}

impl fmt::Debug for NetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("name", &self.name).finish_non_exhaustive()
    }
}
