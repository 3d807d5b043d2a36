//! Addresses: a network, a host in it, and a port.
//!
//! Parsing accepts and rejects what Go's `net.SplitHostPort` followed by `Atoi` does, except
//! that a port is a `u16` here. An address says nothing about whether its host exists or its
//! port is taken.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayString;

use crate::net::go_quote::Escaped;

/// Is one end of a connection, or the place where a listener listens.
///
/// Compared by value: network first, then host, then port. Cloning copies one pointer; all
/// addresses of a host share its name.
///
/// ```
/// use virtnet::Addr;
///
/// let addr = Addr::parse("pipet", "[::1]:80")?;
/// assert_eq!((addr.network(), addr.host(), addr.port()), ("pipet", "::1", 80));
/// assert_eq!(addr.to_string(), "[::1]:80");
/// assert_eq!(Addr::parse("pipet", "α").unwrap_err().to_string(),
///            "address α: missing port in address");
/// # Ok::<(), virtnet::AddrError>(())
/// ```
#[derive(Clone)]
pub struct Addr {
    names: Arc<HostName>,
    /// Its port: a whole word, because what moves it about reads it as one just after it was
    /// written.
    port_word: u64,
}

/// The part that all addresses of one host share. One string holds both names: an `Arc` for each
/// would be one more allocation, and one more counter for each host of a network.
struct HostName {
    buf: NameBuf,
    /// The length of the network's name in `names`; the rest is the host's.
    network_len: u32,
    /// One more than what the network calls the host, once it has said so.
    number: AtomicU32,
}

/// Two names, one after the other; nearly all need no memory of their own.
enum NameBuf {
    Short(ArrayString<28>),
    Long(Box<str>),
}

impl NameBuf {
    fn concat(first: &str, second: &str) -> Self {
        let mut short = ArrayString::new();
        match short.try_push_str(first).and_then(|()| short.try_push_str(second)) {
            Ok(()) => Self::Short(short),
            Err(_) => Self::Long([first, second].concat().into()),
        }
    }

    #[inline]
    fn as_str(&self) -> &str {
        match self {
            Self::Short(names) => names,
            Self::Long(names) => names,
        }
    }
}

impl HostName {
    fn new(network: &str, host: &str) -> Self {
        let names = NameBuf::concat(network, host);
        Self { buf: names, network_len: network.len() as u32, number: AtomicU32::new(0) }
    }

    #[inline]
    fn names(&self) -> (&str, &str) {
        self.buf.as_str().split_at(self.network_len as usize)
    }
}

/// The name of a network: its kind, and what it is called; with one allocation if that is short.
pub(crate) fn full_name(kind: &str, name: &str) -> Arc<str> {
    NameBuf::concat(kind, name).as_str().into()
}

impl Addr {
    /// Makes an address of its parts; any string is a host name.
    pub fn new(network: impl Into<Arc<str>>, host: impl Into<Arc<str>>, port: u16) -> Self {
        Self::from_parts(&network.into(), &host.into(), port)
    }

    /// Makes an address of names that are copied.
    pub(crate) fn from_parts(network: &str, host: &str, port: u16) -> Self {
        Self { names: Arc::new(HostName::new(network, host)), port_word: port.into() }
    }

    /// Reads `host:port` or `[host]:port`.
    ///
    /// The host may be empty, and is taken as it stands: nothing is trimmed or folded.
    ///
    /// # Errors
    ///
    /// An [`AddrError`] that names the input and what is wrong with it.
    pub fn parse(network: &str, addr: &str) -> Result<Self, AddrError> {
        let (host, port) = split_host_port(addr)?;
        Ok(Self::from_parts(network, host, port))
    }

    /// Names the network, as in `pipet`.
    #[inline]
    pub fn network(&self) -> &str {
        self.names.names().0
    }

    /// Names the host, without brackets.
    #[inline]
    pub fn host(&self) -> &str {
        self.names.names().1
    }

    /// Gives the port; 0 stands for "any" or "none".
    pub fn port(&self) -> u16 {
        self.port_word as u16
    }

    /// Gives the number by which the network calls the host of this address, if it has one; by
    /// that it is found sooner than by its name.
    #[inline]
    pub(crate) fn number(&self) -> Option<u32> {
        self.names.number.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Lets all addresses of this host have its number.
    pub(crate) fn set_number(&self, number: u32) {
        self.names.number.store(number + 1, Ordering::Relaxed);
    }

    /// Lets this host have no number, as in another run.
    pub(crate) fn clear_number(&self) {
        self.names.number.store(0, Ordering::Relaxed);
    }

    /// Says whether it was made from the same address as another, of any port.
    #[inline]
    pub(crate) fn shares_host_name(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.names, &other.names)
    }

