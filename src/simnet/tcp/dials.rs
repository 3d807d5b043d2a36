//! What has been begun and has a number: who waits for it, what it has come to, how it is given up.
//!
//! Knows dials and announcements as things to wait for; refuses to know what moves them.

use std::task::Waker;

use crate::net::Cause;
use crate::sim::World;
use crate::util::waiter::Waiter;

use crate::simnet::state::Fabric;
use crate::simnet::tcp::dial::{Met, Stage};
use crate::simnet::tcp::transfer::call_alarm;

impl Fabric {
    /// Has somebody wait for a dial. Returns who did so before.
    pub(crate) fn wait(&mut self, index: usize, waker: &Waker) -> Option<Waiter> {
        match &mut self.calls.get_mut(index)?.dialer {
            Some(dialer) => dialer.set(waker),
            none => none.replace(Waiter::of(waker)),
        }
    }

    /// Returns whether a dial or an announcement has come to its end.
    pub(crate) fn is_over(&self, index: usize) -> bool {
        self.calls.get(index).is_none_or(|call| matches!(call.stage, Stage::Over { .. }))
    }

    /// What a dial has come to, if it has come to anything; then it is forgotten. If it was in
    /// vain, the cause is told.
    #[inline]
    pub(crate) fn outcome(
        &mut self,
        world: &mut World,
        index: usize,
        cause: &mut Option<Cause>,
    ) -> Option<Option<Met>> {
        let call = self.calls.get_mut(index)?;
        let Stage::Over { in_time } = call.stage else { return None };
        let met = if in_time { call.met.take() } else { None };
        if met.is_none() {
            *cause = call.failed.take().filter(|_| in_time);
        }
        // Of what is left nothing is anybody's.
        self.forget(world, index);
        Some(met)
    }

    /// Wakes who waits for a dial of a host that has gone down, or for whatever it is in a region
    /// that has.
    pub(crate) fn interrupt(
        &mut self,
        world: &mut World,
        (net, region): (u32, u32),
        host: Option<u32>,
    ) {
        let machines = &self.nets[net as usize].machines;
        let calls = |host: u32| machines[host].calls;
        // Nearly always there is none of a host that goes down, and there may be many of others.
        if host.is_some_and(|host| calls(host) == 0) {
            return;
        }
        for (_, call) in self.calls.iter().filter(|(_, call)| call.net == net) {
            let announces = matches!(call.stage, Stage::Announces);
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
    pub(crate) fn hang_up(
        &mut self,
        world: &mut World,
        index: usize,
    ) -> Option<(Stage, Option<Waiter>)> {
        world.callback_timers.cancel(call_alarm(index));
        let call = self.calls.get_mut(index)?;
        let left = (std::mem::replace(&mut call.stage, Stage::AtDoor), call.dialer.take());
        self.forget(world, index);
        Some(left)
    }

    /// Forgets a dial, and tears down a connection that nobody is going to fetch.
    pub(crate) fn forget(&mut self, world: &mut World, index: usize) {
        let Some(call) = self.calls.get_mut(index) else { return };
        self.nets[call.net as usize].machines[call.from].calls -= 1;
        call.stage = Stage::None;
        call.src = None;
        call.unknown = None;
        call.failed = None;
        let met = call.met.take();
        self.calls.give_back(index);
        if let Some(Met { conn, .. }) = met {
            self.let_go(world, (conn as usize, 0), false);
        }
    }
}
