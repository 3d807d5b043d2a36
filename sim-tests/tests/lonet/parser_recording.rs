//! The hand-shake as it was recorded from the reference, replayed against the two parsers.
//!
//! Knows the form of both recordings. What a host name cannot be here is said by a rule, with its
//! reason; nothing is left out silently.

use serde_json::Value;
use virtnet::Addr;
use virtnet::lonet::go_unquote::unquote;
use virtnet::lonet::handshake::{
    MAX_LINE, ReplyError, RequestError, read_reply, read_request, write_connected, write_error,
    write_request,
};

use crate::reference::recording::read_lines;

pub(crate) fn text_field<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {record}"))
}

pub(crate) fn decode_hex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// What was sent to the acceptor. Long runs of one character are shortened in the recording.
pub(crate) fn sent_bytes(record: &Value) -> Vec<u8> {
    match record["sent_hex"].as_str() {
        Some("<hex of 257 bytes>") => return (0..=255).chain([b'\n']).collect(),
        Some(hex) => return decode_hex(hex),
        None => {}
    }
    let (shown, len) = text_field(record, "sent").split_once("...<").expect("a shortened line");
    let len: usize = len.split(' ').next().unwrap().parse().expect("a number of bytes");
    let case = text_field(record, "case");
    let newline = if case.contains("no newline") || case.contains("w/o") { "" } else { "\n" };
    let (head, tail) = match shown.split_once("xx") {
        Some(("", _)) => ("", newline.to_string()),
        Some((head, _)) => (head, format!(":9\" \"α:1\"{newline}")),
        None => panic!("nobody knows how to lengthen {shown}"),
    };
    let run = "x".repeat(len - head.len() - tail.len());
    [head, &run, &tail].concat().into_bytes()
}

