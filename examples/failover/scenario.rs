//! One run: sets up the nodes, injects faults, ends them, and calls the oracle.
//!
//! Only the network and its faults differ between simnet and pipenet; the programs are the same.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::StreamExt;
use virtnet::simnet::{self, FaultStats, Faults};
use virtnet::{Ending, Host, Outcome, Run, Schedule, Sim, pipenet};

use crate::client::{self, ClientContext};
use crate::disk::Disk;
use crate::journal::{Event, Journal, Millis};
use crate::plan::{CLIENT_HOST, FAULT_DURATION, PRIMARY, Plan, STANDBY};
use crate::tally::Tally;
use crate::{PlantedBugs, oracle, primary, standby};

/// How long everything may take to come to an end when the faults are over.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);

/// The network on which a story is played.
#[derive(Clone, Copy, PartialEq, Debug, clap::ValueEnum)]
pub(crate) enum NetworkKind {
    /// The simulated network, with all its faults
    Sim,
    /// The network in memory, where only the primary is closed
    Pipe,
}

/// A run that is over, and its journal.
pub(crate) struct ScenarioResult {
    pub(crate) outcome: Outcome<Tally>,
    journal: Journal,
}

/// Plays the story of a run.
pub(crate) fn run_scenario(run: Run, network: NetworkKind, bugs: PlantedBugs) -> ScenarioResult {
    let journal = Journal::default();
    let outcome = run.execute(|sim| simulate(sim, network, journal.clone(), bugs));
    ScenarioResult { outcome, journal }
}

/// The run of a seed, and how it explores.
pub(crate) fn new_run(seed: u64, schedule: Schedule) -> Run {
    Run::new(seed).schedule(schedule)
}

async fn simulate(sim: Sim, network: NetworkKind, journal: Journal, bugs: PlantedBugs) -> Tally {
    let plan = Plan::draw(sim);
    let events = journal.init(&plan);
    let disks: [Disk; 2] = Default::default();
    let (faults_over_sender, faults_over) = oneshot::channel();
    let context = ClientContext {
        plan: plan.clone(),
        journal: journal.clone(),
        bugs,
        faults_over: faults_over.shared(),
    };
    let scenario = Scenario { sim, disks: disks.clone(), context };
    let faults = async {
        let fault_stats = match network {
            NetworkKind::Sim => scenario.run_on_simnet().await,
            NetworkKind::Pipe => scenario.run_on_pipenet().await,
        };
        journal.log(sim, "", "the faults are OVER");
        journal.update(|state| state.faults_over_at = Some(sim.now()));
        // Nobody listens if there is no client left, which the watch below finds out.
        let _ = faults_over_sender.send(());
        fault_stats
    };
    let all_settled = sim.timeout(
        FAULT_DURATION + PROGRESS_TIMEOUT,
        record_true_times(sim, &journal, events, plan.requests.len()),
    );
    let (fault_stats, settled) = futures::join!(faults, all_settled);
    if settled.is_err() {
        panic!("no progress: {}", describe_unsettled(&journal));
    }
    if network == NetworkKind::Sim {
        wait_for_agreement(sim, &disks).await;
    }
    let tally = journal.read(|state| oracle::judge(&plan, state, &disks));
    Tally { fault_stats: fault_stats(), ..tally }
}

/// Writes down when requests are begun and settled, in true time, until all of them are.
async fn record_true_times(
    sim: Sim,
    journal: &Journal,
    mut events: mpsc::UnboundedReceiver<Event>,
    requests: usize,
) {
    let mut settled = 0;
    while settled < requests
        && let Some(event) = events.next().await
    {
        journal.update(|state| match event {
            Event::Begun(request) => state.histories[request].began_at = Some(sim.now()),
            Event::Settled(request) => {
                state.histories[request].settled_at = Some(sim.now());
                settled += 1;
            }
        });
    }
}

fn describe_unsettled(journal: &Journal) -> String {
    journal.read(|state| {
        let is_unsettled =
            |(_, history): &(usize, &crate::journal::RequestHistory)| history.outcomes.is_empty();
        let unsettled = state.histories.iter().enumerate().filter(is_unsettled);
        let unsettled: Vec<String> =
            unsettled.map(|(n, history)| format!("#{n}: {history}")).collect();
        format!("{} requests are not settled\n{}", unsettled.len(), unsettled.join("\n"))
    })
}

