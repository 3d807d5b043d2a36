//! The results of a run: its trace, its ending, and the explanation of a stall.

pub(crate) mod ending;
pub(crate) mod limit;
pub(crate) mod outcome;
pub(crate) mod record;
pub(crate) mod stall;
pub(crate) mod task_panic;
pub(crate) mod trace;
