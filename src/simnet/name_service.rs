//! The registry of a simulated network: announcements and look-ups of host names.
//!
//! A query takes time, and its reply is the state at the instant of the reply: the registry may be
//! down by then. For 1 s after a restart of a host, a look-up may find its previous incarnation.

use crate::net::{Addr, Args, Cause, RegistryError};
use crate::sim::{ChoiceFamily, Distribution, World, hash_name, path_step};
use crate::util::waiter::Waiter;

use crate::sim::FaultKind;
use crate::simnet::host::sim_host::{HostRef, PowerState, Registration};
use crate::simnet::state::{NetState, SimnetState};
use crate::simnet::tcp::dial::{Dial, DialState};
use crate::simnet::tcp::timers::dial_timer;

/// For how long after a restart an answer may be out of date.
const STALE_FOR: u64 = 1_000_000_000;

impl NetState {
    /// When a question about a host is answered that the current task asks, be there such a host or
    /// not.
    #[inline(always)]
    pub(crate) fn draw_answer_time(
        &self,
        world: &mut World,
        machine: Option<u32>,
        hostname: &str,
    ) -> u64 {
        let hash = machine.map_or_else(|| hash_name(hostname), |it| self.hosts[it].hash);
        let (least, more) = self.config.registry_latency.parts();
        world.draw_reply_time(ChoiceFamily::RegistryLatency, (hash, hostname), least, more)
    }

    /// Has what happens be an answer of the registry's doing.
    #[inline(always)]
    pub(crate) fn set_registry_actor(&self, world: &mut World) {
        world.intern_name(self.registry_key, || format!("{}/registry", path_step(&self.name, 0)));
        world.set_actor(self.registry_key);
    }

    /// Says that the registry is down, if it is.
    fn is_registry_down(&mut self) -> bool {
        let Some(down) = &mut self.registry_down else { return false };
        self.stats.mark_effective(FaultKind::Registry, &mut down.is_effective);
        true
    }

    /// What the registry says for no answer.
    #[cold]
    fn registry_error(&self, op: &'static str, args: &[&str], cause: Cause) -> RegistryError {
        let args = Args::List(args.iter().map(|arg| (*arg).to_string()).collect());
        RegistryError { registry: format!("registry({})", self.name), op, args, cause }
    }

    /// Answers a question of a dial, which is where its host stands, or stood before for those who
    /// are still told so.
    #[inline]
    pub(crate) fn look_up(
        &mut self,
        world: &mut World,
        call: &Dial,
    ) -> Result<HostRef, RegistryError> {
        let machine = match &call.unresolved_name {
            None => Some(call.to.host),
            Some(name) => self.hosts.find(name),
        };
        let known = machine.and_then(|machine| self.hosts[machine].registration);
        match machine.zip(known) {
            Some((machine, Registration { incarnation: life, stale: None }))
                if self.registry_down.is_none() =>
            {
                Ok(HostRef { host: machine, incarnation: life })
            }
            found => self.look_up_slow(world, call, found),
        }
    }

    #[cold]
    fn look_up_slow(
        &mut self,
        world: &mut World,
        call: &Dial,
        found: Option<(u32, Registration)>,
    ) -> Result<HostRef, RegistryError> {
        let down = self.is_registry_down();
        let name: &str = match &call.unresolved_name {
            None => self.hosts[call.to.host].name(),
            Some(name) => name,
        };
        if down {
            return Err(self.registry_error("query", &[name], Cause::RegistryDown));
        }
        let Some((machine, Registration { incarnation: life, stale })) = found else {
            return Err(self.registry_error("query", &[name], Cause::NoSuchHost));
        };
        match stale {
            Some((_, until)) if world.now >= until => {
                self.hosts[machine].registration =
                    Some(Registration { incarnation: life, stale: None });
            }
            Some((before, _))
                if world.draw_for_task(
                    call.task,
                    ChoiceFamily::StaleLookup,
                    name,
                    Distribution::Uniform(4),
                ) == 3 =>
            {
                return Ok(HostRef { host: machine, incarnation: before });
            }
            _ => {}
        }
        Ok(HostRef { host: machine, incarnation: life })
    }
}

/// What is announced.
impl SimnetState {
    /// Begins to announce a host in a region; the name is not taken yet.
    pub(crate) fn announce(
        &mut self,
        world: &mut World,
        (number, region): (u32, u32),
        host: &Addr,
        waiter: Waiter,
    ) -> usize {
        let net = &mut self.nets[number as usize];
        let machine = net.host_at(host, region);
        let at = net.draw_answer_time(world, Some(machine), host.host());
        let state = &mut net.hosts[machine];
        state.open_dials += 1;
        let (index, call) = self.dials.insert();
        (call.net, call.from, call.state) = (number, machine, DialState::Announce);
        call.to = HostRef { host: machine, incarnation: state.incarnation };
        call.dialer = Some(waiter);
        world.set_callback_timer(dial_timer(index), at);
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
        let call = self.dials.get(index)?;
        let DialState::Done { .. } = call.state else { return None };
        let (to, net) = (call.to, &mut self.nets[call.net as usize]);
        let taken = net.take_name(world, to).map(|()| {
            let machine = &mut net.hosts[to.host];
            (machine.region, machine.power) = (region, PowerState::Up);
        });
        self.release_dial(world, index);
        Some(taken)
    }

    /// Gives a name back whose host did not come to be.
    pub(crate) fn withdraw(&mut self, net: u32, hostname: &str) {
        let net = &mut self.nets[net as usize];
        if let Some(machine) = net.hosts.find(hostname) {
            net.hosts[machine].registration = None;
        }
    }
}

impl NetState {
    fn take_name(
        &mut self,
        world: &World,
        HostRef { host: machine, incarnation: life }: HostRef,
    ) -> Result<(), Box<Cause>> {
        let down = self.is_registry_down();
        let known = self.hosts[machine].registration;
        let cause = match known.map(|known| known.incarnation) {
            _ if down => Cause::RegistryDown,
            // Only a node that was restarted comes again, and with a later life.
            Some(before) if before >= life => Cause::HostExists,
            before => {
                let stale = before.map(|before| (before, world.instant_after(STALE_FOR)));
                self.hosts[machine].registration = Some(Registration { incarnation: life, stale });
                return Ok(());
            }
        };
        let (name, place) = (self.hosts[machine].name(), format!("{machine}.{life}"));
        Err(Box::new(self.registry_error("announce", &[name, &place], cause).into()))
    }
}
