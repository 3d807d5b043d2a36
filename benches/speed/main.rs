//! Benchmarks of a run beside a bare executor in the same process.
//!
//! ```text
//! cargo bench                        ratios of time, virtnet to bare
//! cargo bench -- --instructions      instructions per operation, by valgrind
//! cargo bench -- --gates             fails if a workload with a gate needs more instructions
//! cargo run .. -p speed -- --paths   files and functions of one byte: see benches/README.md
//! cargo bench -- --memory            resident memory over 100 000 runs
//! cargo bench -- --scale             the cost of ten thousand hosts
//! cargo bench -- --sweep             the cost of a sweep beyond its runs
//! cargo bench -- pingpong            only workloads with that in their name
//! ```
//!
//! The machine may be shared and noisy. The printed figure is therefore the median of ratios: in
//! each pass, virtnet and the bare executor run right after each other.
//!
//! # Cost of each part
//!
//! Each part was switched off alone. The costs are in nanoseconds per round trip of pingpong (141,
//! Fifo 123; bare 99) and per wake-up of timers (169, Fifo 146; bare 136). 3 and less is within
//! the noise of the machine.
//!
//! | part | pingpong | timers |
//! |---|---|---|
//! | Random instead of Fifo: drawing ranks and delays, late wake-ups | 18 | 23 |
//! | the fingerprint of every poll | 0 to 3 | 1 |
//! | counting how often a waker woke a task | 1 | 0 to 3 |
//! | three limits, checked before every poll | 0 to 2 | 0 to 3 |
//!
//! # Cost of rejected designs
//!
//! | design, and what it would replace | pingpong | timers |
//! |---|---|---|
//! | a mutex for each pipe, instead of the run-local slab | 57 | 0 |
//! | cloned wakers, instead of task ids | 80 | 30 |
//! | moving the waiter out first, instead of waking under the lock | 50 | 0 |
//! | one binary heap, instead of radix buckets | 0 | 8 (220 of a million tasks) |
//!
//! # Cost of rejected designs of the simulated network
//!
//! In nanoseconds per round trip of sim pingpong (183; bare 140), unless the cell says otherwise.
//!
//! | design, and what it would replace | additional cost |
//! |---|---|
//! | saved registers, instead of slow paths called at the very end | 16 |
//! | copying and digesting short segments in two passes, instead of one | 6 |
//! | timers and messages late one time in 4, instead of one in 16 | 3 |
//! | an endpoint in its own box, instead of in a table | 5; a quarter with 10 000 clients |
//! | access through the endpoint, instead of a direct reference | 3; a tenth with 10 000 clients |
//! | all callback timers in one table, instead of two | a tenth with 10 000 clients |
//! | a CRC-32 of short segments, instead of a digest of words in two chains | 30 |
//! | several checks for deferred work and single words, instead of one check and pairs | 20 |
//! | moving an in-flight segment as a whole, instead of reading its fields | 8 |
//! | waking a sole waiting task like one of many, instead of one check | 14 |
//! | copying and digesting long segments in two passes, instead of one | 38 % of sim bulk |
//! | no prefetch of the nearest events' data | 2.5 µs with 10 000 clients, instead of 1.8 |

mod bare;
mod bare_net;
mod instruction_counts;
mod path_counts;
mod simnet_workloads;
mod sweep;

use std::future::Future;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{Run, Schedule, Sim, pipenet};

/// Two ways to do the same, `n` times.
struct Workload {
    name: &'static str,
    /// What one operation is.
    unit: &'static str,
    n: u64,
    virtnet: fn(u64),
    bare: fn(u64),
    /// The most that `ours` may take of the time of `bare`, and the aim.
    bound: Option<(f64, f64)>,
    gate: Option<Gate>,
}

