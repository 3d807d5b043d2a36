//! What came of a test, made to be read at three in the morning.

use std::fmt;
use std::panic::resume_unwind;
use std::path::PathBuf;

use crate::sim::Instant;
use crate::simnet::Ledger;

use crate::check::analysis::determinism::Differs;
use crate::check::analysis::earlier_runs::Earlier;
use crate::check::analysis::shrink::Shrunk;
use crate::check::assertions::Reached;
use crate::check::exec::run_once::Played;
use crate::check::failure::Failure;
use crate::check::report::causality::{Entry, causal_past, entries, worth_reading};

/// What is wrong.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// A run failed.
    Failed(Box<Failure>),
    /// A seed was not the same run twice.
    Differs(Box<Differs>),
    /// Something about the whole sweep.
    Sweep(String),
    /// The sweep could not be begun.
    Settings(String),
}

/// What came of a sweep of one test. Printed, it explains the failure, and its last line is the
/// command that repeats it.
#[must_use = "a failure is raised by `.assert()`"]
pub struct Report {
    /// The name of the test, in one line: see [`Check::new`](crate::check::Check::new).
    pub name: String,
    /// How many runs were executed, those of shrinking not counted.
    pub runs: u64,
    /// The smallest seed that failed.
    pub failed_seed: Option<u64>,
    /// The seed to go on from, if the time was used up before the seeds were.
    pub next_seed: Option<u64>,
    /// What became of the faults of all runs.
    pub ledger: Ledger,
    pub(crate) reached: Reached,
    pub(crate) wrong: Option<Wrong>,
    /// How runs of the seed that failed differ, if they do.
    pub(crate) differs: Option<Box<Differs>>,
    /// Whether it fails by what earlier runs have left.
    pub(crate) earlier: Option<Earlier>,
    pub(crate) shrunk: Option<Shrunk>,
    /// Why it was not repeated, or not shrunk.
    pub(crate) left_out: Vec<String>,
    /// What the test was given, if it takes an input: the simplest that fails.
    pub(crate) input: Option<String>,
    /// The run that failed, with its trace; also one that did not, while its trace is written.
    pub(crate) failed: Option<Played>,
    /// Where its tape was written, or why it could not be.
    pub(crate) tape_file: Option<Result<PathBuf, String>>,
    /// Where its trace was written, or why it could not be, if it was asked for.
    pub(crate) trace_file: Option<Result<PathBuf, String>>,
    pub(crate) replay: String,
}

impl Report {
    /// Returns whether all is well.
    pub const fn is_ok(&self) -> bool {
        self.wrong.is_none()
    }

    /// Returns how many choices matter to the failure, and how many were made, if it was shrunk.
    pub fn choices(&self) -> Option<(usize, usize)> {
        self.shrunk.as_ref().and_then(|shrunk| Some((shrunk.played.choices.len(), shrunk.of?)))
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
        let shrunk = self.shrunk.as_ref().map(|shrunk| &shrunk.played);
        shrunk.or(self.failed.as_ref()).map(|played| &played.tape)
    }

    /// Returns how often each `sometimes!` was reached.
    pub fn reached(&self) -> impl Iterator<Item = (&str, u64)> {
        self.reached.sometimes.iter().map(|(label, count)| (&**label, *count))
    }

    /// Passes on a failure: prints the report and panics with it.
    ///
    /// # Panics
    ///
    /// If something is wrong.
    pub fn assert(&self) {
        if self.wrong.is_some() {
            let text = self.to_string();
            eprintln!("{text}");
            // Not `panic!`, whose hook would print all of it once more, and something after it.
            resume_unwind(Box::new(text));
        }
    }

    /// What is wrong, without what explains it.
    pub(crate) fn wrong_text(&self) -> Option<String> {
        self.wrong.as_ref().map(|wrong| match wrong {
            Wrong::Failed(failure) => match &self.differs {
                Some(_) => format!("{}\n\n{}", failure.text, DiffersOf(self)),
                None => failure.text.clone(),
            },
            Wrong::Differs(differs) => differs.to_string(),
            Wrong::Sweep(text) | Wrong::Settings(text) => text.clone(),
        })
    }