    /// Gives another address of the same host.
    #[inline]
    pub(crate) fn with_port(&self, port: u16) -> Self {
        self.clone().at_port(port)
    }

    /// Gives another address of the same host, in place of this one.
    #[inline]
    pub(crate) fn at_port(mut self, port: u16) -> Self {
        self.port_word = port.into();
        self
    }
}

/// Splits an address at its last colon, in Go's order of checks.
pub(crate) fn split_host_port(addr: &str) -> Result<(&str, u16), AddrError> {
    // Nearly all addresses are `host:port`, and every dial has one.
    let colon = addr.bytes().position(|byte| matches!(byte, b':' | b'[' | b']'));
    if let Some((host, rest)) = colon.and_then(|colon| addr.split_at_checked(colon))
        && let [b':', digits @ ..] = rest.as_bytes()
        && let Some(port) = parse_port_fast(digits)
    {
        return Ok((host, port));
    }
    split_host_port_slow(addr)
}

/// Reads a port of digits alone.
#[inline]
fn parse_port_fast(digits: &[u8]) -> Option<u16> {
    let mut port: u32 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        port = port * 10 + u32::from(digit);
        if port > u32::from(u16::MAX) {
            return None;
        }
    }
    if digits.is_empty() { None } else { Some(port as u16) }
}

/// Splits an address of any form, and says what is wrong with it.
fn split_host_port_slow(addr: &str) -> Result<(&str, u16), AddrError> {
    let fail = |reason| Err(AddrError { addr: addr.to_string(), reason });
    let Some(colon) = addr.rfind(':') else {
        return fail(AddrError::MISSING_PORT);
    };
    let (host, open_search_start, close_search_start) = if addr.starts_with('[') {
        let Some(end) = addr.find(']') else {
            return fail("missing ']' in address");
        };
        if end + 1 != colon {
            return match addr.as_bytes().get(end + 1) {
                Some(b':') => fail(AddrError::MANY_COLONS),
                _ => fail(AddrError::MISSING_PORT),
            };
        }
        (&addr[1..end], 1, end + 1)
    } else {
        if addr[..colon].contains(':') {
            return fail(AddrError::MANY_COLONS);
        }
        (&addr[..colon], 0, 0)
    };
    if addr[open_search_start..].contains('[') {
        return fail("unexpected '[' in address");
    }
    if addr[close_search_start..].contains(']') {
        return fail("unexpected ']' in address");
    }
    match parse_port(&addr[colon + 1..]) {
        Some(port) => Ok((host, port)),
        None => fail("invalid port"),
    }
}

/// Reads a port as Go's `Atoi` reads a number: one sign, then ASCII digits, no other notation.
fn parse_port(text: &str) -> Option<u16> {
    let (sign, digits) = match text.as_bytes() {
        [sign @ (b'-' | b'+'), digits @ ..] => (Some(*sign), digits),
        digits => (None, digits),
    };
    let port = parse_port_fast(digits)?;
    (port == 0 || sign != Some(b'-')).then_some(port)
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.host(), self.port());
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(&format!("{} {self}", self.network())))
    }
}

impl PartialEq for Addr {
    fn eq(&self, other: &Self) -> bool {
        // Most addresses that are compared belong to one host and share its names.
        self.port_word == other.port_word
            && (self.shares_host_name(other) || self.names.names() == other.names.names())
    }
}

impl Eq for Addr {}

impl PartialOrd for Addr {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Addr {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.names.names().cmp(&other.names.names()).then(self.port_word.cmp(&other.port_word))
    }
}

impl Hash for Addr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.names.names().hash(state);
        self.port().hash(state);
    }
}

/// Says what is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AddrError {
    /// The address as it was given.
    pub addr: String,
    /// The fault in it, such as `missing port in address`.
    pub reason: &'static str,
}

impl AddrError {
    const MISSING_PORT: &'static str = "missing port in address";
    const MANY_COLONS: &'static str = "too many colons in address";

    /// Says that an address is well formed, but its host is not here.
    pub(crate) fn no_such_host(addr: &Addr) -> Self {
        Self { addr: addr.to_string(), reason: "no such host" }
    }
}

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr.as_str() {
            "" => f.write_str(self.reason),
            addr => write!(f, "address {}: {}", Escaped(addr), self.reason),
        }
    }
}

impl std::error::Error for AddrError {}
