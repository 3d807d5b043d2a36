//! The handshake as text: one line from the dialer, one from the acceptor.
//!
//! Both lines are written and parsed by pure functions on bytes. Verbs, error texts and the
//! order of checks are those of the reference.
//!
//! ```text
//! > lonet "lonett" dial "β:9" "α:1"          source and destination
//! < lonet "lonett" connected "α:2"           the address of the accepted end
//! < lonet "lonett" E "connection refused"    or an error
//! ```
//!
//! On a network with a secret, both sides first prove that they have it; the lines above
//! follow:
//!
//! ```text
//! > lonet "lonett" secret "d5.."             the dialer's nonce
//! < lonet "lonett" secret "77.. 1f.."        the acceptor's nonce and its proof
//! > lonet "lonett" proof "a0.."              the dialer's proof
//! ```
//!
//! A line has at most [`MAX_LINE`] bytes including its newline, and must end with a newline.
//! (The reference accepts a line that is complete within 1024 bytes without one, and takes the
//! newline that follows as data; that is not copied.)
//!
//! A single blank stands for any number of blanks, at least one.

use std::borrow::Cow;
use std::fmt;

use crate::net::{Addr, Escaped, Quoted};

use crate::lonet::go_unquote::unquote;

/// The maximum length of a line, in bytes, with its newline.
pub const MAX_LINE: usize = 1024;

/// The number of bytes that a line has for a quoted host name; `None` if there is no room.
///
/// It is half of what two names have together, so that any two hosts can dial each other at any
/// port.
pub fn max_host_len(network: &str) -> Option<usize> {
    let addr = Addr::new(network, "", u16::MAX);
    let names_len = MAX_LINE.checked_sub(write_request(&addr, &addr).len())?;
    Some(names_len / 2).filter(|len| *len > 0)
}

/// The number of bytes of a host name in a line.
pub fn encoded_len(host: &str) -> usize {
    quoted_len(&Addr::new("", host, 0).to_string()) - ":0".len()
}

/// The number of bytes of a text in a line, between its quotes.
pub fn quoted_len(text: &str) -> usize {
    Quoted(text.as_bytes()).to_string().len() - 2
}

/// The request of a dialer.
pub fn write_request(src: &Addr, dst: &Addr) -> String {
    let (network, src_text, dst_text) =
        (dst.network().as_bytes(), src.to_string(), dst.to_string());
    let (src_text, dst_text) = (Quoted(src_text.as_bytes()), Quoted(dst_text.as_bytes()));
    format!("> lonet {} dial {src_text} {dst_text}\n", Quoted(network))
}

/// The reply of an acceptor to a dial that was accepted at `addr`.
pub fn write_connected(addr: &Addr) -> String {
    let network = Quoted(addr.network().as_bytes());
    format!("< lonet {network} connected {}\n", Quoted(addr.to_string().as_bytes()))
}

/// The reply of an acceptor to a dial that failed.
pub fn write_error(network: &str, text: &[u8]) -> String {
    format!("< lonet {} E {}\n", Quoted(network.as_bytes()), Quoted(text))
}

/// One of the two sides of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that dials.
    Dialer,
    /// The one that is dialed.
    Acceptor,
}

impl Side {
    fn arrow(self) -> &'static str {
        match self {
            Self::Dialer => ">",
            Self::Acceptor => "<",
        }
    }
}

/// A line of the proofs that stand before a request: one word.
pub fn write_auth_line(side: Side, network: &str, verb: &str, value: &str) -> String {
    let (arrow, network, value) = (side.arrow(), network.as_bytes(), value.as_bytes());
    format!("{arrow} lonet {} {verb} {}\n", Quoted(network), Quoted(value))
}

/// Reads such a line; `None` if it is another one, or of another network.
pub fn read_auth_line(side: Side, line: &[u8], network: &str, verb: &str) -> Option<String> {
    let (line_network, line_verb, value) = scan_line(line, side)?;
    let is_expected = line_network == network.as_bytes() && line_verb == verb.as_bytes();
    String::from_utf8(value).ok().filter(|_| is_expected)
}

/// Why a request comes to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The line is no request; all of it, or its first [`MAX_LINE`] bytes.
    Line(Vec<u8>),
    /// It is for this network.
    Network(Vec<u8>),
    /// The source is no address.
    Source(Vec<u8>),
    /// The destination is no address.
    Destination(Vec<u8>),
    /// No host can be called that: the destination is not UTF-8.
    Host(Vec<u8>),
}

impl RequestError {
    /// The reply to the dialer. It leaves out what the dialer itself has sent.
    pub fn reply(&self) -> Cow<'static, [u8]> {
        let text: &str = match self {
            Self::Line(_) => "protocol error: invalid dial request",
            Self::Network(_) => "protocol error: network mismatch",
            Self::Source(_) => "protocol error: src address invalid",
            Self::Destination(_) => "protocol error: dst address invalid",
            Self::Host(addr) => return [b"address ", &addr[..], b": no such host"].concat().into(),
        };
        text.as_bytes().into()
    }
}

