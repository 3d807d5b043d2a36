//! Healing: of all partitions, or of a core of hosts for good.

use crate::sim::{FaultAction, FaultChange, FaultTarget};

use crate::simnet::fault::source::FaultSource;
use crate::simnet::network::Network;
use crate::simnet::state::enter;

impl Network {
    /// Undoes partitions, holds and `registry_down`, of plans as well as of calls. It undoes no
    /// [`LinkOverride`](crate::simnet::LinkOverride) and nothing that was done to a node.
    ///
    /// Lost segments are sent again at their next attempt: up to a minute later, if the partition
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

    /// Heals a core of hosts for good, and leaves all other nodes dead. This is how liveness is
    /// tested: from now on the core has to make progress without the rest.
    ///
    /// The network is healed as by [`heal`](Self::heal), and what plans have set is undone.
    /// Plans that are running apply and undo nothing more on this network. Nodes of the core are
    /// started if they are down or their host is closed, and resumed if they are paused. All other
    /// nodes lose their power and stay down until they are restarted. Settings that the test has
    /// made itself stay in force: link overrides, clocks, poll costs, the latency of the registry.
    /// Hosts without a program are not affected.
    ///
    /// ```
    /// use std::time::Duration;
    /// use virtnet::simnet::{Faults, Network};
    /// use virtnet::{Run, time};
    ///
    /// Run::new(1).execute(async |sim| {
    ///     let net = Network::new("t");
    ///     for name in ["a", "b", "c"] {
    ///         net.node(name, async |_| { /* .. a replica .. */ });
    ///     }
    ///     let mut plan = net.fault_plan(Faults::all());
    ///     let plan = plan.run_for(Duration::from_secs(30));
    ///     let _ = time::timeout(Duration::from_secs(20), plan).await;
    ///     net.heal_core(&["a", "b"]);
    ///     // .. two of three replicas elect a leader within 10 s ..
    /// }).unwrap();
    /// ```
    ///
    /// # Panics
    ///
    /// If `core` is empty.
    #[track_caller]
    pub fn heal_core(&self, core: &[&str]) {
        let found = enter(self.run, |state, world| {
            let core = self.find_hosts(state, core)?;
            let net = self.net_state(state);
            let (mut core_nodes, mut other_nodes) = (Vec::new(), Vec::new());
            if world.accepts_effect() {
                net.is_core_healed = true;
                net.zones.clear();
                let nodes = self.nodes_where(net, |_, _| true).into_iter();
                (core_nodes, other_nodes) = nodes.partition(|node| core.contains(&node.host));
            }
            Ok((core.is_empty(), core_nodes, other_nodes))
        });
        let (is_empty, core_nodes, other_nodes) =
            found.unwrap_or_else(|error: String| panic!("virtnet: {error}"));
        assert!(!is_empty, "virtnet: a core of no hosts: name at least one");
        self.heal();
        self.undo_planned_settings();
        for node in &other_nodes {
            node.power_off_for_good();
        }
        for node in &core_nodes {
            node.undo_planned_settings();
            node.undo_pause(FaultSource::Manual);
            if !node.is_up() || !node.has_open_host() {
                node.start_if_same(node.incarnation());
            }
        }
    }

    /// Undoes what plans have set on links and on the registry.
    fn undo_planned_settings(&self) {
        let (overrides, registry_sources) = enter(self.run, |state, _| {
            let net = self.net_state(state);
            let registry: Vec<_> = net.registry_latency.planned_sources().collect();
            (net.links.planned_overrides(), registry)
        });
        for (pair, source, kind) in overrides {
            self.undo_override(pair, source, kind);
        }
        for source in registry_sources {
            self.undo_registry_latency(source);
        }
    }
}
