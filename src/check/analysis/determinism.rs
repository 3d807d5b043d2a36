//! The determinism check: a run is repeated, and its repetitions are compared with it.
//!
//! Compared are fingerprints, traces and printed results. A difference is reported beside a
//! failure and never instead of it.

use std::fmt;

use crate::sim::{Divergence, RecordKind};

use crate::check::exec::deadline::Deadline;
use crate::check::exec::executor::RunExecutor;
use crate::check::exec::run_once::RunResult;
use crate::check::exec::run_request::RunRequest;
use crate::check::failure::FailureKind;
use crate::check::settings::{DeterminismCheck, Isolation};

/// The number of other seeds that run before one, to find state that they leave behind.
const OTHER_SEEDS: u64 = 8;

/// The run with which another is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Comparison {
    /// The same run right after it, in this process.
    SameProcess,
    /// The same run in a fresh process.
    FreshProcess,
    /// The same run after other seeds in the same process.
    AfterOtherSeeds,
}

/// The end of a repetition, compared with the first run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RepeatOutcome {
    /// It failed in the same way, or passed as the first run did.
    Same,
    Passed,
    /// It failed in another way, which it says.
    Failed(String),
}

/// Whether repetitions of one kind failed in the way of the first run. What failed in another way
/// has neither failed nor passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FailureRate {
    Unknown,
    Never,
    Sometimes,
    Always,
}

/// The first difference between two runs of a seed.
#[derive(Clone, Debug)]
enum Difference {
    Record {
        divergence: Box<Divergence>,
        /// The last record that both have in common.
        before: Option<String>,
        /// In which of its polls what arrived there was sent.
        sent: Option<String>,
    },
    /// Not in their records.
    Result(String, String),
    /// It is not known, because one of them told no records.
    NoRecords(String, String),
    /// Only the first run was another, which kept no records.
    FirstRunOnly,
    /// It is not known, because their records were not kept.
    Untraced(String),
}

/// The runs of one seed differ.
#[derive(Clone, Debug)]
pub(crate) struct Nondeterminism {
    comparison: Comparison,
    difference: Difference,
    foreign_wakes: u64,
    /// The end of each repetition.
    repeats: Vec<(Comparison, RepeatOutcome)>,
    /// Why it was not even tried, if no process could be had.
    pub(crate) spawn_error: Option<String>,
}

/// The result of the repetitions of a run.
#[derive(Clone, Debug)]
pub(crate) struct RepeatResult {
    /// The first of them.
    pub(crate) first_repeat: RunResult,
    pub(crate) nondeterminism: Option<Nondeterminism>,
    /// Whether the real time was over before all of them were done.
    pub(crate) is_interrupted: bool,
}

fn is_same_run(a: &RunResult, b: &RunResult) -> bool {
    a.fingerprint == b.fingerprint && a.printed_result == b.printed_result
}

fn has_failure_kind(result: &RunResult, predicate: impl Fn(&FailureKind) -> bool) -> bool {
    result.failure.as_ref().is_some_and(|failure| predicate(&failure.kind))
}

fn has_died(result: &RunResult) -> bool {
    has_failure_kind(result, |kind| matches!(kind, FailureKind::ProcessDied(_)))
}

/// Executes a run twice more, and further as `modes` say, and compares all of them.
pub(crate) fn check_determinism(
    executor: &RunExecutor<'_>,
    request: &RunRequest,
    first: &RunResult,
    modes: DeterminismCheck,
) -> Option<Nondeterminism> {
    let request = request.clone().keep_trace_unless_long(first);
    repeat(executor, &request, first, modes, Deadline::default()).nondeterminism
}

