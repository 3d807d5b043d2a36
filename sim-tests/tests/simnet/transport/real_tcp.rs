//! The rows of the table that need no simulator, on TCP itself and on lonet: closes of every kind.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, join, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::os::Tcp;
use virtnet::{Cause, Conn, Error, Networker};

use crate::lonet::{TEST_LIMIT, TempNetworks, run};

/// A close, and what comes of it for readers and for an idle connection, before and during: the
/// words are those of the table of the simulated network, which says the same.
type Row = (&'static str, [[&'static str; 2]; 2]);

#[rustfmt::skip]
const TABLE: [Row; 8] = [
    ("nothing",         [["W|W", "W|W"], ["W|1", "W|1"]]),
    // A byte takes no time here: it is read before the close, or has arrived unread.
    ("close",           [["E|S", "E|S"], ["E|S", "E|1"]]),
    ("drop",            [["E|-", "E|-"], ["E|-", "R|-"]]),
    ("close unread",    [["R|-", "R|-"], ["R|-", "R|-"]]),
    ("drop unread",     [["R|-", "R|-"], ["R|-", "R|-"]]),
    ("half-close",      [["E|W", "E|W"], ["E|1", "E|1"]]),
    ("half-close of α", [["W|E", "W|E"], ["P|E", "W|1"]]),
    ("close of α",      [["S|E", "S|E"], ["S|E", "S|1"]]),
];

/// How long an operation is given to end, and what the fault has to arrive.
const SETTLE_TIME: Duration = Duration::from_millis(100);
const WAIT_TIME: Duration = Duration::from_millis(300);

struct ConnPair {
    ab: Conn,
    ba: RefCell<Option<Conn>>,
}

impl ConnPair {
    async fn new(a: &dyn Networker, b: &dyn Networker, at: &str) -> Self {
        let listener = b.listen(at).await.unwrap();
        let addr = listener.local_addr().to_string();
        let (ab, ba) = join(a.dial(&addr), listener.accept()).await;
        Self { ab: ab.unwrap(), ba: RefCell::new(Some(ba.unwrap())) }
    }

    fn ba(&self) -> Conn {
        self.ba.borrow().clone().expect("it was not dropped")
    }

    async fn apply(&self, fault: &str) {
        match fault {
            "close" | "close unread" => self.ba().close().unwrap(),
            "drop" | "drop unread" => drop(self.ba.borrow_mut().take()),
            "half-close" => self.ba().shutdown().await.unwrap(),
            "half-close of α" => self.ab.shutdown().await.unwrap(),
            "close of α" => self.ab.close().unwrap(),
            _ => {}
        }
    }
}

fn cause_of(error: &std::io::Error) -> Cause {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.expect("a connection's errors are the network's").root().clone()
}

async fn read(mut conn: &Conn) -> Result<usize, Cause> {
    conn.read(&mut [0; 8]).await.map_err(|error| cause_of(&error))
}

async fn perform(conn: &Conn, writes_first: bool) -> Result<usize, Cause> {
    if writes_first {
        let mut out = conn;
        out.write_all(b"x").await.map_err(|error| cause_of(&error))?;
        out.flush().await.map_err(|error| cause_of(&error))?;
    }
    read(conn).await
}

async fn outcome_letter(
    operation: impl Future<Output = Result<usize, Cause>>,
    limit: Duration,
) -> String {
    match select(Box::pin(operation), Timer::after(limit)).await {
        Either::Right(_) => "W".into(),
        Either::Left((Ok(0), _)) => "E".into(),
        Either::Left((Ok(_), _)) => "1".into(),
        Either::Left((Err(Cause::ConnReset), _)) => "R".into(),
        Either::Left((Err(Cause::BrokenPipe), _)) => "P".into(),
        Either::Left((Err(Cause::SockDown), _)) => "S".into(),
        Either::Left((Err(cause), _)) => cause.to_string(),
    }
}

/// Plays one row. What is expected to end has as long as it needs.
async fn run_cell(ends: ConnPair, fault: &str, state: &str, phase: &str, expected: &str) -> String {
    let (local, peer_letter) = expected.split_once('|').unwrap();
    let limit = |word: &str| if word == "W" { WAIT_TIME } else { TEST_LIMIT };
    if fault.ends_with("unread") {
        (&ends.ab).write_all(b"u").await.unwrap();
        Timer::after(SETTLE_TIME).await;
    }
    let peer_conn = (peer_letter != "-").then(|| ends.ba());
    if phase == "before" {
        ends.apply(fault).await;
        Timer::after(SETTLE_TIME).await;
    }
    let peer = async {
        match &peer_conn {
            Some(conn) => outcome_letter(perform(conn, false), limit(peer_letter)).await,
            None => "-".into(),
        }
    };
    let injecting = async {
        if phase == "during" {
            ends.apply(fault).await;
        }
    };
    let local = outcome_letter(perform(&ends.ab, state == "idle"), limit(local));
    let ((local, peer), ()) = join(join(local, peer), injecting).await;
    format!("{local}|{peer}")
}

async fn mismatches_with_table(ends: impl AsyncFn() -> ConnPair) -> String {
    let mut mismatches = String::new();
    for (fault, states) in TABLE {
        for (state, phases) in ["reader", "idle"].into_iter().zip(states) {
            for (phase, expected) in ["before", "during"].into_iter().zip(phases) {
                let actual = run_cell(ends().await, fault, state, phase, expected).await;
                if actual != expected {
                    mismatches += &format!("\n{fault}, {state}, {phase}: {actual}, not {expected}");
                }
            }
        }
    }
    mismatches
}

#[test]
fn closes_on_tcp_end_every_operation_as_the_table_says() {
    let tcp = Tcp::new();
    let mismatches =
        run(mismatches_with_table(async || ConnPair::new(&tcp, &tcp, "127.0.0.1:0").await));
    assert!(mismatches.is_empty(), "{mismatches}");
}

#[test]
fn closes_on_lonet_end_every_operation_as_the_table_says() {
    let temp = TempNetworks::new();
    let mismatches = run(async {
        let net = temp.config().join("t").await.unwrap();
        let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        mismatches_with_table(async || ConnPair::new(&a, &b, "").await).await
    });
    assert!(mismatches.is_empty(), "{mismatches}");
}
