//! `os::run`: where real time and entropy come from.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::time::Instant;

use crate::sim::{nanos, run_for_real};

/// Runs a future and all tasks that it spawns in real time, on this thread.
///
/// `virtnet::spawn`, `virtnet::time` and `virtnet::rng` work as in a simulated run, with real time
/// and entropy, so that a program written on them runs for real. It ends when the future does; the
/// other tasks are dropped then. Tasks get names by `Sim::current().task(..)` as there. Its random
/// numbers are no secrets.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let answer = virtnet::os::run(async {
///     let worker = virtnet::spawn(async {
///         virtnet::time::sleep(Duration::from_millis(20)).await;
///         42
///     });
///     worker.await.unwrap()
/// });
/// assert_eq!(answer, 42);
/// assert!(start.elapsed() >= Duration::from_millis(20));
/// ```
///
/// # Panics
///
/// If the future or one of the tasks does, and inside a run, of either kind.
#[track_caller]
pub fn run<F: Future + 'static>(future: F) -> F::Output {
    // It is keyed anew each time, by the operating system.
    let seed = RandomState::new().build_hasher().finish();
    let start = Instant::now();
    run_for_real(seed, || nanos(start.elapsed()), future)
}
