//! Whether a run repeats: before anything is said of a failure, it is run twice more.
//!
//! Knows fingerprints, traces and printed results; a difference in any of them is a failure of its
//! own, and everything else that could be said would be about another run.

use std::fmt;

use crate::sim::{Divergence, Run};

use super::play::{Case, Played};
use super::sweep::isolated;

/// The runs of one seed differ.
#[derive(Clone, Debug)]
pub(crate) struct Differs {
    /// Where two of them part, if records show it.
    divergence: Option<Divergence>,
    /// What the first of those two says last before they part.
    before: Option<String>,
    results: Option<(String, String)>,
    foreign_wakes: u64,
}

/// Executes `run` twice more, and compares all three.
pub(crate) fn check(case: &dyn Case, run: &Run, first: &Played) -> Option<Differs> {
    let again = || isolated(case, run.clone().keep_trace());
    let (one, other) = (again(), again());
    let same = |a: &Played, b: &Played| a.fingerprint == b.fingerprint && a.printed == b.printed;
    if same(first, &one) && same(&one, &other) {
        return None;
    }
    // The first one left no trace. If only it was another, some more may show what it was.
    let more: Vec<Played> =
        if same(&one, &other) { (0..3).map(|_| again()).collect() } else { vec![] };
    let differing = std::iter::once(&other).chain(&more).find(|played| !same(&one, played));
    let (divergence, results) = match differing {
        Some(differing) => {
            let traces = one.trace.as_ref().zip(differing.trace.as_ref());
            let results = (one.printed != differing.printed)
                .then(|| (one.printed.clone(), differing.printed.clone()));
            (traces.and_then(|(a, b)| a.first_difference(b)), results)
        }
        None => (None, Some((first.printed.clone(), one.printed.clone()))),
    };
    let before = divergence.as_ref().and_then(|divergence| {
        let records = one.trace.as_ref()?.records();
        Some(records.get(divergence.index.checked_sub(1)?)?.to_string())
    });
    let foreign_wakes = first.foreign_wakes.max(one.foreign_wakes).max(other.foreign_wakes);
    Some(Differs { divergence, before, results, foreign_wakes })
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same seed was not the same run: something is not decided by the seed")?;
        match (&self.divergence, &self.results) {
            (Some(divergence), _) => {
                write!(f, "\n\n{divergence}")?;
                if let Some(before) = &self.before {
                    write!(f, "\n  before {before}")?;
                }
            }
            (None, Some((one, other))) if one != other => {
                write!(f, "\n\nthe same events, but another result:\n  {one}\n  {other}")?;
            }
            _ => f.write_str(
                "\n\nonly the first run was another; those that were traced agree. Something was \
                 left by an earlier run, or is made once a process",
            )?,
        }
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
