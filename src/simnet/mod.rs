//! The simulated network: latency, faults, nodes that crash and restart.
//!
//! This is the network to test a system on. Everything that is uncertain about a real network is a
//! choice of the seed here: how long a message takes, what is lost, which host crashes and when.
//! It is built on [`sim`](crate::sim) and [`net`](crate::net), and is one of the few modules that
//! use both.
//!
//! ```
//! use futures::io::{AsyncReadExt, AsyncWriteExt};
//! use std::time::Duration;
//! use virtnet::simnet::{self, FaultKind};
//! use virtnet::{Cause, Run};
//!
//! Run::new(7).execute(async |sim| {
//!     let net = simnet::Network::new("t");
//!     let server = net.node("server", async |host| {
//!         let listener = host.listen(":80").await.unwrap();
//!         while let Ok(mut conn) = listener.accept().await {
//!             conn.write_all(b"hello").await.unwrap();
//!         }
//!     });
//!     sim.sleep(Duration::from_secs(1)).await;
//!     let client = net.new_host("client").await.unwrap();
//!     let mut text = String::new();
//!     client.dial("server:80").await.unwrap().read_to_string(&mut text).await.unwrap();
//!     assert_eq!(text, "hello");
//!
//!     server.power_off(); // nothing answers any more
//!     let error = client.dial("server:80").await.unwrap_err();
//!     assert_eq!(*error.root(), Cause::TimedOut);
//!     assert_eq!(net.fault_stats().kind(FaultKind::PowerOff).effective, 1);
//! }).unwrap();
//! ```
//!
//! # Streams
//!
//! The bytes that arrive are a prefix of the bytes that were sent, in order and once, whatever
//! happens to the network. Loss and partitions show as delay, stall, reset or timeout. Each write
//! is a segment with its own latency, and never overtakes an earlier one. A window bounds the
//! bytes that were written and not yet read. A checksum of every byte, on both sides, verifies
//! this in every run: on a mismatch the run ends at once and names the connection and the offset.
//!
//! A stream behaves as in TCP, except that a dial waits until it is accepted:
//!
//! | event | effect at the other end |
//! |---|---|
//! | a connection is closed or half-closed | reads what was written, then the end of the stream |
//! | a write after the other end has closed | the first write succeeds, then `broken pipe` |
//! | a node crashes | reads what was sent, then `connection reset by peer`; dials are refused |
//! | a node loses its power | none: what it sends or dials times out |
//! | a node is restarted | a reset of every connection of the previous incarnation |
//! | the path is partitioned or held | none, and then `timed out` |
//! | the peer of an idle reader falls silent | none, for ever |
//!
//! A sender gives up [`Config::user_timeout`] after the first byte that was not acknowledged,
//! whatever delayed the acknowledgement: a partition, a hold, loss, or latencies that are too
//! long. The segments in flight at that time still arrive. An idle reader notices nothing unless
//! [`Config::keep_alive`] is set.
//!
//! Acknowledgements and window updates travel on the reverse path and suffer its faults. They use
//! no bandwidth. An acknowledgement takes the minimum latency, and is cumulative. A lost one is
//! made up for by the next one, by later traffic in that direction, or by a probe after 200 ms,
//! 400 ms, .. as in TCP. So a few lost ones have no visible effect, a full window opens later, and
//! where nearly all are lost the stream times out.
//!
//! # Faults
//!
//! A fault is applied by a method of [`Network`] or [`Node`], or drawn by a plan of [`Faults`]. It
//! affects what is in flight, too, with one exception: a segment keeps the latency with which it
//! was sent, as on a real path, and a latency override applies to what is sent after it. `heal`
//! undoes partitions, holds and a registry that is down. The end of a plan undoes all that the
//! plan did, and leaves manual faults. A partition of one direction stalls both, because
//! acknowledgements are missing.
//!
//! [`FaultStats`] counts which faults had an effect. A sweep that requests a kind of fault and
//! never sees an effect of it should fail: see [`FaultStats::assert_effective`].
//!
//! # Crashes
//!
//! Nothing of a node's tasks, connections and timers survives a crash. What its program keeps
//! outside of itself does, such as an `Rc` captured by the program's closure. Files are not
//! simulated yet.
//!
//! # Choices
//!
//! As written on tapes. `simt/α/β#2` is the third connection that α dialed to β, and
//! `simt/α/β#2/reverse` its direction from β to α. Segment 0 is the handshake.
//!
//! | subject | value | ordinal |
//! |---|---|---|
//! | `latency simt/α/β#2` | nanoseconds above the minimum | segment |
//! | `retransmit simt/α/β#2` | the same, for a retransmitted segment | segment × 64 + attempt |
//! | `window_update simt/α/β#2` | the same, for a window update | bytes read |
//! | `loss simt/α/β#2` | lost, from 1 000 000 minus the ratio on | segment × 64 + attempt |
//! | `ack_loss simt/α/β#2` | the same, for an acknowledgement | segment × 64 + attempt |
//! | `window_update_loss simt/α/β#2` | the same, for a window update | bytes read |
//! | `probe_loss simt/α/β#2` | the same, for a probe or its reply | received × 64 + attempt |
//! | `short_io simt/α/β#2` | the same, for a short read or write | offset in the stream × 4 |
//! | `registry_latency main/client β` | nanoseconds above the minimum | number of the query |
//! | `stale_lookup main/client β` | 3 of 4: the previous address of β | number of such a look-up |
//! | `fault simt/plan crash#3` | whether, when, how long, victims, strength | 0 to 5 |

pub(crate) mod clock_skew;
pub(crate) mod config;
pub(crate) mod engine;
pub(crate) mod fault;
pub(crate) mod hooks;
pub(crate) mod host;
pub(crate) mod latency;
pub(crate) mod name_service;
pub(crate) mod netstat;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod prefetch;
pub(crate) mod slab;
pub(crate) mod state;
pub(crate) mod tcp;

pub use crate::sim::{FaultKind, ParseFaultKindError};
pub use clock_skew::ClockSkew;
pub use config::Config;
pub use fault::link_override::LinkOverride;
pub use fault::plan::FaultPlan;
pub use fault::set::Faults;
pub(crate) use fault::set::fault_ordinals;
pub use fault::stats::{FaultCounts, FaultStats};
pub(crate) use fault::stats::{start_fault_stats, take_fault_stats};
pub use latency::Latency;
pub use network::Network;
pub use node::{Node, NodeOutput};
