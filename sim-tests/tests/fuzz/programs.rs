//! Programs for fuzzers: every decision is a choice, so the input bytes decide all of them.
//!
//! The empty input is the run in which no operation and no fault occurs. The invariants hold for
//! any bytes.

use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::check::{Check, Isolation, Report};
use virtnet::simnet::{FaultKind, Faults, Network};
use virtnet::{Conn, Host, Run, Schedule, Sim, Tape, time};

use super::forgetful_store::{Op, Store, run_workload};

/// The store and its client: which operations, which faults, and all that comes of them.
pub(crate) fn fuzz_store(bytes: &[u8], store: Store) -> Report {
    let check = Check::new("shelf_of_bytes").tape(Tape::from_bytes(bytes));
    check.isolate(Isolation::Shared).run(move |sim: Sim| async move {
        let mut ops = Vec::new();
        for _ in 0..12 {
            let (operation, at) = (sim.choose("what", 3), sim.choose("at", 256) as u16);
            let key = sim.choose("key", 2) as u8;
            match operation {
                0 => {}
                1 => ops.push(Op::Put { at, key }),
                _ => ops.push(Op::Delete { at, key }),
            }
        }
        ops.sort_by_key(|op| op.at());
        let kinds = [FaultKind::Latency, FaultKind::Hold, FaultKind::Restart];
        let faults = kinds.into_iter().filter(|_| sim.choose("fault", 2) == 1);
        let faults = faults.fold(Faults::none(), Faults::with);
        run_workload(sim, store, ops, faults).await
    })
}

/// Runs the network by bytes: that is a run like any other, the same each time, and the same on the
/// tape that it leaves.
pub(crate) fn fuzz_network(bytes: &[u8]) {
    let schedules = [Schedule::Random, Schedule::Pct { depth: 3 }, Schedule::Fifo];
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let schedule = schedules[usize::from(*first) % 3];
    let run = || Run::new(0).schedule(schedule).tape(Tape::from_bytes(rest));
    let outcome = run().execute(echo_program);
    assert_eq!(outcome.fingerprint, run().execute(echo_program).fingerprint, "the same bytes");
    let tape = outcome.tape.to_string().parse().unwrap();
    let replayed = Run::new(1).tape(tape).execute(echo_program);
    assert_eq!(
        outcome.fingerprint, replayed.fingerprint,
        "the tape of these bytes: {}",
        outcome.tape
    );
    assert!(outcome.seed == 0 && outcome.foreign_wakes == 0);
    assert_eq!(outcome.unwrap(), Ok(()));
}

/// Answers with what it is told.
async fn echo(host: Host) {
    let Ok(listener) = host.listen(":1").await else { return };
    while let Ok(mut conn) = listener.accept().await {
        Sim::current().task("echo").spawn(async move {
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = conn.read(&mut bytes).await {
                if conn.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Sends bytes, and compares what comes back: nothing else, whatever happens.
async fn check_echo(conn: &mut Conn, length: usize) -> Result<(), String> {
    let sent: Vec<u8> = (0..length).map(|place| place as u8).collect();
    let mut received = Vec::new();
    if conn.write_all(&sent).await.is_ok() {
        let mut bytes = [0; 48];
        while received.len() < length {
            match conn.read(&mut bytes).await {
                Ok(count @ 1..) => received.extend_from_slice(&bytes[..count]),
                _ => break,
            }
        }
    }
    if sent.starts_with(&received) {
        Ok(())
    } else {
        Err(format!("sent {sent:?}, got {received:?}"))
    }
}

/// Two nodes that echo and a client, under all faults; when those are over, all is well again.
async fn echo_program(sim: Sim) -> Result<(), String> {
    let net = Network::new("t");
    for name in ["a", "b"] {
        net.node(name, echo);
    }
    let host = net.new_host("client").await.map_err(|error| error.to_string())?;
    sim.sleep(Duration::from_secs(1)).await;
    let (limit, mut fault_plan) =
        (Duration::from_secs(3), net.fault_plan(Faults::all().every_run()));
    let client = async {
        for _ in 0..sim.choose("rounds", 8) {
            let addr = ["a:1", "b:1"][sim.choose("where", 2)];
            let Ok(Ok(mut conn)) = time::timeout(limit, host.dial(addr)).await else { continue };
            let length = sim.choose("length", 256);
            if let Ok(result) = time::timeout(limit, check_echo(&mut conn, length)).await {
                result?;
            }
        }
        Ok::<(), String>(())
    };
    futures::join!(fault_plan.run_for(Duration::from_secs(4)), client).1?;
    // Longer than any connection waits for an answer.
    sim.sleep(Duration::from_secs(65)).await;
    for addr in ["a:1", "b:1"] {
        let mut conn = host.dial(addr).await.map_err(|error| format!("in the end: {error}"))?;
        conn.write_all(b"x").await.map_err(|error| error.to_string())?;
        conn.read_exact(&mut [0]).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}
