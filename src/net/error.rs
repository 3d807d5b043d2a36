//! Errors of a network, as values that compare and print.
//!
//! An error has an operation, addresses and a cause. Its text is the text of the Go reference.

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error as ThisError;

use crate::net::addr::{Addr, AddrError};
use crate::net::go_quote::{Escaped, quoted};

/// Says which operation failed, between which addresses, and why.
///
/// It prints as the reference prints it:
///
/// ```text
/// dial pipet α:3->β:1: connection refused
/// virtnet "pipet": new host "γ": network is down
/// ```
///
/// Control characters of names are escaped, where the reference prints them raw: a host `a\nb`
/// prints as `a\\nb`, so that an error stays on its line.
///
/// A test compares whole errors, or their [`root`](Error::root):
///
/// ```
/// use virtnet::{pipenet, Cause, Op};
///
/// # futures::executor::block_on(async {
/// let host = pipenet::Network::new("t").host("α");
/// let error = host.dial(":7").await.unwrap_err();
/// assert_eq!((error.op, error.root()), (Op::Dial, &Cause::ConnRefused));
/// assert_eq!(error.to_string(), "dial pipet α:1->α:7: connection refused");
/// # })
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// The operation that failed.
    pub op: Op,
    /// The network it was done on; for [`Op::Join`] the name that was asked for.
    pub network: Arc<str>,
    /// The source: the dialer, the sender of the bytes that are read, the writer; for
    /// [`Op::NewHost`] and a host's [`Op::Close`] the host, with port 0.
    pub src: Option<Addr>,
    /// The target: the dialed or listening address, the other end of a write, the own end of a
    /// read.
    pub addr: Option<Addr>,
    /// Why it failed.
    pub cause: Cause,
}

impl Error {
    /// Returns the address at this end: of the host that dialed, listened, accepted, read or wrote.
    pub const fn local(&self) -> Option<&Addr> {
        match self.op {
            Op::Listen | Op::Accept | Op::Read => self.addr.as_ref(),
            _ => self.src.as_ref(),
        }
    }

    /// Returns the address at the other end: of the listener that was dialed, or of the peer of a
    /// connection. A listener has none.
    pub const fn peer(&self) -> Option<&Addr> {
        match self.op {
            Op::Dial | Op::Write => self.addr.as_ref(),
            Op::Read => self.src.as_ref(),
            _ => None,
        }
    }
}

/// Names an operation of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Op {
    /// Connecting to a listener.
    Dial,
    /// Binding a listener.
    Listen,
    /// Waiting for a connection.
    Accept,
    /// Reading from a connection.
    Read,
    /// Writing to a connection, flushing and half-closing it.
    Write,
    /// Making a host.
    NewHost,
    /// Closing a host or a network.
    Close,
    /// Joining a network that other processes share.
    Join,
}

/// Says why an operation failed.
///
/// Causes compare by value; [`Cause::Engine`] compares by its text.
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum Cause {
    /// The network was closed.
    #[error("network is down")]
    NetDown,
    /// The host was closed.
    #[error("host is down")]
    HostDown,
    /// The connection or listener was closed on this side.
    #[error("socket is down")]
    SockDown,
    /// Another socket of this host has the port.
    #[error("address already in use")]
    AddrInUse,
    /// One can only listen on one's own host.
    #[error("cannot listen on requested address")]
    AddrNotLocal,
    /// Nobody listens there.
    #[error("connection refused")]
    ConnRefused,
    /// The registry knows no such name.
    #[error("no such host")]
    NoSuchHost,
    /// The registry has given this name to another host.
    #[error("host already registered")]
    HostExists,
    /// The registry was closed or cannot be reached.
    #[error("registry is down")]
    RegistryDown,
    /// All 65 535 ports of the host are taken.
    #[error("no free port")]
    NoFreePort,
    /// The process has no file descriptor left for a connection to accept. The dial waits on, and
    /// a later accept may take it. Simulated by [`FaultKind::Accept`](crate::simnet::FaultKind).
    #[error("too many open files")]
    TooManyFiles,
    /// The other side tore the connection down.
    #[error("connection reset by peer")]
    ConnReset,
    /// The pipe was closed by the reader, or half-closed by the writer itself.
    #[error("io: read/write on closed pipe")]
    ClosedPipe,
    /// The other side does not read any more.
    #[error("broken pipe")]
    BrokenPipe,
    /// There is no way to the host.
    #[error("host is unreachable")]
    HostUnreachable,
    /// The other side did not answer in time.
    #[error("timed out")]
    TimedOut,
    /// The address makes no sense, or names a host that is not here.
    #[error(transparent)]
    InvalidAddr(AddrError),
    /// The registry refused or failed.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// Something of the engine's own.
    #[error(transparent)]
    Engine(Arc<dyn std::error::Error + Send + Sync>),
    /// Several things failed in one closing, in the order in which they did.
    #[error("{}", CauseList(.0))]
    Many(Vec<Self>),
    /// An operation that was part of this one failed.
    #[error(transparent)]
    Nested(Box<Error>),
}

