//! A network of several processes of one machine, over real TCP.
//!
//! Every process joins the network by its name, and makes hosts. They find each other through a
//! file, and from there on everything is as on any other network: names, ports from 1, the same
//! errors, the same closing. Processes written in Go with the original `lonet` may join as well.
//!
//! ```no_run
//! use futures::io::{AsyncReadExt, AsyncWriteExt};
//! use virtnet::lonet;
//!
//! # async fn example() -> std::io::Result<()> {
//! // In one process:
//! let listener = lonet::join("demo").await?.new_host("server").await?.listen(":80").await?;
//! let mut conn = listener.accept().await?;
//! conn.write_all(b"hello").await?;
//!
//! // In another:
//! let mut conn = lonet::join("demo").await?.new_host("client").await?.dial("server:80").await?;
//! let mut text = String::new();
//! conn.read_to_string(&mut text).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it is for, and what not
//!
//! It shows that a program that was tested on [`simnet`](crate::simnet) lives: with real sockets,
//! real processes that are really killed, other languages at the other end. Nothing is simulated
//! here, nothing is decided by a seed, and a failure does not come back because one asks it to. To
//! find faults use `simnet`; use this to see that what was found there holds here.
//!
//! It is no transport for production: everything stays on the loopback interface, and whoever is
//! the same user can join, listen and dial under any name.
//!
//! # How it works
//!
//! A network `demo` is the folder `lonet/demo` in the temporary folder, with a SQLite file that
//! has one row for each host: its name, and where its process listens. A dial looks there,
//! connects, and sends one line; the reply comes when somebody accepts. After that the TCP stream
//! is the connection, byte for byte. Folder and file are private to the user.
//!
//! Names are taken for ever, as everywhere, also by processes that have ended: begin a new network,
//! or remove the folder. `join("")` begins one whose name nobody has.
//!
//! It runs on any executor. Whoever waits in an accept takes dials in himself, also those that are
//! for others, so that one within a process needs no other thread. When nobody accepts, or the one
//! who does is not polled, a thread answers in his place, a few milliseconds later the first time.
//! So each subnetwork has two threads of its own, that one and one that waits for SQLite;
//! `async-io` has one for the process. They end when the subnetwork is closed, or when the last
//! handle to it and its hosts and listeners is dropped.
//!
//! # Where it differs from other networks
//!
//! - What was written is in the system's buffers: a write can succeed after the other end is
//!   gone, and the next one fails. An end that is closed with bytes unread makes the other see a
//!   reset.
//! - A dial that is dropped while it waits leaves the queue of a listener as soon as the other
//!   process hears of it. If that has just accepted it, the accept gives a connection that is
//!   reset. Dials that begin at the same time arrive in any order.
//! - Names that are not UTF-8, which Go allows, cannot be dialed, and ports end at 65535.

#[doc(hidden)]
pub mod unquote;
#[doc(hidden)]
pub mod wire;
mod line;
mod folder;
mod registry;
mod bell;
mod acceptor;
mod engine;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::net::{Cause, Error, Op, SubNetwork, full_name};
use crate::os::Habit;
use crate::sim::is_simulated;

use acceptor::Acceptor;
use engine::Loopback;
use registry::File;

/// Joins the network of this name, on this machine and of this user.
///
/// Its full name is `lonet` and then the name given; `""` begins a new one.
///
/// # Errors
///
/// If the name is no name of a folder, if the registry cannot be used or is that of another
/// version, or if the system has no socket or thread left.
///
/// # Panics
///
/// Inside a simulated run, which cannot wait for other processes.
///
/// # Cancel safety
///
/// Dropping it leaves nothing behind but the folder.
pub async fn join(name: &str) -> Result<SubNetwork, Error> {
    Config::new().join(name).await
}

/// How to join a network.
#[derive(Clone, Debug)]
pub struct Config {
    folder: PathBuf,
    limit: Duration,
}

impl Config {
    /// What [`join`] does: the folder `lonet` of the temporary folder, ten seconds.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join("lonet");
        Self { folder, limit: Duration::from_secs(10) }
    }

    /// Looks for networks in another folder; it is made if its parent exists.
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), ..self }
    }

    /// Gives up a hand-shake of which a step takes longer: to connect, to send a line, to receive
    /// the rest of one. To wait for an accept takes as long as it takes.
    pub fn handshake_timeout(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Joins the network of this name; see [`join`].
    ///
    /// # Errors
    ///
    /// See [`join`].
    pub async fn join(&self, name: &str) -> Result<SubNetwork, Error> {
        assert!(
            !is_simulated(),
            "virtnet: lonet needs real processes and real time; inside a run use simnet or pipenet"
        );
        self.try_join(name).await.map_err(|cause| Error::new(Op::Join, name, None, None, cause))
    }

    async fn try_join(&self, name: &str) -> Result<SubNetwork, Cause> {
        let (registry, name) = File::open(self.folder.clone(), name).await?;
        let acceptor = Acceptor::bind().map_err(Cause::engine)?;
        let registry = Arc::new(registry);
        let engine = Loopback {
            acceptor: acceptor.clone(),
            registry: registry.clone(),
            limit: self.limit,
            habit: Habit::default(),
        };
        let network = full_name("lonet", &name);
        let (net, notifier) = SubNetwork::new(&network, engine, registry);
        acceptor.start(network, notifier, self.limit).map_err(Cause::engine)?;
        Ok(net)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
