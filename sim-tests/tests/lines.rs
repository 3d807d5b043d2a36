//! What fuzzers feed the parsers of lonet, and what must hold of whatever they make of it.
//!
//! Knows the two lines of the hand-shake and the strings in them. What is read can be written, and
//! then reads the same; what is refused is refused in a line that the other end understands.

use virtnet::Addr;
use virtnet::lonet::go_unquote::unquote;
use virtnet::lonet::handshake::{
    MAX_LINE, ReplyError, read_reply, read_request, write_connected, write_error, write_request,
};

const NETWORK: &str = "lonett";

/// Any bytes as the line of a dialer; says whether it is one.
pub(crate) fn request(bytes: &[u8]) -> bool {
    let refusal = match read_request(bytes, NETWORK) {
        Ok((src, dst)) => {
            assert!(bytes.ends_with(b"\n") && bytes.len() <= MAX_LINE, "that is no line");
            let line = write_request(&src, &dst);
            if line.len() <= MAX_LINE {
                assert_eq!(read_request(line.as_bytes(), NETWORK), Ok((src, dst)), "{line}");
            }
            return true;
        }
        Err(refusal) => refusal,
    };
    assert!(!refusal.to_string().is_empty());
    let reply = refusal.reply();
    let line = write_error(NETWORK, &reply);
    if line.len() <= MAX_LINE {
        let heard = ReplyError::Other(String::from_utf8_lossy(&reply).into_owned());
        assert_eq!(read_reply(line.as_bytes(), &Addr::new(NETWORK, "β", 7)), Err(heard), "{line}");
    }
    false
}

/// Any bytes as the line of an acceptor; says whether somebody has accepted.
pub(crate) fn reply(bytes: &[u8]) -> bool {
    let dst = Addr::new(NETWORK, "β", 7);
    match read_reply(bytes, &dst) {
        Ok(at) => {
            assert!(bytes.ends_with(b"\n") && bytes.len() <= MAX_LINE, "that is no line");
            assert_eq!((at.network(), at.host()), (NETWORK, "β"));
            assert_eq!(read_reply(write_connected(&at).as_bytes(), &dst), Ok(at));
            true
        }
        Err(ReplyError::Refused | ReplyError::Other(_)) => false,
    }
}

/// Any bytes as a string in quotes; says whether they begin with one.
pub(crate) fn string(bytes: &[u8]) -> bool {
    let Some((string, rest)) = unquote(bytes) else { return false };
    assert!(bytes.ends_with(rest) && rest.len() + 2 <= bytes.len(), "it ends with a quote");
    let line = write_error("", &string);
    let quoted = line.strip_prefix("< lonet \"\" E ").and_then(|line| line.strip_suffix('\n'));
    let again = unquote(quoted.expect("as it is written").as_bytes());
    assert_eq!(again, Some((string, &b""[..])), "{line}");
    true
}
