//! Hosts, ports and connections: the TCP-like interface that all networks of this crate share.
//!
//! It depends on no simulator and no operating system, and runs on any executor. The same
//! [`Host`], [`Conn`] and [`Listener`] are used on [`pipenet`](crate::pipenet), on a simulated
//! network and on real sockets.
//!
//! # Using a network
//!
//! A [`SubNetwork`] makes hosts. A [`Host`] dials and listens, and a [`Listener`] accepts. Any
//! number of tasks can read and write a [`Conn`], through `futures::io`.
//!
//! ```
//! use futures::io::{AsyncReadExt, AsyncWriteExt};
//! use virtnet::pipenet;
//!
//! # futures::executor::block_on(async {
//! let net = pipenet::Network::new("t");
//! let listener = net.host("β").listen("").await?;                   // β:1
//! let server = async {
//!     let mut conn = listener.accept().await?;                       // β:2, a port of its own
//!     let mut name = String::new();
//!     conn.read_to_string(&mut name).await?;
//!     conn.write_all(format!("hello {name}").as_bytes()).await?;
//!     std::io::Result::Ok(())
//! };
//! let host = net.host("α");
//! let client = async {
//!     let mut conn = host.dial("β:1").await?;
//!     conn.write_all("α".as_bytes()).await?;
//!     conn.shutdown().await?;                                        // half-close
//!     let mut answer = String::new();
//!     conn.read_to_string(&mut answer).await?;
//!     std::io::Result::Ok(answer)
//! };
//! let (served, answer) = futures::join!(server, client);
//! served?;
//! assert_eq!(answer?, "hello α");
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```
//!
//! **Closing** a connection, listener, host or network interrupts all operations that are
//! blocked on it. The cause that they report is that of the outermost level that is down:
//! `network is down`, `host is down`, `socket is down`. Handles to a connection or a listener can
//! be cloned; it is closed when the last one is dropped. Hosts and networks are closed by an
//! explicit call only.
//!
//! **Cancelling** an operation is dropping its future. Nothing is lost or leaked: a dial leaves
//! the queue of its listener, and an accept leaves its dial to the next accept.
//!
//! **Ports** are numbers from 1; the lowest free one is taken first. A dial takes a port before
//! it parses the address, an accept when it picks up the dial. A port is given back when its
//! socket is closed by its owner, not when its host goes down.
//!
//! # Implementing a network
//!
//! An [`Engine`] carries connections, and a [`Registry`] resolves names. A dial calls them in
//! this order:
//!
//! ```text
//! α: Host::dial ─► Registry::query ─► Engine::dial ─ ─ ─ ─ ─► Notifier::accept :β
//!                                          ▲                       │ waits for Listener::accept
//!                                          └─ ─ the address ─ ─ ─ Accept ─► confirm(RawConn)
//! ```
//!
//! The smallest engine makes both ends of a connection in one place, in a few lines. See
//! [`pipenet`](crate::pipenet) for a real pipe; here both ends are at the end of their stream:
//!
//! ```
//! use std::io;
//! use std::sync::{Arc, OnceLock};
//! use std::task::{Context, Poll};
//! use futures::future::{BoxFuture, FutureExt};
//! use futures::io::AsyncReadExt;
//! use virtnet::{Addr, Args, Cause, Engine, Notifier, RawConn, Registry, RegistryError};
//! use virtnet::SubNetwork;
//!
//! #[derive(Default)]
//! struct Void(OnceLock<Notifier>);
//!
//! impl Engine for Void {
//!     fn new_host<'a>(&'a self, hostname: &'a str, registry: &'a dyn Registry)
//!         -> BoxFuture<'a, Result<(), Cause>>
//!     {
//!         async move { Ok(registry.announce(hostname, "").await?) }.boxed()
//!     }
//!     fn dial<'a>(&'a self, src: &'a Addr, dst: &'a Addr, _hostdata: &'a str)
//!         -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>>
//!     {
//!         async move {
//!             let accept = self.0.get().ok_or(Cause::NetDown)?.accept(src, dst).await?;
//!             let addr = accept.addr().clone();
//!             accept.confirm(Box::new(End));
//!             Ok((Box::new(End) as Box<dyn RawConn>, addr))
//!         }
//!         .boxed()
//!     }
//!     fn close(&self) -> Result<(), Cause> { Ok(()) }
//! }
//!
//! struct End;
//! impl RawConn for End {
//!     fn poll_read(&self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
//!         Poll::Ready(Ok(0))
//!     }
//!     fn poll_write(&self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
//!         Poll::Ready(Err(Cause::BrokenPipe.into()))
//!     }
//!     fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> { Poll::Ready(Ok(())) }
//!     fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> { Poll::Ready(Ok(())) }
//!     fn abort(&self) {}
//! }
//!
//! /// A registry that accepts every name.
//! struct AnyName;
//! impl Registry for AnyName {
//!     fn announce<'a>(&'a self, _: &'a str, _: &'a str)
//!         -> BoxFuture<'a, Result<(), RegistryError>> { async { Ok(()) }.boxed() }
//!     fn query<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
//!         async { Ok(String::new()) }.boxed()
//!     }
//!     fn close(&self) -> Result<(), RegistryError> { Ok(()) }
//! }
//!
//! # futures::executor::block_on(async {
//! let engine = Arc::new(Void::default());
//! let (net, notifier) = SubNetwork::new("void", engine.clone(), AnyName);
//! engine.0.set(notifier).unwrap();
//! let host = net.new_host("α").await?;
//! let listener = host.listen("").await?;
//! let (mut dialed, accepted) = futures::try_join!(host.dial(":1"), listener.accept())?;
//! assert_eq!((dialed.peer_addr(), dialed.local_addr()),
//!            (accepted.local_addr(), accepted.peer_addr()));
//! assert_eq!(dialed.read(&mut [0; 8]).await.unwrap(), 0);
//! # Ok::<(), virtnet::Error>(())
//! # }).unwrap();
//! ```
//!
//! Closing calls [`RawConn::close`] for each connection, then [`Engine::close`]. The
//! documentation of each trait method says what an engine can rely on and what it must
//! tolerate.

pub(crate) mod addr;
pub(crate) mod conn;
pub(crate) mod engine;
pub(crate) mod error;
#[cfg(feature = "os")]
pub(crate) mod external_host;
pub(crate) mod go_quote;
pub(crate) mod host;
pub(crate) mod listener;
pub(crate) mod networker;
pub(crate) mod state;
pub(crate) mod subnetwork;
pub(crate) mod traced;

pub(crate) use addr::full_name;
pub use addr::{Addr, AddrError};
pub use conn::{Conn, ReadHalf, WriteHalf};
pub use engine::notifier::{Accept, Notifier};
pub use engine::raw_conn::RawConn;
#[doc(hidden)]
pub use engine::raw_conn::Readiness;
pub use engine::{Engine, Registry};
pub use error::{Args, Cause, Error, Op, RegistryError};
pub use host::Host;
pub use listener::{Incoming, Listener};
pub use networker::Networker;
pub use subnetwork::SubNetwork;
pub use traced::{EventDifference, EventLog, NetEvent, Traced};

pub(crate) use engine::notifier::DialTarget;
#[cfg(feature = "os")]
pub(crate) use engine::raw_conn::{ExternalConn, RawListener};
pub(crate) use engine::ready::ReadyOk;
#[cfg(feature = "os")]
pub(crate) use external_host::ExternalHost;
#[cfg(feature = "lonet")]
pub(crate) use go_quote::{Escaped, Quoted};
pub(crate) use state::wait_list::{DeferredWakes, WaitList};
