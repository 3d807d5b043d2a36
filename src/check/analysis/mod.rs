//! Analyses of a failure: whether it repeats, what it depends on, and which choices it needs.

pub(crate) mod determinism;
pub(crate) mod earlier_runs;
pub(crate) mod shrink;
