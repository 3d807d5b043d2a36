//! The engine of lonet: dials to other processes.
//!
//! A dial connects to the address that the registry has for the host. Incoming dials are served
//! by the acceptor.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};

use crate::net::{Addr, Cause, Engine, Quoted, RawConn, Registry};
use crate::os::run::assert_not_simulated;
use crate::os::{Socket, SpinHint};

use crate::lonet::acceptor::Acceptor;
use crate::lonet::framing::{read_available, read_line, with_timeout, write_line};
use crate::lonet::handshake;
use crate::lonet::handshake::{ReplyError, Side};
use crate::lonet::secret::{ProofInput, Secret, nonce};
use crate::lonet::sqlite_registry::SqliteRegistry;

/// Carries connections as TCP over the loopback interface.
#[derive(Debug)]
pub(crate) struct LonetEngine {
    pub(crate) acceptor: Arc<Acceptor>,
    /// To be told that it was wrong.
    pub(crate) registry: Arc<SqliteRegistry>,
    /// The limit of a step of the handshake that does not wait for an accept.
    pub(crate) timeout: Duration,
    /// The secret that both sides of a dial have to know.
    pub(crate) secret: Option<Secret>,
    /// The maximum length of a host name; see [`handshake::encoded_len`].
    pub(crate) max_host_len: usize,
    /// Of those who have been dialed.
    pub(crate) hint: SpinHint,
}

impl Engine for LonetEngine {
    fn new_host<'a>(
        &'a self,
        hostname: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>> {
        async move {
            assert_not_simulated("lonet", "processes");
            let (name_len, max_len) = (handshake::encoded_len(hostname), self.max_host_len);
            if name_len > max_len {
                let text = format!(
                    "the name takes {name_len} bytes in a request, and a line of the wire has room \
                     for {max_len}: use a shorter name"
                );
                return Err(engine_cause(io::ErrorKind::InvalidInput, text));
            }
            let osladdr = self.acceptor.addr.to_string();
            Ok(registry.announce(hostname, &osladdr).await?)
        }
        .boxed()
    }

    fn dial<'a>(
        &'a self,
        src: &'a Addr,
        dst: &'a Addr,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>> {
        async move {
            assert_not_simulated("lonet", "processes");
            let connected = self.connect(src, dst, hostdata).await;
            if !matches!(connected, Ok(_) | Err(Cause::ConnRefused)) {
                self.registry.evict(dst.host());
            }
            connected
        }
        .boxed()
    }

    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<()> {
        assert_not_simulated("lonet", "processes");
        self.acceptor.poll_incoming(cx)
    }

    fn close(&self) -> Result<(), Cause> {
        self.acceptor.close();
        Ok(())
    }
}

impl LonetEngine {
    async fn connect(
        &self,
        src: &Addr,
        dst: &Addr,
        osladdr: &str,
    ) -> Result<(Box<dyn RawConn>, Addr), Cause> {
        let addr =
            parse_os_addr(osladdr).map_err(|cause| Cause::engine(format!("dial tcp4: {cause}")))?;
        let socket =
            with_timeout(self.timeout, Socket::connect_quickack_off(addr, &self.hint)).await;
        let socket = socket.map_err(|error| {
            engine_cause(error.kind(), format!("dial tcp4 {addr}: connect: {}", plain_text(&error)))
        })?;
        let mut reset_guard = ResetOnDrop { socket: &socket, is_disarmed: false };
        let reply = self.handshake(&socket, addr, src, dst).await;
        reset_guard.is_disarmed = true;
        drop(reset_guard);
        let fail = |error: &io::Error| {
            engine_cause(error.kind(), format!("loconnect {addr}: {}", plain_text(error)))
        };
        match reply.map_err(|error| fail(&error))? {
            Ok(peer) => Ok((Box::new(socket) as Box<dyn RawConn>, peer)),
            Err(ReplyError::Refused) => Err(Cause::ConnRefused),
            Err(ReplyError::Other(cause)) => Err(fail(&io::Error::other(cause))),
        }
    }

