//! [`Region`]: the engine and the registry of one region of a simulated network.
//!
//! Dials and announcements are processed by the state of the network. The futures here hold the
//! number of theirs, fetch its result, and cancel it when they are dropped.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use crate::net::{Addr, Cause, Engine, Error, RawConn, ReadyOk, Registry, RegistryError};
use crate::sim::World;
use crate::util::waiter::Waiter;

use crate::simnet::state::{SimnetState, enter, try_enter};
use crate::simnet::tcp::dial::DialSuccess;
use crate::simnet::tcp::socket::SimConn;

/// A region of a simulated network, by numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) run: u64,
    pub(crate) net: u32,
    pub(crate) index: u32,
}

impl Engine for Region {
    fn hostdata(&self) -> Option<&str> {
        Some("")
    }

    fn dial<'a>(
        &'a self,
        src: &'a Addr,
        dst: &'a Addr,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>> {
        Box::pin(DialFuture { region: *self, src, dst, op: PendingOp::new(self.run) })
    }

    fn record_accept_error(&self, error: &Error) {
        try_enter(self.run, |state, world| {
            world.record_failure(&error.to_string());
            if let (Cause::TooManyFiles, Some(addr)) = (&error.cause, &error.addr) {
                state.nets[self.net as usize].mark_accept_failed(addr);
            }
        });
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

impl Registry for Region {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(AnnounceFuture { region: *self, hostname, op: PendingOp::new(self.run) })
    }

    /// Answers at once, with empty host data: the look-up is a part of the dial, because its
    /// latency and its faults depend on the dialing host.
    fn query<'a>(&'a self, _hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        ReadyOk::boxed()
    }

    fn withdraw(&self, hostname: &str) {
        try_enter(self.run, |state, _| state.withdraw(self.net, hostname));
    }

    fn close(&self) -> Result<(), RegistryError> {
        Ok(())
    }
}

/// A dial or an announcement in progress, by its number in the state of the network. Dropping this
/// cancels it.
struct PendingOp {
    run: u64,
    /// `None` before the first poll, and once the result was fetched.
    index: Option<u32>,
}

impl PendingOp {
    const fn new(run: u64) -> Self {
        Self { run, index: None }
    }

    /// Fetches the result with `take` if there is one, and waits for it otherwise. The first poll
    /// starts the operation with `start`, which gives its number or a result.
    fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        start: impl FnOnce(&mut SimnetState, &mut World, Waiter) -> Result<usize, Poll<T>>,
        take: impl FnOnce(&mut SimnetState, &mut World, usize) -> Option<T>,
    ) -> Poll<T> {
        // The previous waiter is dropped while the state is not borrowed.
        let mut _previous = None;
        enter(self.run, |state, world| {
            let Some(index) = self.index else {
                return match start(state, world, Waiter::of(cx.waker())) {
                    Ok(index) => {
                        self.index = Some(index as u32);
                        Poll::Pending
                    }
                    Err(polled) => polled,
                };
            };
            match take(state, world, index as usize) {
                Some(result) => {
                    self.index = None;
                    Poll::Ready(result)
                }
                None => {
                    _previous = state.wait_for_dial(index as usize, cx.waker());
                    Poll::Pending
                }
            }
        })
    }
}

impl Drop for PendingOp {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            let _dropped =
                try_enter(self.run, |state, world| state.cancel_dial(world, index as usize));
        }
    }
}

/// A dial: see [`Engine::dial`].
struct DialFuture<'a> {
    region: Region,
    src: &'a Addr,
    dst: &'a Addr,
    op: PendingOp,
}

impl Future for DialFuture<'_> {
    type Output = Result<(Box<dyn RawConn>, Addr), Cause>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { region: Region { run, net, .. }, src, dst, op } = &mut *self;
        let polled = op.poll(
            cx,
            |state, world, waiter| {
                // A task whose node is dead starts nothing.
                if !world.accepts_effect() {
                    return Err(Poll::Ready(Err(Cause::HostDown)));
                }
                Ok(state.dial(world, *net, src, dst, waiter))
            },
            SimnetState::take_dial_result,
        );
        polled.map_ok(|DialSuccess { conn, port }| {
            (SimConn::boxed(*run, conn, 0), dst.clone().at_port(port))
        })
    }
}

/// An announcement of a host: see [`Registry::announce`].
struct AnnounceFuture<'a> {
    region: Region,
    hostname: &'a str,
    op: PendingOp,
}

impl Future for AnnounceFuture<'_> {
    type Output = Result<(), RegistryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { region: Region { net, index, .. }, hostname, op } = &mut *self;
        op.poll(
            cx,
            |state, world, waiter| {
                if !world.accepts_effect() {
                    return Err(Poll::Pending);
                }
                Ok(state.announce(world, (*net, *index), hostname, waiter))
            },
            |state, world, op| state.take_announce_result(world, *index, op),
        )
    }
}
