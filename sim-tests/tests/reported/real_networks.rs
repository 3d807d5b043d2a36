//! `lonet`, TCP and TLS: other users of the machine, names, and real sockets inside a run.
//!
//! Also what is under a limit of `eventually`, and which names the macros leave to their users.

mod eventually;
mod macros;
mod names;
mod owners;
mod refusals;
mod secrets;
mod ticks;
