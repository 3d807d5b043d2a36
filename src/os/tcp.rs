//! [`Tcp`]: the operating system's TCP as a network.
//!
//! This module resolves, connects and listens; reading and writing is in `socket`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt};

use crate::net::{
    Addr, Cause, Conn, Error, ExternalConn, ExternalHost, Listener, Networker, Op, RawListener,
};
use crate::os::run::assert_not_simulated;

use crate::os::listener::OsListener;
use crate::os::socket::{Socket, SpinHint};

/// Plain TCP, as the operating system has it; its network is called `tcp`.
///
/// Hosts are IP addresses and names that the system can look up. An address without a host, as in
/// `:80`, listens on all interfaces and dials this machine; port 0 takes a free one. `Conn` and
/// `Listener` are those of every network, so that a program that takes a
/// [`Networker`] runs on this as it stands.
///
/// It runs on any executor, and is no part of a simulation: what it does is up to the real world.
///
/// # Panics
///
/// Inside a simulated run to dial and to listen, and to use what was made outside of it: it would
/// be another run each time, and virtual time does not wait for real sockets. Use
/// [`simnet`](crate::simnet) or [`pipenet`](crate::pipenet) there. In
/// [`os::run`](fn@crate::os::run) all is as on any other executor.
///
/// ```
/// use futures::io::{AsyncReadExt, AsyncWriteExt};
/// use virtnet::{Networker, os};
///
/// # futures::executor::block_on(async {
/// let tcp = os::Tcp::new();
/// let listener = tcp.listen("127.0.0.1:0").await?;
/// let at = listener.local_addr().to_string();
/// let (dialed, accepted) = futures::join!(tcp.dial(&at), listener.accept());
/// let (mut dialed, mut accepted) = (dialed?, accepted?);
/// dialed.write_all(b"hello").await?;
/// dialed.close()?;
/// let mut text = String::new();
/// accepted.read_to_string(&mut text).await?;
/// assert_eq!((text.as_str(), accepted.local_addr().to_string()), ("hello", at));
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Tcp {
    host: ExternalHost,
    hint: SpinHint,
}

impl Tcp {
    /// Makes an access point; closing it closes all that was made through it.
    ///
    /// It may have 65 535 sockets at a time.
    pub fn new() -> Self {
        Self { host: ExternalHost::new("tcp", "localhost"), hint: SpinHint::default() }
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self::new()
    }
}

impl Networker for Tcp {
    fn network(&self) -> &str {
        self.host.network()
    }

    fn name(&self) -> &str {
        self.host.name()
    }

    fn dial<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Conn, Error>> {
        async move {
            assert_not_simulated("os::Tcp", "sockets");
            let dst = Addr::parse("tcp", addr)
                .map_err(|error| Error::new(Op::Dial, "tcp", None, None, error.into()))?;
            self.host.dial(&dst, connect(&dst, &self.hint)).await
        }
        .boxed()
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Listener, Error>> {
        async move {
            assert_not_simulated("os::Tcp", "sockets");
            let fail = |addr, cause| Error::new(Op::Listen, "tcp", None, addr, cause);
            let requested = Addr::parse("tcp", if addr.is_empty() { ":0" } else { addr })
                .map_err(|error| fail(None, error.into()))?;
            let incoming = match self.host.down_cause() {
                Some(down) => Err(down),
                None => bind(&requested).await,
            };
            let listener = incoming.and_then(|(listener, local_addr)| {
                self.host.listen(&local_addr, Arc::new(listener))
            });
            listener.map_err(|cause| fail(Some(requested), cause))
        }
        .boxed()
    }

    fn close(&self) -> Result<(), Error> {
        self.host.close();
        Ok(())
    }
}

/// The form in which the system's addresses are written here.
fn addr_of(socket_addr: SocketAddr) -> Addr {
    Addr::new("tcp", socket_addr.ip().to_string(), socket_addr.port())
}

/// Looks a host up. A name may take the system long, so a thread waits for it.
async fn look_up(addr: &Addr, default_ip: Ipv4Addr) -> Result<Vec<SocketAddr>, Cause> {
    let (host, port) = (addr.host().to_string(), addr.port());
    if host.is_empty() {
        return Ok(vec![(default_ip, port).into()]);
    }
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (sender, reported) = oneshot::channel();
    let resolve = move || {
        // The receiver may have been dropped.
        let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    };
    let started = thread::Builder::new().name("look up".to_string()).spawn(resolve);
    started.map_err(|error| Cause::engine(format!("start a thread to look it up: {error}")))?;
    match reported.await {
        Ok(Ok(addrs)) if !addrs.is_empty() => Ok(addrs),
        _ => Err(Cause::NoSuchHost),
    }
}

async fn connect(dst: &Addr, hint: &SpinHint) -> Result<ExternalConn, Cause> {
    let mut last_error = Cause::NoSuchHost;
    for socket_addr in look_up(dst, Ipv4Addr::LOCALHOST).await? {
        match Socket::connect(socket_addr, hint).await.and_then(external_conn) {
            Ok(conn) => return Ok(conn),
            Err(error) => last_error = error.into(),
        }
    }
    Err(last_error)
}

fn external_conn(socket: Socket) -> io::Result<ExternalConn> {
    let (local, peer) = socket.with(|io| Ok((io.local_addr()?, io.peer_addr()?)))?;
    Ok(ExternalConn { raw: Box::new(socket.with_local_addr(addr_of(local))), peer: addr_of(peer) })
}

async fn bind(addr: &Addr) -> Result<(TcpIncoming, Addr), Cause> {
    let socket_addr = look_up(addr, Ipv4Addr::UNSPECIFIED).await?;
    let (listener, socket_addr) =
        OsListener::bind(&socket_addr).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Cause::AddrInUse,
            io::ErrorKind::AddrNotAvailable => Cause::AddrNotLocal,
            _ => error.into(),
        })?;
    Ok((TcpIncoming(listener), addr_of(socket_addr)))
}

/// A listening socket of the system, as a network takes connections from it.
struct TcpIncoming(OsListener);

impl RawListener for TcpIncoming {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<ExternalConn, Cause>> {
        loop {
            match self.0.poll_accept(cx).map_ok(external_conn) {
                Poll::Pending => return Poll::Pending,
                // It is gone already: that is no failure of accepting.
                Poll::Ready(Ok(Err(_))) => {}
                Poll::Ready(Ok(Ok(conn))) => return Poll::Ready(Ok(conn)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn close(&self) {
        self.0.close();
    }
}
