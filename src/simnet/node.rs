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
    Callback, FaultAction, FaultChange, FaultKind, FaultTarget, JoinHandle, NodeDeath, Origin,
    PathHash, Sleep, TaskName, World, box_task, in_three_digits, nanos,
};
use crate::util::stall_probe::waiting_for;

use crate::simnet::clock_skew::ClockSkew;
use crate::simnet::fault::source::{ActiveFault, FaultSource};
use crate::simnet::host::sim_host::{NodeInfo, PowerState, ProgramFn, ProgramFuture, SimHost};
use crate::simnet::state::{SimnetState, enter};
use crate::simnet::tcp::conn_ctx::ConnCtx;

/// The output of a node's program: nothing, or a `Result` whose error ends the run as a panic does.
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
pub trait FnReturn {
    /// Its return type.
    type Output;
}

impl<T> FnReturn for fn() -> T {
    type Output = T;
}

/// A program that never returns.
impl NodeOutput for <fn() -> ! as FnReturn>::Output {
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
/// An action takes effect as soon as the current poll returns. A call does nothing if the node is
/// in that state already.
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

/// The program of a node, whatever its output is.
fn into_program<P, Fut>(program: P) -> ProgramFn
where
    P: Fn(Host) -> Fut + 'static,
    Fut: Future<Output: NodeOutput> + 'static,
{
    Rc::new(move |host| -> ProgramFuture {
        let future = program(host);
        Box::pin(async move { future.await.into_error().map_or(Ok(()), Err) })
    })
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
        let program = into_program(program);
        let node = enter(run, |state, world| {
            let net_state = &mut state.nets[net as usize];
            let host = net_state.hosts.find_or_add(&net_state.name, name, region);
            let sim_host = &mut net_state.hosts[host];
            if sim_host.node.is_some() || sim_host.power == PowerState::Up {
                return Err(format!("there is a host {name:?} already on this network"));
            }
            let number = world.add_node(name.into());
            let info = NodeInfo::new(number, program, spawned_at);
            sim_host.node = Some(Box::new(info));
            Ok(Self { run, net, host, name: name.into() })
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
        enter(self.run, |state, _| self.sim_host(state).host.clone())
    }

    /// Returns whether it is meant to run: it has not been crashed or powered off since it was
    /// last started.
    #[track_caller]
    pub fn is_up(&self) -> bool {
        enter(self.run, |state, _| self.info(state).is_up)
    }

    /// Lets the process die: connections are reset, dials to it are refused, its tasks are
    /// dropped.
    ///
    /// Segments that were sent are still delivered; no connection ends in good order. Calls of the
    /// tasks' destructors have no effect, and a panic of a destructor is recorded in the trace and
    /// in `Outcome::caught_panics`.
    #[track_caller]
    pub fn crash(&self) {
        self.apply_stop(FaultKind::Crash, FaultSource::Manual);
    }

    /// Takes the power away: as a crash, but peers get no reset. They wait until they time out.
    #[track_caller]
    pub fn power_off(&self) {
        self.apply_stop(FaultKind::PowerOff, FaultSource::Manual);
    }

    /// Closes its host in good order: everything that is blocked on it is interrupted, what was
    /// written is delivered, then the streams end. The tasks go on running.
    #[track_caller]
    pub fn close_host(&self) {
        self.apply_close(FaultSource::Manual);
    }

    /// Starts the program again, in a new life; a node that is up crashes first.
    ///
    /// The name stays; ports begin at 1 again; what is still on its way to the life before is
    /// answered with a reset. For a second some may still be told by the registry where the node
    /// was before, and are refused there.
    #[track_caller]
    pub fn restart(&self) {
        self.apply_restart(FaultKind::Restart, FaultSource::Manual);
    }

    /// Starts the program again as [`restart`](Self::restart) does, without anything that it had
    /// stored: as a computer that is replaced.
    ///
    /// A program that keeps its own model of a disk asks
    /// [`Sim::previous_death`](crate::Sim::previous_death), which says
    /// [`NodeDeath::Wipe`] then.
    #[track_caller]
    pub fn restart_wiped(&self) {
        self.apply_restart(FaultKind::Wipe, FaultSource::Manual);
    }

    /// Replaces the program: the node runs it from its next start on. This is how a rolling
    /// upgrade is tested; the present life goes on with the old program.
    ///
    /// ```
    /// use std::time::Duration;
    /// use virtnet::{Run, Sim, simnet};
    ///
    /// Run::new(1).execute(async |sim| {
    ///     let net = simnet::Network::new("t");
    ///     let node = net.node("β", async |_| Sim::current().note("version 1"));
    ///     sim.sleep(Duration::from_secs(1)).await;
    ///     node.replace(async |_| Sim::current().note("version 2"));
    ///     node.restart();
    ///     sim.sleep(Duration::from_secs(1)).await;
    /// }).unwrap();
    /// ```
    #[track_caller]
    pub fn replace<P, Fut>(&self, program: P)
    where
        P: Fn(Host) -> Fut + 'static,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        let program = into_program(program);
        // The old program is the user's: it is dropped outside the world.
        let _old = enter(self.run, |state, world| {
            let program_slot = &mut self.info(state).program;
            if world.accepts_effect() { std::mem::replace(program_slot, program) } else { program }
        });
    }

    /// Lets no task of it be polled until it is resumed. The network goes on: what arrives is
    /// acknowledged, and read later.
    #[track_caller]
    pub fn pause(&self) {
        self.apply_pause(FaultSource::Manual);
    }

    /// Lets the tasks of a paused node go on.
    #[track_caller]
    pub fn resume(&self) {
        self.undo_pause(FaultSource::Manual);
    }

    /// Sets its clocks: how far its wall clock (`Sim::system_time`) is off from now on, and how
    /// much too fast or too slow both its clocks run.
    ///
    /// The wall clock is stepped, backwards as well; with [`ClockSkew::none`] it shows the true
    /// time again. `Sim::now` is monotonic and never jumps: it keeps what it has gained or lost, as
    /// a real monotonic clock does when the wall clock is set, and runs at its new rate. So do all
    /// sleeps in its tasks that begin from now on; a deadline that is armed already stays where it
    /// is.
    #[track_caller]
    pub fn set_clock(&self, skew: ClockSkew) {
        self.apply_clock(skew, FaultSource::Manual);
    }

    /// Sets the time that every poll of one of its tasks takes, in which no other of its tasks is
    /// polled. Zero, the default, is none.
    #[track_caller]
    pub fn set_poll_cost(&self, cost: Duration) {
        self.apply_poll_cost(cost, FaultSource::Manual);
    }

    /// Lets the next `count` accepts of each of its listeners fail with `too many open files`, each
    /// at the moment at which it could take a dial. The dial waits on, and a later accept takes it.
    /// Zero ends that. Does nothing if the node is down or has no listeners yet.
    ///
    /// A program that gives up its listener after such an error is deaf from then on.
    #[track_caller]
    pub fn fail_accepts(&self, count: u32) {
        self.apply_accept_failures(count, FaultSource::Manual);
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
        let (spawned, number) = enter(self.run, |state, world| {
            let info = self.info(state);
            let root = info.root_task.filter(|root| info.is_up && world.is_task_live(*root));
            let spawned = match root {
                None => Err(future),
                Some(root) => {
                    let origin = Origin::Task(root.slot);
                    world.spawn_on(info.number, origin, &name, future, spawned_at)
                }
            };
            (spawned, info.number)
        });
        // A task that never begins is dropped here, outside the world.
        JoinHandle::from_spawn_result(self.run, spawned.map_err(drop), (number, spawned_at))
    }
}

/// The actions that plans do as well. The caller counts the requests of plans.
impl Node {
    #[track_caller]
    pub(crate) fn apply_stop(&self, kind: FaultKind, source: FaultSource) {
        enter(self.run, |state, world| {
            if world.accepts_effect() {
                self.count_requested(state, kind, source);
                self.stop_if_up(state, world, kind);
            }
        });
    }

