//! One run from beginning to end.

pub(crate) mod builder;
pub(crate) mod teardown;
pub(crate) mod explain_stall;

#[cfg(feature = "os")]
pub(crate) mod real_time;