/// A cause that is a word and nothing more. What goes well is handed on beside one of these: a
/// whole [`Cause`] takes 48 bytes to move, and a look at each turn whether it is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CauseKind {
    NetDown,
    HostDown,
    SockDown,
    AddrInUse,
    NoFreePort,
    TooManyFiles,
}

impl From<CauseKind> for Cause {
    #[cold]
    fn from(cause: CauseKind) -> Self {
        match cause {
            CauseKind::NetDown => Self::NetDown,
            CauseKind::HostDown => Self::HostDown,
            CauseKind::SockDown => Self::SockDown,
            CauseKind::AddrInUse => Self::AddrInUse,
            CauseKind::NoFreePort => Self::NoFreePort,
            CauseKind::TooManyFiles => Self::TooManyFiles,
        }
    }
}

/// Says what a registry was asked and what it answered.
///
/// It prints as `ram(pipet): query ["β"]: no such host`; an empty part is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError {
    /// The registry, as it calls itself.
    pub registry: String,
    /// The request: `announce`, `query`, `close`.
    pub op: &'static str,
    /// The arguments of the request.
    pub args: Args,
    /// The answer.
    pub cause: Cause,
}

/// The arguments of a registry's operation, as they are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Args {
    /// None; prints nothing.
    None,
    /// One; prints as `"a"`.
    One(String),
    /// Any number; prints as `["a" "b"]`.
    List(Vec<String>),
}

impl Error {
    /// Makes an error; engines and other access points raise their own with it.
    pub fn new(
        op: Op,
        network: impl Into<Arc<str>>,
        src: Option<Addr>,
        addr: Option<Addr>,
        cause: Cause,
    ) -> Self {
        Self { op, network: network.into(), src, addr, cause }
    }

    /// Looks through registry errors and nested ones to what was the matter in the end.
    pub fn root(&self) -> &Cause {
        self.cause.root()
    }
}

impl Cause {
    /// Looks through registry errors and nested ones, as [`Error::root`] does.
    pub fn root(&self) -> &Self {
        match self {
            Self::Registry(error) => error.cause.root(),
            Self::Nested(error) => error.root(),
            cause => cause,
        }
    }

    /// Wraps an engine's own error.
    pub fn engine(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Engine(error.into().into())
    }

