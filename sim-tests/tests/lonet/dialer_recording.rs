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

use crate::lonet::parser_recording::{ends, from_hex, is_quirk, lengthened, line, reply, text};
use crate::lonet::{Place, announce, run};
use crate::reference::recording::{escaped, lines};

/// Waits for the line of the dialer, answers, and says how the connection ended.
fn answer(listener: &TcpListener, record: &Value) -> (Vec<u8>, &'static str) {
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\n") {
        let mut byte = [0];
        assert_eq!(peer.read(&mut byte).unwrap(), 1, "the request has no end");
        request.push(byte[0]);
    }
    peer.write_all(&reply(record)).unwrap();
    if text(record, "then") == "shutdown" {
        peer.shutdown(Shutdown::Write).unwrap();
    }
    (request, how_it_ends(&mut peer))
}

fn how_it_ends(peer: &mut TcpStream) -> &'static str {
    match peer.read(&mut [0]) {
        Ok(0) => "EOF",
        Ok(_) => "data",
        Err(error) if error.kind() == ErrorKind::ConnectionReset => "RST",
        Err(error) => panic!("{error}"),
    }
}

/// Dials; and if that is recorded as waiting or as cancelled, stops waiting after a while.
fn dial(net: &SubNetwork, record: &Value, src: &Addr, dst: &Addr) -> Option<Result<Conn, Error>> {
    let host = match net.host(src.host()) {
        Some(host) => host,
        None => run(net.new_host(src.host())).unwrap(),
    };
    let waits = ["wait", "cancel"].contains(&text(record, "then"));
    let patience = Duration::from_millis(if waits { 50 } else { 10_000 });
    run(async {
        let dst = dst.to_string();
        match select(std::pin::pin!(host.dial(&dst)), Timer::after(patience)).await {
            Either::Left((dialed, _)) => Some(dialed),
            Either::Right(_) => None,
        }
    })
}

/// Reads what is recorded to follow the reply.
fn read_on(mut conn: &Conn, record: &Value) {
    for operation in record["conn_ops"].as_array().into_iter().flatten() {
        assert_eq!(operation[0][0], "read", "nobody knows {operation}");
        let mut buf = vec![0; operation[0][2].as_u64().unwrap() as usize];
        let count = run(conn.read(&mut buf)).unwrap();
        assert_eq!(str::from_utf8(&buf[..count]).unwrap(), text(&operation[1]["ok"], "data"));
    }
}

#[test]
fn our_dialer_sends_and_understands_what_that_of_the_reference_does() {
    let (place, listener) = (Place::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let net = run(place.config().join("t")).unwrap();
    let at = listener.local_addr().unwrap();
    let (mut played, mut by_rule) = (0, 0);
    for (at_line, record) in lines("lonet_wire_client.jsonl") {
        let request = from_hex(text(&record, "request_hex"));
        let Some((src, dst)) = ends(&request) else {
            // Hosts whose names are not UTF-8 cannot be dialed.
            by_rule += 1;
            continue;
        };
        // A host called `[x]` cannot be dialed either, because its address does not parse.
        played += 1;
        announce(&place, "t", dst.host(), &at.to_string());
        let (answered, dialed) = thread::scope(|scope| {
            let answered = scope.spawn(|| answer(&listener, &record));
            let dialed = dial(&net, &record, &src, &dst);
            if let Some(Ok(conn)) = &dialed {
                read_on(conn, &record);
                conn.close().unwrap();
            }
            let dialed = dialed.map(|dialed| dialed.map(|conn| conn.peer_addr().to_string()));
            (answered.join().unwrap(), dialed)
        });
        assert_eq!(answered.0, request, "{at_line}");
        let how = text(&record["peer_sees_after"], "how");
        let reply = reply(&record);
        let said = record["dial"]["err"]["text"].as_str();
        let said = said
            .map(|said| escaped(&lengthened(&said.replace("<osport>", &at.port().to_string()))));
        match (dialed, said) {
            // Whoever stops waiting leaves no ghost in the queue of the listener: a reset.
            (None, _) => assert_eq!(answered.1, "RST", "{at_line}"),
            (Some(Ok(peer)), None) => {
                assert_eq!(peer, text(&record["dial"]["ok"], "remote"), "{at_line}");
                assert_eq!(answered.1, how, "{at_line}");
            }
            (Some(Err(error)), Some(said)) if error.to_string() == said => {
                let refused = said.ends_with(": connection refused") && !said.contains("loconnect");
                assert_eq!(*error.root() == Cause::ConnRefused, refused, "{at_line}");
                assert_eq!(answered.1, how, "{at_line}");
            }
            (Some(Err(error)), said) => {
                by_rule += 1;
                let quirk = line(&reply).is_some_and(is_quirk);
                let port = || text(&record["dial"]["ok"], "remote").rsplit(':').next();
                // A line needs its newline, and a port is a u16.
                assert!(
                    quirk || port().is_some_and(|port| port.parse::<u16>().is_err()),
                    "{at_line}:\n    expected {said:?}\n    actual   {error}"
                );
            }
            (Some(Ok(peer)), Some(said)) => panic!("{at_line}: connected {peer}, not {said}"),
        }
    }
    println!("played {played} dials, {by_rule} of all by a rule");
    assert!(played > 0, "nothing was played");
}
