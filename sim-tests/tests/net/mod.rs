//! Tests of the net layer, on pipenet and on a test network.

mod cancellation;
pub(crate) mod closing;
pub(crate) mod conformance;
mod dropped_handles;
mod event_log;
mod third_party_code;
mod traced;
