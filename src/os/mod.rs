//! The TCP of the operating system.

mod socket;

pub(crate) use socket::{Socket, reset_on_close};
