//! Small containers, the run-local cell and wakers: plumbing without policy.

pub(crate) mod cold;
pub(crate) mod lazy_queue;
pub(crate) mod prefetch;
pub(crate) mod run_cell;
pub(crate) mod small_map;
pub(crate) mod stall_probe;
pub(crate) mod waiter;
