//! The closing table on networks of the operating system: lonet, TCP and TLS.
//!
//! The cases are those of pipenet. `allowed_outcomes` lists the rules by which another network may
//! differ; everything else must be equal. All cases of a table run concurrently.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_io::Timer;
use futures::FutureExt;
use futures::future::{join, join_all};
use futures::io::AsyncWriteExt;
use futures::stream::{FuturesUnordered, StreamExt};
use virtnet::os::Tcp;
use virtnet::{Conn, Error, Listener, Networker, SubNetwork};

use crate::lonet::{TEST_LIMIT, TempNetworks, run};
use crate::net::closing::{CLOSED_BEFORE, CLOSED_DURING, CLOSED_PIPE, ClosingCase};
use crate::os::conformance::with_tls;
use crate::support::read;

/// How long what waits is given to do something else; all wait at the same time.
const WAIT_TIME: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum NetworkKind {
    Lonet,
    /// Each host on a subnetwork of its own; that of α is closed.
    LonetSubnetworks,
    Tcp,
    Tls,
}

impl NetworkKind {
    fn is_lonet(self) -> bool {
        matches!(self, Self::Lonet | Self::LonetSubnetworks)
    }
}

/// The fixture of two hosts, as any network has it.
struct ConnectedPair {
    /// The subnetwork of α, and where it keeps its registry.
    net: Option<(SubNetwork, TempNetworks)>,
    a: Arc<dyn Networker>,
    b: Arc<dyn Networker>,
    /// Where to listen on any port.
    listen_addr: &'static str,
    la: Listener,
    lb: Listener,
    ab: Conn,
    ba: Conn,
}

impl ConnectedPair {
    async fn new(
        net: Option<(SubNetwork, TempNetworks)>,
        a: Arc<dyn Networker>,
        b: Arc<dyn Networker>,
        listen_addr: &'static str,
    ) -> Self {
        let (la, lb) = (a.listen(listen_addr).await.unwrap(), b.listen(listen_addr).await.unwrap());
        let peer_listen_addr = lb.local_addr().to_string();
        let (ab, ba) = join(a.dial(&peer_listen_addr), lb.accept()).await;
        let (ab, ba) = (ab.unwrap(), ba.unwrap());
        Self { net, a, b, listen_addr, la, lb, ab, ba }
    }

    fn net(&self) -> &SubNetwork {
        &self.net.as_ref().expect("it is in a subnetwork").0
    }

    fn close_object(&self, object: &str) {
        match object {
            "net" => self.net().close(),
            "α" => self.a.close(),
            "β" => self.b.close(),
            "lα" => self.la.close(),
            "lβ" => self.lb.close(),
            "cαβ" => self.ab.close(),
            "cβα" => self.ba.close(),
            _ => panic!("there is no {object}"),
        }
        .unwrap();
    }

    /// Does what is to be interrupted; a write is of `size` bytes.
    async fn run_operation(&self, operation: &str, size: usize) -> String {
        match operation {
            "new host" => {
                text_or_error(self.net().new_host("γ").await.map(|host| host.name().into()))
            }
            "listen α" => text_or_error(
                self.a.listen(self.listen_addr).await.map(|door| door.local_addr().to_string()),
            ),
            "dial α->β:1" => dial_text(self.a.dial(&self.lb.local_addr().to_string()).await),
            "accept lα" => dial_text(self.la.accept().await),
            "read cαβ" => read_text(&self.ab).await,
            "read cβα" => read_text(&self.ba).await,
            "write cαβ" => write_text(&self.ab, size).await,
            "write cβα" => write_text(&self.ba, size).await,
            _ => panic!("nobody knows the operation {operation}"),
        }
    }
}

fn text_or_error(result: Result<String, Error>) -> String {
    result.unwrap_or_else(|error| error.to_string())
}

fn dial_text(result: Result<Conn, Error>) -> String {
    text_or_error(result.map(|_| "connected".to_string()))
}

async fn read_text(conn: &Conn) -> String {
    let mut read = read(conn, 8);
    match poll_fn(|cx| read.poll_with(cx)).await {
        Ok(text) if text.is_empty() => "end of stream".to_string(),
        Ok(text) | Err(text) => text,
    }
}

async fn write_text(mut conn: &Conn, size: usize) -> String {
    match conn.write_all(&vec![7; size]).await {
        Ok(()) => "written".to_string(),
        Err(error) => error.to_string(),
    }
}

/// More than all buffers take together.
const LARGE_WRITE_BYTES: usize = 64 << 20;

const UNREAD_CAUSES: [&str; 2] = ["broken pipe", "connection reset by peer"];

/// What may come of a cell here: what comes of it on pipenet, but for these rules.
fn allowed_outcomes(
    network: NetworkKind,
    during: bool,
    (operation, _, expected): ClosingCase,
) -> Vec<String> {
    let writes = operation.starts_with("write");
    let outcomes: &[&str] = match expected {
        // What is written is the system's at once, as long as it has room.
        "waits" if writes && !during => &["written"],
        // It has room even if nobody reads any more: a write may only hear of it from the next.
        _ if writes && expected.ends_with(CLOSED_PIPE) && !during => {
            &["written", UNREAD_CAUSES[0], UNREAD_CAUSES[1]]
        }
        _ if writes && expected.ends_with(CLOSED_PIPE) => &UNREAD_CAUSES,
        // The system connects for a listener before that accepts. So TCP does not wait for it, and
        // TLS, which does, was connected and is cut off.
        "waits" if operation.starts_with("dial") && network == NetworkKind::Tcp => &["connected"],
        _ if during && network == NetworkKind::Tls && expected.ends_with("connection refused") => {
            &["connection reset by peer"]
        }
        _ => &[],
    };
    if !outcomes.is_empty() {
        return outcomes.iter().map(ToString::to_string).collect();
    }
    match network {
        NetworkKind::Lonet | NetworkKind::LonetSubnetworks => {
            vec![expected.replace("pipet", "lonett")]
        }
        // Ports are the system's there; what counts is the cause.
        _ => vec![last_segment(expected).to_string()],
    }
}

