//! Execution of one run on this thread, and its result.

use std::future::Future;
use std::time::Duration;

use crate::sim::{Choice, Ending, Fingerprint, Outcome, Run, Sim, Tape, Trace};
use crate::simnet::{FaultStats, NodeOutput, start_fault_stats, take_fault_stats};

use crate::check::assertions;
use crate::check::assertions::AssertionCounts;
use crate::check::exec::current_run::RunGuard;
use crate::check::exec::panic_hook::PanicCapture;
use crate::check::failure::{Failure, FailureKind};

/// The number of steps up to which the records of a run are kept: some records take half a
/// kilobyte, and a report of millions is not readable.
pub(crate) const MAX_TRACED_STEPS: u64 = 1_000_000;

/// The result of a run.
#[derive(Clone, Debug)]
pub(crate) struct RunResult {
    pub(crate) failure: Option<Failure>,
    pub(crate) seed: u64,
    pub(crate) fingerprint: Fingerprint,
    /// The printed return value of the test, if it can be printed.
    pub(crate) printed_result: String,
    pub(crate) trace: Option<Trace>,
    pub(crate) tape: Tape,
    pub(crate) choices: Vec<Choice>,
    pub(crate) fault_stats: FaultStats,
    pub(crate) assertions: AssertionCounts,
    pub(crate) foreign_wakes: u64,
    /// The number of steps.
    pub(crate) steps: u64,
    /// The virtual time that it took.
    pub(crate) elapsed: Duration,
}

impl RunResult {
    /// The result of a run that reported nothing.
    pub(crate) fn empty() -> Self {
        Self {
            failure: None,
            seed: 0,
            fingerprint: Fingerprint::NONE,
            printed_result: String::new(),
            trace: None,
            tape: Tape::zero(),
            choices: Vec::new(),
            fault_stats: FaultStats::default(),
            assertions: AssertionCounts::default(),
            foreign_wakes: 0,
            steps: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// The result of a run for which no process could be started.
    pub(crate) fn spawn_failed(seed: u64, error: String) -> Self {
        let failure = Failure { kind: FailureKind::SpawnFailed, text: error, tasks: Vec::new() };
        Self { failure: Some(failure), seed, ..Self::empty() }
    }

    /// Why its records were not kept, if that is because they are too many.
    pub(crate) fn untraced_reason(&self) -> Option<String> {
        let is_too_long = self.trace.is_none() && self.steps > MAX_TRACED_STEPS;
        is_too_long.then(|| {
            let Self { steps, .. } = self;
            format!("a run of {steps} steps has too many records; step_limit ends it sooner")
        })
    }
}

/// A test, as the sweep around it sees it.
pub(crate) trait TestFn: Sync {
    /// Executes a run of it on this thread.
    fn execute(&self, run: Run) -> RunResult;

    /// The input of a run of that seed, if the test takes one: simpler than the drawn input, by the
    /// words that a tape has of it.
    fn input(&self, _seed: u64, _words: &[u64]) -> Option<Box<dyn TestInput>> {
        None
    }
}

/// The input of a run, beside its choices.
pub(crate) trait TestInput {
    /// The next that is simpler, as a tape has it; `failed` says whether the last one failed.
    fn simplify(&mut self, failed: bool) -> Option<Vec<u64>>;

    /// The text of the failure, for reports.
    fn text(&self) -> String;
}

impl<F, Fut> TestFn for F
where
    F: Fn(Sim) -> Fut + Sync,
    Fut: Future<Output: NodeOutput> + 'static,
{
    fn execute(&self, run: Run) -> RunResult {
        run_once(run, self)
    }
}

/// Executes a run on this thread.
pub(crate) fn run_once<Fut>(run: Run, main: impl FnOnce(Sim) -> Fut) -> RunResult
where
    Fut: Future<Output: NodeOutput> + 'static,
{
    assertions::reset();
    start_fault_stats();
    let panic_capture = PanicCapture::new();
    let run_guard = RunGuard::new(run.seed(), run.has_tape());
    let outcome = run.execute(|sim| {
        let main = main(sim);
        async move { main.await.into_error() }
    });
    drop(run_guard);
    let assertions = assertions::take();
    let Outcome { ending, seed, steps, elapsed, fingerprint, trace, tape, choices, .. } = outcome;
    let failure = Failure::from_ending(&ending, |message| panic_capture.panic_site(message));
    drop(panic_capture);
    let printed_result = match ending {
        Ending::Done(error) => format!("done {error:?}"),
        ending => ending.to_string(),
    };
    let (fault_stats, foreign_wakes) = (take_fault_stats(), outcome.foreign_wakes);
    RunResult {
        failure,
        seed,
        fingerprint,
        printed_result,
        trace,
        tape,
        choices,
        fault_stats,
        assertions,
        foreign_wakes,
        steps,
        elapsed,
    }
}
