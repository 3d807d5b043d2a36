//! A network with a secret lets in those alone who prove that they know it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::lonet::Config;
use virtnet::{Cause, Error, Host, Listener};

use crate::lonet::{TempNetworks, announce, os_address, run};

const SECRET: &str = "Ulysses S. Grant, 1822 to 1885";

/// Joins with a secret or without, makes a host, and listens on it.
fn join_member(temp: &TempNetworks, secret: Option<&str>, name: &str) -> (Host, Listener) {
    let config = secret.map_or(temp.config(), |secret| temp.config().secret(secret));
    let host = run(async { config.join("t").await?.new_host(name).await }).unwrap();
    let listener = run(host.listen(":1")).unwrap();
    (host, listener)
}

fn dial_error(dialer: &Host, addr: &str) -> Error {
    run(dialer.dial(addr)).unwrap_err()
}

/// What is wrong, without the place on the machine.
fn error_reason(error: &Error, at: SocketAddr) -> String {
    let text = error.to_string();
    let (_, reason) = text.split_once(&format!(": loconnect {at}: ")).unwrap();
    reason.to_string()
}

#[test]
fn processes_with_the_same_secret_connect() {
    let temp = TempNetworks::new();
    let (a, at_a) = join_member(&temp, Some(SECRET), "α");
    let (b, at_b) = join_member(&temp, Some(SECRET), "β");
    for (dialer, listener, addr) in [(&a, &at_b, "β:1"), (&b, &at_a, "α:1"), (&a, &at_a, ":1")] {
        run(async {
            let (dialed, accepted) = futures::join!(dialer.dial(addr), listener.accept());
            let (mut dialed, mut accepted) = (dialed.unwrap(), accepted.unwrap());
            assert_eq!(dialed.local_addr(), accepted.peer_addr());
            dialed.write_all(b"hello").await.unwrap();
            let mut text = [0; 5];
            accepted.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"hello");
        });
    }
    // The errors are those of any network.
    assert_eq!(dial_error(&a, "β:7").cause, Cause::ConnRefused);
    assert_eq!(*dial_error(&a, "γ:1").root(), Cause::NoSuchHost);
}

#[test]
fn process_without_the_secret_is_refused_in_both_directions_and_others_are_not() {
    let temp = TempNetworks::new();
    let (with, listener) = join_member(&temp, Some(SECRET), "with");
    let at = os_address(&temp, "t", "with");
    let (without, _listener) = join_member(&temp, None, "without");
    let at_other = os_address(&temp, "t", "without");
    let text = "this network has a secret, and the dialer has joined without it: join by \
                `lonet::Config::secret`";
    assert_eq!(error_reason(&dial_error(&without, "with:1"), at), text);
    let text = "the acceptor does not prove that it knows the secret of this network, but says \
                \"< lonet \\\"lonett\\\" E \\\"protocol error: invalid dial request\\\"\": all \
                processes must join with the same `lonet::Config::secret`";
    let error = dial_error(&with, "without:1");
    assert_eq!(error_reason(&error, at_other), text);
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
    let (other, _listener) = join_member(&temp, Some("another secret"), "other");
    let text = "the acceptor has another secret: all processes must join with the same \
                `lonet::Config::secret`";
    assert_eq!(error_reason(&dial_error(&other, "with:1"), at), text);
    // None of them has come as far as the listener.
    let (third, _listener) = join_member(&temp, Some(SECRET), "third");
    let (dialed, accepted) = run(async { futures::join!(third.dial("with:1"), listener.accept()) });
    dialed.unwrap();
    assert_eq!(accepted.unwrap().peer_addr().host(), "third");
}

/// A user of the machine who connects to a port and speaks the line.
struct RawPeer(BufReader<TcpStream>);

impl RawPeer {
    fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    fn send_line(&mut self, line: &str) {
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }
}

