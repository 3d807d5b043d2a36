//! The registry of choice families: every kind of choice that a run may ask for.
//!
//! A family has a name, which is the first word of its subjects and is hashed into its choices; a
//! group, by which a failing run is shrunk; and the sentence in which a report says such a choice.
//! The shrinker, the report and the documentation read this table. No choice can be made without a
//! family from it.

use std::fmt;

use crate::sim::choice::hash::hash_name;
use crate::sim::instant::in_three_digits;

/// A kind of choices. Choices of one group are left out together when a failing run is shrunk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum ChoiceGroup {
    /// The order in which tasks run, and how long a wake-up is delayed.
    Schedule,
    /// Delays of the network.
    Timing,
    /// Losses of the network.
    Loss,
    /// Faults of plans.
    Fault,
    /// Choices of a program, by `Sim::choose`.
    User,
    /// Steps by which the input of a property test is simpler than the drawn one. They are written
    /// on tapes and never drawn.
    Input,
}

impl ChoiceGroup {
    /// All groups, in the order in which a shrinker leaves them out.
    pub const ALL: [Self; 6] =
        [Self::Schedule, Self::Timing, Self::Loss, Self::Fault, Self::User, Self::Input];

    /// Returns the families of this group, in the order in which a shrinker leaves them out.
    pub fn families(self) -> impl Iterator<Item = ChoiceFamily> {
        ChoiceFamily::ALL.iter().copied().filter(move |family| family.group() == self)
    }
}

/// The parts of a choice, as text, for the sentence that says it.
#[derive(Clone, Copy, Debug)]
struct Parts<'a> {
    /// The task, or the direction of a connection, that the choice is about.
    actor: &'a str,
    /// The object of the choice: the source of a wake-up, a host, a label.
    object: &'a str,
    ordinal: u64,
    value: u64,
}

impl Parts<'_> {
    /// The value as a duration of at most three significant digits.
    fn duration(self) -> String {
        format!("{:?}", in_three_digits(self.value))
    }

    /// The segment whose transmissions share 64 ordinals.
    fn segment(self) -> u64 {
        self.ordinal / 64
    }

    fn source(self) -> String {
        match self.object {
            "timer" => "its timer".into(),
            "spawn" => "its spawn".into(),
            source => format!("a wake-up by {source}"),
        }
    }
}

macro_rules! families {
    ($($(#[doc = $doc:literal])* $family:ident $name:literal in $group:ident:
        |$parts:ident| $sentence:expr;)+) => {
        /// A family of choices: the first word of a choice's subject.
        ///
        /// The variants stand in the order in which a shrinker leaves them out.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum ChoiceFamily {
            $(#[doc = concat!("`", $name, "`:")] $(#[doc = $doc])* $family,)+
        }

        impl ChoiceFamily {
            /// All families.
            pub const ALL: &[Self] = &[$(Self::$family),+];

            /// Returns the name, as a subject begins with it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$family => $name),+ }
            }

            /// Returns the group.
            pub const fn group(self) -> ChoiceGroup {
                match self { $(Self::$family => ChoiceGroup::$group),+ }
            }

            /// The hashes of the names, in the order of the variants.
            ///
            /// A `match` in [`Self::hash`] would be too large to be inlined into every wake-up.
            const HASHES: [u64; Self::ALL.len()] = [$(hash_name($name)),+];

            /// The hash of the name.
            #[inline]
            pub(crate) const fn hash(self) -> u64 {
                Self::HASHES[self as usize]
            }

            fn sentence(self, parts: Parts<'_>) -> String {
                match self {
                    $(Self::$family => {
                        let $parts = parts;
                        $sentence
                    })+
                }
            }
        }
    };
}

