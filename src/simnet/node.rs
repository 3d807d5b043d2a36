//! [`Node`]: a host with a program that can crash and be started again.
//!
//! A fault of a node takes effect when the current poll has returned: the host is marked as down,
//! its connections are reset or silenced, and then its tasks are dropped, oldest first.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::net::{Cause, Host};
use crate::sim::{
    Callback, JoinHandle, NodeDeath, Origin, PathHash, Sleep, TaskName, World, box_task,
    in_three_digits, nanos,
};
use crate::util::stall_probe::waiting_for;

use crate::sim::FaultKind;
use crate::simnet::clock_skew::ClockSkew;
use crate::simnet::host::sim_host::{Life, NodeInfo, PowerState, SimHost};
use crate::simnet::state::{SimnetState, enter};
use crate::simnet::tcp::conn_ctx::ConnCtx;

/// What a node's program may come to: nothing, or a `Result` whose error ends the run as a panic
/// does.
pub trait NodeOutput {
    /// Gives the error, if there is one, as it is to be printed.
    fn into_error(self) -> Option<String>;
}

impl NodeOutput for () {
    fn into_error(self) -> Option<String> {
        None
    }
}

impl NodeOutput for Infallible {
    fn into_error(self) -> Option<String> {
        match self {}
    }
}

