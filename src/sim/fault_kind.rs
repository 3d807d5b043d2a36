//! The kinds of faults, as plans, statistics, traces and reports name them.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident $name:literal;)+) => {
        /// A kind of fault of the simulated network and its nodes.
        ///
        /// Prints as its name, such as `one_way`, and is read from it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum FaultKind {
            $($(#[doc = $doc])* $kind,)+
        }

        impl FaultKind {
            /// All kinds.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$kind),+];

            /// Returns the name: `partition`, `one_way` and so on.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }
        }
    };
}

kinds! {
    /// Groups of hosts are cut off from each other, both ways.
    Partition "partition";
    /// A group of hosts cannot send to another, which can send to it.
    OneWay "one_way";
    /// Segments between two hosts are held, and arrive at once when they are released.
    Hold "hold";
    /// The connections between two hosts are reset.
    Reset "reset";
    /// The latency between two hosts is higher.
    Latency "latency";
    /// Some segments between two hosts are lost, and retransmitted.
    Loss "loss";
    /// The bandwidth between two hosts is low.
    Bandwidth "bandwidth";
    /// The process of a node dies: what it has not sent is lost, and its peers get resets.
    Crash "crash";
    /// A node loses its power: its peers hear nothing more of it.
    PowerOff "power_off";
    /// A node stops running, and goes on later.
    Pause "pause";
    /// The host of a node is closed in good order.
    Close "close";
    /// A node is restarted.
    Restart "restart";
    /// The clock of a node is ahead or behind, or runs too fast or too slow.
    Clock "clock";
    /// Each poll of a node's tasks takes time.
    SlowNode "slow_node";
    /// The registry does not answer.
    Registry "registry";
    /// Reads and writes between two hosts transfer fewer bytes than they could.
    ShortIo "short_io";
    /// All nodes of a region lose their power at once. A plan draws it where there are nodes in two
    /// regions or more, and no more nodes go down than may be down.
    Zone "zone";
    /// A node is restarted without anything that it had stored.
    Wipe "wipe";
    /// The registry answers late.
    SlowRegistry "slow_registry";
    /// Some accepts of a node fail with `too many open files`. The dials wait on, and the program
    /// may accept again.
    Accept "accept";
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text is not the name of a kind of fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{input}` is no kind of fault: expected one of {}",
    FaultKind::ALL.map(FaultKind::name).join(", ")
)]
pub struct ParseFaultKindError {
    /// The text that was to be read.
    pub input: String,
}

impl FromStr for FaultKind {
    type Err = ParseFaultKindError;

    fn from_str(input: &str) -> Result<Self, ParseFaultKindError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == input);
        found.ok_or_else(|| ParseFaultKindError { input: input.into() })
    }
}
