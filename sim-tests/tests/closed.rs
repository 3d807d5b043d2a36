//! The table of closings once more, on networks of the operating system: lonet, TCP and TLS.
//!
//! Knows the cells as they are on pipenet, and by which rules other networks may differ from them;
//! what no rule allows has to be the same. All cells of a table are played at once.

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

use crate::closing::{BEFORE, CLOSED_PIPE, Cell, DURING};
use crate::lonet::{LIMIT, Place, run};
use crate::os::with_tls;
use crate::support::read;

/// How long what waits is given to do something else; all wait at the same time.
const A_WHILE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Lonet,
    /// Each host on a subnetwork of its own; that of α is closed.
    Lonets,
    Tcp,
    Tls,
}

impl Way {
    fn is_lonet(self) -> bool {
        matches!(self, Self::Lonet | Self::Lonets)
    }
}

/// The fixture of two hosts, as any network has it.
struct Ends {
    /// The subnetwork of α, and where it keeps its registry.
    net: Option<(SubNetwork, Place)>,
    a: Arc<dyn Networker>,
    b: Arc<dyn Networker>,
    /// Where to listen on any port.
    at: &'static str,
    la: Listener,
    lb: Listener,
    ab: Conn,
    ba: Conn,
}

impl Ends {
    async fn new(
        net: Option<(SubNetwork, Place)>,
        a: Arc<dyn Networker>,
        b: Arc<dyn Networker>,
        at: &'static str,
    ) -> Self {
        let (la, lb) = (a.listen(at).await.unwrap(), b.listen(at).await.unwrap());
        let there = lb.local_addr().to_string();
        let (ab, ba) = join(a.dial(&there), lb.accept()).await;
        let (ab, ba) = (ab.unwrap(), ba.unwrap());
        Self { net, a, b, at, la, lb, ab, ba }
    }

    fn net(&self) -> &SubNetwork {
        &self.net.as_ref().expect("it is in a subnetwork").0
    }

    fn close(&self, what: &str) {
        match what {
            "net" => self.net().close(),
            "α" => self.a.close(),
            "β" => self.b.close(),
            "lα" => self.la.close(),
            "lβ" => self.lb.close(),
            "cαβ" => self.ab.close(),
            "cβα" => self.ba.close(),
            _ => panic!("there is no {what}"),
        }
        .unwrap();
    }

    /// Does what is to be interrupted; a write is of `size` bytes.
    async fn operate(&self, operation: &str, size: usize) -> String {
        match operation {
            "new host" => told(self.net().new_host("γ").await.map(|host| host.name().into())),
            "listen α" => {
                told(self.a.listen(self.at).await.map(|door| door.local_addr().to_string()))
            }
            "dial α->β:1" => connected(self.a.dial(&self.lb.local_addr().to_string()).await),
            "accept lα" => connected(self.la.accept().await),
            "read cαβ" => read_once(&self.ab).await,
            "read cβα" => read_once(&self.ba).await,
            "write cαβ" => write(&self.ab, size).await,
            "write cβα" => write(&self.ba, size).await,
            _ => panic!("nobody knows the operation {operation}"),
        }
    }
}

fn told(result: Result<String, Error>) -> String {
    result.unwrap_or_else(|error| error.to_string())
}

fn connected(result: Result<Conn, Error>) -> String {
    told(result.map(|_| "connected".to_string()))
}

async fn read_once(conn: &Conn) -> String {
    let mut read = read(conn, 8);
    match poll_fn(|cx| read.poll_with(cx)).await {
        Ok(text) if text.is_empty() => "end of stream".to_string(),
        Ok(text) | Err(text) => text,
    }
}

async fn write(mut conn: &Conn, size: usize) -> String {
    match conn.write_all(&vec![7; size]).await {
        Ok(()) => "written".to_string(),
        Err(error) => error.to_string(),
    }
}

/// More than all buffers take together.
const MUCH: usize = 64 << 20;

const WENT_UNREAD: [&str; 2] = ["broken pipe", "connection reset by peer"];

/// What may come of a cell here: what comes of it on pipenet, but for these rules.
fn allowed(way: Way, during: bool, (operation, _, expected): Cell) -> Vec<String> {
    let writes = operation.starts_with("write");
    let ends: &[&str] = match expected {
        // What is written is the system's at once, as long as it has room.
        "waits" if writes && !during => &["written"],
        // It has room even if nobody reads any more: a write may only hear of it from the next.
        _ if writes && expected.ends_with(CLOSED_PIPE) && !during => {
            &["written", WENT_UNREAD[0], WENT_UNREAD[1]]
        }
        _ if writes && expected.ends_with(CLOSED_PIPE) => &WENT_UNREAD,
        // The system connects for a listener before that accepts. So TCP does not wait for it, and
        // TLS, which does, was connected and is cut off.
        "waits" if operation.starts_with("dial") && way == Way::Tcp => &["connected"],
        _ if during && way == Way::Tls && expected.ends_with("connection refused") => {
            &["connection reset by peer"]
        }
        _ => &[],
    };
    if !ends.is_empty() {
        return ends.iter().map(ToString::to_string).collect();
    }
    match way {
        Way::Lonet | Way::Lonets => vec![expected.replace("pipet", "lonett")],
        // Ports are the system's there; what counts is the cause.
        _ => vec![cause(expected).to_string()],
    }
}

