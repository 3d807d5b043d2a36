//! [`Tls`]: TLS over any network.
//!
//! Handshakes, reads and writes go through rustls; which certificates are trusted is rustls's
//! configuration.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::{BoxFuture, FutureExt};
use futures::io::{AsyncRead, AsyncWrite};
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use futures_rustls::pki_types::ServerName;
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::net::{
    Addr, Cause, Conn, DeferredWakes, Error, ExternalConn, ExternalHost, Incoming, Listener,
    Networker, Op, RawConn, RawListener, WaitList,
};

use crate::os::write_buffered::WriteBuffered;

/// The crate of which configurations are made.
pub use futures_rustls::rustls;

use rustls::{ClientConfig, ServerConfig};

/// TLS over another network; it is called as that one and `+tls`.
///
/// Dialing needs a [`client`](Tls::client) configuration, and names the host of the address to the
/// other side, which has to prove to be it: so that is a DNS name or an IP address; without one it
/// is the [`name`](Networker::name) of this access point. Listening needs a
/// [`server`](Tls::server) configuration.
///
/// A dial is done when the hand-shake is, which takes an accept on the other side. One that fails
/// is an error of the dial, and no matter of the accept, which waits for the next. The network has
/// no clock, so there is no limit to a hand-shake: a guest who never goes on with it keeps a
/// connection until the listener is closed.
///
/// Bytes that closing can send at once are still sent, with TLS's own end of the stream; so flush
/// before. If the other side does not take them at once, it reads an error and not a mere end of
/// the stream.
///
/// On [`pipenet`](crate::pipenet), which has no buffers, an accept waits until the dialer has read
/// the tickets that servers send after the hand-shake, unless they are switched off
/// (`send_tls13_tickets`).
///
/// It has randomness of its own: on a simulated network the lengths and times of what it sends can
/// be the same each time, its bytes are not, and a run does not repeat to the letter.
#[derive(Debug)]
pub struct Tls<N> {
    inner: N,
    host: ExternalHost,
    client: Option<Arc<ClientConfig>>,
    server: Option<Arc<ServerConfig>>,
}

impl<N: Networker> Tls<N> {
    /// Wraps a network.
    pub fn new(inner: N) -> Self {
        let network = [inner.network(), "+tls"].concat();
        let host = ExternalHost::new(&network, inner.name());
        Self { inner, host, client: None, server: None }
    }

    /// Sets which servers to trust when dialing.
    pub fn client(self, config: impl Into<Arc<ClientConfig>>) -> Self {
        Self { client: Some(config.into()), ..self }
    }

    /// Says who to be when accepting.
    pub fn server(self, config: impl Into<Arc<ServerConfig>>) -> Self {
        Self { server: Some(config.into()), ..self }
    }

    /// The same address, on the network that this is.
    fn to_own_addr(&self, addr: &Addr) -> Addr {
        addr_on(self.network(), addr)
    }

    /// Translates an error of the inner network into one of this network.
    fn map_error(&self, error: Error) -> Error {
        let to_own = |addr: Option<Addr>| addr.as_ref().map(|addr| self.to_own_addr(addr));
        let down = self.host.down_cause();
        let (src, addr, cause) =
            (to_own(error.src), to_own(error.addr), down.unwrap_or(error.cause));
        Error::new(error.op, self.network(), src, addr, cause)
    }

    /// Dials, and shakes hands.
    async fn connect(&self, dst: &Addr, addr: &str) -> Result<ExternalConn, Cause> {
        let config = self.client.clone();
        let config = config.ok_or_else(|| Cause::engine("tls: no client configuration"))?;
        let host = if dst.host().is_empty() { self.name() } else { dst.host() };
        let name = ServerName::try_from(host.to_string()).map_err(Cause::engine)?;
        let conn = self.inner.dial(addr).await.map_err(|error| error.cause)?;
        let addrs = (self.to_own_addr(&conn.local_addr()), self.to_own_addr(&conn.peer_addr()));
        let stream = TlsConnector::from(config).connect(name, WriteBuffered::new(conn)).await?;
        Ok(external_conn(stream.into(), addrs))
    }
}

fn addr_on(network: &str, addr: &Addr) -> Addr {
    Addr::new(network, addr.host(), addr.port())
}

fn external_conn(stream: TlsStream<WriteBuffered>, (local, peer): (Addr, Addr)) -> ExternalConn {
    let inner = stream.get_ref().0.conn.clone();
    let (stream, close_notify_sent, readers) =
        (Mutex::new(stream), AtomicBool::new(false), Mutex::default());
    ExternalConn {
        raw: Box::new(TlsConn { inner, local, stream, close_notify_sent, readers }),
        peer,
    }
}

impl<N: Networker> Networker for Tls<N> {
    fn network(&self) -> &str {
        self.host.network()
    }

    fn name(&self) -> &str {
        self.host.name()
    }

