//! Benchmarks of lonet and `os::Tcp` beside tokio's TCP, on the loopback interface.
//!
//! ```text
//! cargo bench --bench sockets                 all
//! cargo bench --bench sockets -- pingpong     only benchmarks with that in their name
//! ```
//!
//! The machine may be shared and noisy. The printed figure is therefore the median of ratios: in
//! each pass all contenders run right after each other. In one thread, client and server take
//! turns; in two threads or two processes they wait for each other.
//!
//! A dial on `lonet` is a connection and a handshake of two lines. In one thread it makes these
//! system calls in addition to those of a plain connection (`socket`, `connect`, `accept`, two
//! `close`): two `send`, four `recv` for the two lines, one `recv` that comes too early, three
//! `setsockopt` and one `getpeername`. It does not use the reactor. It wakes no thread except the
//! one that checks from time to time whether dials are being accepted.

mod server_process;
mod tokio_workloads;
mod virtnet_workloads;

use std::time::Duration;

/// How often each is timed.
const PASSES: usize = 7;

type BenchFn = fn(u64) -> Duration;

/// One thing, done by several: the first is tokio.
type Workload = (&'static str, u64, &'static [(&'static str, BenchFn)]);

const WORKLOADS: &[Workload] = &[
    (
        "pingpong, one thread",
        20_000,
        &[
            ("tokio", tokio_workloads::pingpong),
            ("lonet", virtnet_workloads::lonet_pingpong),
            ("os::Tcp", virtnet_workloads::tcp_pingpong),
        ],
    ),
    (
        "pingpong, two threads",
        10_000,
        &[
            ("tokio", tokio_workloads::two_threads),
            ("lonet", virtnet_workloads::lonet_two_threads),
            ("os::Tcp", virtnet_workloads::tcp_two_threads),
        ],
    ),
    (
        "pingpong, two processes",
        10_000,
        &[
            ("tokio", tokio_workloads::pingpong_processes),
            ("lonet", virtnet_workloads::lonet_pingpong_processes),
            ("os::Tcp", virtnet_workloads::tcp_pingpong_processes),
        ],
    ),
    (
        "dial, accept, close",
        2_000,
        &[
            ("tokio", tokio_workloads::dials),
            ("lonet", virtnet_workloads::lonet_dials),
            ("os::Tcp", virtnet_workloads::tcp_dials),
        ],
    ),
    (
        "the same, two processes",
        2_000,
        &[
            ("tokio", tokio_workloads::dials_processes),
            ("lonet", virtnet_workloads::lonet_dials_processes),
        ],
    ),
];

fn main() {
    match server_process::requested_role().as_deref() {
        None => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().to_path_buf();
            virtnet_workloads::NETWORKS_FOLDER.set(path.join("lonet")).unwrap();
            ctrlc::set_handler(move || {
                // A server may be at it; it is ended by the same key.
                let _ = std::fs::remove_dir_all(&path);
                std::process::exit(130);
            })
            .unwrap();
            measure();
        }
        Some("lonet") => {
            virtnet_workloads::lonet_serve(std::env::args().next_back().expect("a folder"));
        }
        Some("tcp") => virtnet_workloads::tcp_serve(),
        Some(role) => tokio_workloads::serve(role == "tokio that greets"),
    }
}

fn measure() {
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("{:24} {:10} {:>12} {:>14} {:>8}", "", "", "ns each", "a second", "ratio");
    for (name, operations, contenders) in WORKLOADS {
        if !filters.is_empty() && !filters.iter().any(|only| name.contains(&**only)) {
            continue;
        }
        let mut passes = Vec::new();
        for pass in 0..=PASSES {
            let ns_each = contenders
                .iter()
                .map(|(_, bench)| bench(*operations).as_nanos() as f64 / *operations as f64);
            let ns_each: Vec<f64> = ns_each.collect();
            // The first one warms up.
            if pass > 0 {
                passes.push(ns_each);
            }
        }
        for (index, (contender, _)) in contenders.iter().enumerate() {
            let ns_each = median(passes.iter().map(|pass| pass[index]).collect());
            let ratio = median(passes.iter().map(|pass| pass[index] / pass[0]).collect());
            println!("{name:24} {contender:10} {ns_each:12.0} {:14.0} {ratio:8.2}", 1e9 / ns_each);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
