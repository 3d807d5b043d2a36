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

use crate::lonet::parser_recording::{from_hex, is_quirk, lengthened, line, sent, text};
use crate::lonet::{Place, os_address, run};
use crate::reference::recording::lines;

/// How long nothing has to happen for a connection to count as open.
const STILL: Duration = Duration::from_millis(30);

/// Our side: listeners that echo, and what they have accepted.
struct Server {
    at: std::net::SocketAddr,
    net: SubNetwork,
    /// The listener that nobody accepts from.
    mute: Listener,
    /// Both addresses of each connection, when it has come, and when it is gone.
    accepted: Receiver<(Addr, Addr)>,
    gone: Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _place: Place,
}

async fn echo(listener: Listener, accepted: Sender<(Addr, Addr)>, gone: Sender<()>) {
    while let Ok(mut conn) = listener.accept().await {
        accepted.send((conn.local_addr(), conn.peer_addr())).unwrap();
        let mut buf = [0; 64];
        while let Ok(count) = conn.read(&mut buf).await
            && count > 0
            && conn.write_all(&buf[..count]).await.is_ok()
        {}
        drop::<Conn>(conn);
        gone.send(()).unwrap();
    }
}

impl Server {
    fn start() -> Self {
        let place = Place::new();
        let net = run(place.config().join("t")).unwrap();
        let listen = |name| {
            let host = run(net.new_host(name)).unwrap();
            run(host.listen(":1")).unwrap()
        };
        let listeners: Vec<Listener> = ["α", "", "a\"b"].map(listen).into();
        let mute = listen("β");
        let (accepted, (tell, gone)) = (channel(), channel());
        let (stop, stopped) = oneshot::channel::<()>();
        let echoes = move || {
            let echo = |listener| echo(listener, accepted.0.clone(), tell.clone());
            let echoes = join_all(listeners.into_iter().map(echo));
            async_io::block_on(async {
                if let Either::Left(_) = select(echoes, stopped).await {
                    panic!("the listeners are gone");
                }
            });
        };
        let thread = Some(thread::spawn(echoes));
        let at = os_address(&place, "t", "α");
        let (accepted, stop) = (accepted.1, Some(stop));
        Self { at, net, mute, accepted, gone, stop, thread, _place: place }
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
struct Heard {
    reply: Vec<u8>,
    then: &'static str,
}

/// Plays the peer of one record.
fn play(server: &Server, record: &Value, expected: usize) -> Heard {
    let mut peer = TcpStream::connect(server.at).unwrap();
    peer.set_read_timeout(Some(STILL)).unwrap();
    peer.set_nodelay(true).unwrap();
    let sent = sent(record);
    let step = if text(record, "case").contains("byte by byte") { 1 } else { sent.len().max(1) };
    // Whoever is refused before all is sent cannot send it all.
    let _ = sent.chunks(step).try_for_each(|chunk| peer.write_all(chunk));
    let mut reply = vec![0; 4096];
    let mut count = 0;
    if record["half_close"] == true {
        peer.shutdown(Shutdown::Write).unwrap();
    }
    // What is recorded as `more` is said once the connection stands, and that was all.
    let more = record["more"].as_str().unwrap_or_default();
    let mut told = more.is_empty();
    let mut patience = 200;
    let then = loop {
        if !told && reply[..count].ends_with(b"\n") {
            told = true;
            peer.write_all(more.as_bytes()).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        }
        match peer.read(&mut reply[count..]) {
            Ok(0) => break "EOF",
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Nothing comes for a while: that is all, or the machine is slow.
                patience -= 1;
                if count >= expected || patience == 0 {
                    break "open";
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break "RST",
            Err(error) => panic!("{error}"),
        }
    };
    reply.truncate(count);
    Heard { reply, then }
}

#[test]
fn a_peer_on_the_wire_hears_what_it_would_hear_from_the_reference() {
    let server = Server::start();
    let (mut played, mut by_rule) = (0, 0);
    for (place, record) in lines("lonet_wire_server.jsonl") {
        match text(&record, "case") {
            "listener closed" => server.mute.close().unwrap(),
            "host closed" => server.net.host("β").unwrap().close().unwrap(),
            _ => {}
        }
        played += 1;
        let then = text(&record, "then");
        let mut expected = (from_hex(text(&record, "reply_hex")), then.to_string());
        let sent = sent(&record);
        let accepted = &record["go_accepted"];
        let mut connects = accepted.is_object();
        if connects && is_quirk(line(&sent).unwrap()) {
            // A line needs its newline.
            let reply = b"< lonet \"lonett\" E \"protocol error: invalid dial request\"\n";
            expected = (reply.to_vec(), "EOF".to_string());
            (connects, by_rule) = (false, by_rule + 1);
        } else if connects && text(accepted, "local").contains('\u{fffd}') {
            // No host can be called what is not UTF-8.
            let reply = b"< lonet \"lonett\" E \"address a\\xffb:1: no such host\"\n";
            expected = (reply.to_vec(), "EOF".to_string());
            (connects, by_rule) = (false, by_rule + 1);
        }
        let heard = play(&server, &record, expected.0.len());
        let reply = String::from_utf8_lossy(&heard.reply);
        assert_eq!(heard.reply, expected.0, "{place}: {reply}");
        assert_eq!(heard.then, expected.1, "{place}: {reply}");
        if connects {
            let ends = server.accepted.recv_timeout(Duration::from_secs(10)).unwrap();
            let ends = (ends.0.to_string(), ends.1.to_string());
            let remote = lengthened(text(accepted, "remote"));
            assert_eq!(ends, (text(accepted, "local").to_string(), remote), "{place}");
            server.gone.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }
    assert!(server.accepted.try_recv().is_err(), "something was accepted that is not recorded");
    println!("played {played} peers, {by_rule} of them by a rule");
    assert!(played > 0, "nothing was played");
}
