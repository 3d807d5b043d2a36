//! [`FaultPlan`]: applies drawn faults at their instants, and undoes them.
//!
//! The victims of a fault are drawn as plain numbers, and taken modulo the hosts, pairs or nodes
//! that exist when the fault is applied. A fault that would take down more nodes than allowed is
//! skipped. At the end of the plan, everything that it did is undone.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::sim::{Callback, FaultKind, Instant, Sleep};

use crate::simnet::clock_skew::ClockSkew;
use crate::simnet::fault::links::PlannedFaultId;
use crate::simnet::fault::set::{Faults, PlanSampler, PlannedFault};
use crate::simnet::network::Network;
use crate::simnet::node::{Node, describe_clock};
use crate::simnet::state::{enter, try_enter};

/// What has been done, and how it is undone.
#[derive(Debug)]
enum Undo {
    Nothing,
    Partition(PlannedFaultId, FaultKind),
    Release(String, String),
    Link(u32, u32, FaultKind),
    /// To be started again, unless that was done since this life.
    Start(Node, u32),
    Resume(Node),
    Clock(Node),
    PollCost(Node),
    Registry,
}

impl Undo {
    /// Whether what this undoes is the very thing that `other` does: a second strike of the same
    /// kind on the same victims goes on when the first is over.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Release(a, b), Self::Release(c, d)) => (a, b) == (c, d) || (a, b) == (d, c),
            (Self::Link(a, b, kind), Self::Link(c, d, other_kind)) => {
                kind == other_kind && ((a, b) == (c, d) || (a, b) == (d, c))
            }
            (Self::Clock(node), Self::Clock(other))
            | (Self::PollCost(node), Self::PollCost(other)) => node.host == other.host,
            (Self::Registry, Self::Registry) => true,
            _ => false,
        }
    }
}

/// A plan of faults: see [`Network::fault_plan`]. Printed, it tells what it did and when.
pub struct FaultPlan {
    network: Network,
    faults: Faults,
    plan: u32,
    /// Whether it has run: then it runs as another plan the next time.
    has_run: bool,
    /// What is to be undone, and when: by instant, then by order.
    undo_at: BTreeMap<(u64, u64), Undo>,
    applied: Vec<(Instant, String)>,
}

impl Network {
    /// Makes a plan of faults, whose faults begin when it is run.
    ///
    /// What happens in it is drawn from the seed: which faults, when, for how long, and whom they
    /// hit. Each decision is a choice; on `Tape::zero()` nothing happens.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use virtnet::{Run, simnet::{Faults, Network}};
    /// Run::new(1).execute(async |_| {
    ///     let net = Network::new("t");
    ///     # net.new_host("α").await.unwrap();
    ///     // .. make nodes, start clients ..
    ///     net.fault_plan(Faults::all().swarm()).run_for(Duration::from_secs(30)).await;
    ///     // All is well again: now progress can be demanded.
    /// }).unwrap();
    /// ```
    #[track_caller]
    pub fn fault_plan(&self, faults: Faults) -> FaultPlan {
        let plan = enter(self.run, |state, _| {
            let net = &mut state.nets[self.net as usize];
            net.plan_count += 1;
            for kind in faults.kinds() {
                net.stats.kind_mut(kind).requested += 1;
            }
            net.plan_count - 1
        });
        let (undo_at, applied) = (BTreeMap::new(), Vec::new());
        FaultPlan { network: self.clone(), faults, plan, has_run: false, undo_at, applied }
    }
}

