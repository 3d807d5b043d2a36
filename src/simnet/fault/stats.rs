//! What became of the faults: asked for, drawn, applied, and whether they had an effect.
//!
//! Knows families by name and counts them. A fault that changes nothing looks like robustness; so
//! a test that asks for one and never feels it has to fail, and this is what it looks at.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Add, AddAssign};

/// The families of faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    Partition,
    OneWay,
    Hold,
    Reset,
    Latency,
    Loss,
    Bandwidth,
    Crash,
    PowerOff,
    Pause,
    Close,
    Restart,
    Clock,
    SlowNode,
    Registry,
    ShortIo,
}

impl Fault {
    pub(crate) const ALL: [Self; 16] = [
        Self::Partition,
        Self::OneWay,
        Self::Hold,
        Self::Reset,
        Self::Latency,
        Self::Loss,
        Self::Bandwidth,
        Self::Crash,
        Self::PowerOff,
        Self::Pause,
        Self::Close,
        Self::Restart,
        Self::Clock,
        Self::SlowNode,
        Self::Registry,
        Self::ShortIo,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::OneWay => "one_way",
            Self::Hold => "hold",
            Self::Reset => "reset",
            Self::Latency => "latency",
            Self::Loss => "loss",
            Self::Bandwidth => "bandwidth",
            Self::Crash => "crash",
            Self::PowerOff => "power_off",
            Self::Pause => "pause",
            Self::Close => "close",
            Self::Restart => "restart",
            Self::Clock => "clock",
            Self::SlowNode => "slow_node",
            Self::Registry => "registry",
            Self::ShortIo => "short_io",
        }
    }
}

/// What became of the faults of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// How many times it was called by name, or a plan was allowed to draw it.
    pub requested: u64,
    /// How many times a plan decided on it.
    pub drawn: u64,
    /// How many times it was brought about.
    pub applied: u64,
    /// How many of those changed anything that a program could see.
    pub effective: u64,
}

impl Add for Counts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            requested: self.requested + other.requested,
            drawn: self.drawn + other.drawn,
            applied: self.applied + other.applied,
            effective: self.effective + other.effective,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested, drawn, applied, effective } = self;
        write!(f, "requested {requested}, drawn {drawn}, applied {applied}, effective {effective}")
    }
}

/// What became of all faults, by family: of one run, or added up over many.
///
/// The families are `partition`, `one_way`, `hold`, `reset`, `latency`, `loss`, `bandwidth`,
/// `crash`, `power_off`, `pause`, `close`, `restart`, `clock`, `slow_node`, `registry`, `short_io`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    counts: [Counts; Fault::ALL.len()],
}

impl Ledger {
    /// Returns the counts of one family.
    ///
    /// # Panics
    ///
    /// If there is no family of that name; the message has the names that there are.
    #[track_caller]
    pub fn family(&self, name: &str) -> Counts {
        let named = |family: &&Fault| family.name() == name;
        match Fault::ALL.iter().find(named) {
            Some(family) => self.counts[*family as usize],
            None => {
                let names = Fault::ALL.map(Fault::name).join(", ");
                panic!("virtnet: there is no fault family {name:?}; there are {names}")
            }
        }
    }

    /// Returns all families with their counts, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Counts)> + '_ {
        Fault::ALL.iter().map(|family| (family.name(), self.counts[*family as usize]))
    }

    /// Adds counts to those of a family, if there is one of that name.
    pub(crate) fn add(&mut self, name: &str, counts: Counts) {
        let named = |family: &&Fault| family.name() == name;
        if let Some(family) = Fault::ALL.iter().find(named) {
            let own = self.counts(*family);
            *own = *own + counts;
        }
    }

    /// Names the families that were requested and never had an effect.
    pub fn ineffective(&self) -> Vec<&'static str> {
        let idle = |(_, counts): &(&str, Counts)| counts.requested > 0 && counts.effective == 0;
        self.iter().filter(idle).map(|(name, _)| name).collect()
    }

    /// Makes sure that every family that was requested had an effect: for the sum of a sweep.
    ///
    /// One run may well be spared a fault that it asked for; a whole sweep must not be.
    ///
    /// # Panics
    ///
    /// If one had none, with its name and the whole table.
    #[track_caller]
    pub fn assert_effective(&self) {
        let idle = self.ineffective();
        assert!(
            idle.is_empty(),
            "virtnet: faults were requested that never had an effect: {}. A fault that does \
             nothing looks like robustness.\n{self}",
            idle.join(", ")
        );
    }

    pub(crate) fn counts(&mut self, family: Fault) -> &mut Counts {
        &mut self.counts[family as usize]
    }

    /// Notes that an application of a fault was felt for the first time.
    pub(crate) fn felt(&mut self, family: Fault, felt: &mut bool) {
        if !std::mem::replace(felt, true) {
            self.counts(family).effective += 1;
        }
    }
}

impl AddAssign<&Self> for Ledger {
    fn add_assign(&mut self, other: &Self) {
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            *own = *own + *others;
        }
    }
}

thread_local! {
    /// What became of the faults of the runs of this thread, if anybody wants to know.
    static GATHERED: RefCell<Option<Ledger>> = const { RefCell::new(None) };
}

/// Adds up the ledgers of all networks of this thread's runs from now on.
pub(crate) fn gather_ledgers() {
    GATHERED.set(Some(Ledger::default()));
}

/// Takes what was added up.
pub(crate) fn take_ledger() -> Ledger {
    GATHERED.take().unwrap_or_default()
}

/// Whether somebody adds up what has become of the faults.
pub(crate) fn is_gathering() -> bool {
    GATHERED.with_borrow(Option::is_some)
}

/// Adds a network's ledger to those of the thread, when its run is over.
pub(crate) fn hand_in(ledger: &Ledger) {
    GATHERED.with_borrow_mut(|gathered| {
        if let Some(gathered) = gathered {
            *gathered += ledger;
        }
    });
}

/// Prints a table of the families that were requested.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, requested, drawn, applied, effective] =
            ["fault", "requested", "drawn", "applied", "effective"];
        write!(f, "{name:<10} {requested:>10} {drawn:>10} {applied:>10} {effective:>10}")?;
        for (name, counts) in self.iter().filter(|(_, counts)| counts.requested > 0) {
            let Counts { requested, drawn, applied, effective } = counts;
            write!(f, "\n{name:<10} {requested:>10} {drawn:>10} {applied:>10} {effective:>10}")?;
        }
        Ok(())
    }
}

/// A fault that lasts as long as either a test or a plan wants it.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    by_hand: bool,
    by_plan: bool,
    /// Whether its latest application has had an effect.
    pub(crate) felt: bool,
}

impl Lasting {
    /// Is wanted once more.
    pub(crate) const fn want(&mut self, by_hand: bool) {
        self.by_hand |= by_hand;
        self.by_plan |= !by_hand;
        self.felt = false;
    }

    /// A test ends it for both of them, a plan only what it began. Returns whether it is over.
    pub(crate) const fn is_over(&mut self, by_hand: bool) -> bool {
        self.by_plan = false;
        self.by_hand &= !by_hand;
        !self.by_hand
    }
}
