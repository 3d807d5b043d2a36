//! Choices: every uncertain thing of a run has a key, and its value is a pure function of the seed
//! and the key.

pub(crate) mod distribution;
pub(crate) mod draw;
pub(crate) mod family;
pub(crate) mod hash;
pub(crate) mod key;
pub(crate) mod recorded;
pub(crate) mod schedule;
pub(crate) mod tape;
