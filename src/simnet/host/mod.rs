//! Simulated hosts: addresses, power, and the nodes that run on them.

pub(crate) mod sim_host;
pub(crate) mod table;
