//! `Choice`: a choice that a run made, as a tape writes it.

use std::fmt;

use crate::sim::choice::family::{ChoiceFamily, describe};
use crate::sim::instant::Instant;

/// A choice of a run whose value was not 0: see `Run::record_choices`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub struct Choice {
    /// The instant of the choice, in true virtual time.
    pub at: Instant,
    /// The family, the actor and the object: `delay main/client timer`, as on a tape.
    pub subject: String,
    /// The number of earlier choices of this subject.
    pub ordinal: u64,
    /// The chosen value.
    pub value: u64,
    /// The number of values to choose from.
    pub(crate) options: u64,
}

impl Choice {
    /// Returns the family, which the first word of the subject names.
    pub fn family(&self) -> Option<ChoiceFamily> {
        ChoiceFamily::of_subject(&self.subject)
    }

    /// Says in a sentence what was decided: "main/client runs 17µs late, after its timer".
    pub fn describe(&self) -> String {
        describe(&self.subject, self.ordinal, self.value)
    }
}

/// Prints it as a tape has it, after its instant.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, subject, ordinal, value, .. } = self;
        write!(f, "{at:>14} {subject} {ordinal} = {value}")
    }
}
