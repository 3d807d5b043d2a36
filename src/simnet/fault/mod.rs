//! Faults: their kinds, plans that draw them, the links they act on, and what came of them.

pub(crate) mod stats;
pub(crate) mod links;
pub(crate) mod set;
pub(crate) mod plan;
