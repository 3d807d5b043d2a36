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

use crate::lonet::{Place, announce, os_address, run};

const SECRET: &str = "Ulysses S. Grant, 1822 to 1885";

/// Joins with a secret or without, makes a host, and listens on it.
fn member(place: &Place, secret: Option<&str>, name: &str) -> (Host, Listener) {
    let config = secret.map_or(place.config(), |secret| place.config().secret(secret));
    let host = run(async { config.join("t").await?.new_host(name).await }).unwrap();
    let listener = run(host.listen(":1")).unwrap();
    (host, listener)
}

fn refused(dialer: &Host, addr: &str) -> Error {
    run(dialer.dial(addr)).unwrap_err()
}

/// What is wrong, without the place on the machine.
fn reason(error: &Error, at: SocketAddr) -> String {
    let text = error.to_string();
    let (_, reason) = text.split_once(&format!(": loconnect {at}: ")).unwrap();
    reason.to_string()
}

#[test]
fn processes_of_one_secret_talk() {
    let place = Place::new();
    let (a, at_a) = member(&place, Some(SECRET), "α");
    let (b, at_b) = member(&place, Some(SECRET), "β");
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
    assert_eq!(refused(&a, "β:7").cause, Cause::ConnRefused);
    assert_eq!(*refused(&a, "γ:1").root(), Cause::NoSuchHost);
}

#[test]
fn process_without_the_secret_is_refused_in_both_directions_and_others_are_not() {
    let place = Place::new();
    let (with, listener) = member(&place, Some(SECRET), "with");
    let at = os_address(&place, "t", "with");
    let (without, _listener) = member(&place, None, "without");
    let at_other = os_address(&place, "t", "without");
    let text = "this network has a secret, and the dialer has joined without it: join by \
                `lonet::Config::secret`";
    assert_eq!(reason(&refused(&without, "with:1"), at), text);
    let text = "the acceptor does not prove that it knows the secret of this network, but says \
                \"< lonet \\\"lonett\\\" E \\\"protocol error: invalid dial request\\\"\": all \
                processes must join with the same `lonet::Config::secret`";
    let error = refused(&with, "without:1");
    assert_eq!(reason(&error, at_other), text);
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
    let (other, _listener) = member(&place, Some("another secret"), "other");
    let text = "the acceptor has another secret: all processes must join with the same \
                `lonet::Config::secret`";
    assert_eq!(reason(&refused(&other, "with:1"), at), text);
    // None of them has come as far as the listener.
    let (third, _listener) = member(&place, Some(SECRET), "third");
    let (dialed, accepted) = run(async { futures::join!(third.dial("with:1"), listener.accept()) });
    dialed.unwrap();
    assert_eq!(accepted.unwrap().peer_addr().host(), "third");
}

/// A user of the machine who connects to a port and speaks the line.
struct Stranger(BufReader<TcpStream>);

impl Stranger {
    fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    fn says(&mut self, line: &str) {
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }
}

#[test]
fn stranger_on_the_port_is_refused_whatever_it_says() {
    let place = Place::new();
    let (_host, listener) = member(&place, Some(SECRET), "β");
    let at = os_address(&place, "t", "β");
    let dial = "> lonet \"lonett\" dial \"α:1\" \"β:1\"\n";
    let needed = "< lonet \"lonett\" E \"this network has a secret, and the dialer has joined \
                  without it: join by `lonet::Config::secret`\"\n";
    let nonce = "> lonet \"lonett\" secret \"00\"\n";
    for line in
        [dial, "\n", "> lonet \"other\" secret \"00\"\n", "< lonet \"lonett\" secret \"\"\n"]
    {
        let mut stranger = Stranger::connect(at);
        stranger.says(line);
        assert_eq!(stranger.hears(), needed, "{line}");
        assert_eq!(stranger.0.read(&mut [0]).unwrap_or_default(), 0);
    }
    // Also one that gives back the proof of the acceptor, or none.
    let own = |proof: &str| proof.rsplit(' ').next().unwrap().trim_end().to_string();
    for proof in ["", "\"\"", "\"00\"", "its own"] {
        let mut stranger = Stranger::connect(at);
        stranger.says(nonce);
        let reply = stranger.hears();
        assert!(reply.starts_with("< lonet \"lonett\" secret \""), "{reply}");
        let echoed = format!("\"{}", own(&reply));
        let proof = if proof == "its own" { &echoed } else { proof };
        stranger.says(&format!("> lonet \"lonett\" proof {proof}\n"));
        stranger.says(dial);
        let text = "< lonet \"lonett\" E \"the dialer has another secret than this network\"\n";
        assert_eq!(stranger.hears(), text);
    }
    // What was drawn is drawn anew for each, so that nothing said before is of use.
    let mut replies = [(); 2].map(|()| {
        let mut stranger = Stranger::connect(at);
        stranger.says(nonce);
        stranger.hears()
    });
    replies.sort();
    assert_ne!(replies[0], replies[1]);
    listener.close().unwrap();
    let ended = run(listener.accept()).unwrap_err();
    assert_eq!(ended.cause, Cause::SockDown, "nothing was accepted");
}

