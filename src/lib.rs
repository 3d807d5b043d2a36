//! Deterministic simulation testing: a distributed system in one thread, under one virtual clock,
//! driven by one seed.
//!
//! A distributed system is a set of hosts that dial, listen and accept on a network. virtnet runs
//! the hosts and the network in one thread. Every uncertain value (the order of tasks, the latency
//! of a message, the time of a crash) is drawn from a seed. The same seed is the same run, event
//! for event; another seed is another run.
//!
//! # Quick start
//!
//! A test is an async function. It is executed once for each seed, on virtual time.
//!
//! ```test_harness
//! use virtnet::prelude::*;
//!
//! async fn serve(host: Host) -> std::io::Result<()> {
//!     let listener = host.listen(":80").await?;
//!     while let Ok(mut conn) = listener.accept().await {
//!         let _ = conn.write_all(b"hello").await;
//!     }
//!     Ok(())
//! }
//!
//! #[virtnet::test(seeds = 100)]
//! async fn server_answers_after_a_restart(sim: Sim) -> std::io::Result<()> {
//!     let net = Network::new("t");
//!     let server = net.node("server", serve);
//!     let client = net.new_host("client").await?;
//!     sim.sleep(Duration::from_secs(1)).await; // the server is listening by then
//!     server.restart();
//!     sim.sleep(Duration::from_secs(5)).await;
//!
//!     let mut text = String::new();
//!     client.dial("server:80").await?.read_to_string(&mut text).await?;
//!     assert_eq!(text, "hello");
//!     Ok(())
//! }
//! ```
//!
//! When a seed fails, the report names the choices that matter and what led to the failure, and has
//! a command that runs the seed again: see [`check`]. [`Run`] executes a single run.
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
//! The table is also the reading order, `os` and `lonet` last. The items that a program needs are
//! re-exported at the root; [`prelude`] has the items that a test needs.
//!
//! # Features
//!
//! No feature is on by default. The simulator needs no operating system, and compiles no sockets.
//!
//! | feature | adds | dependencies |
//! |---|---|---|
//! | `os` | `os::Tcp`, `os::run` | async-io, mio, socket2 |
//! | `tls` | `os::Tls`; implies `os` | futures-rustls |
//! | `lonet` | `lonet`; implies `os` | rusqlite with its own SQLite, ring; libc, rustix on Unix |
//! | `proptest` | `Check::run_with`, `proptest` | proptest |
//!
//! # Guide
//!
//! The pages are in `docs/guide` of the repository, and here as the module [`guide`].
//!
//! | page | subject |
//! |---|---|
//! | [`testing`](guide::testing) | how to write a test: nodes, clients, invariants, endings |
//! | [`faults`](guide::faults) | faults by call and by plan; counts of their effects |
//! | [`replay`](guide::replay) | reports, replay lines, tapes, shrinking |
//! | [`viewer`](guide::viewer) | the page that shows a run; other trace formats |
//! | [`determinism`](guide::determinism) | rules for the program, and how differences are found |
//! | [`sweeps`](guide::sweeps) | many seeds: CI, shards, results, processes |
//! | [`inputs`](guide::inputs) | inputs from proptest strategies; fuzzers |
//! | [`libraries`](guide::libraries) | hyper, tokio and other code on a connection |
//! | [`real_networks`](guide::real_networks) | the same program on `lonet`, TCP and TLS |
//! | [`own_network`](guide::own_network) | how to implement a network |
//! | [`promises`](guide::promises) | what 0.x promises for the API, seeds, tapes, .. |

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

/// The names that a test needs: `use virtnet::prelude::*;`.
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

/// The guide: one page a module, as in `docs/guide` of the repository.
#[cfg(any(doc, doctest))]
pub mod guide {
    #[doc = include_str!("../docs/guide/testing.md")]
    pub mod testing {}
    #[doc = include_str!("../docs/guide/faults.md")]
    pub mod faults {}
    #[doc = include_str!("../docs/guide/replay.md")]
    pub mod replay {}
    #[doc = include_str!("../docs/guide/viewer.md")]
    pub mod viewer {}
    #[doc = include_str!("../docs/guide/determinism.md")]
    pub mod determinism {}
    #[doc = include_str!("../docs/guide/sweeps.md")]
    pub mod sweeps {}
    #[cfg_attr(feature = "proptest", doc = include_str!("../docs/guide/inputs.md"))]
    #[cfg_attr(not(feature = "proptest"), doc = "The page is here with the feature `proptest`.")]
    pub mod inputs {}
    #[doc = include_str!("../docs/guide/libraries.md")]
    pub mod libraries {}
    #[doc = include_str!("../docs/guide/real_networks.md")]
    pub mod real_networks {}
    #[doc = include_str!("../docs/guide/own_network.md")]
    pub mod own_network {}
    #[doc = include_str!("../docs/guide/promises.md")]
    pub mod promises {}
}

/// The code of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