#[test]
fn raw_peer_without_the_secret_is_refused_whatever_it_sends() {
    let temp = TempNetworks::new();
    let (_host, listener) = join_member(&temp, Some(SECRET), "β");
    let at = os_address(&temp, "t", "β");
    let dial = "> lonet \"lonett\" dial \"α:1\" \"β:1\"\n";
    let needed = "< lonet \"lonett\" E \"this network has a secret, and the dialer has joined \
                  without it: join by `lonet::Config::secret`\"\n";
    let nonce = "> lonet \"lonett\" secret \"00\"\n";
    for line in
        [dial, "\n", "> lonet \"other\" secret \"00\"\n", "< lonet \"lonett\" secret \"\"\n"]
    {
        let mut peer = RawPeer::connect(at);
        peer.send_line(line);
        assert_eq!(peer.read_line(), needed, "{line}");
        assert_eq!(peer.0.read(&mut [0]).unwrap_or_default(), 0);
    }
    // Also one that gives back the proof of the acceptor, or none.
    let last_word = |proof: &str| proof.rsplit(' ').next().unwrap().trim_end().to_string();
    for proof in ["", "\"\"", "\"00\"", "its own"] {
        let mut peer = RawPeer::connect(at);
        peer.send_line(nonce);
        let reply = peer.read_line();
        assert!(reply.starts_with("< lonet \"lonett\" secret \""), "{reply}");
        let echoed = format!("\"{}", last_word(&reply));
        let proof = if proof == "its own" { &echoed } else { proof };
        peer.send_line(&format!("> lonet \"lonett\" proof {proof}\n"));
        peer.send_line(dial);
        let text = "< lonet \"lonett\" E \"the dialer has another secret than this network\"\n";
        assert_eq!(peer.read_line(), text);
    }
    // What was drawn is drawn anew for each, so that nothing said before is of use.
    let mut replies = [(); 2].map(|()| {
        let mut peer = RawPeer::connect(at);
        peer.send_line(nonce);
        peer.read_line()
    });
    replies.sort();
    assert_ne!(replies[0], replies[1]);
    listener.close().unwrap();
    let ended = run(listener.accept()).unwrap_err();
    assert_eq!(ended.cause, Cause::SockDown, "nothing was accepted");
}

#[test]
fn relay_on_the_port_of_a_dead_member_learns_no_proof_and_is_refused() {
    let temp = TempNetworks::new();
    let (dialer, _listener) = join_member(&temp, Some(SECRET), "α");
    let (_host, _listener) = join_member(&temp, Some(SECRET), "β");
    let at = os_address(&temp, "t", "β");
    // The row of a process that has died leads to somebody who passes all on to a member.
    let relay_listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay_addr = relay_listener.local_addr().unwrap();
    announce(&temp, "t", "γ", &relay_addr.to_string());
    let relay = thread::spawn(move || {
        let mut victim = RawPeer(BufReader::new(relay_listener.accept().unwrap().0));
        let mut member = RawPeer::connect(at);
        let challenge = victim.read_line();
        member.send_line(&challenge);
        victim.send_line(&member.read_line());
        (challenge, victim.read_line())
    });
    let error = dial_error(&dialer, "γ:1");
    let text = "the acceptor has another secret: all processes must join with the same \
                `lonet::Config::secret`";
    assert_eq!(error_reason(&error, relay_addr), text);
    let (challenge, proof) = relay.join().unwrap();
    let nonce = challenge.strip_prefix("> lonet \"lonett\" secret \"").unwrap().trim_end();
    assert_eq!(nonce.trim_end_matches('"').len(), 32);
    assert_eq!(proof, "", "the dialer has proved nothing, and named no host");
}

#[test]
fn silent_peer_is_dropped_at_the_handshake_timeout_and_blocks_no_dial() {
    let temp = TempNetworks::new();
    let config = temp.config().secret(SECRET).handshake_timeout(Duration::from_millis(300));
    let host = run(async { config.join("t").await?.new_host("β").await }).unwrap();
    let listener = run(host.listen(":1")).unwrap();
    let at = os_address(&temp, "t", "β");
    let mut silent = [RawPeer::connect(at), RawPeer::connect(at)];
    silent[1].send_line("> lonet \"lonett\" secret \"00\"\n");
    silent[1].read_line();
    let (dialed, accepted) = run(async { futures::join!(host.dial(":1"), listener.accept()) });
    drop((dialed.unwrap(), accepted.unwrap()));
    for peer in &mut silent {
        assert_eq!(peer.read_line(), "");
    }
}

#[test]
fn secret_is_in_no_file_and_in_no_debug_or_error_text() {
    fn search(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                search(&path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    let temp = TempNetworks::new();
    let (a, at_a) = join_member(&temp, Some(SECRET), "α");
    let (_b, _at_b) = join_member(&temp, Some("another secret"), "β");
    let error = dial_error(&a, "β:1");
    search(&temp.networks_folder());
    let config = Config::new().secret(SECRET);
    let texts = [format!("{config:?}"), format!("{a:?} {at_a:?}"), format!("{error:?} {error}")];
    for text in texts {
        assert!(!text.contains("Ulysses") && !text.contains(&format!("{:?}", SECRET.as_bytes())));
    }
}

#[test]
fn empty_secret_is_refused() {
    let temp = TempNetworks::new();
    let error = run(temp.config().secret("").join("t")).unwrap_err().to_string();
    let text = "lonet: join \"t\": the secret is empty: give it at least 16 bytes";
    assert_eq!(error, text);
    assert!(!temp.networks_folder().exists());
}
