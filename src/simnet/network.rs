//! [`Network`]: the handle to a simulated network, with its hosts, nodes and faults by host name.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use crate::net::{Host, SubNetwork};
use crate::sim::{World, current_run};

use crate::simnet::config::Config;
use crate::simnet::engine::Region;
use crate::simnet::fault::source::FaultSource;
use crate::simnet::fault::stats::FaultStats;
use crate::simnet::hooks::HOOKS;
use crate::simnet::latency::Latency;
use crate::simnet::node::{Node, NodeOutput};
use crate::simnet::state::{NetState, RegionState, SimnetState, add_net, enter};

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
        let (net, name) = add_net(run, name, &config, HOOKS);
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
            let region = Region { run, net, index: number };
            let (subnetwork, _) = SubNetwork::with_name(self.name.clone(), region, region);
            regions.push(RegionState { name: name.into(), subnetwork: subnetwork.clone() });
            (number, subnetwork)
        })
    }

    pub(crate) fn net_state<'a>(&self, state: &'a mut SimnetState) -> &'a mut NetState {
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
    /// The node stays up when the program returns, and with it its host and the tasks that were
    /// spawned. An error that the program returns ends the run.
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
    /// Segments in flight are lost as well, and sent again and again: connections do not break, but
    /// time out.
    ///
    /// # Panics
    ///
    /// If either is empty, or a host is in both.
    #[track_caller]
    pub fn partition(&self, a: &[&str], b: &[&str]) {
        self.apply_partition(self.find_groups(a, b), true, FaultSource::Manual);
    }

    /// Lets nothing get from any host of `from` to any of `to`, until the network is healed; the
    /// way back stays open.
    ///
    /// # Panics
    ///
    /// If either is empty, or a host is in both.
    #[track_caller]
    pub fn partition_one_way(&self, from: &[&str], to: &[&str]) {
        self.apply_partition(self.find_groups(from, to), false, FaultSource::Manual);
    }

    /// Holds whatever travels between two hosts, in both directions, until it is released or the
    /// network is healed. Then it arrives at once, in order.
    #[track_caller]
    pub fn hold(&self, a: &str, b: &str) {
        self.apply_hold(self.find_pair(a, b), FaultSource::Manual);
    }

    /// Lets go what is held between two hosts.
    #[track_caller]
    pub fn release(&self, a: &str, b: &str) {
        self.undo_hold(self.find_pair(a, b), FaultSource::Manual);
    }

    /// Tears down every connection between two hosts: both ends are reset.
    #[track_caller]
    pub fn reset(&self, a: &str, b: &str) {
        self.apply_reset(self.find_pair(a, b), FaultSource::Manual);
    }

    /// Stops the registry, until `registry_up` or `heal`. Look-ups that are under way fail, too.
    #[track_caller]
    pub fn registry_down(&self) {
        self.apply_registry_down(FaultSource::Manual);
    }

    /// Lets the registry answer again.
    #[track_caller]
    pub fn registry_up(&self) {
        self.undo_registry_down(FaultSource::Manual);
    }

    /// Sets how long the registry takes to answer, for questions from now on; with the latency of
    /// the [`Config`] it is as fast as at first. [`heal`](Self::heal) does not undo it.
    #[track_caller]
    pub fn set_registry_latency(&self, latency: Latency) {
        self.apply_registry_latency(latency, FaultSource::Manual);
    }

    /// Takes the power of all nodes of a region at once, as [`Node::power_off`] does of one. Hosts
    /// without a program are not affected.
    ///
    /// # Panics
    ///
    /// If there is no region of that name.
    #[track_caller]
    pub fn power_off_region(&self, region: &str) {
        self.apply_zone(self.find_made_region(region), FaultSource::Manual);
    }

    /// Gives a region its power back: those of its nodes start that lost it and were not started
    /// since.
    ///
    /// # Panics
    ///
    /// If there is no region of that name.
    #[track_caller]
    pub fn restore_region(&self, region: &str) {
        self.undo_zone(self.find_made_region(region), FaultSource::Manual);
    }

    /// The number of a region that was made before.
    #[track_caller]
    fn find_made_region(&self, name: &str) -> u32 {
        let found = enter(self.run, |state, _| {
            let regions = &self.net_state(state).regions;
            let index = regions.iter().position(|region| region.name == name);
            index.map(|index| index as u32).ok_or_else(|| {
                let names: Vec<_> = regions.iter().map(|it| format!("{:?}", it.name)).collect();
                let (network, names) = (&self.name, names.join(", "));
                format!("no region {name:?} was ever made on {network}; there are: {names}")
            })
        });
        found.unwrap_or_else(|error| panic!("virtnet: {error}"))
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

impl Network {
    /// The numbers of two groups of hosts.
    #[track_caller]
    fn find_groups(&self, a: &[&str], b: &[&str]) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let found = enter(self.run, |state, _| {
            let (a, b) = (self.find_hosts(state, a)?, self.find_hosts(state, b)?);
            if a.is_empty() || b.is_empty() {
                return Err("a partition of no hosts: both sides need one at least".into());
            }
            if let Some(both) = a.intersection(&b).next() {
                let name = state.nets[self.net as usize].hosts[*both].name();
                return Err(format!("a partition with host {name:?} on both sides"));
            }
            Ok((a, b))
        });
        found.unwrap_or_else(|error: String| panic!("virtnet: {error}"))
    }

    /// The numbers of two hosts.
    #[track_caller]
    pub(crate) fn find_pair(&self, a: &str, b: &str) -> (u32, u32) {
        let found = enter(self.run, |state, _| {
            let (a, b) = (self.find_hosts(state, &[a])?, self.find_hosts(state, &[b])?);
            Ok(a.first().copied().zip(b.first().copied()).unwrap_or_default())
        });
        found.unwrap_or_else(|error: String| panic!("virtnet: {error}"))
    }

    /// Finds hosts by name.
    pub(crate) fn find_hosts(
        &self,
        state: &SimnetState,
        names: &[&str],
    ) -> Result<BTreeSet<u32>, String> {
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
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simnet::Network({:?})", self.name)
    }
}
