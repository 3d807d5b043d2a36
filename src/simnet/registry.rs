//! Who knows the names of a simulated network.
//!
//! Knows names and where they stand; refuses to know what stands there. A question takes time,
//! and what is told is how things are when the answer arrives: the registry may be down by then.
//! For a while after a host was restarted, some are still told where it stood before.

use futures::future::{BoxFuture, FutureExt};

use crate::net::{Args, Cause, Registry, RegistryError};
use crate::sim::{Family, Instant, Shape, Sleep, World};

use super::fabric::{Announced, Fabric, enter, try_enter};
use super::ledger::Fault;
use super::machine::Place;

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

impl Names {
    /// Asks, and gives what is said when the answer arrives.
    async fn ask<T>(
        &self,
        op: &'static str,
        args: &[&str],
        answer: impl FnOnce(&mut Fabric, &mut World) -> Result<T, Cause>,
    ) -> Result<T, RegistryError> {
        let at = enter(self.run, |fabric, world| {
            let latency = fabric.nets[self.net as usize].config.registry_latency;
            let (least, more) = latency.parts();
            world.draw_answer(REGISTRY, args[0], least, more)
        });
        Sleep::new(self.run, Instant::from_nanos(at)).await;
        let answered = enter(self.run, |fabric, world| {
            let net = &mut fabric.nets[self.net as usize];
            if let Some(felt) = &mut net.registry_down {
                net.ledger.felt(Fault::Registry, felt);
                return Err((Cause::RegistryDown, net.name.clone()));
            }
            let name = net.name.clone();
            answer(fabric, world).map_err(|cause| (cause, name))
        });
        answered.map_err(|(cause, network)| {
            let args = Args::List(args.iter().map(|arg| (*arg).to_string()).collect());
            RegistryError { registry: format!("registry({network})"), op, args, cause }
        })
    }
}

impl Registry for Names {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        let answer = move |fabric: &mut Fabric, world: &mut World| {
            let net = &mut fabric.nets[self.net as usize];
            let Some(place) = Place::of_hostdata(hostdata) else {
                return Err(Cause::engine(format!("{hostdata:?} is no place of this network")));
            };
            let before = net.names.get(hostname).map(|known| known.place);
            // Only a node that was restarted comes again, and with a later life.
            if before.is_some_and(|before| before.life >= place.life) {
                return Err(Cause::HostExists);
            }
            let stale = before.map(|before| (before, world.after(STALE_FOR)));
            net.names.insert(hostname.into(), Announced { place, stale });
            Ok(())
        };
        async move { self.ask("announce", &[hostname, hostdata], answer).await }.boxed()
    }

    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        let answer = move |fabric: &mut Fabric, world: &mut World| {
            let net = &mut fabric.nets[self.net as usize];
            let known = net.names.get_mut(hostname).ok_or(Cause::NoSuchHost)?;
            let mut place = known.place;
            if let Some((before, until)) = known.stale {
                if world.now >= until {
                    known.stale = None;
                } else if world.draw_about(STALE, hostname, Shape::Uniform(4)) == 3 {
                    place = before;
                }
            }
            Ok(place.to_hostdata())
        };
        async move { self.ask("query", &[hostname], answer).await }.boxed()
    }

    fn withdraw(&self, hostname: &str) {
        try_enter(self.run, |fabric, _| {
            fabric.nets[self.net as usize].names.remove(hostname);
        });
    }

    fn close(&self) -> Result<(), RegistryError> {
        // Other regions go on asking.
        Ok(())
    }
}
