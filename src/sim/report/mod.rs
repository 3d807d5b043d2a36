//! What a run leaves behind: its trace, how it ended, and why it stalled.

pub(crate) mod ending;
pub(crate) mod limit;
pub(crate) mod outcome;
pub(crate) mod record;
pub(crate) mod stall;
pub(crate) mod task_panic;
pub(crate) mod trace;
