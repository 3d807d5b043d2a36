//! Lost segments: whether a segment gets through, and when it is transmitted again.

use crate::sim::{ChoiceFamily, DropReason, PathHash, RecordKind, RecordTag, Segment, SegmentKind};
use crate::simnet::fault::links::LinkState;
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::{Blocked, EndpointState, InFlightSegment, ResetState};
use crate::simnet::tcp::timers::ConnTimer;

/// After how long something is sent again the first time; the next time after twice as long.
pub(crate) const MIN_RETRANSMIT_DELAY: u64 = 200_000_000;

/// The longest time between two attempts.
pub(crate) const MAX_RETRANSMIT_DELAY: u64 = 60_000_000_000;

/// The time before the next transmission after `losses` losses in a row.
pub(crate) fn retransmit_delay(losses: u32) -> u64 {
    (MIN_RETRANSMIT_DELAY << losses.saturating_sub(1).min(16)).min(MAX_RETRANSMIT_DELAY)
}

impl ConnCtx<'_> {
    /// Whether the oldest segment gets through to its endpoint now. If it was lost, it is sent
    /// again instead.
    #[cold]
    pub(crate) fn passes_path(&mut self, direction: usize) -> bool {
        self.world.set_actor(PathHash::NONE);
        let half = &mut self.conn.halves[direction];
        let Some(mut segment) = half.in_flight_front else { return false };
        match std::mem::replace(&mut half.blocked, Blocked::None) {
            // A retransmission is a step of the run.
            Blocked::Lost if !self.world.try_count_callback_step() => false,
            Blocked::Lost => {
                let (key, latency, ordinal) = (half.key, half.latency, half.attempt_number());
                let travel_time =
                    self.world.draw_latency(ChoiceFamily::Retransmit, key, ordinal, latency);
                segment.arrives_at = self.world.now() + travel_time;
                (half.in_flight_front, half.last_arrival_at) =
                    (Some(segment), half.last_arrival_at.max(segment.arrives_at));
                self.arm(direction, ConnTimer::Deliver, segment.arrives_at);
                false
            }
            Blocked::None | Blocked::Held => {
                !half.needs_slow_path || self.try_transmit(direction, segment)
            }
        }
    }

    /// Whether an item gets to its end; if not, what becomes of it has been seen to.
    #[cold]
    fn try_transmit(&mut self, direction: usize, segment: InFlightSegment) -> bool {
        let (from, to) = self.conn.route(direction);
        let half = &self.conn.halves[direction];
        let link_state = match self.conn.endpoints[1 - direction].state {
            EndpointState::PoweredOff => LinkState::Down,
            _ => self.net.transmit_outcome(self.world, (from, to), half.key, half.attempt_number()),
        };
        let half = &mut self.conn.halves[direction];
        let key = half.key;
        let reason = match link_state {
            LinkState::Up => return true,
            LinkState::Held => {
                half.blocked = Blocked::Held;
                DropReason::Held
            }
            LinkState::Down => {
                half.blocked = Blocked::Lost;
                half.losses += 1;
                let retransmit_at = self.world.now() + retransmit_delay(half.losses);
                self.arm(direction, ConnTimer::Deliver, retransmit_at);
                DropReason::Lost
            }
        };
        let ordinal = u64::from(self.conn.halves[direction].losses);
        let (endpoints, net) = (&self.conn.endpoints, &*self.net);
        let ordinal_and_digest = (ordinal, segment.digest);
        self.world.record_arrival(
            RecordTag::Drop,
            key,
            ordinal_and_digest,
            segment.sent_record,
            || {
                let (from, to) = (
                    endpoints[direction].segment_endpoint(net),
                    endpoints[1 - direction].segment_endpoint(net),
                );
                RecordKind::Drop(Segment::new(segment.kind, from, to), reason)
            },
        );
        match self.conn.endpoints[direction].state {
            sender @ (EndpointState::Aborted
            | EndpointState::TimedOut
            | EndpointState::PoweredOff)
                if link_state == LinkState::Down =>
            {
                // Nothing is left that sends it again. Whatever else arrives is answered again.
                if sender == EndpointState::PoweredOff
                    || !self.should_repeat_reset(direction, segment)
                {
                    self.allow_reset(direction, sender);
                    self.clear_in_flight(direction);
                    self.arm_keep_alive(1 - direction);
                }
            }
            _ => self.start_timeout(direction, segment.sent_at),
        }
        false
    }

    /// Whether the other end repeats something to which this item is the answer, until it gets it:
    /// then a reset is repeated as well, for as long as that end has not timed out.
    fn should_repeat_reset(&mut self, direction: usize, segment: InFlightSegment) -> bool {
        let is_requested = self.conn.endpoints[1 - direction].state == EndpointState::Open
            && segment.kind == SegmentKind::Reset;
        if is_requested && self.conn.halves[direction].reset == ResetState::SentAsReply {
            self.start_timeout(1 - direction, segment.sent_at);
        }
        let is_requested = is_requested && self.conn.halves[1 - direction].unacked_since.is_some();
        if is_requested {
            self.conn.halves[direction].reset = ResetState::SentAsReply;
        }
        is_requested
    }
}