/// As the reference has it in its log, with what was wrong.
impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reply = self.reply();
        f.write_str(&String::from_utf8_lossy(&reply))?;
        match self {
            Self::Line(description) | Self::Network(description) => {
                write!(f, ": {}", Quoted(description))
            }
            Self::Source(description) | Self::Destination(description) => {
                write!(f, ": {}", Quoted(description))
            }
            Self::Host(_) => Ok(()),
        }
    }
}

/// Reads what a dialer sent: source and destination.
///
/// # Errors
///
/// The first that is wrong of line, network, source and destination.
pub fn read_request(line: &[u8], network: &str) -> Result<(Addr, Addr), RequestError> {
    let Some((line_network, src, dst)) = scan_request(line) else {
        return Err(RequestError::Line(line[..line.len().min(MAX_LINE)].to_vec()));
    };
    if line_network != network.as_bytes() {
        return Err(RequestError::Network(line_network));
    }
    // Nobody verifies a source, so that a name that is not UTF-8 does no harm there.
    let Ok(src_addr) = Addr::parse(network, &String::from_utf8_lossy(&src)) else {
        return Err(RequestError::Source(src));
    };
    match (Addr::parse(network, &String::from_utf8_lossy(&dst)), String::from_utf8(dst)) {
        (Ok(dst_addr), Ok(_)) => Ok((src_addr, dst_addr)),
        (Ok(_), Err(dst)) => Err(RequestError::Host(dst.into_bytes())),
        (Err(_), dst) => {
            let dst = dst.map_or_else(|error| error.into_bytes(), String::into_bytes);
            Err(RequestError::Destination(dst))
        }
    }
}

fn scan_request(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let (network, rest) = unquote(strip_header(line, b">")?)?;
    let rest = skip_blanks(skip_blanks(rest)?.strip_prefix(b"dial")?)?;
    let (src, rest) = unquote(rest)?;
    let (dst, rest) = unquote(skip_blanks(rest)?)?;
    is_blank(rest).then_some((network, src, dst))
}

/// Why a reply is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// Nobody listens there.
    Refused,
    /// Something else, in words.
    Other(String),
}

/// Reads what an acceptor sent: the address of the accepted end of a dial to `dst`.
///
/// # Errors
///
/// The address in a reply; or the first wrong part of line, verb, network, address and host.
pub fn read_reply(line: &[u8], dst: &Addr) -> Result<Addr, ReplyError> {
    let protocol_error = |description: fmt::Arguments<'_>| {
        ReplyError::Other(format!("protocol error: {description}"))
    };
    let Some((network, verb, text)) = scan_line(line, Side::Acceptor) else {
        return Err(protocol_error(format_args!("invalid dial reply: {}", Quoted(line))));
    };
    match &*verb {
        b"E" if text == b"connection refused" => return Err(ReplyError::Refused),
        b"E" => {
            let text = Escaped(&String::from_utf8_lossy(&text)).to_string();
            return Err(ReplyError::Other(text));
        }
        b"connected" => {}
        verb => return Err(protocol_error(format_args!("invalid reply verb: {}", Quoted(verb)))),
    }
    if network != dst.network().as_bytes() {
        let network = Quoted(&network);
        return Err(protocol_error(format_args!("connected, but network mismatch: {network}")));
    }
    let Ok(addr) = Addr::parse(dst.network(), &String::from_utf8_lossy(&text)) else {
        // These very words are what the reference says.
        return Err(protocol_error(format_args!("connected, but accept address invalid: <nil>")));
    };
    if addr.host() != dst.host() {
        let host = Quoted(addr.host().as_bytes());
        return Err(protocol_error(format_args!(
            "connected, but accept address is for different host: {host}"
        )));
    }
    Ok(addr)
}

/// Reads a line with a network, a verb and a text.
fn scan_line(line: &[u8], side: Side) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let (network, rest) = unquote(strip_header(line, side.arrow().as_bytes())?)?;
    let rest = skip_blanks(rest)?;
    let mut tail = rest;
    while !tail.is_empty() && blank_len(tail).is_none() {
        tail = &tail[1..];
    }
    let verb = &rest[..rest.len() - tail.len()];
    let (text, rest) = unquote(skip_blanks(tail)?)?;
    let verb = String::from_utf8_lossy(verb).into_owned().into_bytes();
    is_blank(rest).then_some((network, verb, text))
}

/// Reads the beginning that both lines have, as far as the name of the network.
fn strip_header<'a>(line: &'a [u8], arrow: &[u8]) -> Option<&'a [u8]> {
    let line = line.strip_suffix(b"\n").filter(|_| line.len() <= MAX_LINE)?;
    skip_blanks(skip_blanks(line.strip_prefix(arrow)?)?.strip_prefix(b"lonet")?)
}

/// Says whether nothing but blanks is left; the newline is off already.
fn is_blank(rest: &[u8]) -> bool {
    rest.is_empty() || skip_blanks(rest).is_some_and(<[u8]>::is_empty)
}

/// Reads blanks, at least one.
fn skip_blanks(text: &[u8]) -> Option<&[u8]> {
    let mut rest = &text[blank_len(text)?..];
    while let Some(len) = blank_len(rest) {
        rest = &rest[len..];
    }
    Some(rest)
}

