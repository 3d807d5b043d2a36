//! Every way onto a network is used alike: plain TCP, and TLS over any of them.
//!
//! Knows [`Networker`] and nothing of which it is. One suite, and a table of what closing does.

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

use crate::conformance::{receive, receive_all};
use crate::lonet::{Place, run};

/// Two ways onto one network, and where the second listens.
pub(crate) struct Two {
    pub(crate) a: Arc<dyn Networker>,
    pub(crate) b: Arc<dyn Networker>,
    pub(crate) at: &'static str,
    /// Lets what is under way come to rest.
    rest: fn() -> BoxFuture<'static, ()>,
}

fn rest() -> BoxFuture<'static, ()> {
    async {
        Timer::after(Duration::from_millis(30)).await;
    }
    .boxed()
}

impl Two {
    fn new(a: impl Networker, b: impl Networker, at: &'static str) -> Self {
        Self { a: Arc::new(a), b: Arc::new(b), at, rest }
    }

    async fn listen(&self) -> Listener {
        self.b.listen(self.at).await.unwrap()
    }

    /// An open connection, and the listener that it came by.
    async fn connected(&self) -> (Conn, Conn, Listener) {
        let listener = self.listen().await;
        let at = listener.local_addr().to_string();
        let (dialed, accepted) = join(self.a.dial(&at), listener.accept()).await;
        (dialed.unwrap(), accepted.unwrap(), listener)
    }

    async fn rest(&self) {
        (self.rest)().await;
    }
}

/// Two ways onto a network, encrypted: both trust what one of them has signed for both, under all
/// the names that are dialed here.
pub(crate) fn with_tls(a: impl Networker, b: impl Networker, at: &'static str) -> Two {
    let names = ["localhost", "127.0.0.1", "server", "client"].map(String::from);
    let signed = rcgen::generate_simple_self_signed(names).unwrap();
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(signed.cert.der().clone()).unwrap();
    let key = signed.signing_key.serialize_der().try_into().unwrap();
    let (provider, chain) =
        (Arc::new(rustls::crypto::ring::default_provider()), vec![signed.cert.der().clone()]);
    let client = rustls::ClientConfig::builder_with_provider(provider.clone());
    let server = rustls::ServerConfig::builder_with_provider(provider);
    let client = client.with_safe_default_protocol_versions().unwrap();
    let server = server.with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(trusted).with_no_client_auth());
    let mut server = server.with_no_client_auth().with_single_cert(chain, key).unwrap();
    // Tickets are sent when all is done, and an accept waits until they are taken: on pipenet,
    // which has no buffers, until the dialer reads.
    server.send_tls13_tickets = 0;
    let server = Arc::new(server);
    let a = Tls::new(a).client(client.clone()).server(server.clone());
    Two::new(a, Tls::new(b).client(client).server(server), at)
}

async fn send(mut conn: &Conn, text: &str) {
    conn.write_all(text.as_bytes()).await.unwrap();
    conn.flush().await.unwrap();
}

fn cause(error: &std::io::Error) -> Cause {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.expect("a connection's errors are the network's").root().clone()
}

/// The whole suite, each part on ways of its own.
async fn suite(fresh: impl AsyncFn() -> Two) {
    both_ends_know_each_other(fresh().await).await;
    bytes_arrive_in_order_both_ways(fresh().await).await;
    a_half_close_ends_one_direction(fresh().await).await;
    every_dial_is_accepted_once(fresh().await).await;
    a_listener_is_a_stream(fresh().await).await;
    nobody_listens_on_what_is_closed(fresh().await).await;
    an_accept_that_is_dropped_takes_nothing_along(fresh().await).await;
    two_who_read_are_both_woken(fresh().await).await;
}

async fn both_ends_know_each_other(two: Two) {
    let (dialed, accepted, listener) = two.connected().await;
    assert_eq!(dialed.peer_addr(), accepted.local_addr());
    assert_eq!(dialed.local_addr(), accepted.peer_addr());
    assert_eq!(dialed.local_addr().network(), two.a.network());
    assert_eq!(listener.local_addr().network(), two.b.network());
    let error = two.a.dial("zzz").await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("dial {}", two.a.network())), "{text}");
    assert!(text.ends_with(": address zzz: missing port in address"), "{text}");
}

