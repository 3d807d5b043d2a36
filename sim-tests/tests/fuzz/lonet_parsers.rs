//! Checks for the parsers of lonet's handshake, shared by the fuzz targets and the corpus tests.
//!
//! A line or string that is parsed can be written, and the written form parses to the same value.
//! A refused request gets an error line that the dialer can parse.

use virtnet::Addr;
use virtnet::lonet::go_unquote::unquote;
use virtnet::lonet::handshake::{
    MAX_LINE, ReplyError, read_reply, read_request, write_connected, write_error, write_request,
};

const NETWORK: &str = "lonett";

/// Any bytes as the line of a dialer; says whether it is one.
pub(crate) fn check_request(bytes: &[u8]) -> bool {
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
        let expected_error = ReplyError::Other(String::from_utf8_lossy(&reply).into_owned());
        assert_eq!(
            read_reply(line.as_bytes(), &Addr::new(NETWORK, "β", 7)),
            Err(expected_error),
            "{line}"
        );
    }
    false
}

/// Any bytes as the line of an acceptor; says whether somebody has accepted.
pub(crate) fn check_reply(bytes: &[u8]) -> bool {
    let dst = Addr::new(NETWORK, "β", 7);
    match read_reply(bytes, &dst) {
        Ok(accepted_addr) => {
            assert!(bytes.ends_with(b"\n") && bytes.len() <= MAX_LINE, "that is no line");
            assert_eq!((accepted_addr.network(), accepted_addr.host()), (NETWORK, "β"));
            assert_eq!(
                read_reply(write_connected(&accepted_addr).as_bytes(), &dst),
                Ok(accepted_addr)
            );
            true
        }
        Err(ReplyError::Refused | ReplyError::Other(_)) => false,
    }
}

/// Any bytes as a string in quotes; says whether they begin with one.
pub(crate) fn check_string(bytes: &[u8]) -> bool {
    let Some((string, rest)) = unquote(bytes) else { return false };
    assert!(bytes.ends_with(rest) && rest.len() + 2 <= bytes.len(), "it ends with a quote");
    let line = write_error("", &string);
    let quoted = line.strip_prefix("< lonet \"\" E ").and_then(|line| line.strip_suffix('\n'));
    let reparsed = unquote(quoted.expect("as it is written").as_bytes());
    assert_eq!(reparsed, Some((string, &b""[..])), "{line}");
    true
}
