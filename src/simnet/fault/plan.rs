//! [`FaultPlan`]: applies drawn faults at their instants, and undoes them.
//!
//! The victims of a fault are drawn as plain numbers, and taken modulo the hosts, pairs or nodes
//! that exist when the fault is applied. A fault that would take down more nodes than allowed is
//! skipped. At the end of the plan, everything that it did is undone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::sim::{Callback, FaultKind, Instant, Sleep};

use crate::simnet::clock_skew::ClockSkew;
use crate::simnet::fault::links::LinkSetting;
use crate::simnet::fault::set::{Faults, PlanSampler, PlannedFault};
use crate::simnet::fault::source::{FaultSource, PlannedFaultId};
use crate::simnet::network::Network;
use crate::simnet::node::{Node, describe_clock};
use crate::simnet::state::{enter, try_enter};

/// A fault that was applied, and is to be undone.
#[derive(Debug)]
struct Undo {
    kind: FaultKind,
    source: FaultSource,
    target: UndoTarget,
}

/// The target of an applied fault.
#[derive(Debug)]
enum UndoTarget {
    /// The fault is over when it has been applied.
    Nothing,
    Network,
    Pair((u32, u32)),
    Region(u32),
    /// With the incarnation in which it was applied.
    Node(Node, u32),
}

/// A plan of faults: see [`Network::fault_plan`]. Printed, it tells what it did and when.
pub struct FaultPlan {
    network: Network,
    faults: Faults,
    plan: u32,
    /// Whether it has run: then it runs as another plan the next time.
    has_run: bool,
    /// The faults to be undone, by instant, then by order.
    undo_at: BTreeMap<(u64, u32), Undo>,
    applied: Vec<(Instant, String)>,
}

impl Network {
    /// Makes a plan of faults, whose faults begin when it is run.
    ///
    /// The seed decides which faults occur, when, for how long, and which hosts they hit. Each
    /// decision is a choice; on `Tape::zero()` no fault occurs.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use virtnet::{Run, simnet::{Faults, Network}};
    /// Run::new(1).execute(async |_| {
    ///     let net = Network::new("t");
    ///     # net.new_host("α").await.unwrap();
    ///     // .. make nodes, start clients ..
    ///     net.fault_plan(Faults::all()).run_for(Duration::from_secs(30)).await;
    ///     // All is well again: now progress can be demanded.
    /// }).unwrap();
    /// ```
    #[track_caller]
    pub fn fault_plan(&self, faults: Faults) -> FaultPlan {
        let plan = enter(self.run, |state, _| {
            let net = &mut state.nets[self.net as usize];
            net.plan_count += 1;
            // A zone does not fail if all nodes are in one region.
            let has_zones = {
                let nodes = net.hosts.iter().filter(|host| host.node.is_some());
                nodes.map(|host| host.region).collect::<BTreeSet<_>>().len() > 1
            };
            for kind in faults.kinds().filter(|kind| *kind != FaultKind::Zone || has_zones) {
                net.stats.kind_mut(kind).requested += 1;
            }
            net.plan_count - 1
        });
        let (undo_at, applied) = (BTreeMap::new(), Vec::new());
        FaultPlan { network: self.clone(), faults, plan, has_run: false, undo_at, applied }
    }
}

impl FaultPlan {
    /// Applies drawn faults for `duration`, then undoes all it did: partitions, links, nodes,
    /// clocks and pauses. It may be run again, and then draws other faults.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the middle it stops; what it did is undone when the `FaultPlan` is dropped.
    pub async fn run_for(&mut self, duration: Duration) {
        let (start, planned) = enter(self.network.run, |state, world| {
            if std::mem::replace(&mut self.has_run, true) {
                let plans = &mut state.nets[self.network.net as usize].plan_count;
                self.plan = *plans;
                *plans += 1;
            }
            let (start, network) = (world.now(), self.network.name().to_string());
            let mut sampler = PlanSampler { world, network: &network, plan: self.plan };
            let planned = sampler.draw(&self.faults, duration);
            let stats = &mut state.nets[self.network.net as usize].stats;
            planned.iter().for_each(|fault| stats.kind_mut(fault.kind).drawn += 1);
            (Instant::from_nanos(start), planned)
        });
        for fault in planned {
            let at = start + Duration::from_nanos(fault.start);
            self.undo_until(at).await;
            self.wait_until(at).await;
            let ends_at = (at + Duration::from_nanos(fault.duration)).as_nanos();
            let index = self.applied.len() as u32;
            let source = FaultSource::Plan(PlannedFaultId { plan: self.plan, index });
            if let Some((description, target)) = self.apply(fault, source) {
                self.applied.push((at, description));
                self.undo_at.insert((ends_at, index), Undo { kind: fault.kind, source, target });
            }
        }
        self.undo_until(start + duration).await;
        self.wait_until(start + duration).await;
        self.undo_all();
    }

