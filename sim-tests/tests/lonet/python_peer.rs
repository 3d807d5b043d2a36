//! A peer that is none of ours, in another language, in both directions.
//!
//! It was written from the description of the wire, so that a mistake of ours on both sides of it
//! cannot cancel itself out.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, ChildStdout, Command, Stdio};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use serde_json::{Value, json};
use virtnet::Host;

use crate::lonet::{TempNetworks, run};

/// Names that are hard on whoever quotes them. What a network is called is a folder, too.
const HOST_NAMES: [&str; 12] = [
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
struct PythonPeer {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl PythonPeer {
    fn start(
        temp: &TempNetworks,
        network: &str,
        style: &str,
        role_and_names: &[&str],
    ) -> Option<Self> {
        let names = role_and_names[1..].iter().map(|name| json!(name).to_string());
        let child = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lonet/peer.py"))
            .arg(temp.networks_folder())
            .args([network, style, role_and_names[0]])
            .args(names)
            .stdout(Stdio::piped())
            .spawn();
        match child {
            Ok(mut child) => {
                let stdout = BufReader::new(child.stdout.take().unwrap());
                Some(Self { child, stdout })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("NOT TESTED: there is no python3 here, so no foreign peer was met");
                None
            }
            Err(error) => panic!("python3: {error}"),
        }
    }

    fn read_message(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("the peer says what went wrong on its stderr")
    }
}

impl Drop for PythonPeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn format_addr(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a host can be dialed at all: an address with a bracket in it does not parse.
fn is_dialable(host: &str) -> bool {
    !host.contains('[')
}

/// We dial, it accepts.
fn assert_dial_to_peer(
    temp: &TempNetworks,
    host: &Host,
    network: &str,
    style: &str,
    name: &str,
) -> Option<()> {
    let peer_name = format!("their {name}");
    let mut peer = PythonPeer::start(temp, network, style, &["listen", &peer_name])?;
    peer.read_message();
    let mut conn = run(host.dial(&format_addr(&peer_name, 1))).unwrap();
    let request = peer.read_message();
    let addrs = [format_addr(host.name(), 1), format_addr(&peer_name, 1)];
    let expected = json!({ "network": host.network(), "src": addrs[0], "dst": addrs[1] });
    assert_eq!(request, expected);
    assert_eq!((conn.peer_addr().host(), conn.peer_addr().port()), (&*peer_name, 2));
    run(async {
        conn.write_all(name.as_bytes()).await.unwrap();
        conn.shutdown().await.unwrap();
        let mut received = String::new();
        conn.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, name);
    });
    Some(())
}

/// It dials, we accept.
fn assert_dial_from_peer(
    temp: &TempNetworks,
    host: &Host,
    network: &str,
    style: &str,
    name: &str,
) -> Option<()> {
    let listener = run(host.listen(":9")).unwrap();
    let (peer_name, listen_addr) = (format!("their {name}"), format_addr(host.name(), 9));
    let mut peer =
        PythonPeer::start(temp, network, style, &["dial", &peer_name, &listen_addr, name])?;
    let mut conn = run(listener.accept()).unwrap();
    // The port is the one it says it has; the accepted end has a port of its own.
    assert_eq!((conn.peer_addr().host(), conn.peer_addr().port()), (&*peer_name, 7));
    let text = format_addr(host.name(), 1);
    let connected = json!({ "network": host.network(), "verb": "connected", "text": text });
    assert_eq!(peer.read_message(), connected);
    run(async {
        let mut received = String::new();
        conn.read_to_string(&mut received).await.unwrap();
        conn.write_all(received.to_uppercase().as_bytes()).await.unwrap();
        drop(conn);
    });
    assert_eq!(peer.read_message(), json!({ "heard": name.to_uppercase() }));
    Some(())
}

#[test]
fn python_peer_connects_in_both_directions_under_any_dialable_name() {
    let temp = TempNetworks::new();
    for (network, style) in [("α \"quoted\"", "raw"), ("t", "escaped")] {
        // Whoever comes first makes the place; once that is the peer.
        if style == "escaped"
            && let Some(mut first) = PythonPeer::start(&temp, network, style, &["listen", "first"])
        {
            first.read_message();
        }
        let net = run(temp.config().join(network)).unwrap();
        for name in HOST_NAMES.into_iter().filter(|name| is_dialable(name)) {
            let host = run(net.new_host(name)).unwrap();
            let connected = assert_dial_to_peer(&temp, &host, network, style, name)
                .and_then(|()| assert_dial_from_peer(&temp, &host, network, style, name));
            if connected.is_none() {
                return;
            }
        }
    }
}

#[test]
fn python_peer_dialing_without_a_listener_gets_connection_refused() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let Some(mut peer) = PythonPeer::start(&temp, "t", "raw", &["dial", "their", "α:1", ""])
    else {
        return;
    };
    let refused = json!({ "network": "lonett", "verb": "E", "text": "connection refused" });
    assert_eq!(peer.read_message(), refused);
    drop(host);
}