/// Waits until both servers have the same.
async fn wait_for_agreement(sim: Sim, [primary, standby]: &[Disk; 2]) {
    let state =
        |disk: &Disk| disk.read(|state| (state.epoch, state.log.last().map(|last| last.digest)));
    let agreement = async {
        while state(primary) != state(standby) {
            sim.sleep(Duration::from_millis(100)).await;
        }
    };
    if sim.timeout(PROGRESS_TIMEOUT, agreement).await.is_err() {
        panic!("the servers do not come to agree: no progress");
    }
}

type Program = Rc<dyn Fn(Host) -> LocalBoxFuture<'static, ()>>;

/// Who plays, whatever the network is.
struct Scenario {
    sim: Sim,
    disks: [Disk; 2],
    context: ClientContext,
}

impl Scenario {
    /// The hosts, and what runs on them. All that a program keeps through a restart it is given.
    fn programs(&self) -> [(&'static str, Program); 3] {
        let sim = self.sim;
        let ClientContext { journal, bugs, .. } = self.context.clone();
        let [primary_disk, standby_disk] = self.disks.clone();
        let (standby_journal, context) = (journal.clone(), self.context.clone());
        [
            (
                PRIMARY,
                Rc::new(move |host| {
                    primary::run(sim, Arc::new(host), primary_disk.clone(), journal.clone(), bugs)
                        .boxed_local()
                }),
            ),
            (
                STANDBY,
                Rc::new(move |host| {
                    standby::run(
                        sim,
                        Arc::new(host),
                        standby_disk.clone(),
                        standby_journal.clone(),
                        bugs,
                    )
                    .boxed_local()
                }),
            ),
            (
                CLIENT_HOST,
                Rc::new(move |host| {
                    client::run(sim, Arc::new(host), context.clone()).boxed_local()
                }),
            ),
        ]
    }

    /// Plays on the simulated network, under a swarm of faults.
    async fn run_on_simnet(&self) -> Box<dyn Fn() -> FaultStats> {
        let network = simnet::Network::new("failover");
        for (name, program) in self.programs() {
            network.node(name, move |host| program(host));
        }
        let mut fault_plan = network.fault_plan(Faults::all());
        fault_plan.run_for(FAULT_DURATION).await;
        self.context.journal.update(|state| state.faults = fault_plan.applied_faults().to_vec());
        Box::new(move || network.fault_stats())
    }

    /// Plays on the network in memory, where the primary's host is closed for good.
    async fn run_on_pipenet(&self) -> Box<dyn Fn() -> FaultStats> {
        let network = pipenet::Network::new("failover");
        for (name, program) in self.programs() {
            self.sim.task(name).spawn(program(network.host(name)));
        }
        let close_at_us = self.sim.choose("strike", FAULT_DURATION.as_micros() as usize) as u64;
        self.sim.sleep(Duration::from_micros(close_at_us)).await;
        network.host(PRIMARY).close().unwrap_or_else(|error| panic!("{error}"));
        let fault = (self.sim.now(), format!("close {PRIMARY}"));
        self.context.journal.log(self.sim, "", &fault.1);
        self.context.journal.update(|state| state.faults.push(fault));
        Box::new(FaultStats::default)
    }
}

/// Prints the timeline, the faults, then how it ended, and the fingerprint.
impl fmt::Display for ScenarioResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10}  {:<7}  event", "ms", "host")?;
        self.journal.read(|state| {
            state.timeline.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            writeln!(f, "\nEach host's time is that of its own clock. The faults, in true time:")?;
            for (at, fault) in &state.faults {
                writeln!(f, "{:>10}  {fault}", Millis(*at))?;
            }
            writeln!(f)?;
            match &self.outcome.ending {
                Ending::Done(tally) => writeln!(f, "{tally}\n"),
                ending => writeln!(f, "{ending}"),
            }
        })?;
        let Outcome { seed, steps, elapsed, .. } = &self.outcome;
        writeln!(f, "seed {seed}: {steps} steps, {elapsed:?} of virtual time")?;
        writeln!(f, "fingerprint {}", self.outcome.fingerprint)
    }
}
