//! Planted nondeterminism: each kind is reported as such, with the first record that differs.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::Sim;
use virtnet::check::{Check, DeterminismCheck, Isolation};

#[test]
#[expect(clippy::iter_over_hash_type, reason = "this is the planted bug")]
fn hash_map_iterated_into_the_protocol_is_reported() {
    let report = Check::new("hash_map").seeds(0..1).check_determinism().run(|sim| async move {
        let peers: HashMap<u32, &str> = (0..20).map(|number| (number, "peer")).collect();
        for number in peers.keys() {
            sim.note(format!("send to {number}"));
        }
    });
    let text = report.to_string();
    assert!(text.contains("the same seed was not the same run"), "{text}");
    // Two orders may begin alike; whichever record is the first to differ, it is of this loop.
    let (_, difference) = text.split_once("first difference at record ").unwrap();
    assert!(difference.contains("left     0.000000000 note    main send to "), "{text}");
    assert!(text.contains("hash map"), "{text}");
}

#[test]
fn real_clock_in_a_decision_is_reported() {
    let report = Check::new("clock").seeds(0..1).check_determinism().run(|sim| async move {
        let start = std::time::Instant::now();
        sim.sleep(Duration::from_millis(3)).await;
        sim.note("before");
        // A decision that hangs on how fast this machine is.
        sim.sleep(Duration::from_nanos(1 + start.elapsed().as_nanos() as u64)).await;
    });
    let text = report.to_string();
    assert!(text.contains("the same seed was not the same run"), "{text}");
    assert!(text.contains("poll    main by timer 1"), "{text}");
    assert!(text.contains("before ") && text.contains("note    main before"), "{text}");
}

#[test]
fn wakeup_from_a_spawned_thread_is_reported() {
    let report = Check::new("thread").seeds(0..1).check_determinism().run(|sim: Sim| async move {
        let (sender, receiver) = futures::channel::oneshot::channel();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(2)); // of real time, which is the bug
            sender.send(())
        });
        let waited = Cell::new(0);
        let _ = futures::future::select(
            receiver,
            Box::pin(async {
                loop {
                    sim.sleep(Duration::from_micros(1)).await;
                    waited.set(waited.get() + 1);
                }
            }),
        )
        .await;
        let _ = thread.join();
        sim.note(waited.get());
    });
    let text = report.to_string();
    assert!(text.contains("came from other threads"), "{text}");
}

/// Checks one seed in every way, and gives the reports: warm, cold, shuffled.
fn determinism_reports<Fut>(name: &str, test: impl Fn(Sim) -> Fut + Sync) -> [String; 3]
where
    Fut: Future<Output = ()> + 'static,
{
    [
        DeterminismCheck::SameProcess,
        DeterminismCheck::FreshProcess,
        DeterminismCheck::AfterOtherSeeds,
    ]
    .map(|runs| {
        let check = Check::new(&format!("{name}-{runs:?}")).seeds(0..1);
        check.check_determinism_against(runs).run(&test).to_string()
    })
}

#[track_caller]
fn assert_passed(text: &str) {
    assert!(text.ends_with("1 run(s), all well"), "{text}");
}

#[test]
fn static_kept_between_runs_is_reported_only_after_other_seeds() {
    static LARGEST: AtomicU64 = AtomicU64::new(0);
    let test = |sim: Sim| async move {
        sim.note("before");
        // A pool that grows with what was asked of it, in whatever run.
        let pool = LARGEST.fetch_max(sim.seed(), Relaxed).max(sim.seed());
        sim.note(format!("a pool of {pool}"));
    };
    let isolated = Check::new("static-apart").seeds(0..9).isolate(Isolation::Process);
    let passing = isolated.clone().check_determinism().run(test).to_string();
    let isolated = isolated.check_determinism_against(DeterminismCheck::All).run(test).to_string();
    let [same_process, fresh_process, after_other_seeds] = determinism_reports("static", test);
    assert!(passing.ends_with("9 run(s), all well"), "{passing}");
    assert!(isolated.contains("It differs after 8 other seeds in the same process"), "{isolated}");
    assert_passed(&same_process);
    assert_passed(&fresh_process);
    assert!(
        after_other_seeds.contains("It differs after 8 other seeds in the same process"),
        "{after_other_seeds}"
    );
    let (_, difference) =
        after_other_seeds.split_once("first difference at record 2:").expect(&after_other_seeds);
    assert!(
        difference.contains("left     0.000000000 note    main a pool of 0\n"),
        "{after_other_seeds}"
    );
    assert!(
        difference.contains("right    0.000000000 note    main a pool of 8\n"),
        "{after_other_seeds}"
    );
    assert!(
        difference.contains("before    0.000000000 note    main before"),
        "{after_other_seeds}"
    );
}

#[test]
fn address_or_process_id_in_a_decision_is_reported_only_by_fresh_process() {
    static SOMEWHERE: AtomicU64 = AtomicU64::new(0);
    let address: fn() -> u64 = || &raw const SOMEWHERE as u64 / 4096;
    let process: fn() -> u64 = || u64::from(std::process::id());
    let reports = [("address", address), ("process", process)].map(|(name, decide)| {
        determinism_reports(name, move |sim| async move {
            sim.note("before");
            sim.sleep(Duration::from_nanos(1 + decide())).await;
        })
    });
    for [same_process, fresh_process, after_other_seeds] in reports {
        assert_passed(&same_process);
        assert_passed(&after_other_seeds);
        assert!(fresh_process.contains("It differs in a fresh process"), "{fresh_process}");
        assert!(fresh_process.contains("first difference at record 2:"), "{fresh_process}");
        assert!(fresh_process.contains("poll    main by timer 0"), "{fresh_process}");
    }
}

#[virtnet::test(seeds = 2)]
#[should_panic(expected = "It differs in a fresh process")]
async fn failing_test_is_compared_with_a_fresh_process_by_default(sim: Sim) {
    sim.note(std::process::id());
    panic!("whatever it is, the replay line will not show it");
}

#[test]
fn differing_payload_is_reported_with_the_poll_that_sent_it() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let report = Check::new("bytes").seeds(0..1).check_determinism().run(|sim| async move {
        let net = virtnet::simnet::Network::new("t");
        net.node("server", async |host| {
            let mut conn = host.listen(":1").await.unwrap().accept().await.unwrap();
            // As many bytes each time, as in the date that a web server sends.
            let run = RUNS.fetch_add(1, Relaxed);
            conn.write_all(&run.to_be_bytes()).await.unwrap();
        });
        sim.sleep(Duration::from_secs(1)).await;
        let mut conn = net.new_host("client").await.unwrap().dial("server:1").await.unwrap();
        conn.read_exact(&mut [0; 8]).await.unwrap();
    });
    let text = report.to_string();
    assert!(text.contains("data server:2->client:1 8 bytes"), "{text}");
    assert!(text.contains("  both read alike, but carry other bytes"), "{text}");
    let (_, sent) = text.split_once("  sent in ").expect(&text);
    assert!(sent.lines().next().unwrap().contains("poll    node/server by "), "{text}");
}
