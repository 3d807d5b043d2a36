//! What became of a dial stands in the trace as what was sent, and an accept that fails is told.

use futures::future::join;
use virtnet::simnet::Network;
use virtnet::{Cause, Conn, Error, Outcome, Run, Schedule};

use crate::simnet::{exact_config, ms, secs};

fn root_cause(dialed: Result<Conn, Error>) -> Cause {
    dialed.unwrap_err().root().clone()
}

/// The texts of all that arrived and was lost, and of what failed.
fn network_records(outcome: &Outcome<()>) -> Vec<String> {
    let trace = outcome.trace.as_ref().unwrap().to_string();
    let word = |line: &str| line.split_whitespace().nth(1).map(String::from);
    let is_network_record = |line: &&str| {
        matches!(word(line).as_deref(), Some("deliver" | "drop" | "fail")) //
    };
    let text = |line: &str| {
        let starts = ["SYN", "RST", "accept", "data", "FIN"].map(|start| line.find(start));
        line[starts.into_iter().flatten().min().unwrap()..].to_string()
    };
    trace.lines().filter(is_network_record).map(text).collect()
}

fn trace_of(scenario: impl AsyncFnOnce() + 'static) -> Vec<String> {
    let run = Run::new(7).schedule(Schedule::Fifo).time_limit(secs(40_000)).keep_trace();
    let outcome = run.execute(async move |_| scenario().await);
    assert!(outcome.is_done(), "{outcome}");
    network_records(&outcome)
}

#[test]
fn refused_dial_is_traced_as_a_reset() {
    let lines = trace_of(async || {
        let net = Network::with("t", exact_config());
        let (a, _b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        assert_eq!(root_cause(a.dial("β:1").await), Cause::ConnRefused);
    });
    assert_eq!(lines, ["SYN α:1->β:1", "RST β:1->α:1 refused"]);
}

#[test]
fn accepted_dial_is_traced_as_a_syn_ack() {
    let lines = trace_of(async || {
        let net = Network::with("t", exact_config());
        let (a, b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        let listener = b.listen(":1").await.unwrap();
        let (dialed, accepted) = join(a.dial("β:1"), listener.accept()).await;
        drop((dialed.unwrap(), accepted.unwrap()));
    });
    assert_eq!(lines[..2], ["SYN α:1->β:1", "SYN-ACK β:1->α:1"]);
}

#[test]
fn lost_refusal_is_traced_as_a_lost_reset() {
    let lines = trace_of(async || {
        let net = Network::with("t", exact_config().connect_timeout(ms(300)));
        let (a, _b) = (net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap());
        net.partition_one_way(&["β"], &["α"]);
        assert_eq!(root_cause(a.dial("β:1").await), Cause::TimedOut);
    });
    let lost = "RST β:1->α:1 refused, lost";
    assert_eq!(lines, ["SYN α:1->β:1", lost, lost]);
}

#[test]
fn failed_accept_is_traced_with_its_cause() {
    let lines = trace_of(async || {
        let net = Network::with("t", exact_config());
        let b = net.new_host("β").await.unwrap();
        let listener = b.listen(":1").await.unwrap();
        let closing = async { listener.close().unwrap() };
        let (accepted, ()) = join(listener.accept(), closing).await;
        assert_eq!(*accepted.unwrap_err().root(), Cause::SockDown);
        assert_eq!(*listener.accept().await.unwrap_err().root(), Cause::SockDown);
        let other = b.listen(":2").await.unwrap();
        b.close().unwrap();
        assert_eq!(*other.accept().await.unwrap_err().root(), Cause::HostDown);
    });
    let down = "accept simt β:1: socket is down";
    assert_eq!(lines, [down, down, "accept simt β:2: host is down"]);
}
