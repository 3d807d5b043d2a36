//! The table of closings, object × operation × (before, during), on the simulated network: as on
//! pipenet, but that news takes its time, and that a write does not wait to be read.

use std::time::Duration;

use futures::future::{Either, select};
use futures::pin_mut;
use virtnet::time;

use crate::simnet::{Two, exact, fifo, ms, secs, two};
use crate::support::{ManualTask, accept, dial, read, write};

const CLOSE: [&str; 7] = ["net", "α", "β", "lα", "lβ", "cαβ", "cβα"];

type Told = Result<String, String>;

/// An operation on the fixture; `la` is a listener on α, of port 2.
async fn operate(t: &Two, la: &virtnet::Listener, operation: &str) -> Told {
    let conn = |dialed: Result<virtnet::Conn, String>| dialed.map(|conn| format!("{conn:?}"));
    let count = |wrote: Result<usize, String>| wrote.map(|count| count.to_string());
    match operation {
        "new host" => match t.net.region("").new_host("γ").await {
            Ok(host) => Ok(host.name().into()),
            Err(error) => Err(error.to_string()),
        },
        "listen α" => match t.a.listen("").await {
            Ok(listener) => Ok(listener.local_addr().to_string()),
            Err(error) => Err(error.to_string()),
        },
        "dial α->β:1" => conn(run(dial(&t.a, "β:1")).await),
        "accept lα" => conn(run(accept(la)).await),
        "read cαβ" => run(read(&t.ab, 8)).await,
        "read cβα" => run(read(&t.ba, 8)).await,
        "write cαβ" => count(run(write(&t.ab, "hello")).await),
        "write cβα" => count(run(write(&t.ba, "hello")).await),
        _ => panic!("nobody knows the operation {operation}"),
    }
}

/// Lets the executor run what is otherwise polled by hand.
async fn run<T>(mut task: ManualTask<T>) -> T {
    std::future::poll_fn(|cx| task.poll_with(cx)).await
}

fn close(t: &Two, la: &virtnet::Listener, what: &str) {
    match what {
        "net" => t.net.region("").close(),
        "α" => t.a.close(),
        "β" => t.b.close(),
        "lα" => la.close(),
        "lβ" => t.lb.close(),
        "cαβ" => t.ab.close(),
        "cβα" => t.ba.close(),
        _ => panic!("there is no {what}"),
    }
    .unwrap();
}

/// Waits a while for an operation; says how long it took and what came of it.
async fn outcome(operation: impl Future<Output = Told>) -> String {
    let start = time::now();
    let limit = time::sleep(secs(1));
    pin_mut!(operation, limit);
    match select(operation, limit).await {
        Either::Left((Ok(text) | Err(text), _)) => {
            let text = if text.is_empty() { "end of stream".into() } else { text };
            match time::now() - start {
                Duration::ZERO => text,
                took => format!("{took:?}: {text}"),
            }
        }
        Either::Right(_) => "waits".into(),
    }
}

