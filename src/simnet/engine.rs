//! The transport of one region, as `net` uses it: announces hosts, and polls and cancels dials.

use std::task::{Context, Poll};

use crate::net::{Addr, Cause, DialResult, Error, Transport, TransportParts, Transports};
use crate::util::waiter::Waiter;

use crate::simnet::state::{enter, enter_state, try_enter};
use crate::simnet::tcp::dial::DialSuccess;
use crate::simnet::tcp::socket::SimConn;

/// A region of a simulated network, as the layer above uses it.
#[derive(Debug)]
pub(crate) struct RegionTransport {
    pub(crate) run: u64,
    pub(crate) net: u32,
    pub(crate) index: u32,
}

impl TransportParts for RegionTransport {
    fn transports(&self) -> Transports<'_> {
        Transports::Single(self)
    }
}

impl Transport for RegionTransport {
    fn poll_announce(
        &self,
        pending: &mut Option<u32>,
        host: &Addr,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Box<Cause>>> {
        let region = (self.net, self.index);
        // Who waited before is dropped outside the world.
        let mut _previous = None;
        enter(self.run, |state, world| {
            let Some(index) = *pending else {
                if world.accepts_effect() {
                    let waiter = Waiter::of(cx.waker());
                    *pending = Some(state.announce(world, region, host, waiter) as u32);
                }
                return Poll::Pending;
            };
            match state.take_announce_result(world, self.index, index as usize) {
                Some(announced) => {
                    *pending = None;
                    Poll::Ready(announced)
                }
                None => {
                    _previous = state.wait_for_dial(index as usize, cx.waker());
                    Poll::Pending
                }
            }
        })
    }

    fn poll_dial(
        &self,
        pending: &mut Option<u32>,
        src: (&Addr, u16),
        dst: &Addr,
        cx: &mut Context<'_>,
    ) -> Poll<DialResult<u16>> {
        let region = (self.net, self.index);
        // Who waited before is dropped outside the world.
        let mut _previous = None;
        let mut cause = None;
        let poll = enter(self.run, |state, world| {
            let Some(index) = *pending else {
                if !world.accepts_effect() {
                    cause = Some(Cause::HostDown);
                    return Poll::Ready(None);
                }
                let waiter = Waiter::of(cx.waker());
                *pending = Some(state.dial(world, region, src, dst, waiter) as u32);
                return Poll::Pending;
            };
            match state.take_dial_result(world, index as usize, &mut cause) {
                Some(outcome) => {
                    *pending = None;
                    Poll::Ready(outcome)
                }
                None => {
                    _previous = state.wait_for_dial(index as usize, cx.waker());
                    Poll::Pending
                }
            }
        });
        poll.map(|outcome| {
            let Some(DialSuccess { conn, port }) = outcome else {
                return Err(Box::new(cause.unwrap_or(Cause::TimedOut)));
            };
            Ok((SimConn::boxed(self.run, conn, 0), port))
        })
    }

    fn is_op_done(&self, dial: u32) -> bool {
        enter_state(self.run, |state| state.is_dial_done(dial as usize))
    }

    fn cancel_op(&self, dial: u32) {
        let _dropped = try_enter(self.run, |state, world| state.cancel_dial(world, dial as usize));
    }

    fn interrupt(&self, host: Option<&Addr>) {
        let number = host.and_then(Addr::number);
        if host.is_some() && number.is_none() {
            return; // what has no number has never dialed
        }
        try_enter(self.run, |state, world| {
            state.interrupt_dials(world, (self.net, self.index), number);
        });
    }

    fn record_accept_error(&self, error: &Error) {
        try_enter(self.run, |_, world| world.record_failure(&error.to_string()));
    }

    fn withdraw(&self, hostname: &str) {
        try_enter(self.run, |state, _| state.withdraw(self.net, hostname));
    }
}
