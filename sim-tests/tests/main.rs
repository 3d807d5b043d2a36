//! The tests of the workspace, in reading order.

mod tidy;
mod endings;
mod time;
mod tasks;
mod select;
mod tape;
mod keyed;
mod exploration;
mod determinism;
mod handles;
