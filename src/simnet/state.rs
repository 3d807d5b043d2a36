//! [`SimnetState`]: all simulated networks, connections and dials of a run.
//!
//! It is stored in a thread-local cell, as the world is. An operation takes it out of the cell and
//! puts it back; no code of a user or of another library runs in between.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::net::{Addr, SubNetwork, full_name};
use crate::sim::{
    FaultKind, FaultTarget, NetworkHooks, PathHash, SegmentEndpoint, World, hash_name,
    try_enter as try_enter_world, try_enter_run,
};
use crate::util::cold::{ClearToCapacity, cold};
use crate::util::run_cell::on_run_end;
use crate::util::small_map::SmallMap;

use crate::simnet::config::Config;
use crate::simnet::fault::links::{LinkSettings, Links};
use crate::simnet::fault::source::{ActiveFault, SettingFault, ZoneOutage};
use crate::simnet::fault::stats::{FaultStats, add_to_thread_stats, is_collecting_stats};
use crate::simnet::host::sim_host::NodeInfo;
use crate::simnet::host::table::HostTable;
use crate::simnet::latency::Latency;
use crate::simnet::slab::RecyclingSlab;
use crate::simnet::tcp::connection::Connection;
use crate::simnet::tcp::dial::Dial;

/// The dials from one host to another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostPair {
    pub(crate) dial_count: u32,
    /// The instant at which the last dial arrives: the next one arrives later.
    pub(crate) last_arrival_at: u64,
}

/// A region of a network; its number is its place in the list.
pub(crate) struct RegionState {
    pub(crate) name: String,
    pub(crate) subnetwork: SubNetwork,
}

/// One simulated network.
#[derive(Default)]
pub(crate) struct NetState {
    pub(crate) name: Arc<str>,
    pub(crate) key: PathHash,
    /// The name under which an answer of the registry wakes who has asked.
    pub(crate) registry_key: PathHash,
    pub(crate) config: Config,
    pub(crate) hosts: HostTable,
    pub(crate) regions: Vec<RegionState>,
    /// The failure of the registry, while it does not answer.
    pub(crate) registry_down: Option<ActiveFault>,
    pub(crate) registry_latency: SettingFault<Latency>,
    /// Regions without power, by number.
    pub(crate) zones: BTreeMap<u32, ZoneOutage>,
    pub(crate) links: Links,
    /// Whether everything that goes from one host to another has to be looked at.
    all_need_slow_path: bool,
    pub(crate) pairs: SmallMap<(u32, u32), HostPair>,
    pub(crate) stats: FaultStats,
    /// The number of plans so far.
    pub(crate) plan_count: u32,
    /// Whether a core was healed for good: plans do nothing more.
    pub(crate) is_core_healed: bool,
}

impl NetState {
    /// Begins, with the memory of a network that is no more.
    fn begin(&mut self, name: &str, config: &Config) {
        const KIND: &str = "sim";
        if self.name.strip_prefix(KIND) != Some(name) {
            self.name = full_name(KIND, name);
            self.key = PathHash::NONE.child(hash_name(&self.name), 0);
            self.registry_key = self.key.child(const { hash_name("registry") }, 0);
            self.hosts.recycle();
        }
        self.config.clone_from(config);
        self.all_need_slow_path = config.bandwidth.is_some() || config.may_exceed_user_timeout();
    }

    /// Forgets everything and keeps the memory, unless it is much.
    fn clear(&mut self, nodes: &mut Vec<NodeInfo>) {
        const MAX_CAPACITY: usize = 64;
        self.hosts.clear(nodes);
        self.regions.clear_to_capacity(MAX_CAPACITY);
        self.registry_down = None;
        self.registry_latency = SettingFault::default();
        self.zones.clear();
        self.links.clear();
        self.pairs.clear();
        self.stats = FaultStats::default();
        (self.plan_count, self.is_core_healed) = (0, false);
    }

    /// A region that there is, and its number.
    #[inline]
    pub(crate) fn find_region(&self, name: &str) -> Option<(u32, SubNetwork)> {
        let number = self.regions.iter().position(|region| region.name == name)?;
        Some((number as u32, self.regions[number].subnetwork.clone()))
    }

    /// Finds the host of an address, by the number that its addresses have once it was found.
    #[inline(always)]
    pub(crate) fn find_host_at(&self, addr: &Addr) -> Option<u32> {
        addr.number().or_else(|| {
            let number = self.hosts.find(addr.host())?;
            addr.set_number(number);
            Some(number)
        })
    }

    /// The names of two hosts, for a record.
    pub(crate) fn link_target(&self, a: u32, b: u32) -> FaultTarget {
        FaultTarget::Link(self.hosts[a].name().into(), self.hosts[b].name().into())
    }

    /// The two sides of a partition, by name.
    #[cold]
    pub(crate) fn group_target(&self, from: &BTreeSet<u32>, to: &BTreeSet<u32>) -> FaultTarget {
        let names = |group: &BTreeSet<u32>| {
            group.iter().map(|host| self.hosts[*host].name().into()).collect()
        };
        FaultTarget::Groups(names(from), names(to))
    }

