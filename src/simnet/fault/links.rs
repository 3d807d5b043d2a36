//! What may pass from one host to another: cuts, holds and edited links.
//!
//! Knows hosts as numbers; refuses to know what travels. Nothing is kept for a pair that nothing
//! was done to: what is cut is a set of senders and a set of receivers.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::FaultKind;
use crate::simnet::fault::stats::{FaultStats, Lasting};
use crate::simnet::latency::Latency;

/// Whether something gets from one host to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passage {
    Clear,
    /// It waits on the way until it is let go.
    Held,
    Cut,
}

/// A plan and one of its strikes.
pub(crate) type StrikeId = (u32, u64);

/// A partition: nothing gets from these to those.
#[derive(Debug)]
pub(crate) struct Cut {
    family: FaultKind,
    from: BTreeSet<u32>,
    to: BTreeSet<u32>,
    both_ways: bool,
    /// The strike that made it, if one did.
    by: Option<StrikeId>,
    felt: bool,
}

impl Cut {
    fn stops(&self, from: u32, to: u32) -> bool {
        let one_way = |a, b| self.from.contains(&a) && self.to.contains(&b);
        one_way(from, to) || (self.both_ways && one_way(to, from))
    }
}

/// One in a million.
pub(crate) const WHOLE: u32 = 1_000_000;

/// What has been changed about a link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edits {
    pub(crate) latency: Option<Latency>,
    /// How many of a million are lost, or cut short.
    pub(crate) loss: Option<u32>,
    pub(crate) short_io: Option<u32>,
    pub(crate) bandwidth: Option<u64>,
}

impl Edits {
    fn or(self, other: Self) -> Self {
        Self {
            latency: self.latency.or(other.latency),
            loss: self.loss.or(other.loss),
            short_io: self.short_io.or(other.short_io),
            bandwidth: self.bandwidth.or(other.bandwidth),
        }
    }

    /// What is set for a family, with its unit, if it is set.
    pub(crate) fn in_words(&self, family: FaultKind) -> Option<String> {
        let percent = |share: u32| format!("{} %", f64::from(share) / f64::from(WHOLE / 100));
        match family {
            FaultKind::Latency => self.latency.map(Latency::in_words),
            FaultKind::Loss => self.loss.map(percent),
            FaultKind::ShortIo => self.short_io.map(percent),
            _ => self.bandwidth.map(|rate| format!("{rate} bytes a second")),
        }
    }
}

/// One direction between two hosts that something was done to.
#[derive(Debug, Default)]
struct Link {
    by_hand: Edits,
    by_plan: Edits,
    /// Until when what was sent before takes up the bandwidth.
    busy_until: u64,
    /// Which applications have had an effect, by family.
    felt: BTreeMap<FaultKind, bool>,
}

/// What was done to the links of one network.
#[derive(Debug, Default)]
pub(crate) struct Links {
    cuts: Vec<Cut>,
    /// By pair, the lesser number first.
    holds: BTreeMap<(u32, u32), Lasting>,
    edited: BTreeMap<(u32, u32), Link>,
}

const fn pair(a: u32, b: u32) -> (u32, u32) {
    if a < b { (a, b) } else { (b, a) }
}

impl Links {
    /// Whether anything was done to the way between two hosts, in either direction.
    #[inline]
    pub(crate) fn is_odd(&self, from: u32, to: u32) -> bool {
        !self.is_empty() && self.is_link_odd(from, to)
    }

    /// Whether nothing was done to any.
    #[inline]
    fn is_empty(&self) -> bool {
        self.cuts.is_empty() & self.holds.is_empty() & self.edited.is_empty()
    }

    fn is_link_odd(&self, from: u32, to: u32) -> bool {
        self.cuts.iter().any(|cut| cut.stops(from, to) || cut.stops(to, from))
            || self.holds.contains_key(&pair(from, to))
            || self.edited.contains_key(&(from, to))
            || self.edited.contains_key(&(to, from))
    }

    /// Whether something would get through, without making it felt.
    pub(crate) fn look(&self, from: u32, to: u32) -> Passage {
        if self.cuts.iter().any(|cut| cut.stops(from, to)) {
            Passage::Cut
        } else if self.holds.contains_key(&pair(from, to)) {
            Passage::Held
        } else {
            Passage::Clear
        }
    }

    /// Whether something gets through; if not, that is an effect of what stops it.
    pub(crate) fn pass(&mut self, from: u32, to: u32, ledger: &mut FaultStats) -> Passage {
        if let Some(cut) = self.cuts.iter_mut().find(|cut| cut.stops(from, to)) {
            ledger.felt(cut.family, &mut cut.felt);
            return Passage::Cut;
        }
        if let Some(hold) = self.holds.get_mut(&pair(from, to)) {
            ledger.felt(FaultKind::Hold, &mut hold.felt);
            return Passage::Held;
        }
        Passage::Clear
    }

    /// Lets nothing get from some hosts to others.
    pub(crate) fn cut(
        &mut self,
        from: BTreeSet<u32>,
        to: BTreeSet<u32>,
        both_ways: bool,
        by: Option<StrikeId>,
    ) {
        let family = if both_ways { FaultKind::Partition } else { FaultKind::OneWay };
        self.cuts.push(Cut { family, from, to, both_ways, by, felt: false });
    }

