//! Whether a run repeats: before anything is said of a failure, it is run twice more.
//!
//! Knows fingerprints, traces and printed results. A difference in any of them is a finding of its
//! own, which stands beside a failure and never in place of it.

use std::fmt;

use crate::sim::{Divergence, RecordKind};

use crate::check::exec::deadline::Patience;
use crate::check::exec::executor::Place;
use crate::check::exec::run_once::Played;
use crate::check::exec::run_request::Order;
use crate::check::failure::Kind;
use crate::check::settings::{Determinism, Isolation};

/// How many other seeds are run before one, to see what they leave behind.
const OTHERS: u64 = 8;

/// What a run was held against.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Against {
    /// The same run right after it, in this process.
    Again,
    /// The same run in a fresh process.
    FreshProcess,
    /// The same run after other seeds in the same process.
    OtherSeeds,
}

/// How a repetition ended, beside the first run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// It failed in the same way, or passed as the first run did.
    Same,
    Passed,
    /// It failed in another way, which it says.
    Failed(String),
}

/// Whether repetitions of one kind failed in the way of the first run. What failed in another way
/// has neither failed nor passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fails {
    Unknown,
    Never,
    NowAndThen,
    Always,
}

/// Where two runs of a seed part.
#[derive(Clone, Debug)]
enum Parting {
    Record {
        divergence: Box<Divergence>,
        /// What the first of the two says last before that.
        before: Option<String>,
        /// In which of its polls what arrived there was sent.
        sent: Option<String>,
    },
    /// Not in their records.
    Result(String, String),
    /// It is not known, because one of them told no records.
    Unknown(String, String),
    /// Only the first run was another, which kept no records.
    First,
    /// It is not known, because their records were not kept.
    Untraced(String),
}

/// The runs of one seed differ.
#[derive(Clone, Debug)]
pub(crate) struct Differs {
    against: Against,
    parting: Parting,
    foreign_wakes: u64,
    /// How each repetition ended.
    repeats: Vec<(Against, How)>,
    /// Why it was not even tried, if no process could be had.
    pub(crate) error: Option<String>,
}

/// What came of the repetitions of a run.
#[derive(Clone, Debug)]
pub(crate) struct Repeated {
    /// The first of them.
    pub(crate) again: Played,
    pub(crate) differs: Option<Differs>,
    /// Whether the real time was over before all of them were done.
    pub(crate) is_cut_short: bool,
}

fn same(a: &Played, b: &Played) -> bool {
    a.fingerprint == b.fingerprint && a.printed == b.printed
}

fn is(played: &Played, what: impl Fn(&Kind) -> bool) -> bool {
    played.failure.as_ref().is_some_and(|failure| what(&failure.kind))
}

fn died(played: &Played) -> bool {
    is(played, |kind| matches!(kind, Kind::Died(_)))
}

/// Executes a run twice more, and further as `modes` say, and compares all of them.
pub(crate) fn check(
    place: &Place<'_>,
    order: &Order,
    first: &Played,
    modes: Determinism,
) -> Option<Differs> {
    let order = order.clone().keep_trace_of(first);
    repeat(place, &order, first, modes, Patience::default()).differs
}

