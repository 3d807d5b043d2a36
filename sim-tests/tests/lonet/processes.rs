//! Many processes at once, and processes that are killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use virtnet::Cause;

use crate::lonet::{Place, registry, run};

/// A process that is ended with the test.
struct Peer {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Peer {
    fn start(place: &Place, network: &str, what: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_peer"))
            .arg(place.folder())
            .arg(network)
            .args(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    /// Gives it the line that it waits for.
    fn go(&mut self) {
        self.to.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Waits for what it says next; nothing if it has ended.
    fn says(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many rounds: `VIRTNET_ROUNDS` plays more of them by hand.
fn rounds(usual: usize) -> usize {
    std::env::var("VIRTNET_ROUNDS").map_or(usual, |rounds| rounds.parse().unwrap())
}

const CROWD: usize = 16;

#[test]
fn sixteen_processes_join_a_fresh_network_at_the_same_instant() {
    let place = Place::new();
    for round in 0..rounds(50) {
        let network = round.to_string();
        let mut crowd: Vec<_> =
            (0..CROWD).map(|_| Peer::start(&place, &network, &["join"])).collect();
        crowd.iter_mut().for_each(Peer::go);
        for peer in &mut crowd {
            assert_eq!(peer.says(), "ok", "round {round}");
        }
    }
}

#[test]
fn one_name_announced_by_all_goes_to_exactly_one() {
    let place = Place::new();
    for round in 0..rounds(20) {
        let network = round.to_string();
        let mut crowd: Vec<_> =
            (0..CROWD).map(|_| Peer::start(&place, &network, &["announce", "α"])).collect();
        crowd.iter_mut().for_each(Peer::go);
        let said: Vec<_> = crowd.iter_mut().map(Peer::says).collect();
        let (winners, losers): (Vec<_>, Vec<_>) = said.iter().partition(|said| *said == "ok");
        assert_eq!(winners.len(), 1, "round {round}: {said:?}");
        let lost = |said: &&&String| said.ends_with(": host already registered");
        assert_eq!(losers.iter().filter(lost).count(), CROWD - 1, "round {round}: {said:?}");
    }
}

#[test]
fn a_process_killed_while_it_announces_leaves_the_registry_usable() {
    let place = Place::new();
    let net = run(place.config().join("t")).unwrap();
    for round in 0..rounds(20) {
        let name = round.to_string();
        let mut peer = Peer::start(&place, "t", &["announce", &name]);
        peer.go();
        // Killed at another moment each time: before, while and after it has the file in hand.
        std::thread::sleep(std::time::Duration::from_micros(500 * round as u64));
        drop(peer);
        let mine = run(net.new_host(&format!("mine {round}"))).unwrap();
        // The name of the dead is taken, or it is not; nothing in between.
        match run(net.new_host(&name)) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(*error.root(), Cause::HostExists);
                let error = run(mine.dial(&format!("{name}:1"))).unwrap_err().to_string();
                assert!(error.ends_with("connect: connection refused"), "{error}");
            }
        }
    }
    let whole: String =
        registry(&place, "t").query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

#[test]
fn a_process_killed_while_it_dials_leaves_nothing_to_accept() {
    let place = Place::new();
    let net = run(place.config().join("t")).unwrap();
    let listener = run(run(net.new_host("β")).unwrap().listen(":1")).unwrap();
    for round in 0..rounds(10) {
        let mut peer = Peer::start(&place, "t", &["dial", &format!("dead {round}"), "β:1"]);
        assert_eq!(peer.says(), "ok");
        std::thread::sleep(std::time::Duration::from_millis(2 * round as u64));
    }
    let mut peer = Peer::start(&place, "t", &["dial", "alive", "β:1"]);
    assert_eq!(peer.says(), "ok");
    // The news that the others are dead may be a moment behind.
    let conn = loop {
        let conn = run(listener.accept()).unwrap();
        if conn.peer_addr().host() == "alive" {
            break conn;
        }
        let ended = run(async { futures::AsyncReadExt::read(&mut &conn, &mut [0]).await });
        assert!(!ended.is_ok_and(|count| count > 0));
    };
    assert_eq!(peer.says(), "ok");
    assert_eq!(conn.peer_addr().to_string(), "alive:1");
}

#[test]
fn a_process_that_is_killed_is_at_the_end_of_its_streams() {
    let place = Place::new();
    let net = run(place.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let mut peer = Peer::start(&place, "t", &["echo", "β"]);
    assert_eq!(peer.says(), "ok");
    let mut conn = run(host.dial("β:1")).unwrap();
    run(async {
        use futures::io::{AsyncReadExt, AsyncWriteExt};
        conn.write_all(b"hello").await.unwrap();
        let mut buf = [0; 5];
        conn.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
        drop(peer);
        assert_eq!(conn.read(&mut buf).await.unwrap(), 0);
    });
    let error = run(host.dial("β:1")).unwrap_err().to_string();
    assert!(error.ends_with("connect: connection refused"), "{error}");
}

#[test]
fn a_future_dropped_wherever_it_waits_leaves_no_descriptor_no_thread_and_no_row() {
    let place = Place::new();
    let mut peer = Peer::start(&place, "t", &["drop"]);
    let mut said = Vec::new();
    loop {
        match peer.says() {
            line if line.is_empty() => break,
            line => said.push(line),
        }
    }
    assert!(said.len() == 6 && said.iter().all(|line| line.ends_with(": ok")), "{said:#?}");
}

#[cfg(unix)]
#[test]
fn a_listener_that_was_short_of_descriptors_goes_on() {
    let (place, peer) = (Place::new(), env!("CARGO_BIN_EXE_peer"));
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", peer]).arg(place.folder());
    let said = limited.args(["t", "short"]).output().unwrap().stdout;
    let said: Vec<_> = str::from_utf8(&said).unwrap().lines().collect();
    assert_eq!(said, ["Too many open files (os error 24)", "ok"]);
}