/// What was sent to the dialer: text with the escapes of a byte string.
pub(crate) fn reply_bytes(record: &Value) -> Vec<u8> {
    let shown = record["reply"].as_str().unwrap_or_default();
    if let Some(len) = shown.strip_prefix('<').and_then(|text| text.strip_suffix(" bytes>")) {
        let len: usize = len.parse().expect("a number of bytes");
        if !text_field(record, "case").starts_with("long E") {
            return vec![b'x'; len];
        }
        let (head, tail) = ("< lonet \"lonett\" E \"", "\"\n");
        return [head, &"e".repeat(len - head.len() - tail.len()), tail].concat().into_bytes();
    }
    let (mut bytes, mut rest) = (Vec::new(), shown);
    while let Some((before, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let (byte, len) = match escaped.as_bytes()[0] {
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(&escaped[1..3], 16).expect("two digits"), 3),
            other => panic!("nobody knows the escape {other}"),
        };
        bytes.push(byte);
        rest = &escaped[len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// The first line of what a peer sends, as the other side cuts it off.
pub(crate) fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = &bytes[..bytes.len().min(MAX_LINE)];
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => Some(&bytes[..=end]),
        None => (bytes.len() == MAX_LINE).then_some(bytes),
    }
}

/// Puts the runs back that the recording has shortened to `x{990}`.
pub(crate) fn expand_runs(text: &str) -> String {
    let Some((before, rest)) = text.split_once('{') else { return text.to_string() };
    let (count, after) = rest.split_once('}').expect("a closing brace");
    let (before, run) = before.split_at(before.len() - 1);
    [before, &run.repeat(count.parse().expect("a number")), after].concat()
}

/// Whether this is the quirk that is not copied: a line that is complete in its first 1024 bytes,
/// without a newline, is a line in the reference.
pub(crate) fn is_unterminated_full_line(line: &[u8]) -> bool {
    line.len() == MAX_LINE && !line.ends_with(b"\n")
}

/// The ends that a request of the reference is about; `None` if a name is not UTF-8 and so can be
/// nobody's here. Not by way of parsing: a host called `[x]` does not come back out of it.
pub(crate) fn request_addrs(request: &[u8]) -> Option<(Addr, Addr)> {
    let (_, rest) = unquote(request.strip_prefix(b"> lonet ")?)?;
    let (src, rest) = unquote(rest.strip_prefix(b" dial ")?)?;
    let (dst, _) = unquote(rest.strip_prefix(b" ")?)?;
    let addr = |addr: Vec<u8>| {
        let addr = String::from_utf8(addr).ok()?;
        let (host, port) = addr.rsplit_once(':')?;
        let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = unbracketed.filter(|unbracketed| unbracketed.contains(':')).unwrap_or(host);
        Some(Addr::new("lonett", host, port.parse().ok()?))
    };
    Some((addr(src)?, addr(dst)?))
}

#[test]
fn string_quoted_by_go_unquotes_to_its_bytes_and_is_quoted_alike() {
    let mut replayed = 0;
    for (location, record) in read_lines("go_quote.jsonl") {
        let bytes = decode_hex(text_field(&record, "hex"));
        let quoted = text_field(&record, "quoted");
        assert_eq!(unquote(quoted.as_bytes()), Some((bytes.clone(), &b""[..])), "{location}");
        // The other way, of bytes: what an acceptor quotes in its reply.
        let line = write_error("n", &bytes);
        assert_eq!(line, format!("< lonet \"n\" E {quoted}\n"), "{location}");
        replayed += 1;
    }
    println!("played {replayed} quotations both ways");
    assert!(replayed > 0, "nothing was played");
}

#[test]
fn recorded_request_is_parsed_and_answered_as_by_the_reference() {
    let (mut requests, mut refused) = (0, 0);
    for (location, record) in read_lines("lonet_wire_server.jsonl") {
        let sent = sent_bytes(&record);
        let Some(line) = first_line(&sent) else {
            assert_eq!(text_field(&record, "reply"), "", "{location}: half a line is not answered");
            continue;
        };
        requests += 1;
        let reply = String::from_utf8(decode_hex(text_field(&record, "reply_hex"))).unwrap();
        let log = record["go_log"][0].as_str().and_then(|log| log.split_once("loaccept: "));
        match read_request(line, "lonett") {
            Ok((src, dst)) => {
                assert!(!reply.contains("protocol error"), "{location}: {reply}");
                if let Some(accepted) = record["go_accepted"].as_object() {
                    let remote = expand_runs(accepted["remote"].as_str().unwrap());
                    assert_eq!(src.to_string(), remote, "{location}");
                    let local = Addr::parse("lonett", accepted["local"].as_str().unwrap()).unwrap();
                    assert_eq!(dst.host(), local.host(), "{location}");
                    assert!(reply.starts_with(&write_connected(&local)), "{location}: {reply}");
                }
            }
            Err(_) if is_unterminated_full_line(line) && reply.contains("connected") => {
                refused += 1;
            }
            // No host can be called what is not UTF-8, so that it is told as any other.
            Err(RequestError::Host(dst)) if reply.contains("connected") => {
                assert!(String::from_utf8(dst).is_err(), "{location}");
                refused += 1;
            }
            Err(refusal) => {
                assert_eq!(write_error("lonett", &refusal.reply()), reply, "{location}");
                let (_, expected_log) =
                    log.unwrap_or_else(|| panic!("{location}: nothing was logged"));
                let logged = refusal.to_string();
                let expanded = expand_runs(expected_log);
                assert_eq!(logged, expanded, "{location}");
                refused += 1;
            }
        }
    }
    println!("played {requests} requests, {refused} of them refused");
    assert!(requests > 0 && refused > 0, "nothing was played");
}

#[test]
fn recorded_dial_is_written_and_its_reply_parsed_as_by_the_reference() {
    let (mut replayed, mut unnameable) = (0, 0);
    for (location, record) in read_lines("lonet_wire_client.jsonl") {
        let request = decode_hex(text_field(&record, "request_hex"));
        let Some((src, dst)) = request_addrs(&request) else {
            unnameable += 1;
            continue;
        };
        assert_eq!(write_request(&src, &dst).as_bytes(), request, "{location}");
        let reply = reply_bytes(&record);
        let Some(line) = first_line(&reply) else { continue };
        replayed += 1;
        let expected_text = record["dial"]["err"]["text"].as_str();
        match read_reply(line, &dst) {
            Ok(addr) => {
                assert_eq!(expected_text, None, "{location}");
                assert_eq!(
                    addr.to_string(),
                    text_field(&record["dial"]["ok"], "remote"),
                    "{location}"
                );
            }
            Err(ReplyError::Refused) => {
                let refused = format!("dial lonett {src}->{dst}: connection refused");
                assert_eq!(expected_text, Some(&*refused), "{location}");
            }
            // The same quirk, on the dialer's side.
            Err(ReplyError::Other(reason))
                if is_unterminated_full_line(line) && !reason.contains("\"xxx") =>
            {
                assert!(reason.contains("invalid dial reply"), "{location}");
                assert!(
                    !expected_text.is_some_and(|expected_text| expected_text.contains("invalid")),
                    "{location}"
                );
            }
            Err(ReplyError::Other(reason)) => match expected_text {
                Some(expected_text) => {
                    let prefix =
                        format!("dial lonett {src}->{dst}: loconnect 127.0.0.1:<osport>: ");
                    assert_eq!(
                        format!("{prefix}{reason}"),
                        expand_runs(expected_text),
                        "{location}"
                    );
                }
                // A port is a u16 here: a larger one is an invalid port.
                None => {
                    let port =
                        text_field(&record["dial"]["ok"], "remote").rsplit(':').next().unwrap();
                    assert!(port.parse::<u16>().is_err(), "{location}: {reason}");
                }
            },
        }
    }
    println!("played {replayed} dials; {unnameable} more are of hosts that are not UTF-8");
    assert!(replayed > 0, "nothing was played");
}
