//! Deterministic simulation testing: a distributed system in one thread, under one virtual clock,
//! driven by one seed.
//!
//! A distributed system under test is a set of hosts that dial, listen and accept on a TCP-like
//! network. virtnet runs it with every source of nondeterminism drawn from a seed. The same seed
//! is the same run, event for event; another seed is another order of events.
//!
//! ```
//! use futures::io::{AsyncReadExt, AsyncWriteExt};
//! use virtnet::{Run, pipenet};
//!
//! for seed in 0..100 {
//!     Run::new(seed)
//!         .execute(async |sim| {
//!             let net = pipenet::Network::new("t");
//!             let listener = net.host("server").listen("").await?; // server:1
//!             sim.task("server").spawn(async move {
//!                 let mut conn = listener.accept().await.unwrap();
//!                 conn.write_all(b"hello").await.unwrap();
//!             });
//!             let mut conn = net.host("client").dial("server:1").await?;
//!             let mut text = String::new();
//!             conn.read_to_string(&mut text).await?;
//!             assert_eq!(text, "hello");
//!             std::io::Result::Ok(())
//!         })
//!         .unwrap()
//!         .unwrap();
//! }
//! ```
//!
//! # Modules
//!
//! | module | contents | independent of |
//! |---|---|---|
//! | [`sim`] | tasks, virtual time, choices, traces, endings | networks |
//! | [`net`] | names, ports, connections, errors; traits for networks | simulators, executors |
//! | [`pipenet`] | the in-memory network | simulators |
//! | [`simnet`] | the simulated network: latency, faults, nodes | |
//! | `os` | the system's TCP, and TLS over any network; features `os`, `tls` | simulators |
//! | `lonet` | a network of several processes on one machine; feature `lonet` | simulators |
//! | [`check`] | many runs: sweeps, shrinking, reports, and the attribute `test` | |
//! | `proptest` | test inputs, drawn and shrunk with the run; feature `proptest` | |
//! | [`time`] | virtual time for code that holds no [`Sim`] | |
//!
//! The table is also the reading order, `os` and `lonet` last. What a program needs is re-exported
//! at the root; [`prelude`] has what a test needs.

mod util;

pub mod sim;

pub mod net;

pub mod pipenet;

pub mod simnet;

pub mod check;

#[cfg(feature = "os")]
pub mod os;

#[cfg(feature = "lonet")]
pub mod lonet;

#[cfg(feature = "proptest")]
pub use check::proptest;

pub use util::stall_probe::waiting_for;

pub use sim::{
    Choice, Divergence, DropReason, Elapsed, Ending, FaultAction, FaultChange, FaultTarget,
    Fingerprint, History, Instant, Interval, JoinError, JoinErrorReason, JoinHandle, Limit,
    LostWakeup, NodeDeath, Outcome, ParseFingerprintError, ParseScheduleError, ParseTapeError,
    Record, RecordKind, Run, RunError, Schedule, Segment, SegmentEndpoint, SegmentKind, SelectEnd,
    Sim, SimRng, Sleep, Stall, StalledState, StalledTask, Tape, TaskBuilder, TaskPanic, Timeout,
    Trace, YieldNow, rng, spawn,
};

pub use net::{
    Accept, Addr, AddrError, Args, Cause, Conn, Engine, Error, EventDifference, EventLog, Host,
    Incoming, Listener, NetEvent, Networker, Notifier, Op, RawConn, ReadHalf, Registry,
    RegistryError, SubNetwork, Traced, WriteHalf,
};

/// Polls several futures in written order until all are done; by `futures`.
pub use futures::join;
/// The traits of random generators, which [`SimRng`] implements.
pub use rand_core;
#[doc(hidden)]
pub use virtnet_macros::clean_pattern as __clean_pattern;
/// Makes a test of an async function, which is run once for each of many seeds: see [`check`].
pub use virtnet_macros::test;

/// Virtual time for code that holds no [`Sim`], as in tokio.
pub mod time {
    pub use crate::sim::{
        Elapsed, Instant, Interval, MissedTickBehavior, Sleep, Timeout, YieldNow, interval, now,
        sleep, sleep_until, timeout, yield_now,
    };
}

/// What a test needs: `use virtnet::prelude::*;`.
pub mod prelude {
    pub use crate::simnet::{FaultKind, Faults, Latency, Network, Node};
    pub use crate::{
        Addr, Cause, Conn, Ending, Host, JoinHandle, Listener, Networker, Outcome, Run, Schedule,
        Sim, SubNetwork, Tape, join, pipenet, select, simnet,
    };
    pub use futures::io::{AsyncReadExt, AsyncWriteExt};
    pub use futures::stream::StreamExt;
    pub use rand_core::Rng;
    pub use std::time::Duration;
}

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
