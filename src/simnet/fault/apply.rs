//! Applies and undoes faults of the network: partitions, holds, resets, links, the registry.
//!
//! Hosts are numbers here; names are resolved by the public methods of [`Network`]. Each fault has
//! the [`FaultSource`] that applied it, so that it can be undone alone.

use std::collections::BTreeSet;

use crate::net::Addr;
use crate::sim::{FaultAction, FaultChange, FaultKind, FaultTarget, World};

use crate::simnet::fault::links::{LinkSetting, RateChange};
use crate::simnet::fault::source::FaultSource;
use crate::simnet::host::sim_host::{NodeInfo, SimHost};
use crate::simnet::latency::Latency;
use crate::simnet::network::Network;
use crate::simnet::node::Node;
use crate::simnet::state::{NetState, SimnetState, enter};
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::Connection;

/// Whether a connection or a link between two hosts is the one between `pair`, either way.
fn is_between(pair: (u32, u32)) -> impl Fn(u32, u32) -> bool {
    move |from, to| (from, to) == pair || (to, from) == pair
}

impl NetState {
    /// Notes that an accept at this address failed because of a fault.
    #[cold]
    pub(crate) fn mark_accept_failed(&mut self, addr: &Addr) {
        let Some(host) = self.hosts.find(addr.host()) else { return };
        if let Some(info) = &mut self.hosts[host].node {
            info.accept_failures.mark_effective(FaultKind::Accept, &mut self.stats);
        }
    }

    /// The target of an override, as records name it.
    pub(crate) fn override_target(&self, (a, b): (u32, u32), is_one_way: bool) -> FaultTarget {
        match self.link_target(a, b) {
            FaultTarget::Link(a, b) if is_one_way => FaultTarget::OneWayLink(a, b),
            target => target,
        }
    }

    fn count_applied(&mut self, kind: FaultKind, source: FaultSource) {
        let counts = self.stats.kind_mut(kind);
        counts.requested += source.requested();
        counts.applied += 1;
    }
}

impl Network {
    /// Applies a fault, if the world still accepts any.
    fn change(&self, work: impl FnOnce(&mut SimnetState, &mut World)) {
        enter(self.run, |state, world| {
            if world.accepts_effect() {
                work(state, world);
            }
        });
    }

    pub(crate) fn apply_partition(
        &self,
        (from, to): (BTreeSet<u32>, BTreeSet<u32>),
        both_ways: bool,
        source: FaultSource,
    ) {
        self.change(|state, world| {
            let net = self.net_state(state);
            let kind = if both_ways { FaultKind::Partition } else { FaultKind::OneWay };
            net.count_applied(kind, source);
            let target = net.group_target(&from, &to);
            world.record_fault(FaultChange::new(FaultAction::Apply(kind), target));
            net.links.partition(from.clone(), to.clone(), both_ways, source);
            self.reevaluate_connections(state, world, |a, b| {
                (from.contains(&a) && to.contains(&b)) || (from.contains(&b) && to.contains(&a))
            });
        });
    }

    /// Undoes a partition, unless that was done before.
    pub(crate) fn undo_partition(&self, source: FaultSource, kind: FaultKind) {
        enter(self.run, |state, world| {
            let net = self.net_state(state);
            if let Some((from, to)) = net.links.undo_partition(source) {
                let target = net.group_target(&from, &to);
                world.record_fault(FaultChange::new(FaultAction::Undo(kind), target));
                self.reevaluate_connections(state, world, |_, _| true);
            }
        });
    }

    pub(crate) fn apply_hold(&self, (a, b): (u32, u32), source: FaultSource) {
        self.change(|state, world| {
            let net = self.net_state(state);
            net.count_applied(FaultKind::Hold, source);
            net.links.hold(a, b, source);
            let action = FaultAction::Apply(FaultKind::Hold);
            world.record_fault(FaultChange::new(action, net.link_target(a, b)));
            self.reevaluate_connections(state, world, is_between((a, b)));
        });
    }

