//! What a peer on the wire hears from our acceptor, and what became of it, as recorded.
//!
//! Knows the wire as bytes, and our side as a network with the hosts that the recording had.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, join_all, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use serde_json::Value;
use virtnet::{Addr, Conn, Listener, SubNetwork};

use crate::lonet::parser_recording::{
    decode_hex, expand_runs, first_line, is_unterminated_full_line, sent_bytes, text_field,
};
use crate::lonet::{TempNetworks, os_address, run};
use crate::reference::recording::read_lines;

/// How long nothing has to happen for a connection to count as open.
const QUIET_TIME: Duration = Duration::from_millis(30);

/// Our side: listeners that echo, and what they have accepted.
struct Server {
    os_addr: std::net::SocketAddr,
    net: SubNetwork,
    /// The listener that nobody accepts from.
    unaccepted: Listener,
    /// Both addresses of each connection, when it has come, and when it is gone.
    accepted: Receiver<(Addr, Addr)>,
    closed: Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _temp: TempNetworks,
}

async fn echo(listener: Listener, accepted: Sender<(Addr, Addr)>, closed: Sender<()>) {
    while let Ok(mut conn) = listener.accept().await {
        accepted.send((conn.local_addr(), conn.peer_addr())).unwrap();
        let mut buf = [0; 64];
        while let Ok(count) = conn.read(&mut buf).await
            && count > 0
            && conn.write_all(&buf[..count]).await.is_ok()
        {}
        drop::<Conn>(conn);
        closed.send(()).unwrap();
    }
}

impl Server {
    fn start() -> Self {
        let temp = TempNetworks::new();
        let net = run(temp.config().join("t")).unwrap();
        let listen = |name| {
            let host = run(net.new_host(name)).unwrap();
            run(host.listen(":1")).unwrap()
        };
        let listeners: Vec<Listener> = ["α", "", "a\"b"].map(listen).into();
        let unaccepted = listen("β");
        let (accepted, (closed_sender, closed)) = (channel(), channel());
        let (stop, stopped) = oneshot::channel::<()>();
        let echoes = move || {
            let echo = |listener| echo(listener, accepted.0.clone(), closed_sender.clone());
            let echoes = join_all(listeners.into_iter().map(echo));
            async_io::block_on(async {
                if let Either::Left(_) = select(echoes, stopped).await {
                    panic!("the listeners are gone");
                }
            });
        };
        let thread = Some(thread::spawn(echoes));
        let os_addr = os_address(&temp, "t", "α");
        let (accepted, stop) = (accepted.1, Some(stop));
        Self { os_addr, net, unaccepted, accepted, closed, stop, thread, _temp: temp }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// What a peer hears: bytes, and then how it ends.
#[derive(Debug, PartialEq)]
struct PeerResult {
    reply: Vec<u8>,
    ending: &'static str,
}

/// Plays the peer of one record.
fn replay_peer(server: &Server, record: &Value, expected: usize) -> PeerResult {
    let mut peer = TcpStream::connect(server.os_addr).unwrap();
    peer.set_read_timeout(Some(QUIET_TIME)).unwrap();
    peer.set_nodelay(true).unwrap();
    let sent = sent_bytes(record);
    let chunk_len =
        if text_field(record, "case").contains("byte by byte") { 1 } else { sent.len().max(1) };
    // Whoever is refused before all is sent cannot send it all.
    let _ = sent.chunks(chunk_len).try_for_each(|chunk| peer.write_all(chunk));
    let mut reply = vec![0; 4096];
    let mut count = 0;
    if record["half_close"] == true {
        peer.shutdown(Shutdown::Write).unwrap();
    }
    // What is recorded as `more` is said once the connection stands, and that was all.
    let follow_up = record["more"].as_str().unwrap_or_default();
    let mut follow_up_sent = follow_up.is_empty();
    let mut waits_left = 200;
    let ending = loop {
        if !follow_up_sent && reply[..count].ends_with(b"\n") {
            follow_up_sent = true;
            peer.write_all(follow_up.as_bytes()).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        }
        match peer.read(&mut reply[count..]) {
            Ok(0) => break "EOF",
            Ok(follow_up) => count += follow_up,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Nothing comes for a while: that is all, or the machine is slow.
                waits_left -= 1;
                if count >= expected || waits_left == 0 {
                    break "open";
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break "RST",
            Err(error) => panic!("{error}"),
        }
    };
    reply.truncate(count);
    PeerResult { reply, ending }
}

#[test]
fn acceptor_replies_to_a_raw_peer_as_the_reference_recorded() {
    let server = Server::start();
    let (mut replayed, mut by_rule) = (0, 0);
    for (location, record) in read_lines("lonet_wire_server.jsonl") {
        match text_field(&record, "case") {
            "listener closed" => server.unaccepted.close().unwrap(),
            "host closed" => server.net.host("β").unwrap().close().unwrap(),
            _ => {}
        }
        replayed += 1;
        let ending = text_field(&record, "then");
        let mut expected = (decode_hex(text_field(&record, "reply_hex")), ending.to_string());
        let sent = sent_bytes(&record);
        let accepted = &record["go_accepted"];
        let mut connects = accepted.is_object();
        if connects && is_unterminated_full_line(first_line(&sent).unwrap()) {
            // A line needs its newline.
            let reply = b"< lonet \"lonett\" E \"protocol error: invalid dial request\"\n";
            expected = (reply.to_vec(), "EOF".to_string());
            (connects, by_rule) = (false, by_rule + 1);
        } else if connects && text_field(accepted, "local").contains('\u{fffd}') {
            // No host can be called what is not UTF-8.
            let reply = b"< lonet \"lonett\" E \"address a\\xffb:1: no such host\"\n";
            expected = (reply.to_vec(), "EOF".to_string());
            (connects, by_rule) = (false, by_rule + 1);
        }
        let actual = replay_peer(&server, &record, expected.0.len());
        let reply = String::from_utf8_lossy(&actual.reply);
        assert_eq!(actual.reply, expected.0, "{location}: {reply}");
        assert_eq!(actual.ending, expected.1, "{location}: {reply}");
        if connects {
            let addrs = server.accepted.recv_timeout(Duration::from_secs(10)).unwrap();
            let addrs = (addrs.0.to_string(), addrs.1.to_string());
            let remote = expand_runs(text_field(accepted, "remote"));
            assert_eq!(addrs, (text_field(accepted, "local").to_string(), remote), "{location}");
            server.closed.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }
    assert!(server.accepted.try_recv().is_err(), "something was accepted that is not recorded");
    println!("played {replayed} peers, {by_rule} of them by a rule");
    assert!(replayed > 0, "nothing was played");
}