/// What stands last in an error.
fn cause(text: &str) -> &str {
    text.rsplit(": ").next().unwrap_or_default()
}

/// Whether an outcome is one of those.
fn is_allowed(way: Way, allowed: &[String], outcome: &str) -> bool {
    let port = |text: &str| text.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
    allowed.iter().any(|one| {
        one == outcome
            || (!way.is_lonet() || WENT_UNREAD.contains(&&**one)) && *one == cause(outcome)
            // Any port of the system's is as good as the one that it is on pipenet.
            || !way.is_lonet() && port(one) && port(outcome)
    })
}

/// What is expected of a cell: for β the closing of another subnetwork is that of a host there.
fn expected(way: Way, (operation, what, expected): Cell, cells: &[Cell]) -> Cell {
    let far = way == Way::Lonets && what == "net" && operation.ends_with("cβα");
    let same = cells.iter().find(|(one, other, _)| far && *one == operation && *other == "α");
    (operation, what, same.map_or(expected, |(.., expected)| expected))
}

/// Plays a cell; says what is wrong with it.
///
/// The operation is polled when it is woken and not before, whatever else goes on.
async fn wrong(way: Way, during: bool, cell: Cell, ends: &Ends) -> Option<String> {
    let (operation, what, _) = cell;
    let allowed = allowed(way, during, cell);
    let closed = AtomicBool::new(false);
    let operating = async {
        if !during {
            // News of the closing comes through the system.
            Timer::after(A_WHILE).await;
        }
        let outcome = ends.operate(operation, if during { MUCH } else { 5 }).await;
        (outcome, closed.load(Ordering::Relaxed))
    };
    let closing = async {
        if during {
            Timer::after(A_WHILE).await;
        }
        closed.store(true, Ordering::Relaxed);
        ends.close(what);
        let limit = if allowed == ["waits"] { A_WHILE } else { LIMIT / 3 };
        Timer::after(A_WHILE + limit).await;
        ("waits".to_string(), true)
    };
    let mut both = FuturesUnordered::from_iter([operating.boxed_local(), closing.boxed_local()]);
    let (outcome, waited) = both.next().await?;
    // TCP is connected before it can be interrupted.
    let right = match waited {
        true => is_allowed(way, &allowed, &outcome),
        false => way == Way::Tcp && outcome == "connected",
    };
    let when = if waited { "after" } else { "before" };
    (!right).then(|| format!("{operation}, {when} {what}: {outcome:?}, and not {allowed:?}"))
}

/// Plays both tables, each cell with a fixture of its own.
async fn table(way: Way, fresh: impl AsyncFn() -> Ends) {
    let fresh = &fresh;
    for (during, cells) in [(false, &BEFORE[..]), (true, &DURING[..])] {
        // Where there is no subnetwork nobody closes it, or makes a host in it.
        let applies = |(operation, what, _): &&Cell| {
            way.is_lonet() || *operation != "new host" && *what != "net"
        };
        let played = cells.iter().filter(applies).map(|cell| async move {
            let ends = fresh().await;
            wrong(way, during, expected(way, *cell, cells), &ends).await
        });
        let wrong: Vec<String> = join_all(played).await.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{way:?}, during: {during}\n{}", wrong.join("\n"));
    }
}

#[test]
fn on_lonet_every_closing_does_what_it_does_on_pipenet() {
    run(table(Way::Lonet, async || {
        let place = Place::new();
        let net = place.config().join("t").await.unwrap();
        let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        Ends::new(Some((net, place)), Arc::new(a), Arc::new(b), "").await
    }));
}

#[test]
fn on_lonet_it_does_so_between_subnetworks_too() {
    run(table(Way::Lonets, async || {
        let place = Place::new();
        let (near, far) = (place.config().join("t").await, place.config().join("t").await);
        let (near, far) = (near.unwrap(), far.unwrap());
        let (a, b) = (near.new_host("α").await.unwrap(), far.new_host("β").await.unwrap());
        Ends::new(Some((near, place)), Arc::new(a), Arc::new(b), "").await
    }));
}

const HERE: &str = "127.0.0.1:0";

#[test]
fn on_tcp_it_does_so_where_there_is_such_a_thing() {
    run(table(Way::Tcp, async || {
        Ends::new(None, Arc::new(Tcp::new()), Arc::new(Tcp::new()), HERE).await
    }));
}

#[test]
fn on_tls_it_does_so_where_there_is_such_a_thing() {
    run(table(Way::Tls, async || {
        let two = with_tls(Tcp::new(), Tcp::new(), HERE);
        Ends::new(None, two.a, two.b, HERE).await
    }));
}