/// Instructions of one operation, which repeat where times do not.
#[derive(Clone, Copy)]
struct Gate {
    /// How many there were when last looked at: [`instruction_counts::MARGIN`] more is a
    /// regression.
    previous: u64,
    /// How many there are to be at most.
    goal: u64,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "pingpong",
        unit: "round trip over pipenet, 64 bytes",
        n: 100_000,
        virtnet: |n| pingpong(Schedule::Random, n),
        bare: bare_pingpong,
        bound: Some((1.6, 1.0)),
        gate: None,
    },
    Workload {
        name: "pingpong fifo",
        unit: "round trip over pipenet, 64 bytes",
        n: 100_000,
        virtnet: |n| pingpong(Schedule::Fifo, n),
        bare: bare_pingpong,
        bound: Some((1.6, 1.0)),
        gate: None,
    },
    Workload {
        name: "timers",
        unit: "wake-up of one of 10 000 tasks",
        n: 400_000,
        virtnet: |n| timers(Schedule::Random, 10_000, n),
        bare: |n| bare_timers(10_000, n),
        bound: Some((1.25, 0.85)),
        gate: None,
    },
    Workload {
        name: "few timers",
        unit: "wake-up of one of 100 tasks",
        n: 400_000,
        virtnet: |n| timers(Schedule::Random, 100, n),
        bare: |n| bare_timers(100, n),
        bound: None,
        gate: Some(Gate { previous: 812, goal: 950 }),
    },
    Workload {
        name: "timers fifo",
        unit: "wake-up of one of 10 000 tasks",
        n: 400_000,
        virtnet: |n| timers(Schedule::Fifo, 10_000, n),
        bare: |n| bare_timers(10_000, n),
        bound: Some((1.25, 0.85)),
        gate: None,
    },
    Workload {
        name: "spawn",
        unit: "task spawned and joined",
        n: 200_000,
        virtnet: spawn,
        bare: bare_spawn,
        bound: Some((1.8, 1.1)),
        gate: Some(Gate { previous: 1_394, goal: 1_400 }),
    },
    Workload {
        name: "bare run",
        unit: "run of a main task that returns at once",
        n: 200_000,
        virtnet: |n| (0..n).for_each(|seed| simulate(seed, Schedule::Random, async |_| ())),
        bare: |n| (0..n).for_each(|_| bare::run(async {})),
        bound: None,
        gate: None,
    },
    Workload {
        name: "run",
        unit: "run of two tasks",
        n: 200_000,
        virtnet: runs,
        bare: bare_runs,
        bound: None,
        gate: None,
    },
    Workload {
        name: "echo run",
        unit: "run of three hosts, one connection, one echo",
        n: 50_000,
        virtnet: echo_runs,
        bare: bare_echo_runs,
        bound: Some((5.5, 3.0)),
        gate: None,
    },
    Workload {
        name: "sim pingpong",
        unit: "round trip over simnet, 64 bytes",
        n: 100_000,
        virtnet: simnet_workloads::pingpong,
        bare: simnet_workloads::bare_pingpong,
        bound: Some((1.35, 0.9)),
        gate: Some(Gate { previous: 2_790, goal: 2_900 }),
    },
    Workload {
        name: "sim run",
        unit: "run over simnet of three hosts, one connection, one echo",
        n: 20_000,
        virtnet: simnet_workloads::runs,
        bare: simnet_workloads::bare_runs,
        bound: None,
        gate: Some(Gate { previous: 26_223, goal: 38_000 }),
    },
    Workload {
        name: "sim many",
        unit: "round trip over simnet, 100 clients of 10 servers",
        n: 200_000,
        virtnet: |n| simnet_workloads::many_clients(100, n),
        bare: |n| simnet_workloads::bare_many_clients(100, n),
        bound: Some((1.45, 1.0)),
        gate: None,
    },
    Workload {
        name: "sim crowd",
        unit: "round trip over simnet, 10 000 clients of 1 000 servers",
        n: 400_000,
        virtnet: |n| simnet_workloads::many_clients(10_000, n),
        bare: |n| simnet_workloads::bare_many_clients(10_000, n),
        bound: None,
        gate: None,
    },
    Workload {
        name: "sim bulk",
        unit: "MiB over simnet, in writes of 64 KiB",
        n: 256,
        virtnet: simnet_workloads::bulk,
        bare: simnet_workloads::bare_bulk,
        bound: Some((1.8, 1.25)),
        gate: None,
    },
    Workload {
        name: "sim connect",
        unit: "connection over simnet, dialed, accepted, closed",
        n: 50_000,
        virtnet: simnet_workloads::connect,
        bare: simnet_workloads::bare_connect,
        bound: Some((7.0, 4.0)),
        gate: Some(Gate { previous: 7_205, goal: 11_000 }),
    },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["--instructions"] => instruction_counts::report(),
        ["--gates"] => std::process::exit(i32::from(!instruction_counts::check_gates())),
        ["--paths"] => std::process::exit(i32::from(!path_counts::report())),
        ["--path-once", name, n] => path_counts::run_once(name, n.parse().expect("a number")),
        ["--memory"] => report_memory(),
        ["--scale"] => report_scale(),
        ["--sweep"] => sweep::report(|| status_kib("VmRSS:"), cpu_ticks),
        ["--once", name, side, n] => run_once(name, side, n),
        [] => report_ratios(""),
        [filter] if !filter.starts_with('-') => report_ratios(filter),
        _ => {
            eprintln!(
                "usage: cargo bench \
                 [-- --instructions | --gates | --paths | --memory | --scale | --sweep | NAME]"
            );
            std::process::exit(2);
        }
    }
}