async fn bytes_arrive_in_order_both_ways(two: Two) {
    let (dialed, accepted, _listener) = two.connected().await;
    let text: String = (0..60_000).map(|number| format!("{number} ")).collect();
    let there = join(send(&dialed, &text), receive(&accepted, text.len()));
    let back = join(send(&accepted, &text), receive(&dialed, text.len()));
    let (((), there), ((), back)) = join(there, back).await;
    assert!(there == text && back == text);
}

async fn a_half_close_ends_one_direction(two: Two) {
    let (dialed, accepted, _listener) = two.connected().await;
    let ask = async {
        send(&dialed, "question").await;
        dialed.shutdown().await.unwrap();
        receive_all(&dialed).await
    };
    let answer = async {
        let question = receive_all(&accepted).await;
        send(&accepted, "answer").await;
        accepted.shutdown().await.unwrap();
        accepted.close().unwrap();
        question
    };
    assert_eq!(join(ask, answer).await, ("answer".into(), "question".into()));
    assert!((&dialed).write(b"more").await.is_err(), "half-closed is closed for writing");
}

async fn every_dial_is_accepted_once(two: Two) {
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

async fn a_listener_is_a_stream(two: Two) {
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

async fn closing_an_end_ends_the_stream_of_the_other(two: Two) {
    let (dialed, accepted, _listener) = two.connected().await;
    let last = async {
        send(&dialed, "last words").await;
        drop(dialed);
    };
    assert_eq!(join(last, receive_all(&accepted)).await.1, "last words");
    accepted.close().unwrap();
    let error = (&accepted).read(&mut [0]).await.unwrap_err();
    let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!((inner.op, inner.root()), (Op::Read, &Cause::SockDown));
    assert_eq!(inner.addr, Some(accepted.local_addr()));
}

async fn nobody_listens_on_what_is_closed(two: Two) {
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
    assert_eq!(*two.b.listen(two.at).await.unwrap_err().root(), Cause::HostDown);
    assert_eq!(*two.b.dial(&at).await.unwrap_err().root(), Cause::HostDown);
}

async fn an_accept_that_is_dropped_takes_nothing_along(two: Two) {
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
            two.rest().await;
        }
    })
    .await;
    assert_eq!(dialed.unwrap().local_addr(), accepted.unwrap().peer_addr());
}

async fn two_who_read_are_both_woken(two: Two) {
    let (dialed, accepted, _listener) = two.connected().await;
    let (one, other) = (receive(&accepted, 1), receive(&accepted, 1));
    let send = async {
        two.rest().await;
        send(&dialed, "ab").await;
    };
    let ((one, other), ()) = join(join(one, other), send).await;
    let mut got = [one, other];
    got.sort();
    assert_eq!(got, ["a", "b"]);
}

/// Whether an operation is interrupted by a closing, and why: each operation waits, then something
/// is closed.
async fn closing_interrupts_what_waits(fresh: impl AsyncFn() -> Two) {
    let operations = ["accept", "read dialed", "read accepted", "write dialed"];
    let closes = ["listener", "dialed", "accepted", "a", "b"];
    let mut table = Vec::new();
    for operation in operations {
        for what in closes {
            let two = fresh().await;
            let (dialed, accepted, listener) = two.connected().await;
            let mut waiting: BoxFuture<'_, Cause> = match operation {
                "accept" => {
                    let accept = async { listener.accept().await.unwrap_err().root().clone() };
                    accept.boxed()
                }
                "read dialed" => blocked_read(&dialed).boxed(),
                "read accepted" => blocked_read(&accepted).boxed(),
                _ => blocked_write(&dialed).boxed(),
            };
            for _ in 0..3 {
                assert!(poll!(&mut waiting).is_pending(), "{operation} does not wait");
                two.rest().await;
            }
            match what {
                "listener" => listener.close().unwrap(),
                "dialed" => dialed.close().unwrap(),
                "accepted" => accepted.close().unwrap(),
                "a" => two.a.close().unwrap(),
                _ => two.b.close().unwrap(),
            }
            two.rest().await;
            table.push((operation, what, poll!(&mut waiting)));
        }
    }
    for (operation, what, outcome) in table {
        let expected = match (operation, what) {
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
                assert!(outcome.is_ready(), "{operation}, {what} waits");
                continue;
            }
            _ => None,
        };
        match (outcome, expected) {
            (Poll::Ready(cause), Some(expected)) => {
                assert_eq!(cause, expected, "{operation} {what}");
            }
            (Poll::Pending, None) => {}
            (outcome, expected) => panic!("{operation}, {what}: {outcome:?}, not {expected:?}"),
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
        Err(error) => cause(&error),
    }
}