    /// Has the acceptor prove that it knows the secret, and proves it to the acceptor.
    ///
    /// # Errors
    ///
    /// Errors of the system; or that the acceptor does not know the secret.
    async fn authenticate_acceptor(
        &self,
        socket: &Socket,
        addr: SocketAddr,
        network: &str,
        secret: &Secret,
    ) -> io::Result<()> {
        let fail = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        let dialer_nonce = nonce()?;
        write_line(
            socket,
            &handshake::write_auth_line(Side::Dialer, network, "secret", &dialer_nonce),
        )
        .await?;
        let line = read_line(socket, Vec::new()).await?;
        let reply = handshake::read_auth_line(Side::Acceptor, &line, network, "secret");
        let Some((acceptor_nonce, proof)) =
            reply.as_deref().and_then(|reply| reply.split_once(' '))
        else {
            return fail(format!(
                "the acceptor does not prove that it knows the secret of this network, but \
                 says {}: all processes must join with the same `lonet::Config::secret`",
                Quoted(line.trim_ascii_end())
            ));
        };
        let input = ProofInput {
            network,
            acceptor_addr: addr,
            dialer_nonce: &dialer_nonce,
            acceptor_nonce,
        };
        if !secret.verify(proof, Side::Acceptor, &input) {
            return fail(
                "the acceptor has another secret: all processes must join with the same \
                 `lonet::Config::secret`"
                    .to_string(),
            );
        }
        let proof = secret.prove(Side::Dialer, &input);
        write_line(socket, &handshake::write_auth_line(Side::Dialer, network, "proof", &proof))
            .await
    }

    /// Sends the request, and waits for the reply, which comes when an accept takes the dial.
    async fn handshake(
        &self,
        socket: &Socket,
        addr: SocketAddr,
        src: &Addr,
        dst: &Addr,
    ) -> io::Result<Result<Addr, ReplyError>> {
        if let Some(secret) = &self.secret {
            with_timeout(
                self.timeout,
                self.authenticate_acceptor(socket, addr, dst.network(), secret),
            )
            .await?;
        }
        with_timeout(self.timeout, write_line(socket, &handshake::write_request(src, dst))).await?;
        let mut line = Vec::new();
        read_available(socket, &mut line).await?;
        let line = with_timeout(self.timeout, read_line(socket, line)).await?;
        Ok(handshake::read_reply(&line, dst))
    }
}

/// A dial on its way. If it is dropped the other side sees a reset, not the end of a stream:
/// the reference takes that for a dialer that has nothing to say, and lets it be accepted.
struct ResetOnDrop<'a> {
    socket: &'a Socket,
    is_disarmed: bool,
}

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_disarmed {
            self.socket.abort();
        }
    }
}

/// An engine's error that keeps its kind.
fn engine_cause(kind: io::ErrorKind, text: String) -> Cause {
    Cause::engine(io::Error::new(kind, text))
}

/// The text of a system error, in the words of the reference.
fn plain_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_string(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_string(),
        io::ErrorKind::BrokenPipe => "broken pipe".to_string(),
        io::ErrorKind::TimedOut => "timed out".to_string(),
        _ => error.to_string(),
    }
}

/// Reads where the other process listens.
fn parse_os_addr(osladdr: &str) -> Result<SocketAddr, String> {
    let localhost = |port: &str| Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port.parse().ok()?));
    match osladdr {
        "" => Err("missing address".to_string()),
        _ => (osladdr.strip_prefix("localhost:").and_then(localhost))
            .or_else(|| osladdr.parse().ok())
            .map(SocketAddr::V4)
            .ok_or_else(|| format!("address {osladdr}: no suitable address found")),
    }
}

impl Drop for LonetEngine {
    /// The last handle was dropped without closing the network.
    fn drop(&mut self) {
        self.acceptor.close();
    }
}
