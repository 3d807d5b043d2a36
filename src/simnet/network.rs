//! [`Network`]: the handle to a simulated network, with its hosts, nodes and faults by host name.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use crate::net::{Host, SubNetwork};
use crate::sim::{FaultAction, FaultChange, FaultKind, FaultTarget, World, current_run};

use crate::simnet::config::Config;
use crate::simnet::engine::RegionTransport;
use crate::simnet::fault::links::{LinkSettings, MILLION, PlannedFaultId, RateChange};
use crate::simnet::fault::stats::FaultStats;
use crate::simnet::latency::Latency;
use crate::simnet::node::{Node, NodeOutput};
use crate::simnet::state::{NetState, RegionState, SimnetState, add_net, enter};
use crate::simnet::tcp::conn_ctx::{ConnCtx, prefetch_due};
use crate::simnet::tcp::connection::Connection;
use crate::simnet::tcp::handshake::{describe_key, on_timer};

/// A simulated network, with latency, and with faults where they are asked for.
///
/// It exists inside a run. A clone is another handle to the same network. Faults are called by the
/// names of hosts, last until they are undone, and reach what is under way as well as what is yet
/// to come; a restart does not change them.
///
/// # Panics
///
/// Every method, outside the run that made the network; every fault, if a host of that name was
/// never made, naming it and those there are.
#[derive(Clone)]
pub struct Network {
    pub(crate) run: u64,
    pub(crate) net: u32,
    name: Arc<str>,
}

impl Network {
    /// Makes a network with the default [`Config`], whose full name is `sim` and then the name
    /// given.
    ///
    /// # Panics
    ///
    /// Outside a run.
    #[track_caller]
    #[inline]
    pub fn new(name: &str) -> Self {
        Self::with(name, Config::default())
    }

    /// Makes a network.
    ///
    /// # Panics
    ///
    /// Outside a run.
    #[track_caller]
    pub fn with(name: &str, config: Config) -> Self {
        let run = current_run("simnet::Network::new");
        let (net, name) = add_net(run, name, &config, (on_timer, prefetch_due, describe_key));
        Self { run, net, name }
    }

    /// Returns its full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the subnetwork that is a region of it; `""` is the default region.
    ///
    /// Hosts of one region are near each other; between regions everything takes longer. All
    /// regions share their names.
    #[track_caller]
    pub fn region(&self, region: &str) -> SubNetwork {
        self.find_region(region).1
    }

    /// Finds a region, or makes it.
    fn find_region(&self, name: &str) -> (u32, SubNetwork) {
        let find = |state: &mut SimnetState, _: &mut World| self.net_state(state).find_region(name);
        enter(self.run, find).unwrap_or_else(|| self.add_region(name))
    }

    #[cold]
    fn add_region(&self, name: &str) -> (u32, SubNetwork) {
        let (run, net) = (self.run, self.net);
        enter(run, |state, _| {
            let regions = &mut self.net_state(state).regions;
            let number = regions.len() as u32;
            let subnetwork = SubNetwork::from_transport(
                self.name.clone(),
                RegionTransport { run, net, index: number },
            );
            regions.push(RegionState { name: name.into(), subnetwork: subnetwork.clone() });
            (number, subnetwork)
        })
    }

