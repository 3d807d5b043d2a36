//! How hosts come to be and how they connect: the engine of one region.
//!
//! Knows what the layer above asks of a network; refuses to know how a dial gets there.

use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};

use crate::net::{Addr, Calling, Calls, Cause, Dialed, Engine, Parts, Registry};
use crate::wait::got;
use crate::waiter::Waiter;

use super::call::Met;
use super::conn::End;
use super::fabric::{enter, try_enter};
use super::machine::{Place, Power};
use super::registry::Names;

/// A region of a simulated network, as the layer above uses it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) run: u64,
    pub(crate) net: u32,
    pub(crate) number: u32,
    pub(crate) names: Names,
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
        // Dials have numbers here; this is for whoever asks in the way of all engines.
        Box::pin(Calling::new(self, (src, dst)))
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

impl Calls for Region {
    fn poll_dial(
        &self,
        call: &mut Option<u32>,
        (src, dst): (&Addr, &Addr),
        cx: &mut Context<'_>,
    ) -> Poll<Dialed> {
        // Who waited before is dropped outside the world.
        let mut _before = None;
        let over = enter(self.run, |fabric, world| {
            let Some(index) = *call else {
                if !world.heeds() {
                    return Poll::Ready(Err(Cause::HostDown));
                }
                let place = (self.net, self.number);
                let waiter = Waiter::of(cx.waker());
                *call = Some(fabric.dial(world, place, (src, dst), waiter) as u32);
                return Poll::Pending;
            };
            match fabric.outcome(world, index as usize) {
                Some(outcome) => {
                    *call = None;
                    Poll::Ready(outcome)
                }
                None => {
                    _before = fabric.wait(index as usize, cx.waker());
                    Poll::Pending
                }
            }
        });
        over.map(|outcome| {
            got();
            let Met { conn, port } = outcome?;
            Ok((End::boxed(self.run, conn, 0), dst.with_port(port)))
        })
    }

    fn hang_up(&self, call: u32) {
        let _left = try_enter(self.run, |fabric, world| fabric.hang_up(world, call as usize));
    }
}

impl Parts for Region {
    fn engine(&self) -> &dyn Engine {
        self
    }

    fn registry(&self) -> &dyn Registry {
        &self.names
    }

    fn calls(&self) -> Option<&dyn Calls> {
        Some(self)
    }
}
