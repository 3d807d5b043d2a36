//! What the network does by itself counts as steps, and a configuration that would break every
//! connection is refused.

use std::time::Duration;

use futures::io::AsyncReadExt;
use virtnet::simnet::{Config, Network};
use virtnet::{Outcome, Run, time};

use crate::simnet::{connect, exact, ms, panic_of, secs, write};

/// Two ends that ask each other on a lossy link whether they are there, and wait for a minute.
fn asking(run: Run, keep_alive: Duration) -> Outcome<()> {
    run.execute(async move |_| {
        let net = Network::with("t", Config::new().keep_alive(Some(keep_alive)));
        let (a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
        let listener = b.listen(":80").await.unwrap();
        let (mut ab, _ba) = connect(&a, &listener).await;
        drop(net.link("a", "b").loss(0.01));
        let _ = time::timeout(secs(60), ab.read(&mut [0])).await;
    })
}

#[test]
fn keep_alive_that_asks_without_end_ends_at_the_step_limit() {
    let outcome = asking(Run::new(1).step_limit(1_000), Duration::from_micros(1));
    assert_eq!((outcome.ending.name(), outcome.steps), ("step limit", 1_000), "{outcome}");
    assert!(outcome.elapsed < secs(1), "{outcome}");
}

#[test]
fn step_limit_that_suffices_for_what_the_network_does_changes_nothing() {
    let free = asking(Run::new(1), ms(100));
    assert!(free.is_done(), "{free}");
    assert!(free.steps > 1_000, "600 questions of each end: {free}");
    for (limit, done) in [(free.steps, true), (free.steps - 1, false), (500, false)] {
        let limited = asking(Run::new(1).step_limit(limit), ms(100));
        assert_eq!(limited.is_done(), done, "{limit}: {limited}");
        assert_eq!(limited.fingerprint == free.fingerprint, done, "{limit}");
        assert_eq!(limited.steps, limit);
    }
}

/// Whether records are kept decides which way data goes through the library, and nothing else.
#[test]
fn steps_are_the_same_whether_or_not_the_trace_is_kept() {
    for seed in 0..20 {
        let plain = asking(Run::new(seed), secs(1));
        let traced = asking(Run::new(seed).keep_trace().record_choices(), secs(1));
        assert_eq!((plain.steps, plain.fingerprint), (traced.steps, traced.fingerprint));
    }
}

#[test]
fn retransmissions_count_as_steps_and_plain_deliveries_do_not() {
    let steps = |cut: bool| {
        let outcome = Run::new(1).execute(async move |sim| {
            let net = Network::with("t", exact().user_timeout(None));
            let (a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
            let listener = b.listen(":1").await.unwrap();
            let (ab, _ba) = connect(&a, &listener).await;
            if cut {
                net.partition(&["a"], &["b"]);
            }
            for _ in 0..10 {
                write(&ab, "x").await.unwrap();
                sim.sleep(secs(300)).await;
            }
        });
        outcome.steps
    };
    let (plain, cut) = (steps(false), steps(true));
    assert!(plain < 30, "{plain}");
    assert!(cut > plain + 50, "3000 s, and an attempt a minute: {cut}, {plain}");
}

#[test]
fn durations_of_zero_that_break_every_connection_are_refused() {
    let zero = Duration::ZERO;
    let refused: [(&str, &dyn Fn()); 6] = [
        ("user_timeout(0)", &|| drop(Config::new().user_timeout(Some(zero)))),
        ("connect_timeout(0)", &|| drop(Config::new().connect_timeout(zero))),
        ("a keep-alive of 0 s", &|| drop(Config::new().keep_alive(Some(zero)))),
        ("a bandwidth of 0 bytes", &|| drop(Config::new().bandwidth(Some(0)))),
        ("a window of 0 bytes", &|| drop(Config::new().window(0))),
        ("a window of 1073741825 bytes", &|| drop(Config::new().window((1 << 30) + 1))),
    ];
    for (text, call) in refused {
        let told = panic_of(call);
        assert!(told.contains(text), "{told}");
    }
}

#[test]
fn smallest_and_largest_values_of_a_configuration_make_no_run_hang() {
    let (least, most) = (Duration::from_nanos(1), Duration::MAX);
    let configs: [(&str, Config); 8] = [
        ("user_timeout 1 ns", exact().user_timeout(Some(least))),
        ("user_timeout max", exact().user_timeout(Some(most))),
        ("connect_timeout max", exact().connect_timeout(most)),
        ("keep_alive 1 ns", exact().keep_alive(Some(least))),
        ("keep_alive max", exact().keep_alive(Some(most))),
        ("bandwidth 1", exact().bandwidth(Some(1))),
        ("bandwidth max", exact().bandwidth(Some(u64::MAX))),
        ("window 1", exact().window(1)),
    ];
    for (name, config) in configs {
        let run = Run::new(1).step_limit(100_000).time_limit(secs(100_000));
        let outcome = run.execute(async move |_| {
            let net = Network::with("t", config);
            let (a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
            let listener = b.listen(":1").await.unwrap();
            let (ab, mut ba) = connect(&a, &listener).await;
            net.partition(&["a"], &["b"]);
            net.heal();
            let wrote = write(&ab, "x").await;
            let read = time::timeout(secs(100), ba.read(&mut [0])).await;
            let read = read.map(|read| read.map_err(|error| error.kind()));
            (wrote, read)
        });
        // A way there and back that takes longer than the timeout of the stream is a timeout.
        let (wrote, read) = match name {
            "user_timeout 1 ns" | "keep_alive 1 ns" => continue,
            _ => outcome.unwrap(),
        };
        assert_eq!((wrote, read), (Ok(1), Ok(Ok(1))), "{name}");
    }
}
