//! The window: updates, probes of a closed window, and keep-alive.

use crate::sim::FaultKind;
use crate::sim::{ChoiceFamily, ChoiceKey, PathHash, nanos};
use crate::simnet::fault::links::LinkState;
use crate::simnet::tcp::conn_ctx::ConnCtx;
use crate::simnet::tcp::connection::EndpointState;
use crate::simnet::tcp::timers::{ConnTimer, MIN_RETRANSMIT_DELAY, NEVER, timer_id};

/// What the network does.
impl ConnCtx<'_> {
    /// Tells the writer of a pipe how much has been read, unless that is lost; then he asks.
    #[cold]
    #[inline(never)]
    pub(crate) fn advertise(&mut self, way: usize) {
        self.conn.halves[way].begin_update();
        if self.conn.halves[way].needs_slow_path {
            let (from, to) = self.conn.route(way);
            let shut = self.net.links.try_pass(to, from, &mut self.net.stats) != LinkState::Up;
            if shut || self.is_update_lost(way) {
                self.conn.halves[way].update_lost = true;
                if !shut && self.conn.halves[way].has_writers() {
                    self.arm_probe(way, true);
                }
                return;
            }
        }
        self.send_window_update(way, 0);
    }

    pub(crate) fn is_update_lost(&mut self, way: usize) -> bool {
        let (from, to) = self.conn.route(way);
        let Some(share) = self.loss_between(to, from) else { return false };
        let pipe = &self.conn.halves[way];
        let (subject, ordinal) = (
            ChoiceKey::new(ChoiceFamily::WindowUpdateLoss, pipe.key, PathHash::NONE),
            pipe.update_number(),
        );
        self.world.draw_hit(subject, ordinal, share)
    }

    /// Tells the writer of a pipe how much has been read, so much later than it could be.
    pub(crate) fn send_window_update(&mut self, way: usize, late: u64) {
        let latency = self.conn.halves[1 - way].latency;
        let pipe = &mut self.conn.halves[way];
        pipe.update_lost = false;
        let takes = self.world.draw_latency(
            ChoiceFamily::WindowUpdate,
            pipe.key,
            pipe.update_number(),
            latency,
        );
        pipe.stream.advertise(self.world.now + takes + late);
        if pipe.has_writers()
            && !self.world.callback_timers.is_set(timer_id(
                self.index,
                way,
                ConnTimer::WindowUpdate,
            ))
            && let Some(at) = pipe.stream.next_update_at()
        {
            self.arm(way, ConnTimer::WindowUpdate, at);
        }
    }

    /// Lets the writer hear that there is space.
    pub(crate) fn on_window_update(&mut self, way: usize) {
        self.world.set_actor(self.conn.halves[way].key);
        self.wake_writers(way);
    }

    /// Asks whether the other end is still there, and whether there is space.
    pub(crate) fn probe(&mut self, end: usize) {
        if self.conn.ends[end].state != EndpointState::Open {
            return;
        }
        let (from, to) = self.conn.route(end);
        let other = self.conn.ends[1 - end].state;
        let clear = self.net.links.try_pass(from, to, &mut self.net.stats) == LinkState::Up
            && self.net.links.try_pass(to, from, &mut self.net.stats) == LinkState::Up;
        if !clear || other == EndpointState::Silent {
            self.probe_unanswered(end);
        } else if matches!(
            other,
            EndpointState::Gone | EndpointState::Reset | EndpointState::TimedOut
        ) {
            self.world.set_actor(self.conn.halves[1 - end].key);
            self.send_reset(1 - end, true);
        } else if self.loss_between(from, to).is_some() {
            self.probe_lossy(end);
        }
    }

    /// Asks, and nobody answers.
    pub(crate) fn probe_unanswered(&mut self, end: usize) {
        let limit = self.conn.halves[end].unacked_since;
        self.start_timeout(end, self.world.now);
        if limit.is_none()
            && self.net.config.user_timeout.is_none()
            && let Some(idle) = self.net.config.keep_alive
        {
            // As Linux: nine questions without an answer.
            let at = self.world.now.saturating_add(nanos(idle).saturating_mul(9));
            self.arm(end, ConnTimer::UserTimeout, at);
        }
    }

    /// Asks where the question or its answer may be lost: again and again, until it is answered or
    /// that has taken too long.
    pub(crate) fn probe_lossy(&mut self, end: usize) {
        let heard = &self.conn.halves[1 - end];
        // Keyed by what it has heard by now, and by how long ago that was.
        let number =
            heard.stream.arrived + (self.world.now - heard.last_received_at) / MIN_RETRANSMIT_DELAY;
        let late = self.draw_loss_delay(end, ChoiceFamily::ProbeLoss, number, true);
        let answered = late != NEVER && !self.is_too_late(self.world.now, self.world.now + late);
        let missed_credit = self.conn.halves[end].update_lost;
        if missed_credit || !answered {
            let (from, to) = self.conn.route(end);
            self.net.links.mark_effective(from, to, FaultKind::Loss, &mut self.net.stats);
        }
        if !answered {
            return self.probe_unanswered(end);
        }
        if missed_credit {
            self.conn.halves[end].begin_update();
            self.send_window_update(end, late);
        }
        self.arm_probe(end, false);
    }

    pub(crate) fn wake_writers(&mut self, way: usize) {
        let Self { conn, world, .. } = self;
        conn.halves[way].drain_writers(|waiter| world.wake_waiter(waiter));
    }
}

/// What faults do.
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
        let alarm = timer_id(self.index, end, ConnTimer::Probe);
        if self.conn.ends[end].state != EndpointState::Open {
            return;
        }
        let now = self.world.now;
        let kept_alive = self.net.config.keep_alive.map(|idle| {
            let heard = self.conn.halves[1 - end].last_received_at;
            // It has been asking in vain, or rather, with success, all the time before.
            let missed = (now - heard) / nanos(idle);
            heard.saturating_add(nanos(idle).saturating_mul(missed + 1))
        });
        let blocked = blocked.then(|| now.saturating_add(MIN_RETRANSMIT_DELAY));
        let Some(at) = kept_alive.into_iter().chain(blocked).min() else { return };
        let writers = self.conn.halves[end].writers.get_or_insert_default();
        if !self.world.callback_timers.is_set(alarm) || at < writers.next_probe_at {
            writers.next_probe_at = at;
            self.world.set_callback_timer(alarm, at);
        }
    }
}
