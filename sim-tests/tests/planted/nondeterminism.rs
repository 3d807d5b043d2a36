//! Planted nondeterminism: each must be reported as such, at the first record that differs.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use virtnet::Sim;
use virtnet::check::Check;

#[test]
#[expect(clippy::iter_over_hash_type, reason = "this is the planted bug")]
fn a_hash_map_that_is_iterated_into_the_protocol_is_reported() {
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
fn the_real_clock_in_a_decision_is_reported() {
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
fn a_thread_is_reported() {
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