#[test]
fn process_that_has_got_the_port_of_another_learns_nothing_and_is_not_taken_for_it() {
    let place = Place::new();
    let (dialer, _listener) = member(&place, Some(SECRET), "α");
    let (_host, _listener) = member(&place, Some(SECRET), "β");
    let at = os_address(&place, "t", "β");
    // The row of a process that has died leads to somebody who passes all on to a member.
    let squatter = TcpListener::bind("127.0.0.1:0").unwrap();
    let squatted = squatter.local_addr().unwrap();
    announce(&place, "t", "γ", &squatted.to_string());
    let relay = thread::spawn(move || {
        let mut victim = Stranger(BufReader::new(squatter.accept().unwrap().0));
        let mut member = Stranger::connect(at);
        let asked = victim.hears();
        member.says(&asked);
        victim.says(&member.hears());
        (asked, victim.hears())
    });
    let error = refused(&dialer, "γ:1");
    let text = "the acceptor has another secret: all processes must join with the same \
                `lonet::Config::secret`";
    assert_eq!(reason(&error, squatted), text);
    let (asked, proof) = relay.join().unwrap();
    let nonce = asked.strip_prefix("> lonet \"lonett\" secret \"").unwrap().trim_end();
    assert_eq!(nonce.trim_end_matches('"').len(), 32);
    assert_eq!(proof, "", "the dialer has proved nothing, and named no host");
}

#[test]
fn stranger_that_is_silent_is_dropped_in_time_and_holds_nobody_up() {
    let place = Place::new();
    let config = place.config().secret(SECRET).handshake_timeout(Duration::from_millis(300));
    let host = run(async { config.join("t").await?.new_host("β").await }).unwrap();
    let listener = run(host.listen(":1")).unwrap();
    let at = os_address(&place, "t", "β");
    let mut silent = [Stranger::connect(at), Stranger::connect(at)];
    silent[1].says("> lonet \"lonett\" secret \"00\"\n");
    silent[1].hears();
    let (dialed, accepted) = run(async { futures::join!(host.dial(":1"), listener.accept()) });
    drop((dialed.unwrap(), accepted.unwrap()));
    for stranger in &mut silent {
        assert_eq!(stranger.hears(), "");
    }
}

#[test]
fn secret_stands_in_no_file_and_in_no_text() {
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
    let place = Place::new();
    let (a, at_a) = member(&place, Some(SECRET), "α");
    let (_b, _at_b) = member(&place, Some("another secret"), "β");
    let error = refused(&a, "β:1");
    search(&place.folder());
    let config = Config::new().secret(SECRET);
    let texts = [format!("{config:?}"), format!("{a:?} {at_a:?}"), format!("{error:?} {error}")];
    for text in texts {
        assert!(!text.contains("Ulysses") && !text.contains(&format!("{:?}", SECRET.as_bytes())));
    }
}

#[test]
fn secret_that_is_empty_is_refused() {
    let place = Place::new();
    let error = run(place.config().secret("").join("t")).unwrap_err().to_string();
    let text = "lonet: join \"t\": the secret is empty: give it at least 16 bytes";
    assert_eq!(error, text);
    assert!(!place.folder().exists());
}