    fn dial<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Conn, Error>> {
        async move {
            let network = self.network();
            let dst = Addr::parse(network, addr)
                .map_err(|error| Error::new(Op::Dial, network, None, None, error.into()))?;
            self.host.dial(&dst, self.connect(&dst, addr)).await
        }
        .boxed()
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Listener, Error>> {
        async move {
            let listener = self.inner.listen(addr).await.map_err(|error| self.map_error(error))?;
            let local_addr = self.to_own_addr(&listener.local_addr());
            let fail = |cause| {
                Error::new(Op::Listen, self.network(), None, Some(local_addr.clone()), cause)
            };
            let Some(config) = self.server.clone() else {
                return Err(fail(Cause::engine("tls: no server configuration")));
            };
            let incoming = Some(listener.incoming());
            let handshakes = FuturesUnordered::new();
            let tls_listener = TlsListener {
                listener,
                acceptor: config.into(),
                network: self.network().into(),
                pending: Mutex::new(PendingHandshakes { incoming, handshakes }),
                wait_list: Arc::default(),
            };
            self.host.listen(&local_addr, Arc::new(tls_listener)).map_err(fail)
        }
        .boxed()
    }

    fn close(&self) -> Result<(), Error> {
        self.host.close();
        self.inner.close().map_err(|error| Error { network: self.network().into(), ..error })
    }
}

/// A listener whose guests shake hands before they are let in.
struct TlsListener {
    listener: Listener,
    acceptor: TlsAcceptor,
    network: Arc<str>,
    pending: Mutex<PendingHandshakes>,
    wait_list: Arc<SharedWaitList>,
}

struct PendingHandshakes {
    /// `None` once no more connections come.
    incoming: Option<Incoming>,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<ExternalConn>>>,
}

/// All who wait for a guest: whatever there is to be done, one of them does it.
#[derive(Default)]
struct SharedWaitList(Mutex<WaitList>);

impl Wake for SharedWaitList {
    fn wake(self: Arc<Self>) {
        let mut wakers = DeferredWakes::default();
        locked(&self.0).wake(&mut wakers);
        wakers.wake();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TlsListener {
    fn handshake(&self, conn: Conn) -> BoxFuture<'static, Option<ExternalConn>> {
        let addrs =
            (addr_on(&self.network, &conn.local_addr()), addr_on(&self.network, &conn.peer_addr()));
        let accept = self.acceptor.accept(WriteBuffered::new(conn));
        // TLS itself reports a failure to the other side.
        async move { Some(external_conn(accept.await.ok()?.into(), addrs)) }.boxed()
    }
}

impl RawListener for TlsListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<ExternalConn, Cause>> {
        let mut wakers = DeferredWakes::default();
        locked(&self.wait_list.0).register(cx.waker(), &mut wakers);
        wakers.wake();
        let waker = Waker::from(self.wait_list.clone());
        let cx = &mut Context::from_waker(&waker);
        let pending = &mut *locked(&self.pending);
        while let Some(incoming) = &mut pending.incoming {
            match Pin::new(incoming).poll_next(cx) {
                Poll::Ready(Some(Ok(conn))) => pending.handshakes.push(self.handshake(conn)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.cause)),
                Poll::Ready(None) => pending.incoming = None,
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(Some(finished)) = pending.handshakes.poll_next_unpin(cx) {
            if let Some(conn) = finished {
                return Poll::Ready(Ok(conn));
            }
        }
        if pending.incoming.is_none() { Poll::Ready(Err(Cause::SockDown)) } else { Poll::Pending }
    }

    fn close(&self) {
        self.listener.close_unchecked();
        let handshakes = std::mem::take(&mut locked(&self.pending).handshakes);
        drop(handshakes);
        self.wait_list.clone().wake();
    }
}

/// One end of an encrypted connection.
struct TlsConn {
    inner: Conn,
    local: Addr,
    stream: Mutex<TlsStream<WriteBuffered>>,
    /// Whether TLS's own end has been said. What is written after that would be taken and lost.
    close_notify_sent: AtomicBool,
    /// The tasks that read. Decrypted bytes that one of them has left are not announced by the
    /// inner connection, so that the task that leaves them wakes the others.
    readers: Mutex<WaitList>,
}

impl TlsConn {
    /// Works on the stream. All who wait are kept by the inner connection, be it for reading or
    /// for writing, whichever the protocol needs.
    fn with_stream<R>(&self, work: impl FnOnce(Pin<&mut TlsStream<WriteBuffered>>) -> R) -> R {
        work(Pin::new(&mut *locked(&self.stream)))
    }

    fn with_readers(&self, work: impl FnOnce(&mut WaitList, &mut DeferredWakes)) {
        let mut wakers = DeferredWakes::default();
        work(&mut locked(&self.readers), &mut wakers);
        wakers.wake();
    }
}

impl RawConn for TlsConn {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = self.with_stream(|mut stream| match stream.as_mut().poll_read(cx, buf) {
            // The error that the stream was cut off is given once; later reads give the end of the
            // stream.
            Poll::Ready(Ok(0)) if stream.get_ref().1.wants_read() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            polled => polled,
        });
        match polled {
            Poll::Pending => {
                self.with_readers(|readers, wakers| readers.register(cx.waker(), wakers));
            }
            Poll::Ready(_) => self.with_readers(WaitList::wake),
        }
        polled
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.with_stream(|stream| match self.close_notify_sent.load(Ordering::Relaxed) {
            true => Poll::Ready(Err(Cause::BrokenPipe.into())),
            false => stream.poll_write(cx, buf),
        })
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_stream(|stream| stream.poll_flush(cx))
    }

    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.inner.is_accessible() {
            // It is dropped after its run, or on another thread: nothing can be said any more.
            return Poll::Ready(Ok(()));
        }
        let (polled, is_first) = self.with_stream(|stream| {
            let is_first = !self.close_notify_sent.swap(true, Ordering::Relaxed);
            (stream.poll_close(cx), is_first)
        });
        if polled.is_pending() && is_first {
            // Nobody may come again for what is left, as when a half is dropped. Who reads gets it
            // through.
            self.with_readers(WaitList::wake);
        }
        polled
    }

    fn local_addr(&self) -> Option<Addr> {
        Some(self.local.clone())
    }

    fn abort(&self) {
        // Without TLS's own end the other side knows that this was none.
        self.inner.close_unchecked();
        self.with_readers(WaitList::wake);
    }

    fn close(&self) {
        let _ = self.poll_close(&mut Context::from_waker(Waker::noop()));
        self.abort();
    }
}
