//! A peer that is none of ours, in another language, in both directions.
//!
//! It was written from the description of the wire, so that a mistake of ours on both sides of it
//! cannot cancel itself out.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, ChildStdout, Command, Stdio};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use serde_json::{Value, json};
use virtnet::Host;

use crate::lonet::{Place, run};

/// Names that are hard on whoever quotes them. What a network is called is a folder, too.
const NAMES: [&str; 12] = [
    "α",
    "β γ",
    "a\"b",
    "back\\slash",
    "tab\tnewline\nend",
    "\0\u{1b}\u{7f}",
    "a:b",
    "`'",
    "日本🦀",
    "\u{200b}\u{202e}\u{feff}\u{a0}",
    "[x",
    "",
];

/// A peer in Python; `None` if there is no Python here.
struct Foreign {
    child: Child,
    from: BufReader<ChildStdout>,
}

impl Foreign {
    fn start(place: &Place, network: &str, style: &str, what: &[&str]) -> Option<Self> {
        let names = what[1..].iter().map(|name| json!(name).to_string());
        let child = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lonet/peer.py"))
            .arg(place.folder())
            .args([network, style, what[0]])
            .args(names)
            .stdout(Stdio::piped())
            .spawn();
        match child {
            Ok(mut child) => {
                let from = BufReader::new(child.stdout.take().unwrap());
                Some(Self { child, from })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("NOT TESTED: there is no python3 here, so no foreign peer was met");
                None
            }
            Err(error) => panic!("python3: {error}"),
        }
    }

    fn says(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("the peer says what went wrong on its stderr")
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bracketed(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a host can be dialed at all: an address with a bracket in it does not parse.
fn has_an_address(host: &str) -> bool {
    !host.contains('[')
}

/// We dial, it accepts.
fn they_accept(place: &Place, host: &Host, network: &str, style: &str, name: &str) -> Option<()> {
    let their = format!("their {name}");
    let mut peer = Foreign::start(place, network, style, &["listen", &their])?;
    peer.says();
    let mut conn = run(host.dial(&bracketed(&their, 1))).unwrap();
    let asked = peer.says();
    let ends = [bracketed(host.name(), 1), bracketed(&their, 1)];
    let expected = json!({ "network": host.network(), "src": ends[0], "dst": ends[1] });
    assert_eq!(asked, expected);
    assert_eq!((conn.peer_addr().host(), conn.peer_addr().port()), (&*their, 2));
    run(async {
        conn.write_all(name.as_bytes()).await.unwrap();
        conn.shutdown().await.unwrap();
        let mut heard = String::new();
        conn.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, name);
    });
    Some(())
}

/// It dials, we accept.
fn they_dial(place: &Place, host: &Host, network: &str, style: &str, name: &str) -> Option<()> {
    let listener = run(host.listen(":9")).unwrap();
    let (their, at) = (format!("their {name}"), bracketed(host.name(), 9));
    let mut peer = Foreign::start(place, network, style, &["dial", &their, &at, name])?;
    let mut conn = run(listener.accept()).unwrap();
    // The port is the one it says it has; the accepted end has a port of its own.
    assert_eq!((conn.peer_addr().host(), conn.peer_addr().port()), (&*their, 7));
    let text = bracketed(host.name(), 1);
    let connected = json!({ "network": host.network(), "verb": "connected", "text": text });
    assert_eq!(peer.says(), connected);
    run(async {
        let mut heard = String::new();
        conn.read_to_string(&mut heard).await.unwrap();
        conn.write_all(heard.to_uppercase().as_bytes()).await.unwrap();
        drop(conn);
    });
    assert_eq!(peer.says(), json!({ "heard": name.to_uppercase() }));
    Some(())
}

#[test]
fn a_peer_in_python_talks_with_ours_in_both_directions() {
    let place = Place::new();
    for (network, style) in [("α \"quoted\"", "raw"), ("t", "escaped")] {
        // Whoever comes first makes the place; once that is the peer.
        if style == "escaped"
            && let Some(mut first) = Foreign::start(&place, network, style, &["listen", "first"])
        {
            first.says();
        }
        let net = run(place.config().join(network)).unwrap();
        for name in NAMES.into_iter().filter(|name| has_an_address(name)) {
            let host = run(net.new_host(name)).unwrap();
            let met = they_accept(&place, &host, network, style, name)
                .and_then(|()| they_dial(&place, &host, network, style, name));
            if met.is_none() {
                return;
            }
        }
    }
}

#[test]
fn a_peer_in_python_hears_why_it_is_refused() {
    let place = Place::new();
    let net = run(place.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let Some(mut peer) = Foreign::start(&place, "t", "raw", &["dial", "their", "α:1", ""]) else {
        return;
    };
    let refused = json!({ "network": "lonett", "verb": "E", "text": "connection refused" });
    assert_eq!(peer.says(), refused);
    drop(host);
}
