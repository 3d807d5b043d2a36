//! The registry of a simulated network: announcements and look-ups of host names.
//!
//! A query takes time, and its reply is the state at the instant of the reply: the registry may be
//! down by then. For 1 s after a restart of a host, a look-up may find its previous incarnation.

use crate::net::{Args, Cause, RegistryError};
use crate::sim::{ChoiceFamily, Distribution, FaultKind, World, hash_name, path_step};
use crate::util::waiter::Waiter;

use crate::simnet::host::sim_host::{HostRef, PowerState, Registration};
use crate::simnet::state::{NetState, SimnetState};
use crate::simnet::tcp::dial::{Dial, DialState};
use crate::simnet::tcp::timers::dial_timer_id;

/// For how long after a restart an answer may be out of date.
const STALE_NANOS: u64 = 1_000_000_000;

impl NetState {
    /// Draws the instant at which a look-up by the current task is answered, whether or not the
    /// host exists.
    #[inline(always)]
    pub(crate) fn draw_answer_time(
        &mut self,
        world: &mut World,
        host: Option<u32>,
        hostname: &str,
    ) -> u64 {
        let hash = host.map_or_else(|| hash_name(hostname), |it| self.hosts[it].name_hash);
        let latency = self.registry_latency.value().unwrap_or(self.config.registry_latency);
        self.registry_latency.mark_effective(FaultKind::SlowRegistry, &mut self.stats);
        let (min, extra) = latency.min_and_extra();
        world.draw_reply_time(ChoiceFamily::RegistryLatency, (hash, hostname), min, extra)
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
        down.mark_effective(FaultKind::Registry, &mut self.stats);
        true
    }

    /// The error of the registry if it gives no answer.
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
        dial: &Dial,
    ) -> Result<HostRef, RegistryError> {
        let host = match &dial.unresolved_name {
            None => Some(dial.to.host),
            Some(name) => self.hosts.find(name),
        };
        let registration = host.and_then(|host| self.hosts[host].registration);
        match host.zip(registration) {
            Some((host, Registration { incarnation, stale: None }))
                if self.registry_down.is_none() =>
            {
                Ok(HostRef { host, incarnation })
            }
            found => self.look_up_slow(world, dial, found),
        }
    }

    #[cold]
    fn look_up_slow(
        &mut self,
        world: &mut World,
        dial: &Dial,
        found: Option<(u32, Registration)>,
    ) -> Result<HostRef, RegistryError> {
        let down = self.is_registry_down();
        let name: &str = match &dial.unresolved_name {
            None => self.hosts[dial.to.host].name(),
            Some(name) => name,
        };
        if down {
            return Err(self.registry_error("query", &[name], Cause::RegistryDown));
        }
        let Some((host, Registration { incarnation, stale })) = found else {
            return Err(self.registry_error("query", &[name], Cause::NoSuchHost));
        };
        match stale {
            Some((_, stale_until)) if world.now() >= stale_until => {
                self.hosts[host].registration = Some(Registration { incarnation, stale: None });
            }
            Some((previous, _))
                if world.draw_for_task(
                    dial.task,
                    ChoiceFamily::StaleLookup,
                    name,
                    Distribution::Uniform(4),
                ) == 3 =>
            {
                return Ok(HostRef { host, incarnation: previous });
            }
            _ => {}
        }
        Ok(HostRef { host, incarnation })
    }
}

/// Announcements.
impl SimnetState {
    /// Begins to announce a host in a region; the name is not taken yet.
    pub(crate) fn announce(
        &mut self,
        world: &mut World,
        (net_index, region): (u32, u32),
        hostname: &str,
        waiter: Waiter,
    ) -> usize {
        let net = &mut self.nets[net_index as usize];
        let host_index = net.hosts.find_or_add(&net.name, hostname, region);
        let answered_at = net.draw_answer_time(world, Some(host_index), hostname);
        let sim_host = &net.hosts[host_index];
        sim_host.addr.set_number(host_index);
        let (index, dial) = self.dials.insert();
        (dial.net, dial.from, dial.state) = (net_index, host_index, DialState::Announce);
        dial.to = HostRef { host: host_index, incarnation: sim_host.incarnation };
        dial.dialer = Some(waiter);
        world.set_callback_timer(dial_timer_id(index), answered_at);
        index
    }

    /// Takes the name if the registry has answered that it is free, or returns the error. Then the
    /// host is up.
    pub(crate) fn take_announce_result(
        &mut self,
        world: &mut World,
        region: u32,
        index: usize,
    ) -> Option<Result<(), RegistryError>> {
        let dial = self.dials.get(index)?;
        let DialState::Done { .. } = dial.state else { return None };
        let (to, net) = (dial.to, &mut self.nets[dial.net as usize]);
        let result = net.register_name(world, to).map(|()| {
            let host = &mut net.hosts[to.host];
            (host.region, host.power) = (region, PowerState::Up);
        });
        self.release_dial(world, index);
        Some(result)
    }

    /// Gives a name back whose host did not come to be.
    pub(crate) fn withdraw(&mut self, net: u32, hostname: &str) {
        let net = &mut self.nets[net as usize];
        if let Some(host) = net.hosts.find(hostname) {
            net.hosts[host].registration = None;
        }
    }
}

impl NetState {
    fn register_name(
        &mut self,
        world: &World,
        HostRef { host, incarnation }: HostRef,
    ) -> Result<(), RegistryError> {
        let down = self.is_registry_down();
        let registration = self.hosts[host].registration;
        let cause = match registration.map(|registration| registration.incarnation) {
            _ if down => Cause::RegistryDown,
            // Only a node that was restarted comes again, and with a later life.
            Some(previous) if previous >= incarnation => Cause::HostExists,
            previous => {
                let stale = previous.map(|previous| (previous, world.instant_after(STALE_NANOS)));
                self.hosts[host].registration = Some(Registration { incarnation, stale });
                return Ok(());
            }
        };
        let (name, address) = (self.hosts[host].name(), format!("{host}.{incarnation}"));
        Err(self.registry_error("announce", &[name, &address], cause))
    }
}
