//! The simulated network: latency, faults, nodes that die and come back.
//!
//! Stands on [`sim`](crate::sim) and [`net`](crate::net), and is one of the few places that know
//! both.

mod latency;
mod config;
mod ledger;
mod link;
mod digest;
mod ring;
mod stream;
mod machine;
mod pipe;
mod fabric;
mod transit;
mod conn;
mod registry;
mod engine;
mod node;
mod network;
mod sockets;
mod plan;
mod chaos;

pub use chaos::Chaos;
pub use config::Config;
pub use latency::Latency;
pub use ledger::{Counts, Ledger};
pub use network::{LinkEdit, Network};
pub use node::{Node, NodeOutput};
pub use plan::Faults;
