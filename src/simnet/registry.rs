//! Who knows the names of a simulated network.
//!
//! Knows names and where they stand; refuses to know what stands there. A question takes time,
//! and what is told is how things are when the answer arrives: the registry may be down by then.
//! For a while after a host was restarted, some are still told where it stood before.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;

use crate::net::{Args, Cause, Granted, Registry, RegistryError};
use crate::sim::{Family, Instant, Shape, Sleep, World};

use super::call::Call;
use super::fabric::{Net, enter, try_enter};
use super::ledger::Fault;
use super::machine::{Announced, Place};

/// How long an answer takes.
const REGISTRY: Family = Family::new("registry");
/// Whether an answer is out of date.
const STALE: Family = Family::new("stale");

/// For how long after a restart an answer may be out of date.
const STALE_FOR: u64 = 1_000_000_000;

/// The registry of a simulated network, as one of its regions asks it.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) run: u64,
    pub(crate) net: u32,
}

impl Net {
    /// When a question about a host is answered that the current task asks.
    pub(crate) fn ask(&self, world: &mut World, hostname: &str) -> u64 {
        let (least, more) = self.config.registry_latency.parts();
        world.draw_answer(REGISTRY, hostname, least, more)
    }

    /// Says that the registry is down, if it is.
    fn is_registry_down(&mut self) -> bool {
        let Some(down) = &mut self.registry_down else { return false };
        self.ledger.felt(Fault::Registry, &mut down.felt);
        true
    }

    /// What the registry says for no answer.
    #[cold]
    fn complaint(&self, op: &'static str, args: &[&str], cause: Cause) -> RegistryError {
        let args = Args::List(args.iter().map(|arg| (*arg).to_string()).collect());
        RegistryError { registry: format!("registry({})", self.name), op, args, cause }
    }

    /// Answers a question of a dial, which is where its host stands, or stood before for those who
    /// are still told so.
    #[inline]
    pub(crate) fn look_up(
        &mut self,
        world: &mut World,
        call: &Call,
    ) -> Result<Place, RegistryError> {
        let machine = match &call.unknown {
            None => Some(call.to.machine),
            Some(name) => self.by_name.get(&**name).map(|(_, machine)| *machine),
        };
        let known = machine.and_then(|machine| self.machines.get(machine as usize));
        let known = known.and_then(|machine| machine.announced);
        match machine.zip(known) {
            Some((machine, Announced { life, stale: None })) if self.registry_down.is_none() => {
                Ok(Place { machine, life })
            }
            found => self.look_up_with_care(world, call, found),
        }
    }

    #[cold]
    fn look_up_with_care(
        &mut self,
        world: &mut World,
        call: &Call,
        found: Option<(u32, Announced)>,
    ) -> Result<Place, RegistryError> {
        let name: &str = match &call.unknown {
            None => &self.machines[call.to.machine as usize].name.clone(),
            Some(name) => name,
        };
        if self.is_registry_down() {
            return Err(self.complaint("query", &[name], Cause::RegistryDown));
        }
        let Some((machine, Announced { life, stale })) = found else {
            return Err(self.complaint("query", &[name], Cause::NoSuchHost));
        };
        if let Some((before, until)) = stale {
            if world.now >= until {
                if let Some(known) = &mut self.machines[machine as usize].announced {
                    known.stale = None;
                }
            } else if world.draw_for(call.asker, STALE, name, Shape::Uniform(4)) == 3 {
                return Ok(Place { machine, life: before });
            }
        }
        Ok(Place { machine, life })
    }
}

/// What is announced to the registry: a host, and where it stands. By hand and not `async`: this is
/// a quarter of the size.
struct Announcement<'a> {
    names: &'a Names,
    hostname: &'a str,
    hostdata: &'a str,
    /// Until the answer comes, once it is asked.
    wait: Option<Sleep>,
}

impl Future for Announcement<'_> {
    type Output = Result<(), RegistryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { names: Names { run, net }, hostname, hostdata, wait } = &mut *self;
        let wait = wait.get_or_insert_with(|| {
            let at = enter(*run, |fabric, world| {
                let at = fabric.nets[*net as usize].ask(world, hostname);
                world.own_instant(Instant::from_nanos(at))
            });
            Sleep::new(*run, at)
        });
        ready!(Pin::new(wait).poll(cx));
        Poll::Ready(enter(*run, |fabric, world| {
            let net = &mut fabric.nets[*net as usize];
            let announced = match net.is_registry_down() {
                true => Err(Cause::RegistryDown),
                false => announce(net, world, hostname, hostdata),
            };
            announced.map_err(|cause| net.complaint("announce", &[hostname, hostdata], cause))
        }))
    }
}

/// Takes a name down.
fn announce(net: &mut Net, world: &mut World, hostname: &str, data: &str) -> Result<(), Cause> {
    let found = Place::of_hostdata(data).and_then(|Place { machine, life }| {
        let machine = net.machines.get_mut(machine as usize)?;
        (*machine.name == *hostname).then_some((machine, life))
    });
    let Some((machine, life)) = found else {
        return Err(Cause::engine(format!("{data:?} is no place of {hostname:?}")));
    };
    let before = machine.announced.map(|known| known.life);
    // Only a node that was restarted comes again, and with a later life.
    if before.is_some_and(|before| before >= life) {
        return Err(Cause::HostExists);
    }
    let stale = before.map(|before| (before, world.after(STALE_FOR)));
    machine.announced = Some(Announced { life, stale });
    Ok(())
}

impl Registry for Names {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(Announcement { names: self, hostname, hostdata, wait: None })
    }

    /// Says nothing: our engine asks by itself, where the answer is an event of its own and sends
    /// the dial on its way.
    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        let _ = hostname;
        Granted::boxed()
    }

    fn withdraw(&self, hostname: &str) {
        try_enter(self.run, |fabric, _| {
            let net = &mut fabric.nets[self.net as usize];
            if let Some((_, machine)) = net.by_name.get(hostname) {
                net.machines[*machine as usize].announced = None;
            }
        });
    }

    fn close(&self) -> Result<(), RegistryError> {
        // Other regions go on asking.
        Ok(())
    }
}
