//! The conformance suite of a `Networker`, run on TCP, simnet, `Traced` and TLS over each network.
//!
//! The suite uses [`Networker`] and no concrete type. The last part is a table of what closing
//! does to a blocked operation.

use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::time::Duration;

use async_io::Timer;
use futures::executor::block_on;
use futures::future::{BoxFuture, FutureExt, join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{StreamExt, poll};
use virtnet::os::{Tcp, Tls, rustls};
use virtnet::{Cause, Conn, Error, Host, Listener, Networker, Op, Run, Traced, pipenet, simnet};

use crate::lonet::{TempNetworks, run};
use crate::net::conformance::{receive, receive_all};

/// Two ways onto one network, and where the second listens.
pub(crate) struct NetworkerPair {
    pub(crate) a: Arc<dyn Networker>,
    pub(crate) b: Arc<dyn Networker>,
    pub(crate) listen_addr: &'static str,
    /// Lets what is under way come to rest.
    settle: fn() -> BoxFuture<'static, ()>,
}

fn settle_real_time() -> BoxFuture<'static, ()> {
    async {
        Timer::after(Duration::from_millis(30)).await;
    }
    .boxed()
}

impl NetworkerPair {
    fn new(a: impl Networker, b: impl Networker, listen_addr: &'static str) -> Self {
        Self { a: Arc::new(a), b: Arc::new(b), listen_addr, settle: settle_real_time }
    }

    async fn listen(&self) -> Listener {
        self.b.listen(self.listen_addr).await.unwrap()
    }

    /// An open connection, and the listener that it came by.
    async fn connect(&self) -> (Conn, Conn, Listener) {
        let listener = self.listen().await;
        let at = listener.local_addr().to_string();
        let (dialed, accepted) = join(self.a.dial(&at), listener.accept()).await;
        (dialed.unwrap(), accepted.unwrap(), listener)
    }

    async fn settle(&self) {
        (self.settle)().await;
    }
}

/// Two ways onto a network, encrypted: both trust what one of them has signed for both, under all
/// the names that are dialed here.
pub(crate) fn with_tls(
    a: impl Networker,
    b: impl Networker,
    listen_addr: &'static str,
) -> NetworkerPair {
    let names = ["localhost", "127.0.0.1", "server", "client"].map(String::from);
    let certified_key = rcgen::generate_simple_self_signed(names).unwrap();
    let mut root_store = rustls::RootCertStore::empty();
    root_store.add(certified_key.cert.der().clone()).unwrap();
    let key = certified_key.signing_key.serialize_der().try_into().unwrap();
    let (provider, chain) = (
        Arc::new(rustls::crypto::ring::default_provider()),
        vec![certified_key.cert.der().clone()],
    );
    let client = rustls::ClientConfig::builder_with_provider(provider.clone());
    let server = rustls::ServerConfig::builder_with_provider(provider);
    let client = client.with_safe_default_protocol_versions().unwrap();
    let server = server.with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(root_store).with_no_client_auth());
    let mut server = server.with_no_client_auth().with_single_cert(chain, key).unwrap();
    // Tickets are sent when all is done, and an accept waits until they are taken: on pipenet,
    // which has no buffers, until the dialer reads.
    server.send_tls13_tickets = 0;
    let server = Arc::new(server);
    let a = Tls::new(a).client(client.clone()).server(server.clone());
    NetworkerPair::new(a, Tls::new(b).client(client).server(server), listen_addr)
}

async fn send(mut conn: &Conn, text: &str) {
    conn.write_all(text.as_bytes()).await.unwrap();
    conn.flush().await.unwrap();
}

fn cause_of(error: &std::io::Error) -> Cause {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.expect("a connection's errors are the network's").root().clone()
}

/// The whole suite, each part on ways of its own.
async fn suite(new_pair: impl AsyncFn() -> NetworkerPair) {
    both_ends_report_matching_addresses(new_pair().await).await;
    bytes_arrive_in_order_both_ways(new_pair().await).await;
    half_close_ends_one_direction(new_pair().await).await;
    every_dial_is_accepted_once(new_pair().await).await;
    incoming_is_a_stream_that_ends_after_close(new_pair().await).await;
    dial_to_a_closed_listener_or_host_is_refused(new_pair().await).await;
    dropped_accept_loses_no_connection(new_pair().await).await;
    two_concurrent_reads_are_both_woken(new_pair().await).await;
}