/// The length of the blank that `text` begins with; a newline is none.
fn blank_len(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b' ' => return Some(1),
        byte if byte.is_ascii_graphic() => return None,
        _ => {}
    }
    let chunk = text[..text.len().min(4)].utf8_chunks().next()?;
    let first = chunk.valid().chars().next()?;
    (first.is_whitespace() && first != '\n').then(|| first.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::{
        MAX_LINE, ReplyError, RequestError, Side, encoded_len, max_host_len, read_auth_line,
        read_reply, read_request, write_auth_line, write_request,
    };
    use crate::net::Addr;

    fn addr(host: &str, port: u16) -> Addr {
        Addr::new("lonett", host, port)
    }

    #[test]
    fn written_request_reads_back_unchanged() {
        for host in ["α", "", "a:b", "a\"b\\", "\n\0\x1b", "\u{fffd}\u{200b}"] {
            let (src, dst) = (addr("β", 9), addr(host, 1));
            let line = write_request(&src, &dst);
            assert_eq!(read_request(line.as_bytes(), "lonett"), Ok((src, dst)));
        }
    }

    #[test]
    fn request_line_over_1024_bytes_or_without_newline_is_rejected() {
        let line = |host: usize| write_request(&addr(&"x".repeat(host), 9), &addr("α", 1));
        let host = 1 + MAX_LINE - line(1).len();
        let (longest, longer) = (line(host), line(host + 1));
        assert_eq!((longest.len(), longer.len()), (MAX_LINE, MAX_LINE + 1));
        assert!(read_request(longest.as_bytes(), "lonett").is_ok());
        let first = longer.as_bytes()[..MAX_LINE].to_vec();
        let refused = Err(RequestError::Line(first.clone()));
        assert_eq!(read_request(&first, "lonett"), refused, "all there but the newline");
        assert_eq!(read_request(longer.as_bytes(), "lonett"), refused);
    }

    #[test]
    fn request_between_longest_host_names_fits_in_one_line() {
        for network in ["lonett", "lonet\x01\u{3b2}", &"x".repeat(300)] {
            let max_len = max_host_len(network).unwrap();
            let longest = |name: &str| {
                let unit_len = encoded_len(&name.repeat(2)) - encoded_len(name);
                let mut host = name.repeat(max_len / unit_len);
                while encoded_len(&host) > max_len {
                    host.pop();
                }
                write_request(
                    &Addr::new(network, host.as_str(), u16::MAX),
                    &Addr::new(network, host.as_str(), u16::MAX),
                )
                .len()
            };
            for name in ["x", ":", "\n", "\u{3b2}", "\u{200b}", "[", "\""] {
                assert!(longest(name) <= MAX_LINE && longest(name) > MAX_LINE - 20, "{name:?}");
            }
        }
        assert_eq!(
            (max_host_len(&"x".repeat(1023)), max_host_len(&"x".repeat(9999))),
            (None, None)
        );
    }

    #[test]
    fn auth_line_reads_back_only_with_its_side_network_and_verb() {
        let line = write_auth_line(Side::Dialer, "lonett", "secret", "a b\n");
        assert_eq!(line, "> lonet \"lonett\" secret \"a b\\n\"\n");
        let read = |from, network, verb| read_auth_line(from, line.as_bytes(), network, verb);
        assert_eq!(read(Side::Dialer, "lonett", "secret").as_deref(), Some("a b\n"));
        assert_eq!(read(Side::Acceptor, "lonett", "secret"), None);
        assert_eq!(read(Side::Dialer, "lonetx", "secret"), None);
        assert_eq!(read(Side::Dialer, "lonett", "proof"), None);
        assert_eq!(read_auth_line(Side::Dialer, b"", "lonett", "secret"), None);
    }

    #[test]
    fn request_blanks_are_go_white_space() {
        let read = |line: &str| read_request(line.as_bytes(), "lonett").is_ok();
        for blank in [" ", "\t", "\r", "\x0b", "\x0c", "\u{85}", "\u{a0}", "\u{3000}", " \r "] {
            assert!(
                read(&format!("> lonet `lonett` dial{blank}`β:9` `α:1`{blank}\n")),
                "{blank:?}"
            );
        }
        for none in ["", "\n", "\u{200b}", "\0"] {
            assert!(!read(&format!("> lonet `lonett` dial{none}`β:9` `α:1`\n")), "{none:?}");
        }
    }

    #[test]
    fn reply_verb_is_any_text_between_blanks() {
        let read = |line: &[u8]| read_reply(line, &addr("β", 7));
        assert_eq!(read(b"< lonet `lonett` connected `\xce\xb2:8`\n"), Ok(addr("β", 8)));
        let other = ReplyError::Other("protocol error: invalid reply verb: \"x\u{fffd}\"".into());
        assert_eq!(read(b"< lonet `x` x\xff ``\n"), Err(other));
        assert_eq!(read(b"< lonet `x` E `connection refused`\r\n"), Err(ReplyError::Refused));
    }
}