    fn net_state<'a>(&self, state: &'a mut SimnetState) -> &'a mut NetState {
        &mut state.nets[self.net as usize]
    }

    /// Makes a host in the default region: the same as `region("").new_host(name)`, for programs
    /// that are not to be restarted.
    ///
    /// # Errors
    ///
    /// If the name is taken, or the registry is down.
    pub async fn new_host(&self, name: &str) -> Result<Host, crate::net::Error> {
        let (region, addr) = enter(self.run, |state, _| {
            let net = self.net_state(state);
            (net.find_region(""), net.hosts.addr_for(&net.name, name))
        });
        let (_, subnetwork) = region.unwrap_or_else(|| self.add_region(""));
        subnetwork.into_host(addr).await
    }

    /// Makes a node in the default region: a host with a program that can die and be started
    /// again.
    ///
    /// When the program returns, the node stays up, and with it its host and the tasks that were
    /// spawned; an error that it returns ends the run.
    ///
    /// # Panics
    ///
    /// If there is a host of that name.
    #[track_caller]
    pub fn node<P, Fut>(&self, name: &str, program: P) -> Node
    where
        P: Fn(Host) -> Fut + 'static,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        self.node_in("", name, program)
    }

    /// Makes a node in a region.
    ///
    /// # Panics
    ///
    /// If there is a host of that name.
    #[track_caller]
    pub fn node_in<P, Fut>(&self, region: &str, name: &str, program: P) -> Node
    where
        P: Fn(Host) -> Fut + 'static,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        let (region, _) = self.find_region(region);
        let called_at = Location::caller();
        match Node::start((self.run, self.net), region, name, program, called_at) {
            Ok(node) => node,
            Err(error) => panic!("virtnet: node {name:?}: {error}"),
        }
    }

    /// Lets nothing get from any host of `a` to any of `b`, nor back, until the network is healed.
    ///
    /// What is on its way is lost as well, and sent again and again: connections do not break, but
    /// time out.
    ///
    /// # Panics
    ///
    /// If either is empty, or a host is in both.
    #[track_caller]
    pub fn partition(&self, a: &[&str], b: &[&str]) {
        self.apply_partition(a, b, true, None);
    }

    /// Lets nothing get from any host of `from` to any of `to`, until the network is healed; the
    /// way back stays open.
    ///
    /// # Panics
    ///
    /// If either is empty, or a host is in both.
    #[track_caller]
    pub fn partition_one_way(&self, from: &[&str], to: &[&str]) {
        self.apply_partition(from, to, false, None);
    }

    /// Holds whatever travels between two hosts, in both directions, until it is released or the
    /// network is healed. Then it arrives at once, in order.
    #[track_caller]
    pub fn hold(&self, a: &str, b: &str) {
        self.hold_pair(a, b, true);
    }

    /// Lets go what is held between two hosts.
    #[track_caller]
    pub fn release(&self, a: &str, b: &str) {
        self.release_pair(a, b, true);
    }

    /// Tears down every connection between two hosts: both ends are reset.
    #[track_caller]
    pub fn reset(&self, a: &str, b: &str) {
        self.reset_pair(a, b, true);
    }

    /// Overrides settings of the link between two hosts, in both directions. [`heal`](Self::heal)
    /// does not undo it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use virtnet::{Run, simnet::{Latency, Network}};
    /// # Run::new(1).execute(async |_| {
    /// # let net = Network::new("t");
    /// # net.new_host("α").await.unwrap();
    /// # net.new_host("β").await.unwrap();
    /// net.link("α", "β").latency(Latency::constant(Duration::from_millis(300))).loss(0.01);
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn link(&self, a: &str, b: &str) -> LinkOverride {
        let hosts = self.host_pair(a, b);
        LinkOverride { network: self.clone(), hosts, is_one_way: false }
    }

    /// Overrides settings of what one host sends to another, and of nothing that travels back.
    /// Links are often asymmetric: uploads are slow, or acknowledgements get lost.
    ///
    /// [`heal`](Self::heal) does not undo it.
    #[track_caller]
    pub fn link_one_way(&self, from: &str, to: &str) -> LinkOverride {
        let hosts = self.host_pair(from, to);
        LinkOverride { network: self.clone(), hosts, is_one_way: true }
    }

    /// The numbers of two hosts.
    #[track_caller]
    fn host_pair(&self, a: &str, b: &str) -> (u32, u32) {
        let pair = enter(self.run, |state, _| {
            Ok::<_, String>((
                first_host(&self.find_hosts(state, &[a])?),
                first_host(&self.find_hosts(state, &[b])?),
            ))
        });
        pair.unwrap_or_else(|error| panic!("virtnet: {error}"))
    }

    /// Lets the registry answer nobody, until it is up again or the network is healed: questions
    /// that are under way fail as well.
    #[track_caller]
    pub fn registry_down(&self) {
        self.set_registry(true, true);
    }

    /// Lets the registry answer again.
    #[track_caller]
    pub fn registry_up(&self) {
        self.set_registry(false, true);
    }

    /// Undoes partitions, holds and `registry_down`, whoever called them; but no link that was
    /// edited by hand, and nothing that was done to a node.
    ///
    /// What was lost is sent again at its next attempt: up to a minute later, if the partition
    /// was that long.
    #[track_caller]
    pub fn heal(&self) {
        enter(self.run, |state, world| {
            if !world.accepts_effect() {
                return;
            }
            let net = self.net_state(state);
            net.links.heal();
            net.registry_down = None;
            world.record_fault(FaultChange::new(FaultAction::Heal, FaultTarget::Network));
            self.reevaluate_connections(state, world, |_, _| true);
        });
    }

    /// Returns what has become of all faults so far.
    #[track_caller]
    pub fn fault_stats(&self) -> FaultStats {
        enter(self.run, |state, world| {
            let net = self.net_state(state);
            net.record_effects(world);
            net.stats.clone()
        })
    }
}

