//! The table of closings, object × operation × (before, during), on the simulated network: as on
//! pipenet, but that news takes its time, and that a write does not wait to be read.

use std::time::Duration;

use futures::future::{Either, select};
use futures::pin_mut;
use virtnet::time;

use crate::simnet::{ConnectedPair, connected_pair, exact_config, ms, run_fifo, secs};
use crate::support::{ManualTask, accept, dial, read, write};

const CLOSED_OBJECTS: [&str; 7] = ["net", "α", "β", "lα", "lβ", "cαβ", "cβα"];

type OperationResult = Result<String, String>;

/// An operation on the fixture; `la` is a listener on α, of port 2.
async fn perform(t: &ConnectedPair, la: &virtnet::Listener, operation: &str) -> OperationResult {
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
        "dial α->β:1" => conn(drive(dial(&t.a, "β:1")).await),
        "accept lα" => conn(drive(accept(la)).await),
        "read cαβ" => drive(read(&t.ab, 8)).await,
        "read cβα" => drive(read(&t.ba, 8)).await,
        "write cαβ" => count(drive(write(&t.ab, "hello")).await),
        "write cβα" => count(drive(write(&t.ba, "hello")).await),
        _ => panic!("nobody knows the operation {operation}"),
    }
}

/// Lets the executor run what is otherwise polled by hand.
async fn drive<T>(mut task: ManualTask<T>) -> T {
    std::future::poll_fn(|cx| task.poll_with(cx)).await
}

fn close(t: &ConnectedPair, la: &virtnet::Listener, object: &str) {
    match object {
        "net" => t.net.region("").close(),
        "α" => t.a.close(),
        "β" => t.b.close(),
        "lα" => la.close(),
        "lβ" => t.lb.close(),
        "cαβ" => t.ab.close(),
        "cβα" => t.ba.close(),
        _ => panic!("there is no {object}"),
    }
    .unwrap();
}

/// Waits a while for an operation; says how long it took and what came of it.
async fn outcome(operation: impl Future<Output = OperationResult>) -> String {
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
fn assert_table(expected: &'static [(&str, &str, &str)], close_during_operation: bool) {
    let mut operations: Vec<_> = expected.iter().map(|(operation, ..)| *operation).collect();
    operations.dedup();
    let cells =
        operations.iter().flat_map(|operation| CLOSED_OBJECTS.map(|object| (*operation, object)));
    let mut mismatches = String::new();
    let mut cell_count = 0;
    for (operation, object) in cells {
        let actual = run_fifo(async move |_| {
            // A window that is full in both directions: a write waits.
            let t =
                connected_pair(exact_config().window(if close_during_operation { 4 } else { 64 }))
                    .await;
            let la = t.a.listen("").await.unwrap();
            if close_during_operation {
                crate::simnet::write_all(&t.ab, b"full").await.unwrap();
                crate::simnet::write_all(&t.ba, b"full").await.unwrap();
                time::sleep(ms(500)).await;
                if operation.starts_with("read") {
                    for conn in [&t.ab, &t.ba] {
                        crate::simnet::read_exact(conn, 4).await;
                    }
                }
                let result = outcome(async {
                    let closing = async {
                        close(&t, &la, object);
                        std::future::pending::<()>().await;
                    };
                    let operating = perform(&t, &la, operation);
                    pin_mut!(closing, operating);
                    // The operation is polled first, and waits.
                    match select(operating, closing).await {
                        Either::Left((result, _)) => result,
                        Either::Right(_) => unreachable!("closing has no end"),
                    }
                });
                result.await
            } else {
                close(&t, &la, object);
                time::sleep(ms(100)).await;
                outcome(perform(&t, &la, operation)).await
            }
        });
        cell_count += 1;
        if !expected.contains(&(operation, object, &actual)) {
            mismatches += &format!("\n    ({operation:?}, {object:?}, {actual:?}),");
        }
    }
    assert!(mismatches.is_empty(), "{mismatches}");
    assert_eq!(cell_count, expected.len(), "a cell is missing or stands twice");
}

#[test]
fn operation_after_close_reports_what_is_down() {
    assert_table(&CLOSED_BEFORE_OPERATION, false);
}

#[test]
fn blocked_operation_is_woken_by_a_close_that_concerns_it_and_reports_why() {
    assert_table(&CLOSED_DURING_OPERATION, true);
}

#[rustfmt::skip]
const CLOSED_BEFORE_OPERATION: [(&str, &str, &str); 56] = [
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
const CLOSED_DURING_OPERATION: [(&str, &str, &str); 42] = [
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
