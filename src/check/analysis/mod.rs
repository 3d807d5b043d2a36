//! What is found out about a failure: whether it repeats, what it depends on, and what it needs.

pub(crate) mod determinism;
pub(crate) mod earlier_runs;
pub(crate) mod shrink;
