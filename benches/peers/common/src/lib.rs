//! Code shared by the peers' programs: the command line, the timing, and the result line.
//!
//! A program is started once for each sample, as `PROGRAM VARIANT WORKLOAD N TIMES`. It runs the
//! workload of `N` operations `TIMES` times, and prints one line: CPU time and wall-clock time in
//! nanoseconds, and resident memory in KiB before, at half of the repetitions, after, and at its
//! peak.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The length of a message that is echoed.
pub const MESSAGE: usize = 64;
/// The length of a write of the bulk workload.
pub const BLOCK: usize = 64 * 1024;
const PAGE: usize = 4096;
/// How many blocks a MiB is.
pub const BLOCKS: u64 = 16;
/// How many clients have one server between them.
pub const SHARE: u64 = 10;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Two hosts, one connection: round trips.
    Pingpong,
    /// So many client hosts, ten to a server: round trips, one after the other for each client.
    Many(u64),
    /// So many tasks that sleep for random times: wake-ups.
    Timers(u64),
    /// One connection: MiB in writes of 64 KiB.
    Bulk,
    /// Three hosts, one connection, one echo, the end: whole runs, each with a seed of its own.
    Startup,
    /// A task that does nothing: spawned and joined, one after the other.
    Spawn,
    /// A connection: dialed, accepted, closed, one after the other.
    Connect,
}

impl Workload {
    /// Reads `many-100` and the like.
    pub fn parse(name: &str) -> Option<Self> {
        let count = |kind: &str| name.strip_prefix(kind)?.parse().ok();
        Some(match name {
            "pingpong" => Self::Pingpong,
            "bulk" => Self::Bulk,
            "startup" => Self::Startup,
            "spawn" => Self::Spawn,
            "connect" => Self::Connect,
            _ => match (count("many-"), count("timers-")) {
                (Some(clients), _) => Self::Many(clients),
                (_, Some(tasks)) => Self::Timers(tasks),
                _ => return None,
            },
        })
    }
}

/// One for the process: a peer's own runner has a thread for each run.
static DONE: AtomicU64 = AtomicU64::new(0);

/// Counts operations that were really done. Called once by each client or task, at its end.
pub fn done(operations: u64) {
    DONE.fetch_add(operations, Relaxed);
}

/// Does what the arguments say, and answers. `run` is told the variant, the workload, and how many
/// operations; it counts each by [`done`].
///
/// # Panics
///
/// If other than that many operations were done: then there is nothing to time.
pub fn answer(run: impl Fn(&str, Workload, u64)) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [variant, workload, n, times] = &args[..] else {
        eprintln!("usage: PROGRAM VARIANT WORKLOAD N TIMES");
        std::process::exit(2);
    };
    let workload = Workload::parse(workload).expect("a workload's name");
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let (n, times) = (number(n), number(times));
    let before = resident("VmRSS:");
    let (wall, cpu) = (Instant::now(), cpu_time());
    let mut half = before;
    for time in 0..times {
        run(variant, workload, n);
        if 2 * (time + 1) == times {
            half = resident("VmRSS:");
        }
    }
    let (wall, cpu) = (wall.elapsed(), cpu_time() - cpu);
    assert_eq!(DONE.load(Relaxed), n * times, "operations done");
    let (after, peak) = (resident("VmRSS:"), resident("VmHWM:"));
    println!("{} {} {before} {half} {after} {peak}", cpu.as_nanos(), wall.as_nanos());
}

/// How long the threads of this process have run: who else is at the machine does not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|text| text.strip_prefix(line));
    value.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// The buffer of a writer or a reader of the bulk workload.
///
/// It begins in the middle of a page. Large allocations all begin at much the same offset in a
/// page, and a copy between such is up to eight times slower, which would measure the allocator's
/// mood and no simulator.
pub struct BlockBuf {
    bytes: Vec<u8>,
    shift: usize,
}

impl BlockBuf {
    /// What a writer writes.
    pub fn written() -> Self {
        Self { bytes: vec![7; BLOCK + PAGE], shift: PAGE / 2 }
    }

    /// Where a reader reads to.
    pub fn read() -> Self {
        Self { bytes: vec![0; BLOCK + PAGE], shift: PAGE / 4 }
    }
}

impl Deref for BlockBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.shift..self.shift + BLOCK]
    }
}

impl DerefMut for BlockBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.shift..self.shift + BLOCK]
    }
}

/// How long the sleeper sleeps next: 1 to 10 ms, all different; its number is its first state.
pub fn nap(state: &mut u64) -> Duration {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    Duration::from_nanos(1_000_000 + (*state >> 33) % 9_000_000)
}
