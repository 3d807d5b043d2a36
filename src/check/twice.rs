//! Whether a run repeats: before anything is said of a failure, it is run twice more.
//!
//! Knows fingerprints, traces and printed results; a difference in any of them is a failure of its
//! own, and everything else that could be said would be about another run.

use std::fmt;

use crate::sim::{Divergence, RecordKind};

use super::failure::Kind;
use super::order::Order;
use super::place::Place;
use super::play::Played;
use super::settings::{Determinism, Isolation};

/// How many other seeds are run before one, to see what they leave behind.
const OTHERS: u64 = 8;

/// What a run was held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Against {
    /// The same run right after it, in this process.
    Again,
    /// The same run in a fresh process.
    FreshProcess,
    /// The same run after other seeds in the same process.
    OtherSeeds,
}

/// The runs of one seed differ.
#[derive(Clone, Debug)]
pub(crate) struct Differs {
    against: Against,
    /// Where two of them part, if records show it.
    divergence: Option<Divergence>,
    /// What the first of those two says last before they part.
    before: Option<String>,
    /// In which of its polls what arrived there was sent.
    sent: Option<String>,
    results: Option<(String, String)>,
    foreign_wakes: u64,
    /// Why it is not known where they part, if their records were not kept.
    untraced: Option<String>,
    /// Why it was not even tried, if no process could be had.
    pub(crate) error: Option<String>,
}

fn same(a: &Played, b: &Played) -> bool {
    a.fingerprint == b.fingerprint && a.printed == b.printed
}

fn died(played: &Played) -> bool {
    played.failure.as_ref().is_some_and(|failure| matches!(failure.kind, Kind::Died(_)))
}

/// Executes a run twice more, and further as `modes` say, and compares all of them.
pub(crate) fn check(
    place: &Place<'_>,
    order: &Order,
    first: &Played,
    modes: Determinism,
) -> Option<Differs> {
    let order = order.clone().keep_trace_of(first);
    let again = || place.isolated(&order);
    let (one, other) = (again(), again());
    let apart = place.settings.isolation == Isolation::Process;
    if !same(first, &one) || !same(&one, &other) {
        // The first one left no trace. If only it was another, some more may show what it was.
        let more: Vec<Played> =
            if same(&one, &other) { (0..3).map(|_| again()).collect() } else { vec![] };
        let differing = std::iter::once(&other).chain(&more).find(|played| !same(&one, played));
        let against = if apart { Against::FreshProcess } else { Against::Again };
        let differs = match differing {
            Some(differing) => Differs::new(against, &one, differing),
            None => Differs {
                results: Some((first.printed.clone(), one.printed.clone())),
                ..Differs::new(against, &one, &one)
            },
        };
        let wakes = first.foreign_wakes.max(other.foreign_wakes);
        return Some(Differs { foreign_wakes: differs.foreign_wakes.max(wakes), ..differs });
    }
    if modes.is_cold() && !apart {
        let cold = place.cold(&order);
        if !same(&one, &cold) {
            return Some(Differs::new(Against::FreshProcess, &one, &cold));
        }
    }
    if modes.is_shuffled() {
        let seed = order.seed();
        let others = || (1..OTHERS).map(|n| seed.wrapping_add(n));
        let last = Order::of_seed(seed.wrapping_add(OTHERS));
        let shuffled = place.isolated(&order.after(others().chain([last.seed()])));
        // Where one of the others takes the process along, that is its own failure.
        let is_theirs = || died(&shuffled) && died(&place.isolated(&last.after(others())));
        if !same(&one, &shuffled) && !is_theirs() {
            return Some(Differs::new(Against::OtherSeeds, &one, &shuffled));
        }
    }
    None
}

impl Differs {
    fn new(against: Against, one: &Played, other: &Played) -> Self {
        let traces = one.trace.as_ref().zip(other.trace.as_ref());
        let divergence = traces.and_then(|(one, other)| one.first_difference(other));
        let told = |place: usize| Some(one.trace.as_ref()?.records().get(place)?.to_string());
        let before =
            divergence.as_ref().and_then(|divergence| told(divergence.index.checked_sub(1)?));
        let arrived = divergence.as_ref().and_then(|divergence| divergence.left.as_ref());
        let arrived = arrived.filter(|record| record.kind == RecordKind::Deliver);
        let sent = arrived.and_then(|record| told(*record.causes.first()?));
        let results =
            (one.printed != other.printed).then(|| (one.printed.clone(), other.printed.clone()));
        let foreign_wakes = one.foreign_wakes.max(other.foreign_wakes);
        let error = other.failure.as_ref().filter(|failure| failure.kind == Kind::NoProcess);
        let error = error.map(|failure| failure.text.clone());
        let untraced = one.untraced();
        Self { against, divergence, before, sent, results, foreign_wakes, untraced, error }
    }

    /// The word by which a variable asks for the repetition that has shown it.
    pub(crate) const fn shown_by(&self) -> &'static str {
        match self.against {
            Against::Again => "1",
            Against::FreshProcess => "cold",
            Against::OtherSeeds => "shuffled",
        }
    }
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Again => f.write_str("It differs when it is run again."),
            Self::FreshProcess => f.write_str(
                "It differs in a fresh process (right): what decides is an address, the \
                 environment,\nor was left in this process by an earlier run.",
            ),
            Self::OtherSeeds => write!(
                f,
                "It differs after {OTHERS} other seeds in the same process (right): they left \
                 something\nbehind, in a static or in a thread-local.",
            ),
        }
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same seed was not the same run: something is not decided by the seed")?;
        match (&self.divergence, &self.results, &self.untraced) {
            (Some(divergence), ..) => {
                write!(f, "\n\n{divergence}")?;
                if let Some(before) = self.before.as_ref().filter(|_| self.sent != self.before) {
                    write!(f, "\n  before {before}")?;
                }
                if let Some(sent) = &self.sent {
                    write!(f, "\n  sent in {sent}")?;
                }
            }
            (None, _, Some(untraced)) => {
                write!(f, "\n\nwhere they part is not told: {untraced}")?;
            }
            (None, Some((one, other)), None) if one != other => {
                write!(f, "\n\nthe same events, but another result:\n  {one}\n  {other}")?;
            }
            _ => f.write_str(
                "\n\nonly the first run was another; those that were traced agree. Something was \
                 left by an earlier run, or is made once a process",
            )?,
        }
        write!(f, "\n\n{}", self.against)?;
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
