//! Many processes at once, and processes that are killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use virtnet::Cause;

use crate::lonet::{TempNetworks, open_registry, run};

/// A process that is ended with the test.
struct PeerProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl PeerProcess {
    fn start(temp: &TempNetworks, network: &str, role: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_peer"))
            .arg(temp.networks_folder())
            .arg(network)
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// Gives it the line that it waits for.
    fn release(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Waits for what it says next; nothing if it has ended.
    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many rounds: `VIRTNET_ROUNDS` plays more of them by hand.
fn round_count(usual: usize) -> usize {
    std::env::var("VIRTNET_ROUNDS").map_or(usual, |rounds| rounds.parse().unwrap())
}

const PROCESSES: usize = 16;

#[test]
fn sixteen_processes_that_join_a_fresh_network_at_once_all_succeed() {
    let temp = TempNetworks::new();
    for round in 0..round_count(50) {
        let network = round.to_string();
        let mut peers: Vec<_> =
            (0..PROCESSES).map(|_| PeerProcess::start(&temp, &network, &["join"])).collect();
        peers.iter_mut().for_each(PeerProcess::release);
        for peer in &mut peers {
            assert_eq!(peer.read_line(), "ok", "round {round}");
        }
    }
}

#[test]
fn host_name_announced_by_many_processes_goes_to_exactly_one() {
    let temp = TempNetworks::new();
    for round in 0..round_count(20) {
        let network = round.to_string();
        let mut peers: Vec<_> = (0..PROCESSES)
            .map(|_| PeerProcess::start(&temp, &network, &["announce", "α"]))
            .collect();
        peers.iter_mut().for_each(PeerProcess::release);
        let outputs: Vec<_> = peers.iter_mut().map(PeerProcess::read_line).collect();
        let (winners, losers): (Vec<_>, Vec<_>) =
            outputs.iter().partition(|outputs| *outputs == "ok");
        assert_eq!(winners.len(), 1, "round {round}: {outputs:?}");
        let lost = |outputs: &&&String| outputs.ends_with(": host already registered");
        assert_eq!(losers.iter().filter(lost).count(), PROCESSES - 1, "round {round}: {outputs:?}");
    }
}

#[test]
fn process_killed_while_it_announces_leaves_the_registry_usable() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    for round in 0..round_count(20) {
        let name = round.to_string();
        let mut peer = PeerProcess::start(&temp, "t", &["announce", &name]);
        peer.release();
        // Killed at another moment each time: before, while and after it has the file in hand.
        std::thread::sleep(std::time::Duration::from_micros(500 * round as u64));
        drop(peer);
        let own_host = run(net.new_host(&format!("mine {round}"))).unwrap();
        // The name of the dead is taken, or it is not; nothing in between.
        match run(net.new_host(&name)) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(*error.root(), Cause::HostExists);
                let error = run(own_host.dial(&format!("{name}:1"))).unwrap_err().to_string();
                assert!(error.ends_with("connect: connection refused"), "{error}");
            }
        }
    }
    let integrity: String = open_registry(&temp, "t")
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(integrity, "ok");
}

#[test]
fn processes_killed_while_they_dial_do_not_hold_up_the_next_dial() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    let listener = run(run(net.new_host("β")).unwrap().listen(":1")).unwrap();
    for round in 0..round_count(10) {
        let mut peer = PeerProcess::start(&temp, "t", &["dial", &format!("dead {round}"), "β:1"]);
        assert_eq!(peer.read_line(), "ok");
        std::thread::sleep(std::time::Duration::from_millis(2 * round as u64));
    }
    let mut peer = PeerProcess::start(&temp, "t", &["dial", "alive", "β:1"]);
    assert_eq!(peer.read_line(), "ok");
    // The news that the others are dead may be a moment behind.
    let conn = loop {
        let conn = run(listener.accept()).unwrap();
        if conn.peer_addr().host() == "alive" {
            break conn;
        }
        let ended = run(async { futures::AsyncReadExt::read(&mut &conn, &mut [0]).await });
        assert!(!ended.is_ok_and(|count| count > 0));
    };
    assert_eq!(peer.read_line(), "ok");
    assert_eq!(conn.peer_addr().to_string(), "alive:1");
}

#[test]
fn killed_process_ends_its_streams_and_refuses_dials() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let mut peer = PeerProcess::start(&temp, "t", &["echo", "β"]);
    assert_eq!(peer.read_line(), "ok");
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
fn future_dropped_at_any_wait_leaves_no_descriptor_thread_or_row() {
    let temp = TempNetworks::new();
    let mut peer = PeerProcess::start(&temp, "t", &["drop"]);
    let mut output = Vec::new();
    loop {
        match peer.read_line() {
            line if line.is_empty() => break,
            line => output.push(line),
        }
    }
    assert!(output.len() == 6 && output.iter().all(|line| line.ends_with(": ok")), "{output:#?}");
}

#[cfg(unix)]
#[test]
fn listener_short_of_descriptors_recovers() {
    let (temp, peer) = (TempNetworks::new(), env!("CARGO_BIN_EXE_peer"));
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", peer]).arg(temp.networks_folder());
    let output = limited.args(["t", "short"]).output().unwrap().stdout;
    let output: Vec<_> = str::from_utf8(&output).unwrap().lines().collect();
    assert_eq!(output, ["Too many open files (os error 24)", "ok"]);
}
