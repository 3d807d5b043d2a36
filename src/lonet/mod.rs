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
//! It is no transport for production: everything stays on the loopback interface.
//!
//! # Who can join, dial and be dialed
//!
//! Folder and file of a network are private to the user, so that no other user but root can join,
//! make a host, or look up where one is. **That does not keep others from dialing.** A host listens
//! at a port of the loopback interface, and every user and every process of the machine can connect
//! to that, those in containers that share its network included. A process that sends the line
//! that a dial begins with is let in, under any name: a name is a claim and no proof. The other way
//! round, a row of the registry stays when its process ends, and another process may get the port
//! by chance or on purpose: then a dial reaches that one.
//!
//! [`Config::secret`] prevents both: each side of a dial proves to the other that it knows the
//! secret of the network, before either learns more. Peers in Go do not know of secrets; a network
//! that they are to join must have none, and trusts all users of the machine.
//!
//! Another user may make the place of a network first. lonet uses a folder only if no user but root
//! and its own can replace it, follows no symbolic link from the folder `lonet` on, and changes the
//! mode of nothing that another user has made. If it cannot, joining is an error that names the
//! path, its owner, and what to do. The user who joins first on a machine owns the folder `lonet`:
//! unless that is root, the others have to use a [`folder`](Config::folder) of their own.
//!
//! # How it works
//!
//! A network `demo` is the folder `lonet/demo` in the temporary folder, with a SQLite file that
//! has one row for each host: its name, and where its process listens. A dial looks there,
//! connects, and sends one line; the reply comes when somebody accepts. After that the TCP stream
//! is the connection, byte for byte.
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
//! - Names that are not UTF-8, which Go allows, cannot be dialed, and ports end at 65535. The name
//!   of a host must leave room for another of its length in a line of 1024 bytes: some 480 bytes,
//!   less on a network with a long name. Go takes longer ones, which nobody can dial.

#[doc(hidden)]
pub mod go_unquote;
#[doc(hidden)]
pub mod handshake;
mod framing;
mod secret;
mod owner;
mod network_dir;
mod sqlite_registry;
mod accept_signal;
mod acceptor;
mod engine;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::net::{Cause, Error, Op, SubNetwork, full_name};
use crate::os::SpinHint;
use crate::os::run::assert_not_simulated;

use acceptor::Acceptor;
use engine::LonetEngine;
use secret::Secret;
use sqlite_registry::SqliteRegistry;

/// Joins the network of this name, on this machine and of this user.
///
/// Its full name is `lonet` and then the name given; `""` begins a new one. It has no secret: see
/// [who can dial](self#who-can-join-dial-and-be-dialed).
///
/// # Errors
///
/// If the name is no name of a folder, or too long; if another user has made the place of the
/// network, or could replace it; if the registry cannot be used or is that of another version; or
/// if the system has no socket or thread left.
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
    secret: Option<Secret>,
}

impl Config {
    /// What [`join`] does: the folder `lonet` of the temporary folder, ten seconds, no secret.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join("lonet");
        Self { folder, limit: Duration::from_secs(10), secret: None }
    }

    /// Looks for networks in another folder; it is made if its parent exists.
    ///
    /// No user but root and the one who joins may be able to replace it or any folder above it.
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), ..self }
    }

    /// Gives up a hand-shake of which a step takes longer: to connect, to send a line, to receive
    /// the rest of one. To wait for an accept takes as long as it takes.
    pub fn handshake_timeout(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Connects to those alone who know this secret, and is connected to by them alone.
    ///
    /// Both sides of a dial prove to each other that they know it, before anything else is said;
    /// it is neither sent nor written to disk nor printed. A dial between processes of which one
    /// has another secret, or none, is an error on both sides. Peers in Go have none: they cannot
    /// dial such a network, nor be dialed from it.
    ///
    /// What is sent after that is not encrypted. One who may connect to a port can try secrets at
    /// leisure, on a machine of their own: take at least 16 bytes of a random generator, and not
    /// a word.
    ///
    /// ```no_run
    /// # async fn example(secret: [u8; 32]) -> Result<(), virtnet::Error> {
    /// let net = virtnet::lonet::Config::new().secret(secret).join("demo").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn secret(self, secret: impl AsRef<[u8]>) -> Self {
        Self { secret: Some(Secret::new(secret.as_ref())), ..self }
    }

    /// Joins the network of this name; see [`join`].
    ///
    /// # Errors
    ///
    /// See [`join`]; and if the secret is empty.
    ///
    /// # Panics
    ///
    /// See [`join`].
    pub async fn join(&self, name: &str) -> Result<SubNetwork, Error> {
        assert_not_simulated("lonet", "processes");
        self.try_join(name).await.map_err(|cause| Error::new(Op::Join, name, None, None, cause))
    }

    async fn try_join(&self, name: &str) -> Result<SubNetwork, Cause> {
        if self.secret.as_ref().is_some_and(|secret| secret.is_empty) {
            return Err(invalid("the secret is empty: give it at least 16 bytes".to_string()));
        }
        // A new name is a short one.
        let network = full_name("lonet", if name.is_empty() { "4294967295" } else { name });
        let Some(room) = handshake::max_host_len(&network) else {
            return Err(invalid(format!(
                "the name takes {} bytes in a request, and with it a line of the wire has no room \
                 for the names of hosts: use a shorter name",
                handshake::quoted_len(name)
            )));
        };
        let (registry, name) = SqliteRegistry::open(self.folder.clone(), name).await?;
        let acceptor = Acceptor::bind().map_err(Cause::engine)?;
        let registry = Arc::new(registry);
        let engine = LonetEngine {
            acceptor: acceptor.clone(),
            registry: registry.clone(),
            limit: self.limit,
            secret: self.secret.clone(),
            max_host_len: room,
            hint: SpinHint::default(),
        };
        let network = full_name("lonet", &name);
        let (net, notifier) = SubNetwork::new(&network, engine, registry);
        let started = acceptor.start(network, notifier, self.secret.clone(), self.limit);
        started.map_err(Cause::engine)?;
        Ok(net)
    }
}

fn invalid(text: String) -> Cause {
    Cause::engine(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