/// Names what a function returns: the only way to name `!` so far.
pub trait Returns {
    /// What it returns.
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

/// A program that never returns.
impl NodeOutput for <fn() -> ! as Returns>::Output {
    fn into_error(self) -> Option<String> {
        self
    }
}

impl<T: NodeOutput, E: fmt::Debug> NodeOutput for Result<T, E> {
    fn into_error(self) -> Option<String> {
        match self {
            Ok(output) => output.into_error(),
            Err(error) => Some(format!("{error:?}")),
        }
    }
}

/// A host and the program that runs on it: what can crash and be started again.
///
/// The program is a factory. In each life it gets a [`Host`] of its own, and runs in tasks that
/// belong to the node: whatever they spawn does too, whichever `Sim` they spawn it with. What
/// survives a restart is only what the program keeps outside of itself.
///
/// What is done to a node takes effect as soon as the current poll returns. A call does nothing if
/// the node is in that state already.
///
/// ```
/// use std::time::Duration;
/// use virtnet::{Run, simnet};
///
/// Run::new(1).execute(async |sim| {
///     let net = simnet::Network::new("t");
///     let node = net.node("β", async |host| {
///         let listener = host.listen(":1").await.unwrap();
///         while listener.accept().await.is_ok() {}
///     });
///     sim.sleep(Duration::from_secs(1)).await;
///     node.crash();
///     assert!(!node.is_up());
///     node.restart();
///     sim.sleep(Duration::from_secs(1)).await;
///     assert!(node.is_up());
/// }).unwrap();
/// ```
#[derive(Clone)]
pub struct Node {
    pub(crate) run: u64,
    pub(crate) net: u32,
    pub(crate) host: u32,
    pub(crate) name: Arc<str>,
}

impl Node {
    /// Makes a node, and starts it.
    pub(crate) fn start<P, Fut>(
        (run, net): (u64, u32),
        region: u32,
        name: &str,
        program: P,
        spawned_at: &'static Location<'static>,
    ) -> Result<Self, String>
    where
        P: Fn(Host) -> Fut + 'static,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        let program = Rc::new(move |host| -> Life {
            let life = program(host);
            Box::pin(async move { life.await.into_error().map_or(Ok(()), Err) })
        });
        let node = enter(run, |fabric, world| {
            let state = &mut fabric.nets[net as usize];
            let addr = state.hosts.addr_for(&state.name, name);
            let machine = state.hosts.find_or_add(&addr, region);
            let made = &mut state.hosts[machine];
            if made.node.is_some() || made.power == PowerState::Up {
                return Err(format!("there is a host {name:?} already on this network"));
            }
            let number = world.nodes.add(name.into());
            let part = NodeInfo::new(number, program, spawned_at);
            made.node = Some(Box::new(part));
            Ok(Self { run, net, host: machine, name: name.into() })
        })?;
        node.boot();
        Ok(node)
    }

    /// Returns its name, which is that of its host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the host of its present life; `None` while it has none: before the registry has
    /// taken its name, and while it is down.
    ///
    /// # Panics
    ///
    /// Outside its run, as all methods but `name` do.
    #[track_caller]
    pub fn host(&self) -> Option<Host> {
        enter(self.run, |fabric, _| self.sim_host(fabric).host.clone())
    }

    /// Returns whether it is meant to run: it has not been crashed or powered off since it was
    /// last started.
    #[track_caller]
    pub fn is_up(&self) -> bool {
        enter(self.run, |fabric, _| self.info(fabric).is_up)
    }

    /// Lets the process die: connections are reset, dials to it are refused, its tasks are
    /// dropped.
    ///
    /// What has been sent already is still on its way; no connection ends in good order. What the
    /// destructors of the tasks ask of the world has no effect, and a panic of theirs is written
    /// down in the trace and in `Outcome::caught`.
    #[track_caller]
    pub fn crash(&self) {
        self.apply_stop(FaultKind::Crash, true);
    }

    /// Takes the power away: as a crash, but nobody is told. Peers wait until they time out.
    #[track_caller]
    pub fn power_off(&self) {
        self.apply_stop(FaultKind::PowerOff, true);
    }

    /// Closes its host in good order: everything that is blocked on it is interrupted, what was
    /// written is delivered, then the streams end. The tasks go on running.
    #[track_caller]
    pub fn close_host(&self) {
        self.apply_close(true);
    }

    /// Starts the program again, in a new life; a node that is up crashes first.
    ///
    /// The name stays; ports begin at 1 again; what is still on its way to the life before is
    /// answered with a reset. For a second some may still be told by the registry where the node
    /// was before, and are refused there.
    #[track_caller]
    pub fn restart(&self) {
        self.apply_restart(true);
    }

    /// Lets no task of it be polled until it is resumed. The network goes on: what arrives is
    /// acknowledged, and read later.
    #[track_caller]
    pub fn pause(&self) {
        self.apply_pause(true, true);
    }

    /// Lets the tasks of a paused node go on.
    #[track_caller]
    pub fn resume(&self) {
        self.apply_pause(false, true);
    }

    /// Sets its clocks: how far its wall clock (`Sim::system_time`) is off from now on, and how
    /// much too fast or too slow both its clocks run.
    ///
    /// The wall clock is stepped, backwards as well; with [`ClockSkew::none`] it shows the true
    /// time again. `Sim::now` is monotonic and never jumps: it keeps what it has gained or lost,
    /// as that of a machine does whose wall clock is set right, and runs at its new rate. So do
    /// all sleeps in its tasks that begin from now on; a deadline that is armed already stays
    /// where it is.
    #[track_caller]
    pub fn set_clock(&self, skew: ClockSkew) {
        self.apply_clock(skew, true);
    }

    /// Lets every poll of one of its tasks take so much time, in which no other of its tasks is
    /// polled. Zero, as at first, is none.
    #[track_caller]
    pub fn set_poll_cost(&self, cost: Duration) {
        self.apply_poll_cost(cost, true);
    }

    /// Starts a task that belongs to the node and dies with it.
    ///
    /// It never runs if the node is down, as it is until the poll returns in which it is started
    /// again. To join it then gives a
    /// [`JoinError`](crate::JoinError), as it does if the node dies before the task ends.
    #[track_caller]
    pub fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        let (name, future) = (TaskName::Type(std::any::type_name::<F>), box_task(future));
        let spawned_at = Location::caller();
        let (spawned, number) = enter(self.run, |fabric, world| {
            let part = self.info(fabric);
            let root =
                part.root_task.filter(|root| part.is_up && world.tasks.get_live(*root).is_some());
            let spawned = match root {
                None => Err(future),
                Some(root) => {
                    let origin = Origin::Task(root.slot);
                    world.spawn_on(part.number, origin, &name, future, spawned_at)
                }
            };
            (spawned, part.number)
        });
        // A task that never begins is dropped here, outside the world.
        JoinHandle::from_spawn_result(self.run, spawned.map_err(drop), (number, spawned_at))
    }
}