impl FaultPlan {
    /// Lets the faults strike for so long, then undoes all it did: partitions, links, nodes,
    /// clocks and pauses. It may be run again, and then does other things.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the middle it stops; what it did is undone when the `FaultPlan` is dropped.
    pub async fn run_for(&mut self, duration: Duration) {
        let (start, planned) = enter(self.network.run, |state, world| {
            if std::mem::replace(&mut self.has_run, true) {
                let plans = &mut state.nets[self.network.net as usize].plan_count;
                self.plan = *plans;
                *plans += 1;
            }
            let (start, network) = (world.now, self.network.name().to_string());
            let mut sampler = PlanSampler { world, network: &network, plan: self.plan };
            let planned = sampler.draw(&self.faults, duration);
            let stats = &mut state.nets[self.network.net as usize].stats;
            planned.iter().for_each(|fault| stats.kind_mut(fault.kind).drawn += 1);
            (Instant::from_nanos(start), planned)
        });
        for fault in planned {
            let at = start + Duration::from_nanos(fault.start);
            self.undo_until(at).await;
            self.wait_until(at).await;
            let ends_at = (at + Duration::from_nanos(fault.duration)).as_nanos();
            let index = self.applied.len() as u64;
            let (description, undo) = self.apply(fault, (self.plan, index));
            if let Some(description) = description {
                self.applied.push((at, description));
                self.undo_at.insert((ends_at, index), undo);
            }
        }
        self.undo_until(start + duration).await;
        self.wait_until(start + duration).await;
        self.undo_all();
    }

    /// Returns what it has done so far, and when.
    pub fn applied_faults(&self) -> &[(Instant, String)] {
        &self.applied
    }

    /// Undoes what is due until an instant, each at its own.
    async fn undo_until(&mut self, end: Instant) {
        while let Some(&(at, number)) = self.undo_at.keys().next()
            && at <= end.as_nanos()
        {
            self.wait_until(Instant::from_nanos(at)).await;
            // Not taken out before: it may be dropped while it waits.
            if let Some(undo) = self.undo_at.remove(&(at, number))
                && !self.undo_at.values().any(|later| later.covers(&undo))
            {
                self.undo(&undo);
            }
        }
    }

    /// Waits for an instant of true time.
    async fn wait_until(&self, at: Instant) {
        let at = enter(self.network.run, |_, world| world.to_local_instant(at));
        Sleep::new(self.network.run, at).await;
    }

    /// Brings a fault about. Says what it was, unless there was nobody to hit, and how to undo it.
    fn apply(&self, fault: PlannedFault, id: PlannedFaultId) -> (Option<String>, Undo) {
        let nothing = (None, Undo::Nothing);
        let net = &self.network;
        match fault.kind {
            FaultKind::Partition | FaultKind::OneWay => {
                let Some((small_side, large_side)) = self.draw_sides(fault) else { return nothing };
                let both_ways = fault.kind == FaultKind::Partition;
                let is_reversed = !both_ways && fault.strength % 2 == 1;
                let (from, to) = if is_reversed {
                    (&large_side, &small_side)
                } else {
                    (&small_side, &large_side)
                };
                let names = |side: &[String]| side.join(" ");
                let description = format!("{} {} | {}", fault.kind.name(), names(from), names(to));
                let from: Vec<&str> = from.iter().map(String::as_str).collect();
                let to: Vec<&str> = to.iter().map(String::as_str).collect();
                net.apply_partition(&from, &to, both_ways, Some(id));
                (Some(description), Undo::Partition(id, fault.kind))
            }
            FaultKind::Hold | FaultKind::Reset => {
                let Some(((a, b), _)) = self.draw_pair(fault) else { return nothing };
                let description = format!("{} {a} {b}", fault.kind.name());
                if fault.kind == FaultKind::Hold {
                    net.hold_pair(&a, &b, false);
                    (Some(description), Undo::Release(a, b))
                } else {
                    net.reset_pair(&a, &b, false);
                    (Some(description), Undo::Nothing)
                }
            }
            FaultKind::Latency | FaultKind::Loss | FaultKind::Bandwidth | FaultKind::ShortIo => {
                self.apply_to_link(fault)
            }
            FaultKind::Registry => {
                net.set_registry(true, false);
                (Some("registry down".into()), Undo::Registry)
            }
            _ => self.apply_to_node(fault),
        }
    }

