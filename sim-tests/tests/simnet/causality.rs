//! What led to a record, across hosts: from what arrives to whoever sent it, and in which poll.

use virtnet::check::Check;
use virtnet::simnet::Network;
use virtnet::{Host, Record, RecordKind, Run, Schedule, Sim};

use crate::simnet::{echo_node, exact_config, ms, read_exact, secs, write_all};

/// The records of a story.
fn trace_records(scenario: impl AsyncFnOnce(Sim) + 'static) -> Vec<Record> {
    let run = Run::new(7).schedule(Schedule::Fifo).keep_trace();
    let outcome = run.execute(|sim| async move { scenario(sim).await });
    outcome.trace.unwrap().records().to_vec()
}

/// Says of a record what led to it, and to that, and so on.
fn cause_chain(records: &[Record], record_at_end: &Record) -> Vec<String> {
    let cause = |record: &Record| record.causes.first().map(|cause| &records[*cause]);
    let describe = |record: &Record| match record.text.as_str() {
        "" => format!("{} {}", record.kind, record.subject),
        text => format!("{} {text}", record.kind),
    };
    std::iter::successors(Some(record_at_end), |record| cause(record)).map(describe).collect()
}

#[test]
fn delivery_has_the_sending_poll_as_cause_although_sender_was_polled_again() {
    let records = trace_records(async |sim| {
        let net = Network::with("t", exact_config());
        net.node("β", |host: Host| async move {
            let conn = host.listen(":1").await.unwrap().accept().await.unwrap();
            let sim = Sim::current();
            for part in [&b"a"[..], b"bc"] {
                sim.note(format!("sends {}", part.len()));
                write_all(&conn, part).await.unwrap();
                sim.sleep(ms(1)).await;
            }
            sim.note("has sent");
            std::future::pending::<()>().await;
        });
        sim.sleep(secs(1)).await;
        let host = net.new_host("α").await.unwrap();
        let conn = host.dial("β:1").await.unwrap();
        assert_eq!(read_exact(&conn, 3).await, b"abc");
        sim.note("has all");
    });
    let note = records.iter().position(|record| record.text == "has all").unwrap();
    assert_eq!(
        cause_chain(&records, &records[note])[..4],
        ["note has all", "poll main", "deliver data β:2->α:1 2 bytes", "note sends 2"],
    );
    // What a timer brings about has no cause but the task itself.
    let sent = records.iter().position(|record| record.text == "sends 2").unwrap();
    assert_eq!(cause_chain(&records, &records[sent]), ["note sends 2", "poll node/β"]);
}

#[test]
fn reset_has_the_crash_as_cause_and_crash_has_its_requester() {
    let records = trace_records(async |sim| {
        let net = Network::with("t", exact_config());
        let beta = echo_node(&net, "β");
        sim.sleep(secs(1)).await;
        let conn = net.new_host("α").await.unwrap().dial("β:1").await.unwrap();
        sim.task("saboteur").spawn(async move { beta.crash() });
        sim.sleep(secs(1)).await;
        drop(conn);
    });
    let reset = records.iter().find(|record| record.text.contains("RST")).unwrap();
    let expected =
        ["deliver RST β:2->α:1 0 bytes", "fault crash β", "poll main/saboteur", "poll main"];
    assert_eq!(cause_chain(&records, reset)[..4], expected);
    let dropped = records.iter().find(|record| record.kind == RecordKind::Abort).unwrap();
    assert_eq!(cause_chain(&records, dropped)[1], "fault crash β");
}

#[test]
fn causal_past_of_failure_includes_message_sender_and_no_unrelated_task() {
    let report = Check::new("past").seeds(0..1).shrink(0).run(|sim: Sim| async move {
        let net = Network::with("t", exact_config());
        for (name, is_good) in [("bad", false), ("good", true)] {
            net.node(name, move |host: Host| async move {
                let conn = host.listen(":1").await.unwrap().accept().await.unwrap();
                let answer = if is_good { b"y" } else { b"n" };
                Sim::current().note(format!("{name} decides"));
                write_all(&conn, answer).await.unwrap();
                std::future::pending::<()>().await;
            });
        }
        let client = net.new_host("client").await.unwrap();
        sim.sleep(secs(1)).await;
        let good = sim.task("asks good").spawn({
            let client = client.clone();
            async move {
                let conn = client.dial("good:1").await.unwrap();
                assert_eq!(read_exact(&conn, 1).await, b"y");
                std::future::pending::<()>().await;
            }
        });
        let conn = client.dial("bad:1").await.unwrap();
        let answer = read_exact(&conn, 1).await;
        drop(good);
        assert_eq!(answer, b"y", "it said no");
    });
    let text = report.to_string();
    let (_, past) = text.split_once("what led to it:").unwrap();
    assert!(past.contains("note    node/bad bad decides"), "{past}");
    assert!(past.contains("deliver simt/client/bad/reverse"), "{past}");
    assert!(!past.contains("good decides"), "{past}");
}

#[test]
fn buffered_data_is_a_cause_of_the_poll_that_read_it() {
    let records = trace_records(async |sim| {
        let net = Network::with("t", exact_config());
        echo_node(&net, "β");
        sim.sleep(secs(1)).await;
        let conn = net.new_host("α").await.unwrap().dial("β:1").await.unwrap();
        write_all(&conn, b"ab").await.unwrap();
        sim.sleep(secs(1)).await;
        sim.note("reads");
        assert_eq!(read_exact(&conn, 1).await, b"a");
        write_all(&conn, b"c").await.unwrap();
        sim.sleep(secs(1)).await;
        assert_eq!(read_exact(&conn, 2).await, b"bc");
        sim.note("has all");
    });
    let index_of = |text: &str| records.iter().position(|record| record.text == text).unwrap();
    let index_of_delivery = |part: &str| index_of(&format!("data β:2->α:1 {part} bytes"));
    assert_eq!(records[index_of("reads")].causes[1..], [index_of_delivery("2")]);
    // What is left of the first segment, and the second.
    let last = &records[index_of("has all") - 1];
    assert_eq!(
        (last.source.as_str(), &last.causes[..]),
        ("timer", &[index_of_delivery("2"), index_of_delivery("1")][..])
    );
}