fn report_ratios(filter: &str) {
    const PASSES: usize = 15;
    println!(
        "{:<14} {:>10} {:>10} {:>7} {:>12}",
        "workload", "ours", "bare", "ratio", "bound, aim"
    );
    for workload in WORKLOADS.iter().filter(|workload| workload.name.contains(filter)) {
        let time = |run: fn(u64)| {
            let start = Instant::now();
            run(black_box(workload.n));
            start.elapsed().as_nanos() as f64 / workload.n as f64
        };
        time(workload.virtnet);
        time(workload.bare);
        let passes: Vec<(f64, f64)> =
            (0..PASSES).map(|_| (time(workload.virtnet), time(workload.bare))).collect();
        let median = |pick: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = passes.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values[PASSES / 2]
        };
        let bound = workload.bound.map_or("-".into(), |(bound, aim)| format!("{bound}, {aim}"));
        println!(
            "{:<14} {:>7.1} ns {:>7.1} ns {:>7.2} {:>12}   a {}",
            workload.name,
            median(|pass| pass.0),
            median(|pass| pass.1),
            median(|pass| pass.0 / pass.1),
            bound,
            workload.unit,
        );
    }
}

/// A number of KiB that the system tells of this process, where it does.
fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// The processor time of this process so far, in ticks of a hundredth of a second.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time are the 12th and 13th after the name, which may hold anything.
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Reports what ten thousand hosts cost.
fn report_scale() {
    simnet_workloads::report_scale(
        || status_kib("VmHWM:"),
        |work| {
            let start = thread_cpu_time();
            work();
            thread_cpu_time() - start
        },
    );
}

/// How long this thread has run, where the system tells, so that whoever else is at the machine
/// does not count; or else what the clock says. It tells in steps of 4 ms, which is good for a
/// second and not for a pass.
fn thread_cpu_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let cpu_time = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    cpu_time.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

fn run_once(name: &str, side: &str, n: &str) {
    let workload =
        WORKLOADS.iter().find(|workload| workload.name == name).expect("a workload's name");
    let n = n.parse().expect("a number");
    if side == "ours" { (workload.virtnet)(n) } else { (workload.bare)(n) }
}

/// Reports the resident memory over 100 000 runs of the echo program.
fn report_memory() {
    for total_runs in [0, 1_000, 10_000, 50_000, 100_000] {
        static RUNS_DONE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let previous = RUNS_DONE.swap(total_runs, std::sync::atomic::Ordering::Relaxed);
        (previous..total_runs).for_each(echo_run);
        println!("after {total_runs:>6} runs: {} KiB", status_kib("VmRSS:"));
    }
}

fn simulate<Fut: Future<Output = ()> + 'static>(
    seed: u64,
    schedule: Schedule,
    main: impl FnOnce(Sim) -> Fut,
) {
    Run::new(seed)
        .schedule(schedule)
        .time_limit(Duration::MAX)
        .step_limit(u64::MAX)
        .livelock_limit(u64::MAX)
        .execute(main)
        .unwrap();
}

// ---- the workloads ----

