//! Healing: undoes all partitions and holds.

use crate::sim::{FaultAction, FaultChange, FaultTarget};

use crate::simnet::network::Network;
use crate::simnet::state::enter;

impl Network {
    /// Undoes partitions, holds and `registry_down`, of plans as well as of calls. It undoes no
    /// [`LinkOverride`](crate::simnet::LinkOverride) and nothing that was done to a node.
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
}
