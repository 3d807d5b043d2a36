//! Effects of a path on a segment: loss, holds, latency, and the wait for bandwidth.

use crate::sim::{ChoiceFamily, ChoiceKey, Distribution, FaultKind, PathHash, World};
use crate::simnet::fault::links::{LinkState, MILLION};
use crate::simnet::latency::Latency;
use crate::simnet::state::NetState;

impl World {
    /// Draws whether an event with odds of `ppm` in a million occurs.
    pub(crate) fn draw_hit(&mut self, choice_key: ChoiceKey, ordinal: u64, ppm: u32) -> bool {
        self.draw(choice_key, ordinal, Distribution::Uniform(MILLION.into()))
            >= u64::from(MILLION - ppm)
    }

    /// Draws how long something takes.
    #[inline]
    pub(crate) fn draw_latency(
        &mut self,
        family: ChoiceFamily,
        key: PathHash,
        ordinal: u64,
        latency: Latency,
    ) -> u64 {
        match latency.min_and_extra() {
            (min, Distribution::Uniform(1)) => min,
            (min, extra) => {
                min + self.draw(ChoiceKey::new(family, key, PathHash::NONE), ordinal, extra)
            }
        }
    }
}

impl NetState {
    /// Whether something gets through at that attempt; lost is as good as cut off.
    #[inline(always)]
    pub(crate) fn transmit_outcome(
        &mut self,
        world: &mut World,
        (from, to): (u32, u32),
        key: PathHash,
        attempt: u64,
    ) -> LinkState {
        let link_state = self.links.try_pass(from, to, &mut self.stats);
        let loss = self.links.setting((from, to), |settings| settings.loss_ppm);
        let Some(ppm) = loss.filter(|_| link_state == LinkState::Up) else {
            return link_state;
        };
        let choice_key = ChoiceKey::new(ChoiceFamily::Loss, key, PathHash::NONE);
        if !world.draw_hit(choice_key, attempt, ppm) {
            return LinkState::Up;
        }
        self.links.mark_effective(from, to, FaultKind::Loss, &mut self.stats);
        LinkState::Down
    }

    /// The instant of arrival of a segment that waits for bandwidth before it leaves.
    #[cold]
    pub(crate) fn serialized_arrival(
        &mut self,
        from: u32,
        to: u32,
        now: u64,
        at: u64,
        bytes: u64,
    ) -> u64 {
        let settings = self.links.settings(from, to);
        // A host is near to itself, whatever was edited.
        if settings.latency.is_some() && from != to {
            self.links.mark_effective(from, to, FaultKind::Latency, &mut self.stats);
        }
        let Some(rate) = settings.bandwidth.or(self.config.bandwidth).filter(|_| from != to) else {
            return at;
        };
        let leaves_at = self.links.reserve_bandwidth(from, to, now, bytes, rate);
        if leaves_at > now && settings.bandwidth.is_some() {
            self.links.mark_effective(from, to, FaultKind::Bandwidth, &mut self.stats);
        }
        at.saturating_add(leaves_at - now)
    }
}