/// Plays all cells and compares; what differs is printed as it would have to stand below.
fn check(expected: &'static [(&str, &str, &str)], during: bool) {
    let mut operations: Vec<_> = expected.iter().map(|(operation, ..)| *operation).collect();
    operations.dedup();
    let cells = operations.iter().flat_map(|operation| CLOSE.map(|what| (*operation, what)));
    let mut wrong = String::new();
    let mut played = 0;
    for (operation, what) in cells {
        let actual = fifo(async move |_| {
            // A window that is full in both directions: a write waits.
            let t = two(exact().window(if during { 4 } else { 64 })).await;
            let la = t.a.listen("").await.unwrap();
            if during {
                crate::simnet::write_all(&t.ab, b"full").await.unwrap();
                crate::simnet::write_all(&t.ba, b"full").await.unwrap();
                time::sleep(ms(500)).await;
                if operation.starts_with("read") {
                    for conn in [&t.ab, &t.ba] {
                        crate::simnet::read_exact(conn, 4).await;
                    }
                }
                let told = outcome(async {
                    let closing = async {
                        close(&t, &la, what);
                        std::future::pending::<()>().await;
                    };
                    let operating = operate(&t, &la, operation);
                    pin_mut!(closing, operating);
                    // The operation is polled first, and waits.
                    match select(operating, closing).await {
                        Either::Left((told, _)) => told,
                        Either::Right(_) => unreachable!("closing has no end"),
                    }
                });
                told.await
            } else {
                close(&t, &la, what);
                time::sleep(ms(100)).await;
                outcome(operate(&t, &la, operation)).await
            }
        });
        played += 1;
        if !expected.contains(&(operation, what, &actual)) {
            wrong += &format!("\n    ({operation:?}, {what:?}, {actual:?}),");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(played, expected.len(), "a cell is missing or stands twice");
}

#[test]
fn what_begins_after_a_closing_says_what_is_down() {
    check(&BEFORE, false);
}

#[test]
fn what_is_blocked_is_woken_by_a_closing_that_concerns_it_and_says_why() {
    check(&DURING, true);
}

#[rustfmt::skip]
const BEFORE: [(&str, &str, &str); 56] = [
    ("new host", "net", "virtnet \"simt\": new host \"γ\": network is down"),
    ("new host", "α", "1ms: γ"),
    ("new host", "β", "1ms: γ"),
    ("new host", "lα", "1ms: γ"),
    ("new host", "lβ", "1ms: γ"),
    ("new host", "cαβ", "1ms: γ"),
    ("new host", "cβα", "1ms: γ"),
    ("listen α", "net", "listen simt α:0: network is down"),
    ("listen α", "α", "listen simt α:0: host is down"),
    ("listen α", "β", "α:3"),
    ("listen α", "lα", "α:2"),
    ("listen α", "lβ", "α:3"),
    ("listen α", "cαβ", "α:1"),
    ("listen α", "cβα", "α:3"),
    ("dial α->β:1", "net", "dial simt α:3->β:1: network is down"),
    ("dial α->β:1", "α", "dial simt α:3->β:1: host is down"),
    ("dial α->β:1", "β", "21ms: dial simt α:3->β:1: connection refused"),
    ("dial α->β:1", "lα", "waits"),
    ("dial α->β:1", "lβ", "21ms: dial simt α:3->β:1: connection refused"),
    ("dial α->β:1", "cαβ", "waits"),
    ("dial α->β:1", "cβα", "waits"),
    ("accept lα", "net", "accept simt α:2: network is down"),
    ("accept lα", "α", "accept simt α:2: host is down"),
    ("accept lα", "β", "waits"),
    ("accept lα", "lα", "accept simt α:2: socket is down"),
    ("accept lα", "lβ", "waits"),
    ("accept lα", "cαβ", "waits"),
    ("accept lα", "cβα", "waits"),
    ("read cαβ", "net", "read simt β:2->α:1: network is down"),
    ("read cαβ", "α", "read simt β:2->α:1: host is down"),
    ("read cαβ", "β", "end of stream"),
    ("read cαβ", "lα", "waits"),
    ("read cαβ", "lβ", "waits"),
    ("read cαβ", "cαβ", "read simt β:2->α:1: socket is down"),
    ("read cαβ", "cβα", "end of stream"),
    ("write cαβ", "net", "write simt α:1->β:2: network is down"),
    ("write cαβ", "α", "write simt α:1->β:2: host is down"),
    ("write cαβ", "β", "5"),
    ("write cαβ", "lα", "5"),
    ("write cαβ", "lβ", "5"),
    ("write cαβ", "cαβ", "write simt α:1->β:2: socket is down"),
    ("write cαβ", "cβα", "5"),
    ("read cβα", "net", "read simt α:1->β:2: network is down"),
    ("read cβα", "α", "end of stream"),
    ("read cβα", "β", "read simt α:1->β:2: host is down"),
    ("read cβα", "lα", "waits"),
    ("read cβα", "lβ", "waits"),
    ("read cβα", "cαβ", "end of stream"),
    ("read cβα", "cβα", "read simt α:1->β:2: socket is down"),
    ("write cβα", "net", "write simt β:2->α:1: network is down"),
    ("write cβα", "α", "5"),
    ("write cβα", "β", "write simt β:2->α:1: host is down"),
    ("write cβα", "lα", "5"),
    ("write cβα", "lβ", "5"),
    ("write cβα", "cαβ", "5"),
    ("write cβα", "cβα", "write simt β:2->α:1: socket is down"),
];

#[rustfmt::skip]
const DURING: [(&str, &str, &str); 42] = [
    ("dial α->β:1", "net", "dial simt α:3->β:1: network is down"),
    ("dial α->β:1", "α", "dial simt α:3->β:1: host is down"),
    ("dial α->β:1", "β", "21ms: dial simt α:3->β:1: connection refused"),
    ("dial α->β:1", "lα", "waits"),
    ("dial α->β:1", "lβ", "21ms: dial simt α:3->β:1: connection refused"),
    ("dial α->β:1", "cαβ", "waits"),
    ("dial α->β:1", "cβα", "waits"),
    ("accept lα", "net", "accept simt α:2: network is down"),
    ("accept lα", "α", "accept simt α:2: host is down"),
    ("accept lα", "β", "waits"),
    ("accept lα", "lα", "accept simt α:2: socket is down"),
    ("accept lα", "lβ", "waits"),
    ("accept lα", "cαβ", "waits"),
    ("accept lα", "cβα", "waits"),
    ("read cαβ", "net", "read simt β:2->α:1: network is down"),
    ("read cαβ", "α", "read simt β:2->α:1: host is down"),
    ("read cαβ", "β", "10ms: end of stream"),
    ("read cαβ", "lα", "waits"),
    ("read cαβ", "lβ", "waits"),
    ("read cαβ", "cαβ", "read simt β:2->α:1: socket is down"),
    ("read cαβ", "cβα", "10ms: end of stream"),
    ("write cαβ", "net", "write simt α:1->β:2: network is down"),
    ("write cαβ", "α", "write simt α:1->β:2: host is down"),
    ("write cαβ", "β", "10ms: write simt α:1->β:2: connection reset by peer"),
    ("write cαβ", "lα", "waits"),
    ("write cαβ", "lβ", "waits"),
    ("write cαβ", "cαβ", "write simt α:1->β:2: socket is down"),
    ("write cαβ", "cβα", "10ms: write simt α:1->β:2: connection reset by peer"),
    ("read cβα", "net", "read simt α:1->β:2: network is down"),
    ("read cβα", "α", "10ms: end of stream"),
    ("read cβα", "β", "read simt α:1->β:2: host is down"),
    ("read cβα", "lα", "waits"),
    ("read cβα", "lβ", "waits"),
    ("read cβα", "cαβ", "10ms: end of stream"),
    ("read cβα", "cβα", "read simt α:1->β:2: socket is down"),
    ("write cβα", "net", "write simt β:2->α:1: network is down"),
    ("write cβα", "α", "10ms: write simt β:2->α:1: connection reset by peer"),
    ("write cβα", "β", "write simt β:2->α:1: host is down"),
    ("write cβα", "lα", "waits"),
    ("write cβα", "lβ", "waits"),
    ("write cβα", "cαβ", "10ms: write simt β:2->α:1: connection reset by peer"),
    ("write cβα", "cβα", "write simt β:2->α:1: socket is down"),
];
