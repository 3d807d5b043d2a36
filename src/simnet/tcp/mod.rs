//! The simulated TCP: connections, segments, windows, acknowledgements, handshakes.
//!
//! A segment gets its instant of arrival when it is sent. Only the oldest segment in flight of
//! each direction is in the event queue. That keeps the order, whatever is drawn, and is the point
//! at which a partition, a hold or a loss takes effect.
//!
//! ```text
//! send ─► in flight ─► delivered ─► acknowledged, unless the reverse path is down
//!            ▲  │ link down, or lost: again after 200 ms, 400 ms, ..
//!            └──┤
//!               └ held: until it is released
//! ```
//!
//! A sender gives up when a byte is not acknowledged within the user timeout. Acknowledgements
//! cost no event: on a path without faults they always arrive. On a path with faults, each
//! delivery determines whether its acknowledgement arrives, and whether it is in time. The delay
//! of a lost one is drawn at once, with all its retransmissions.

pub(crate) mod ack;
pub(crate) mod app;
pub(crate) mod checksum;
pub(crate) mod conn_ctx;
pub(crate) mod connection;
pub(crate) mod deliver;
pub(crate) mod dial;
pub(crate) mod dial_api;
pub(crate) mod faults;
pub(crate) mod flow_control;
pub(crate) mod handshake;
pub(crate) mod path;
pub(crate) mod retransmit;
pub(crate) mod ring_buffer;
pub(crate) mod send;
pub(crate) mod socket;
pub(crate) mod stream_buffer;
pub(crate) mod timers;
pub(crate) mod user_timeout;
