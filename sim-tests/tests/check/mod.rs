//! Tests of sweeps, replays, shrinking and reports.

mod attribute;
mod eventually;
mod interrupted_sweeps;
mod macros;
pub(crate) mod planted;
mod process_isolation;
mod proptest;
mod replay_command;
mod results;
mod shrinking;
mod sweeps;
mod trace_file;
