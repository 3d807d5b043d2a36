//! [`Networker`]: the interface that every network offers to a program.
//!
//! A program that takes a [`Networker`] runs on every network.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};

use crate::net::conn::Conn;
use crate::net::error::Error;
use crate::net::host::Host;
use crate::net::listener::Listener;

/// Is a way onto a network: a host, or the network of the operating system.
///
/// It is object safe; `Arc<dyn Networker>` is one as well. `Conn` and `Listener` are the same
/// types everywhere.
pub trait Networker: Send + Sync + 'static {
    /// Names the network, as in `pipet` or `tcp`.
    fn network(&self) -> &str;

    /// Names the access point: for a host its name.
    fn name(&self) -> &str;

    /// Connects to a listener; see [`Host::dial`].
    fn dial<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Conn, Error>>;

    /// Starts to listen; see [`Host::listen`].
    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Listener, Error>>;

    /// Closes the access point and interrupts everything that is blocked on it.
    ///
    /// # Errors
    ///
    /// See [`Host::close`].
    fn close(&self) -> Result<(), Error>;
}

impl Networker for Host {
    fn network(&self) -> &str {
        self.network()
    }

    fn name(&self) -> &str {
        self.name()
    }

    fn dial<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Conn, Error>> {
        self.dial(addr).boxed()
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Listener, Error>> {
        self.listen(addr).boxed()
    }

    fn close(&self) -> Result<(), Error> {
        self.close()
    }
}

impl<T: Networker + ?Sized> Networker for Arc<T> {
    fn network(&self) -> &str {
        (**self).network()
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn dial<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Conn, Error>> {
        (**self).dial(addr)
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Listener, Error>> {
        (**self).listen(addr)
    }

    fn close(&self) -> Result<(), Error> {
        (**self).close()
    }
}