    fn write_choices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shrunk) = &self.shrunk else { return Ok(()) };
        let choices = &shrunk.played.choices;
        let of = shrunk.of.map_or_else(|| "its".to_string(), grouped);
        // Where it has stopped before its end, fewer may matter.
        let most = if shrunk.stopped.is_some() { "at most " } else { "" };
        match choices.len() {
            0 => write!(f, "\n\nnone of {of} choices matters: it fails whatever is chosen")?,
            1 => write!(f, "\n\n{most}1 of {of} choices matters")?,
            matter => write!(f, "\n\n{most}{} of {of} choices matter", grouped(matter))?,
        }
        write!(f, " ({} runs, {:.1} s)", shrunk.runs, shrunk.took.as_secs_f64())?;
        const SHOWN: usize = 30;
        let (mut next, mut shown) = (0, 0);
        while let Some(choice) = choices.get(next).filter(|_| shown < SHOWN) {
            let words = choice.describe();
            write!(f, "\n  {:>14} {words}", choice.at)?;
            let alike = choices[next..].iter().take_while(|choice| choice.describe() == words);
            let end = next + alike.count().max(1);
            write_alike(f, ("", end - next), (choice.at, choices[end - 1].at))?;
            (next, shown) = (end, shown + 1);
        }
        if next < choices.len() {
            write!(f, "\n  .. and {} more", grouped(choices.len() - next))?;
        }
        if let Some(stopped) = shrunk.stopped {
            write!(f, "\n  ({stopped})")?;
        }
        Ok(())
    }

    fn write_past(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shrunk = self.shrunk.as_ref().map(|shrunk| &shrunk.played);
        let Some(played) = shrunk.or(self.failed.as_ref()) else { return Ok(()) };
        if let Some(untraced) = played.untraced() {
            return write!(f, "\n\nwhat led to it is not told: {untraced}");
        }
        let (Some(trace), Some(failure)) = (&played.trace, &played.failure) else { return Ok(()) };
        f.write_str("\n\nwhat led to it:")?;
        let (past, records) = (causal_past(trace, &failure.tasks), trace.records());
        let matter = self.shrunk.as_ref().map_or(&[][..], |shrunk| &shrunk.played.choices);
        let entries = entries(&past, records);
        let mut next = 0;
        for place in worth_reading(&entries, &past, records, matter) {
            let Entry { places, period } = &entries[place];
            if places.start > next {
                write!(f, "\n  .. {} more", grouped(places.start - next))?;
            }
            for place in places.clone().take(*period) {
                write!(f, "\n  {}", records[past[place]])?;
            }
            let [from, until] = [places.start, places.end - 1].map(|place| records[past[place]].at);
            let these = if *period > 1 { format!("these {period} ") } else { String::new() };
            write_alike(f, (&these, entries[place].times()), (from, until))?;
            next = places.end;
        }
        Ok(())
    }
}

/// Says of a line how many there are of it, and until when, if there are several.
fn write_alike(
    f: &mut fmt::Formatter<'_>,
    (these, count): (&str, usize),
    (from, until): (Instant, Instant),
) -> fmt::Result {
    match count {
        0 | 1 => Ok(()),
        _ if until == from => write!(f, "  ({these}{} times)", grouped(count)),
        _ => write!(f, "  ({these}{} times until {until})", grouped(count)),
    }
}

/// How runs of a seed differ that has failed, beside its failure.
struct DiffersOf<'a>(&'a Report);

impl fmt::Display for DiffersOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { differs: Some(differs), earlier, shrunk, .. } = self.0 else { return Ok(()) };
        if let Some(earlier) = earlier {
            write!(f, "{earlier}\n\n")?;
        }
        write!(f, "{differs}\n\n{}", differs.how_repeats_ended())?;
        f.write_str(match shrunk {
            Some(_) => "\nWhat is said of choices may change from one report to the next.",
            None if differs.always_ends_so() => "",
            None => "\nSo it was not shrunk.",
        })
    }
}

/// A number with its digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.failed_seed.map(|seed| format!(" with seed {seed:#x}")).unwrap_or_default();
        match &self.wrong {
            None => return write!(f, "{}: {} run(s), all well", self.name, self.runs),
            Some(Wrong::Settings(error)) => return f.write_str(error),
            Some(Wrong::Sweep(text)) => {
                write!(f, "{} failed{seed} after {} run(s):\n\n{text}", self.name, self.runs)?;
            }
            Some(Wrong::Differs(differs)) => {
                write!(f, "{} failed{seed}, run {}:\n\n", self.name, self.runs)?;
                if let Some(text) = differs.failed_otherwise() {
                    write!(f, "it passed, and failed when it was repeated:\n{text}\n\n")?;
                }
                write!(f, "{differs}")?;
            }
            Some(Wrong::Failed(failure)) => {
                write!(f, "{} failed{seed}, run {}:\n\n{}", self.name, self.runs, failure.text)?;
                if let Some(input) = &self.input {
                    write!(f, "\n\ninput: {input}")?;
                }
                if self.differs.is_some() {
                    write!(f, "\n\n{}", DiffersOf(self))?;
                }
                for left_out in &self.left_out {
                    write!(f, "\n\n{left_out}")?;
                }
                self.write_choices(f)?;
                self.write_past(f)?;
            }
        }
        let ledger = self.failed.as_ref().map_or(&self.ledger, |failed| &failed.ledger);
        if ledger.iter().any(|(_, counts)| counts.requested > 0) {
            write!(f, "\n\n{ledger}")?;
        }
        for (what, file) in [("tape", &self.tape_file), ("trace", &self.trace_file)] {
            match file {
                Some(Ok(file)) => write!(f, "\n\n{what}: {}", file.display())?,
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
