//! Closing anything interrupts everything that is blocked on it: all cells of the table
//! object × operation × (before, during).
//!
//! Knows the fixture of two hosts: α has the listener lα and the connection cαβ, β has lβ and
//! cβα. `before` closes and then begins, `during` begins, waits, and then closes. `waits` says
//! that the closing is none of the operation's business.

use std::task::Poll;

use virtnet::{Conn, Error};

use crate::support::{Task, TwoHosts, accept, dial, read, two_hosts, write};

/// An operation, what is closed, and what comes of it.
pub(crate) type Cell = (&'static str, &'static str, &'static str);

/// What a write says to which nobody listens any more.
pub(crate) const CLOSED_PIPE: &str = "io: read/write on closed pipe";

const CLOSE: [&str; 7] = ["net", "α", "β", "lα", "lβ", "cαβ", "cβα"];

/// Begins an operation that waits as long as nothing is closed; the first two never wait.
fn begin(two: &TwoHosts, operation: &str) -> Task<Result<String, String>> {
    match operation {
        "new host" => {
            let net = two.net.clone();
            Task::new(async move { told(net.new_host("γ").await.map(|host| host.name().into())) })
        }
        "listen α" => {
            let host = two.a.clone();
            Task::new(async move {
                told(host.listen("").await.map(|listener| listener.local_addr().to_string()))
            })
        }
        "dial α->β:1" => connected(dial(&two.a, "β:1")),
        "accept lα" => connected(accept(&two.la)),
        "read cαβ" => read(&two.ab, 8),
        "read cβα" => read(&two.ba, 8),
        "write cαβ" => counted(write(&two.ab, "hello")),
        "write cβα" => counted(write(&two.ba, "hello")),
        _ => panic!("nobody knows the operation {operation}"),
    }
}

fn told(result: Result<String, Error>) -> Result<String, String> {
    result.map_err(|error| error.to_string())
}

fn connected(task: Task<Result<Conn, String>>) -> Task<Result<String, String>> {
    task.map(|result| result.map(|conn| format!("{conn:?}")))
}

fn counted(task: Task<Result<usize, String>>) -> Task<Result<String, String>> {
    task.map(|result| result.map(|count| count.to_string()))
}

fn close(two: &TwoHosts, what: &str) {
    match what {
        "net" => two.net.close(),
        "α" => two.a.close(),
        "β" => two.b.close(),
        "lα" => two.la.close(),
        "lβ" => two.lb.close(),
        "cαβ" => two.ab.close(),
        "cβα" => two.ba.close(),
        _ => panic!("there is no {what}"),
    }
    .unwrap();
}

fn outcome(task: &mut Task<Result<String, String>>) -> String {
    match task.poll() {
        Poll::Pending => "waits".to_string(),
        Poll::Ready(Ok(text)) if text.is_empty() => "end of stream".to_string(),
        Poll::Ready(Ok(text) | Err(text)) => text,
    }
}

/// Plays all cells and compares; what differs is printed as it would have to stand below.
fn check(expected: &[Cell], cell: impl Fn(&str, &str) -> String) {
    let mut operations: Vec<_> = expected.iter().map(|(operation, ..)| *operation).collect();
    operations.dedup();
    let mut wrong = String::new();
    let mut played = 0;
    for operation in operations {
        for what in CLOSE {
            let actual = cell(operation, what);
            played += 1;
            if !expected.contains(&(operation, what, &actual)) {
                wrong += &format!("\n    ({operation:?}, {what:?}, {actual:?}),");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(played, expected.len(), "a cell is missing or stands twice");
}

#[test]
fn what_begins_after_a_closing_says_what_is_down() {
    check(&BEFORE, |operation, what| {
        let two = two_hosts();
        close(&two, what);
        outcome(&mut begin(&two, operation))
    });
}

#[test]
fn what_is_blocked_is_woken_by_a_closing_that_concerns_it_and_says_why() {
    check(&DURING, |operation, what| {
        let two = two_hosts();
        let mut task = begin(&two, operation);
        task.waits();
        close(&two, what);
        let woken = task.woken() > 0;
        let outcome = outcome(&mut task);
        assert_eq!(woken, outcome != "waits", "{operation}, {what}: woken for nothing, or not");
        outcome
    });
}

#[rustfmt::skip]
pub(crate) const BEFORE: [Cell; 56] = [
    ("new host", "net", "virtnet \"pipet\": new host \"γ\": network is down"),
    ("new host", "α", "γ"),
    ("new host", "β", "γ"),
    ("new host", "lα", "γ"),
    ("new host", "lβ", "γ"),
    ("new host", "cαβ", "γ"),
    ("new host", "cβα", "γ"),
    ("listen α", "net", "listen pipet α:0: network is down"),
    ("listen α", "α", "listen pipet α:0: host is down"),
    ("listen α", "β", "α:3"),
    ("listen α", "lα", "α:1"),
    ("listen α", "lβ", "α:3"),
    ("listen α", "cαβ", "α:2"),
    ("listen α", "cβα", "α:3"),
    ("dial α->β:1", "net", "dial pipet α:3->β:1: network is down"),
    ("dial α->β:1", "α", "dial pipet α:3->β:1: host is down"),
    ("dial α->β:1", "β", "dial pipet α:3->β:1: connection refused"),
    ("dial α->β:1", "lα", "waits"),
    ("dial α->β:1", "lβ", "dial pipet α:3->β:1: connection refused"),
    ("dial α->β:1", "cαβ", "waits"),
    ("dial α->β:1", "cβα", "waits"),
    ("accept lα", "net", "accept pipet α:1: network is down"),
    ("accept lα", "α", "accept pipet α:1: host is down"),
    ("accept lα", "β", "waits"),
    ("accept lα", "lα", "accept pipet α:1: socket is down"),
    ("accept lα", "lβ", "waits"),
    ("accept lα", "cαβ", "waits"),
    ("accept lα", "cβα", "waits"),
    ("read cαβ", "net", "read pipet β:2->α:2: network is down"),
    ("read cαβ", "α", "read pipet β:2->α:2: host is down"),
    ("read cαβ", "β", "end of stream"),
    ("read cαβ", "lα", "waits"),
    ("read cαβ", "lβ", "waits"),
    ("read cαβ", "cαβ", "read pipet β:2->α:2: socket is down"),
    ("read cαβ", "cβα", "end of stream"),
    ("write cαβ", "net", "write pipet α:2->β:2: network is down"),
    ("write cαβ", "α", "write pipet α:2->β:2: host is down"),
    ("write cαβ", "β", "write pipet α:2->β:2: io: read/write on closed pipe"),
    ("write cαβ", "lα", "waits"),
    ("write cαβ", "lβ", "waits"),
    ("write cαβ", "cαβ", "write pipet α:2->β:2: socket is down"),
    ("write cαβ", "cβα", "write pipet α:2->β:2: io: read/write on closed pipe"),
    ("read cβα", "net", "read pipet α:2->β:2: network is down"),
    ("read cβα", "α", "end of stream"),
    ("read cβα", "β", "read pipet α:2->β:2: host is down"),
    ("read cβα", "lα", "waits"),
    ("read cβα", "lβ", "waits"),
    ("read cβα", "cαβ", "end of stream"),
    ("read cβα", "cβα", "read pipet α:2->β:2: socket is down"),
    ("write cβα", "net", "write pipet β:2->α:2: network is down"),
    ("write cβα", "α", "write pipet β:2->α:2: io: read/write on closed pipe"),
    ("write cβα", "β", "write pipet β:2->α:2: host is down"),
    ("write cβα", "lα", "waits"),
    ("write cβα", "lβ", "waits"),
    ("write cβα", "cαβ", "write pipet β:2->α:2: io: read/write on closed pipe"),
    ("write cβα", "cβα", "write pipet β:2->α:2: socket is down"),
];

#[rustfmt::skip]
pub(crate) const DURING: [Cell; 42] = [
    ("dial α->β:1", "net", "dial pipet α:3->β:1: network is down"),
    ("dial α->β:1", "α", "dial pipet α:3->β:1: host is down"),
    ("dial α->β:1", "β", "dial pipet α:3->β:1: connection refused"),
    ("dial α->β:1", "lα", "waits"),
    ("dial α->β:1", "lβ", "dial pipet α:3->β:1: connection refused"),
    ("dial α->β:1", "cαβ", "waits"),
    ("dial α->β:1", "cβα", "waits"),
    ("accept lα", "net", "accept pipet α:1: network is down"),
    ("accept lα", "α", "accept pipet α:1: host is down"),
    ("accept lα", "β", "waits"),
    ("accept lα", "lα", "accept pipet α:1: socket is down"),
    ("accept lα", "lβ", "waits"),
    ("accept lα", "cαβ", "waits"),
    ("accept lα", "cβα", "waits"),
    ("read cαβ", "net", "read pipet β:2->α:2: network is down"),
    ("read cαβ", "α", "read pipet β:2->α:2: host is down"),
    ("read cαβ", "β", "end of stream"),
    ("read cαβ", "lα", "waits"),
    ("read cαβ", "lβ", "waits"),
    ("read cαβ", "cαβ", "read pipet β:2->α:2: socket is down"),
    ("read cαβ", "cβα", "end of stream"),
    ("write cαβ", "net", "write pipet α:2->β:2: network is down"),
    ("write cαβ", "α", "write pipet α:2->β:2: host is down"),
    ("write cαβ", "β", "write pipet α:2->β:2: io: read/write on closed pipe"),
    ("write cαβ", "lα", "waits"),
    ("write cαβ", "lβ", "waits"),
    ("write cαβ", "cαβ", "write pipet α:2->β:2: socket is down"),
    ("write cαβ", "cβα", "write pipet α:2->β:2: io: read/write on closed pipe"),
    ("read cβα", "net", "read pipet α:2->β:2: network is down"),
    ("read cβα", "α", "end of stream"),
    ("read cβα", "β", "read pipet α:2->β:2: host is down"),
    ("read cβα", "lα", "waits"),
    ("read cβα", "lβ", "waits"),
    ("read cβα", "cαβ", "end of stream"),
    ("read cβα", "cβα", "read pipet α:2->β:2: socket is down"),
    ("write cβα", "net", "write pipet β:2->α:2: network is down"),
    ("write cβα", "α", "write pipet β:2->α:2: io: read/write on closed pipe"),
    ("write cβα", "β", "write pipet β:2->α:2: host is down"),
    ("write cβα", "lα", "waits"),
    ("write cβα", "lβ", "waits"),
    ("write cβα", "cαβ", "write pipet β:2->α:2: io: read/write on closed pipe"),
    ("write cβα", "cβα", "write pipet β:2->α:2: socket is down"),
];
