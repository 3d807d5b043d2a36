//! [`SimHost`]: a host as the network sees it, and the part that makes it a node.
//!
//! It has what outlives a crash: the name, the region, the number of the incarnation, and the
//! program that is started again.

use std::borrow::Borrow;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::net::{Addr, DialTarget, Host};
use crate::sim::{FaultKind, TaskId, World, hash_name};
use crate::util::cold::cold;

use crate::simnet::clock_skew::ClockSkew;
use crate::simnet::fault::source::{ActiveFault, SettingFault};
use crate::simnet::fault::stats::FaultStats;

/// The future of a node's program: its error, if it fails.
pub(crate) type ProgramFuture = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// The program of a node, which runs in each of its incarnations.
pub(crate) type ProgramFn = Rc<dyn Fn(Host) -> ProgramFuture>;

/// Whether the host answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PowerState {
    /// It answers.
    Up,
    /// It answers everything with a reset: not started yet, or crashed.
    Down,
    /// It answers nothing.
    PoweredOff,
}

impl PowerState {
    #[inline]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::PoweredOff => "without power",
        }
    }
}

/// The entry of a host in the registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registration {
    /// In which life it stands.
    pub(crate) incarnation: u32,
    /// The previous incarnation, and the instant until which a look-up may still give it.
    pub(crate) stale: Option<(u32, u64)>,
}

/// A host as the network sees it.
pub(crate) struct SimHost {
    /// Its address, with port 0: where its name stands.
    pub(crate) addr: Addr,
    /// The hash of the name, of which the names of its connections are made.
    pub(crate) name_hash: u64,
    pub(crate) region: u32,
    pub(crate) power: PowerState,
    /// The number of its restarts.
    pub(crate) incarnation: u32,
    /// `None` while the registry does not know it.
    pub(crate) registration: Option<Registration>,
    /// The life in which it was last dialed, and its host then.
    pub(crate) dial_target: Option<(u32, DialTarget)>,
    /// The host of the present life, once it is announced.
    pub(crate) host: Option<Host>,
    /// The node, if the host has a program: boxed, because most hosts have none.
    pub(crate) node: Option<Box<NodeInfo>>,
}

/// The data of a node beside those of its host.
pub(crate) struct NodeInfo {
    /// Its number among the nodes of the run.
    pub(crate) number: u16,
    pub(crate) program: ProgramFn,
    /// The task that runs the program in the present life.
    pub(crate) root_task: Option<TaskId>,
    /// Whether it is meant to run: what has been asked for, even if it has yet to be done.
    pub(crate) is_up: bool,
    /// Its pause, while it is paused.
    pub(crate) pause: Option<ActiveFault>,
    /// The number of stops and starts that were requested and are not done yet.
    pub(crate) pending_transitions: u32,
    /// The place where it was made, which reports give as the place where its tasks were spawned.
    pub(crate) spawned_at: &'static Location<'static>,
    /// The offset and drift of its clocks.
    pub(crate) clock: SettingFault<ClockSkew>,
    /// The time that each poll of its tasks takes.
    pub(crate) poll_cost: SettingFault<Duration>,
    /// The number of accepts that a fault lets fail.
    pub(crate) accept_failures: SettingFault<u32>,
}

impl NodeInfo {
    pub(crate) fn new(
        number: u16,
        program: ProgramFn,
        spawned_at: &'static Location<'static>,
    ) -> Self {
        Self {
            number,
            program,
            root_task: None,
            is_up: true,
            pause: None,
            pending_transitions: 0,
            spawned_at,
            clock: SettingFault::default(),
            poll_cost: SettingFault::default(),
            accept_failures: SettingFault::default(),
        }
    }

    /// Counts the faults that have had an effect by now.
    pub(crate) fn record_effects(&mut self, stats: &mut FaultStats, world: &World) {
        let [was_paused, clock_observed, was_slow] = world.fault_effects(self.number);
        if let Some(pause) = self.pause.as_mut().filter(|_| was_paused) {
            pause.mark_effective(FaultKind::Pause, stats);
        }
        let clock = self.clock.value().filter(|skew| *skew != ClockSkew::none());
        if clock.is_some() && clock_observed {
            self.clock.mark_effective(FaultKind::Clock, stats);
        }
        let poll_cost = self.poll_cost.value().filter(|cost| !cost.is_zero());
        if poll_cost.is_some() && was_slow {
            self.poll_cost.mark_effective(FaultKind::SlowNode, stats);
        }
    }
}

impl SimHost {
    /// A host that is not up yet; its address has port 0.
    pub(crate) fn new(addr: Addr) -> Self {
        Self {
            name_hash: hash_name(addr.host()),
            addr,
            region: 0,
            power: PowerState::Down,
            incarnation: 0,
            registration: None,
            dial_target: None,
            host: None,
            node: None,
        }
    }

    /// Resets the host. The pattern names every field, so that a new field cannot be forgotten. The
    /// node holds values of the user, and is handed out to be dropped elsewhere.
    pub(crate) fn recycle(&mut self, nodes: &mut Vec<NodeInfo>) {
        let Self {
            addr,
            name_hash: _,
            region,
            power,
            incarnation,
            registration,
            dial_target,
            host,
            node,
        } = self;
        addr.clear_number();
        (*region, *power, *incarnation, *registration) = (0, PowerState::Down, 0, None);
        (*dial_target, *host) = (None, None);
        if let Some(node) = node.take() {
            cold(|| nodes.push(*node));
        }
    }

    #[inline]
    pub(crate) fn name(&self) -> &str {
        self.addr.host()
    }
}

/// The name of a host, as the key of a sorted map.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostName(Addr);

impl HostName {
    pub(crate) fn new(host: &SimHost) -> Self {
        Self(host.addr.clone())
    }
}

/// Addresses of one network and with one port are in the order of their hosts.
impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        self.0.host()
    }
}

/// The answer of the registry to a look-up: a host, and its incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct HostRef {
    pub(crate) host: u32,
    pub(crate) incarnation: u32,
}
