//! Every fault has an effect that a program sees, heal undoes it, and the ledger has it.

use futures::future::join;
use virtnet::simnet::{FaultCounts, FaultKind, FaultStats, Latency, Network};
use virtnet::{Cause, time};

use crate::simnet::{
    ConnectedPair, connect, connected_pair, exact_config, ms, panic_message, read, run_fifo, secs,
    sleep_until_after, timed, write,
};

/// What the ledger has of a fault called by name so many times.
fn manual_counts(times: u64, effective: u64) -> FaultCounts {
    FaultCounts { requested: times, drawn: 0, applied: times, effective }
}

/// Whether the two can talk, both ways.
async fn assert_both_directions_work(t: &ConnectedPair) {
    for (from, to) in [(&t.ab, &t.ba), (&t.ba, &t.ab)] {
        assert_eq!(write(from, "hello").await, Ok(5));
        assert_eq!(timed(read(to)).await, (ms(10), Ok("hello".into())));
    }
}

#[test]
fn partitioned_hosts_time_out_and_reconnect_after_heal() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.partition(&["α"], &["β"]);
        assert_eq!(
            t.net.fault_stats().kind(FaultKind::Partition),
            manual_counts(1, 0),
            "nobody has felt it"
        );
        assert_eq!(write(&t.ab, "?").await, Ok(1));
        assert_eq!(write(&t.ba, "?").await, Ok(1));
        let (dialed, reverse_dialed) = join(t.a.dial("β:1"), t.b.dial("α:9")).await;
        assert_eq!(*dialed.unwrap_err().root(), Cause::TimedOut);
        assert_eq!(*reverse_dialed.unwrap_err().root(), Cause::TimedOut);
        assert_eq!(
            join(read(&t.ab), read(&t.ba)).await,
            (Err(Cause::TimedOut), Err(Cause::TimedOut))
        );
        assert_eq!(t.net.fault_stats().kind(FaultKind::Partition), manual_counts(1, 1));
        t.net.heal();
        let (ab, ba) = connect(&t.a, &t.lb).await;
        assert_both_directions_work(&ConnectedPair { ab, ba, ..t }).await;
    });
}

#[test]
fn partition_cuts_only_links_between_its_two_groups() {
    run_fifo(async |_| {
        let net = Network::with("t", exact_config());
        let mut hosts = Vec::new();
        for name in ["α", "β", "γ", "δ", "ε"] {
            let host = net.new_host(name).await.unwrap();
            let listener = host.listen(":1").await.unwrap();
            hosts.push((host, listener));
        }
        net.partition(&["α", "β"], &["γ", "δ"]);
        for (from, (host, _)) in hosts.iter().enumerate() {
            for to in (0..5).filter(|to| *to != from) {
                let is_cut =
                    (from < 2 && (2..4).contains(&to)) || (to < 2 && (2..4).contains(&from));
                let address = format!("{}:1", hosts[to].0.name());
                let accepting =
                    async { if is_cut { None } else { Some(hosts[to].1.accept().await.unwrap()) } };
                let (dialed, _accepted) = join(host.dial(&address), accepting).await;
                assert_eq!(dialed.is_err(), is_cut, "{} to {address}", host.name());
            }
        }
    });
}

#[test]
fn one_way_partition_delivers_reverse_data_and_times_out_its_sender() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.partition_one_way(&["α"], &["β"]);
        let start = time::now();
        assert_eq!(write(&t.ba, "you hear me").await, Ok(11));
        assert_eq!(timed(read(&t.ab)).await, (ms(10), Ok("you hear me".into())));
        // But that is never acknowledged.
        assert_eq!(read(&t.ba).await, Err(Cause::TimedOut));
        assert_eq!(time::now() - start, secs(60));
        assert_eq!(t.net.fault_stats().kind(FaultKind::OneWay), manual_counts(1, 1));
        assert_eq!(t.net.fault_stats().kind(FaultKind::Partition), manual_counts(0, 0));
        let dialed = t.b.dial("α:1").await.map(drop);
        assert_eq!(*dialed.unwrap_err().root(), Cause::TimedOut);
    });
}

