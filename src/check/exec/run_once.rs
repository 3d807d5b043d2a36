//! One run of a test, on this thread, and all that is to be known of it afterwards.
//!
//! Knows how a test is executed; refuses to know how many times.

use std::future::Future;
use std::time::Duration;

use crate::sim::{Choice, Ending, Fingerprint, Outcome, Run, Sim, Tape, Trace};
use crate::simnet::{Ledger, NodeOutput, gather_ledgers, take_ledger};

use crate::check::assertions;
use crate::check::assertions::Reached;
use crate::check::exec::current_run::Begun;
use crate::check::exec::panic_hook::Ear;
use crate::check::failure::{Failure, Kind};

/// The records of a run are kept to be told if it takes no more steps than this: some take half a
/// kilobyte, and nobody reads of millions.
pub(crate) const TRACED: u64 = 1_000_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    pub(crate) failure: Option<Failure>,
    pub(crate) seed: u64,
    pub(crate) fingerprint: Fingerprint,
    /// What the test returned, printed, as far as it can be.
    pub(crate) printed: String,
    pub(crate) trace: Option<Trace>,
    pub(crate) tape: Tape,
    pub(crate) choices: Vec<Choice>,
    pub(crate) ledger: Ledger,
    pub(crate) reached: Reached,
    pub(crate) foreign_wakes: u64,
    /// How many polls it took.
    pub(crate) steps: u64,
    /// How much virtual time it took.
    pub(crate) elapsed: Duration,
}

impl Played {
    /// What is known of a run that told nothing.
    pub(crate) fn nothing() -> Self {
        Self {
            failure: None,
            seed: 0,
            fingerprint: Fingerprint::NONE,
            printed: String::new(),
            trace: None,
            tape: Tape::zero(),
            choices: Vec::new(),
            ledger: Ledger::default(),
            reached: Reached::default(),
            foreign_wakes: 0,
            steps: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// What came of a run for which no process could be had.
    pub(crate) fn without_process(seed: u64, error: String) -> Self {
        let failure = Failure { kind: Kind::NoProcess, text: error, tasks: Vec::new() };
        Self { failure: Some(failure), seed, ..Self::nothing() }
    }

    /// Why its records were not kept, if that is because they are too many.
    pub(crate) fn untraced(&self) -> Option<String> {
        let is_long = self.trace.is_none() && self.steps > TRACED;
        is_long.then(|| {
            let Self { steps, .. } = self;
            format!("a run of {steps} steps has too many records; step_limit ends it sooner")
        })
    }
}

/// A test, as the sweep around it sees it.
pub(crate) trait Case: Sync {
    /// Executes a run of it on this thread.
    fn play(&self, run: Run) -> Played;

    /// What a run of that seed is given beside its choices, if this is such a test: simpler than
    /// what the seed draws, by the words that a tape has of it.
    fn input(&self, _seed: u64, _words: &[u64]) -> Option<Box<dyn Input>> {
        None
    }
}

/// What a run is given beside its choices.
pub(crate) trait Input {
    /// The next that is simpler, as a tape has it; `failed` says whether the last one failed.
    fn simpler(&mut self, failed: bool) -> Option<Vec<u64>>;

    /// What it is, for whoever reads of it.
    fn text(&self) -> String;
}

impl<F, Fut> Case for F
where
    F: Fn(Sim) -> Fut + Sync,
    Fut: Future<Output: NodeOutput> + 'static,
{
    fn play(&self, run: Run) -> Played {
        play(run, self)
    }
}

/// Executes a run on this thread.
pub(crate) fn play<Fut>(run: Run, main: impl FnOnce(Sim) -> Fut) -> Played
where
    Fut: Future<Output: NodeOutput> + 'static,
{
    assertions::begin();
    gather_ledgers();
    let ear = Ear::new();
    let begun = Begun::new(run.seed(), run.has_tape());
    let outcome = run.execute(|sim| {
        let main = main(sim);
        async move { main.await.error() }
    });
    drop(begun);
    let reached = assertions::take();
    let Outcome { ending, seed, steps, elapsed, fingerprint, trace, tape, choices, .. } = outcome;
    let failure = Failure::of(&ending, |said| ear.site_of(said));
    drop(ear);
    let printed = match ending {
        Ending::Done(error) => format!("done {error:?}"),
        ending => ending.to_string(),
    };
    let (ledger, foreign_wakes) = (take_ledger(), outcome.foreign_wakes);
    Played {
        failure,
        seed,
        fingerprint,
        printed,
        trace,
        tape,
        choices,
        ledger,
        reached,
        foreign_wakes,
        steps,
        elapsed,
    }
}