async fn both_ends_report_matching_addresses(two: NetworkerPair) {
    let (dialed, accepted, listener) = two.connect().await;
    assert_eq!(dialed.peer_addr(), accepted.local_addr());
    assert_eq!(dialed.local_addr(), accepted.peer_addr());
    assert_eq!(dialed.local_addr().network(), two.a.network());
    assert_eq!(listener.local_addr().network(), two.b.network());
    let error = two.a.dial("zzz").await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("dial {}", two.a.network())), "{text}");
    assert!(text.ends_with(": address zzz: missing port in address"), "{text}");
}

async fn bytes_arrive_in_order_both_ways(two: NetworkerPair) {
    let (dialed, accepted, _listener) = two.connect().await;
    let text: String = (0..60_000).map(|number| format!("{number} ")).collect();
    let forward = join(send(&dialed, &text), receive(&accepted, text.len()));
    let reverse = join(send(&accepted, &text), receive(&dialed, text.len()));
    let (((), forward), ((), reverse)) = join(forward, reverse).await;
    assert!(forward == text && reverse == text);
}

async fn half_close_ends_one_direction(two: NetworkerPair) {
    let (dialed, accepted, _listener) = two.connect().await;
    let client = async {
        send(&dialed, "question").await;
        dialed.shutdown().await.unwrap();
        receive_all(&dialed).await
    };
    let server = async {
        let question = receive_all(&accepted).await;
        send(&accepted, "answer").await;
        accepted.shutdown().await.unwrap();
        accepted.close().unwrap();
        question
    };
    assert_eq!(join(client, server).await, ("answer".into(), "question".into()));
    assert!((&dialed).write(b"more").await.is_err(), "half-closed is closed for writing");
}

async fn every_dial_is_accepted_once(two: NetworkerPair) {
    let listener = two.listen().await;
    let at = listener.local_addr().to_string();
    let accepts = join_all((0..20).map(|_| async {
        let conn = listener.accept().await.unwrap();
        send(&conn, &conn.peer_addr().to_string()).await;
        conn.shutdown().await.unwrap();
        conn.close().unwrap();
        conn.close().unwrap();
    }));
    let dials = join_all((0..20).map(|_| async {
        let conn = two.a.dial(&at).await.unwrap();
        assert_eq!(receive_all(&conn).await, conn.local_addr().to_string());
    }));
    join(dials, accepts).await;
}

async fn incoming_is_a_stream_that_ends_after_close(two: NetworkerPair) {
    let listener = two.listen().await;
    let at = listener.local_addr().to_string();
    let mut incoming = listener.incoming();
    for _ in 0..3 {
        let (dialed, accepted) = join(two.a.dial(&at), incoming.next()).await;
        assert_eq!(dialed.unwrap().local_addr(), accepted.unwrap().unwrap().peer_addr());
    }
    listener.close().unwrap();
    listener.close().unwrap();
    assert_eq!(*incoming.next().await.unwrap().unwrap_err().root(), Cause::SockDown);
    assert!(incoming.next().await.is_none());
}

async fn closed_end_gives_end_of_stream_to_peer(two: NetworkerPair) {
    let (dialed, accepted, _listener) = two.connect().await;
    let send_and_drop = async {
        send(&dialed, "last words").await;
        drop(dialed);
    };
    assert_eq!(join(send_and_drop, receive_all(&accepted)).await.1, "last words");
    accepted.close().unwrap();
    let error = (&accepted).read(&mut [0]).await.unwrap_err();
    let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!((inner.op, inner.root()), (Op::Read, &Cause::SockDown));
    assert_eq!(inner.addr, Some(accepted.local_addr()));
}

async fn dial_to_a_closed_listener_or_host_is_refused(two: NetworkerPair) {
    let listener = two.listen().await;
    let at = listener.local_addr().to_string();
    listener.close().unwrap();
    let error = two.a.dial(&at).await.unwrap_err();
    assert_eq!((error.op, error.root()), (Op::Dial, &Cause::ConnRefused));
    assert_eq!(&*error.network, two.a.network());
    let listener = two.listen().await;
    let at = listener.local_addr().to_string();
    two.b.close().unwrap();
    two.b.close().unwrap();
    assert_eq!(*two.a.dial(&at).await.unwrap_err().root(), Cause::ConnRefused);
    assert_eq!(*two.b.listen(two.listen_addr).await.unwrap_err().root(), Cause::HostDown);
    assert_eq!(*two.b.dial(&at).await.unwrap_err().root(), Cause::HostDown);
}

