//! `os::run`: real time and entropy, which a simulated run must not use.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::time::Instant;

use crate::sim::{is_simulated, nanos, run_real_time};

/// Refuses the real world inside a simulated run, which would be another run each time, and
/// which does not wait: its time is over before a real answer comes.
///
/// # Panics
///
/// Inside a simulated run, naming `what` was used there, and that it needs real `things`.
#[inline]
pub(crate) fn assert_not_simulated(operation: &str, resource: &str) {
    if is_simulated() {
        panic_simulated(operation, resource);
    }
}

#[cold]
fn panic_simulated(operation: &str, resource: &str) -> ! {
    panic!(
        "virtnet: {operation} needs real {resource} and real time, and this is a simulated run: \
         use `simnet` or `pipenet` in it, or `virtnet::os::run` in its place"
    )
}

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
    run_real_time(seed, || nanos(start.elapsed()), future)
}
