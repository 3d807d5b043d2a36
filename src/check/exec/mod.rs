//! The execution of one run: inline, on a thread, or in a process that is watched.

pub(crate) mod current_run;
pub(crate) mod deadline;
pub(crate) mod executor;
pub(crate) mod in_progress;
pub(crate) mod panic_hook;
pub(crate) mod protocol;
pub(crate) mod run_once;
pub(crate) mod run_request;
pub(crate) mod subprocess;
pub(crate) mod watchdog;