/// The same, in so much time, for a failure that is to be explained. Where a repetition was stopped
/// nothing is said of it.
pub(crate) fn repeat(
    place: &Place<'_>,
    order: &Order,
    first: &Played,
    modes: Determinism,
    patience: Patience,
) -> Repeated {
    let bound = |order: &Order| patience.bound(order.clone());
    let again = || place.isolated(&bound(order));
    let is_over = || patience.spent().is_some();
    let one = again();
    if is_over() {
        return Repeated { again: one, differs: None, is_cut_short: true };
    }
    let other = again();
    let apart = place.settings.isolation == Isolation::Process;
    let against = if apart { Against::FreshProcess } else { Against::Again };
    let mut repeats = vec![(against, how(first, &one)), (against, how(first, &other))];
    let mut differs = None;
    if !is_over() && (!same(first, &one) || !same(&one, &other)) {
        differs = Some(differs_here(against, first, (&one, &other), &again));
    }
    // Where the runs of a failure differ here, a fresh process may still show when it fails.
    let is_open = differs.is_none() || repeats.iter().any(|(_, how)| *how != How::Same);
    if modes.is_cold() && !apart && is_open && !is_over() {
        // Its records come over as text, which takes long: only if they are to be shown.
        let cold = place.cold(&bound(&order.clone().bare()));
        let is_new = differs.is_none() && !same(&one, &cold);
        if !is(&cold, |kind| *kind == Kind::NoProcess || *kind == Kind::Stopped) {
            repeats.push((Against::FreshProcess, how(first, &cold)));
        }
        if is_new && !is_over() {
            let traced = place.cold(&bound(order));
            let shown = if same(&one, &traced) { &cold } else { &traced };
            differs = Some(Differs::new(Against::FreshProcess, &one, shown));
        }
    }
    if modes.is_shuffled() && differs.is_none() && !is_over() {
        let seed = order.seed();
        let others = || (1..OTHERS).map(|n| seed.wrapping_add(n));
        let last = Order::of_seed(seed.wrapping_add(OTHERS));
        let shuffled = place.isolated(&bound(order).after(others().chain([last.seed()])));
        // Where one of the others takes the process along, that is its own failure.
        let is_theirs = || died(&shuffled) && died(&place.isolated(&last.after(others())));
        if !same(&one, &shuffled) && !is_theirs() && !is_over() {
            repeats.push((Against::OtherSeeds, how(first, &shuffled)));
            differs = Some(Differs::new(Against::OtherSeeds, &one, &shuffled));
        }
    }
    let differs = differs.map(|differs| Differs { repeats, ..differs });
    Repeated { again: one, differs, is_cut_short: is_over() }
}

/// How a repetition ended, beside the first run.
fn how(first: &Played, again: &Played) -> How {
    match (&first.failure, &again.failure) {
        (None, None) => How::Same,
        (Some(_), None) => How::Passed,
        (Some(first), Some(again)) if first.kind == again.kind => How::Same,
        (_, Some(again)) => How::Failed(again.text.clone()),
    }
}

/// Where runs of a seed part that were executed here.
fn differs_here(
    against: Against,
    first: &Played,
    (one, other): (&Played, &Played),
    again: &dyn Fn() -> Played,
) -> Differs {
    // The first one left no trace. If only it was another, some more may show what it was.
    let more: Vec<Played> =
        if same(one, other) { (0..3).map(|_| again()).collect() } else { vec![] };
    let differing = std::iter::once(other).chain(&more).find(|played| !same(one, played));
    let differs = match differing {
        Some(differing) => Differs::new(against, one, differing),
        None => {
            let untraced = one.untraced().map(Parting::Untraced);
            let parting = untraced.unwrap_or(Parting::First);
            Differs { parting, ..Differs::new(against, one, one) }
        }
    };
    let wakes = first.foreign_wakes.max(other.foreign_wakes);
    Differs { foreign_wakes: differs.foreign_wakes.max(wakes), ..differs }
}

impl Differs {
    fn new(against: Against, one: &Played, other: &Played) -> Self {
        let error = other.failure.as_ref().filter(|failure| failure.kind == Kind::NoProcess);
        Self {
            against,
            parting: Parting::new(one, other),
            foreign_wakes: one.foreign_wakes.max(other.foreign_wakes),
            repeats: Vec::new(),
            error: error.map(|failure| failure.text.clone()),
        }
    }