    /// Returns what it has done so far, and when.
    pub fn applied_faults(&self) -> &[(Instant, String)] {
        &self.applied
    }

    /// Undoes what is due until an instant, each at its own.
    async fn undo_until(&mut self, end: Instant) {
        while let Some(&(at, number)) = self.undo_at.keys().next()
            && at <= end.as_nanos()
        {
            self.wait_until(Instant::from_nanos(at)).await;
            // Not taken out before: it may be dropped while it waits.
            if let Some(undo) = self.undo_at.remove(&(at, number)) {
                self.undo(&undo);
            }
        }
    }

    /// Waits for an instant of true time.
    async fn wait_until(&self, at: Instant) {
        let at = enter(self.network.run, |_, world| world.to_local_instant(at));
        Sleep::new(self.network.run, at).await;
    }

    /// Applies a fault, if there is anything to apply it to. Returns its description, and what it
    /// was applied to.
    fn apply(&self, fault: PlannedFault, source: FaultSource) -> Option<(String, UndoTarget)> {
        let net = &self.network;
        if self.is_over() {
            return None;
        }
        match fault.kind {
            FaultKind::Partition | FaultKind::OneWay => {
                let (small_side, large_side) = self.draw_sides(fault)?;
                let both_ways = fault.kind == FaultKind::Partition;
                let is_reversed = !both_ways && fault.strength % 2 == 1;
                let (from, to) =
                    if is_reversed { (large_side, small_side) } else { (small_side, large_side) };
                let description = format!("{} {}", fault.kind, self.describe_groups(&from, &to));
                let groups = (from.into_iter().collect(), to.into_iter().collect());
                net.apply_partition(groups, both_ways, source);
                Some((description, UndoTarget::Network))
            }
            FaultKind::Hold => {
                let (names, pair) = self.draw_pair(fault)?;
                net.apply_hold(pair, source);
                Some((format!("hold {names}"), UndoTarget::Pair(pair)))
            }
            FaultKind::Reset => {
                let (names, pair) = self.draw_pair(fault)?;
                net.apply_reset(pair, source);
                Some((format!("reset {names}"), UndoTarget::Nothing))
            }
            FaultKind::Latency | FaultKind::Loss | FaultKind::Bandwidth | FaultKind::ShortIo => {
                self.apply_to_link(fault, source)
            }
            FaultKind::SlowRegistry => {
                let factor = [10, 50, 200, 1000][(fault.strength % 4) as usize];
                let usual = enter(net.run, |state, _| {
                    let net = net.net_state(state);
                    net.registry_latency.manual_value().unwrap_or(net.config.registry_latency)
                });
                net.apply_registry_latency(usual.scaled_by(factor), source);
                Some((format!("slow_registry: {factor} times as slow"), UndoTarget::Network))
            }
            FaultKind::Zone => self.apply_to_region(fault, source),
            FaultKind::Registry => {
                net.apply_registry_down(source);
                Some(("registry down".into(), UndoTarget::Network))
            }
            _ => self.apply_to_node(fault, source),
        }
    }

    /// Takes the power of a region, if there are others with nodes, and no more nodes go down by it
    /// than may be down.
    fn apply_to_region(
        &self,
        fault: PlannedFault,
        source: FaultSource,
    ) -> Option<(String, UndoTarget)> {
        let (nodes, up) = self.node_candidates();
        let (regions, name) = enter(self.network.run, |state, _| {
            let net = self.network.net_state(state);
            let mut regions: Vec<(u32, usize)> = Vec::new();
            for node in &nodes {
                let region = net.hosts[node.host].region;
                let is_up = usize::from(up.contains(&node.host));
                match regions.iter_mut().find(|(other, _)| *other == region) {
                    Some((_, count)) => *count += is_up,
                    None => regions.push((region, is_up)),
                }
            }
            let index = fault.victims[0] as usize % regions.len().max(1);
            let name = regions.get(index).map(|(it, _)| net.regions[*it as usize].name.to_string());
            regions.rotate_left(index);
            (regions, name)
        });
        let (region, affected) = *regions.first()?;
        let down_after = nodes.len() - up.len() + affected;
        if regions.len() < 2 || affected == 0 || down_after > self.max_down(nodes.len()) {
            return None;
        }
        self.network.apply_zone(region, source);
        Some((format!("zone {:?}", name?), UndoTarget::Region(region)))
    }

    /// The number of `node_count` nodes that may be down at once.
    fn max_down(&self, node_count: usize) -> usize {
        self.faults.max_down.unwrap_or_else(|| (node_count.saturating_sub(1) / 2).max(1))
    }

