//! The window: updates, probes of a closed window, and keep-alive.

use crate::sim::{ChoiceFamily, ChoiceKey, FaultKind, PathHash, nanos};
use crate::simnet::fault::links::LinkState;
use crate::simnet::tcp::ack::NEVER;
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::EndpointState;
use crate::simnet::tcp::retransmit::MIN_RETRANSMIT_DELAY;
use crate::simnet::tcp::timers::{ConnTimer, timer_id};

/// Window updates and probes.
impl ConnCtx<'_> {
    /// Tells the writer of a pipe how much has been read, unless that is lost; then he asks.
    #[cold]
    #[inline(never)]
    pub(crate) fn advertise(&mut self, direction: usize) {
        self.conn.halves[direction].begin_update();
        if self.conn.halves[direction].needs_slow_path {
            let (from, to) = self.conn.route(direction);
            let is_blocked =
                self.net.links.try_pass(to, from, &mut self.net.stats) != LinkState::Up;
            if is_blocked || self.is_update_lost(direction) {
                self.conn.halves[direction].update_lost = true;
                if !is_blocked && self.conn.halves[direction].has_writers() {
                    self.arm_probe(direction, true);
                }
                return;
            }
        }
        self.send_window_update(direction, 0);
    }

    pub(crate) fn is_update_lost(&mut self, direction: usize) -> bool {
        let (from, to) = self.conn.route(direction);
        let Some(ppm) = self.loss_ppm_between(to, from) else { return false };
        let half = &self.conn.halves[direction];
        let (choice_key, ordinal) = (
            ChoiceKey::new(ChoiceFamily::WindowUpdateLoss, half.key, PathHash::NONE),
            half.update_number(),
        );
        self.world.draw_hit(choice_key, ordinal, ppm)
    }

    /// Sends the writer a window update, which arrives `delay` later than possible.
    pub(crate) fn send_window_update(&mut self, direction: usize, delay: u64) {
        let latency = self.conn.halves[1 - direction].latency;
        let half = &mut self.conn.halves[direction];
        half.update_lost = false;
        let travel_time = self.world.draw_latency(
            ChoiceFamily::WindowUpdate,
            half.key,
            half.update_number(),
            latency,
        );
        half.stream.advertise(self.world.now() + travel_time + delay);
        if half.has_writers()
            && !self.world.is_callback_timer_set(timer_id(
                self.index,
                direction,
                ConnTimer::WindowUpdate,
            ))
            && let Some(at) = half.stream.next_update_at()
        {
            self.arm(direction, ConnTimer::WindowUpdate, at);
        }
    }

    /// Lets the writer hear that there is space.
    pub(crate) fn on_window_update(&mut self, direction: usize) {
        self.world.set_actor(self.conn.halves[direction].key);
        self.wake_writers(direction);
    }

    /// Asks whether the other end is still there, and whether there is space.
    pub(crate) fn probe(&mut self, end: usize) {
        if self.conn.endpoints[end].state != EndpointState::Open {
            return;
        }
        let (from, to) = self.conn.route(end);
        let peer_state = self.conn.endpoints[1 - end].state;
        let is_clear = self.net.links.try_pass(from, to, &mut self.net.stats) == LinkState::Up
            && self.net.links.try_pass(to, from, &mut self.net.stats) == LinkState::Up;
        if !is_clear || peer_state == EndpointState::PoweredOff {
            self.probe_unanswered(end);
        } else if matches!(
            peer_state,
            EndpointState::Aborted | EndpointState::Reset | EndpointState::TimedOut
        ) {
            self.world.set_actor(self.conn.halves[1 - end].key);
            self.send_reset(1 - end, true);
        } else if self.loss_ppm_between(from, to).is_some() {
            self.probe_lossy(end);
        }
    }

    /// Handles a probe that gets no answer.
    pub(crate) fn probe_unanswered(&mut self, end: usize) {
        let unacked_since = self.conn.halves[end].unacked_since;
        self.start_timeout(end, self.world.now());
        if unacked_since.is_none()
            && self.net.config.user_timeout.is_none()
            && let Some(idle) = self.net.config.keep_alive
        {
            // As Linux: nine questions without an answer.
            let at = self.world.now().saturating_add(nanos(idle).saturating_mul(9));
            self.arm(end, ConnTimer::UserTimeout, at);
        }
    }

    /// Asks where the question or its answer may be lost: again and again, until it is answered or
    /// that has taken too long.
    pub(crate) fn probe_lossy(&mut self, end: usize) {
        let reverse = &self.conn.halves[1 - end];
        // Keyed by what it has heard by now, and by how long ago that was.
        let probe_number = reverse.stream.arrived
            + (self.world.now() - reverse.last_received_at) / MIN_RETRANSMIT_DELAY;
        let delay = self.draw_loss_delay(end, ChoiceFamily::ProbeLoss, probe_number, true);
        let answered =
            delay != NEVER && !self.exceeds_timeout(self.world.now(), self.world.now() + delay);
        let update_lost = self.conn.halves[end].update_lost;
        if update_lost || !answered {
            let (from, to) = self.conn.route(end);
            self.net.links.mark_effective(from, to, FaultKind::Loss, &mut self.net.stats);
        }
        if !answered {
            return self.probe_unanswered(end);
        }
        if update_lost {
            self.conn.halves[end].begin_update();
            self.send_window_update(end, delay);
        }
        self.arm_probe(end, false);
    }

    pub(crate) fn wake_writers(&mut self, direction: usize) {
        let Self { conn, world, .. } = self;
        conn.halves[direction].drain_writers(|waiter| world.wake_waiter(waiter));
    }
}

/// Timers of probes.
impl ConnCtx<'_> {
    /// Has an end ask before long whether the other is still there, if connections are kept alive
    /// or if it waits for space.
    pub(crate) fn arm_keep_alive(&mut self, end: usize) {
        let blocked = self.conn.halves[end].has_writers();
        self.arm_probe(end, blocked);
    }

    /// Has an end ask: when it has heard nothing for as long as connections are kept alive, and a
    /// while from now if it waits for space. What it was going to do sooner, it still does then.
    pub(crate) fn arm_probe(&mut self, end: usize, blocked: bool) {
        let timer = timer_id(self.index, end, ConnTimer::Probe);
        if self.conn.endpoints[end].state != EndpointState::Open {
            return;
        }
        let now = self.world.now();
        let keep_alive_at = self.net.config.keep_alive.map(|idle| {
            let last_received_at = self.conn.halves[1 - end].last_received_at;
            // It has been asking in vain, or rather, with success, all the time before.
            let probes_sent = (now - last_received_at) / nanos(idle);
            last_received_at.saturating_add(nanos(idle).saturating_mul(probes_sent + 1))
        });
        let blocked = blocked.then(|| now.saturating_add(MIN_RETRANSMIT_DELAY));
        let Some(at) = keep_alive_at.into_iter().chain(blocked).min() else { return };
        let writers = self.conn.halves[end].writers.get_or_insert_default();
        if !self.world.is_callback_timer_set(timer) || at < writers.next_probe_at {
            writers.next_probe_at = at;
            self.world.set_callback_timer(timer, at);
        }
    }
}
