//! Waiting for pending dials and announcements, and interrupting, cancelling and freeing them.

use std::task::Waker;

use crate::net::Cause;
use crate::sim::World;
use crate::util::waiter::Waiter;

use crate::simnet::state::SimnetState;
use crate::simnet::tcp::dial::{Connected, DialState};
use crate::simnet::tcp::timers::dial_timer;

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
        self.dials.get(index).is_none_or(|call| matches!(call.state, DialState::Done { .. }))
    }

    /// What a dial has come to, if it has come to anything; then it is forgotten. If it was in
    /// vain, the cause is told.
    #[inline]
    pub(crate) fn take_dial_result(
        &mut self,
        world: &mut World,
        index: usize,
        cause: &mut Option<Cause>,
    ) -> Option<Option<Connected>> {
        let call = self.dials.get_mut(index)?;
        let DialState::Done { in_time } = call.state else { return None };
        let met = if in_time { call.connected.take() } else { None };
        if met.is_none() {
            *cause = call.failed.take().filter(|_| in_time);
        }
        // Of what is left nothing is anybody's.
        self.release_dial(world, index);
        Some(met)
    }

    /// Wakes who waits for a dial of a host that has gone down, or for whatever it is in a region
    /// that has.
    pub(crate) fn interrupt_dials(
        &mut self,
        world: &mut World,
        (net, region): (u32, u32),
        host: Option<u32>,
    ) {
        let machines = &self.nets[net as usize].hosts;
        let calls = |host: u32| machines[host].open_dials;
        // Nearly always there is none of a host that goes down, and there may be many of others.
        if host.is_some_and(|host| calls(host) == 0) {
            return;
        }
        for (_, call) in self.dials.iter().filter(|(_, call)| call.net == net) {
            let announces = matches!(call.state, DialState::Announce);
            let concerned = match host {
                Some(host) => !announces && call.from == host,
                None => announces || machines[call.from].region == region,
            };
            if concerned && let Some(waiter) = &call.dialer {
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
        world.callback_timers.cancel(dial_timer(index));
        let call = self.dials.get_mut(index)?;
        let left = (std::mem::replace(&mut call.state, DialState::AtListener), call.dialer.take());
        self.release_dial(world, index);
        Some(left)
    }

    /// Forgets a dial, and tears down a connection that nobody is going to fetch.
    pub(crate) fn release_dial(&mut self, world: &mut World, index: usize) {
        let Some(call) = self.dials.get_mut(index) else { return };
        self.nets[call.net as usize].hosts[call.from].open_dials -= 1;
        call.state = DialState::None;
        call.src = None;
        call.unresolved_name = None;
        call.failed = None;
        let met = call.connected.take();
        self.dials.free(index);
        if let Some(Connected { conn, .. }) = met {
            self.release_endpoint(world, (conn as usize, 0), false);
        }
    }
}
