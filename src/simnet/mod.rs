//! The simulated network: latency, faults, nodes that die and come back.
//!
//! This is the network to test a system on. Everything that is uncertain about a real one is a
//! choice of the seed here: how long a message takes, what is lost, which host dies and when. It
//! stands on [`sim`](crate::sim) and [`net`](crate::net), and is one of the few places that know
//! both.
//!
//! ```
//! use futures::io::{AsyncReadExt, AsyncWriteExt};
//! use std::time::Duration;
//! use virtnet::{Cause, Run, simnet};
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
//!     let client = net.host("client").await.unwrap();
//!     let mut text = String::new();
//!     client.dial("server:80").await.unwrap().read_to_string(&mut text).await.unwrap();
//!     assert_eq!(text, "hello");
//!
//!     server.power_off(); // silence
//!     let error = client.dial("server:80").await.unwrap_err();
//!     assert_eq!(*error.root(), Cause::TimedOut);
//!     assert_eq!(net.fault_stats().kind(FaultKind::PowerOff).effective, 1);
//! }).unwrap();
//! ```
//!
//! # What a stream is
//!
//! What arrives is a prefix of what was sent, in order, once, whatever happens to the network.
//! Loss and partitions show as delay, stall, reset or timeout. Each write is a segment with a
//! latency of its own, which overtakes none before it; a window bounds what was written and not
//! read. A digest of every byte, on both sides, proves this in every run: if it fails, the run ends
//! at once and says where.
//!
//! It behaves as TCP does, except that a dial waits until it is accepted:
//!
//! | what happens | the other end sees |
//! |---|---|
//! | a connection is closed, or half-closed | what was written, then the end of the stream |
//! | one writes after the other end has closed | the first write goes out, then `broken pipe` |
//! | a node crashes | what was sent, then `connection reset by peer`; dials are refused |
//! | a node loses its power | nothing: what it sends or dials times out |
//! | a node is restarted | a reset for whatever belongs to its life before |
//! | the way is cut, or things are held | nothing, and then `timed out` |
//! | an idle reader's peer falls silent | nothing, for ever |
//!
//! A sender gives up [`Config::stream_timeout`] after the first byte that was not acknowledged,
//! whatever kept the acknowledgement away: a cut, a hold, loss, or latencies that are too long.
//! What was on its way then still arrives. An idle reader notices nothing unless
//! [`Config::keep_alive`] is on.
//!
//! Acknowledgements and announcements of space travel the way back, and suffer its faults. They
//! take up no bandwidth, an acknowledgement takes the least latency, and one says all that those
//! before it have said. One that is lost is made up for by the next, by whatever is sent that way
//! later, or by asking again after 200 ms, 400 ms, .. as TCP does. So a few that are lost are not
//! noticed, a full window opens later, and where nearly all are lost the stream times out.
//!
//! # Faults
//!
//! Each can be called by name on a [`Network`] or a [`Node`], or drawn by a plan of [`Faults`].
//! They reach what is under way. `heal` undoes partitions, holds and a registry that is down; the
//! end of a plan undoes all that the plan did, and leaves what was done by hand. A partition of one
//! way stalls both, for want of acknowledgements.
//!
//! The [`FaultStats`] tells which faults had an effect. A sweep that asks for one and never feels
//! it should fail: see [`FaultStats::assert_effective`].
//!
//! # What survives a crash
//!
//! Nothing of a node's tasks, connections and timers; only what its program keeps outside of
//! itself, such as an `Rc` that it was made with. Files are not simulated yet.
//!
//! # Choices
//!
//! As written on tapes, where `simt/α/β#2` is the third connection that α dialed to β, and
//! `simt/α/β#2/reverse` its other direction:
//!
//! | subject | what, in which values | ordinal |
//! |---|---|---|
//! | `latency simt/α/β#2` | nanoseconds above the least | the how-manieth segment |
//! | `again simt/α/β#2` | the same, sent again after a loss | segment × 64 + attempt |
//! | `credit simt/α/β#2` | the same, for an announcement of space | bytes read |
//! | `loss simt/α/β#2` | lost, from 1 000 000 less the share on | segment × 64 + attempt |
//! | `ack simt/α/β#2` | the same, of an acknowledgement | segment × 64 + attempt |
//! | `space simt/α/β#2` | the same, of an announcement of space | bytes read |
//! | `ask simt/α/β#2` | the same, of a question or its answer | what was heard × 64 + attempt |
//! | `short simt/α/β#2` | the same, for a short read or write | place in the stream × 4 |
//! | `registry main/client β` | nanoseconds above the least | how often it has asked |
//! | `stale main/client β` | 3 of 4: where β was before | how often it could be |
//! | `fault simt/plan crash#3` | whether, when, how long, whom, how hard | 0 to 5 |

pub(crate) mod clock_skew;
pub(crate) mod config;
pub(crate) mod engine;
pub(crate) mod fault;
pub(crate) mod host;
pub(crate) mod latency;
pub(crate) mod name_service;
pub(crate) mod netstat;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod slab;
pub(crate) mod state;
pub(crate) mod tcp;

pub use crate::sim::{FaultKind, ParseFaultKindError};
pub use clock_skew::ClockSkew;
pub use config::Config;
pub use fault::plan::FaultPlan;
pub use fault::set::Faults;
pub(crate) use fault::set::strikes;
pub use fault::stats::{FaultCounts, FaultStats};
pub(crate) use fault::stats::{start_fault_stats, take_fault_stats};
pub use latency::Latency;
pub use network::{LinkOverride, Network};
pub use node::{Node, NodeOutput};