    /// Changes the link between two hosts.
    fn apply_to_link(&self, fault: PlannedFault) -> (Option<String>, Undo) {
        let Some(((a, b), pair)) = self.draw_pair(fault) else { return (None, Undo::Nothing) };
        let (level, kind) = ((fault.strength % 4) as usize, fault.kind);
        // Not as another strike has left it: two of them would be ten thousand times as high.
        let usual_latency = enter(self.network.run, |state, _| {
            state.nets[self.network.net as usize].latency_without_plan(pair.0, pair.1)
        });
        let ppm = [10_000, 50_000, 200_000, 500_000][level];
        let factor = [4, 10, 30, 100][level];
        let rate = [1_000_000, 100_000, 20_000, 4_000][level];
        self.network.override_link((pair, false), kind, true, |settings| match kind {
            FaultKind::Latency => settings.latency = Some(usual_latency.scaled_by(factor)),
            FaultKind::Loss => settings.loss_ppm = Some(ppm),
            FaultKind::Bandwidth => settings.bandwidth = Some(rate),
            _ => settings.short_io_ppm = Some(2 * ppm),
        });
        let description = match kind {
            FaultKind::Latency => format!("latency {a} {b}: {factor} times as high"),
            FaultKind::Loss => format!("loss {a} {b}: {} %", ppm / 10_000),
            FaultKind::Bandwidth => format!("bandwidth {a} {b}: {rate} bytes a second"),
            _ => format!("short_io {a} {b}: {} %", ppm / 5_000),
        };
        (Some(description), Undo::Link(pair.0, pair.1, kind))
    }

    /// Does something to a node.
    fn apply_to_node(&self, fault: PlannedFault) -> (Option<String>, Undo) {
        let (nodes, up) = self.node_candidates();
        let nothing = (None, Undo::Nothing);
        let Some(node) = nodes.get(fault.victims[0] as usize % nodes.len().max(1)).cloned() else {
            return nothing;
        };
        let max_down =
            self.faults.max_down.unwrap_or_else(|| (nodes.len().saturating_sub(1) / 2).max(1));
        let takes_down = matches!(
            fault.kind,
            FaultKind::Crash
                | FaultKind::PowerOff
                | FaultKind::Close
                | FaultKind::Pause
                | FaultKind::Restart
        );
        let is_up = up.contains(&node.host);
        if !is_up || (takes_down && nodes.len() - up.len() >= max_down) {
            return nothing;
        }
        let level = (fault.strength % 4) as usize;
        let mut description = format!("{} {}", fault.kind.name(), node.name());
        let incarnation = node.incarnation();
        let undo = match fault.kind {
            FaultKind::Crash | FaultKind::PowerOff => {
                node.apply_stop(fault.kind, false);
                Undo::Start(node, incarnation)
            }
            FaultKind::Close => {
                node.apply_close(false);
                Undo::Start(node, incarnation)
            }
            FaultKind::Pause => {
                node.apply_pause(true, false);
                Undo::Resume(node)
            }
            FaultKind::Restart => {
                node.apply_restart(false);
                Undo::Nothing
            }
            FaultKind::Clock => {
                let offset = [50_000_000, 1_000_000_000, -1_000_000_000, 60_000_000_000][level];
                let drift = [50, -1_000, 20_000, -100_000][fault.victims[1] as usize % 4];
                let skew = ClockSkew { offset, drift_ppm: drift };
                node.apply_clock(skew, false);
                description += &format!(": {}", describe_clock(skew));
                Undo::Clock(node)
            }
            _ => {
                let cost = Duration::from_micros([100, 1_000, 5_000, 20_000][level]);
                node.apply_poll_cost(cost, false);
                description += &format!(": {cost:?} a poll");
                Undo::PollCost(node)
            }
        };
        (Some(description), undo)
    }