    pub(crate) fn undo_hold(&self, (a, b): (u32, u32), source: FaultSource) {
        self.change(|state, world| {
            let net = self.net_state(state);
            if net.links.release(a, b, source) {
                let action = FaultAction::Undo(FaultKind::Hold);
                world.record_fault(FaultChange::new(action, net.link_target(a, b)));
            }
            self.reevaluate_connections(state, world, is_between((a, b)));
        });
    }

    pub(crate) fn apply_reset(&self, (a, b): (u32, u32), source: FaultSource) {
        self.change(|state, world| {
            let action = FaultAction::Apply(FaultKind::Reset);
            let target = self.net_state(state).link_target(a, b);
            world.record_fault(FaultChange::new(action, target));
            let mut any_reset = false;
            let is_affected = is_between((a, b));
            self.with_conns(state, world, is_affected, |ctx| any_reset |= ctx.reset());
            let net = self.net_state(state);
            net.count_applied(FaultKind::Reset, source);
            net.stats.kind_mut(FaultKind::Reset).effective += u64::from(any_reset);
        });
    }

    pub(crate) fn apply_registry_down(&self, source: FaultSource) {
        self.change(|state, world| {
            let net = self.net_state(state);
            net.registry_down.get_or_insert_default().apply(source);
            net.count_applied(FaultKind::Registry, source);
            let action = FaultAction::Apply(FaultKind::Registry);
            world.record_fault(FaultChange::new(action, FaultTarget::Network));
        });
    }

    pub(crate) fn undo_registry_down(&self, source: FaultSource) {
        self.change(|state, world| {
            let net = self.net_state(state);
            if net.registry_down.as_mut().is_some_and(|down| down.undo(source)) {
                net.registry_down = None;
                let action = FaultAction::Undo(FaultKind::Registry);
                world.record_fault(FaultChange::new(action, FaultTarget::Network));
            }
        });
    }

    pub(crate) fn apply_registry_latency(&self, latency: Latency, source: FaultSource) {
        self.change(|state, world| {
            let net = self.net_state(state);
            net.registry_latency.apply(source, latency);
            net.count_applied(FaultKind::SlowRegistry, source);
            self.record_registry_latency(state, world, FaultAction::Apply);
        });
    }

    pub(crate) fn undo_registry_latency(&self, source: FaultSource) {
        self.change(|state, world| {
            if self.net_state(state).registry_latency.undo(source).is_some() {
                self.record_registry_latency(state, world, FaultAction::Undo);
            }
        });
    }

    fn record_registry_latency(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        action: fn(FaultKind) -> FaultAction,
    ) {
        let net = self.net_state(state);
        let latency = net.registry_latency.value().unwrap_or(net.config.registry_latency);
        world.record_fault(FaultChange {
            details: latency.describe(),
            ..FaultChange::new(action(FaultKind::SlowRegistry), FaultTarget::Network)
        });
    }

    /// Takes the power of all nodes of a region that are up.
    pub(crate) fn apply_zone(&self, region: u32, source: FaultSource) {
        let mut nodes = Vec::new();
        self.change(|state, world| {
            let net = self.net_state(state);
            net.zones.entry(region).or_default().outage.apply(source);
            net.count_applied(FaultKind::Zone, source);
            let target = FaultTarget::Region(net.regions[region as usize].name.to_string());
            world.record_fault(FaultChange::new(FaultAction::Apply(FaultKind::Zone), target));
            nodes = self.nodes_where(net, |host, info| host.region == region && info.is_up);
            net.stats.kind_mut(FaultKind::Zone).effective += u64::from(!nodes.is_empty());
        });
        for node in nodes {
            let incarnation = node.incarnation();
            node.lose_power();
            self.change(|state, _| {
                if let Some(zone) = self.net_state(state).zones.get_mut(&region) {
                    zone.stopped.push((node.host, incarnation));
                }
            });
        }
    }