/// What plans do as well: then the caller counts what was requested.
impl Node {
    #[track_caller]
    pub(crate) fn apply_stop(&self, family: FaultKind, by_hand: bool) {
        enter(self.run, |fabric, world| {
            if world.accepts_effect() {
                self.request(fabric, family, by_hand);
                self.stop_if_up(fabric, world, family);
            }
        });
    }

    /// Has it die as soon as the current poll returns.
    fn stop_if_up(&self, fabric: &mut SimnetState, world: &mut World, family: FaultKind) {
        let was_up = std::mem::replace(&mut self.info(fabric).is_up, false);
        // One that has crashed can still lose its power.
        let answers =
            family == FaultKind::PowerOff && self.sim_host(fabric).power != PowerState::Silent;
        if was_up || answers {
            self.run_callback(fabric, world, move |node| node.stop_node(family));
        }
    }

    /// Has something done to it as soon as the current poll returns.
    fn run_callback(
        &self,
        fabric: &mut SimnetState,
        world: &mut World,
        errand: impl FnOnce(&Self) + 'static,
    ) {
        self.info(fabric).in_transition += 1;
        let node = self.clone();
        world.defer_callback(Callback::Boxed(Box::new(move || {
            enter(node.run, |fabric, _| node.info(fabric).in_transition -= 1);
            errand(&node);
        })));
    }

    /// Starts it again: a fault.
    #[track_caller]
    pub(crate) fn apply_restart(&self, by_hand: bool) {
        self.restart_now(true, by_hand);
    }

    /// Starts it again when a plan is done with it: the end of a fault, and none itself. Does
    /// nothing if somebody has done so since that life.
    #[track_caller]
    pub(crate) fn start_if_same(&self, life: u32) {
        if self.incarnation() == life {
            self.restart_now(false, false);
        }
    }

    /// How many times it was restarted, or is going to be as soon as the current poll returns.
    pub(crate) fn incarnation(&self) -> u32 {
        enter(self.run, |fabric, _| {
            let machine = self.sim_host(fabric);
            let is_starting = |part: &NodeInfo| part.is_up && part.in_transition > 0;
            machine.incarnation + u32::from(machine.node.as_deref().is_some_and(is_starting))
        })
    }

    #[track_caller]
    fn restart_now(&self, is_fault: bool, by_hand: bool) {
        enter(self.run, |fabric, world| {
            if world.accepts_effect() {
                self.request(fabric, FaultKind::Restart, by_hand);
                self.stop_if_up(fabric, world, FaultKind::Restart);
                self.info(fabric).is_up = true;
                self.run_callback(fabric, world, move |node| node.begin_incarnation(is_fault));
            }
        });
    }

    #[track_caller]
    pub(crate) fn apply_close(&self, by_hand: bool) {
        let host = enter(self.run, |fabric, world| {
            if !world.accepts_effect() {
                return None;
            }
            self.request(fabric, FaultKind::Close, by_hand);
            self.sim_host(fabric).host.clone()
        });
        if let Some(host) = host.filter(|host| !host.is_closed()) {
            enter(self.run, |fabric, world| {
                self.count_applied(fabric, world, FaultKind::Close, true)
            });
            // Only a network that closes with its last host has anything to report.
            let _ = host.close();
        }
    }

    #[track_caller]
    pub(crate) fn apply_pause(&self, paused: bool, by_hand: bool) {
        enter(self.run, |fabric, world| {
            if self.info(fabric).in_transition > 0 && world.accepts_effect() {
                // It concerns the life that begins.
                self.run_callback(fabric, world, move |node| {
                    enter(node.run, |fabric, world| node.pause_in(fabric, world, paused, by_hand));
                });
            } else {
                self.pause_in(fabric, world, paused, by_hand);
            }
        });
    }