fn first_host(hosts: &BTreeSet<u32>) -> u32 {
    hosts.first().copied().unwrap_or_default()
}

/// What plans do as well.
impl Network {
    #[track_caller]
    pub(crate) fn apply_partition(
        &self,
        from: &[&str],
        to: &[&str],
        both_ways: bool,
        planned: Option<PlannedFaultId>,
    ) {
        self.change_faults(&[from, to], |state, world, mut hosts| {
            let (Some(to), Some(from)) = (hosts.pop(), hosts.pop()) else {
                unreachable!("two were asked for")
            };
            if from.is_empty() || to.is_empty() {
                return Err("a partition of no hosts: both sides need one at least".into());
            }
            let net = self.net_state(state);
            if let Some(both) = from.intersection(&to).next() {
                let name = net.hosts[*both].name();
                return Err(format!("a partition with host {name:?} on both sides"));
            }
            let kind = if both_ways { FaultKind::Partition } else { FaultKind::OneWay };
            let counts = net.stats.kind_mut(kind);
            counts.requested += u64::from(planned.is_none());
            counts.applied += 1;
            let target = net.group_target(&from, &to);
            world.record_fault(FaultChange::new(FaultAction::Apply(kind), target));
            let is_affected = {
                let (from, to) = (from.clone(), to.clone());
                move |a: u32, b: u32| {
                    (from.contains(&a) && to.contains(&b)) || (from.contains(&b) && to.contains(&a))
                }
            };
            net.links.partition(from, to, both_ways, planned);
            self.reevaluate_connections(state, world, is_affected);
            Ok(())
        });
    }

    #[track_caller]
    pub(crate) fn hold_pair(&self, a: &str, b: &str, is_manual: bool) {
        self.change_faults(&[&[a], &[b]], |state, world, hosts| {
            let (a, b) = (first_host(&hosts[0]), first_host(&hosts[1]));
            let net = self.net_state(state);
            let counts = net.stats.kind_mut(FaultKind::Hold);
            counts.requested += u64::from(is_manual);
            counts.applied += 1;
            net.links.hold(a, b, is_manual);
            let action = FaultAction::Apply(FaultKind::Hold);
            world.record_fault(FaultChange::new(action, net.link_target(a, b)));
            self.reevaluate_connections(state, world, |from, to| {
                (from, to) == (a, b) || (from, to) == (b, a)
            });
            Ok(())
        });
    }

    #[track_caller]
    pub(crate) fn release_pair(&self, a: &str, b: &str, is_manual: bool) {
        self.change_faults(&[&[a], &[b]], |state, world, hosts| {
            let (a, b) = (first_host(&hosts[0]), first_host(&hosts[1]));
            let net = self.net_state(state);
            if net.links.release(a, b, is_manual) {
                let action = FaultAction::Undo(FaultKind::Hold);
                world.record_fault(FaultChange::new(action, net.link_target(a, b)));
            }
            self.reevaluate_connections(state, world, |from, to| {
                (from, to) == (a, b) || (from, to) == (b, a)
            });
            Ok(())
        });
    }

    #[track_caller]
    pub(crate) fn reset_pair(&self, a: &str, b: &str, is_manual: bool) {
        self.change_faults(&[&[a], &[b]], |state, world, hosts| {
            let pair = [first_host(&hosts[0]), first_host(&hosts[1])];
            let net = &state.nets[self.net as usize];
            let action = FaultAction::Apply(FaultKind::Reset);
            world.record_fault(FaultChange::new(action, net.link_target(pair[0], pair[1])));
            let mut any_reset = false;
            let is_between = |from, to| [from, to] == pair || [to, from] == pair;
            self.with_conns(state, world, is_between, |ctx| any_reset |= ctx.reset());
            let counts = state.nets[self.net as usize].stats.kind_mut(FaultKind::Reset);
            counts.requested += u64::from(is_manual);
            counts.applied += 1;
            counts.effective += u64::from(any_reset);
            Ok(())
        });
    }

    #[track_caller]
    pub(crate) fn set_registry(&self, is_down: bool, is_manual: bool) {
        enter(self.run, |state, world| {
            let net = self.net_state(state);
            if !world.accepts_effect() {
                return;
            }
            if is_down {
                net.registry_down.get_or_insert_default().acquire(is_manual);
                let counts = net.stats.kind_mut(FaultKind::Registry);
                counts.requested += u64::from(is_manual);
                counts.applied += 1;
            } else if net.registry_down.as_mut().is_some_and(|is_down| is_down.release(is_manual)) {
                net.registry_down = None;
            } else {
                return;
            }
            let change = if is_down { FaultAction::Apply } else { FaultAction::Undo };
            world.record_fault(FaultChange::new(change(FaultKind::Registry), FaultTarget::Network));
        });
    }