families! {
    /// the rank of a wake-up among what is due at the same instant.
    Priority "priority" in Schedule: |it| format!(
        "{} runs after others that are due at the same instant, after {}", it.actor, it.source()
    );
    /// how long a wake-up is delayed, in nanoseconds.
    Delay "delay" in Schedule: |it| format!(
        "{} runs {} late, after {}", it.actor, it.duration(), it.source()
    );
    /// the priority of a task under `Schedule::Pct`, and when it is demoted.
    Pct "pct" in Schedule: |it| format!(
        "{} has a low PCT priority (number {} is {})", it.actor, it.ordinal, it.value
    );
    /// the branch that a `select!` polls first.
    Select "select" in Schedule: |it| format!(
        "{} polls branch {} of {} first", it.actor, it.value, it.object
    );
    /// how much longer than the minimum a segment takes.
    Latency "latency" in Timing: |it| format!(
        "segment {} of {} takes {} longer than the minimum", it.ordinal, it.actor, it.duration()
    );
    /// how much longer than the minimum a retransmitted segment takes.
    Retransmit "retransmit" in Timing: |it| format!(
        "segment {} of {}, retransmitted, takes {} longer than the minimum",
        it.segment(), it.actor, it.duration()
    );
    /// how much longer than the minimum a window update takes.
    WindowUpdate "window_update" in Timing: |it| format!(
        "a window update for the writer of {} takes {} longer than the minimum",
        it.actor, it.duration()
    );
    /// how much longer than the minimum the registry takes to answer a look-up.
    RegistryLatency "registry_latency" in Timing: |it| format!(
        "the registry look-up of {} by {} takes {} longer than the minimum",
        it.object, it.actor, it.duration()
    );
    /// how many bytes a short read or write leaves out.
    ShortIo "short_io" in Timing: |it| format!(
        "a read or write of {} may be short ({})", it.actor, it.value
    );
    /// whether an acknowledgement is lost.
    AckLoss "ack_loss" in Loss: |it| format!(
        "the acknowledgement of segment {} of {} may be lost ({} of 1000000)",
        it.segment(), it.actor, it.value
    );
    /// whether a window update is lost.
    WindowUpdateLoss "window_update_loss" in Loss: |it| format!(
        "a window update for the writer of {} may be lost ({} of 1000000)", it.actor, it.value
    );
    /// whether a probe of a closed window is lost.
    ProbeLoss "probe_loss" in Loss: |it| format!(
        "a window probe of the writer of {} may be lost ({} of 1000000)", it.actor, it.value
    );
    /// whether a segment is lost.
    Loss "loss" in Loss: |it| format!(
        "segment {} of {} may be lost ({} of 1000000)", it.segment(), it.actor, it.value
    );
    /// whether a look-up finds where a host was before.
    StaleLookup "stale_lookup" in Fault: |it| format!(
        "the look-up of {} by {} may find its previous address ({} of 3)",
        it.object, it.actor, it.value
    );
    /// what a fault plan draws.
    Fault "fault" in Fault: |it| fault_sentence(it.object, it.ordinal, it.value);
    /// what a program asks for, by `Sim::choose`.
    Choose "choose" in User: |it| format!("{} chooses {} as `{}`", it.actor, it.value, it.object);
    /// how the input of a property test is simpler than the drawn one.
    Input "input" in Input: |it| format!(
        "the input is simpler than the one that the seed draws (part {})", it.ordinal
    );
}

/// Says a decision of a fault plan: about a kind of fault as a whole (index 0), or about one of its
/// faults, by the slot of the plan's time.
fn fault_sentence(object: &str, ordinal: u64, value: u64) -> String {
    let nanos = in_three_digits(value);
    let (kind, slot) = object.rsplit_once('#').unwrap_or((object, "0"));
    match (kind, slot, ordinal) {
        ("quiet", ..) => format!("the plan may have no faults in slot {slot} ({value} of 3)"),
        (_, "0", 0) => format!("the plan uses {kind}"),
        (_, "0", _) => format!("the plan draws {kind} more often ({value} of 2)"),
        (.., 0) => format!("{object} of the plan may happen ({value} of 11)"),
        (.., 1) => format!("{object} of the plan begins {nanos:?} later"),
        (.., 2) => format!("{object} of the plan lasts {nanos:?} longer"),
        (.., 5) => format!("{object} of the plan is stronger, or elsewhere ({value})"),
        _ => format!("{object} of the plan hits another host ({value})"),
    }
}

impl ChoiceFamily {
    /// Returns the family of a subject, if there is one of that name.
    pub fn of_subject(subject: &str) -> Option<Self> {
        let name = subject.split(' ').next()?;
        Self::ALL.iter().copied().find(|family| family.name() == name)
    }
}

impl fmt::Display for ChoiceFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Says in a sentence what a choice decided.
pub(crate) fn describe(subject: &str, ordinal: u64, value: u64) -> String {
    let mut words = subject.splitn(3, ' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    let parts = Parts { actor: word(), object: word(), ordinal, value };
    match ChoiceFamily::of_subject(subject) {
        Some(family) => family.sentence(parts),
        // A tape may have what no program asks for.
        None => format!("{subject} {ordinal} = {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ChoiceFamily, ChoiceGroup, describe, hash_name};

    #[test]
    fn every_family_has_a_name_of_its_own_and_is_found_by_it() {
        for family in ChoiceFamily::ALL {
            let subject = format!("{family} main/client timer");
            assert_eq!(ChoiceFamily::of_subject(&subject), Some(*family));
            assert_eq!(family.hash(), hash_name(family.name()), "{family}");
            assert_ne!(describe(&subject, 0, 1), format!("{subject} 0 = 1"), "{family}");
        }
        let in_groups: usize = ChoiceGroup::ALL.map(|group| group.families().count()).iter().sum();
        assert_eq!(in_groups, ChoiceFamily::ALL.len());
        assert_eq!(ChoiceFamily::of_subject("priorities main"), None);
        assert_eq!(describe("unknown main x", 3, 4), "unknown main x 3 = 4");
    }
}
