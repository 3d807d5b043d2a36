//! The state of links between hosts: partitions, holds and overridden settings.
//!
//! Hosts are numbers here. A partition is a set of senders and a set of receivers, so that a pair
//! of hosts without faults takes no memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::FaultKind;
use crate::simnet::fault::source::{ActiveFault, FaultSource, SettingFault};
use crate::simnet::fault::stats::FaultStats;
use crate::simnet::latency::Latency;

/// Whether something gets from one host to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkState {
    Up,
    /// It waits on the way until it is let go.
    Held,
    Down,
}

/// A partition: nothing gets from these to those.
#[derive(Debug)]
pub(crate) struct Partition {
    kind: FaultKind,
    from: BTreeSet<u32>,
    to: BTreeSet<u32>,
    both_ways: bool,
    source: FaultSource,
    is_effective: bool,
}

impl Partition {
    fn blocks(&self, from: u32, to: u32) -> bool {
        let one_way = |a, b| self.from.contains(&a) && self.to.contains(&b);
        one_way(from, to) || (self.both_ways && one_way(to, from))
    }
}

/// One in a million.
pub(crate) const MILLION: u32 = 1_000_000;

/// The settings of a link that are overridden.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkSettings {
    pub(crate) latency: Option<Latency>,
    /// The number of a million segments that are lost, and of a million reads and writes that are
    /// short.
    pub(crate) loss_ppm: Option<u32>,
    pub(crate) short_io_ppm: Option<u32>,
    pub(crate) bandwidth: Option<u64>,
}

impl LinkSettings {
    /// The value that a kind of fault has set, with its unit, if it has set one.
    pub(crate) fn describe(&self, kind: FaultKind) -> Option<String> {
        let percent = |ppm: u32| format!("{} %", f64::from(ppm) / f64::from(MILLION / 100));
        match kind {
            FaultKind::Latency => self.latency.map(Latency::describe),
            FaultKind::Loss => self.loss_ppm.map(percent),
            FaultKind::ShortIo => self.short_io_ppm.map(percent),
            _ => self.bandwidth.map(|rate| format!("{rate} bytes a second")),
        }
    }
}

/// One direction between two hosts with overridden settings.
#[derive(Debug, Default)]
struct LinkEntry {
    latency: SettingFault<Latency>,
    loss_ppm: SettingFault<u32>,
    short_io_ppm: SettingFault<u32>,
    bandwidth: SettingFault<u64>,
    /// Until when what was sent before takes up the bandwidth.
    busy_until: u64,
}

impl LinkEntry {
    /// The settings in force.
    fn settings(&self) -> LinkSettings {
        LinkSettings {
            latency: self.latency.value(),
            loss_ppm: self.loss_ppm.value(),
            short_io_ppm: self.short_io_ppm.value(),
            bandwidth: self.bandwidth.value(),
        }
    }

    fn apply(&mut self, source: FaultSource, setting: LinkSetting) {
        match setting {
            LinkSetting::Latency(latency) => self.latency.apply(source, latency),
            LinkSetting::Loss(ppm) => self.loss_ppm.apply(source, ppm),
            LinkSetting::ShortIo(ppm) => self.short_io_ppm.apply(source, ppm),
            LinkSetting::Bandwidth(rate) => self.bandwidth.apply(source, rate),
        }
    }

    fn undo(&mut self, source: FaultSource, kind: FaultKind) -> Option<bool> {
        match kind {
            FaultKind::Latency => self.latency.undo(source),
            FaultKind::Loss => self.loss_ppm.undo(source),
            FaultKind::ShortIo => self.short_io_ppm.undo(source),
            _ => self.bandwidth.undo(source),
        }
    }

    fn is_effective_mut(&mut self, kind: FaultKind) -> Option<&mut bool> {
        match kind {
            FaultKind::Latency => self.latency.is_effective_mut(),
            FaultKind::Loss => self.loss_ppm.is_effective_mut(),
            FaultKind::ShortIo => self.short_io_ppm.is_effective_mut(),
            _ => self.bandwidth.is_effective_mut(),
        }
    }
}

/// One setting of a link, with the value that a fault gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkSetting {
    Latency(Latency),
    /// The number of a million segments that are lost.
    Loss(u32),
    /// The number of a million reads and writes that are short.
    ShortIo(u32),
    /// Bytes per second.
    Bandwidth(u64),
}

