//! One record of a trace, with its payload: the segment that arrived, the fault that was applied.

use std::fmt;

use crate::sim::fault_kind::FaultKind;
use crate::sim::instant::Instant;

/// The kind of a record as a number, which is a part of the fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordTag {
    Poll,
    Note,
    Choose,
    Abort,
    ForeignWake,
    Ending,
    CaughtPanic,
    Deliver,
    Drop,
    Fault,
    Fail,
}

impl RecordTag {
    pub(crate) const ALL: [Self; 11] = [
        Self::Poll,
        Self::Note,
        Self::Choose,
        Self::Abort,
        Self::ForeignWake,
        Self::Ending,
        Self::CaughtPanic,
        Self::Deliver,
        Self::Drop,
        Self::Fault,
        Self::Fail,
    ];

    /// The name of the kind, as records print it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Note => "note",
            Self::Choose => "choose",
            Self::Abort => "abort",
            Self::CaughtPanic => "caught",
            Self::Deliver => "deliver",
            Self::Drop => "drop",
            Self::Fault => "fault",
            Self::Fail => "fail",
            Self::ForeignWake => "foreign",
            Self::Ending => "ending",
        }
    }

    /// The kind of a record without a payload.
    pub(crate) fn kind(self) -> RecordKind {
        match self {
            Self::Poll => RecordKind::Poll,
            Self::Note => RecordKind::Note,
            Self::Choose => RecordKind::Choose,
            Self::Abort => RecordKind::Abort,
            Self::ForeignWake => RecordKind::ForeignWake,
            Self::Ending => RecordKind::Ending,
            Self::CaughtPanic => RecordKind::CaughtPanic,
            Self::Fail => RecordKind::Fail,
            Self::Deliver | Self::Drop | Self::Fault => {
                unreachable!("a segment and a fault are recorded with their payload")
            }
        }
    }
}

/// The kind of a [`Record`], with its payload.
///
/// Prints as one word, such as `deliver`; the payload is what [`Record::text`] says.
///
/// ```
/// use virtnet::{RecordKind, Run, SegmentKind, Sim, simnet::Network};
///
/// let outcome = Run::new(7).keep_trace().execute(|_: Sim| async {
///     let net = Network::new("t");
///     net.node("server", async |host| {
///         host.listen(":1").await?.accept().await.map(drop)
///     });
///     net.new_host("client").await?.dial("server:1").await.map(drop)
/// });
/// let arrived = outcome.trace.unwrap().records().iter().any(|record| match &record.kind {
///     RecordKind::Deliver(segment) => {
///         segment.kind == SegmentKind::Syn && segment.to.host == "server"
///     }
///     _ => false,
/// });
/// assert!(arrived);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RecordKind {
    /// A task was polled.
    Poll,
    /// A task wrote a note with `Sim::note`.
    Note,
    /// A task made a choice with `Sim::choose`.
    Choose,
    /// A task was dropped that another task had aborted, or that died with its node.
    Abort,
    /// Another thread woke a task: what follows is not decided by the seed.
    ForeignWake,
    /// The run ended; always the last record.
    Ending,
    /// A destructor that a crash ran panicked; the run went on.
    CaughtPanic,
    /// A segment arrived.
    Deliver(Segment),
    /// A segment was lost on its way, or is held there.
    Drop(Segment, DropReason),
    /// An endpoint gave its connection up: nothing that it sent was acknowledged for the
    /// `user_timeout` of the network. Prints as `drop`.
    GiveUp {
        /// The endpoint that gave up.
        from: SegmentEndpoint,
        /// The endpoint that it had sent to.
        to: SegmentEndpoint,
    },
    /// A fault was applied to the network or to a node, or undone.
    Fault(FaultChange),
    /// An operation of a task failed on a simulated network without a segment that says so: an
    /// accept.
    Fail,
}

impl RecordKind {
    /// The number of the kind.
    pub(crate) const fn tag(&self) -> RecordTag {
        match self {
            Self::Poll => RecordTag::Poll,
            Self::Note => RecordTag::Note,
            Self::Choose => RecordTag::Choose,
            Self::Abort => RecordTag::Abort,
            Self::ForeignWake => RecordTag::ForeignWake,
            Self::Ending => RecordTag::Ending,
            Self::CaughtPanic => RecordTag::CaughtPanic,
            Self::Deliver(_) => RecordTag::Deliver,
            Self::Drop(..) | Self::GiveUp { .. } => RecordTag::Drop,
            Self::Fault(_) => RecordTag::Fault,
            Self::Fail => RecordTag::Fail,
        }
    }

