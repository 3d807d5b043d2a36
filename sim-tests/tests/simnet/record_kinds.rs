//! The typed payloads of a trace: segments, their loss, and faults.

use virtnet::simnet::{ClockSkew, Config, FaultKind, Latency, Network};
use virtnet::{
    DropReason, FaultAction, FaultTarget, Host, RecordKind, Run, Schedule, Segment, SegmentKind,
    Sim,
};

use crate::simnet::{connected_pair, exact_config, ms, read, read_exact, secs, write_all};

/// The kinds of the records of a run that are segments or faults.
fn payloads(story: impl AsyncFnOnce(Sim) + 'static) -> Vec<RecordKind> {
    let run = Run::new(7).schedule(Schedule::Fifo).keep_trace();
    let outcome = run.execute(|sim| async move { story(sim).await });
    let trace = outcome.trace.as_ref().unwrap();
    let records = trace.records().iter();
    let payloads = records.filter(|record| {
        let has_payload = matches!(
            record.kind,
            RecordKind::Deliver(_)
                | RecordKind::Drop(..)
                | RecordKind::GiveUp { .. }
                | RecordKind::Fault(_)
        );
        let has_text = matches!(
            record.kind,
            RecordKind::Note | RecordKind::Ending | RecordKind::CaughtPanic | RecordKind::Fail
        );
        assert_eq!(record.text.is_empty(), !(has_payload || has_text), "{record}");
        has_payload
    });
    let payloads = payloads.map(|record| record.kind.clone()).collect();
    outcome.unwrap();
    payloads
}

/// Kind, hosts and payload bytes of a segment.
fn parts(segment: &Segment) -> (SegmentKind, [&str; 2], Option<u64>) {
    (segment.kind, [&segment.from.host, &segment.to.host], segment.bytes)
}

#[test]
fn connection_segments_record_kind_hosts_and_bytes() {
    let payloads = payloads(async |_| {
        let net = Network::with("t", exact_config());
        let server = net.new_host("s").await.unwrap();
        let client = net.new_host("c").await.unwrap();
        let listener = server.listen(":80").await.unwrap();
        let (dialed, accepted) = futures::join!(client.dial("s:80"), listener.accept());
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        write_all(&dialed, b"hello").await.unwrap();
        assert_eq!(read_exact(&accepted, 5).await, b"hello");
        drop(dialed);
        assert_eq!(read(&accepted).await, Ok(String::new()));
        drop((accepted, listener));
        client.dial("s:80").await.unwrap_err();
    });
    let delivered = payloads.iter().map(|kind| match kind {
        RecordKind::Deliver(segment) => segment,
        other => panic!("only deliveries: {other:?}"),
    });
    let delivered: Vec<&Segment> = delivered.collect();
    let to_server = |kind, bytes| (kind, ["c", "s"], bytes);
    let to_client = |kind, bytes| (kind, ["s", "c"], bytes);
    let expected = [
        to_server(SegmentKind::Syn, None),
        to_client(SegmentKind::SynAck, None),
        to_server(SegmentKind::Data, Some(5)),
        to_server(SegmentKind::Fin, Some(0)),
        to_server(SegmentKind::Syn, None),
        to_client(SegmentKind::Reset, None),
    ];
    assert_eq!(delivered.iter().map(|segment| parts(segment)).collect::<Vec<_>>(), expected);
    assert_eq!((delivered[0].to.port, delivered[1].from.port), (80, 80));
    assert_eq!(delivered[5].refusal.as_deref(), Some("refused"));
    assert!(delivered[..5].iter().all(|segment| segment.refusal.is_none()));
}