/// Writes more than any buffer takes.
async fn blocked_write(mut conn: &Conn) -> Cause {
    cause(&conn.write_all(&vec![7; 64 << 20]).await.unwrap_err())
}

// ---- on each network ----

const HERE: &str = "127.0.0.1:0";

#[test]
fn tcp_conforms() {
    run(async {
        let two = Two::new(Tcp::new(), Tcp::new(), HERE);
        closing_an_end_ends_the_stream_of_the_other(two).await;
        suite(async || Two::new(Tcp::new(), Tcp::new(), HERE)).await;
        closing_interrupts_what_waits(async || Two::new(Tcp::new(), Tcp::new(), HERE)).await;
    });
}

#[test]
fn tcp_conforms_on_tokio_and_on_an_executor_that_knows_no_reactor() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(suite(async || Two::new(Tcp::new(), Tcp::new(), HERE)));
    block_on(suite(async || Two::new(Tcp::new(), Tcp::new(), HERE)));
}

#[test]
fn tls_over_tcp_conforms() {
    run(async {
        let two = with_tls(Tcp::new(), Tcp::new(), HERE);
        closing_an_end_ends_the_stream_of_the_other(two).await;
        suite(async || with_tls(Tcp::new(), Tcp::new(), HERE)).await;
        closing_interrupts_what_waits(async || with_tls(Tcp::new(), Tcp::new(), HERE)).await;
    });
}

#[test]
fn tls_over_pipenet_conforms() {
    run(async {
        let fresh = async || {
            let net = pipenet::Network::new("t");
            with_tls(net.host("client"), net.host("server"), "")
        };
        suite(fresh).await;
        closing_interrupts_what_waits(fresh).await;
        // A rendezvous cannot take what TLS says when it is closed, unless somebody reads.
    });
}

#[test]
fn tls_over_lonet_conforms() {
    let place = Place::new();
    run(async {
        let fresh = async || {
            let net = place.config().join("").await.unwrap();
            let client = net.new_host("client").await.unwrap();
            with_tls(client, net.new_host("server").await.unwrap(), "")
        };
        suite(fresh).await;
        closing_interrupts_what_waits(fresh).await;
    });
}

