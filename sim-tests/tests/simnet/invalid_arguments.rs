//! What cannot be meant is refused at the call, by the name of the argument; and whatever is only
//! looked at, copied or dropped never panics, not even after the run.

use std::time::Duration;

use futures::future::pending;
use virtnet::Run;
use virtnet::simnet::{
    ClockSkew, Config, FaultKind, FaultPlan, Faults, Latency, LinkOverride, Network, Node,
};

use crate::simnet::{
    ConnectedPair, connected_pair, echo_node, exact_config, ms, panic_message, run_fifo, secs,
};

#[test]
fn fault_on_unknown_host_panics_with_its_name_and_the_known_hosts() {
    run_fifo(async |_| {
        let ConnectedPair { net, .. } = connected_pair(exact_config()).await;
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
            let text = panic_message(call);
            assert!(text.contains("no host \"γ\" was ever made on the network simt"), "{text}");
            assert!(what == "sockets" || text.ends_with("there are: α, β"), "{what}: {text}");
        }
        net.fault_stats().assert_effective();
    });
}

#[test]
fn partition_with_empty_or_overlapping_sides_panics() {
    run_fifo(async |_| {
        let ConnectedPair { net, .. } = connected_pair(exact_config()).await;
        for text in [
            panic_message(|| net.partition(&[], &["β"])),
            panic_message(|| net.partition(&["α"], &[])),
            panic_message(|| net.partition_one_way(&[], &[])),
        ] {
            assert!(text.contains("a partition of no hosts"), "{text}");
        }
        let text = panic_message(|| net.partition_one_way(&["α"], &["β", "α"]));
        assert!(text.contains("host \"α\" on both sides"), "{text}");
        let text = panic_message(|| drop(net.node("α", async |_| ())));
        assert!(text.contains("node \"α\": there is a host \"α\" already"), "{text}");
    });
}

#[test]
fn config_value_out_of_range_panics_with_the_argument_name() {
    let day = secs(24 * 60 * 60);
    let nothing = Duration::ZERO;
    let cases: [(&str, &dyn Fn()); 13] = [
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
    for (name, call) in cases {
        let text = panic_message(call);
        assert!(text.contains(name), "{name}: {text}");
    }
    drop(Config::new().window(1).window(1 << 30).latency(Latency::constant(day)));
}

#[test]
fn link_ratio_or_clock_drift_out_of_range_panics() {
    run_fifo(async |_| {
        let ConnectedPair { net, .. } = connected_pair(exact_config()).await;
        for ratio in [-0.001, 1.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let text = panic_message(|| drop(net.link("α", "β").loss(ratio)));
            assert!(text.contains(&format!("loss({ratio})")), "{text}");
            let text = panic_message(|| drop(net.link("α", "β").short_io(ratio)));
            assert!(text.contains(&format!("short_io({ratio})")), "{text}");
        }
        drop(net.link("α", "β").loss(0.0).loss(1.0).short_io(0.0).short_io(1.0));
        let text = panic_message(|| drop(net.link("α", "β").bandwidth(0)));
        assert!(text.contains("bandwidth of 0"), "{text}");
        let node = echo_node(&net, "γ");
        for drift in [-1_000_000, i32::MIN] {
            let text = panic_message(|| node.set_clock(ClockSkew::none().drift_ppm(drift)));
            assert!(text.contains(&format!("a drift of {drift}")), "{text}");
        }
        node.set_clock(ClockSkew::behind(Duration::MAX).drift_ppm(-999_999));
        node.set_clock(ClockSkew::ahead(Duration::MAX).drift_ppm(i32::MAX));
        node.set_poll_cost(Duration::MAX);
        virtnet::time::sleep(secs(1)).await;
    });
}

#[test]
fn fault_kind_parses_its_names_and_rejects_others_with_the_valid_ones() {
    for kind in FaultKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let text = "floods".parse::<FaultKind>().unwrap_err().to_string();
    assert!(
        text.starts_with("`floods` is no kind of fault: expected one of partition, "),
        "{text}"
    );
    assert!(text.ends_with(", wipe, slow_registry, accept"), "{text}");
}

#[test]
fn maximum_duration_timeouts_never_expire() {
    run_fifo(async |sim| {
        let max = Duration::MAX;
        let config = exact_config().connect_timeout(max).user_timeout(Some(max));
        let t = connected_pair(config.keep_alive(Some(max)).bandwidth(Some(1))).await;
        t.net.partition(&["α"], &["β"]);
        assert_eq!(crate::simnet::write(&t.ab, "x").await, Ok(1));
        let result = sim.timeout(secs(20_000), crate::simnet::read(&t.ab)).await;
        assert!(result.is_err(), "{result:?}");
        assert!(sim.timeout(secs(10_000), t.a.dial("β:1")).await.is_err());
    });
}

/// All handles there are, of a run that is over.
fn handles_of_finished_run()
-> (Network, Node, FaultPlan, LinkOverride, virtnet::Conn, virtnet::Listener) {
    run_fifo(async |sim| {
        let ConnectedPair { net, ab, lb, .. } = connected_pair(exact_config()).await;
        let node = echo_node(&net, "γ");
        sim.sleep(ms(10)).await;
        let plan = net.fault_plan(Faults::all().every_run());
        let link = net.link("α", "β").loss(0.5);
        (net, node, plan, link, ab, lb)
    })
}

#[test]
fn handles_after_their_run_can_be_formatted_cloned_and_dropped() {
    let handles = handles_of_finished_run();
    let text = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        handles.0, handles.1, handles.2, handles.3, handles.4, handles.5
    );
    assert!(text.contains("Network(\"simt\")") && text.contains("Node(\"γ\")"), "{text}");
    let (net, node) = (handles.0.clone(), handles.1.clone());
    assert_eq!((net.name(), node.name(), handles.2.to_string().as_str()), ("simt", "γ", ""));
    assert_eq!(handles.4.local_addr().to_string(), "α:1");
    std::thread::spawn(move || drop(handles)).join().unwrap();
    drop((net, node));
}