    /// Overrides a setting of the link between two hosts; one time in three in one direction
    /// alone, as many real links are asymmetric.
    fn apply_to_link(
        &self,
        fault: PlannedFault,
        source: FaultSource,
    ) -> Option<(String, UndoTarget)> {
        let (_, (a, b)) = self.draw_pair(fault)?;
        let is_one_way = fault.victims[1] % 3 == 2;
        let pair = if is_one_way && fault.victims[1] / 3 % 2 == 1 { (b, a) } else { (a, b) };
        let names = enter(self.network.run, |state, _| {
            self.network.net_state(state).override_target(pair, is_one_way).to_string()
        });
        let level = (fault.strength % 4) as usize;
        let ppm = [10_000, 50_000, 200_000, 500_000][level];
        let factor = [4, 10, 30, 100][level];
        let rate = [1_000_000, 100_000, 20_000, 4_000][level];
        let (setting, details) = match fault.kind {
            FaultKind::Latency => {
                // Not times the latency of another fault: two of them would be ten thousand times
                // as high.
                let usual = enter(self.network.run, |state, _| {
                    self.network.net_state(state).latency_without_plan(pair.0, pair.1)
                });
                let details = format!("{factor} times as high");
                (LinkSetting::Latency(usual.scaled_by(factor)), details)
            }
            FaultKind::Loss => (LinkSetting::Loss(ppm), format!("{} %", ppm / 10_000)),
            FaultKind::Bandwidth => {
                (LinkSetting::Bandwidth(rate), format!("{rate} bytes a second"))
            }
            _ => (LinkSetting::ShortIo(2 * ppm), format!("{} %", ppm / 5_000)),
        };
        self.network.override_link(pair, is_one_way, source, setting);
        Some((format!("{} {names}: {details}", fault.kind), UndoTarget::Pair(pair)))
    }

    /// Applies a fault to a node.
    fn apply_to_node(
        &self,
        fault: PlannedFault,
        source: FaultSource,
    ) -> Option<(String, UndoTarget)> {
        let (nodes, up) = self.node_candidates();
        let node = nodes.get(fault.victims[0] as usize % nodes.len().max(1)).cloned()?;
        let max_down = self.max_down(nodes.len());
        let takes_down = matches!(
            fault.kind,
            FaultKind::Crash
                | FaultKind::PowerOff
                | FaultKind::Close
                | FaultKind::Pause
                | FaultKind::Restart
                | FaultKind::Wipe
        );
        let is_up = up.contains(&node.host);
        if !is_up || (takes_down && nodes.len() - up.len() >= max_down) {
            return None;
        }
        let level = (fault.strength % 4) as usize;
        let mut description = format!("{} {}", fault.kind.name(), node.name());
        let incarnation = node.incarnation();
        match fault.kind {
            FaultKind::Crash | FaultKind::PowerOff => node.apply_stop(fault.kind, source),
            FaultKind::Close => node.apply_close(source),
            FaultKind::Pause => node.apply_pause(source),
            FaultKind::Restart | FaultKind::Wipe => {
                node.apply_restart(fault.kind, source);
                return Some((description, UndoTarget::Nothing));
            }
            FaultKind::Accept => {
                let count = [1, 2, 5, 20][level];
                node.apply_accept_failures(count, source);
                description += &format!(": the next {count} of each listener fail");
            }
            FaultKind::Clock => {
                let offset = [50_000_000, 1_000_000_000, -1_000_000_000, 60_000_000_000][level];
                let drift = [50, -1_000, 20_000, -100_000][fault.victims[1] as usize % 4];
                let skew = ClockSkew { offset, drift_ppm: drift };
                node.apply_clock(skew, source);
                description += &format!(": {}", describe_clock(skew));
            }
            _ => {
                let cost = Duration::from_micros([100, 1_000, 5_000, 20_000][level]);
                node.apply_poll_cost(cost, source);
                description += &format!(": {cost:?} a poll");
            }
        }
        Some((description, UndoTarget::Node(node, incarnation)))
    }

    /// Whether a core was healed for good: then what the plan did was dealt with.
    fn is_over(&self) -> bool {
        enter(self.network.run, |state, _| self.network.net_state(state).is_core_healed)
    }