    /// Undoes one thing.
    fn undo(&self, undo: &Undo) {
        let net = &self.network;
        match undo {
            Undo::Nothing => {}
            Undo::Partition(id, kind) => net.undo_partition(*id, *kind),
            Undo::Release(a, b) => net.release_pair(a, b, false),
            Undo::Link(a, b, kind) => net.undo_override((*a, *b), *kind),
            Undo::Start(node, incarnation) => node.start_if_same(*incarnation),
            Undo::Resume(node) => node.apply_pause(false, false),
            Undo::Clock(node) => node.restore_clock(),
            Undo::PollCost(node) => node.restore_poll_cost(),
            Undo::Registry => net.set_registry(false, false),
        }
    }

    /// Undoes everything that is left.
    fn undo_all(&mut self) {
        let undo_at = std::mem::take(&mut self.undo_at);
        undo_at.values().for_each(|undo| self.undo(undo));
    }

    /// Parts the hosts in two, if there are two.
    fn draw_sides(&self, fault: PlannedFault) -> Option<(Vec<String>, Vec<String>)> {
        let mut names: Vec<String> = enter(self.network.run, |state, _| {
            let net = &state.nets[self.network.net as usize];
            net.hosts.names().into_iter().map(str::to_string).collect()
        });
        if names.len() < 2 {
            return None;
        }
        let side_len = 1 + fault.victims[1] as usize % (names.len() / 2);
        let first = fault.victims[0] as usize % names.len();
        names.rotate_left(first);
        let other_side = names.split_off(side_len);
        Some((names, other_side))
    }

    /// Two hosts of which one has dialed the other: names and numbers.
    fn draw_pair(&self, fault: PlannedFault) -> Option<((String, String), (u32, u32))> {
        enter(self.network.run, |state, _| {
            let net = &state.nets[self.network.net as usize];
            let pairs: Vec<(u32, u32)> =
                net.pairs.keys().filter(|(a, b)| a != b).copied().collect();
            let (a, b) = *pairs.get(fault.victims[0] as usize % pairs.len().max(1))?;
            let name = |host: u32| net.hosts[host].name().to_string();
            Some(((name(a), name(b)), (a, b)))
        })
    }

    /// All nodes, and the numbers of those that are up, and have a host.
    fn node_candidates(&self) -> (Vec<Node>, Vec<u32>) {
        enter(self.network.run, |state, _| {
            let net = &state.nets[self.network.net as usize];
            let (mut nodes, mut up) = (Vec::new(), Vec::new());
            for (sim_host, index) in net.hosts.iter().zip(0..) {
                let Some(info) = &sim_host.node else { continue };
                nodes.push(Node {
                    run: self.network.run,
                    net: self.network.net,
                    host: index,
                    name: sim_host.name().into(),
                });
                let has_open_host = sim_host.host.as_ref().is_some_and(|host| !host.is_closed());
                if info.is_up && info.pause.is_none() && has_open_host {
                    up.push(index);
                }
            }
            (nodes, up)
        })
    }
}

impl Drop for FaultPlan {
    fn drop(&mut self) {
        match try_enter(self.network.run, |_, world| (world.is_running(), world.accepts_effect())) {
            Some((true, true)) => self.undo_all(),
            // It belonged to a task that dies with its node: that is no reason to stop here.
            Some((true, false)) if !self.undo_at.is_empty() => {
                let (network, faults) = (self.network.clone(), self.faults.clone());
                let (plan, undo_at) = (self.plan, std::mem::take(&mut self.undo_at));
                let (has_run, applied) = (true, Vec::new());
                let mut leftover = Self { network, faults, plan, has_run, undo_at, applied };
                try_enter(self.network.run, |_, world| {
                    world.defer_callback(Callback::Boxed(Box::new(move || leftover.undo_all())));
                });
            }
            _ => {}
        }
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultPlan").field("plan", &self.plan).field("done", &self.applied).finish()
    }
}

/// Prints a line for each fault that struck: when, and what it was.
impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (at, description)) in self.applied.iter().enumerate() {
            let line = if number == 0 { "" } else { "\n" };
            write!(f, "{line}{at} {description}")?;
        }
        Ok(())
    }
}
