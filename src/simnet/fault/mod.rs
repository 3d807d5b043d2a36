//! Faults: the kinds a plan draws, plans, the state of links, and statistics.

pub(crate) mod apply;
pub(crate) mod heal;
pub(crate) mod link_override;
pub(crate) mod links;
pub(crate) mod plan;
pub(crate) mod set;
pub(crate) mod source;
pub(crate) mod stats;