#[test]
fn dropped_segments_record_their_reason_and_give_up_is_recorded() {
    let payloads = payloads(async |sim| {
        let config = exact_config().user_timeout(Some(secs(5)));
        let two = connected_pair(config).await;
        two.net.hold("α", "β");
        write_all(&two.ab, b"held").await.unwrap();
        sim.sleep(secs(1)).await;
        two.net.release("α", "β");
        sim.sleep(secs(1)).await;
        two.net.partition(&["α"], &["β"]);
        write_all(&two.ab, b"lost").await.unwrap();
        sim.sleep(secs(60)).await;
    });
    let dropped = payloads.iter().filter_map(|kind| match kind {
        RecordKind::Drop(segment, reason) if segment.kind == SegmentKind::Data => Some(*reason),
        _ => None,
    });
    let mut dropped: Vec<DropReason> = dropped.collect();
    dropped.dedup();
    assert_eq!(dropped, [DropReason::Held, DropReason::Lost]);
    let gave_up = payloads.iter().filter_map(|kind| match kind {
        RecordKind::GiveUp { from, to } => Some((from.host.as_str(), to.host.as_str())),
        _ => None,
    });
    assert_eq!(gave_up.collect::<Vec<_>>(), [("α", "β")]);
}

#[test]
fn fault_calls_record_action_target_and_details() {
    use FaultAction::{Apply, Heal, StopToRestart, Undo};
    let payloads = payloads(async |sim| {
        let net = Network::with("t", Config::new());
        let idle = async |_: Host| std::future::pending::<()>().await;
        let a = net.node("a", idle);
        let b = net.node("b", idle);
        sim.sleep(secs(1)).await;
        net.partition(&["a"], &["b"]);
        net.partition_one_way(&["b"], &["a"]);
        net.hold("a", "b");
        net.release("a", "b");
        net.reset("a", "b");
        net.registry_down();
        net.registry_up();
        net.link("a", "b").loss(0.5);
        net.link_one_way("a", "b").latency(Latency::constant(ms(20)));
        net.heal();
        a.set_clock(ClockSkew::ahead(secs(1)));
        a.set_clock(ClockSkew::none());
        a.set_poll_cost(ms(1));
        a.pause();
        a.resume();
        a.restart();
        a.power_off();
        b.crash();
        sim.sleep(secs(1)).await;
    });
    let faults = payloads.into_iter().filter_map(|kind| match kind {
        RecordKind::Fault(change) => Some((change.action, change.target, change.details)),
        _ => None,
    });
    let (a, b) = ("a".to_string(), "b".to_string());
    let groups = |a: &String, b: &String| FaultTarget::Groups(vec![a.clone()], vec![b.clone()]);
    let (link, host) = (FaultTarget::Link(a.clone(), b.clone()), FaultTarget::Host(a.clone()));
    let one_way = FaultTarget::OneWayLink(a.clone(), b.clone());
    let expected = [
        (Apply(FaultKind::Partition), groups(&a, &b), ""),
        (Apply(FaultKind::OneWay), groups(&b, &a), ""),
        (Apply(FaultKind::Hold), link.clone(), ""),
        (Undo(FaultKind::Hold), link.clone(), ""),
        (Apply(FaultKind::Reset), link.clone(), ""),
        (Apply(FaultKind::Registry), FaultTarget::Network, ""),
        (Undo(FaultKind::Registry), FaultTarget::Network, ""),
        (Apply(FaultKind::Loss), link, "50 %"),
        (Apply(FaultKind::Latency), one_way, "20ms"),
        (Heal, FaultTarget::Network, ""),
        (
            Apply(FaultKind::Clock),
            host.clone(),
            "offset 1s, drift 0 ppm; the wall clock steps by 1s",
        ),
        (
            Undo(FaultKind::Clock),
            host.clone(),
            "offset 0ns, drift 0 ppm; the wall clock steps by -1s",
        ),
        (Apply(FaultKind::SlowNode), host.clone(), "1ms a poll"),
        (Apply(FaultKind::Pause), host.clone(), ""),
        (Undo(FaultKind::Pause), host.clone(), ""),
        (StopToRestart, host.clone(), ""),
        (Apply(FaultKind::Restart), host.clone(), ""),
        (Apply(FaultKind::PowerOff), host, ""),
        (Apply(FaultKind::Crash), FaultTarget::Host(b), ""),
    ];
    let expected = expected.map(|(action, target, details)| (action, target, details.to_string()));
    assert_eq!(faults.collect::<Vec<_>>(), expected);
}
