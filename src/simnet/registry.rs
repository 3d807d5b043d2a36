//! Who knows the names of a simulated network.
//!
//! Knows names and where they stand; refuses to know what stands there. A question takes time,
//! and what is told is how things are when the answer arrives: the registry may be down by then.
//! For a while after a host was restarted, some are still told where it stood before.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;

use crate::net::{Args, Cause, Registry, RegistryError};
use crate::sim::{Family, Instant, Shape, Sleep, World};

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

/// What is asked of the registry about a host: its name, and what is announced with it.
type About<'a> = (&'a str, Option<&'a str>);

/// A question to the registry, which is answered when it has got there.
///
/// By hand and not `async`: every dial begins with one, and this is a quarter of the size.
struct Question<'a, T> {
    names: &'a Names,
    op: &'static str,
    about: About<'a>,
    answer: fn(&mut Net, &mut World, About<'_>) -> Result<T, Cause>,
    /// Until the answer comes, once it is asked.
    wait: Option<Sleep>,
}

impl<T> Future for Question<'_, T> {
    type Output = Result<T, RegistryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { names: Names { run, net }, op, about, answer, wait } = &mut *self;
        let wait = wait.get_or_insert_with(|| {
            let at = enter(*run, |fabric, world| {
                let latency = fabric.nets[*net as usize].config.registry_latency;
                let (least, more) = latency.parts();
                world.draw_answer(REGISTRY, about.0, least, more)
            });
            Sleep::new(*run, Instant::from_nanos(at))
        });
        ready!(Pin::new(wait).poll(cx));
        let answered = enter(*run, |fabric, world| {
            let net = &mut fabric.nets[*net as usize];
            if let Some(down) = &mut net.registry_down {
                net.ledger.felt(Fault::Registry, &mut down.felt);
                return Err((Cause::RegistryDown, net.name.clone()));
            }
            answer(net, world, *about).map_err(|cause| (cause, net.name.clone()))
        });
        Poll::Ready(answered.map_err(|(cause, network)| {
            let args = [Some(about.0), about.1].into_iter().flatten().map(str::to_string);
            let registry = format!("registry({network})");
            RegistryError { registry, op, args: Args::List(args.collect()), cause }
        }))
    }
}

/// Takes a name down.
fn announce(net: &mut Net, world: &mut World, (hostname, data): About<'_>) -> Result<(), Cause> {
    let data = data.unwrap_or_default();
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

/// Looks a name up. The answer is where a host stood before, for those who are still told so. Where
/// it stands now is not written down: who is answered looks that up in the same poll.
fn query(net: &mut Net, world: &mut World, (hostname, _): About<'_>) -> Result<String, Cause> {
    let (_, &machine) = net.by_name.get(hostname).ok_or(Cause::NoSuchHost)?;
    let known = &mut net.machines[machine as usize].announced;
    let known = known.as_mut().ok_or(Cause::NoSuchHost)?;
    if let Some((life, until)) = known.stale {
        if world.now >= until {
            known.stale = None;
        } else if world.draw_about(STALE, hostname, Shape::Uniform(4)) == 3 {
            return Ok(Place { machine, life }.to_hostdata().as_str().into());
        }
    }
    Ok(String::new())
}

impl Registry for Names {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        let about = (hostname, Some(hostdata));
        Box::pin(Question { names: self, op: "announce", about, answer: announce, wait: None })
    }

    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        let about = (hostname, None);
        Box::pin(Question { names: self, op: "query", about, answer: query, wait: None })
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