    /// The value in force between two hosts of the setting that this kind of fault overrides, with
    /// its unit.
    #[cold]
    pub(crate) fn describe_settings(&self, (a, b): (u32, u32), kind: FaultKind) -> String {
        let settings = self.links.settings(a, b);
        let applied = LinkSettings {
            latency: Some(self.latency(a, b)),
            loss_ppm: settings.loss_ppm.or(Some(0)),
            short_io_ppm: settings.short_io_ppm.or(Some(0)),
            bandwidth: self.bandwidths(a, b)[0],
        };
        applied.describe(kind).unwrap_or_else(|| "no limit".into())
    }

    /// An address, to be printed.
    #[cold]
    pub(crate) fn addr(&self, host: u32, port: u16) -> Addr {
        self.hosts[host].addr.with_port(port)
    }

    /// The same as records name it.
    #[cold]
    pub(crate) fn segment_endpoint(&self, host: u32, port: u16) -> SegmentEndpoint {
        SegmentEndpoint { host: self.hosts[host].name().into(), port }
    }

    /// The latency from one host to another.
    #[inline]
    pub(crate) fn latency(&self, from: u32, to: u32) -> Latency {
        if from == to {
            return Latency::LOOPBACK;
        }
        let edited = self.links.setting((from, to), |settings| settings.latency);
        edited.unwrap_or_else(|| self.default_latency(from, to))
    }

    /// Whether the way between two hosts has to be looked at for everything that takes it.
    #[inline]
    pub(crate) fn needs_slow_path(&self, from: u32, to: u32) -> bool {
        self.links.needs_slow_path(from, to) || (self.all_need_slow_path && from != to)
    }

    /// The bandwidths between two hosts, there and back, in bytes per second; `None` is no limit.
    pub(crate) fn bandwidths(&self, a: u32, b: u32) -> [Option<u64>; 2] {
        let rate = |from, to| self.links.settings(from, to).bandwidth.or(self.config.bandwidth);
        [(a, b), (b, a)].map(|(from, to)| rate(from, to).filter(|_| from != to))
    }

    /// The latency from one host to another without overrides.
    #[inline]
    fn default_latency(&self, from: u32, to: u32) -> Latency {
        let region = |host: u32| self.hosts[host].region;
        if region(from) == region(to) { self.config.latency } else { self.config.region_latency }
    }

    /// The latency from one host to another without the overrides of plans.
    pub(crate) fn latency_without_plan(&self, from: u32, to: u32) -> Latency {
        self.links.manual_latency(from, to).unwrap_or_else(|| self.default_latency(from, to))
    }
}

/// All simulated networks of a run.
#[derive(Default)]
pub(crate) struct SimnetState {
    run: u64,
    pub(crate) nets: Vec<NetState>,
    /// The number of networks of this run; the others are memory for later runs.
    net_count: usize,
    pub(crate) conns: RecyclingSlab<Connection>,
    pub(crate) dials: RecyclingSlab<Dial>,
}

impl SimnetState {
    /// Adds the statistics of the faults to those of the thread, if they are collected.
    fn flush_stats(&mut self, world: &World) {
        for net in &mut self.nets[..self.net_count] {
            net.record_effects(world);
            add_to_thread_stats(&net.stats);
        }
    }

    /// Forgets the run and keeps its memory, unless it is much. Returns what made nodes of hosts.
    fn clear(&mut self) -> Vec<NodeInfo> {
        const MAX_CAPACITY: usize = 16;
        let mut nodes = Vec::new();
        self.run = 0;
        self.dials.clear(MAX_CAPACITY);
        self.conns.clear(MAX_CAPACITY);
        self.nets[..self.net_count].iter_mut().for_each(|net| net.clear(&mut nodes));
        self.nets.truncate(1);
        self.net_count = 0;
        nodes
    }
}

impl NetState {
    /// Counts the faults of nodes that have had an effect by now.
    pub(crate) fn record_effects(&mut self, world: &World) {
        for info in self.hosts.iter_mut().filter_map(|host| host.node.as_mut()) {
            info.record_effects(&mut self.stats, world);
        }
    }
}

/// The state in its cell, which is empty when its thread ends, as that of a world.
type StoredState = Option<ManuallyDrop<Box<SimnetState>>>;

thread_local! {
    static STATE: Cell<StoredState> = const { Cell::new(None) };
    /// The memory of the last run on this thread that had one, for the next.
    static SPARE_STATE: Cell<Option<Box<SimnetState>>> = const { Cell::new(None) };
    /// The nodes of an ended run, the last one first.
    static DROPPED_NODES: RefCell<Vec<NodeInfo>> = const { RefCell::new(Vec::new()) };
}

/// The state, taken out of its cell; dropping this puts it back.
struct BorrowedState(StoredState);

impl BorrowedState {
    /// Takes the state of this thread: here, and not in one closure with the work, as in
    /// `sim/world/current.rs`.
    #[inline]
    fn take() -> Option<Self> {
        Some(Self(Some(STATE.try_with(Cell::take).ok()??)))
    }
}