    /// Undoes one fault.
    fn undo(&self, undo: &Undo) {
        if self.is_over() {
            return;
        }
        let (net, Undo { kind, source, target }) = (&self.network, undo);
        match (target, *kind) {
            (UndoTarget::Nothing, _) => {}
            (UndoTarget::Network, FaultKind::Registry) => net.undo_registry_down(*source),
            (UndoTarget::Network, FaultKind::SlowRegistry) => net.undo_registry_latency(*source),
            (UndoTarget::Region(region), _) => net.undo_zone(*region, *source),
            (UndoTarget::Network, kind) => net.undo_partition(*source, kind),
            (UndoTarget::Pair(pair), FaultKind::Hold) => net.undo_hold(*pair, *source),
            (UndoTarget::Pair(pair), kind) => net.undo_override(*pair, *source, kind),
            (UndoTarget::Node(node, _), FaultKind::Pause) => node.undo_pause(*source),
            (UndoTarget::Node(node, _), FaultKind::Clock) => node.undo_clock(*source),
            (UndoTarget::Node(node, _), FaultKind::SlowNode) => node.undo_poll_cost(*source),
            (UndoTarget::Node(node, _), FaultKind::Accept) => node.undo_accept_failures(*source),
            (UndoTarget::Node(node, incarnation), _) => node.start_if_same(*incarnation),
        }
    }

    /// Undoes everything that is left.
    fn undo_all(&mut self) {
        let undo_at = std::mem::take(&mut self.undo_at);
        undo_at.values().for_each(|undo| self.undo(undo));
    }

    /// Divides the hosts into two groups, if there are two hosts.
    fn draw_sides(&self, fault: PlannedFault) -> Option<(Vec<u32>, Vec<u32>)> {
        let mut hosts = enter(self.network.run, |state, _| {
            self.network.net_state(state).hosts.sorted_by_name()
        });
        if hosts.len() < 2 {
            return None;
        }
        let side_len = 1 + fault.victims[1] as usize % (hosts.len() / 2);
        let first = fault.victims[0] as usize % hosts.len();
        hosts.rotate_left(first);
        let other_side = hosts.split_off(side_len);
        Some((hosts, other_side))
    }

    /// The names of two groups of hosts.
    fn describe_groups(&self, a: &[u32], b: &[u32]) -> String {
        enter(self.network.run, |state, _| {
            let net = self.network.net_state(state);
            let names = |group: &[u32]| {
                group.iter().map(|host| net.hosts[*host].name()).collect::<Vec<_>>().join(" ")
            };
            format!("{} | {}", names(a), names(b))
        })
    }

    /// Two hosts of which one has dialed the other: their names, and their numbers.
    fn draw_pair(&self, fault: PlannedFault) -> Option<(String, (u32, u32))> {
        enter(self.network.run, |state, _| {
            let net = self.network.net_state(state);
            let pairs: Vec<(u32, u32)> =
                net.pairs.keys().filter(|(a, b)| a != b).copied().collect();
            let (a, b) = *pairs.get(fault.victims[0] as usize % pairs.len().max(1))?;
            Some((net.link_target(a, b).to_string(), (a, b)))
        })
    }

    /// All nodes, and the numbers of those that are up, and have a host.
    fn node_candidates(&self) -> (Vec<Node>, Vec<u32>) {
        enter(self.network.run, |state, _| {
            let net = &state.nets[self.network.net as usize];
            let (mut nodes, mut up) = (Vec::new(), Vec::new());
            for (sim_host, index) in net.hosts.iter().zip(0..) {
                let Some(info) = &sim_host.node else { continue };
                nodes.push(Node {
                    run: self.network.run,
                    net: self.network.net,
                    host: index,
                    name: sim_host.name().into(),
                });
                let has_open_host = sim_host.host.as_ref().is_some_and(|host| !host.is_closed());
                if info.is_up && info.pause.is_none() && has_open_host {
                    up.push(index);
                }
            }
            (nodes, up)
        })
    }
}

impl Drop for FaultPlan {
    fn drop(&mut self) {
        match try_enter(self.network.run, |_, world| (world.is_running(), world.accepts_effect())) {
            Some((true, true)) => self.undo_all(),
            // It belonged to a task that dies with its node: that is no reason to stop here.
            Some((true, false)) if !self.undo_at.is_empty() => {
                let (network, faults) = (self.network.clone(), self.faults.clone());
                let (plan, undo_at) = (self.plan, std::mem::take(&mut self.undo_at));
                let (has_run, applied) = (true, Vec::new());
                let mut leftover = Self { network, faults, plan, has_run, undo_at, applied };
                try_enter(self.network.run, |_, world| {
                    world.defer_callback(Callback::Boxed(Box::new(move || leftover.undo_all())));
                });
            }
            _ => {}
        }
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultPlan").field("plan", &self.plan).field("done", &self.applied).finish()
    }
}

/// Prints a line for each applied fault: its instant, and a description.
impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (at, description)) in self.applied.iter().enumerate() {
            let line = if number == 0 { "" } else { "\n" };
            write!(f, "{line}{at} {description}")?;
        }
        Ok(())
    }
}