#[test]
fn ack_resent_within_user_timeout_keeps_stream_open() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config()).await;
        t.net.partition_one_way(&["α"], &["β"]);
        assert_eq!(write(&t.ba, "x").await, Ok(1));
        time::sleep(secs(59)).await;
        t.net.heal();
        assert!(sim.timeout(secs(500), read(&t.ba)).await.is_err(), "it is fine, and idle");
        assert_eq!(read(&t.ab).await, Ok("x".into()));
        assert_both_directions_work(&t).await;
    });
}

#[test]
fn data_retransmitted_after_heal_is_acknowledged() {
    run_fifo(async |sim| {
        let t = connected_pair(exact_config()).await;
        t.net.partition(&["α"], &["β"]);
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        time::sleep(secs(1)).await;
        t.net.heal();
        assert_eq!(read(&t.ba).await, Ok("x".into()));
        assert!(sim.timeout(secs(500), read(&t.ab)).await.is_err(), "it is fine, and idle");
        assert_both_directions_work(&t).await;
    });
}

#[test]
fn released_link_delivers_held_data_and_dials_in_order() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        assert_eq!(write(&t.ab, "under way, ").await, Ok(11));
        t.net.hold("β", "α");
        let start = time::now();
        for text in ["one, ", "two, ", "three"] {
            assert_eq!(write(&t.ab, text).await, Ok(text.len()));
            time::sleep(secs(1)).await;
        }
        let releasing = async {
            sleep_until_after(start, secs(5)).await;
            t.net.release("α", "β");
        };
        let dialing = timed(connect(&t.a, &t.lb));
        let (text, (), dialed) = futures::join!(read(&t.ba), releasing, dialing);
        assert_eq!(text, Ok("under way, one, two, three".into()));
        assert_eq!(time::now() - start, secs(5) + ms(10), "the answer to the dial has yet to come");
        assert_eq!(dialed.0, secs(2) + ms(10));
        assert_eq!(t.net.fault_stats().kind(FaultKind::Hold), manual_counts(1, 1));
        assert_both_directions_work(&t).await;
    });
}

#[test]
fn heal_releases_held_data_and_lasting_hold_times_out() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.hold("α", "β");
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        time::sleep(secs(3)).await;
        t.net.heal();
        assert_eq!(timed(read(&t.ba)).await, (ms(0), Ok("x".into())));
        assert_both_directions_work(&t).await;
        t.net.hold("α", "β");
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        assert_eq!(timed(read(&t.ab)).await, (secs(60), Err(Cause::TimedOut)));
    });
}

#[test]
fn reset_breaks_only_connections_between_its_two_hosts() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        let c = t.net.new_host("γ").await.unwrap();
        let (cb, bc) = connect(&c, &t.lb).await;
        t.net.reset("β", "α");
        assert_eq!(read(&t.ab).await, Err(Cause::ConnReset));
        assert_eq!(read(&t.ba).await, Err(Cause::ConnReset));
        assert_eq!(write(&cb, "x").await, Ok(1));
        assert_eq!(read(&bc).await, Ok("x".into()));
        t.net.reset("β", "α");
        assert_eq!(
            t.net.fault_stats().kind(FaultKind::Reset),
            manual_counts(2, 1),
            "the second had nothing to hit"
        );
    });
}

