//! The transport of one region, as `net` uses it: announces hosts, and polls and cancels dials.

use std::task::{Context, Poll};

use crate::net::{Addr, Cause, DialResult, Error, Transport, TransportParts, Transports};
use crate::util::waiter::Waiter;

use crate::simnet::state::{enter, enter_state, try_enter};
use crate::simnet::tcp::dial::Connected;
use crate::simnet::tcp::socket::endpoint;

/// A region of a simulated network, as the layer above uses it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) run: u64,
    pub(crate) net: u32,
    pub(crate) number: u32,
}

impl TransportParts for Region {
    fn parts(&self) -> Transports<'_> {
        Transports::Single(self)
    }
}

impl Transport for Region {
    fn poll_announce(
        &self,
        call: &mut Option<u32>,
        host: &Addr,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Box<Cause>>> {
        let place = (self.net, self.number);
        // Who waited before is dropped outside the world.
        let mut _before = None;
        enter(self.run, |fabric, world| {
            let Some(index) = *call else {
                if world.accepts_effect() {
                    let waiter = Waiter::of(cx.waker());
                    *call = Some(fabric.announce(world, place, host, waiter) as u32);
                }
                return Poll::Pending;
            };
            match fabric.announced(world, self.number, index as usize) {
                Some(announced) => {
                    *call = None;
                    Poll::Ready(announced)
                }
                None => {
                    _before = fabric.wait_for_dial(index as usize, cx.waker());
                    Poll::Pending
                }
            }
        })
    }

    fn poll_dial(
        &self,
        call: &mut Option<u32>,
        src: (&Addr, u16),
        dst: &Addr,
        cx: &mut Context<'_>,
    ) -> Poll<DialResult<u16>> {
        let place = (self.net, self.number);
        // Who waited before is dropped outside the world.
        let mut _before = None;
        let mut cause = None;
        let over = enter(self.run, |fabric, world| {
            let Some(index) = *call else {
                if !world.accepts_effect() {
                    cause = Some(Cause::HostDown);
                    return Poll::Ready(None);
                }
                let waiter = Waiter::of(cx.waker());
                *call = Some(fabric.dial(world, place, src, dst, waiter) as u32);
                return Poll::Pending;
            };
            match fabric.take_dial_result(world, index as usize, &mut cause) {
                Some(outcome) => {
                    *call = None;
                    Poll::Ready(outcome)
                }
                None => {
                    _before = fabric.wait_for_dial(index as usize, cx.waker());
                    Poll::Pending
                }
            }
        });
        over.map(|outcome| {
            let Some(Connected { conn, port }) = outcome else {
                return Err(Box::new(cause.unwrap_or(Cause::TimedOut)));
            };
            Ok((endpoint(self.run, conn, 0), port))
        })
    }

    fn is_dial_done(&self, call: u32) -> bool {
        enter_state(self.run, |fabric| fabric.is_dial_done(call as usize))
    }

    fn cancel_dial(&self, call: u32) {
        let _left = try_enter(self.run, |fabric, world| fabric.cancel_dial(world, call as usize));
    }

    fn interrupt(&self, host: Option<&Addr>) {
        let number = host.and_then(Addr::number);
        if host.is_some() && number.is_none() {
            return; // what has no number has never dialed
        }
        try_enter(self.run, |fabric, world| {
            fabric.interrupt_dials(world, (self.net, self.number), number);
        });
    }

    fn record_accept_error(&self, error: &Error) {
        try_enter(self.run, |_, world| world.record_failure(&error.to_string()));
    }

    fn withdraw(&self, hostname: &str) {
        try_enter(self.run, |fabric, _| fabric.withdraw(self.net, hostname));
    }
}
