//! The simulated TCP: connections, segments, windows, acknowledgements, handshakes.

pub(crate) mod ack;
pub(crate) mod app;
pub(crate) mod checksum;
pub(crate) mod conn_ctx;
pub(crate) mod connection;
pub(crate) mod deliver;
pub(crate) mod dial;
pub(crate) mod dial_api;
pub(crate) mod fast_path;
pub(crate) mod faults;
pub(crate) mod flow_control;
pub(crate) mod handshake;
pub(crate) mod path;
pub(crate) mod ring_buffer;
pub(crate) mod send;
pub(crate) mod socket;
pub(crate) mod stream_buffer;
pub(crate) mod timers;
