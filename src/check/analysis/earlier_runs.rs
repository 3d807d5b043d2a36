//! Detection of failures that depend on state left by earlier runs, in a static or a thread-local.
//!
//! The failing seed is run alone, then after the seeds that preceded it in the sweep. The report
//! states only what these runs have shown.

use std::fmt;

use crate::check::analysis::determinism::{Comparison, FailureRate, Nondeterminism};
use crate::check::exec::deadline::Deadline;
use crate::check::exec::executor::RunExecutor;
use crate::check::exec::run_once::RunResult;
use crate::check::exec::run_request::RunRequest;
use crate::check::settings::Isolation;

/// The maximum number of seeds that run before one, to find out whether it fails then.
const MAX_EARLIER_SEEDS: u64 = 1000;

/// The place in which a failing seed passes when it runs alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PassesIn {
    /// On a fresh thread of the same process: a thread-local is what is left.
    FreshThread,
    /// In a fresh process: a static is what may be left.
    FreshProcess,
}

/// A seed that fails in a sweep and passes alone.
#[derive(Clone, Debug)]
pub(crate) struct LeakedState {
    seed: u64,
    passes_in: PassesIn,
    /// The first of the seeds after which it failed again, up to the one before it, if it did.
    pub(crate) fails_after: Option<u64>,
    /// Whether that was tried.
    seeds_tried: bool,
}

/// Finds out whether a failure is an earlier run's doing, if it passes alone; `first` is the first
/// seed of the sweep.
pub(crate) fn find_leaked_state(
    executor: &RunExecutor<'_>,
    (result, nondeterminism): (&RunResult, &Nondeterminism),
    first_seed: u64,
    deadline: Deadline,
) -> Option<LeakedState> {
    let kind = &result.failure.as_ref()?.kind;
    let isolation = executor.settings.isolation;
    let (in_process, in_fresh_process) = (
        nondeterminism.failure_rate(Comparison::SameProcess),
        nondeterminism.failure_rate(Comparison::FreshProcess),
    );
    // A failure that occurs now and then proves nothing about earlier runs.
    if isolation == Isolation::Process || in_process == FailureRate::Sometimes {
        return None;
    }
    let thread = (isolation == Isolation::Shared && in_process == FailureRate::Never)
        .then_some(PassesIn::FreshThread);
    let process = (in_fresh_process == FailureRate::Never).then_some(PassesIn::FreshProcess);
    let seed = result.seed;
    let mut found = None;
    for passes_in in thread.into_iter().chain(process) {
        let fails = |start: u64| {
            let request = deadline.apply_to(RunRequest::from_seed(seed).after_seeds(start..seed));
            let repeat = match passes_in {
                PassesIn::FreshThread => executor.in_sequence(&request),
                PassesIn::FreshProcess => executor.in_subprocess(&request),
            };
            repeat.failure.as_ref().is_some_and(|failure| failure.kind == *kind)
        };
        // The one right before it is as often enough, and then all.
        let starts = [
            seed.saturating_sub(1).max(first_seed),
            first_seed.max(seed.saturating_sub(MAX_EARLIER_SEEDS)),
        ];
        let mut starts = starts.into_iter().filter(|start| *start < seed);
        let fails_after = starts.find(|start| fails(*start));
        let tried = seed > first_seed && deadline.expired_after().is_none();
        // Once could be by chance.
        if fails_after.is_some_and(|start| fails(seed) || !fails(start))
            && deadline.expired_after().is_none()
        {
            return None;
        }
        found = Some(LeakedState { seed, passes_in, fails_after, seeds_tried: tried });
        if fails_after.is_some() {
            break;
        }
    }
    found
}

impl LeakedState {
    /// The seeds that are to be run for it to fail again, if that is known.
    pub(crate) fn replay_seeds(&self) -> Option<String> {
        self.fails_after.map(|start| format!("{start:#x}..{:#x}", self.seed.saturating_add(1)))
    }
}

impl fmt::Display for LeakedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, passes_in, fails_after, seeds_tried } = self;
        let (location, leaked) = match passes_in {
            PassesIn::FreshThread => ("on a fresh thread", "a thread-local"),
            PassesIn::FreshProcess => ("in a fresh process", "a static or a thread-local"),
        };
        let seeds = |start: u64| match start {
            start if start + 1 == *seed => format!("seed {start:#x}"),
            start => format!("seeds {start:#x} to {:#x}", seed - 1),
        };
        match fails_after {
            Some(start) => write!(
                f,
                "seed {seed:#x} fails only after other seeds ran in this process: {leaked} has \
                 kept something of\nan earlier run. It passes alone {location}, and fails there \
                 after {}.",
                seeds(*start)
            ),
            None => {
                write!(f, "seed {seed:#x} passed alone {location}")?;
                if *seeds_tried {
                    f.write_str(", and after the seeds before it")?;
                }
                write!(
                    f,
                    ".\nWhat decides may be left in this process by something else, in \
                     {leaked};\nit may be an address or the environment. The replay line need not \
                     fail."
                )
            }
        }
    }
}
