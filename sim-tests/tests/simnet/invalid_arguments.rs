//! What cannot be meant is refused at the call, by the name of the argument; and whatever is only
//! looked at, copied or dropped never panics, not even after the run.

use std::time::Duration;

use futures::future::pending;
use virtnet::Run;
use virtnet::simnet::{
    ClockSkew, Config, FaultKind, FaultPlan, Faults, Latency, LinkOverride, Network, Node,
};

use crate::simnet::{Two, echo_node, exact, fifo, ms, panic_of, secs, two};

#[test]
fn a_fault_names_the_host_that_was_never_made_and_those_that_were() {
    fifo(async |_| {
        let Two { net, .. } = two(exact()).await;
        let calls: [(&str, &dyn Fn()); 7] = [
            ("partition", &|| net.partition(&["α"], &["γ"])),
            ("one way", &|| net.partition_one_way(&["γ"], &["β"])),
            ("hold", &|| net.hold("α", "γ")),
            ("release", &|| net.release("γ", "α")),
            ("reset", &|| net.reset("α", "γ")),
            ("link", &|| drop(net.link("γ", "β"))),
            ("sockets", &|| drop(net.netstat("γ"))),
        ];
        for (what, call) in calls {
            let text = panic_of(call);
            assert!(text.contains("no host \"γ\" was ever made on the network simt"), "{text}");
            assert!(what == "sockets" || text.ends_with("there are: α, β"), "{what}: {text}");
        }
        net.fault_stats().assert_effective();
    });
}

#[test]
fn a_partition_has_two_sides_that_share_nobody() {
    fifo(async |_| {
        let Two { net, .. } = two(exact()).await;
        for text in [
            panic_of(|| net.partition(&[], &["β"])),
            panic_of(|| net.partition(&["α"], &[])),
            panic_of(|| net.partition_one_way(&[], &[])),
        ] {
            assert!(text.contains("a partition of no hosts"), "{text}");
        }
        let text = panic_of(|| net.partition_one_way(&["α"], &["β", "α"]));
        assert!(text.contains("host \"α\" on both sides"), "{text}");
        let text = panic_of(|| drop(net.node("α", async |_| ())));
        assert!(text.contains("node \"α\": there is a host \"α\" already"), "{text}");
    });
}

#[test]
fn numbers_have_their_ranges() {
    let day = secs(24 * 60 * 60);
    let nothing = Duration::ZERO;
    let told: [(&str, &dyn Fn()); 13] = [
        ("window of 0", &|| drop(Config::new().window(0))),
        ("window of 1073741825", &|| drop(Config::new().window((1 << 30) + 1))),
        ("bandwidth of 0", &|| drop(Config::new().bandwidth(Some(0)))),
        ("keep-alive of 0", &|| drop(Config::new().keep_alive(Some(nothing)))),
        ("latency", &|| {
            let _ = Latency::constant(day + ms(1));
        }),
        ("latency", &|| {
            let _ = Latency::constant(Duration::MAX);
        }),
        ("max", &|| {
            let _ = Latency::uniform(ms(1), Duration::MAX);
        }),
        ("min 2ms", &|| {
            let _ = Latency::uniform(ms(2), ms(1));
        }),
        ("min 2ms", &|| {
            let _ = Latency::exponential(ms(2), ms(1));
        }),
        ("mean", &|| {
            let _ = Latency::exponential(ms(2), Duration::MAX);
        }),
        ("min 2ms", &|| {
            let _ = Latency::log_normal(ms(2), ms(1));
        }),
        ("median", &|| {
            let _ = Latency::log_normal(ms(2), Duration::MAX);
        }),
        ("Network::new", &|| drop(Network::new("t"))),
    ];
    for (name, call) in told {
        let text = panic_of(call);
        assert!(text.contains(name), "{name}: {text}");
    }
    drop(Config::new().window(1).window(1 << 30).latency(Latency::constant(day)));
}

#[test]
fn ratios_are_numbers_from_0_to_1() {
    fifo(async |_| {
        let Two { net, .. } = two(exact()).await;
        for ratio in [-0.001, 1.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let text = panic_of(|| drop(net.link("α", "β").loss(ratio)));
            assert!(text.contains(&format!("loss({ratio})")), "{text}");
            let text = panic_of(|| drop(net.link("α", "β").short_io(ratio)));
            assert!(text.contains(&format!("short_io({ratio})")), "{text}");
        }
        drop(net.link("α", "β").loss(0.0).loss(1.0).short_io(0.0).short_io(1.0));
        let text = panic_of(|| drop(net.link("α", "β").bandwidth(0)));
        assert!(text.contains("bandwidth of 0"), "{text}");
        let node = echo_node(&net, "γ");
        for drift in [-1_000_000, i32::MIN] {
            let text = panic_of(|| node.set_clock(ClockSkew::none().drift_ppm(drift)));
            assert!(text.contains(&format!("a drift of {drift}")), "{text}");
        }
        node.set_clock(ClockSkew::behind(Duration::MAX).drift_ppm(-999_999));
        node.set_clock(ClockSkew::ahead(Duration::MAX).drift_ppm(i32::MAX));
        node.set_poll_cost(Duration::MAX);
        virtnet::time::sleep(secs(1)).await;
    });
}

