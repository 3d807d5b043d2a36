//! Tests of TCP, TLS and programs in real time.

mod closing;
pub(crate) mod conformance;
mod run_real_time;
mod sockets_in_runs;
mod tls;