impl LinkSetting {
    /// The kind of fault that changes it.
    pub(crate) const fn kind(self) -> FaultKind {
        match self {
            Self::Latency(_) => FaultKind::Latency,
            Self::Loss(_) => FaultKind::Loss,
            Self::ShortIo(_) => FaultKind::ShortIo,
            Self::Bandwidth(_) => FaultKind::Bandwidth,
        }
    }
}

/// The faults of the links of one network.
#[derive(Debug, Default)]
pub(crate) struct Links {
    partitions: Vec<Partition>,
    /// By pair, the lesser number first.
    holds: BTreeMap<(u32, u32), ActiveFault>,
    entries: BTreeMap<(u32, u32), LinkEntry>,
}

const fn ordered_pair(a: u32, b: u32) -> (u32, u32) {
    if a < b { (a, b) } else { (b, a) }
}

impl Links {
    /// Whether anything was done to the way between two hosts, in either direction.
    #[inline]
    pub(crate) fn needs_slow_path(&self, from: u32, to: u32) -> bool {
        !self.is_empty() && self.has_faults(from, to)
    }

    /// Whether nothing was done to any.
    #[inline]
    fn is_empty(&self) -> bool {
        self.partitions.is_empty() & self.holds.is_empty() & self.entries.is_empty()
    }

    fn has_faults(&self, from: u32, to: u32) -> bool {
        self.partitions.iter().any(|cut| cut.blocks(from, to) || cut.blocks(to, from))
            || self.holds.contains_key(&ordered_pair(from, to))
            || self.entries.contains_key(&(from, to))
            || self.entries.contains_key(&(to, from))
    }

    /// Whether a segment would get through. It does not count as an effect of a fault.
    pub(crate) fn state(&self, from: u32, to: u32) -> LinkState {
        if self.partitions.iter().any(|cut| cut.blocks(from, to)) {
            LinkState::Down
        } else if self.holds.contains_key(&ordered_pair(from, to)) {
            LinkState::Held
        } else {
            LinkState::Up
        }
    }

    /// Whether something gets through; if not, that is an effect of what stops it.
    pub(crate) fn try_pass(&mut self, from: u32, to: u32, stats: &mut FaultStats) -> LinkState {
        if let Some(cut) = self.partitions.iter_mut().find(|cut| cut.blocks(from, to)) {
            stats.mark_effective(cut.kind, &mut cut.is_effective);
            return LinkState::Down;
        }
        if let Some(hold) = self.holds.get_mut(&ordered_pair(from, to)) {
            hold.mark_effective(FaultKind::Hold, stats);
            return LinkState::Held;
        }
        LinkState::Up
    }

    /// Lets nothing get from some hosts to others.
    pub(crate) fn partition(
        &mut self,
        from: BTreeSet<u32>,
        to: BTreeSet<u32>,
        both_ways: bool,
        source: FaultSource,
    ) {
        let kind = if both_ways { FaultKind::Partition } else { FaultKind::OneWay };
        self.partitions.push(Partition { kind, from, to, both_ways, source, is_effective: false });
    }

    /// Holds whatever travels between two hosts.
    pub(crate) fn hold(&mut self, a: u32, b: u32, source: FaultSource) {
        self.holds.entry(ordered_pair(a, b)).or_default().apply(source);
    }

    /// Releases what is held between two hosts. Returns whether the hold is over.
    pub(crate) fn release(&mut self, a: u32, b: u32, source: FaultSource) -> bool {
        let pair = ordered_pair(a, b);
        let is_over = self.holds.get_mut(&pair).is_some_and(|hold| hold.undo(source));
        is_over && self.holds.remove(&pair).is_some()
    }

    /// Undoes everything.
    pub(crate) fn clear(&mut self) {
        if !self.is_empty() {
            *self = Self::default();
        }
    }

    /// Undoes all cuts and holds.
    pub(crate) fn heal(&mut self) {
        self.partitions.clear();
        self.holds.clear();
    }

    /// Undoes the partition of a source. Returns its two sides if it was still there.
    pub(crate) fn undo_partition(
        &mut self,
        source: FaultSource,
    ) -> Option<(BTreeSet<u32>, BTreeSet<u32>)> {
        let index = self.partitions.iter().position(|cut| cut.source == source)?;
        let Partition { from, to, .. } = self.partitions.remove(index);
        Some((from, to))
    }