#[test]
fn fault_kind_is_read_from_its_name_and_a_wrong_name_is_told_the_right_ones() {
    for kind in FaultKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let text = "floods".parse::<FaultKind>().unwrap_err().to_string();
    assert!(
        text.starts_with("`floods` is no kind of fault: expected one of partition, "),
        "{text}"
    );
    assert!(text.ends_with(", wipe, slow_registry"), "{text}");
}

#[test]
fn the_longest_durations_are_for_ever() {
    fifo(async |sim| {
        let most = Duration::MAX;
        let config = exact().connect_timeout(most).user_timeout(Some(most));
        let t = two(config.keep_alive(Some(most)).bandwidth(Some(1))).await;
        t.net.partition(&["α"], &["β"]);
        assert_eq!(crate::simnet::write(&t.ab, "x").await, Ok(1));
        let told = sim.timeout(secs(20_000), crate::simnet::read(&t.ab)).await;
        assert!(told.is_err(), "{told:?}");
        assert!(sim.timeout(secs(10_000), t.a.dial("β:1")).await.is_err());
    });
}

/// All handles there are, of a run that is over.
fn left_over() -> (Network, Node, FaultPlan, LinkOverride, virtnet::Conn, virtnet::Listener) {
    fifo(async |sim| {
        let Two { net, ab, lb, .. } = two(exact()).await;
        let node = echo_node(&net, "γ");
        sim.sleep(ms(10)).await;
        let chaos = net.fault_plan(Faults::all().every_run());
        let link = net.link("α", "β").loss(0.5);
        (net, node, chaos, link, ab, lb)
    })
}

#[test]
fn after_the_run_everything_can_be_looked_at_copied_and_dropped() {
    let all = left_over();
    let text = format!("{:?} {:?} {:?} {:?} {:?} {:?}", all.0, all.1, all.2, all.3, all.4, all.5);
    assert!(text.contains("Network(\"simt\")") && text.contains("Node(\"γ\")"), "{text}");
    let (net, node) = (all.0.clone(), all.1.clone());
    assert_eq!((net.name(), node.name(), all.2.to_string().as_str()), ("simt", "γ", ""));
    assert_eq!(all.4.local_addr().to_string(), "α:1");
    std::thread::spawn(move || drop(all)).join().unwrap();
    drop((net, node));
}

#[test]
fn after_the_run_off_its_thread_or_in_another_run_the_use_of_a_handle_is_refused() {
    let uses = |net: &Network, node: &Node| {
        let calls: [&dyn Fn(); 19] = [
            &|| net.partition(&["α"], &["β"]),
            &|| net.partition_one_way(&["α"], &["β"]),
            &|| net.hold("α", "β"),
            &|| net.release("α", "β"),
            &|| net.reset("α", "β"),
            &|| drop(net.link("α", "β")),
            &|| net.registry_down(),
            &|| net.heal(),
            &|| {
                net.fault_stats();
            },
            &|| drop(net.netstat("α")),
            &|| drop(net.fault_plan(Faults::none())),
            &|| drop(net.region("")),
            &|| drop(net.node("δ", async |_| ())),
            &|| node.crash(),
            &|| node.restart(),
            &|| node.pause(),
            &|| {
                let _ = node.is_up();
            },
            &|| node.set_poll_cost(ms(1)),
            &|| drop(node.spawn(async {})),
        ];
        for (number, call) in calls.iter().enumerate() {
            let text = panic_of(call);
            assert!(text.contains("may only be used inside that run"), "{number}: {text}");
        }
    };
    let (net, node, _chaos, link, ..) = left_over();
    uses(&net, &node);
    let text = panic_of(|| drop(link.loss(0.1)));
    assert!(text.contains("may only be used inside that run"), "{text}");
    // Another run, with a network of its own, that never touches this one.
    Run::new(1)
        .execute(async move |_| {
            let own = Network::new("t");
            own.new_host("α").await.unwrap();
            uses(&net, &node);
            own.heal();
        })
        .unwrap();
    fifo(async move |_| {
        let Two { net, .. } = two(exact()).await;
        let node = echo_node(&net, "γ");
        std::thread::scope(|scope| {
            scope.spawn(|| uses(&net, &node)).join().unwrap();
        });
    });
}

#[test]
fn what_is_left_when_a_run_ends_in_the_middle_is_dropped_in_peace() {
    let run = Run::new(3).time_limit(secs(20));
    let outcome = run.execute(async |_| {
        let Two { net, ab, ba, .. } = two(exact()).await;
        let node = echo_node(&net, "γ");
        let mut chaos = net.fault_plan(Faults::all().every_run());
        chaos.run_for(secs(10)).await;
        let mut more = net.fault_plan(Faults::all().every_run());
        let _unfinished = virtnet::time::timeout(secs(3), more.run_for(secs(10))).await;
        net.partition(&["α"], &["β"]);
        let _ = crate::simnet::write(&ab, "x").await;
        pending::<()>().await;
        drop((node, ab, ba, chaos, more));
    });
    assert!(outcome.caught_panics.is_empty(), "{:?}", outcome.caught_panics);
    assert!(!outcome.is_done());
}
