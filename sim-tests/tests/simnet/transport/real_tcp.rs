//! The rows of the table that need no simulator, on TCP itself and on lonet: closes of every kind.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, join, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::os::Tcp;
use virtnet::{Cause, Conn, Error, Networker};

use crate::lonet::{LIMIT, Place, run};

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
const REST: Duration = Duration::from_millis(100);
const A_WHILE: Duration = Duration::from_millis(300);

struct Ends {
    ab: Conn,
    ba: RefCell<Option<Conn>>,
}

impl Ends {
    async fn new(a: &dyn Networker, b: &dyn Networker, at: &str) -> Self {
        let listener = b.listen(at).await.unwrap();
        let there = listener.local_addr().to_string();
        let (ab, ba) = join(a.dial(&there), listener.accept()).await;
        Self { ab: ab.unwrap(), ba: RefCell::new(Some(ba.unwrap())) }
    }

    fn ba(&self) -> Conn {
        self.ba.borrow().clone().expect("it was not dropped")
    }

    async fn strike(&self, fault: &str) {
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

fn cause(error: &std::io::Error) -> Cause {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.expect("a connection's errors are the network's").root().clone()
}

async fn read(mut conn: &Conn) -> Result<usize, Cause> {
    conn.read(&mut [0; 8]).await.map_err(|error| cause(&error))
}

async fn operate(conn: &Conn, writes: bool) -> Result<usize, Cause> {
    if writes {
        let mut out = conn;
        out.write_all(b"x").await.map_err(|error| cause(&error))?;
        out.flush().await.map_err(|error| cause(&error))?;
    }
    read(conn).await
}

async fn told(operation: impl Future<Output = Result<usize, Cause>>, limit: Duration) -> String {
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
async fn play(ends: Ends, fault: &str, state: &str, when: &str, expected: &str) -> String {
    let (near, far) = expected.split_once('|').unwrap();
    let limit = |word: &str| if word == "W" { A_WHILE } else { LIMIT };
    if fault.ends_with("unread") {
        (&ends.ab).write_all(b"u").await.unwrap();
        Timer::after(REST).await;
    }
    let far_end = (far != "-").then(|| ends.ba());
    if when == "before" {
        ends.strike(fault).await;
        Timer::after(REST).await;
    }
    let peer = async {
        match &far_end {
            Some(conn) => told(operate(conn, false), limit(far)).await,
            None => "-".into(),
        }
    };
    let strike = async {
        if when == "during" {
            ends.strike(fault).await;
        }
    };
    let near = told(operate(&ends.ab, state == "idle"), limit(near));
    let ((near, peer), ()) = join(join(near, peer), strike).await;
    format!("{near}|{peer}")
}

async fn check(ends: impl AsyncFn() -> Ends) -> String {
    let mut wrong = String::new();
    for (fault, states) in TABLE {
        for (state, whens) in ["reader", "idle"].into_iter().zip(states) {
            for (when, expected) in ["before", "during"].into_iter().zip(whens) {
                let actual = play(ends().await, fault, state, when, expected).await;
                if actual != expected {
                    wrong += &format!("\n{fault}, {state}, {when}: {actual}, not {expected}");
                }
            }
        }
    }
    wrong
}

#[test]
fn closes_on_tcp_end_every_operation_as_the_table_says() {
    let tcp = Tcp::new();
    let wrong = run(check(async || Ends::new(&tcp, &tcp, "127.0.0.1:0").await));
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn closes_on_lonet_end_every_operation_as_the_table_says() {
    let place = Place::new();
    let wrong = run(async {
        let net = place.config().join("t").await.unwrap();
        let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        check(async || Ends::new(&a, &b, "").await).await
    });
    assert!(wrong.is_empty(), "{wrong}");
}