async fn dropped_accept_loses_no_connection(two: NetworkerPair) {
    let listener = two.listen().await;
    let at = listener.local_addr().to_string();
    for _ in 0..3 {
        assert!(poll!(pin!(listener.accept())).is_pending());
    }
    let (dialed, accepted) = join(two.a.dial(&at), async {
        // While the dial arrives, accepts come and go.
        loop {
            let mut accept = pin!(listener.accept());
            for _ in 0..2 {
                if let Poll::Ready(accepted) = poll!(&mut accept) {
                    return accepted;
                }
            }
            two.settle().await;
        }
    })
    .await;
    assert_eq!(dialed.unwrap().local_addr(), accepted.unwrap().peer_addr());
}

async fn two_concurrent_reads_are_both_woken(two: NetworkerPair) {
    let (dialed, accepted, _listener) = two.connect().await;
    let (first, second) = (receive(&accepted, 1), receive(&accepted, 1));
    let send = async {
        two.settle().await;
        send(&dialed, "ab").await;
    };
    let ((first, second), ()) = join(join(first, second), send).await;
    let mut received = [first, second];
    received.sort();
    assert_eq!(received, ["a", "b"]);
}

/// Whether an operation is interrupted by a closing, and why: each operation waits, then something
/// is closed.
async fn close_interrupts_blocked_operations(new_pair: impl AsyncFn() -> NetworkerPair) {
    let operations = ["accept", "read dialed", "read accepted", "write dialed"];
    let objects = ["listener", "dialed", "accepted", "a", "b"];
    let mut table = Vec::new();
    for operation in operations {
        for object in objects {
            let two = new_pair().await;
            let (dialed, accepted, listener) = two.connect().await;
            let mut blocked: BoxFuture<'_, Cause> = match operation {
                "accept" => {
                    let accept = async { listener.accept().await.unwrap_err().root().clone() };
                    accept.boxed()
                }
                "read dialed" => blocked_read(&dialed).boxed(),
                "read accepted" => blocked_read(&accepted).boxed(),
                _ => blocked_write(&dialed).boxed(),
            };
            for _ in 0..3 {
                assert!(poll!(&mut blocked).is_pending(), "{operation} does not wait");
                two.settle().await;
            }
            match object {
                "listener" => listener.close().unwrap(),
                "dialed" => dialed.close().unwrap(),
                "accepted" => accepted.close().unwrap(),
                "a" => two.a.close().unwrap(),
                _ => two.b.close().unwrap(),
            }
            two.settle().await;
            table.push((operation, object, poll!(&mut blocked)));
        }
    }
    for (operation, object, outcome) in table {
        let expected = match (operation, object) {
            ("accept", "listener") | ("read dialed" | "write dialed", "dialed") => {
                Some(Cause::SockDown)
            }
            ("read accepted", "accepted") => Some(Cause::SockDown),
            ("accept", "b") | ("read dialed" | "write dialed", "a") => Some(Cause::HostDown),
            ("read accepted", "b") => Some(Cause::HostDown),
            // The other end is gone: the end of the stream, or a reset if that had bytes unread.
            ("read dialed", "accepted" | "b") | ("read accepted", "dialed" | "a") => {
                Some(Cause::ClosedPipe)
            }
            ("write dialed", "accepted" | "b") => {
                assert!(outcome.is_ready(), "{operation}, {object} waits");
                continue;
            }
            _ => None,
        };
        match (outcome, expected) {
            (Poll::Ready(cause), Some(expected)) => {
                assert_eq!(cause, expected, "{operation} {object}");
            }
            (Poll::Pending, None) => {}
            (outcome, expected) => panic!("{operation}, {object}: {outcome:?}, not {expected:?}"),
        }
    }
}

/// Reads; the end of the stream is told as a closed pipe.
async fn blocked_read(mut conn: &Conn) -> Cause {
    match conn.read(&mut [0; 8]).await {
        Ok(count) => {
            assert_eq!(count, 0, "nobody has written");
            Cause::ClosedPipe
        }
        Err(error) => cause_of(&error),
    }
}

/// Writes more than any buffer takes.
async fn blocked_write(mut conn: &Conn) -> Cause {
    cause_of(&conn.write_all(&vec![7; 64 << 20]).await.unwrap_err())
}

// ---- on each network ----

const LOOPBACK: &str = "127.0.0.1:0";

