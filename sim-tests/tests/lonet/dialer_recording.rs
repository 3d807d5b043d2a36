//! What our dialer sends, and makes of what it hears, as recorded.
//!
//! Knows the wire as bytes, and our side as a host that dials a name whose place is this test's.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, select};
use futures::io::AsyncReadExt;
use serde_json::Value;
use virtnet::{Addr, Cause, Conn, Error, SubNetwork};

use crate::lonet::parser_recording::{
    decode_hex, expand_runs, first_line, is_unterminated_full_line, reply_bytes, request_addrs,
    text_field,
};
use crate::lonet::{TempNetworks, announce, run};
use crate::reference::recording::{escape_control_chars, read_lines};

/// Waits for the line of the dialer, answers, and says how the connection ended.
fn answer_dial(listener: &TcpListener, record: &Value) -> (Vec<u8>, &'static str) {
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\n") {
        let mut byte = [0];
        assert_eq!(peer.read(&mut byte).unwrap(), 1, "the request has no end");
        request.push(byte[0]);
    }
    peer.write_all(&reply_bytes(record)).unwrap();
    if text_field(record, "then") == "shutdown" {
        peer.shutdown(Shutdown::Write).unwrap();
    }
    (request, connection_ending(&mut peer))
}

fn connection_ending(peer: &mut TcpStream) -> &'static str {
    match peer.read(&mut [0]) {
        Ok(0) => "EOF",
        Ok(_) => "data",
        Err(error) if error.kind() == ErrorKind::ConnectionReset => "RST",
        Err(error) => panic!("{error}"),
    }
}

/// Dials; and if that is recorded as waiting or as cancelled, stops waiting after a while.
fn dial_recorded(
    net: &SubNetwork,
    record: &Value,
    src: &Addr,
    dst: &Addr,
) -> Option<Result<Conn, Error>> {
    let host = match net.host(src.host()) {
        Some(host) => host,
        None => run(net.new_host(src.host())).unwrap(),
    };
    let expects_no_reply = ["wait", "cancel"].contains(&text_field(record, "then"));
    let limit = Duration::from_millis(if expects_no_reply { 50 } else { 10_000 });
    run(async {
        let dst = dst.to_string();
        match select(std::pin::pin!(host.dial(&dst)), Timer::after(limit)).await {
            Either::Left((dialed, _)) => Some(dialed),
            Either::Right(_) => None,
        }
    })
}

/// Reads what is recorded to follow the reply.
fn read_recorded(mut conn: &Conn, record: &Value) {
    for operation in record["conn_ops"].as_array().into_iter().flatten() {
        assert_eq!(operation[0][0], "read", "nobody knows {operation}");
        let mut buf = vec![0; operation[0][2].as_u64().unwrap() as usize];
        let count = run(conn.read(&mut buf)).unwrap();
        assert_eq!(str::from_utf8(&buf[..count]).unwrap(), text_field(&operation[1]["ok"], "data"));
    }
}

#[test]
fn dialer_sends_and_reads_what_the_reference_recorded() {
    let (temp, listener) = (TempNetworks::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let net = run(temp.config().join("t")).unwrap();
    let os_addr = listener.local_addr().unwrap();
    let (mut replayed, mut by_rule) = (0, 0);
    for (location, record) in read_lines("lonet_wire_client.jsonl") {
        let request = decode_hex(text_field(&record, "request_hex"));
        let Some((src, dst)) = request_addrs(&request) else {
            // Hosts whose names are not UTF-8 cannot be dialed.
            by_rule += 1;
            continue;
        };
        // A host called `[x]` cannot be dialed either, because its address does not parse.
        replayed += 1;
        announce(&temp, "t", dst.host(), &os_addr.to_string());
        let (answered, dialed) = thread::scope(|scope| {
            let answered = scope.spawn(|| answer_dial(&listener, &record));
            let dialed = dial_recorded(&net, &record, &src, &dst);
            if let Some(Ok(conn)) = &dialed {
                read_recorded(conn, &record);
                conn.close().unwrap();
            }
            let dialed = dialed.map(|dialed| dialed.map(|conn| conn.peer_addr().to_string()));
            (answered.join().unwrap(), dialed)
        });
        assert_eq!(answered.0, request, "{location}");
        let expected_ending = text_field(&record["peer_sees_after"], "how");
        let reply = reply_bytes(&record);
        let expected_text = record["dial"]["err"]["text"].as_str();
        let expected_text = expected_text.map(|expected_text| {
            escape_control_chars(&expand_runs(
                &expected_text.replace("<osport>", &os_addr.port().to_string()),
            ))
        });
        match (dialed, expected_text) {
            // Whoever stops waiting leaves no ghost in the queue of the listener: a reset.
            (None, _) => assert_eq!(answered.1, "RST", "{location}"),
            (Some(Ok(peer)), None) => {
                assert_eq!(peer, text_field(&record["dial"]["ok"], "remote"), "{location}");
                assert_eq!(answered.1, expected_ending, "{location}");
            }
            (Some(Err(error)), Some(expected_text)) if error.to_string() == expected_text => {
                let refused = expected_text.ends_with(": connection refused")
                    && !expected_text.contains("loconnect");
                assert_eq!(*error.root() == Cause::ConnRefused, refused, "{location}");
                assert_eq!(answered.1, expected_ending, "{location}");
            }
            (Some(Err(error)), expected_text) => {
                by_rule += 1;
                let is_unterminated = first_line(&reply).is_some_and(is_unterminated_full_line);
                let port = || text_field(&record["dial"]["ok"], "remote").rsplit(':').next();
                // A line needs its newline, and a port is a u16.
                assert!(
                    is_unterminated || port().is_some_and(|port| port.parse::<u16>().is_err()),
                    "{location}:\n    expected {expected_text:?}\n    actual   {error}"
                );
            }
            (Some(Ok(peer)), Some(expected_text)) => {
                panic!("{location}: connected {peer}, not {expected_text}")
            }
        }
    }
    println!("played {replayed} dials, {by_rule} of all by a rule");
    assert!(replayed > 0, "nothing was played");
}