    /// Holds whatever travels between two hosts.
    pub(crate) fn hold(&mut self, a: u32, b: u32, by_hand: bool) {
        self.holds.entry(pair(a, b)).or_default().want(by_hand);
    }

    /// Lets go what is held between two hosts. Returns whether anything could have been.
    pub(crate) fn release(&mut self, a: u32, b: u32, by_hand: bool) -> bool {
        let pair = pair(a, b);
        let over = self.holds.get_mut(&pair).is_some_and(|hold| hold.is_over(by_hand));
        over && self.holds.remove(&pair).is_some()
    }

    /// Undoes everything.
    pub(crate) fn clear(&mut self) {
        if !self.is_empty() {
            *self = Self::default();
        }
    }

    /// Undoes all cuts and holds.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.holds.clear();
    }

    /// Undoes the cut that a strike made. Returns its two sides if it was still there.
    pub(crate) fn mend(&mut self, by: StrikeId) -> Option<(BTreeSet<u32>, BTreeSet<u32>)> {
        let place = self.cuts.iter().position(|cut| cut.by == Some(by))?;
        let Cut { from, to, .. } = self.cuts.remove(place);
        Some((from, to))
    }

    /// Changes a direction between two hosts, by hand or as a plan does.
    pub(crate) fn edit(
        &mut self,
        from: u32,
        to: u32,
        family: FaultKind,
        by_plan: bool,
        change: impl FnOnce(&mut Edits),
    ) {
        let link = self.edited.entry((from, to)).or_default();
        change(if by_plan { &mut link.by_plan } else { &mut link.by_hand });
        link.felt.insert(family, false);
    }

    /// Undoes what a plan changed about a direction between two hosts. Returns whether it had.
    pub(crate) fn unedit(&mut self, from: u32, to: u32, family: FaultKind) -> bool {
        let Some(Link { by_plan, .. }) = self.edited.get_mut(&(from, to)) else { return false };
        match family {
            FaultKind::Latency => by_plan.latency.take().is_some(),
            FaultKind::Loss => by_plan.loss.take().is_some(),
            FaultKind::Bandwidth => by_plan.bandwidth.take().is_some(),
            _ => by_plan.short_io.take().is_some(),
        }
    }

    /// What has been changed about a direction between two hosts.
    pub(crate) fn edits(&self, from: u32, to: u32) -> Edits {
        let link = self.edited.get(&(from, to));
        link.map_or_else(Edits::default, |link| link.by_plan.or(link.by_hand))
    }

    /// One of the things that may have been changed about a direction between two hosts.
    #[inline]
    pub(crate) fn edited<T>(
        &self,
        (from, to): (u32, u32),
        which: impl FnOnce(&Edits) -> Option<T>,
    ) -> Option<T> {
        let link = self.edited.get(&(from, to))?;
        which(&link.by_plan.or(link.by_hand))
    }

    /// What was changed by hand about a direction between two hosts.
    pub(crate) fn by_hand(&self, from: u32, to: u32) -> Edits {
        self.edited.get(&(from, to)).map_or_else(Edits::default, |link| link.by_hand)
    }

    /// Notes that an edit had an effect, in one direction or the other: it was one fault.
    pub(crate) fn felt(&mut self, from: u32, to: u32, family: FaultKind, ledger: &mut FaultStats) {
        let mut before = false;
        for way in [(from, to), (to, from)].into_iter().take(1 + usize::from(from != to)) {
            let link = self.edited.get_mut(&way);
            if let Some(felt) = link.and_then(|link| link.felt.get_mut(&family)) {
                before |= std::mem::replace(felt, true);
            }
        }
        ledger.counts(family).effective += u64::from(!before);
    }

    /// Takes up the bandwidth between two hosts with so many bytes. Returns when they are out.
    pub(crate) fn occupy(&mut self, from: u32, to: u32, now: u64, bytes: u64, rate: u64) -> u64 {
        let link = self.edited.entry((from, to)).or_default();
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let start = link.busy_until.max(now);
        link.busy_until = start.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        link.busy_until
    }

    /// Lets what takes up the bandwidth between two hosts be out sooner or later, at another rate.
    pub(crate) fn repace(&mut self, (from, to): (u32, u32), now: u64, pace: Pace) {
        if let Some(link) = self.edited.get_mut(&(from, to)) {
            let left = link.busy_until.saturating_sub(now);
            link.busy_until = now.saturating_add(pace.of(left));
        }
    }
}

/// A change of bandwidth, for what queues for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) before: u64,
    /// `None` is no limit.
    pub(crate) after: Option<u64>,
}

impl Pace {
    /// How long something takes now that would have taken so long before.
    pub(crate) fn of(self, left: u64) -> u64 {
        let Some(after) = self.after else { return 0 };
        let takes = u128::from(left) * u128::from(self.before) / u128::from(after.max(1));
        u64::try_from(takes).unwrap_or(u64::MAX)
    }
}