/// What stands last in an error.
fn last_segment(text: &str) -> &str {
    text.rsplit(": ").next().unwrap_or_default()
}

/// Whether an outcome is one of those.
fn is_allowed(network: NetworkKind, allowed: &[String], outcome: &str) -> bool {
    let port = |text: &str| text.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
    allowed.iter().any(|candidate| {
        candidate == outcome
            || (!network.is_lonet() || UNREAD_CAUSES.contains(&&**candidate))
                && *candidate == last_segment(outcome)
            // Any port of the system's is as good as the one that it is on pipenet.
            || !network.is_lonet() && port(candidate) && port(outcome)
    })
}

/// What is expected of a cell: for β the closing of another subnetwork is that of a host there.
fn expected_case(
    network: NetworkKind,
    (operation, object, expected): ClosingCase,
    cells: &[ClosingCase],
) -> ClosingCase {
    let is_peer_subnetwork =
        network == NetworkKind::LonetSubnetworks && object == "net" && operation.ends_with("cβα");
    let host_case = cells
        .iter()
        .find(|(one, other, _)| is_peer_subnetwork && *one == operation && *other == "α");
    (operation, object, host_case.map_or(expected, |(.., expected)| expected))
}

/// Plays a cell; says what is wrong with it.
///
/// The operation is polled when it is woken and not before, whatever else goes on.
async fn case_mismatch(
    network: NetworkKind,
    during: bool,
    cell: ClosingCase,
    pair: &ConnectedPair,
) -> Option<String> {
    let (operation, object, _) = cell;
    let allowed = allowed_outcomes(network, during, cell);
    let closed = AtomicBool::new(false);
    let operation_future = async {
        if !during {
            // News of the closing comes through the system.
            Timer::after(WAIT_TIME).await;
        }
        let outcome =
            pair.run_operation(operation, if during { LARGE_WRITE_BYTES } else { 5 }).await;
        (outcome, closed.load(Ordering::Relaxed))
    };
    let close_future = async {
        if during {
            Timer::after(WAIT_TIME).await;
        }
        closed.store(true, Ordering::Relaxed);
        pair.close_object(object);
        let limit = if allowed == ["waits"] { WAIT_TIME } else { TEST_LIMIT / 3 };
        Timer::after(WAIT_TIME + limit).await;
        ("waits".to_string(), true)
    };
    let mut outcomes =
        FuturesUnordered::from_iter([operation_future.boxed_local(), close_future.boxed_local()]);
    let (outcome, was_blocked) = outcomes.next().await?;
    // TCP is connected before it can be interrupted.
    let is_right = match was_blocked {
        true => is_allowed(network, &allowed, &outcome),
        false => network == NetworkKind::Tcp && outcome == "connected",
    };
    let when = if was_blocked { "after" } else { "before" };
    (!is_right).then(|| format!("{operation}, {when} {object}: {outcome:?}, and not {allowed:?}"))
}

/// Plays both tables, each cell with a fixture of its own.
async fn run_tables(network: NetworkKind, new_pair: impl AsyncFn() -> ConnectedPair) {
    let new_pair = &new_pair;
    for (during, cells) in [(false, &CLOSED_BEFORE[..]), (true, &CLOSED_DURING[..])] {
        // Where there is no subnetwork nobody closes it, or makes a host in it.
        let applies = |(operation, object, _): &&ClosingCase| {
            network.is_lonet() || *operation != "new host" && *object != "net"
        };
        let results = cells.iter().filter(applies).map(|cell| async move {
            let pair = new_pair().await;
            case_mismatch(network, during, expected_case(network, *cell, cells), &pair).await
        });
        let mismatches: Vec<String> = join_all(results).await.into_iter().flatten().collect();
        assert!(mismatches.is_empty(), "{network:?}, during: {during}\n{}", mismatches.join("\n"));
    }
}

#[test]
fn closing_table_on_lonet_matches_pipenet() {
    run(run_tables(NetworkKind::Lonet, async || {
        let place = TempNetworks::new();
        let net = place.config().join("t").await.unwrap();
        let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        ConnectedPair::new(Some((net, place)), Arc::new(a), Arc::new(b), "").await
    }));
}

#[test]
fn closing_table_between_lonet_subnetworks_matches_pipenet() {
    run(run_tables(NetworkKind::LonetSubnetworks, async || {
        let place = TempNetworks::new();
        let (local_net, peer_net) =
            (place.config().join("t").await, place.config().join("t").await);
        let (local_net, peer_net) = (local_net.unwrap(), peer_net.unwrap());
        let (a, b) =
            (local_net.new_host("α").await.unwrap(), peer_net.new_host("β").await.unwrap());
        ConnectedPair::new(Some((local_net, place)), Arc::new(a), Arc::new(b), "").await
    }));
}

const LOOPBACK: &str = "127.0.0.1:0";

#[test]
fn closing_table_on_tcp_matches_pipenet_where_it_applies() {
    run(run_tables(NetworkKind::Tcp, async || {
        ConnectedPair::new(None, Arc::new(Tcp::new()), Arc::new(Tcp::new()), LOOPBACK).await
    }));
}

#[test]
fn closing_table_on_tls_matches_pipenet_where_it_applies() {
    run(run_tables(NetworkKind::Tls, async || {
        let two = with_tls(Tcp::new(), Tcp::new(), LOOPBACK);
        ConnectedPair::new(None, two.a, two.b, LOOPBACK).await
    }));
}
