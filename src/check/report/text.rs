//! The report of a check. Printed, it explains a failure and ends with the command that repeats
//! it.

use std::fmt;
use std::panic::resume_unwind;
use std::path::PathBuf;

use crate::sim::Instant;
use crate::simnet::FaultStats;

use crate::check::analysis::determinism::Nondeterminism;
use crate::check::analysis::earlier_runs::LeakedState;
use crate::check::analysis::shrink::ShrinkResult;
use crate::check::assertions::AssertionCounts;
use crate::check::exec::run_once::RunResult;
use crate::check::failure::Failure;
use crate::check::report::causality::{
    PastEntry, causal_past, group_repetitions, select_highlights,
};

/// The fault of a test.
#[derive(Debug)]
pub(crate) enum TestFailure {
    /// A run failed.
    Run(Box<Failure>),
    /// A seed was not the same run twice.
    Nondeterminism(Box<Nondeterminism>),
    /// Something about the whole sweep.
    Sweep(String),
    /// The sweep could not be begun.
    Settings(String),
}

/// The result of a sweep of one test. Printed, it explains the failure, and its last line is the
/// command that repeats it.
#[must_use = "a failure is raised by `.assert()`"]
pub struct Report {
    /// The name of the test, in one line: see [`Check::new`](crate::check::Check::new).
    pub name: String,
    /// The number of runs, without those of shrinking.
    pub runs: u64,
    /// The smallest seed that failed.
    pub failed_seed: Option<u64>,
    /// The seed to go on from, if the time was used up before the seeds were.
    pub next_seed: Option<u64>,
    /// The fault statistics of all runs.
    pub fault_stats: FaultStats,
    pub(crate) assertions: AssertionCounts,
    pub(crate) failure: Option<TestFailure>,
    /// The differences between runs of the failed seed, if there are any.
    pub(crate) nondeterminism: Option<Box<Nondeterminism>>,
    /// Whether it fails by what earlier runs have left.
    pub(crate) leaked_state: Option<LeakedState>,
    pub(crate) shrunk: Option<ShrinkResult>,
    /// Why it was not repeated, or not shrunk.
    pub(crate) skipped: Vec<String>,
    /// The simplest failing input, if the test takes one.
    pub(crate) input: Option<String>,
    /// The run that failed, with its trace; also one that did not, while its trace is written.
    pub(crate) failed_run: Option<RunResult>,
    /// The file of its tape, or the reason why it could not be written.
    pub(crate) tape_file: Option<Result<PathBuf, String>>,
    /// The file of its trace, or the reason why it could not be written, if one was requested.
    pub(crate) trace_file: Option<Result<PathBuf, String>>,
    pub(crate) replay: String,
}

impl Report {
    /// Returns whether all is well.
    pub const fn is_ok(&self) -> bool {
        self.failure.is_none()
    }

    /// Returns how many choices matter to the failure, and how many were made, if it was shrunk.
    pub fn choices(&self) -> Option<(usize, usize)> {
        self.shrunk.as_ref().and_then(|shrunk| Some((shrunk.result.choices.len(), shrunk.total?)))
    }

    /// Returns the simplest input that fails, printed, if the test takes one: see
    /// `Check::run_with`, of feature `proptest`.
    pub fn input(&self) -> Option<&str> {
        self.input.as_deref()
    }

    /// Returns how many runs shrinking took.
    pub fn shrink_runs(&self) -> u64 {
        self.shrunk.as_ref().map_or(0, |shrunk| shrunk.runs)
    }

    /// Returns the tape of the smallest run that fails, if there is one.
    pub fn tape(&self) -> Option<&crate::sim::Tape> {
        let shrunk = self.shrunk.as_ref().map(|shrunk| &shrunk.result);
        shrunk.or(self.failed_run.as_ref()).map(|result| &result.tape)
    }

    /// Returns how often each `sometimes!` was reached.
    pub fn reached(&self) -> impl Iterator<Item = (&str, u64)> {
        self.assertions.sometimes.iter().map(|(label, count)| (&**label, *count))
    }

    /// Passes on a failure: prints the report and panics with it.
    ///
    /// # Panics
    ///
    /// If something is wrong.
    pub fn assert(&self) {
        if self.failure.is_some() {
            let text = self.to_string();
            eprintln!("{text}");
            // Not `panic!`, whose hook would print all of it once more, and something after it.
            resume_unwind(Box::new(text));
        }
    }

    /// The failure, without its explanation.
    pub(crate) fn failure_text(&self) -> Option<String> {
        self.failure.as_ref().map(|test_failure| match test_failure {
            TestFailure::Run(failure) => match &self.nondeterminism {
                Some(_) => format!("{}\n\n{}", failure.text, NondeterminismText(self)),
                None => failure.text.clone(),
            },
            TestFailure::Nondeterminism(nondeterminism) => nondeterminism.to_string(),
            TestFailure::Sweep(text) | TestFailure::Settings(text) => text.clone(),
        })
    }