    /// The text of the payload; empty where there is none.
    pub(crate) fn payload_text(&self) -> String {
        match self {
            Self::Deliver(segment)
                if segment.kind == SegmentKind::Data && segment.bytes.is_none() =>
            {
                format!("{segment} to a closed endpoint")
            }
            Self::Deliver(segment) => segment.to_string(),
            Self::Drop(segment, reason) if segment.refusal.is_some() => {
                format!("{segment}, {reason}")
            }
            Self::Drop(segment, reason) => format!("{segment} {reason}"),
            Self::GiveUp { from, to } => format!("{from}->{to} timed out"),
            Self::Fault(change) => change.to_string(),
            _ => String::new(),
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.tag().name())
    }
}

/// A segment of a connection, as on the wire of TCP.
///
/// Prints as `data α:49152->β:80 5 bytes`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Segment {
    /// The kind of the segment.
    pub kind: SegmentKind,
    /// The sender.
    pub from: SegmentEndpoint,
    /// The receiver.
    pub to: SegmentEndpoint,
    /// The number of payload bytes of a segment that arrives at an open endpoint. `None` for those
    /// of a handshake, for those that are lost, and where the receiver is closed.
    pub bytes: Option<u64>,
    /// Of a reset that answers a SYN: why the dial is refused.
    pub refusal: Option<String>,
}

impl Segment {
    pub(crate) const fn new(kind: SegmentKind, from: SegmentEndpoint, to: SegmentEndpoint) -> Self {
        Self { kind, from, to, bytes: None, refusal: None }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, from, to, bytes, refusal } = self;
        write!(f, "{kind} {from}->{to}")?;
        match (bytes, refusal) {
            (Some(bytes), _) => write!(f, " {bytes} bytes"),
            (None, Some(refusal)) => write!(f, " {refusal}"),
            (None, None) => Ok(()),
        }
    }
}

/// One end of the way of a [`Segment`]. Prints as an address, such as `α:80`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentEndpoint {
    /// The name of the host.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for SegmentEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// The kind of a [`Segment`]. Prints as `data`, `FIN`, `RST`, `SYN` or `SYN-ACK`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum SegmentKind {
    /// Bytes of the stream.
    Data,
    /// The end of the stream.
    Fin,
    /// A reset: the connection is gone, or the dial is refused.
    Reset,
    /// The first segment of a dial.
    Syn,
    /// The answer to a SYN: the dial is accepted.
    SynAck,
}

impl SegmentKind {
    pub(crate) const ALL: [Self; 5] = [Self::Data, Self::Fin, Self::Reset, Self::Syn, Self::SynAck];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Fin => "FIN",
            Self::Reset => "RST",
            Self::Syn => "SYN",
            Self::SynAck => "SYN-ACK",
        }
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a segment did not arrive. Prints as `lost` or `held`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum DropReason {
    /// It was lost to a partition or to a lossy link; its sender retransmits it.
    Lost,
    /// It is held on its way, and arrives when it is released.
    Held,
}

impl DropReason {
    pub(crate) const ALL: [Self; 2] = [Self::Lost, Self::Held];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Held => "held",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A change of the faults of a network: one that is applied, or one that is undone.
///
/// Prints as `partition α | β γ`, `latency α β: 20ms`, `resume α` and the like.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FaultChange {
    /// Whether a fault is applied or undone, and its kind.
    pub action: FaultAction,
    /// The hosts it is about.
    pub target: FaultTarget,
    /// The values that apply now, such as a latency; empty where the kind has none.
    pub details: String,
}

impl FaultChange {
    /// The change of a fault of this kind, undone or applied.
    pub(crate) const fn new(action: FaultAction, target: FaultTarget) -> Self {
        Self { action, target, details: String::new() }
    }
}

/// The action of a [`FaultChange`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FaultAction {
    /// A fault is applied.
    Apply(FaultKind),
    /// A fault is undone.
    Undo(FaultKind),
    /// A node that is up is stopped as by a crash, because it is restarted.
    StopToRestart,
    /// All partitions and holds, and the failure of the registry, are undone.
    Heal,
}