fn pingpong(schedule: Schedule, n: u64) {
    simulate(1, schedule, async move |sim| {
        let net = pipenet::Network::new("bench");
        let listener = net.host("b").listen("").await.unwrap();
        let server = sim.spawn(async move {
            let mut conn = listener.accept().await.unwrap();
            let mut buf = [0; 64];
            for _ in 0..n {
                conn.read_exact(&mut buf).await.unwrap();
                conn.write_all(&buf).await.unwrap();
            }
        });
        let mut conn = net.host("a").dial("b:1").await.unwrap();
        let mut buf = [7; 64];
        for _ in 0..n {
            conn.write_all(&buf).await.unwrap();
            conn.read_exact(&mut buf).await.unwrap();
        }
        server.await.unwrap();
    });
}

fn bare_pingpong(n: u64) {
    bare::run(async move {
        let (a, b) = bare::pipe();
        let server = bare::spawn(async move {
            let mut buf = [0; 64];
            for _ in 0..n {
                b.read_exact(&mut buf).await;
                b.write_all(&buf).await;
            }
        });
        let mut buf = [7; 64];
        for _ in 0..n {
            a.write_all(&buf).await;
            a.read_exact(&mut buf).await;
        }
        server.await;
    });
}

/// How long the sleeper sleeps next: 1 to 10 ms, all different.
fn next_sleep(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    1_000_000 + (*state >> 33) % 9_000_000
}

fn timers(schedule: Schedule, sleepers: u64, n: u64) {
    simulate(1, schedule, async move |sim| {
        let tasks: Vec<_> = (0..sleepers)
            .map(|mut state| {
                sim.spawn(async move {
                    for _ in 0..n / sleepers {
                        sim.sleep(Duration::from_nanos(next_sleep(&mut state))).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn bare_timers(sleepers: u64, n: u64) {
    bare::run(async move {
        let tasks: Vec<_> = (0..sleepers)
            .map(|mut state| {
                bare::spawn(async move {
                    for _ in 0..n / sleepers {
                        bare::sleep(next_sleep(&mut state)).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    });
}

fn spawn(n: u64) {
    simulate(1, Schedule::Random, async move |sim| {
        for i in 0..n {
            black_box(sim.spawn(async move { i }).await.unwrap());
        }
    });
}

fn bare_spawn(n: u64) {
    bare::run(async move {
        for i in 0..n {
            black_box(bare::spawn(async move { i }).await);
        }
    });
}

fn runs(n: u64) {
    for seed in 0..n {
        simulate(seed, Schedule::Random, async move |sim| {
            sim.spawn(async {});
            sim.spawn(async {});
        });
    }
}

fn bare_runs(n: u64) {
    for _ in 0..n {
        bare::run(async {
            drop(bare::spawn(async {}));
            drop(bare::spawn(async {}));
        });
    }
}

fn echo_runs(n: u64) {
    (0..n).for_each(echo_run);
}

fn echo_run(seed: u64) {
    simulate(seed, Schedule::Random, async move |sim| {
        let net = pipenet::Network::new("t");
        let (a, b, _c) = (net.host("a"), net.host("b"), net.host("c"));
        let listener = b.listen("").await.unwrap();
        let server = sim.spawn(async move {
            let mut conn = listener.accept().await.unwrap();
            let mut buf = [0; 64];
            conn.read_exact(&mut buf).await.unwrap();
            conn.write_all(&buf).await.unwrap();
        });
        let client = sim.spawn(async move {
            let mut conn = a.dial("b:1").await.unwrap();
            let mut buf = [7; 64];
            conn.write_all(&buf).await.unwrap();
            conn.read_exact(&mut buf).await.unwrap();
        });
        client.await.unwrap();
        server.await.unwrap();
    });
}

fn bare_echo_runs(n: u64) {
    for _ in 0..n {
        bare::run(async move {
            let listener = bare::Listener::default();
            let dialer = listener.clone();
            let server = bare::spawn(async move {
                let conn = listener.accept().await;
                let mut buf = [0; 64];
                conn.read_exact(&mut buf).await;
                conn.write_all(&buf).await;
            });
            let client = bare::spawn(async move {
                let conn = dialer.dial();
                let mut buf = [7; 64];
                conn.write_all(&buf).await;
                conn.read_exact(&mut buf).await;
            });
            client.await;
            server.await;
        });
    }
}
