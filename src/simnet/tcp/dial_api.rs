//! Waiting for pending dials and announcements, and cancelling and freeing them.

use std::task::Waker;

use crate::net::Cause;
use crate::sim::World;
use crate::util::waiter::Waiter;

use crate::simnet::state::SimnetState;
use crate::simnet::tcp::dial::{DialState, DialSuccess};
use crate::simnet::tcp::timers::dial_timer_id;

impl SimnetState {
    /// Sets the waiter of a dial. Returns the previous one.
    pub(crate) fn wait_for_dial(&mut self, index: usize, waker: &Waker) -> Option<Waiter> {
        match &mut self.dials.get_mut(index)?.dialer {
            Some(dialer) => dialer.set(waker),
            none => none.replace(Waiter::of(waker)),
        }
    }

    /// Takes the result of a dial that is over, and frees the dial.
    #[inline]
    pub(crate) fn take_dial_result(
        &mut self,
        world: &mut World,
        index: usize,
    ) -> Option<Result<DialSuccess, Cause>> {
        let dial = self.dials.get_mut(index)?;
        let DialState::Done { in_time } = dial.state else { return None };
        let result = match dial.success {
            _ if !in_time => Err(Cause::TimedOut),
            Some(success) => {
                dial.success = None;
                Ok(success)
            }
            None => Err(dial.error.take().unwrap_or(Cause::TimedOut)),
        };
        self.release_dial(world, index);
        Some(result)
    }

    /// Gives up a dial. Returns what is to be dropped outside of the world.
    pub(crate) fn cancel_dial(
        &mut self,
        world: &mut World,
        index: usize,
    ) -> Option<(DialState, Option<Waiter>)> {
        world.cancel_callback_timer(dial_timer_id(index));
        let dial = self.dials.get_mut(index)?;
        let leftover =
            (std::mem::replace(&mut dial.state, DialState::AtListener), dial.dialer.take());
        self.release_dial(world, index);
        Some(leftover)
    }

    /// Frees a dial, and tears down its connection if that was not fetched.
    pub(crate) fn release_dial(&mut self, world: &mut World, index: usize) {
        let Some(dial) = self.dials.get_mut(index) else { return };
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
