//! Deterministic simulation testing. (Under construction: see README.)

mod wait;

pub use wait::waiting_for;