/// The hosts that a [`FaultChange`] is about.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FaultTarget {
    /// The network as a whole.
    Network,
    /// The nodes of a region, by its name.
    Region(String),
    /// One host.
    Host(String),
    /// Two hosts, in both directions.
    Link(String, String),
    /// Two hosts, in the direction from the first to the second.
    OneWayLink(String, String),
    /// Two groups of hosts; of [`FaultKind::OneWay`], the first cannot send to the second.
    Groups(Vec<String>, Vec<String>),
}

impl FaultTarget {
    /// Returns the names of the hosts; none for the network as a whole and for a region.
    pub fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Network | Self::Region(_) => Vec::new(),
            Self::Host(host) => vec![host],
            Self::Link(a, b) | Self::OneWayLink(a, b) => vec![a, b],
            Self::Groups(a, b) => a.iter().chain(b).map(String::as_str).collect(),
        }
    }
}

impl fmt::Display for FaultTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => Ok(()),
            Self::Region(name) => write!(f, "{name:?}"),
            Self::Host(host) => f.write_str(host),
            Self::Link(a, b) => write!(f, "{a} {b}"),
            Self::OneWayLink(from, to) => write!(f, "{from} -> {to}"),
            Self::Groups(a, b) => write!(f, "{} | {}", a.join(" "), b.join(" ")),
        }
    }
}

impl fmt::Display for FaultChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FaultAction::{Apply, Heal, StopToRestart, Undo};
        let Self { action, target, details } = self;
        let is_undone = match action {
            Heal => return f.write_str("heal"),
            StopToRestart => return write!(f, "crash to restart {target}"),
            Apply(FaultKind::Registry) => return f.write_str("registry down"),
            Undo(FaultKind::Registry) => return f.write_str("registry up"),
            Undo(FaultKind::Hold) => return write!(f, "release {target}"),
            Undo(FaultKind::Pause) => return write!(f, "resume {target}"),
            Apply(kind) | Undo(kind) => {
                write!(f, "{kind} {target}")?;
                matches!(action, Undo(_))
            }
        };
        match (is_undone, details.as_str()) {
            (false, "") => Ok(()),
            (false, details) => write!(f, ": {details}"),
            (true, "") => f.write_str(": undone"),
            (true, details) => write!(f, ": undone, {details}"),
        }
    }
}

/// One event of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Record {
    /// The instant of the event, in true virtual time.
    pub at: Instant,
    /// The kind of the event, with its segment or fault.
    pub kind: RecordKind,
    /// The path of the task or of the direction of a connection whose event it was, such as
    /// `main/client#2`; empty for a fault.
    pub subject: String,
    /// The cause: the source of a wake-up, the name of a choice.
    pub source: String,
    /// The number of earlier wake-ups or choices of this subject by this source, including wake-ups
    /// that found the task woken already.
    pub ordinal: u64,
    /// The text of a note, the payload of the kind as text, or how the run ended; empty elsewhere.
    pub text: String,
    /// The value of a choice, or a hash of the note or the bytes of the event.
    pub digest: u64,
    /// The indices in the trace of the records that led to this one: that in which the task was
    /// woken, in which a segment was sent, in which a fault was requested; and those in which the
    /// bytes arrived that were read in this one. None for what a timer causes.
    pub causes: Vec<usize>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14} {:<7} {}", self.at, self.kind, self.subject)?;
        match self.kind.tag() {
            RecordTag::Poll => write!(f, " by {} {}", self.source, self.ordinal),
            RecordTag::Abort => write!(f, " by {}", self.source),
            RecordTag::Choose => {
                write!(f, " {} {} = {}", self.source, self.ordinal, self.digest)
            }
            RecordTag::Deliver | RecordTag::Drop => {
                write!(f, " {} {}", self.ordinal, in_one_line(&self.text))
            }
            RecordTag::Note
            | RecordTag::Ending
            | RecordTag::CaughtPanic
            | RecordTag::Fault
            | RecordTag::Fail => write!(f, " {}", in_one_line(&self.text)),
            RecordTag::ForeignWake => Ok(()),
        }
    }
}

/// A text whose control characters are escaped: a panic's message has line ends.
fn in_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}
