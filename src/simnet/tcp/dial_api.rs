//! Waiting for pending dials and announcements, and interrupting, cancelling and freeing them.

use std::task::Waker;

use crate::net::Cause;
use crate::sim::World;
use crate::util::waiter::Waiter;

use crate::simnet::state::SimnetState;
use crate::simnet::tcp::dial::{DialState, DialSuccess};
use crate::simnet::tcp::timers::dial_timer_id;

impl SimnetState {
    /// Has somebody wait for a dial. Returns who did so before.
    pub(crate) fn wait_for_dial(&mut self, index: usize, waker: &Waker) -> Option<Waiter> {
        match &mut self.dials.get_mut(index)?.dialer {
            Some(dialer) => dialer.set(waker),
            none => none.replace(Waiter::of(waker)),
        }
    }

    /// Returns whether a dial or an announcement has come to its end.
    pub(crate) fn is_dial_done(&self, index: usize) -> bool {
        self.dials.get(index).is_none_or(|dial| matches!(dial.state, DialState::Done { .. }))
    }

    /// What a dial has come to, if it has come to anything; then it is forgotten. If it was in
    /// vain, the cause is told.
    #[inline]
    pub(crate) fn take_dial_result(
        &mut self,
        world: &mut World,
        index: usize,
        cause: &mut Option<Cause>,
    ) -> Option<Option<DialSuccess>> {
        let dial = self.dials.get_mut(index)?;
        let DialState::Done { in_time } = dial.state else { return None };
        let success = if in_time { dial.success.take() } else { None };
        if success.is_none() {
            *cause = dial.error.take().filter(|_| in_time);
        }
        // Of what is left nothing is anybody's.
        self.release_dial(world, index);
        Some(success)
    }

    /// Wakes who waits for a dial of a host that has gone down, or for whatever it is in a region
    /// that has.
    pub(crate) fn interrupt_dials(
        &mut self,
        world: &mut World,
        (net, region): (u32, u32),
        host: Option<u32>,
    ) {
        let hosts = &self.nets[net as usize].hosts;
        let open_dials = |host: u32| hosts[host].open_dials;
        // Nearly always there is none of a host that goes down, and there may be many of others.
        if host.is_some_and(|host| open_dials(host) == 0) {
            return;
        }
        for (_, dial) in self.dials.iter().filter(|(_, dial)| dial.net == net) {
            let announces = matches!(dial.state, DialState::Announce);
            let is_affected = match host {
                Some(host) => !announces && dial.from == host,
                None => announces || hosts[dial.from].region == region,
            };
            if is_affected && let Some(waiter) = &dial.dialer {
                world.wake_waiter(waiter.clone());
            }
        }
    }

    /// Gives up a dial. Returns what is to be dropped outside of the world.
    pub(crate) fn cancel_dial(
        &mut self,
        world: &mut World,
        index: usize,
    ) -> Option<(DialState, Option<Waiter>)> {
        world.callback_timers.cancel(dial_timer_id(index));
        let dial = self.dials.get_mut(index)?;
        let leftover =
            (std::mem::replace(&mut dial.state, DialState::AtListener), dial.dialer.take());
        self.release_dial(world, index);
        Some(leftover)
    }

    /// Forgets a dial, and tears down a connection that nobody is going to fetch.
    pub(crate) fn release_dial(&mut self, world: &mut World, index: usize) {
        let Some(dial) = self.dials.get_mut(index) else { return };
        self.nets[dial.net as usize].hosts[dial.from].open_dials -= 1;
        dial.state = DialState::None;
        dial.src = None;
        dial.unresolved_name = None;
        dial.error = None;
        let success = dial.success.take();
        self.dials.free(index);
        if let Some(DialSuccess { conn, .. }) = success {
            self.release_endpoint(world, (conn as usize, 0));
        }
    }
}