    /// Edits the link between two hosts, both ways or from the first to the second alone.
    pub(crate) fn override_link(
        &self,
        ((a, b), is_one_way): ((u32, u32), bool),
        kind: FaultKind,
        is_planned: bool,
        change: impl Fn(&mut LinkSettings),
    ) {
        enter(self.run, |state, world| {
            if !world.accepts_effect() {
                return;
            }
            let net = self.net_state(state);
            let rates = net.bandwidths(a, b);
            net.links.override_settings(a, b, kind, is_planned, &change);
            if !is_one_way {
                net.links.override_settings(b, a, kind, is_planned, &change);
            }
            let counts = net.stats.kind_mut(kind);
            counts.requested += u64::from(!is_planned);
            counts.applied += 1;
            // What a plan has set applies before what was set by hand.
            let effective = net.describe_settings((a, b), kind);
            let mut details = effective.clone();
            let target = match net.link_target(a, b) {
                FaultTarget::Link(a, b) if is_one_way => FaultTarget::OneWayLink(a, b),
                target => target,
            };
            let mut requested = LinkSettings::default();
            change(&mut requested);
            if let Some(requested) =
                requested.describe(kind).filter(|requested| *requested != effective)
            {
                details += &format!("; {requested} after the plan");
            }
            world.record_fault(FaultChange {
                details,
                ..FaultChange::new(FaultAction::Apply(kind), target)
            });
            self.rescale_bandwidth(state, world, (a, b), rates);
            self.reevaluate_connections(state, world, |from, to| {
                (from, to) == (a, b) || (from, to) == (b, a)
            });
        });
    }

    /// Undoes the cut that a strike made, unless that was done before.
    pub(crate) fn undo_partition(&self, id: PlannedFaultId, kind: FaultKind) {
        enter(self.run, |state, world| {
            let net = self.net_state(state);
            if let Some((from, to)) = net.links.undo_partition(id) {
                let target = net.group_target(&from, &to);
                world.record_fault(FaultChange::new(FaultAction::Undo(kind), target));
                self.reevaluate_connections(state, world, |_, _| true);
            }
        });
    }

    /// Undoes what a plan changed about both directions between two hosts.
    pub(crate) fn undo_override(&self, (a, b): (u32, u32), kind: FaultKind) {
        enter(self.run, |state, world| {
            let net = self.net_state(state);
            let rates = net.bandwidths(a, b);
            // Two equal faults are undone at once.
            if !(net.links.undo_override(a, b, kind) | net.links.undo_override(b, a, kind)) {
                return;
            }
            world.record_fault(FaultChange {
                details: net.describe_settings((a, b), kind),
                ..FaultChange::new(FaultAction::Undo(kind), net.link_target(a, b))
            });
            self.rescale_bandwidth(state, world, (a, b), rates);
            self.reevaluate_connections(state, world, |from, to| {
                (from, to) == (a, b) || (from, to) == (b, a)
            });
        });
    }

    /// Lets what queues for the bandwidth between two hosts, there and back, be out as soon as it
    /// can, if these were the rates before.
    fn rescale_bandwidth(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        (a, b): (u32, u32),
        rates: [Option<u64>; 2],
    ) {
        let after = state.nets[self.net as usize].bandwidths(a, b);
        for ((from, to), (before, after)) in
            [(a, b), (b, a)].into_iter().zip(rates.into_iter().zip(after))
        {
            let Some(before) = before.filter(|before| Some(*before) != after) else { continue };
            let rate_change = RateChange { before, after };
            state.nets[self.net as usize].links.rescale_bandwidth(
                (from, to),
                world.now,
                rate_change,
            );
            let is_between = |one, other| (one, other) == (from, to) || (other, one) == (from, to);
            self.with_conns(state, world, is_between, |ctx| {
                ctx.rescale_bandwidth(from, rate_change);
            });
        }
    }