/// The same within a real time, for a failure that is to be explained. A repetition that was
/// stopped is left out.
pub(crate) fn repeat(
    executor: &RunExecutor<'_>,
    request: &RunRequest,
    first: &RunResult,
    modes: DeterminismCheck,
    deadline: Deadline,
) -> RepeatResult {
    let with_deadline = |request: &RunRequest| deadline.apply_to(request.clone());
    let run_again = || executor.isolated(&with_deadline(request));
    let is_over = || deadline.expired_after().is_some();
    let first_repeat = run_again();
    if is_over() {
        return RepeatResult { first_repeat, nondeterminism: None, is_interrupted: true };
    }
    let second_repeat = run_again();
    let in_processes = executor.settings.isolation == Isolation::Process;
    let comparison = if in_processes { Comparison::FreshProcess } else { Comparison::SameProcess };
    let mut repeats = vec![
        (comparison, repeat_outcome(first, &first_repeat)),
        (comparison, repeat_outcome(first, &second_repeat)),
    ];
    let mut nondeterminism = None;
    if !is_over()
        && (!is_same_run(first, &first_repeat) || !is_same_run(&first_repeat, &second_repeat))
    {
        nondeterminism =
            Some(difference_here(comparison, first, (&first_repeat, &second_repeat), &run_again));
    }
    // If the runs of a failure differ here, a fresh process may still show when it fails.
    let is_undecided =
        nondeterminism.is_none() || repeats.iter().any(|(_, how)| *how != RepeatOutcome::Same);
    if modes.needs_fresh_process() && !in_processes && is_undecided && !is_over() {
        // Its records come over as text, which takes long: only if they are to be shown.
        let fresh = executor.in_subprocess(&with_deadline(&request.clone().result_only()));
        let is_new = nondeterminism.is_none() && !is_same_run(&first_repeat, &fresh);
        if !has_failure_kind(&fresh, |kind| {
            *kind == FailureKind::SpawnFailed || *kind == FailureKind::Stopped
        }) {
            repeats.push((Comparison::FreshProcess, repeat_outcome(first, &fresh)));
        }
        if is_new && !is_over() {
            let traced = executor.in_subprocess(&with_deadline(request));
            let shown = if is_same_run(&first_repeat, &traced) { &fresh } else { &traced };
            nondeterminism =
                Some(Nondeterminism::new(Comparison::FreshProcess, &first_repeat, shown));
        }
    }
    if modes.needs_other_seeds() && nondeterminism.is_none() && !is_over() {
        let seed = request.seed();
        let other_seeds = || (1..OTHER_SEEDS).map(|n| seed.wrapping_add(n));
        let last_request = RunRequest::from_seed(seed.wrapping_add(OTHER_SEEDS));
        let after_others = executor.isolated(
            &with_deadline(request).after_seeds(other_seeds().chain([last_request.seed()])),
        );
        // Another seed that ends the process is a failure of its own.
        let is_their_failure = || {
            has_died(&after_others)
                && has_died(&executor.isolated(&last_request.after_seeds(other_seeds())))
        };
        if !is_same_run(&first_repeat, &after_others) && !is_their_failure() && !is_over() {
            repeats.push((Comparison::AfterOtherSeeds, repeat_outcome(first, &after_others)));
            nondeterminism = Some(Nondeterminism::new(
                Comparison::AfterOtherSeeds,
                &first_repeat,
                &after_others,
            ));
        }
    }
    let nondeterminism =
        nondeterminism.map(|nondeterminism| Nondeterminism { repeats, ..nondeterminism });
    RepeatResult { first_repeat, nondeterminism, is_interrupted: is_over() }
}

/// Compares the end of a repetition with that of the first run.
fn repeat_outcome(first: &RunResult, repeat: &RunResult) -> RepeatOutcome {
    match (&first.failure, &repeat.failure) {
        (None, None) => RepeatOutcome::Same,
        (Some(_), None) => RepeatOutcome::Passed,
        (Some(first), Some(repeat)) if first.kind == repeat.kind => RepeatOutcome::Same,
        (_, Some(repeat)) => RepeatOutcome::Failed(repeat.text.clone()),
    }
}

