//! Workloads, contenders, and the goals for virtnet.

/// How many operations a sample has.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// As many as fill the time of a sample, in steps of this, and at least so many steps.
    Fill { step: u64, least: u64 },
    /// Always that many.
    Fixed { n: u64 },
    /// Always that many, or few if it must be quick, and of those without the first operation of
    /// each of so many, for it is making all the hosts or tasks that takes the time there.
    Beyond { first: u64, n: u64, quick: u64 },
}

/// What is asked of virtnet.
#[derive(Clone, Copy)]
pub(crate) struct Goal {
    /// The least it may be, as a multiple of the bare executor's speed.
    pub(crate) floor: f64,
    /// What it is to reach, likewise.
    pub(crate) goal: f64,
    /// The least it may be, as a multiple of the best peer's speed.
    pub(crate) peer: f64,
}

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) what: &'static str,
    /// Of what there are so many a second.
    pub(crate) unit: &'static str,
    pub(crate) size: Size,
    pub(crate) goal: Goal,
}

const fn goal(floor: f64, goal: f64, peer: f64) -> Goal {
    Goal { floor, goal, peer }
}

pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "pingpong",
        title: "ping-pong",
        what: "2 hosts, 1 connection",
        unit: "round trips",
        size: Size::Fill { step: 100, least: 10 },
        goal: goal(0.75, 1.1, 6.0),
    },
    Workload {
        name: "many-10",
        title: "10 clients",
        what: "of 1 server, each asks one after the other",
        unit: "round trips",
        size: Size::Fill { step: 100, least: 10 },
        goal: goal(0.65, 0.95, 5.0),
    },
    Workload {
        name: "many-100",
        title: "100 clients",
        what: "of 10 servers",
        unit: "round trips",
        size: Size::Fill { step: 1_000, least: 1 },
        goal: goal(0.70, 1.0, 5.0),
    },
    Workload {
        name: "many-1000",
        title: "1 000 clients",
        what: "of 100 servers, beyond the first round trip of each",
        unit: "round trips",
        size: Size::Beyond { first: 1_000, n: 200_000, quick: 40_000 },
        goal: goal(0.65, 0.95, 5.0),
    },
    Workload {
        name: "many-10000",
        title: "10 000 clients",
        what: "of 1 000 servers, beyond the first round trip of each",
        unit: "round trips",
        size: Size::Beyond { first: 10_000, n: 200_000, quick: 100_000 },
        goal: goal(0.65, 1.0, 5.0),
    },
    Workload {
        name: "timers-100",
        title: "100 timers",
        what: "tasks that sleep for 1 to 10 ms",
        unit: "wake-ups",
        size: Size::Fill { step: 1_000, least: 10 },
        goal: goal(0.75, 1.1, 1.5),
    },
    Workload {
        name: "timers-10000",
        title: "10 000 timers",
        what: "likewise",
        unit: "wake-ups",
        size: Size::Fill { step: 100_000, least: 1 },
        goal: goal(0.80, 1.15, 1.5),
    },
    Workload {
        name: "timers-1000000",
        title: "1 000 000 timers",
        what: "likewise, beyond the first wake-up of each",
        unit: "wake-ups",
        size: Size::Beyond { first: 1_000_000, n: 3_000_000, quick: 2_000_000 },
        goal: goal(1.2, 2.0, 1.05),
    },
    Workload {
        name: "bulk",
        title: "bulk",
        what: "256 MiB in writes of 64 KiB",
        unit: "MiB",
        size: Size::Fixed { n: 256 },
        goal: goal(0.55, 0.80, 1.1),
    },
    Workload {
        name: "startup",
        title: "start-up",
        what: "3 hosts, 1 connection, 1 echo, the end; each with a new seed",
        unit: "runs",
        size: Size::Fill { step: 100, least: 10 },
        goal: goal(0.18, 0.33, 1.6),
    },
    Workload {
        name: "spawn",
        title: "spawn",
        what: "a trivial task, joined",
        unit: "tasks",
        size: Size::Fill { step: 1_000, least: 50 },
        goal: goal(0.55, 0.90, 4.0),
    },
    Workload {
        name: "connect",
        title: "connect",
        what: "dial, accept, close",
        unit: "connections",
        size: Size::Fill { step: 100, least: 10 },
        goal: goal(0.14, 0.28, 1.1),
    },
];

