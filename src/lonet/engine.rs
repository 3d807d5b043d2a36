//! What carries a network between processes.
//!
//! Knows how a dial goes out: where the other process listens stands in the registry. How one
//! comes in is the acceptor's matter.

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
use crate::lonet::framing::{read_line, read_part, with_timeout, write_line};
use crate::lonet::handshake;
use crate::lonet::handshake::{ReplyError, Side};
use crate::lonet::secret::{Secret, Subject, nonce};
use crate::lonet::sqlite_registry::SqliteRegistry;

/// Carries connections as TCP over the loopback interface.
#[derive(Debug)]
pub(crate) struct LonetEngine {
    pub(crate) acceptor: Arc<Acceptor>,
    /// To be told that it was wrong.
    pub(crate) registry: Arc<SqliteRegistry>,
    /// How long a step of the hand-shake may take that depends on no accept.
    pub(crate) limit: Duration,
    /// What both sides of a dial have to know.
    pub(crate) secret: Option<Secret>,
    /// How long the name of a host may be; see [`handshake::size`].
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
            let (size, room) = (handshake::encoded_len(hostname), self.max_host_len);
            if size > room {
                let text = format!(
                    "the name takes {size} bytes in a request, and a line of the wire has room \
                     for {room}: use a shorter name"
                );
                return Err(cause_of(io::ErrorKind::InvalidInput, text));
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
                self.registry.forget(dst.host());
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
        let at = parse(osladdr).map_err(|why| Cause::engine(format!("dial tcp4: {why}")))?;
        let socket = with_timeout(self.limit, Socket::connect_quickack_off(at, &self.hint)).await;
        let socket = socket.map_err(|error| {
            cause_of(error.kind(), format!("dial tcp4 {at}: connect: {}", plain_text(&error)))
        })?;
        let mut unanswered = ResetOnDrop { socket: &socket, answered: false };
        let answer = self.handshake(&socket, at, src, dst).await;
        unanswered.answered = true;
        drop(unanswered);
        let failed = |error: &io::Error| {
            cause_of(error.kind(), format!("loconnect {at}: {}", plain_text(error)))
        };
        match answer.map_err(|error| failed(&error))? {
            Ok(peer) => Ok((Box::new(socket) as Box<dyn RawConn>, peer)),
            Err(ReplyError::Refused) => Err(Cause::ConnRefused),
            Err(ReplyError::Other(why)) => Err(failed(&io::Error::other(why))),
        }
    }

    /// Has the acceptor prove that it knows the secret, and proves it to the acceptor.
    ///
    /// # Errors
    ///
    /// Those of the system; or that the acceptor does not know the secret.
    async fn prove(
        &self,
        socket: &Socket,
        at: SocketAddr,
        network: &str,
        secret: &Secret,
    ) -> io::Result<()> {
        let refused = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        let dialer = nonce()?;
        write_line(socket, &handshake::write_word(Side::Dialer, network, "secret", &dialer))
            .await?;
        let line = read_line(socket, Vec::new()).await?;
        let reply = handshake::read_word(Side::Acceptor, &line, network, "secret");
        let Some((acceptor, proof)) = reply.as_deref().and_then(|reply| reply.split_once(' '))
        else {
            return refused(format!(
                "the acceptor does not prove that it knows the secret of this network, but \
                 says {}: all processes must join with the same `lonet::Config::secret`",
                Quoted(line.trim_ascii_end())
            ));
        };
        let subject = Subject { network, at, dialer: &dialer, acceptor };
        if !secret.is_proof(proof, Side::Acceptor, &subject) {
            return refused(
                "the acceptor has another secret: all processes must join with the same \
                 `lonet::Config::secret`"
                    .to_string(),
            );
        }
        let proof = secret.prove(Side::Dialer, &subject);
        write_line(socket, &handshake::write_word(Side::Dialer, network, "proof", &proof)).await
    }

    /// Sends the request, and waits for the reply: that comes when somebody accepts.
    async fn handshake(
        &self,
        socket: &Socket,
        at: SocketAddr,
        src: &Addr,
        dst: &Addr,
    ) -> io::Result<Result<Addr, ReplyError>> {
        if let Some(secret) = &self.secret {
            with_timeout(self.limit, self.prove(socket, at, dst.network(), secret)).await?;
        }
        with_timeout(self.limit, write_line(socket, &handshake::write_request(src, dst))).await?;
        let mut line = Vec::new();
        read_part(socket, &mut line).await?;
        let line = with_timeout(self.limit, read_line(socket, line)).await?;
        Ok(handshake::read_reply(&line, dst))
    }
}

/// A dial on its way. If it is dropped the other side sees a reset, not the end of a stream:
/// the reference takes that for a dialer that has nothing to say, and lets it be accepted.
struct ResetOnDrop<'a> {
    socket: &'a Socket,
    answered: bool,
}

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.socket.abort();
        }
    }
}

/// An engine's error that keeps its kind.
fn cause_of(kind: io::ErrorKind, text: String) -> Cause {
    Cause::engine(io::Error::new(kind, text))
}

/// What an error of the system says, in the words of the reference.
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
fn parse(osladdr: &str) -> Result<SocketAddr, String> {
    let named = |port: &str| Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port.parse().ok()?));
    match osladdr {
        "" => Err("missing address".to_string()),
        _ => (osladdr.strip_prefix("localhost:").and_then(named))
            .or_else(|| osladdr.parse().ok())
            .map(SocketAddr::V4)
            .ok_or_else(|| format!("address {osladdr}: no suitable address found")),
    }
}

impl Drop for LonetEngine {
    /// The last handle is gone, and nobody has closed the network.
    fn drop(&mut self) {
        self.acceptor.close();
    }
}
