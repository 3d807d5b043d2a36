//! Tests of a single run: time, tasks, choices, tapes, stalls and endings.

mod choice_keys;
mod determinism;
mod endings;
mod exploration;
pub(crate) mod handles;
mod interval_ticks;
mod limits;
mod moved_futures;
mod select;
mod stalls;
mod tape;
mod tasks;
mod time;
mod wrapped_wakers;
