//! How fast lonet and `os::Tcp` are, beside tokio's TCP on the loopback interface.
//!
//! ```text
//! cargo bench --bench real                 all
//! cargo bench --bench real -- pingpong     only what has that in its name
//! ```
//!
//! The machine may be shared and noisy, so what is printed is the median of ratios: in each pass
//! all of them run right after each other. In one thread client and server take turns, in two and
//! in two processes they wait for each other.
//!
//! A dial of `lonet` is a connection and a hand-shake of two lines. In one thread it takes, besides
//! what a plain connection takes (`socket`, `connect`, `accept`, two `close`), two `send`, four
//! `recv` for the two lines, one that comes too early, three `setsockopt` and one `getpeername`.
//! The reactor is not asked, and no thread is woken but the one that looks now and then whether
//! dials are taken in.

mod apart;
mod tokio;
mod ours;

use std::time::Duration;

/// How often each is timed.
const PASSES: usize = 7;

type Work = fn(u64) -> Duration;

/// One thing, done by several: the first is tokio.
type Workload = (&'static str, u64, &'static [(&'static str, Work)]);

const WORKLOADS: &[Workload] = &[
    (
        "pingpong, one thread",
        20_000,
        &[
            ("tokio", tokio::pingpong),
            ("lonet", ours::lonet_pingpong),
            ("os::Tcp", ours::tcp_pingpong),
        ],
    ),
    (
        "pingpong, two threads",
        10_000,
        &[
            ("tokio", tokio::two_threads),
            ("lonet", ours::lonet_two_threads),
            ("os::Tcp", ours::tcp_two_threads),
        ],
    ),
    (
        "pingpong, two processes",
        10_000,
        &[
            ("tokio", tokio::pingpong_apart),
            ("lonet", ours::lonet_pingpong_apart),
            ("os::Tcp", ours::tcp_pingpong_apart),
        ],
    ),
    (
        "dial, accept, close",
        2_000,
        &[("tokio", tokio::dials), ("lonet", ours::lonet_dials), ("os::Tcp", ours::tcp_dials)],
    ),
    (
        "the same, two processes",
        2_000,
        &[("tokio", tokio::dials_apart), ("lonet", ours::lonet_dials_apart)],
    ),
];

fn main() {
    match apart::role().as_deref() {
        None => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().to_path_buf();
            ours::NETWORKS.set(path.join("lonet")).unwrap();
            ctrlc::set_handler(move || {
                // A server may be at it; it is ended by the same key.
                let _ = std::fs::remove_dir_all(&path);
                std::process::exit(130);
            })
            .unwrap();
            measure();
        }
        Some("lonet") => ours::lonet_serve(std::env::args().next_back().expect("a folder")),
        Some("tcp") => ours::tcp_serve(),
        Some(role) => tokio::serve(role == "tokio that greets"),
    }
}

fn measure() {
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("{:24} {:10} {:>12} {:>14} {:>8}", "", "", "ns each", "a second", "ratio");
    for (name, times, works) in WORKLOADS {
        if !only.is_empty() && !only.iter().any(|only| name.contains(&**only)) {
            continue;
        }
        let mut passes = Vec::new();
        for pass in 0..=PASSES {
            let each = works.iter().map(|(_, work)| work(*times).as_nanos() as f64 / *times as f64);
            let each: Vec<f64> = each.collect();
            // The first one warms up.
            if pass > 0 {
                passes.push(each);
            }
        }
        for (at, (who, _)) in works.iter().enumerate() {
            let each = median(passes.iter().map(|pass| pass[at]).collect());
            let ratio = median(passes.iter().map(|pass| pass[at] / pass[0]).collect());
            println!("{name:24} {who:10} {each:12.0} {:14.0} {ratio:8.2}", 1e9 / each);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
