//! How hosts come to be and how they connect: the engine of one region.
//!
//! Knows the hand-shake; refuses to know what is sent on a connection. A dial is one round trip
//! and the wait for an accept in between: the knock takes its time to get there, may be lost and
//! is then repeated, finds a listener or nobody, and the answer takes its time to get back. The
//! knock is a task of the network's own, so that a host that is paused or busy holds up nobody
//! else's accept.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::task::Poll;

use futures::future::{BoxFuture, FutureExt};

use crate::net::{Accept, Addr, Cause, Engine, Notifier, RawConn, Registry, Wakers};
use crate::sim::{Instant, JoinHandle, Key, Sleep, Timeout, World, boxed, hash_name, path_step};

use super::conn::End;
use super::fabric::{Fabric, Net, enter};
use super::link::Passage;
use super::machine::{Place, Power};
use super::transit::{AGAIN, LATENCY, retry_after};

/// The ways of a hand-shake, which are those of its connection.
const THERE: usize = 0;
const BACK: usize = 1;

/// A region of a simulated network, as the layer above uses it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) run: u64,
    pub(crate) net: u32,
    pub(crate) number: u32,
}

/// What a dial comes to.
type Dialed = Result<(Box<dyn RawConn>, Addr), Cause>;

/// A dial on its way.
struct Call {
    run: u64,
    net: u32,
    from: u32,
    to: Place,
    /// The directions of the connection that it will be: there and back.
    keys: [Key; 2],
}

/// A hand-shake that is being made; given up when dropped.
struct Handshake(JoinHandle<Dialed>);

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.abort();
    }
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
        async move {
            let to = Place::of_hostdata(hostdata).ok_or(Cause::HostUnreachable)?;
            let mut handshake = self.begin(src, dst, to)?;
            match (&mut handshake.0).await {
                Ok(dialed) => dialed,
                Err(_) => Err(Cause::NetDown),
            }
        }
        .boxed()
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

impl Region {
    /// Begins a hand-shake. Its task is polled first when the knock arrives.
    fn begin(&self, src: &Addr, dst: &Addr, to: Place) -> Result<Handshake, Cause> {
        let spawned = enter(self.run, |fabric, world| {
            let call = self.call(fabric, world, src, to);
            let arrives = call.depart(fabric, world, THERE, 0);
            let timeout = fabric.nets[self.net as usize].config.connect_timeout;
            let limit = Instant::from_nanos(world.now) + timeout;
            let first = arrives.min(limit.as_nanos());
            let shaking = boxed(call.shake(src.clone(), dst.clone(), arrives, limit));
            world.spawn_prompt(|| "dial", shaking, first, Location::caller())
        });
        match spawned {
            Ok(task) => Ok(Handshake(JoinHandle::new(self.run, Some(task)))),
            Err(_inert) => Err(Cause::HostDown),
        }
    }

    /// Sets out to dial: the how-manieth connection of these two it will be is known from here.
    fn call(&self, fabric: &mut Fabric, world: &mut World, src: &Addr, to: Place) -> Call {
        let net = &mut fabric.nets[self.net as usize];
        let from = net.machine(src.host(), self.number);
        let dials = &mut net.pairs.entry((from, to.machine)).or_default().dials;
        *dials += 1;
        let number = *dials - 1;
        let [near, far] = [from, to.machine].map(|place| net.machines[place as usize].name.clone());
        let there = net.key.child(hash_name(&near), 0).child(hash_name(&far), number);
        let back = there.child(const { hash_name("back") }, 0);
        let text =
            || [path_step(&net.name, 0), path_step(&near, 0), path_step(&far, number)].join("/");
        world.remember(there, text);
        world.remember(back, || format!("{}/back", text()));
        Call { run: self.run, net: self.net, from, to, keys: [there, back] }
    }
}

impl Call {
    /// Knocks, waits for an accept, and brings the answer back; gives up when it takes too long to
    /// get there or back.
    ///
    /// What has got to a listener waits there as long as it has to, and as the way is clear.
    async fn shake(self, src: Addr, dst: Addr, arrives: u64, mut limit: Instant) -> Dialed {
        self.travel(THERE, arrives, limit).await?;
        let knocked = self.next_limit();
        let accepted = match self.door() {
            None => Err(Cause::ConnRefused),
            Some(notifier) => {
                let mut accepting = pin!(notifier.accept(&src, &dst));
                loop {
                    let waiting = Timeout::new(Sleep::new(self.run, limit), accepting.as_mut());
                    match waiting.await {
                        Ok(accepted) => break accepted,
                        Err(_) if self.is_clear() => limit = self.next_limit(),
                        Err(_) => return Err(Cause::TimedOut),
                    }
                }
            }
        };
        if self.is_silent() {
            Sleep::new(self.run, limit).await;
            return Err(Cause::TimedOut);
        }
        let answer = accepted.map(|accept| self.connect(accept, &src));
        let arrives = enter(self.run, |fabric, world| self.depart(fabric, world, BACK, 0));
        // If it had to wait, the answer has a time of its own.
        let answered = self.next_limit();
        if answered > knocked {
            limit = answered;
        }
        self.travel(BACK, arrives, limit).await?;
        answer
    }