    /// Looks up hosts by name, and works on them.
    #[track_caller]
    fn change_faults(
        &self,
        names: &[&[&str]],
        work: impl FnOnce(&mut SimnetState, &mut World, Vec<BTreeSet<u32>>) -> Result<(), String>,
    ) {
        let changed = enter(self.run, |state, world| {
            let hosts: Result<Vec<_>, String> =
                names.iter().map(|names| self.find_hosts(state, names)).collect();
            if world.accepts_effect() { work(state, world, hosts?) } else { Ok(()) }
        });
        if let Err(error) = changed {
            panic!("virtnet: {error}");
        }
    }

    /// Finds hosts by name.
    fn find_hosts(&self, state: &SimnetState, names: &[&str]) -> Result<BTreeSet<u32>, String> {
        let net = &state.nets[self.net as usize];
        let find = |name: &&str| {
            net.hosts.find(name).ok_or_else(|| {
                let names = net.hosts.names();
                let known = &names[..names.len().min(20)];
                let ellipsis = if names.len() > known.len() { ", .." } else { "" };
                format!(
                    "no host {name:?} was ever made on the network {}; there are: {}{ellipsis}",
                    self.name,
                    known.join(", ")
                )
            })
        };
        names.iter().map(find).collect()
    }

    /// Does something with every connection between hosts that are concerned.
    fn with_conns(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        is_affected: impl Fn(u32, u32) -> bool,
        mut work: impl FnMut(&mut ConnCtx<'_>),
    ) {
        let is_selected = |conn: &Connection| {
            conn.net == self.net && is_affected(conn.endpoints[0].host, conn.endpoints[1].host)
        };
        let conns: Vec<usize> = state
            .conns
            .iter()
            .filter(|(_, conn)| is_selected(conn))
            .map(|(index, _)| index)
            .collect();
        for index in conns {
            if let Some(mut ctx) = state.conn_ctx(index, world) {
                work(&mut ctx);
            }
        }
    }

    /// Lets all connections look around to which something was done, and all dials.
    pub(crate) fn reevaluate_connections(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        is_affected: impl Fn(u32, u32) -> bool,
    ) {
        self.with_conns(state, world, is_affected, |ctx| ctx.reevaluate_path());
        state.resume_dials(world, self.net);
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simnet::Network({:?})", self.name)
    }
}

/// Overrides settings of the link between two hosts: see [`Network::link`] and
/// [`Network::link_one_way`]. Each call takes effect at once.
#[derive(Debug)]
pub struct LinkOverride {
    network: Network,
    hosts: (u32, u32),
    is_one_way: bool,
}

impl LinkOverride {
    /// How long anything takes between the two, one way.
    #[track_caller]
    pub fn latency(self, latency: Latency) -> Self {
        self.apply(FaultKind::Latency, |settings| settings.latency = Some(latency))
    }

    /// How much of what is sent is lost, from 0 to 1, acknowledgements included. It is sent again
    /// after 200 ms, then after twice as long, and so on: loss is delay, and where there is so much
    /// of it that nothing is acknowledged for the stream's timeout, the end of the stream.
    ///
    /// # Panics
    ///
    /// If it is not a number from 0 to 1.
    #[track_caller]
    pub fn loss(self, ratio: f64) -> Self {
        let loss = parts_per_million("loss", ratio);
        self.apply(FaultKind::Loss, |settings| settings.loss_ppm = Some(loss))
    }

    /// How many bytes a second pass, each way.
    ///
    /// # Panics
    ///
    /// If it is zero: to let nothing pass is a partition.
    #[track_caller]
    pub fn bandwidth(self, bytes_per_second: u64) -> Self {
        assert!(
            bytes_per_second > 0,
            "virtnet: a bandwidth of 0 bytes a second lets nothing pass: use `Network::partition`"
        );
        self.apply(FaultKind::Bandwidth, |settings| settings.bandwidth = Some(bytes_per_second))
    }

    /// How many of the reads and writes of connections between the two are short, from 0 to 1.
    ///
    /// # Panics
    ///
    /// If it is not a number from 0 to 1.
    #[track_caller]
    pub fn short_io(self, ratio: f64) -> Self {
        let short = parts_per_million("short_io", ratio);
        self.apply(FaultKind::ShortIo, |settings| settings.short_io_ppm = Some(short))
    }

    fn apply(self, kind: FaultKind, change: impl Fn(&mut LinkSettings)) -> Self {
        self.network.override_link((self.hosts, self.is_one_way), kind, false, change);
        self
    }
}

#[track_caller]
fn parts_per_million(name: &str, ratio: f64) -> u32 {
    assert!((0.0..=1.0).contains(&ratio), "virtnet: {name}({ratio}): a ratio is from 0 to 1");
    (ratio * f64::from(MILLION)).round() as u32
}