    /// Gives a region its power back: its nodes are started that lost it, unless they were started
    /// since.
    pub(crate) fn undo_zone(&self, region: u32, source: FaultSource) {
        let mut stopped: Vec<(Node, u32)> = Vec::new();
        self.change(|state, world| {
            let net = self.net_state(state);
            if net.zones.get_mut(&region).is_some_and(|zone| zone.outage.undo(source))
                && let Some(zone) = net.zones.remove(&region)
            {
                let incarnation =
                    |node: Node| zone.stopped.iter().find(|it| it.0 == node.host).map(|it| it.1);
                let nodes = self.nodes_where(net, |_, _| true).into_iter();
                stopped = nodes.filter_map(|it| Some((it.clone(), incarnation(it)?))).collect();
                let target = FaultTarget::Region(net.regions[region as usize].name.to_string());
                world.record_fault(FaultChange::new(FaultAction::Undo(FaultKind::Zone), target));
            }
        });
        stopped.iter().for_each(|(node, incarnation)| node.start_if_same(*incarnation));
    }

    /// The nodes of which something is true, in the order in which they were made.
    pub(crate) fn nodes_where(
        &self,
        net: &NetState,
        is_selected: impl Fn(&SimHost, &NodeInfo) -> bool,
    ) -> Vec<Node> {
        let hosts = net.hosts.iter().zip(0..);
        let nodes = hosts
            .filter(|(host, _)| host.node.as_deref().is_some_and(|info| is_selected(host, info)));
        let node = |(host, index): (&SimHost, u32)| Node {
            run: self.run,
            net: self.net,
            host: index,
            name: host.name().into(),
        };
        nodes.map(node).collect()
    }

    /// Overrides a setting of the link between two hosts, both ways or from the first to the
    /// second alone.
    pub(crate) fn override_link(
        &self,
        (a, b): (u32, u32),
        is_one_way: bool,
        source: FaultSource,
        setting: LinkSetting,
    ) {
        self.change(|state, world| {
            let net = self.net_state(state);
            let kind = setting.kind();
            let rates = net.bandwidths(a, b);
            net.links.override_setting((a, b), source, setting);
            if !is_one_way {
                net.links.override_setting((b, a), source, setting);
            }
            net.count_applied(kind, source);
            world.record_fault(FaultChange {
                details: net.describe_settings((a, b), kind),
                ..FaultChange::new(
                    FaultAction::Apply(kind),
                    net.override_target((a, b), is_one_way),
                )
            });
            self.rescale_bandwidth(state, world, (a, b), rates);
            self.reevaluate_connections(state, world, is_between((a, b)));
        });
    }

    /// Undoes an override between two hosts, in the directions that it has; the latest of the
    /// others is in force then.
    pub(crate) fn undo_override(&self, (a, b): (u32, u32), source: FaultSource, kind: FaultKind) {
        enter(self.run, |state, world| {
            let net = self.net_state(state);
            let rates = net.bandwidths(a, b);
            let links = &mut net.links;
            let forward = links.undo_override((a, b), source, kind);
            let reverse = links.undo_override((b, a), source, kind);
            let (from, to) = if forward { (a, b) } else { (b, a) };
            if !forward && !reverse {
                return;
            }
            world.record_fault(FaultChange {
                details: net.describe_settings((from, to), kind),
                ..FaultChange::new(
                    FaultAction::Undo(kind),
                    net.override_target((from, to), forward != reverse),
                )
            });
            self.rescale_bandwidth(state, world, (a, b), rates);
            self.reevaluate_connections(state, world, is_between((a, b)));
        });
    }

    /// Moves the instants at which queued bytes between two hosts are sent, there and back, if
    /// these were the bandwidths before.
    fn rescale_bandwidth(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        (a, b): (u32, u32),
        rates: [Option<u64>; 2],
    ) {
        let after = self.net_state(state).bandwidths(a, b);
        for ((from, to), (before, after)) in
            [(a, b), (b, a)].into_iter().zip(rates.into_iter().zip(after))
        {
            let Some(before) = before.filter(|before| Some(*before) != after) else { continue };
            let rate_change = RateChange { before, after };
            let links = &mut self.net_state(state).links;
            links.rescale_bandwidth((from, to), world.now(), rate_change);
            self.with_conns(state, world, is_between((from, to)), |ctx| {
                ctx.rescale_bandwidth(from, rate_change);
            });
        }
    }

    /// Works on every connection between hosts that are affected.
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

    /// Lets the affected connections, and all dials, find out whether their path is up.
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
