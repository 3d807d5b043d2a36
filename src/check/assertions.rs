//! The macros `sometimes!` and `always!`, their counters, and `eventually`.
//!
//! Counters are thread-local: a run counts in the thread that executes it, and the sweep adds up
//! the counts of its runs.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use crate::sim::{Elapsed, nanos, now, sleep, timeout};

/// Labels, and how often each was reached.
pub(crate) type LabelCounts = BTreeMap<Cow<'static, str>, u64>;

/// The assertions that were reached, in a run or in many.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct AssertionCounts {
    /// The number of times that each `sometimes!` held.
    pub(crate) sometimes: LabelCounts,
    /// The number of times that each `always!` was reached, and held.
    pub(crate) always: LabelCounts,
}

impl AssertionCounts {
    const EMPTY: Self = Self { sometimes: BTreeMap::new(), always: BTreeMap::new() };

    /// Adds what others have reached.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { sometimes, always } = other;
        for (totals, added) in [(&mut self.sometimes, sometimes), (&mut self.always, always)] {
            for (label, count) in added {
                *totals.entry(label).or_insert(0) += count;
            }
        }
    }
}

thread_local! {
    static ASSERTIONS: RefCell<AssertionCounts> = const { RefCell::new(AssertionCounts::EMPTY) };
}

/// The message of an `always!` that does not hold, before its label.
pub(crate) const ALWAYS_FAILED: &str = "always! does not hold: ";

/// Forgets what runs before have said.
pub(crate) fn reset() {
    ASSERTIONS.take();
}

/// Takes what has been reached.
pub(crate) fn take() -> AssertionCounts {
    ASSERTIONS.take()
}

#[doc(hidden)]
pub fn note_sometimes(holds: bool, label: &'static str) {
    ASSERTIONS.with_borrow_mut(|reached| {
        *reached.sometimes.entry(label.into()).or_insert(0) += u64::from(holds);
    });
}

#[doc(hidden)]
#[track_caller]
pub fn note_always(holds: bool, label: &'static str) {
    ASSERTIONS.with_borrow_mut(|reached| {
        *reached.always.entry(label.into()).or_insert(0) += u64::from(holds);
    });
    assert!(holds, "{ALWAYS_FAILED}{label}");
}

/// Says that something should be reached in some run of a sweep: `sometimes!(condition, "label")`.
///
/// A sweep in which it was asked and never held fails, naming the label: a test that never gets
/// where it is meant to get proves nothing. One run alone, a replay, a shard or any other part of
/// the test's seeds never fails by it; what many parts have reached together is judged by
/// `VIRTNET_MERGE`.
///
/// ```
/// use virtnet::check::{Check, sometimes};
///
/// let report = Check::new("doc").seeds(0..50).run(|sim| async move {
///     sometimes!(sim.choose("coin", 2) == 1, "heads");
/// });
/// report.assert();
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __sometimes {
    ($condition:expr, $label:literal $(,)?) => {
        $crate::check::note_sometimes($condition, $label)
    };
}

/// Says what must hold whenever it is asked, in every run: `always!(condition, "label")`.
///
/// It panics where it does not. Failures of one label are the same failure to the shrinker,
/// wherever they happen.
#[doc(hidden)]
#[macro_export]
macro_rules! __always {
    ($condition:expr, $label:literal $(,)?) => {
        $crate::check::note_always($condition, $label)
    };
}

#[doc(inline)]
pub use __always as always;
#[doc(inline)]
pub use __sometimes as sometimes;

/// Waits until a condition holds, and asks again and again: after a millisecond, then ever more
/// rarely, up to a twentieth of the limit.
///
/// The limit is on the condition's futures as well: one that is not ready by then is dropped. At
/// the limit itself a condition is asked a last time, or its future polled a last time, as by
/// [`timeout`]: what holds at the last instant is in time. With a limit of
/// zero it is asked once. On a node the time is that of the node's clock.
///
/// ```
/// use std::time::Duration;
/// use virtnet::check::eventually;
///
/// virtnet::Run::new(1).execute(async |sim| {
///     let hangs = eventually(Duration::from_secs(1), || std::future::pending());
///     assert!(hangs.await.is_err());
///     assert!(sim.now().as_nanos() >= 1_000_000_000);
/// }).unwrap();
/// ```
///
/// # Errors
///
/// If it does not hold within the limit of virtual time.
///
/// # Panics
///
/// Outside a run, and if the condition does.
///
/// # Cancel safety
///
/// Dropping it drops the future of the condition.
pub async fn eventually<Fut: Future<Output = bool>>(
    limit: Duration,
    mut condition: impl FnMut() -> Fut,
) -> Result<(), Elapsed> {
    let deadline = now() + limit;
    let polling = async {
        let mut pause = Duration::from_millis(1);
        while !condition().await {
            let remaining = deadline - now();
            if remaining.is_zero() {
                return Err(Elapsed::new());
            }
            sleep(pause.min(remaining)).await;
            pause = (2 * pause).min((limit / 20).max(Duration::from_nanos(nanos(pause))));
        }
        Ok(())
    };
    timeout(limit, polling).await?
}
