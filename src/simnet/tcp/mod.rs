//! The simulated TCP: connections, segments, windows, acknowledgements, handshakes.

pub(crate) mod checksum;
pub(crate) mod ring_buffer;
pub(crate) mod stream_buffer;
pub(crate) mod connection;
pub(crate) mod socket;
pub(crate) mod fast_path;
pub(crate) mod transfer;
pub(crate) mod handshake;
pub(crate) mod dial;
pub(crate) mod dials;