    fn write_choices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shrunk) = &self.shrunk else { return Ok(()) };
        let choices = &shrunk.result.choices;
        let total = shrunk.total.map_or_else(|| "its".to_string(), group_digits);
        // Fewer choices may matter if shrinking stopped early.
        let prefix = if shrunk.stop_reason.is_some() { "at most " } else { "" };
        match choices.len() {
            0 => write!(
                f,
                "\n\nnone of {total} choices matters: it also fails with all of them at 0"
            )?,
            1 => write!(f, "\n\n{prefix}1 of {total} choices matters")?,
            count => write!(f, "\n\n{prefix}{} of {total} choices matter", group_digits(count))?,
        }
        write!(f, " ({} runs, {:.1} s)", shrunk.runs, shrunk.elapsed.as_secs_f64())?;
        const MAX_SHOWN: usize = 30;
        let (mut next, mut shown) = (0, 0);
        while let Some(choice) = choices.get(next).filter(|_| shown < MAX_SHOWN) {
            let description = choice.describe();
            write!(f, "\n  {:>14} {description}", choice.at)?;
            let same = choices[next..].iter().take_while(|choice| choice.describe() == description);
            let end = next + same.count().max(1);
            write_repetitions(f, ("", end - next), (choice.at, choices[end - 1].at))?;
            (next, shown) = (end, shown + 1);
        }
        if next < choices.len() {
            write!(f, "\n  .. and {} more", group_digits(choices.len() - next))?;
        }
        if let Some(stop_reason) = shrunk.stop_reason {
            write!(f, "\n  ({stop_reason})")?;
        }
        Ok(())
    }

    fn write_past(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shrunk = self.shrunk.as_ref().map(|shrunk| &shrunk.result);
        let Some(result) = shrunk.or(self.failed_run.as_ref()) else { return Ok(()) };
        if let Some(reason) = result.untraced_reason() {
            return write!(f, "\n\nwhat led to it is not told: {reason}");
        }
        let (Some(trace), Some(failure)) = (&result.trace, &result.failure) else { return Ok(()) };
        f.write_str("\n\nwhat led to it:")?;
        let (past, records) = (causal_past(trace, &failure.tasks), trace.records());
        let choices = self.shrunk.as_ref().map_or(&[][..], |shrunk| &shrunk.result.choices);
        let entries = group_repetitions(&past, records);
        let mut next = 0;
        for index in select_highlights(&entries, &past, records, choices) {
            let PastEntry { range: places, period } = &entries[index];
            if places.start > next {
                write!(f, "\n  .. {} more", group_digits(places.start - next))?;
            }
            for index in places.clone().take(*period) {
                write!(f, "\n  {}", records[past[index]])?;
            }
            let [from, until] = [places.start, places.end - 1].map(|index| records[past[index]].at);
            let unit = if *period > 1 { format!("these {period} ") } else { String::new() };
            write_repetitions(f, (&unit, entries[index].repetitions()), (from, until))?;
            next = places.end;
        }
        Ok(())
    }
}

/// Says of a line how many there are of it, and until when, if there are several.
fn write_repetitions(
    f: &mut fmt::Formatter<'_>,
    (unit, count): (&str, usize),
    (from, until): (Instant, Instant),
) -> fmt::Result {
    match count {
        0 | 1 => Ok(()),
        _ if until == from => write!(f, "  ({unit}{} times)", group_digits(count)),
        _ => write!(f, "  ({unit}{} times until {until})", group_digits(count)),
    }
}

/// The differences between runs of a failed seed, beside its failure.
struct NondeterminismText<'a>(&'a Report);

impl fmt::Display for NondeterminismText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { nondeterminism: Some(nondeterminism), leaked_state, shrunk, .. } = self.0
        else {
            return Ok(());
        };
        if let Some(leaked_state) = leaked_state {
            write!(f, "{leaked_state}\n\n")?;
        }
        write!(f, "{nondeterminism}\n\n{}", nondeterminism.repeats_text())?;
        f.write_str(match shrunk {
            Some(_) => "\nWhat is said of choices may change from one report to the next.",
            None if nondeterminism.always_ends_same() => "",
            None => "\nSo it was not shrunk.",
        })
    }
}

/// A number with its digits in groups of three.
fn group_digits(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.failed_seed.map(|seed| format!(" with seed {seed:#x}")).unwrap_or_default();
        match &self.failure {
            None => return write!(f, "{}: {} run(s), all well", self.name, self.runs),
            Some(TestFailure::Settings(error)) => return f.write_str(error),
            Some(TestFailure::Sweep(text)) => {
                write!(f, "{} failed{seed} after {} run(s):\n\n{text}", self.name, self.runs)?;
            }
            Some(TestFailure::Nondeterminism(nondeterminism)) => {
                write!(f, "{} failed{seed}, run {}:\n\n", self.name, self.runs)?;
                if let Some(text) = nondeterminism.other_failure() {
                    write!(f, "it passed, and failed when it was repeated:\n{text}\n\n")?;
                }
                write!(f, "{nondeterminism}")?;
            }
            Some(TestFailure::Run(failure)) => {
                write!(f, "{} failed{seed}, run {}:\n\n{}", self.name, self.runs, failure.text)?;
                if let Some(input) = &self.input {
                    write!(f, "\n\ninput: {input}")?;
                }
                if self.nondeterminism.is_some() {
                    write!(f, "\n\n{}", NondeterminismText(self))?;
                }
                for reason in &self.skipped {
                    write!(f, "\n\n{reason}")?;
                }
                self.write_choices(f)?;
                self.write_past(f)?;
            }
        }
        let fault_stats =
            self.failed_run.as_ref().map_or(&self.fault_stats, |failed| &failed.fault_stats);
        if fault_stats.iter().any(|(_, counts)| counts.requested > 0) {
            write!(f, "\n\n{fault_stats}")?;
        }
        for (label, file) in [("tape", &self.tape_file), ("trace", &self.trace_file)] {
            match file {
                Some(Ok(file)) => write!(f, "\n\n{label}: {}", file.display())?,
                Some(Err(error)) => write!(f, "\n\n{error}")?,
                None => {}
            }
        }
        write!(f, "\n\nreplay: {}", self.replay)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("name", &self.name)
            .field("runs", &self.runs)
            .field("failed_seed", &self.failed_seed)
            .finish_non_exhaustive()
    }
}