#[test]
fn link_overrides_are_effective_and_survive_heal() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.link("α", "β").latency(Latency::constant(ms(70)));
        t.net.heal();
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        assert_eq!(timed(read(&t.ba)).await, (ms(70), Ok("x".into())));
        assert_eq!(timed(connect(&t.a, &t.lb)).await.0, ms(141), "a dial feels it too");
        let stats = t.net.fault_stats();
        assert_eq!(stats.kind(FaultKind::Latency), manual_counts(1, 1));
        t.net.link("α", "β").latency(Latency::constant(ms(10))).loss(1.0);
        t.net.heal();
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        assert_eq!(timed(read(&t.ab)).await, (secs(60), Err(Cause::TimedOut)));
        t.net.link("α", "β").loss(0.0);
        let (ab, ba) = connect(&t.a, &t.lb).await;
        t.net.link("α", "β").bandwidth(100).short_io(1.0);
        assert_eq!(write(&ab, "0123456789").await.map(|count| count < 10), Ok(true));
        assert!(timed(read(&ba)).await.0 > ms(10));
        for (family, times) in [("latency", 2), ("loss", 2), ("bandwidth", 1), ("short_io", 1)] {
            let counts = t.net.fault_stats().kind(family.parse().unwrap());
            assert_eq!((counts.requested, counts.applied), (times, times), "{family}");
            assert!(counts.effective > 0, "{family}");
        }
    });
}

#[test]
fn data_on_lossy_link_arrives_with_retransmit_delay() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.link("α", "β").loss(0.3);
        let mut late = 0;
        for number in 0..100 {
            let text = number.to_string();
            assert_eq!(write(&t.ab, &text).await, Ok(text.len()));
            let (took, got) = timed(read(&t.ba)).await;
            assert_eq!(got, Ok(text));
            late += u32::from(took >= ms(220));
            assert!(took == ms(10) || took >= ms(220), "{took:?}");
        }
        assert!((15..45).contains(&late), "{late} of 100 were lost");
    });
}

#[test]
fn fault_stats_name_faults_without_effect() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        t.net.fault_stats().assert_effective();
        t.net.partition(&["α"], &["β"]);
        t.net.heal();
        let stats = t.net.fault_stats();
        assert_eq!(stats.ineffective(), [FaultKind::Partition]);
        let text = panic_message(|| stats.assert_effective());
        assert!(text.contains("never had an effect: partition."), "{text}");
        t.net.partition(&["α"], &["β"]);
        assert_eq!(write(&t.ab, "x").await, Ok(1));
        time::sleep(ms(11)).await;
        let mut sum = FaultStats::default();
        sum += &stats;
        sum += &t.net.fault_stats();
        sum.assert_effective();
        assert_eq!(sum.kind(FaultKind::Partition), manual_counts(3, 1));
    });
}

#[test]
fn loopback_latency_override_is_ignored_and_not_effective() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        let (ab, ba) = connect(&t.b, &t.lb).await;
        t.net.link("β", "β").latency(Latency::constant(ms(70)));
        assert_eq!(write(&ab, "x").await, Ok(1));
        assert!(timed(read(&ba)).await.0 < ms(1));
        assert_eq!(t.net.fault_stats().kind(FaultKind::Latency), manual_counts(1, 0));
    });
}

#[test]
fn netstat_lists_open_sockets_and_their_problems() {
    run_fifo(async |_| {
        let t = connected_pair(exact_config()).await;
        assert_eq!(write(&t.ba, "unread").await, Ok(6));
        time::sleep(ms(20)).await;
        t.net.partition(&["α"], &["β"]);
        assert_eq!(write(&t.ab, "unsent!").await, Ok(7));
        time::sleep(ms(20)).await;
        assert_eq!(
            t.net.netstat("α"),
            "α is up, restarted 0 time(s)\n  \
             α:1->β:2  open, unread 6, unsent 7, window 65529; lost on the way, 1 time(s); \
             not acknowledged since 43ms"
        );
        assert_eq!(
            t.net.netstat("β"),
            "β is up, restarted 0 time(s)\n  β:1  listens, 0 dial(s) and 0 accept(s) wait\n  \
             β:2->α:1  open, unread 0, unsent 0, window 65530"
        );
    });
}
