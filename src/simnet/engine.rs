//! How hosts come to be and how they connect: the engine of one region.
//!
//! Knows what the layer above asks of a network; refuses to know how a dial gets there.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};

use crate::net::{Addr, Cause, Engine, RawConn, Registry};
use crate::wait::got;
use crate::waiter::Waiter;

use super::call::Met;
use super::conn::End;
use super::fabric::{enter, try_enter};
use super::machine::{Place, Power};

/// A region of a simulated network, as the layer above uses it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) run: u64,
    pub(crate) net: u32,
    pub(crate) number: u32,
}

impl Engine for Region {
    fn new_host<'a>(
        &'a self,
        hostname: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>> {
        async move {
            let place = enter(self.run, |fabric, _| {
                let net = &mut fabric.nets[self.net as usize];
                let machine = net.machine(hostname, self.number);
                Place { machine, life: net.machines[machine as usize].life }
            });
            registry.announce(hostname, &place.to_hostdata()).await?;
            enter(self.run, |fabric, _| {
                let net = &mut fabric.nets[self.net as usize];
                let machine = &mut net.machines[place.machine as usize];
                (machine.region, machine.power) = (self.number, Power::Up);
            });
            Ok(())
        }
        .boxed()
    }

    fn dial<'a>(
        &'a self,
        src: &'a Addr,
        dst: &'a Addr,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Dialed> {
        Box::pin(Dialing { region: self, src, dst, call: None })
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

/// What a dial comes to.
type Dialed = Result<(Box<dyn RawConn>, Addr), Cause>;

/// A dial, as its dialer waits for it; given up when dropped.
struct Dialing<'a> {
    region: &'a Region,
    src: &'a Addr,
    dst: &'a Addr,
    /// Which of the calls it is, once it has begun.
    call: Option<usize>,
}

impl Future for Dialing<'_> {
    type Output = Dialed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Dialed> {
        let Self { region, src, dst, call } = &mut *self;
        let &Region { run, net, number } = *region;
        // Who waited before is dropped outside the world.
        let mut _before = None;
        let over = enter(run, |fabric, world| {
            let Some(index) = *call else {
                if !world.heeds() {
                    return Poll::Ready(Err(Cause::HostDown));
                }
                let waiter = Waiter::of(cx.waker());
                *call = Some(fabric.dial(world, (net, number), (src, dst), waiter));
                return Poll::Pending;
            };
            match fabric.outcome(world, index) {
                Some(outcome) => {
                    *call = None;
                    Poll::Ready(outcome)
                }
                None => {
                    _before = fabric.wait(index, cx.waker());
                    Poll::Pending
                }
            }
        });
        over.map(|outcome| {
            got();
            let Met { conn, port } = outcome?;
            Ok((End::boxed(run, conn, 0), dst.with_port(port)))
        })
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.call {
            let _left = try_enter(self.region.run, |fabric, world| fabric.hang_up(world, index));
        }
    }
}