#[test]
fn handle_used_outside_its_run_or_thread_panics() {
    let assert_every_use_panics = |net: &Network, node: &Node| {
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
            let text = panic_message(call);
            assert!(text.contains("may only be used inside that run"), "{number}: {text}");
        }
    };
    let (net, node, _plan, link, ..) = handles_of_finished_run();
    assert_every_use_panics(&net, &node);
    let text = panic_message(|| drop(link.loss(0.1)));
    assert!(text.contains("may only be used inside that run"), "{text}");
    // Another run, with a network of its own, that never touches this one.
    Run::new(1)
        .execute(async move |_| {
            let local_net = Network::new("t");
            local_net.new_host("α").await.unwrap();
            assert_every_use_panics(&net, &node);
            local_net.heal();
        })
        .unwrap();
    run_fifo(async move |_| {
        let ConnectedPair { net, .. } = connected_pair(exact_config()).await;
        let node = echo_node(&net, "γ");
        std::thread::scope(|scope| {
            scope.spawn(|| assert_every_use_panics(&net, &node)).join().unwrap();
        });
    });
}

#[test]
fn run_cut_off_at_time_limit_drops_everything_without_panic() {
    let run = Run::new(3).time_limit(secs(20));
    let outcome = run.execute(async |_| {
        let ConnectedPair { net, ab, ba, .. } = connected_pair(exact_config()).await;
        let node = echo_node(&net, "γ");
        let mut plan = net.fault_plan(Faults::all().every_run());
        plan.run_for(secs(10)).await;
        let mut second_plan = net.fault_plan(Faults::all().every_run());
        let _unfinished = virtnet::time::timeout(secs(3), second_plan.run_for(secs(10))).await;
        net.partition(&["α"], &["β"]);
        let _ = crate::simnet::write(&ab, "x").await;
        pending::<()>().await;
        drop((node, ab, ba, plan, second_plan));
    });
    assert!(outcome.caught_panics.is_empty(), "{:?}", outcome.caught_panics);
    assert!(!outcome.is_done());
}