    /// Has it die because its region has lost its power, which is the fault that is counted.
    pub(crate) fn lose_power(&self) {
        enter(self.run, |state, world| self.stop_if_up(state, world, FaultKind::Zone));
    }

    /// Takes its power and cancels what plans have set on it, unless it has no power already.
    pub(crate) fn power_off_for_good(&self) {
        let has_power = enter(self.run, |state, _| {
            self.info(state).is_up || self.sim_host(state).power != PowerState::PoweredOff
        });
        if has_power {
            self.power_off();
        }
        self.undo_planned_settings();
    }

    /// Undoes what plans have set: its clock, its poll cost, and failing accepts.
    pub(crate) fn undo_planned_settings(&self) {
        let [clock, poll_cost, accept_failures]: [Vec<_>; 3] = enter(self.run, |state, _| {
            let info = self.info(state);
            [
                info.clock.planned_sources().collect(),
                info.poll_cost.planned_sources().collect(),
                info.accept_failures.planned_sources().collect(),
            ]
        });
        clock.into_iter().for_each(|source| self.undo_clock(source));
        poll_cost.into_iter().for_each(|source| self.undo_poll_cost(source));
        accept_failures.into_iter().for_each(|source| self.undo_accept_failures(source));
    }

    /// Whether its host was neither closed nor lost; true while it starts.
    pub(crate) fn has_open_host(&self) -> bool {
        enter(self.run, |state, _| {
            self.sim_host(state).host.as_ref().is_none_or(|host| !host.is_closed())
        })
    }

