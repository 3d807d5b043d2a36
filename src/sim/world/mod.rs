//! The state of one run, and what tasks and the network may ask of it.

pub(crate) mod actor;
pub(crate) mod actor_api;
pub(crate) mod cached_clock;
pub(crate) mod current;
pub(crate) mod deferred;
pub(crate) mod livelock;
pub(crate) mod network_api;
pub(crate) mod node;
pub(crate) mod node_api;
pub(crate) mod node_clock;
pub(crate) mod prefetch;
pub(crate) mod progress;
pub(crate) mod state;
pub(crate) mod step;
pub(crate) mod task_api;
pub(crate) mod wakeups;