#[test]
fn tcp_passes_the_suite() {
    run(async {
        let two = NetworkerPair::new(Tcp::new(), Tcp::new(), LOOPBACK);
        closed_end_gives_end_of_stream_to_peer(two).await;
        suite(async || NetworkerPair::new(Tcp::new(), Tcp::new(), LOOPBACK)).await;
        close_interrupts_blocked_operations(async || {
            NetworkerPair::new(Tcp::new(), Tcp::new(), LOOPBACK)
        })
        .await;
    });
}

#[test]
fn tcp_on_tokio_and_futures_executors_passes_the_suite() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(suite(async || NetworkerPair::new(Tcp::new(), Tcp::new(), LOOPBACK)));
    block_on(suite(async || NetworkerPair::new(Tcp::new(), Tcp::new(), LOOPBACK)));
}

#[test]
fn tls_over_tcp_passes_the_suite() {
    run(async {
        let two = with_tls(Tcp::new(), Tcp::new(), LOOPBACK);
        closed_end_gives_end_of_stream_to_peer(two).await;
        suite(async || with_tls(Tcp::new(), Tcp::new(), LOOPBACK)).await;
        close_interrupts_blocked_operations(async || with_tls(Tcp::new(), Tcp::new(), LOOPBACK))
            .await;
    });
}

#[test]
fn tls_over_pipenet_passes_the_suite() {
    run(async {
        let new_pair = async || {
            let net = pipenet::Network::new("t");
            with_tls(net.host("client"), net.host("server"), "")
        };
        suite(new_pair).await;
        close_interrupts_blocked_operations(new_pair).await;
        // A rendezvous cannot take what TLS says when it is closed, unless somebody reads.
    });
}

#[test]
fn tls_over_lonet_passes_the_suite() {
    let place = TempNetworks::new();
    run(async {
        let new_pair = async || {
            let net = place.config().join("").await.unwrap();
            let client = net.new_host("client").await.unwrap();
            with_tls(client, net.new_host("server").await.unwrap(), "")
        };
        suite(new_pair).await;
        close_interrupts_blocked_operations(new_pair).await;
    });
}

#[test]
fn simnet_and_tls_over_simnet_pass_the_suite() {
    async fn conforms(pair_of: fn(Host, Host, &'static str) -> NetworkerPair) {
        let new_pair = async || {
            let net = simnet::Network::new("t");
            let (a, b) = (net.new_host("client").await, net.new_host("server").await);
            let rest = || virtnet::time::sleep(Duration::from_millis(200)).boxed();
            NetworkerPair { settle: rest, ..pair_of(a.unwrap(), b.unwrap(), "") }
        };
        // What else closing does there is in its own tests.
        closed_end_gives_end_of_stream_to_peer(new_pair().await).await;
        suite(new_pair).await;
    }
    for seed in 0..10 {
        Run::new(seed).execute(|_| conforms(NetworkerPair::new)).unwrap();
        Run::new(seed).execute(|_| conforms(with_tls)).unwrap();
    }
}

#[test]
fn traced_tcp_passes_the_suite() {
    run(suite(async || {
        NetworkerPair::new(
            Traced::new(Tcp::new(), |_| ()),
            Traced::new(Tcp::new(), |_| ()),
            LOOPBACK,
        )
    }));
}

#[test]
fn tcp_names_itself_and_has_the_error_texts_of_every_network() {
    run(async {
        let tcp = Tcp::new();
        assert_eq!((tcp.network(), tcp.name()), ("tcp", "localhost"));
        let listener = tcp.listen(LOOPBACK).await.unwrap();
        let at = listener.local_addr();
        let taken = tcp.listen(&at.to_string()).await.unwrap_err();
        assert_eq!(taken.to_string(), format!("listen tcp {at}: address already in use"));
        let foreign = tcp.listen("192.0.2.1:0").await.unwrap_err().to_string();
        assert_eq!(foreign, "listen tcp 192.0.2.1:0: cannot listen on requested address");
        let unknown = tcp.dial("no-such-host.invalid:1").await.unwrap_err().to_string();
        assert_eq!(unknown, "dial tcp no-such-host.invalid:1: no such host");
        let by_name = format!("localhost:{}", at.port());
        let (named, accepted) = join(tcp.dial(&by_name), listener.accept()).await;
        assert_eq!(named.unwrap().peer_addr(), accepted.unwrap().local_addr());
        listener.close().unwrap();
        let refused = tcp.dial(&at.to_string()).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("dial tcp {at}: connection refused"));
        tcp.close().unwrap();
        let down = tcp.dial(&at.to_string()).await.unwrap_err();
        assert_eq!(down.to_string(), format!("dial tcp {at}: host is down"));
        let down = tcp.listen(LOOPBACK).await.unwrap_err();
        assert_eq!(down.to_string(), "listen tcp 127.0.0.1:0: host is down");
    });
}