/// Finds the first difference between runs of a seed that were executed here.
fn difference_here(
    comparison: Comparison,
    first: &RunResult,
    (first_repeat, second_repeat): (&RunResult, &RunResult),
    run_again: &dyn Fn() -> RunResult,
) -> Nondeterminism {
    // The first one left no trace. If only it was another, some more may show what it was.
    let extra_runs: Vec<RunResult> = if is_same_run(first_repeat, second_repeat) {
        (0..3).map(|_| run_again()).collect()
    } else {
        vec![]
    };
    let differing = std::iter::once(second_repeat)
        .chain(&extra_runs)
        .find(|result| !is_same_run(first_repeat, result));
    let nondeterminism = match differing {
        Some(differing) => Nondeterminism::new(comparison, first_repeat, differing),
        None => {
            let untraced = first_repeat.untraced_reason().map(Difference::Untraced);
            let difference = untraced.unwrap_or(Difference::FirstRunOnly);
            Nondeterminism {
                difference,
                ..Nondeterminism::new(comparison, first_repeat, first_repeat)
            }
        }
    };
    let wakes = first.foreign_wakes.max(second_repeat.foreign_wakes);
    Nondeterminism { foreign_wakes: nondeterminism.foreign_wakes.max(wakes), ..nondeterminism }
}

impl Nondeterminism {
    fn new(comparison: Comparison, left: &RunResult, right: &RunResult) -> Self {
        let error =
            right.failure.as_ref().filter(|failure| failure.kind == FailureKind::SpawnFailed);
        Self {
            comparison,
            difference: Difference::new(left, right),
            foreign_wakes: left.foreign_wakes.max(right.foreign_wakes),
            repeats: Vec::new(),
            spawn_error: error.map(|failure| failure.text.clone()),
        }
    }

    /// The word by which a variable asks for the repetition that has shown it.
    pub(crate) const fn variable_value(&self) -> &'static str {
        match self.comparison {
            Comparison::SameProcess => "1",
            Comparison::FreshProcess => "fresh-process",
            Comparison::AfterOtherSeeds => "after-other-seeds",
        }
    }

    /// Whether all repetitions ended in the way of the first run, though the runs differ.
    pub(crate) fn always_ends_same(&self) -> bool {
        self.repeats.iter().all(|(_, how)| *how == RepeatOutcome::Same)
    }

    /// Whether a failure was the same where the run was held against that.
    pub(crate) fn failure_rate(&self, comparison: Comparison) -> FailureRate {
        let outcomes = self.repeats.iter().filter(|(other, _)| *other == comparison);
        let count =
            |outcome: RepeatOutcome| outcomes.clone().filter(|(_, how)| *how == outcome).count();
        match (outcomes.clone().count(), count(RepeatOutcome::Same), count(RepeatOutcome::Passed)) {
            (0, ..) => FailureRate::Unknown,
            (all, same, _) if all == same => FailureRate::Always,
            (all, _, passed) if all == passed => FailureRate::Never,
            _ => FailureRate::Sometimes,
        }
    }

    /// The failure of a repetition that did not end as the first run did, if there is one.
    pub(crate) fn other_failure(&self) -> Option<&str> {
        self.repeats.iter().find_map(|(_, how)| match how {
            RepeatOutcome::Failed(text) => Some(&**text),
            _ => None,
        })
    }

    /// Says of a seed that failed how its repetitions ended.
    pub(crate) fn repeats_text(&self) -> String {
        let outcomes_text = |comparison: Comparison| {
            let outcomes: Vec<&RepeatOutcome> = self
                .repeats
                .iter()
                .filter(|(other, _)| *other == comparison)
                .map(|(_, how)| how)
                .collect();
            let count =
                |is: fn(&RepeatOutcome) -> bool| outcomes.iter().filter(|how| is(how)).count();
            let counts = [
                (count(|how| *how == RepeatOutcome::Same), "failed in the same way"),
                (count(|how| matches!(how, RepeatOutcome::Failed(_))), "failed in another way"),
                (count(|how| *how == RepeatOutcome::Passed), "passed"),
            ];
            let counts: Vec<String> = counts
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, direction)| match outcomes.len() {
                    1 => direction.to_string(),
                    all => format!("{direction} {count} of {all} times"),
                })
                .collect();
            (!counts.is_empty()).then(|| format!("{comparison}, it {}", counts.join(" and ")))
        };
        let all = [Comparison::SameProcess, Comparison::FreshProcess, Comparison::AfterOtherSeeds];
        let mut text = all.into_iter().filter_map(outcomes_text).collect::<Vec<_>>().join(";\n");
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        text + "."
    }
}