    /// Has it die as soon as the current poll returns.
    fn stop_if_up(&self, state: &mut SimnetState, world: &mut World, kind: FaultKind) {
        let was_up = std::mem::replace(&mut self.info(state).is_up, false);
        // One that has crashed can still lose its power.
        let still_answers =
            is_power_failure(kind) && self.sim_host(state).power != PowerState::PoweredOff;
        if was_up || still_answers {
            self.defer_transition(state, world, move |node| node.stop_node(kind));
        }
    }

    /// Has something done to it as soon as the current poll returns.
    fn defer_transition(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        callback: impl FnOnce(&Self) + 'static,
    ) {
        self.info(state).pending_transitions += 1;
        let node = self.clone();
        world.defer_callback(Callback::Boxed(Box::new(move || {
            enter(node.run, |state, _| node.info(state).pending_transitions -= 1);
            callback(&node);
        })));
    }

    /// Starts it again: a fault, which is a restart or a wipe.
    #[track_caller]
    pub(crate) fn apply_restart(&self, kind: FaultKind, source: FaultSource) {
        self.defer_restart(Some((kind, source)));
    }

    /// Starts it again at the end of a planned fault, which is not a fault itself. Does nothing if
    /// it was started since that incarnation.
    #[track_caller]
    pub(crate) fn start_if_same(&self, incarnation: u32) {
        if self.incarnation() == incarnation {
            self.defer_restart(None);
        }
    }

    /// The number of its restarts, including one that is done as soon as the current poll returns.
    pub(crate) fn incarnation(&self) -> u32 {
        enter(self.run, |state, _| {
            let sim_host = self.sim_host(state);
            let is_starting = |info: &NodeInfo| info.is_up && info.pending_transitions > 0;
            sim_host.incarnation + u32::from(sim_host.node.as_deref().is_some_and(is_starting))
        })
    }

    /// Starts it again when the current poll has returned: as a fault, which is a restart or a
    /// wipe, or as the end of one.
    #[track_caller]
    fn defer_restart(&self, fault: Option<(FaultKind, FaultSource)>) {
        enter(self.run, |state, world| {
            if world.accepts_effect() {
                if let Some((kind, source)) = fault {
                    self.count_requested(state, kind, source);
                }
                let kind = fault.map(|(kind, _)| kind);
                let stop_kind = fault.map_or(FaultKind::Restart, |(kind, _)| kind);
                self.stop_if_up(state, world, stop_kind);
                self.info(state).is_up = true;
                self.defer_transition(state, world, move |node| node.begin_incarnation(kind));
            }
        });
    }

    #[track_caller]
    pub(crate) fn apply_close(&self, source: FaultSource) {
        let host = enter(self.run, |state, world| {
            if !world.accepts_effect() {
                return None;
            }
            self.count_requested(state, FaultKind::Close, source);
            self.sim_host(state).host.clone()
        });
        if let Some(host) = host.filter(|host| !host.is_closed()) {
            enter(self.run, |state, world| {
                self.count_applied(state, world, FaultKind::Close, true);
            });
            // Only a network that closes with its last host has anything to report.
            let _ = host.close();
        }
    }

    #[track_caller]
    pub(crate) fn apply_pause(&self, source: FaultSource) {
        self.change_pause(move |node, state, world| node.apply_pause_now(state, world, source));
    }

    #[track_caller]
    pub(crate) fn undo_pause(&self, source: FaultSource) {
        self.change_pause(move |node, state, world| node.undo_pause_now(state, world, source));
    }