    /// Overrides a setting of one direction between two hosts.
    pub(crate) fn override_setting(
        &mut self,
        (from, to): (u32, u32),
        source: FaultSource,
        setting: LinkSetting,
    ) {
        self.entries.entry((from, to)).or_default().apply(source, setting);
    }

    /// Undoes the override of a source in one direction. Returns whether there was one.
    pub(crate) fn undo_override(
        &mut self,
        (from, to): (u32, u32),
        source: FaultSource,
        kind: FaultKind,
    ) -> bool {
        self.entries.get_mut(&(from, to)).is_some_and(|link| link.undo(source, kind).is_some())
    }

    /// The overrides that faults of plans have made, each with its hosts.
    pub(crate) fn planned_overrides(&self) -> Vec<((u32, u32), FaultSource, FaultKind)> {
        let overrides = self.entries.iter().flat_map(|(hosts, link)| {
            let latency = link.latency.planned_sources().map(|it| (it, FaultKind::Latency));
            let loss = link.loss_ppm.planned_sources().map(|it| (it, FaultKind::Loss));
            let short_io = link.short_io_ppm.planned_sources().map(|it| (it, FaultKind::ShortIo));
            let bandwidth = link.bandwidth.planned_sources().map(|it| (it, FaultKind::Bandwidth));
            let all = latency.chain(loss).chain(short_io).chain(bandwidth);
            all.map(|(source, kind)| (*hosts, source, kind))
        });
        overrides.collect()
    }

    /// The overridden settings of one direction between two hosts.
    pub(crate) fn settings(&self, from: u32, to: u32) -> LinkSettings {
        self.entries.get(&(from, to)).map_or_else(LinkSettings::default, LinkEntry::settings)
    }

    /// One overridden setting of one direction between two hosts.
    #[inline]
    pub(crate) fn setting<T>(
        &self,
        (from, to): (u32, u32),
        which: impl FnOnce(&LinkSettings) -> Option<T>,
    ) -> Option<T> {
        which(&self.entries.get(&(from, to))?.settings())
    }

    /// The latency that the test has set, whether it is in force or not.
    pub(crate) fn manual_latency(&self, from: u32, to: u32) -> Option<Latency> {
        self.entries.get(&(from, to))?.latency.manual_value()
    }

    /// Notes that an override had an effect, in one direction or the other: it was one fault.
    pub(crate) fn mark_effective(
        &mut self,
        from: u32,
        to: u32,
        kind: FaultKind,
        stats: &mut FaultStats,
    ) {
        let mut was_effective = false;
        for hosts in [(from, to), (to, from)].into_iter().take(1 + usize::from(from != to)) {
            let link = self.entries.get_mut(&hosts);
            if let Some(is_effective) = link.and_then(|link| link.is_effective_mut(kind)) {
                was_effective |= std::mem::replace(is_effective, true);
            }
        }
        stats.kind_mut(kind).effective += u64::from(!was_effective);
    }

    /// Reserves bandwidth between two hosts for `bytes` bytes. Returns the instant at which they
    /// are out.
    pub(crate) fn reserve_bandwidth(
        &mut self,
        from: u32,
        to: u32,
        now: u64,
        bytes: u64,
        rate: u64,
    ) -> u64 {
        let link = self.entries.entry((from, to)).or_default();
        let duration = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let start = link.busy_until.max(now);
        link.busy_until = start.saturating_add(u64::try_from(duration).unwrap_or(u64::MAX));
        link.busy_until
    }

    /// Lets what takes up the bandwidth between two hosts be out sooner or later, at another rate.
    pub(crate) fn rescale_bandwidth(
        &mut self,
        (from, to): (u32, u32),
        now: u64,
        rate_change: RateChange,
    ) {
        if let Some(link) = self.entries.get_mut(&(from, to)) {
            let remaining = link.busy_until.saturating_sub(now);
            link.busy_until = now.saturating_add(rate_change.rescale(remaining));
        }
    }
}

/// A change of bandwidth, for what queues for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateChange {
    pub(crate) before: u64,
    /// `None` is no limit.
    pub(crate) after: Option<u64>,
}

impl RateChange {
    /// The new duration of what would have taken `remaining` before.
    pub(crate) fn rescale(self, remaining: u64) -> u64 {
        let Some(after) = self.after else { return 0 };
        let rescaled = u128::from(remaining) * u128::from(self.before) / u128::from(after.max(1));
        u64::try_from(rescaled).unwrap_or(u64::MAX)
    }
}