/// A program, and how it is set up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) variant: &'static str,
}

/// In the order of columns: ours, the yardstick, the peers.
pub(crate) const NAMES: &[&str] = &[OURS, BARE, "madsim", "moonpool", "bach", "turmoil"];
pub(crate) const OURS: &str = "virtnet";
pub(crate) const BARE: &str = "limit-futures";

/// The peers' crates, whose versions stand in `Cargo.lock`.
pub(crate) const CRATES: &[(&str, &str)] =
    &[("madsim", "madsim"), ("moonpool", "moonpool-sim"), ("bach", "bach"), ("turmoil", "turmoil")];

/// The name of a contender's program.
pub(crate) fn program(name: &str) -> String {
    format!("peers-{}", if name == BARE { "bare" } else { name })
}

/// Who is measured in a workload: of each peer, its set-ups as far as they differ there.
pub(crate) fn contenders(workload: &str) -> Vec<Contender> {
    let network = !workload.starts_with("timers") && workload != "spawn";
    let set_ups = |name: &str| -> &'static [&'static str] {
        match name {
            "madsim" if workload == "startup" => &["default", "tuned"],
            "moonpool" if workload == "startup" => &["default", "same"],
            "moonpool" => &["same"],
            "bach" | "turmoil" if network => &["default", "same", "tuned"],
            "turmoil" if workload != "spawn" => &["default", "tuned"],
            _ => &["default"],
        }
    };
    let each = |name: &&'static str| {
        let name = *name;
        set_ups(name).iter().map(move |&variant| Contender { name, variant })
    };
    NAMES.iter().flat_map(each).collect()
}

/// Whether a workload is left out if it must be quick, unless it is asked for by name.
pub(crate) fn is_slow(workload: &str) -> bool {
    matches!(workload, "many-10000" | "timers-1000000")
}

/// Why a peer is not measured in a workload, if it cannot be.
pub(crate) fn absent(of: Contender, workload: &str, quick: bool) -> Option<&'static str> {
    match (of.name, of.variant, workload) {
        ("turmoil", "tuned", "many-1000") if quick => Some("half a minute a sample"),
        ("turmoil", "default" | "same", "many-1000") => Some("over 80 s a sample"),
        ("turmoil", _, "many-10000") => Some("32 GB of links"),
        _ => None,
    }
}

/// What is not like for like, for below the tables.
pub(crate) const NOTES: &[&str] = &[
    "limit-futures is no simulator: no seed, trace, faults, names, ports, hand-shake or errors.",
    "virtnet has all of its defaults on: keyed choices, random order, late wake-ups, fingerprint, \
     faults compiled in, digests of every stream. Only the limits on a run's length are lifted.",
    "From 1 000 clients and 1 000 000 timers on, what counts is what comes after the first round \
     trip or wake-up of each, so that it is not the making of hosts and tasks that is measured.",
    "Latency is 1 to 10 ms, drawn for each message, with these exceptions: turmoil default 0 to \
     100 ms, tuned none; bach default 50 ms and tuned 5 ms, for every packet.",
    "turmoil: moves in ticks of 1 ms (timers, tuned: 100 ms); latencies of whole ticks. At 1 000 \
     clients it is timed with the first round trip of each and no other, which takes half a \
     minute: a tick walks the links of all pairs, once for each host.",
    "madsim: its TCP has no window, so that bulk is in memory all at once, and a connection costs \
     no round trip. Startup, default: a thread for each run, as its test attribute does; tuned: \
     one thread for all.",
    "bach: has UDP and no TCP. A connection is a pair of sockets, connect is bind, one echo and \
     drop, a server is one socket and one task, and bulk has datagrams of 64 KiB, at most 64 of \
     them under way.",
    "moonpool: its world and executor driven by hand, faults off, which has no hosts, only \
     addresses; each client has a listener of its own. Connecting takes no virtual time. Startup, \
     default: its SimulationBuilder, whose faults are always on; so no other workload ends in it.",
];