    /// Until when what is begun now may take.
    fn next_limit(&self) -> Instant {
        enter(self.run, |fabric, world| {
            let timeout = fabric.nets[self.net as usize].config.connect_timeout;
            Instant::from_nanos(world.now) + timeout
        })
    }

    /// Whether the other host is there, and the way open in both directions.
    fn is_clear(&self) -> bool {
        enter(self.run, |fabric, _| {
            let net = &fabric.nets[self.net as usize];
            let clear = |(from, to)| net.links.look(from, to) == Passage::Clear;
            net.machines[self.to.machine as usize].power != Power::Silent
                && clear(self.route(THERE))
                && clear(self.route(BACK))
        })
    }

    /// Who has to be asked whether anybody listens; nobody, if this life of the host is over.
    fn door(&self) -> Option<Notifier> {
        enter(self.run, |fabric, _| {
            let net = &fabric.nets[self.net as usize];
            let machine = &net.machines[self.to.machine as usize];
            let is_up = machine.power == Power::Up && machine.life == self.to.life;
            is_up.then(|| net.regions[machine.region as usize].notifier.clone())
        })
    }

    /// Whether the other host has no power: then nothing comes back.
    fn is_silent(&self) -> bool {
        enter(self.run, |fabric, _| {
            let net = &fabric.nets[self.net as usize];
            net.machines[self.to.machine as usize].power == Power::Silent
        })
    }

    /// Makes the connection, and hands the far end over.
    fn connect(&self, accept: Accept, src: &Addr) -> (Box<dyn RawConn>, Addr) {
        let peer = accept.addr().clone();
        let conn = enter(self.run, |fabric, world| {
            let ends = [(self.from, src.clone()), (self.to.machine, peer.clone())];
            fabric.connect(self.net, ends, self.keys, world)
        });
        let (near, far) = End::both(self.run, conn);
        accept.confirm(Box::new(far));
        (Box::new(near), peer)
    }

    /// Gets from one host to the other, however often it has to be tried; `at` is the first
    /// arrival.
    async fn travel(&self, way: usize, mut at: u64, limit: Instant) -> Result<(), Cause> {
        for losses in 0.. {
            self.sleep_until(at, limit).await?;
            loop {
                let arrived = enter(self.run, |fabric, world| {
                    self.arrive(&mut fabric.nets[self.net as usize], world, way, losses)
                });
                match arrived {
                    Passage::Clear => return Ok(()),
                    Passage::Held => {
                        let held = Timeout::new(Sleep::new(self.run, limit), self.let_go());
                        held.await.map_err(|_| Cause::TimedOut)?;
                    }
                    Passage::Cut => break,
                }
            }
            let again = enter(self.run, |_, world| world.after(retry_after(losses as u32 + 1)));
            self.sleep_until(again, limit).await?;
            at = enter(self.run, |fabric, world| self.depart(fabric, world, way, losses + 1));
        }
        Ok(())
    }

    /// Waits for an instant, or no longer than the limit.
    async fn sleep_until(&self, at: u64, limit: Instant) -> Result<(), Cause> {
        let at = Instant::from_nanos(at);
        Sleep::new(self.run, at.min(limit)).await;
        if at <= limit { Ok(()) } else { Err(Cause::TimedOut) }
    }

    const fn route(&self, way: usize) -> (u32, u32) {
        let (from, to) = (self.from, self.to.machine);
        if way == THERE { (from, to) } else { (to, from) }
    }

    /// Sets out. Returns the instant of arrival.
    fn depart(&self, fabric: &mut Fabric, world: &mut World, way: usize, losses: u64) -> u64 {
        let net = &mut fabric.nets[self.net as usize];
        let (from, to) = self.route(way);
        let latency = net.latency(from, to);
        let family = if losses == 0 { LATENCY } else { AGAIN };
        let takes = world.draw_latency(family, self.keys[way], losses, latency);
        let at = net.serialised(from, to, world.now, world.after(takes), 0);
        if way == BACK || losses > 0 || net.links.is_odd(from, to) {
            return at;
        }
        // Dials from one host to another arrive in the order in which they set out, as long as
        // nothing was done to the way.
        let last = &mut net.pairs.entry((from, to)).or_default().last_at;
        *last = at.max(*last);
        *last
    }

    /// Whether it arrives at that attempt.
    fn arrive(&self, net: &mut Net, world: &mut World, way: usize, losses: u64) -> Passage {
        let (from, to) = self.route(way);
        if net.machines[to as usize].power == Power::Silent {
            return Passage::Cut;
        }
        net.pass(world, (from, to), self.keys[way], losses)
    }

    /// Waits until something that was held is let go.
    async fn let_go(&self) {
        let mut asked = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            let mut outside = Wakers::default();
            enter(self.run, |fabric, _| {
                fabric.nets[self.net as usize].held_dials.keep(cx.waker(), &mut outside);
            });
            outside.wake();
            Poll::Pending
        })
        .await;
    }
}