    fn pause_in(&self, fabric: &mut SimnetState, world: &mut World, paused: bool, by_hand: bool) {
        self.record_effects(fabric, world);
        let part = self.info(fabric);
        let number = part.number;
        // Who is down is not paused: there is nothing to be held up.
        if !world.accepts_effect() || (paused && !part.is_up) {
            return;
        }
        if paused {
            let before = part.pause.as_ref().map(|pause| pause.is_effective);
            let pause = part.pause.get_or_insert_default();
            pause.acquire(by_hand);
            if let Some(felt) = before {
                // Still the same pause, of which there is one more who wants it.
                pause.is_effective = felt;
                return;
            }
            self.request(fabric, FaultKind::Pause, by_hand);
            self.count_applied(fabric, world, FaultKind::Pause, false);
        } else if part.pause.as_mut().is_some_and(|pause| pause.release(by_hand)) {
            part.pause = None;
            self.record(world, "resume");
            fabric.resume_lookups(world, self.net, self.host);
        } else {
            return;
        }
        world.set_paused(number, paused);
    }

    #[track_caller]
    pub(crate) fn apply_clock(&self, skew: ClockSkew, by_hand: bool) {
        enter(self.run, |fabric, world| {
            if !world.accepts_effect() {
                return;
            }
            if by_hand {
                self.info(fabric).manual_clock = skew;
            }
            let is_fault = skew != ClockSkew::none();
            self.change_clock(fabric, world, skew, is_fault.then_some(by_hand));
        });
    }

    #[track_caller]
    pub(crate) fn apply_poll_cost(&self, cost: Duration, by_hand: bool) {
        enter(self.run, |fabric, world| {
            if !world.accepts_effect() {
                return;
            }
            if by_hand {
                self.info(fabric).manual_poll_cost = cost;
            }
            self.change_cost(fabric, world, cost, (!cost.is_zero()).then_some(by_hand));
        });
    }

    /// Sets its clock as it was by hand when a plan is done with it: the end of a fault, and none
    /// itself.
    pub(crate) fn restore_clock(&self) {
        enter(self.run, |fabric, world| {
            let own = self.info(fabric).manual_clock;
            self.change_clock(fabric, world, own, None);
        });
    }

    /// The same for what a poll costs it.
    pub(crate) fn restore_poll_cost(&self) {
        enter(self.run, |fabric, world| {
            let own = self.info(fabric).manual_poll_cost;
            self.change_cost(fabric, world, own, None);
        });
    }

    /// Changes its clock; if that is a fault, it is one by hand or not.
    fn change_clock(
        &self,
        fabric: &mut SimnetState,
        world: &mut World,
        skew: ClockSkew,
        fault: Option<bool>,
    ) {
        self.record_effects(fabric, world);
        let part = self.info(fabric);
        let number = part.number;
        part.clock_effective = fault.map(|_| false);
        let step = i128::from(skew.offset) - world.wall_clock_error(number);
        if let Some(by_hand) = fault {
            self.request(fabric, FaultKind::Clock, by_hand);
            self.count_fault(fabric, FaultKind::Clock, false);
        }
        if fault.is_some() || world.has_clock_skew(number) {
            let undone = if fault.is_none() { "undone, " } else { "" };
            let (setting, step) = (describe_clock(skew), signed(step, in_three_digits));
            let what = format!("{undone}{setting}; the wall clock steps by {step}");
            self.record_details(world, FaultKind::Clock, &what);
        }
        world.set_clock(number, skew.offset, skew.drift_ppm);
    }

