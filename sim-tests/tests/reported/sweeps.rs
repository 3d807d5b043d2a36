//! Sweeps that are cut short, resumed, narrowed, or run beside each other.

use std::path::PathBuf;
use std::time::Duration;

use virtnet::Sim;
use virtnet::check::sometimes;
use virtnet::simnet::Network;

use crate::process::{execute, said};

/// Reaches its label in the first ten seeds only.
#[virtnet::test(seeds = 100)]
async fn reaches_early(sim: Sim) {
    sometimes!(sim.seed() < 10, "an early seed");
}

/// Asks for a partition that meets something in the first five seeds only.
#[virtnet::test(seeds = 20)]
async fn has_faults_early(sim: Sim) {
    let net = Network::new("t");
    let [a, b] = [net.host("a").await.unwrap(), net.host("b").await.unwrap()];
    let _listener = b.listen(":1").await.unwrap();
    net.partition(&["a"], &["b"]);
    if sim.seed() < 5 {
        let _ = sim.timeout(Duration::from_secs(1), a.dial("b:1")).await;
    }
}

const EARLY: &str = "reported::sweeps::reaches_early";
const NEVER: &str = "sometimes! was never reached: an early seed\n";

/// Whether a sweep with these variables fails as a whole sweep does, and nothing else goes wrong.
#[track_caller]
fn is_judged_as_a_whole(variables: &[(&str, &str)]) -> bool {
    let output = execute(EARLY, variables);
    let text = said(&output);
    assert_eq!(output.status.success(), !text.contains(NEVER), "{variables:?}: {text}");
    !output.status.success()
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("virtnet-sweeps-{name}-{}.jsonl", std::process::id()))
}

#[test]
fn sweep_with_fewer_seeds_than_the_test_asks_for_is_judged_as_a_part() {
    let whole = |variables: &[(&str, &str)]| is_judged_as_a_whole(variables);
    // What is printed after a Ctrl-C, a single seed, and all but one seed.
    assert!(!whole(&[("VIRTNET_SEEDS", "0x5f..0x64")]));
    assert!(!whole(&[("VIRTNET_SEEDS", "70..71")]));
    assert!(!whole(&[("VIRTNET_SEEDS", "10..109")]));
    assert!(!whole(&[("VIRTNET_SEED", "70")]));
    assert!(!whole(&[("VIRTNET_SEEDS", "random:99")]));
    // A shard, and a shard of a range that is large enough.
    assert!(!whole(&[("VIRTNET_SEEDS", "100..1000"), ("VIRTNET_SHARD", "1/3")]));
    // What a time ends before it has run all, and what goes on after a time.
    assert!(!whole(&[("VIRTNET_SEEDS", "10..4000000"), ("VIRTNET_TIME", "1ns")]));
    assert!(!whole(&[("VIRTNET_SEEDS", "10.."), ("VIRTNET_TIME", "300ms")]));
    // A rest, however large.
    assert!(!whole(&[("VIRTNET_SEEDS", "rest:10..400")]));
}

#[test]
fn sweep_with_as_many_seeds_as_the_test_asks_for_is_judged_as_a_whole() {
    let whole = |variables: &[(&str, &str)]| is_judged_as_a_whole(variables);
    assert!(whole(&[("VIRTNET_SEEDS", "10..110")]));
    assert!(whole(&[("VIRTNET_SEEDS", "random:100")]));
    assert!(whole(&[("NEXTEST_STRESS_CURRENT", "1")]));
    assert!(whole(&[("VIRTNET_SEEDS", "10..110"), ("VIRTNET_SHARD", "0/1")]));
    // All seeds of the test, and the label is reached.
    assert!(!whole(&[]));
    assert!(!whole(&[("VIRTNET_SEEDS", "rest:0..200")]));
}

#[test]
fn faults_without_effect_in_a_part_of_the_seeds_fail_only_the_whole() {
    let test = "reported::sweeps::has_faults_early";
    let none = "faults were requested that never had an effect: ";
    for (seeds, is_whole) in [("5..20", false), ("19..20", false), ("5..25", true)] {
        let output = execute(test, &[("VIRTNET_SEEDS", seeds)]);
        let text = said(&output);
        assert_eq!(text.contains(none), is_whole, "{seeds}: {text}");
        assert_eq!(output.status.success(), !is_whole, "{seeds}: {text}");
    }
}

/// Where the time is used up, the line that goes on is executed as it is printed.
#[test]
fn sweep_that_goes_on_after_its_time_is_judged_as_a_part() {
    let first = [("VIRTNET_SEEDS", "9..4000000"), ("VIRTNET_TIME", "100ms")];
    let mut text = said(&execute(EARLY, &first));
    for _ in 0..2 {
        let (_, on) = text.split_once("  go on: ").expect(&text);
        let (on, _) = on.split_once("cargo ").expect(on);
        let variables: Vec<_> = on.split(' ').filter_map(|word| word.split_once('=')).collect();
        assert!(variables.iter().any(|(_, seeds)| seeds.starts_with("rest:0x")), "{on}");
        let output = execute(EARLY, &variables);
        text = said(&output);
        assert!(output.status.success(), "{text}");
    }
}

#[test]
fn results_are_judged_as_a_whole_where_they_have_the_seeds_of_the_test_together() {
    let file = file("merge");
    let path = file.to_str().unwrap();
    let part = |seeds, more: &[(&str, &str)]| {
        let own = [("VIRTNET_RESULTS", path), ("VIRTNET_SEEDS", seeds)];
        assert!(!is_judged_as_a_whole(&[&own, more].concat()));
    };
    let judge = || {
        let output = execute(EARLY, &[("VIRTNET_JUDGE", path)]);
        (output.status.success(), said(&output))
    };
    part("10..60", &[]);
    part("10..60", &[]);
    let (is_well, text) = judge();
    assert!(is_well, "{text}");
    let told = "the results have 50 seeds, and the test asks for 100: they are judged as a part";
    assert!(text.contains(told), "{text}");
    // Two shards, of which one has run more: it is not enough.
    part("40..109", &[("VIRTNET_SHARD", "0/2")]);
    part("60..110", &[("VIRTNET_SHARD", "1/2")]);
    let (is_well, text) = judge();
    assert!(is_well && text.contains("the results have 99 seeds"), "{text}");
    part("109..110", &[]);
    let (is_well, text) = judge();
    assert!(!is_well && text.contains(NEVER), "{text}");
    part("0..10", &[]);
    let (is_well, text) = judge();
    std::fs::remove_file(file).unwrap();
    assert!(is_well && !text.contains("as a part"), "{text}");
}
