//! The closing table: closing an object interrupts every operation that is blocked on it.
//!
//! The cases are object × operation × (before, during), on the fixture of two hosts: α has the
//! listener lα and the connection cαβ, β has lβ and cβα. `before` closes the object and then
//! starts the operation; `during` starts the operation, checks that it is pending, and then closes
//! the object. The outcome `waits` means that the operation is not affected.

use std::task::Poll;

use virtnet::{Conn, Error};

use crate::support::{ManualTask, TwoHosts, accept, dial, read, two_hosts, write};

/// An operation, what is closed, and what comes of it.
pub(crate) type ClosingCase = (&'static str, &'static str, &'static str);

/// What a write says to which nobody listens any more.
pub(crate) const CLOSED_PIPE: &str = "io: read/write on closed pipe";

const CLOSABLE_OBJECTS: [&str; 7] = ["net", "α", "β", "lα", "lβ", "cαβ", "cβα"];

/// Begins an operation that waits as long as nothing is closed; the first two never wait.
fn start_operation(two: &TwoHosts, operation: &str) -> ManualTask<Result<String, String>> {
    match operation {
        "new host" => {
            let net = two.net.clone();
            ManualTask::new(async move {
                text_or_error(net.new_host("γ").await.map(|host| host.name().into()))
            })
        }
        "listen α" => {
            let host = two.a.clone();
            ManualTask::new(async move {
                text_or_error(
                    host.listen("").await.map(|listener| listener.local_addr().to_string()),
                )
            })
        }
        "dial α->β:1" => conn_as_text(dial(&two.a, "β:1")),
        "accept lα" => conn_as_text(accept(&two.la)),
        "read cαβ" => read(&two.ab, 8),
        "read cβα" => read(&two.ba, 8),
        "write cαβ" => count_as_text(write(&two.ab, "hello")),
        "write cβα" => count_as_text(write(&two.ba, "hello")),
        _ => panic!("nobody knows the operation {operation}"),
    }
}

fn text_or_error(result: Result<String, Error>) -> Result<String, String> {
    result.map_err(|error| error.to_string())
}

fn conn_as_text(task: ManualTask<Result<Conn, String>>) -> ManualTask<Result<String, String>> {
    task.map(|result| result.map(|conn| format!("{conn:?}")))
}

fn count_as_text(task: ManualTask<Result<usize, String>>) -> ManualTask<Result<String, String>> {
    task.map(|result| result.map(|count| count.to_string()))
}

fn close_object(two: &TwoHosts, object: &str) {
    match object {
        "net" => two.net.close(),
        "α" => two.a.close(),
        "β" => two.b.close(),
        "lα" => two.la.close(),
        "lβ" => two.lb.close(),
        "cαβ" => two.ab.close(),
        "cβα" => two.ba.close(),
        _ => panic!("there is no {object}"),
    }
    .unwrap();
}

fn poll_outcome(task: &mut ManualTask<Result<String, String>>) -> String {
    match task.poll() {
        Poll::Pending => "waits".to_string(),
        Poll::Ready(Ok(text)) if text.is_empty() => "end of stream".to_string(),
        Poll::Ready(Ok(text) | Err(text)) => text,
    }
}

/// Plays all cells and compares; what differs is printed as it would have to stand below.
fn assert_table(expected: &[ClosingCase], run_case: impl Fn(&str, &str) -> String) {
    let mut operations: Vec<_> = expected.iter().map(|(operation, ..)| *operation).collect();
    operations.dedup();
    let mut mismatches = String::new();
    let mut case_count = 0;
    for operation in operations {
        for object in CLOSABLE_OBJECTS {
            let actual = run_case(operation, object);
            case_count += 1;
            if !expected.contains(&(operation, object, &actual)) {
                mismatches += &format!("\n    ({operation:?}, {object:?}, {actual:?}),");
            }
        }
    }
    assert!(mismatches.is_empty(), "{mismatches}");
    assert_eq!(case_count, expected.len(), "a cell is missing or stands twice");
}

#[test]
fn operation_started_after_close_reports_what_is_down() {
    assert_table(&CLOSED_BEFORE, |operation, object| {
        let two = two_hosts();
        close_object(&two, object);
        poll_outcome(&mut start_operation(&two, operation))
    });
}

#[test]
fn blocked_operation_is_woken_only_by_a_close_that_affects_it() {
    assert_table(&CLOSED_DURING, |operation, object| {
        let two = two_hosts();
        let mut task = start_operation(&two, operation);
        task.expect_pending();
        close_object(&two, object);
        let woken = task.take_wakes() > 0;
        let outcome = poll_outcome(&mut task);
        assert_eq!(woken, outcome != "waits", "{operation}, {object}: woken for nothing, or not");
        outcome
    });
}

#[rustfmt::skip]
pub(crate) const CLOSED_BEFORE: [ClosingCase; 56] = [
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
pub(crate) const CLOSED_DURING: [ClosingCase; 42] = [
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
