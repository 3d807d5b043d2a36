//! Whether a seed fails only by what earlier runs have left, in a static or in a thread-local.
//!
//! Knows which seeds were run before it; says only what it has tried.

use std::fmt;

use crate::check::analysis::determinism::{Against, Differs, Fails};
use crate::check::exec::deadline::Patience;
use crate::check::exec::executor::Place;
use crate::check::exec::run_once::Played;
use crate::check::exec::run_request::Order;
use crate::check::settings::Isolation;

/// How many seeds are run before one at most, to see whether it fails then.
const MANY: u64 = 1000;

/// Where a failure passes when it is run alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Alone {
    /// On a fresh thread of the same process: a thread-local is what is left.
    OnAThread,
    /// In a fresh process: a static is what may be left.
    InAProcess,
}

/// A seed that fails in a sweep and passes alone.
#[derive(Clone, Debug)]
pub(crate) struct Earlier {
    seed: u64,
    alone: Alone,
    /// The first of the seeds after which it failed again, up to the one before it, if it did.
    pub(crate) after: Option<u64>,
    /// Whether that was tried.
    tried: bool,
}

/// Finds out whether a failure is an earlier run's doing, if it passes alone; `first` is the first
/// seed of the sweep.
pub(crate) fn earlier(
    place: &Place<'_>,
    (failed, differs): (&Played, &Differs),
    first: u64,
    patience: Patience,
) -> Option<Earlier> {
    let kind = &failed.failure.as_ref()?.kind;
    let isolation = place.settings.isolation;
    let (here, cold) = (differs.fails(Against::Again), differs.fails(Against::FreshProcess));
    // What fails now and then proves nothing, whatever was run before.
    if isolation == Isolation::Process || here == Fails::NowAndThen {
        return None;
    }
    let thread = (isolation == Isolation::None && here == Fails::Never).then_some(Alone::OnAThread);
    let process = (cold == Fails::Never).then_some(Alone::InAProcess);
    let seed = failed.seed;
    let mut found = None;
    for alone in thread.into_iter().chain(process) {
        let fails = |start: u64| {
            let order = patience.bound(Order::of_seed(seed).after(start..seed));
            let played = match alone {
                Alone::OnAThread => place.in_a_row(&order),
                Alone::InAProcess => place.cold(&order),
            };
            played.failure.as_ref().is_some_and(|failure| failure.kind == *kind)
        };
        // The one right before it is as often enough, and then all.
        let starts = [seed.saturating_sub(1).max(first), first.max(seed.saturating_sub(MANY))];
        let mut starts = starts.into_iter().filter(|start| *start < seed);
        let after = starts.find(|start| fails(*start));
        let tried = seed > first && patience.spent().is_none();
        // Once could be by chance.
        if after.is_some_and(|start| fails(seed) || !fails(start)) && patience.spent().is_none() {
            return None;
        }
        found = Some(Earlier { seed, alone, after, tried });
        if after.is_some() {
            break;
        }
    }
    found
}

impl Earlier {
    /// The seeds that are to be run for it to fail again, if that is known.
    pub(crate) fn seeds(&self) -> Option<String> {
        self.after.map(|start| format!("{start:#x}..{:#x}", self.seed.saturating_add(1)))
    }
}

impl fmt::Display for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, alone, after, tried } = self;
        let (place, left) = match alone {
            Alone::OnAThread => ("on a fresh thread", "a thread-local"),
            Alone::InAProcess => ("in a fresh process", "a static or a thread-local"),
        };
        let seeds = |start: u64| match start {
            start if start + 1 == *seed => format!("seed {start:#x}"),
            start => format!("seeds {start:#x} to {:#x}", seed - 1),
        };
        match after {
            Some(start) => write!(
                f,
                "seed {seed:#x} fails only after other seeds ran in this process: {left} has kept \
                 something of\nan earlier run. It passes alone {place}, and fails there after {}.",
                seeds(*start)
            ),
            None => {
                write!(f, "seed {seed:#x} passed alone {place}")?;
                if *tried {
                    f.write_str(", and after the seeds before it")?;
                }
                write!(
                    f,
                    ".\nWhat decides may be left in this process by something else, in {left};\nit \
                     may be an address or the environment. The replay line need not fail."
                )
            }
        }
    }
}