    /// Pauses or resumes it, now or in the incarnation that is about to begin.
    #[track_caller]
    fn change_pause(&self, change: impl FnOnce(&Self, &mut SimnetState, &mut World) + 'static) {
        enter(self.run, |state, world| {
            if !world.accepts_effect() {
                return;
            }
            if self.info(state).pending_transitions > 0 {
                self.defer_transition(state, world, move |node| {
                    enter(node.run, |state, world| change(node, state, world));
                });
            } else {
                change(self, state, world);
            }
        });
    }

    fn apply_pause_now(&self, state: &mut SimnetState, world: &mut World, source: FaultSource) {
        self.record_effects(state, world);
        let info = self.info(state);
        let number = info.number;
        // A node that is down has no tasks to pause.
        if !world.accepts_effect() || !info.is_up {
            return;
        }
        match &mut info.pause {
            Some(pause) => pause.add_source(source),
            pause => {
                pause.insert(ActiveFault::default()).apply(source);
                self.count_requested(state, FaultKind::Pause, source);
                self.count_applied(state, world, FaultKind::Pause, false);
                world.set_paused(number, true);
            }
        }
    }

    fn undo_pause_now(&self, state: &mut SimnetState, world: &mut World, source: FaultSource) {
        self.record_effects(state, world);
        let info = self.info(state);
        let number = info.number;
        if !world.accepts_effect() || !info.pause.as_mut().is_some_and(|pause| pause.undo(source)) {
            return;
        }
        info.pause = None;
        self.record(world, FaultAction::Undo(FaultKind::Pause));
        state.resume_lookups(world, self.net, self.host);
        world.set_paused(number, false);
    }

    #[track_caller]
    pub(crate) fn apply_clock(&self, skew: ClockSkew, source: FaultSource) {
        enter(self.run, |state, world| {
            if world.accepts_effect() {
                self.record_effects(state, world);
                self.info(state).clock.apply(source, skew);
                let is_fault = skew != ClockSkew::none();
                self.change_clock(state, world, is_fault.then_some(source));
            }
        });
    }

    #[track_caller]
    pub(crate) fn apply_poll_cost(&self, cost: Duration, source: FaultSource) {
        enter(self.run, |state, world| {
            if world.accepts_effect() {
                self.record_effects(state, world);
                self.info(state).poll_cost.apply(source, cost);
                self.change_poll_cost(state, world, (!cost.is_zero()).then_some(source));
            }
        });
    }

    #[track_caller]
    pub(crate) fn apply_accept_failures(&self, count: u32, source: FaultSource) {
        let host = enter(self.run, |state, world| {
            if !world.accepts_effect() {
                return None;
            }
            self.info(state).accept_failures.apply(source, count);
            let details = format!("the next {count} of each listener fail");
            let source = (count > 0).then_some(source);
            self.record_setting(state, world, FaultKind::Accept, source, details);
            self.sim_host(state).host.clone()
        });
        if let Some(host) = host {
            host.set_accept_failures(count);
        }
    }

    /// Undoes what a source has set; the latest of the others is not begun anew.
    pub(crate) fn undo_accept_failures(&self, source: FaultSource) {
        let host = enter(self.run, |state, world| {
            self.info(state).accept_failures.undo(source)?;
            let details = "no more of them fail".to_string();
            self.record_setting(state, world, FaultKind::Accept, None, details);
            self.sim_host(state).host.clone()
        });
        if let Some(host) = host {
            host.set_accept_failures(0);
        }
    }

    /// Undoes the skew of a source. A clock that another source has set since is not touched.
    pub(crate) fn undo_clock(&self, source: FaultSource) {
        enter(self.run, |state, world| {
            self.record_effects(state, world);
            let info = self.info(state);
            match info.clock.undo(source) {
                Some(true) => self.change_clock(state, world, None),
                Some(false) => {
                    let details = describe_clock(info.clock.value().unwrap_or_default());
                    self.record_setting(state, world, FaultKind::Clock, None, details);
                }
                None => {}
            }
        });
    }

    /// Undoes the poll cost of a source; the latest of the others is in force then.
    pub(crate) fn undo_poll_cost(&self, source: FaultSource) {
        enter(self.run, |state, world| {
            self.record_effects(state, world);
            if self.info(state).poll_cost.undo(source).is_some() {
                self.change_poll_cost(state, world, None);
            }
        });
    }