#[test]
fn listener_closed_at_any_moment_fails_every_accept_with_sock_down() {
    let tcp = Tcp::new();
    for moment in 0..1000 {
        let listener = block_on(tcp.listen(LOOPBACK)).unwrap();
        let begin = Barrier::new(4);
        let accept = || {
            begin.wait();
            async_io::block_on(listener.accept()).unwrap_err().cause
        };
        std::thread::scope(|threads| {
            let accepts = [(); 3].map(|()| threads.spawn(accept));
            begin.wait();
            (0..37 * moment % 300).for_each(|_| std::hint::spin_loop());
            listener.close().unwrap();
            let causes = accepts.map(|accept| accept.join().unwrap());
            assert_eq!(causes, [const { Cause::SockDown }; 3]);
        });
    }
}

#[test]
fn tls_listener_survives_untrusting_garbage_and_silent_clients() {
    run(async {
        let (two, untrusting) = (
            with_tls(Tcp::new(), Tcp::new(), LOOPBACK),
            with_tls(Tcp::new(), Tcp::new(), LOOPBACK),
        );
        assert_eq!(two.a.network(), "tcp+tls");
        let listener = two.listen().await;
        let at = listener.local_addr().to_string();
        let accepted = pin!(listener.accept());
        let clients = async {
            let error = untrusting.a.dial(&at).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("dial tcp+tls {at}: ")), "{error}");
            assert!(error.contains("certificate"), "{error}");
            // Who speaks no TLS, and who says nothing at all, hold nobody up.
            let plain = Tcp::new();
            let mut garbage = plain.dial(&at).await.unwrap();
            garbage.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let _silent = plain.dial(&at).await.unwrap();
            two.a.dial(&at).await.unwrap()
        };
        let (dialed, accepted) = join(clients, accepted).await;
        assert_eq!(dialed.local_addr(), accepted.unwrap().peer_addr());
        let client = Tls::new(Tcp::new());
        let error = client.dial(&at).await.unwrap_err().to_string();
        assert!(error.ends_with("tls: no client configuration"), "{error}");
        let error = client.listen(LOOPBACK).await.unwrap_err().to_string();
        assert!(error.ends_with("tls: no server configuration"), "{error}");
    });
}

#[test]
fn tls_dial_waiting_for_handshake_is_interrupted_by_close() {
    run(async {
        let two = with_tls(Tcp::new(), Tcp::new(), LOOPBACK);
        let silent_listener = Tcp::new().listen(LOOPBACK).await.unwrap();
        let at = silent_listener.local_addr().to_string();
        let mut dial = pin!(two.a.dial(&at));
        for _ in 0..3 {
            assert!(poll!(&mut dial).is_pending());
            two.settle().await;
        }
        two.a.close().unwrap();
        assert_eq!(*dial.await.unwrap_err().root(), Cause::HostDown);
    });
}

#[test]
fn tls_stream_cut_off_without_close_notify_is_an_error() {
    run(async {
        let two = with_tls(Tcp::new(), Tcp::new(), LOOPBACK);
        let (plain, proxy_listener) = (Tcp::new(), Tcp::new().listen(LOOPBACK).await.unwrap());
        let backend = two.listen().await;
        let (backend_addr, at) =
            (backend.local_addr().to_string(), proxy_listener.local_addr().to_string());
        // Somebody in between lets the hand-shake pass, and then cuts the line.
        let proxy = async {
            let dialer_side = proxy_listener.accept().await.unwrap();
            let backend_side = plain.dial(&backend_addr).await.unwrap();
            let (mut to_dialer, mut to_backend) = (&dialer_side, &backend_side);
            let forward = futures::io::copy(&dialer_side, &mut to_backend);
            let reverse = futures::io::copy(&backend_side, &mut to_dialer);
            let cut = settle_real_time().then(|()| settle_real_time());
            let _ = futures::future::select(pin!(join(forward, reverse)), cut).await;
        };
        let (dialed, accepted, ()) = futures::join!(two.a.dial(&at), backend.accept(), proxy);
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        for end in [&dialed, &accepted] {
            let mut end: &Conn = end;
            let error = end.read(&mut [0]).await.unwrap_err();
            assert!(error.to_string().contains("close_notify"), "{error}");
        }
    });
}