#[test]
fn simnet_and_tls_over_it_conform() {
    async fn conforms(way: fn(Host, Host, &'static str) -> Two) {
        let fresh = async || {
            let net = simnet::Network::new("t");
            let (a, b) = (net.new_host("client").await, net.new_host("server").await);
            let rest = || virtnet::time::sleep(Duration::from_millis(200)).boxed();
            Two { rest, ..way(a.unwrap(), b.unwrap(), "") }
        };
        // What else closing does there is in its own tests.
        closing_an_end_ends_the_stream_of_the_other(fresh().await).await;
        suite(fresh).await;
    }
    for seed in 0..10 {
        Run::new(seed).execute(|_| conforms(Two::new)).unwrap();
        Run::new(seed).execute(|_| conforms(with_tls)).unwrap();
    }
}

#[test]
fn what_is_traced_conforms_as_well() {
    run(suite(async || {
        Two::new(Traced::new(Tcp::new(), |_| ()), Traced::new(Tcp::new(), |_| ()), HERE)
    }));
}

#[test]
fn tcp_says_what_it_is_and_what_is_wrong_in_the_words_of_every_network() {
    run(async {
        let tcp = Tcp::new();
        assert_eq!((tcp.network(), tcp.name()), ("tcp", "localhost"));
        let listener = tcp.listen(HERE).await.unwrap();
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
        let down = tcp.listen(HERE).await.unwrap_err();
        assert_eq!(down.to_string(), "listen tcp 127.0.0.1:0: host is down");
    });
}

#[test]
fn a_listener_closed_at_any_moment_is_down_for_those_who_accept() {
    let tcp = Tcp::new();
    for moment in 0..1000 {
        let listener = block_on(tcp.listen(HERE)).unwrap();
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
fn tls_says_whom_it_does_not_trust_and_the_listener_goes_on() {
    run(async {
        let (two, stranger) =
            (with_tls(Tcp::new(), Tcp::new(), HERE), with_tls(Tcp::new(), Tcp::new(), HERE));
        assert_eq!(two.a.network(), "tcp+tls");
        let listener = two.listen().await;
        let at = listener.local_addr().to_string();
        let accepted = pin!(listener.accept());
        let refused = async {
            let error = stranger.a.dial(&at).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("dial tcp+tls {at}: ")), "{error}");
            assert!(error.contains("certificate"), "{error}");
            // Who speaks no TLS, and who says nothing at all, hold nobody up.
            let plain = Tcp::new();
            let mut garbage = plain.dial(&at).await.unwrap();
            garbage.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let _silent = plain.dial(&at).await.unwrap();
            two.a.dial(&at).await.unwrap()
        };
        let (dialed, accepted) = join(refused, accepted).await;
        assert_eq!(dialed.local_addr(), accepted.unwrap().peer_addr());
        let client = Tls::new(Tcp::new());
        let error = client.dial(&at).await.unwrap_err().to_string();
        assert!(error.ends_with("tls: no client configuration"), "{error}");
        let error = client.listen(HERE).await.unwrap_err().to_string();
        assert!(error.ends_with("tls: no server configuration"), "{error}");
    });
}

#[test]
fn a_dial_that_waits_for_a_hand_shake_is_interrupted_by_closing() {
    run(async {
        let two = with_tls(Tcp::new(), Tcp::new(), HERE);
        let mute = Tcp::new().listen(HERE).await.unwrap();
        let at = mute.local_addr().to_string();
        let mut dial = pin!(two.a.dial(&at));
        for _ in 0..3 {
            assert!(poll!(&mut dial).is_pending());
            two.rest().await;
        }
        two.a.close().unwrap();
        assert_eq!(*dial.await.unwrap_err().root(), Cause::HostDown);
    });
}

#[test]
fn a_stream_that_is_cut_off_is_no_end_of_a_stream() {
    run(async {
        let two = with_tls(Tcp::new(), Tcp::new(), HERE);
        let (plain, wall) = (Tcp::new(), Tcp::new().listen(HERE).await.unwrap());
        let behind = two.listen().await;
        let (through, at) = (behind.local_addr().to_string(), wall.local_addr().to_string());
        // Somebody in between lets the hand-shake pass, and then cuts the line.
        let between = async {
            let near = wall.accept().await.unwrap();
            let far = plain.dial(&through).await.unwrap();
            let (mut to_near, mut to_far) = (&near, &far);
            let there = futures::io::copy(&near, &mut to_far);
            let back = futures::io::copy(&far, &mut to_near);
            let cut = rest().then(|()| rest());
            let _ = futures::future::select(pin!(join(there, back)), cut).await;
        };
        let (dialed, accepted, ()) = futures::join!(two.a.dial(&at), behind.accept(), between);
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        for end in [&dialed, &accepted] {
            let mut end: &Conn = end;
            let error = end.read(&mut [0]).await.unwrap_err();
            assert!(error.to_string().contains("close_notify"), "{error}");
        }
    });
}
