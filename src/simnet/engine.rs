//! How hosts come to be and how they connect: the engine of one region.
//!
//! Knows what the layer above asks of a network; refuses to know how a dial gets there.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};

use crate::net::{Addr, Cause, Engine, Registry};
use crate::wait::got;
use crate::waiter::Waiter;

use super::call::{Dialed, Stage};
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
        hostdata: &'a str,
    ) -> BoxFuture<'a, Dialed> {
        let stale = Place::of_hostdata(hostdata);
        Box::pin(Dialing { region: self, src, dst, stale, call: None })
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

/// A dial, as its dialer waits for it; given up when dropped.
struct Dialing<'a> {
    region: &'a Region,
    src: &'a Addr,
    dst: &'a Addr,
    /// Where the other host is said to stand, if that is not where the registry knows it now.
    stale: Option<Place>,
    /// Which of the calls it is, once it has set out.
    call: Option<usize>,
}

impl Future for Dialing<'_> {
    type Output = Dialed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Dialed> {
        let Self { region, src, dst, stale, call } = &mut *self;
        // Who waited before is dropped outside the world.
        let mut _before = None;
        let over = enter(region.run, |fabric, world| {
            let index = match *call {
                Some(index) => index,
                None if !world.heeds() => return Poll::Ready(None),
                None => {
                    let net = &mut fabric.nets[region.net as usize];
                    let from = net.machine(src.host(), region.number);
                    let to = stale.unwrap_or_else(|| {
                        let machine = net.machine(dst.host(), region.number);
                        // The registry has just told of it, in this very poll.
                        let known = net.machines[machine as usize].announced;
                        Place { machine, life: known.map_or(0, |known| known.life) }
                    });
                    *call.insert(fabric.dial(world, region.net, (from, to), (src, dst)))
                }
            };
            if let Stage::Over { in_time } = fabric.calls[index].stage {
                *call = None;
                // What is left of it is nobody else's, and may be dropped in here.
                return Poll::Ready(Some((in_time, fabric.calls.remove(index).answer)));
            }
            let waiting = &mut fabric.calls[index];
            _before = match &mut waiting.dialer {
                Some(dialer) => dialer.set(cx.waker()),
                None => waiting.dialer.replace(Waiter::of(cx.waker())),
            };
            Poll::Pending
        });
        over.map(|over| {
            got();
            match over {
                None => Err(Cause::HostDown),
                Some((true, Some(dialed))) => dialed,
                // A connection that came too late is torn down by this.
                Some(_) => Err(Cause::TimedOut),
            }
        })
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.call {
            let _call = try_enter(self.region.run, |fabric, world| fabric.hang_up(world, index));
        }
    }
}
