//! One run from beginning to end.

pub(crate) mod builder;
pub(crate) mod explain_stall;
pub(crate) mod teardown;

#[cfg(feature = "os")]
pub(crate) mod real_time;
