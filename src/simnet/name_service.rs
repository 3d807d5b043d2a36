//! Who knows the names of a simulated network.
//!
//! Knows names and where they stand; refuses to know what stands there. A question takes time,
//! and what is told is how things are when the answer arrives: the registry may be down by then.
//! For a while after a host was restarted, some are still told where it stood before.

use crate::net::{Addr, Args, Cause, RegistryError};
use crate::sim::{ChoiceFamily, Shape, World, hash_name, path_step};
use crate::util::waiter::Waiter;

use crate::sim::FaultKind;
use crate::simnet::host::sim_host::{Announced, Place, Power};
use crate::simnet::state::{Fabric, Net};
use crate::simnet::tcp::dial::{Call, Stage};
use crate::simnet::tcp::transfer::call_alarm;

/// For how long after a restart an answer may be out of date.
const STALE_FOR: u64 = 1_000_000_000;

impl Net {
    /// When a question about a host is answered that the current task asks, be there such a host or
    /// not.
    #[inline(always)]
    pub(crate) fn ask(&self, world: &mut World, machine: Option<u32>, hostname: &str) -> u64 {
        let hash = machine.map_or_else(|| hash_name(hostname), |it| self.machines[it].hash);
        let (least, more) = self.config.registry_latency.parts();
        world.draw_reply_time(ChoiceFamily::RegistryLatency, (hash, hostname), least, more)
    }

    /// Has what happens be an answer of the registry's doing.
    #[inline(always)]
    pub(crate) fn act_as_answer(&self, world: &mut World) {
        world.intern_name(self.answers, || format!("{}/registry", path_step(&self.name, 0)));
        world.set_actor(self.answers);
    }

    /// Says that the registry is down, if it is.
    fn is_registry_down(&mut self) -> bool {
        let Some(down) = &mut self.registry_down else { return false };
        self.ledger.felt(FaultKind::Registry, &mut down.felt);
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
            Some(name) => self.machines.find(name),
        };
        let known = machine.and_then(|machine| self.machines[machine].announced);
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
        let down = self.is_registry_down();
        let name: &str = match &call.unknown {
            None => self.machines[call.to.machine].name(),
            Some(name) => name,
        };
        if down {
            return Err(self.complaint("query", &[name], Cause::RegistryDown));
        }
        let Some((machine, Announced { life, stale })) = found else {
            return Err(self.complaint("query", &[name], Cause::NoSuchHost));
        };
        match stale {
            Some((_, until)) if world.now >= until => {
                self.machines[machine].announced = Some(Announced { life, stale: None });
            }
            Some((before, _))
                if world.draw_for_task(
                    call.asker,
                    ChoiceFamily::StaleLookup,
                    name,
                    Shape::Uniform(4),
                ) == 3 =>
            {
                return Ok(Place { machine, life: before });
            }
            _ => {}
        }
        Ok(Place { machine, life })
    }
}

/// What is announced.
impl Fabric {
    /// Begins to announce a host in a region; the name is not taken yet.
    pub(crate) fn announce(
        &mut self,
        world: &mut World,
        (number, region): (u32, u32),
        host: &Addr,
        waiter: Waiter,
    ) -> usize {
        let net = &mut self.nets[number as usize];
        let machine = net.machine_at(host, region);
        let at = net.ask(world, Some(machine), host.host());
        let state = &mut net.machines[machine];
        state.calls += 1;
        let (index, call) = self.calls.add();
        (call.net, call.from, call.stage) = (number, machine, Stage::Announces);
        call.to = Place { machine, life: state.life };
        call.dialer = Some(waiter);
        world.set_callback_timer(call_alarm(index), at);
        index
    }

    /// Takes a name if the registry has said that it can be done now, or hears why not. Then the
    /// host is up.
    pub(crate) fn announced(
        &mut self,
        world: &mut World,
        region: u32,
        index: usize,
    ) -> Option<Result<(), Box<Cause>>> {
        let call = self.calls.get(index)?;
        let Stage::Over { .. } = call.stage else { return None };
        let (to, net) = (call.to, &mut self.nets[call.net as usize]);
        let taken = net.take_name(world, to).map(|()| {
            let machine = &mut net.machines[to.machine];
            (machine.region, machine.power) = (region, Power::Up);
        });
        self.forget(world, index);
        Some(taken)
    }

    /// Gives a name back whose host did not come to be.
    pub(crate) fn withdraw(&mut self, net: u32, hostname: &str) {
        let net = &mut self.nets[net as usize];
        if let Some(machine) = net.machines.find(hostname) {
            net.machines[machine].announced = None;
        }
    }
}

impl Net {
    fn take_name(
        &mut self,
        world: &World,
        Place { machine, life }: Place,
    ) -> Result<(), Box<Cause>> {
        let down = self.is_registry_down();
        let known = self.machines[machine].announced;
        let cause = match known.map(|known| known.life) {
            _ if down => Cause::RegistryDown,
            // Only a node that was restarted comes again, and with a later life.
            Some(before) if before >= life => Cause::HostExists,
            before => {
                let stale = before.map(|before| (before, world.instant_after(STALE_FOR)));
                self.machines[machine].announced = Some(Announced { life, stale });
                return Ok(());
            }
        };
        let (name, place) = (self.machines[machine].name(), format!("{machine}.{life}"));
        Err(Box::new(self.complaint("announce", &[name, &place], cause).into()))
    }
}
