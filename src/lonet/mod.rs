//! A network between processes of one machine, over real TCP.
//!
//! Each process joins the network by its name, and makes hosts. Processes find each other
//! through a file; all else is as on any other network: names, ports from 1, the same errors,
//! the same closing. Processes written in Go with the original `lonet` can join as well.
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
//! # When to use it
//!
//! lonet shows that a program that was tested on [`simnet`](crate::simnet) also works with real
//! sockets, with real processes that are killed, and with peers in other languages. Nothing is
//! simulated, no seed decides anything, and a failure cannot be replayed. Find faults with
//! `simnet`; check with lonet that the program holds up on a real system.
//!
//! It is not a transport for production: all traffic stays on the loopback interface.
//!
//! # Who can join, dial and be dialed
//!
//! The directory and the file of a network are private to the user: no other user except root
//! can join, make a host, or look up the address of one. **This does not prevent other users
//! from dialing.** A host listens at a port of the loopback interface, and every process of the
//! machine can connect to it, including processes of other users and of containers that share
//! its network. A process that sends the first line of a dial is accepted under any name: a
//! name is a claim, not a proof. In the other direction, a row of the registry stays when its
//! process ends. Another process may then get the port, by chance or on purpose, and receive
//! the dials.
//!
//! [`Config::secret`] prevents both: each side of a dial proves to the other that it has the
//! secret of the network, before either learns more. Peers in Go do not support secrets; a
//! network that they join must have none, and trusts all users of the machine.
//!
//! Another user may create the directory of a network first. lonet uses a directory only if no
//! user except root and its own can replace it. It follows no symbolic link from the directory
//! `lonet` on, and does not change the mode of anything that another user created. Otherwise
//! joining fails with an error that names the path, its owner, and the remedy. The user who
//! joins first on a machine owns the directory `lonet`; unless that is root, other users have
//! to set their own [`folder`](Config::folder).
//!
//! # How it works
//!
//! A network `demo` is the directory `lonet/demo` in the temporary directory. It has an SQLite
//! file with one row for each host: its name, and the address at which its process listens. A
//! dial looks the address up, connects, and sends one line; the reply is sent when the dial is
//! accepted. After that the TCP stream is the connection, byte for byte.
//!
//! Names stay taken forever, as on every network, including those of processes that have ended.
//! Start a new network, or remove the directory. `join("")` starts a network with an unused
//! name.
//!
//! lonet runs on any executor. A task that waits in an accept serves incoming dials, including
//! dials to other listeners, so that a dial within one process needs no other thread. If no
//! task accepts, or the one that does is not polled, a thread answers instead; the first time
//! this takes a few milliseconds longer. So each subnetwork has two threads, this one and one
//! that waits for SQLite. `async-io` has one thread per process. The threads end when the
//! subnetwork is closed, or when the last handle to it and to its hosts and listeners is
//! dropped.
//!
//! # Differences from other networks
//!
//! - Written bytes are in the system's buffers: a write can succeed after the other end is
//!   gone, and the next one fails. If an end is closed with unread bytes, the other end gets a
//!   reset.
//! - A dial that is dropped while it waits leaves the listener's queue once the other process
//!   has been notified. If it was accepted just before that, the accept returns a connection
//!   that is reset. Dials that start at the same time arrive in any order.
//! - Names that are not UTF-8, which Go allows, cannot be dialed, and ports end at 65535. The
//!   name of a host must leave room for another one of its length in a line of 1024 bytes:
//!   about 480 bytes, less on a network with a long name. Go accepts longer names, which cannot
//!   be dialed.

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

/// The settings for joining a network.
#[derive(Clone, Debug)]
pub struct Config {
    folder: PathBuf,
    handshake_timeout: Duration,
    secret: Option<Secret>,
}

impl Config {
    /// The settings of [`join`]: the folder `lonet` of the temporary folder, ten seconds, no
    /// secret.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join("lonet");
        Self { folder, handshake_timeout: Duration::from_secs(10), secret: None }
    }

    /// Looks for networks in another folder; it is made if its parent exists.
    ///
    /// No user but root and the one who joins may be able to replace it or any folder above it.
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), ..self }
    }

    /// Gives up a hand-shake of which a step takes longer: to connect, to send a line, to receive
    /// the rest of one. To wait for an accept takes as long as it takes.
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        Self { handshake_timeout: timeout, ..self }
    }

    /// Connects to those alone who know this secret, and is connected to by them alone.
    ///
    /// Both sides of a dial prove to each other that they know it, before anything else is said;
    /// it is neither sent nor written to disk nor printed. A dial between processes of which one
    /// has another secret, or none, is an error on both sides. Peers in Go have none: they cannot
    /// dial such a network, nor be dialed from it.
    ///
    /// The stream after the handshake is not encrypted. A process that can connect to a port can
    /// try secrets elsewhere, as fast as it likes: take at least 16 bytes of a random generator,
    /// and not a word.
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
            return Err(invalid_input(
                "the secret is empty: give it at least 16 bytes".to_string(),
            ));
        }
        // A new name is a short one.
        let network = full_name("lonet", if name.is_empty() { "4294967295" } else { name });
        let Some(max_host_len) = handshake::max_host_len(&network) else {
            return Err(invalid_input(format!(
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
            timeout: self.handshake_timeout,
            secret: self.secret.clone(),
            max_host_len,
            hint: SpinHint::default(),
        };
        let network = full_name("lonet", &name);
        let (net, notifier) = SubNetwork::new(&network, engine, registry);
        let result = acceptor.start(network, notifier, self.secret.clone(), self.handshake_timeout);
        result.map_err(Cause::engine)?;
        Ok(net)
    }
}

fn invalid_input(text: String) -> Cause {
    Cause::engine(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
