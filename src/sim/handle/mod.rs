//! The types that a program holds: `Sim`, join handles, sleeps and timeouts, `select!`.

pub(crate) mod join;
pub(crate) mod rng;
pub(crate) mod select;
pub(crate) mod sim;
pub(crate) mod sleep;
