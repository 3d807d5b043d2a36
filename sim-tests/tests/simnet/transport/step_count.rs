//! What the network does by itself counts as steps, and a configuration that would break every
//! connection is refused.

use std::time::Duration;

use futures::io::AsyncReadExt;
use virtnet::simnet::{Config, Network};
use virtnet::{Outcome, Run, time};

use crate::simnet::{connect, exact_config, ms, panic_message, secs, write};

/// Two ends that ask each other on a lossy link whether they are there, and wait for a minute.
fn run_keep_alive(run: Run, keep_alive: Duration) -> Outcome<()> {
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
fn endless_keep_alive_ends_at_the_step_limit() {
    let outcome = run_keep_alive(Run::new(1).step_limit(1_000), Duration::from_micros(1));
    assert_eq!((outcome.ending.name(), outcome.steps), ("step limit", 1_000), "{outcome}");
    assert!(outcome.elapsed < secs(1), "{outcome}");
}

#[test]
fn sufficient_step_limit_does_not_change_the_run() {
    let unlimited = run_keep_alive(Run::new(1), ms(100));
    assert!(unlimited.is_done(), "{unlimited}");
    assert!(unlimited.steps > 1_000, "600 questions of each end: {unlimited}");
    for (limit, done) in [(unlimited.steps, true), (unlimited.steps - 1, false), (500, false)] {
        let limited = run_keep_alive(Run::new(1).step_limit(limit), ms(100));
        assert_eq!(limited.is_done(), done, "{limit}: {limited}");
        assert_eq!(limited.fingerprint == unlimited.fingerprint, done, "{limit}");
        assert_eq!(limited.steps, limit);
    }
}

/// Whether records are kept decides which way data goes through the library, and nothing else.
#[test]
fn step_count_is_the_same_with_and_without_a_trace() {
    for seed in 0..20 {
        let untraced = run_keep_alive(Run::new(seed), secs(1));
        let traced = run_keep_alive(Run::new(seed).keep_trace().record_choices(), secs(1));
        assert_eq!((untraced.steps, untraced.fingerprint), (traced.steps, traced.fingerprint));
    }
}

#[test]
fn retransmissions_count_as_steps_and_deliveries_do_not() {
    let steps = |cut: bool| {
        let outcome = Run::new(1).execute(async move |sim| {
            let net = Network::with("t", exact_config().user_timeout(None));
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
    let (uncut, cut) = (steps(false), steps(true));
    assert!(uncut < 30, "{uncut}");
    assert!(cut > uncut + 50, "3000 s, and an attempt a minute: {cut}, {uncut}");
}

#[test]
fn config_values_that_break_every_connection_are_refused() {
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
        let result = panic_message(call);
        assert!(result.contains(text), "{result}");
    }
}

#[test]
fn extreme_config_values_never_hang_a_run() {
    let (min, max) = (Duration::from_nanos(1), Duration::MAX);
    let configs: [(&str, Config); 8] = [
        ("user_timeout 1 ns", exact_config().user_timeout(Some(min))),
        ("user_timeout max", exact_config().user_timeout(Some(max))),
        ("connect_timeout max", exact_config().connect_timeout(max)),
        ("keep_alive 1 ns", exact_config().keep_alive(Some(min))),
        ("keep_alive max", exact_config().keep_alive(Some(max))),
        ("bandwidth 1", exact_config().bandwidth(Some(1))),
        ("bandwidth max", exact_config().bandwidth(Some(u64::MAX))),
        ("window 1", exact_config().window(1)),
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