    /// The word by which a variable asks for the repetition that has shown it.
    pub(crate) const fn shown_by(&self) -> &'static str {
        match self.against {
            Against::Again => "1",
            Against::FreshProcess => "cold",
            Against::OtherSeeds => "shuffled",
        }
    }

    /// Whether all repetitions ended in the way of the first run, though the runs differ.
    pub(crate) fn always_ends_so(&self) -> bool {
        self.repeats.iter().all(|(_, how)| *how == How::Same)
    }

    /// Whether a failure was the same where the run was held against that.
    pub(crate) fn fails(&self, against: Against) -> Fails {
        let own = self.repeats.iter().filter(|(other, _)| *other == against);
        let count = |what: How| own.clone().filter(|(_, how)| *how == what).count();
        match (own.clone().count(), count(How::Same), count(How::Passed)) {
            (0, ..) => Fails::Unknown,
            (all, same, _) if all == same => Fails::Always,
            (all, _, passed) if all == passed => Fails::Never,
            _ => Fails::NowAndThen,
        }
    }

    /// How a repetition failed that did not end as the first run did, if one did.
    pub(crate) fn failed_otherwise(&self) -> Option<&str> {
        self.repeats.iter().find_map(|(_, how)| match how {
            How::Failed(text) => Some(&**text),
            _ => None,
        })
    }

    /// Says of a seed that failed how its repetitions ended.
    pub(crate) fn how_repeats_ended(&self) -> String {
        let of = |against: Against| {
            let own: Vec<&How> = self
                .repeats
                .iter()
                .filter(|(other, _)| *other == against)
                .map(|(_, how)| how)
                .collect();
            let count = |is: fn(&How) -> bool| own.iter().filter(|how| is(how)).count();
            let ways = [
                (count(|how| *how == How::Same), "failed in the same way"),
                (count(|how| matches!(how, How::Failed(_))), "failed in another way"),
                (count(|how| *how == How::Passed), "passed"),
            ];
            let ways: Vec<String> = ways
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, way)| match own.len() {
                    1 => way.to_string(),
                    all => format!("{way} {count} of {all} times"),
                })
                .collect();
            (!ways.is_empty()).then(|| format!("{against}, it {}", ways.join(" and ")))
        };
        let all = [Against::Again, Against::FreshProcess, Against::OtherSeeds];
        let mut text = all.into_iter().filter_map(of).collect::<Vec<_>>().join(";\n");
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        text + "."
    }
}

impl Parting {
    fn new(one: &Played, other: &Played) -> Self {
        let traces = one.trace.as_ref().zip(other.trace.as_ref());
        let told = |place: usize| Some(one.trace.as_ref()?.records().get(place)?.to_string());
        if let Some(divergence) = traces.and_then(|(one, other)| one.first_difference(other)) {
            let before = divergence.index.checked_sub(1).and_then(told);
            let arrived = divergence.left.as_ref();
            let arrived = arrived.filter(|record| record.kind == RecordKind::Deliver);
            let sent = arrived.and_then(|record| told(*record.causes.first()?));
            return Self::Record { divergence: Box::new(divergence), before, sent };
        }
        match one.untraced() {
            Some(untraced) => Self::Untraced(untraced),
            None => {
                let results = (one.printed.clone(), other.printed.clone());
                let is_known = one.trace.is_some() == other.trace.is_some();
                let parting = if is_known { Self::Result } else { Self::Unknown };
                parting(results.0, results.1)
            }
        }
    }
}

/// As a part of a sentence.
impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Again => "run again",
            Self::FreshProcess => "in a fresh process",
            Self::OtherSeeds => "after other seeds in the same process",
        })
    }
}

impl Against {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Again => "It differs when it is run again.",
            Self::FreshProcess => {
                "It differs in a fresh process (right): what decides is an address, the \
                 environment,\nor was left in this process by an earlier run."
            }
            // As many as `OTHERS`.
            Self::OtherSeeds => {
                "It differs after 8 other seeds in the same process (right): they left \
                 something\nbehind, in a static or in a thread-local."
            }
        }
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same seed was not the same run: something is not decided by the seed")?;
        match &self.parting {
            Parting::Record { divergence, before, sent } => {
                write!(f, "\n\n{divergence}")?;
                if let Some(before) = before.as_ref().filter(|_| sent != before) {
                    write!(f, "\n  before {before}")?;
                }
                if let Some(sent) = sent {
                    write!(f, "\n  sent in {sent}")?;
                }
            }
            Parting::Untraced(untraced) => {
                write!(f, "\n\nwhere they part is not told: {untraced}")?;
            }
            Parting::Result(one, other) => {
                write!(f, "\n\nthe same events, but another result:\n  {one}\n  {other}")?;
            }
            Parting::Unknown(one, other) => {
                write!(
                    f,
                    "\n\nanother result, of which no records are known:\n  {one}\n  {other}"
                )?;
            }
            Parting::First => f.write_str(
                "\n\nonly the first run was another, which kept no records; those that kept them \
                 agree.\nSomething was left by an earlier run, or is made once a process",
            )?,
        }
        write!(f, "\n\n{}", self.against.sentence())?;
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