    /// Changes what a poll costs it; if that is a fault, it is one by hand or not.
    fn change_cost(
        &self,
        fabric: &mut SimnetState,
        world: &mut World,
        cost: Duration,
        fault: Option<bool>,
    ) {
        self.record_effects(fabric, world);
        let part = self.info(fabric);
        let number = part.number;
        part.slow_effective = fault.map(|_| false);
        if let Some(by_hand) = fault {
            self.request(fabric, FaultKind::SlowNode, by_hand);
            self.count_fault(fabric, FaultKind::SlowNode, false);
        }
        if fault.is_some() || world.has_poll_cost(number) {
            let undone = if fault.is_none() { "undone, " } else { "" };
            self.record_details(world, FaultKind::SlowNode, &format!("{undone}{cost:?} a poll"));
        }
        world.set_poll_cost(number, nanos(cost));
    }
}

impl Node {
    fn sim_host<'a>(&self, fabric: &'a mut SimnetState) -> &'a mut SimHost {
        &mut fabric.nets[self.net as usize].hosts[self.host]
    }

    fn info<'a>(&self, fabric: &'a mut SimnetState) -> &'a mut NodeInfo {
        match &mut self.sim_host(fabric).node {
            Some(part) => part,
            None => unreachable!("a node is made with its part"),
        }
    }

    fn request(&self, fabric: &mut SimnetState, family: FaultKind, by_hand: bool) {
        let ledger = &mut fabric.nets[self.net as usize].stats;
        ledger.kind_mut(family).requested += u64::from(by_hand);
    }

    fn count_applied(
        &self,
        fabric: &mut SimnetState,
        world: &mut World,
        family: FaultKind,
        felt: bool,
    ) {
        self.count_fault(fabric, family, felt);
        self.record(world, family.name());
    }

    fn count_fault(&self, fabric: &mut SimnetState, family: FaultKind, felt: bool) {
        let counts = fabric.nets[self.net as usize].stats.kind_mut(family);
        counts.applied += 1;
        counts.effective += u64::from(felt);
    }

    /// Records a fault of the node, or its end, with what it is set to.
    #[cold]
    fn record_details(&self, world: &mut World, family: FaultKind, what: &str) {
        world.record_fault(format!("{} {}: {what}", family.name(), self.name));
    }

    fn record(&self, world: &mut World, what: &str) {
        world.record_fault(format!("{what} {}", self.name));
    }

    /// Notes which of the faults of this node have been felt by now.
    pub(crate) fn record_effects(&self, fabric: &mut SimnetState, world: &World) {
        let net = &mut fabric.nets[self.net as usize];
        if let Some(part) = &mut net.hosts[self.host].node {
            part.record_effects(&mut net.stats, world);
        }
    }

    /// Does something with every connection of its host.
    fn with_conns(
        &self,
        fabric: &mut SimnetState,
        world: &mut World,
        mut work: impl FnMut(&mut ConnCtx<'_>, usize),
    ) {
        let own = |(index, conn): (usize, &crate::simnet::tcp::connection::Connection)| {
            let at = |end: usize| conn.ends[end].host == self.host;
            let ends: Vec<usize> = (0..2).filter(|end| at(*end)).collect();
            (conn.net == self.net).then_some((index, ends))
        };
        let conns: Vec<_> = fabric.conns.iter().filter_map(own).collect();
        for (index, ends) in conns {
            if let Some(mut transit) = fabric.conn_ctx(index, world) {
                ends.into_iter().for_each(|end| work(&mut transit, end));
            }
        }
    }

    /// Dies.
    fn stop_node(&self, family: FaultKind) {
        let power =
            if family == FaultKind::PowerOff { PowerState::Silent } else { PowerState::Down };
        let host = enter(self.run, |fabric, world| {
            if family == FaultKind::PowerOff && self.sim_host(fabric).power == PowerState::Silent {
                return None;
            }
            if family == FaultKind::Restart {
                self.record(world, "crash to restart");
            } else {
                self.count_applied(fabric, world, family, true);
            }
            self.record_effects(fabric, world);
            let machine = self.sim_host(fabric);
            machine.power = power;
            let host = machine.host.take();
            if let Some(part) = &mut machine.node {
                (part.root_task, part.pause) = (None, None);
            }
            self.with_conns(fabric, world, |transit, end| match power {
                PowerState::Silent => transit.on_power_off(end),
                _ => transit.on_crash(end),
            });
            host
        });
        // Its connections are dealt with: no end of a stream comes from this.
        if let Some(host) = host {
            let _ = host.close();
        }
        enter(self.run, |fabric, world| {
            let number = self.info(fabric).number;
            let by = PathHash::of_name(family.name());
            world.intern_name(by, || family.name().into());
            let death = match family {
                FaultKind::PowerOff => NodeDeath::PowerOff,
                FaultKind::Restart => NodeDeath::Restart,
                _ => NodeDeath::Crash,
            };
            world.stop_node(number, death, by);
        });
    }

    /// Begins a new life.
    fn begin_incarnation(&self, is_fault: bool) {
        enter(self.run, |fabric, world| {
            if is_fault {
                self.count_applied(fabric, world, FaultKind::Restart, true);
            } else {
                self.record(world, "restart");
            }
            let machine = self.sim_host(fabric);
            machine.incarnation += 1;
            machine.power = PowerState::Down;
            let number = self.info(fabric).number;
            world.start_node(number);
            self.with_conns(fabric, world, |transit, end| transit.on_restart(end));
        });
        self.boot();
    }

    /// Starts the program.
    fn boot(&self) {
        let root = box_task(self.clone().run_program());
        let spawned = enter(self.run, |fabric, world| {
            let life = self.sim_host(fabric).incarnation;
            let part = self.info(fabric);
            let (number, spawned_at) = (part.number, part.spawned_at);
            let (origin, name) = (Origin::Node { life }, TaskName::Given(self.name.clone()));
            let spawned = world.spawn_on(number, origin, &name, root, spawned_at);
            self.info(fabric).root_task = spawned.as_ref().ok().copied();
            spawned
        });
        if let Ok(task) = spawned {
            drop(JoinHandle::<()>::new(self.run, task)); // nobody joins it
        }
    }

    /// What its first task does: takes a host, runs the program there, and then only keeps the
    /// node.
    async fn run_program(self) {
        let (subnetwork, addr, program) = enter(self.run, |fabric, _| {
            let machine = self.sim_host(fabric);
            let (region, addr) = (machine.region, machine.addr.clone());
            let subnetwork =
                fabric.nets[self.net as usize].regions[region as usize].subnetwork.clone();
            (subnetwork, addr, self.info(fabric).program.clone())
        });
        let host = loop {
            match subnetwork.clone().into_host(addr.clone()).await {
                Ok(host) => break host,
                Err(error) if *error.root() == Cause::RegistryDown => {
                    let again = enter(self.run, |_, world| world.local_now()) + BOOT_RETRY_DELAY;
                    Sleep::new(self.run, again).await;
                }
                Err(error) => panic!("node {} did not start: {error}", self.name),
            }
        };
        enter(self.run, |fabric, _| self.sim_host(fabric).host = Some(host.clone()));
        if let Err(error) = program(host).await {
            panic!("the program of node {} failed: {error}", self.name);
        }
        poll_fn(|_| {
            waiting_for(|| "nothing: its program has returned".into());
            Poll::<()>::Pending
        })
        .await;
    }
}

/// The settings of a clock: nanoseconds ahead, and millionths by which it runs too fast.
pub(crate) fn describe_clock(ClockSkew { offset, drift_ppm }: ClockSkew) -> String {
    format!("offset {}, drift {drift_ppm} ppm", signed(offset.into(), Duration::from_nanos))
}

/// A number of nanoseconds as a duration, which may be negative, as `text` writes one.
fn signed(nanos: i128, text: fn(u64) -> Duration) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{:?}", text(u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX)))
}

/// After how long a node that finds the registry down tries again.
const BOOT_RETRY_DELAY: Duration = Duration::from_millis(100);

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?})", self.name)
    }
}