impl Difference {
    fn new(left: &RunResult, right: &RunResult) -> Self {
        let traces = left.trace.as_ref().zip(right.trace.as_ref());
        let record_text =
            |place: usize| Some(left.trace.as_ref()?.records().get(place)?.to_string());
        if let Some(divergence) = traces.and_then(|(left, right)| left.first_difference(right)) {
            let before = divergence.index.checked_sub(1).and_then(record_text);
            let delivery = divergence.left.as_ref();
            let delivery = delivery.filter(|record| matches!(record.kind, RecordKind::Deliver(_)));
            let sent = delivery.and_then(|record| record_text(*record.causes.first()?));
            return Self::Record { divergence: Box::new(divergence), before, sent };
        }
        match left.untraced_reason() {
            Some(untraced) => Self::Untraced(untraced),
            None => {
                let results = (left.printed_result.clone(), right.printed_result.clone());
                let is_known = left.trace.is_some() == right.trace.is_some();
                let parting = if is_known { Self::Result } else { Self::NoRecords };
                parting(results.0, results.1)
            }
        }
    }
}

/// As a part of a sentence.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameProcess => "run again",
            Self::FreshProcess => "in a fresh process",
            Self::AfterOtherSeeds => "after other seeds in the same process",
        })
    }
}

impl Comparison {
    const fn explanation(self) -> &'static str {
        match self {
            Self::SameProcess => "It differs when it is run again.",
            Self::FreshProcess => {
                "It differs in a fresh process (right): what decides is an address, the \
                 environment,\nor was left in this process by an earlier run."
            }
            // As many as `OTHER_SEEDS`.
            Self::AfterOtherSeeds => {
                "It differs after 8 other seeds in the same process (right): they left \
                 something\nbehind, in a static or in a thread-local."
            }
        }
    }
}

impl fmt::Display for Nondeterminism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same seed was not the same run: something is not decided by the seed")?;
        match &self.difference {
            Difference::Record { divergence, before, sent } => {
                write!(f, "\n\n{divergence}")?;
                if let Some(before) = before.as_ref().filter(|_| sent != before) {
                    write!(f, "\n  before {before}")?;
                }
                if let Some(sent) = sent {
                    write!(f, "\n  sent in {sent}")?;
                }
            }
            Difference::Untraced(reason) => {
                write!(f, "\n\nwhere they part is not told: {reason}")?;
            }
            Difference::Result(left, right) => {
                write!(f, "\n\nthe same events, but another result:\n  {left}\n  {right}")?;
            }
            Difference::NoRecords(left, right) => {
                write!(
                    f,
                    "\n\nanother result, of which no records are known:\n  {left}\n  {right}"
                )?;
            }
            Difference::FirstRunOnly => f.write_str(
                "\n\nonly the first run was another, which kept no records; those that kept them \
                 agree.\nSomething was left by an earlier run, or is made once a process",
            )?,
        }
        write!(f, "\n\n{}", self.comparison.explanation())?;
        if self.foreign_wakes > 0 {
            write!(f, "\n\n{} wake-up(s) came from other threads.", self.foreign_wakes)?;
        }
        f.write_str(
            "\n\nThe usual suspects: the order of a hash map or set (use BTreeMap); \
             std::time::Instant or\nSystemTime; a thread; an address or a type's id; a global \
             counter; rand::rng(), futures::select!\nor tokio::select!; a file or the environment.",
        )
    }
}