    /// Gives the nearest word that `std::io` has for it.
    fn io_error_kind(&self) -> io::ErrorKind {
        use io::ErrorKind as Kind;
        match self.root() {
            Self::NetDown | Self::RegistryDown => Kind::NetworkDown,
            Self::HostDown => Kind::ConnectionAborted,
            Self::SockDown => Kind::NotConnected,
            Self::AddrInUse => Kind::AddrInUse,
            Self::AddrNotLocal | Self::NoFreePort => Kind::AddrNotAvailable,
            Self::ConnRefused => Kind::ConnectionRefused,
            Self::NoSuchHost => Kind::NotFound,
            Self::HostExists => Kind::AlreadyExists,
            Self::ConnReset => Kind::ConnectionReset,
            Self::ClosedPipe | Self::BrokenPipe => Kind::BrokenPipe,
            Self::HostUnreachable => Kind::HostUnreachable,
            Self::TimedOut => Kind::TimedOut,
            Self::InvalidAddr(_) => Kind::InvalidInput,
            Self::Engine(error) => {
                error.downcast_ref::<io::Error>().map_or(Kind::Other, io::Error::kind)
            }
            Self::TooManyFiles | Self::Registry(_) | Self::Nested(_) | Self::Many(_) => Kind::Other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = quoted(&self.network);
        match self.op {
            Op::Join => write!(f, "lonet: join {network}")?,
            Op::NewHost | Op::Close => {
                write!(f, "virtnet {network}: ")?;
                match (self.op, &self.src) {
                    (Op::Close, None) => f.write_str("close")?,
                    (Op::Close, Some(addr)) => write!(f, "host {}: close", quoted(addr.host()))?,
                    (_, addr) => {
                        write!(f, "new host {}", quoted(addr.as_ref().map_or("", Addr::host)))?;
                    }
                }
            }
            op => {
                write!(f, "{op}")?;
                if !self.network.is_empty() {
                    write!(f, " {}", Escaped(&self.network))?;
                }
                match (&self.src, &self.addr) {
                    (Some(src), Some(addr)) => {
                        write!(f, " {}", Escaped(&format!("{src}->{addr}")))?;
                    }
                    (Some(addr), None) | (None, Some(addr)) => {
                        write!(f, " {}", Escaped(&addr.to_string()))?;
                    }
                    (None, None) => {}
                }
            }
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for Error {
    /// Goes on behind the cause, which is part of the text: nothing is said twice.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "dial",
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::Read => "read",
            Self::Write => "write",
            Self::NewHost => "new host",
            Self::Close => "close",
            Self::Join => "join",
        })
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::InvalidAddr(a), Self::InvalidAddr(b)) => a == b,
            (Self::Registry(a), Self::Registry(b)) => a == b,
            (Self::Engine(a), Self::Engine(b)) => a.to_string() == b.to_string(),
            (Self::Many(a), Self::Many(b)) => a == b,
            (Self::Nested(a), Self::Nested(b)) => a == b,
            // The rest carry nothing.
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

impl Eq for Cause {}

/// Prints several causes as the reference does.
struct CauseList<'a>(&'a [Cause]);

impl fmt::Display for CauseList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} errors:", self.0.len())?;
        self.0.iter().try_for_each(|cause| writeln!(f, "\t- {cause}"))
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.registry.is_empty() {
            write!(f, "{}: ", Escaped(&self.registry))?;
        }
        if !self.op.is_empty() {
            write!(f, "{}{}: ", self.op, self.args)?;
        }
        write!(f, "{}", self.cause)
    }
}

impl std::error::Error for RegistryError {
    /// Goes on behind the cause, which is part of the text: nothing is said twice.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

/// Prints the arguments with the blank that parts them from the operation.
impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::One(arg) => write!(f, " {}", quoted(arg)),
            Self::List(args) => {
                f.write_str(" [")?;
                for (index, arg) in args.iter().enumerate() {
                    write!(f, "{}{}", if index > 0 { " " } else { "" }, quoted(arg))?;
                }
                f.write_str("]")
            }
        }
    }
}

impl From<AddrError> for Cause {
    fn from(error: AddrError) -> Self {
        Self::InvalidAddr(error)
    }
}

impl From<RegistryError> for Cause {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// Translates an error of an engine's connection: the `Cause` in it, else its kind, else the error
/// itself.
impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(cause) => return cause,
            Err(error) => error,
        };
        let error = match error.downcast::<Error>() {
            Ok(error) => return Self::Nested(Box::new(error)),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::ConnectionReset => Self::ConnReset,
            io::ErrorKind::ConnectionRefused => Self::ConnRefused,
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            io::ErrorKind::HostUnreachable => Self::HostUnreachable,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NetworkDown => Self::NetDown,
            _ => Self::Engine(Arc::new(error)),
        }
    }
}

/// Wraps a `Cause` as an error of an engine's connection.
impl From<Cause> for io::Error {
    fn from(cause: Cause) -> Self {
        Self::new(cause.io_error_kind(), cause)
    }
}

/// The `Error` stays reachable by `get_ref()` and `downcast_ref()`.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.cause.io_error_kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::{Args, Cause, Error, Op, RegistryError};

    #[derive(Debug, thiserror::Error)]
    #[error("the cable is cut")]
    struct CableError(#[source] std::fmt::Error);

    #[test]
    fn nested_error_text_repeats_no_source() {
        let cause = Cause::engine(CableError(std::fmt::Error));
        let registry = "r".to_string();
        let cause = RegistryError { registry, op: "query", args: Args::None, cause };
        let inner = Error::new(Op::Close, "n", None, None, cause.into());
        let outer = Error::new(Op::Dial, "n", None, None, Cause::Nested(Box::new(inner)));
        let text = r#"dial n: virtnet "n": close: r: query: the cable is cut"#;
        assert_eq!(outer.to_string(), text);
        let sources = std::iter::successors(outer.source(), |error| (*error).source());
        let sources: Vec<String> = sources.map(ToString::to_string).collect();
        assert_eq!(sources, [std::fmt::Error.to_string()]);
        assert!(!text.contains(&sources[0]));
    }
}