impl Drop for BorrowedState {
    #[inline]
    fn drop(&mut self) {
        STATE.with(|cell| cell.set(self.0.take()));
    }
}

/// Works on the state of `run`, if that goes on in this thread.
#[inline]
pub(crate) fn with_state<R>(run: u64, work: impl FnOnce(&mut SimnetState) -> R) -> Option<R> {
    let mut guard = BorrowedState::take()?;
    let state = guard.0.as_deref_mut()?;
    if state.run == run { Some(work(state)) } else { None }
}

/// Works on the state of `run` without its world, which takes half the time.
///
/// # Panics
///
/// Outside of it.
#[inline]
#[track_caller]
pub(crate) fn enter_state<R>(run: u64, work: impl FnOnce(&mut SimnetState) -> R) -> R {
    match with_state(run, work) {
        Some(result) => result,
        None => panic_outside_run(),
    }
}

/// Works on the state and the world of `run`, if that goes on in this thread.
#[inline]
pub(crate) fn try_enter<R>(
    run: u64,
    work: impl FnOnce(&mut SimnetState, &mut World) -> R,
) -> Option<R> {
    try_enter_run(run, |world| with_state(run, |state| work(state, world))).flatten()
}

/// Works on the state and the world of `run`.
///
/// # Panics
///
/// Outside of it: a handle must not be used after its run or off its thread.
#[inline]
#[track_caller]
pub(crate) fn enter<R>(run: u64, work: impl FnOnce(&mut SimnetState, &mut World) -> R) -> R {
    match try_enter(run, work) {
        Some(result) => result,
        None => panic_outside_run(),
    }
}

#[cold]
#[track_caller]
fn panic_outside_run() -> ! {
    panic!(
        "virtnet: this network, node or connection was made in a run that has ended or that goes \
         on in another thread; it may only be used inside that run"
    )
}

/// Clears the state when its run is over, and keeps its memory. The state may hold values of the
/// user, which are dropped after it was taken out of its cell.
fn clear_on_run_end() {
    if is_collecting_stats() {
        try_enter_world(|world| with_state(world.run(), |state| state.flush_stats(world)));
    }
    if let Some(mut state) = STATE.take().map(ManuallyDrop::into_inner) {
        let nodes = state.clear();
        SPARE_STATE.set(Some(state));
        if !nodes.is_empty() {
            cold(|| {
                DROPPED_NODES.set(nodes.into_iter().rev().collect());
                on_run_end(drop_nodes);
            });
        }
    }
}

/// Drops what made nodes of hosts, which holds their programs: one at a time, because a second
/// panic while others are dropped would end the process.
fn drop_nodes() {
    if let Some(node) = DROPPED_NODES.with_borrow_mut(Vec::pop) {
        on_run_end(drop_nodes);
        drop(node);
    }
}

/// Adds a network to a run, and sets the hooks of the run. Returns its number and its full name.
///
/// The configuration is copied once, where it stays: it is large to move.
pub(crate) fn add_net(
    run: u64,
    name: &str,
    config: &Config,
    hooks: NetworkHooks,
) -> (u32, Arc<str>) {
    if with_state(run, |_| ()).is_none() {
        let mut state = SPARE_STATE.take().unwrap_or_default();
        state.run = run;
        STATE.set(Some(ManuallyDrop::new(state)));
        on_run_end(clear_on_run_end);
    }
    enter(run, |state, world| {
        world.set_network_hooks(hooks);
        if state.net_count == state.nets.len() {
            state.nets.push(NetState::default());
        }
        let net = &mut state.nets[state.net_count];
        net.begin(name, config);
        state.net_count += 1;
        (state.net_count as u32 - 1, net.name.clone())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{AsyncReadExt, AsyncWriteExt};

    use super::try_enter_world;
    use crate::sim::{Run, Schedule};
    use crate::simnet::Network;

    /// Each request leaves a cancelled timer and a stale queue entry behind.
    #[test]
    fn queue_with_cancelled_and_stale_timers_stays_small() {
        let run = Run::new(3).schedule(Schedule::Fifo).execute(async |sim| {
            let net = Network::new("t");
            let listener = net.new_host("b").await.unwrap().listen(":1").await.unwrap();
            sim.spawn(async move {
                while let Ok(mut conn) = listener.accept().await {
                    let mut byte = [0; 1];
                    conn.read_exact(&mut byte).await.unwrap();
                    conn.write_all(&byte).await.unwrap();
                }
            });
            let a = net.new_host("a").await.unwrap();
            for _ in 0..30_000 {
                let mut conn = a.dial("b:1").await.unwrap();
                conn.write_all(&[1]).await.unwrap();
                let mut byte = [0; 1];
                let read = sim.timeout(Duration::from_secs(3_000), conn.read_exact(&mut byte));
                assert!(read.await.is_ok_and(|read| read.is_ok()));
            }
            try_enter_world(|world| world.future_event_count())
        });
        let ahead = run.unwrap().unwrap();
        assert!(ahead < 5_000, "{ahead} entries of 30 000 requests are kept");
    }
}