    /// Sets its clock to the skew in force, which is a fault of `source` or the end of one.
    fn change_clock(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        source: Option<FaultSource>,
    ) {
        let info = self.info(state);
        let (number, skew) = (info.number, info.clock.value().unwrap_or_default());
        let step = i128::from(skew.offset) - world.wall_clock_error(number);
        if source.is_some() || world.has_clock_skew(number) {
            let (setting, step) = (describe_clock(skew), format_signed(step, in_three_digits));
            let details = format!("{setting}; the wall clock steps by {step}");
            self.record_setting(state, world, FaultKind::Clock, source, details);
        }
        world.set_clock(number, skew.offset, skew.drift_ppm);
    }

    /// Sets its poll cost to the one in force, which is a fault of `source` or the end of one.
    fn change_poll_cost(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        source: Option<FaultSource>,
    ) {
        let info = self.info(state);
        let (number, cost) = (info.number, info.poll_cost.value().unwrap_or_default());
        if source.is_some() || world.has_poll_cost(number) {
            let details = format!("{cost:?} a poll");
            self.record_setting(state, world, FaultKind::SlowNode, source, details);
        }
        world.set_poll_cost(number, nanos(cost));
    }
}

impl Node {
    fn sim_host<'a>(&self, state: &'a mut SimnetState) -> &'a mut SimHost {
        &mut state.nets[self.net as usize].hosts[self.host]
    }

    fn info<'a>(&self, state: &'a mut SimnetState) -> &'a mut NodeInfo {
        match &mut self.sim_host(state).node {
            Some(info) => info,
            None => unreachable!("a node is made with its part"),
        }
    }

    fn count_requested(&self, state: &mut SimnetState, kind: FaultKind, source: FaultSource) {
        let stats = &mut state.nets[self.net as usize].stats;
        stats.kind_mut(kind).requested += source.requested();
    }

    fn count_applied(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        kind: FaultKind,
        is_effective: bool,
    ) {
        self.count_fault(state, kind, is_effective);
        self.record(world, FaultAction::Apply(kind));
    }

    fn count_fault(&self, state: &mut SimnetState, kind: FaultKind, is_effective: bool) {
        let counts = state.nets[self.net as usize].stats.kind_mut(kind);
        counts.applied += 1;
        counts.effective += u64::from(is_effective);
    }

    /// Records what a fault of `source` has set, or the end of a fault.
    #[cold]
    fn record_setting(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        kind: FaultKind,
        source: Option<FaultSource>,
        details: String,
    ) {
        let action = match source {
            Some(source) => {
                self.count_requested(state, kind, source);
                self.count_fault(state, kind, false);
                FaultAction::Apply(kind)
            }
            None => FaultAction::Undo(kind),
        };
        world.record_fault(FaultChange { details, ..FaultChange::new(action, self.target()) });
    }

    fn record(&self, world: &mut World, action: FaultAction) {
        world.record_fault(FaultChange::new(action, self.target()));
    }

    fn target(&self) -> FaultTarget {
        FaultTarget::Host(self.name.to_string())
    }

    /// Counts the faults of this node that have had an effect by now.
    pub(crate) fn record_effects(&self, state: &mut SimnetState, world: &World) {
        let net = &mut state.nets[self.net as usize];
        if let Some(info) = &mut net.hosts[self.host].node {
            info.record_effects(&mut net.stats, world);
        }
    }

    /// Does something with every connection of its host.
    fn with_conns(
        &self,
        state: &mut SimnetState,
        world: &mut World,
        mut work: impl FnMut(&mut ConnCtx<'_>, usize),
    ) {
        let own_ends = |(index, conn): (usize, &crate::simnet::tcp::connection::Connection)| {
            let is_own = |end: usize| conn.endpoints[end].host == self.host;
            let ends: Vec<usize> = (0..2).filter(|end| is_own(*end)).collect();
            (conn.net == self.net).then_some((index, ends))
        };
        let conns: Vec<_> = state.conns.iter().filter_map(own_ends).collect();
        for (index, ends) in conns {
            if let Some(mut ctx) = state.conn_ctx(index, world) {
                ends.into_iter().for_each(|end| work(&mut ctx, end));
            }
        }
    }

    /// Dies.
    fn stop_node(&self, kind: FaultKind) {
        let power = if is_power_failure(kind) { PowerState::PoweredOff } else { PowerState::Down };
        let host = enter(self.run, |state, world| {
            if is_power_failure(kind) && self.sim_host(state).power == PowerState::PoweredOff {
                return None;
            }
            match kind {
                FaultKind::Restart | FaultKind::Wipe => {
                    self.record(world, FaultAction::StopToRestart);
                }
                FaultKind::Zone => {}
                _ => self.count_applied(state, world, kind, true),
            }
            self.record_effects(state, world);
            let sim_host = self.sim_host(state);
            sim_host.power = power;
            let host = sim_host.host.take();
            if let Some(info) = &mut sim_host.node {
                (info.root_task, info.pause) = (None, None);
            }
            self.with_conns(state, world, |ctx, end| match power {
                PowerState::PoweredOff => ctx.on_power_off(end),
                _ => ctx.on_crash(end),
            });
            host
        });
        // Its connections are dealt with: no end of a stream comes from this.
        if let Some(host) = host {
            let _ = host.close();
        }
        enter(self.run, |state, world| {
            let number = self.info(state).number;
            let source = PathHash::of_name(kind.name());
            world.intern_name(source, || kind.name().into());
            let death = match kind {
                FaultKind::PowerOff | FaultKind::Zone => NodeDeath::PowerOff,
                FaultKind::Wipe => NodeDeath::Wipe,
                FaultKind::Restart => NodeDeath::Restart,
                _ => NodeDeath::Crash,
            };
            world.stop_node(number, death, source);
        });
    }

    /// Begins a new life: by a fault of this kind, or as the end of one.
    fn begin_incarnation(&self, fault: Option<FaultKind>) {
        enter(self.run, |state, world| {
            match fault {
                Some(kind) => self.count_applied(state, world, kind, true),
                None => self.record(world, FaultAction::Apply(FaultKind::Restart)),
            }
            let sim_host = self.sim_host(state);
            sim_host.incarnation += 1;
            sim_host.power = PowerState::Down;
            let number = self.info(state).number;
            if fault == Some(FaultKind::Wipe) {
                world.wipe_node(number);
            }
            world.start_node(number);
            self.with_conns(state, world, |ctx, end| ctx.on_restart(end));
        });
        self.boot();
    }

    /// Starts the program.
    fn boot(&self) {
        let root = box_task(self.clone().run_program());
        let spawned = enter(self.run, |state, world| {
            let incarnation = self.sim_host(state).incarnation;
            let info = self.info(state);
            let (number, spawned_at) = (info.number, info.spawned_at);
            let (origin, name) =
                (Origin::Node { life: incarnation }, TaskName::Given(self.name.clone()));
            let spawned = world.spawn_on(number, origin, &name, root, spawned_at);
            self.info(state).root_task = spawned.as_ref().ok().copied();
            spawned
        });
        if let Ok(task) = spawned {
            drop(JoinHandle::<()>::new(self.run, task)); // it is never joined
        }
    }

    /// The first task of a node: makes the host, runs the program there, and then keeps the node
    /// up.
    async fn run_program(self) {
        let (subnetwork, addr, program) = enter(self.run, |state, _| {
            let sim_host = self.sim_host(state);
            let (region, addr) = (sim_host.region, sim_host.addr.clone());
            let subnetwork =
                state.nets[self.net as usize].regions[region as usize].subnetwork.clone();
            (subnetwork, addr, self.info(state).program.clone())
        });
        let host = loop {
            match subnetwork.clone().into_host(addr.clone()).await {
                Ok(host) => break host,
                Err(error) if *error.root() == Cause::RegistryDown => {
                    let retry_at = enter(self.run, |_, world| world.local_now()) + BOOT_RETRY_DELAY;
                    Sleep::new(self.run, retry_at).await;
                }
                Err(error) => panic!("node {} did not start: {error}", self.name),
            }
        };
        enter(self.run, |state, _| self.sim_host(state).host = Some(host.clone()));
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

/// Whether a node loses its power by a fault of this kind.
const fn is_power_failure(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::PowerOff | FaultKind::Zone)
}

/// The settings of a clock: nanoseconds ahead, and millionths by which it runs too fast.
pub(crate) fn describe_clock(ClockSkew { offset, drift_ppm }: ClockSkew) -> String {
    format!("offset {}, drift {drift_ppm} ppm", format_signed(offset.into(), Duration::from_nanos))
}

/// A number of nanoseconds as a duration, which may be negative, as `text` writes one.
fn format_signed(nanos: i128, text: fn(u64) -> Duration) -> String {
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
