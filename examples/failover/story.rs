//! One run: the nodes are set up, faults strike, peace comes, and the oracle judges.
//!
//! Knows who takes part, and on which network; which is all that differs between the two.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::StreamExt;
use virtnet::simnet::{self, FaultStats, Faults};
use virtnet::{Ending, Host, Outcome, Run, Schedule, Sim, pipenet};

use crate::client::{self, Errand};
use crate::disk::Disk;
use crate::journal::{Event, Journal, Millis};
use crate::plan::{CLIENTS, PRIMARY, Plan, STANDBY, TROUBLE};
use crate::tally::Tally;
use crate::{Lies, oracle, primary, standby};

/// How long everything may take to come to an end when the faults are over.
const PROGRESS: Duration = Duration::from_secs(60);

/// The network on which a story is played.
#[derive(Clone, Copy, PartialEq, Debug, clap::ValueEnum)]
pub(crate) enum On {
    /// The simulated network, with all its faults
    Sim,
    /// The network in memory, where only the primary is closed
    Pipe,
}

/// A run that is over, and its journal.
pub(crate) struct Story {
    pub(crate) outcome: Outcome<Tally>,
    journal: Journal,
}

/// Plays the story of a run.
pub(crate) fn play(run: Run, on: On, lies: Lies) -> Story {
    let journal = Journal::default();
    let outcome = run.execute(|sim| scenario(sim, on, journal.clone(), lies));
    Story { outcome, journal }
}

/// The run of a seed, and how it explores.
pub(crate) fn run(seed: u64, schedule: Schedule) -> Run {
    Run::new(seed).schedule(schedule)
}

async fn scenario(sim: Sim, on: On, journal: Journal, lies: Lies) -> Tally {
    let plan = Plan::draw(sim);
    let events = journal.open(&plan);
    let disks: [Disk; 2] = Default::default();
    let (tell, peace) = oneshot::channel();
    let errand =
        Errand { plan: plan.clone(), journal: journal.clone(), lies, peace: peace.shared() };
    let stage = Stage { sim, disks: disks.clone(), errand };
    let trouble = async {
        let ledger = match on {
            On::Sim => stage.on_sim().await,
            On::Pipe => stage.on_pipe().await,
        };
        journal.tell(sim, "", "the faults are OVER");
        journal.write(|pages| pages.peace = Some(sim.now()));
        // Nobody listens if there is no client left, which the watch below finds out.
        let _ = tell.send(());
        ledger
    };
    let all = sim.timeout(TROUBLE + PROGRESS, watch(sim, &journal, events, plan.requests.len()));
    let (ledger, settled) = futures::join!(trouble, all);
    if settled.is_err() {
        panic!("no progress: {}", open_requests(&journal));
    }
    if on == On::Sim {
        agree(sim, &disks).await;
    }
    let tally = journal.read(|pages| oracle::judge(&plan, pages, &disks));
    Tally { ledger: ledger(), ..tally }
}

/// Writes down when requests are begun and settled, in true time, until all of them are.
async fn watch(
    sim: Sim,
    journal: &Journal,
    mut events: mpsc::UnboundedReceiver<Event>,
    requests: usize,
) {
    let mut settled = 0;
    while settled < requests
        && let Some(event) = events.next().await
    {
        journal.write(|pages| match event {
            Event::Begun(request) => pages.histories[request].began_at = Some(sim.now()),
            Event::Settled(request) => {
                pages.histories[request].settled_at = Some(sim.now());
                settled += 1;
            }
        });
    }
}

fn open_requests(journal: &Journal) -> String {
    journal.read(|pages| {
        let open = |(_, history): &(usize, &crate::journal::History)| history.verdicts.is_empty();
        let named = pages.histories.iter().enumerate().filter(open);
        let named: Vec<String> = named.map(|(n, history)| format!("#{n}: {history}")).collect();
        format!("{} requests are not settled\n{}", named.len(), named.join("\n"))
    })
}

/// Waits until both servers have the same.
async fn agree(sim: Sim, [primary, standby]: &[Disk; 2]) {
    let state =
        |disk: &Disk| disk.read(|state| (state.epoch, state.log.last().map(|last| last.digest)));
    let agreed = async {
        while state(primary) != state(standby) {
            sim.sleep(Duration::from_millis(100)).await;
        }
    };
    if sim.timeout(PROGRESS, agreed).await.is_err() {
        panic!("the servers do not come to agree: no progress");
    }
}

type Program = Rc<dyn Fn(Host) -> LocalBoxFuture<'static, ()>>;

/// Who plays, whatever the network is.
struct Stage {
    sim: Sim,
    disks: [Disk; 2],
    errand: Errand,
}

impl Stage {
    /// The hosts, and what runs on them. All that a program keeps through a restart it is given.
    fn programs(&self) -> [(&'static str, Program); 3] {
        let sim = self.sim;
        let Errand { journal, lies, .. } = self.errand.clone();
        let [disk, spare] = self.disks.clone();
        let (other, errand) = (journal.clone(), self.errand.clone());
        [
            (
                PRIMARY,
                Rc::new(move |host| {
                    primary::run(sim, Arc::new(host), disk.clone(), journal.clone(), lies)
                        .boxed_local()
                }),
            ),
            (
                STANDBY,
                Rc::new(move |host| {
                    standby::run(sim, Arc::new(host), spare.clone(), other.clone(), lies)
                        .boxed_local()
                }),
            ),
            (
                CLIENTS,
                Rc::new(move |host| client::run(sim, Arc::new(host), errand.clone()).boxed_local()),
            ),
        ]
    }

    /// Plays on the simulated network, under a swarm of faults.
    async fn on_sim(&self) -> Box<dyn Fn() -> FaultStats> {
        let network = simnet::Network::new("failover");
        for (name, program) in self.programs() {
            network.node(name, move |host| program(host));
        }
        let mut chaos = network.fault_plan(Faults::all().swarm());
        chaos.run_for(TROUBLE).await;
        self.errand.journal.write(|pages| pages.faults = chaos.applied_faults().to_vec());
        Box::new(move || network.fault_stats())
    }

    /// Plays on the network in memory, where the primary's host is closed for good.
    async fn on_pipe(&self) -> Box<dyn Fn() -> FaultStats> {
        let network = pipenet::Network::new("failover");
        for (name, program) in self.programs() {
            self.sim.task(name).spawn(program(network.host(name)));
        }
        let strike = self.sim.choose("strike", TROUBLE.as_micros() as usize) as u64;
        self.sim.sleep(Duration::from_micros(strike)).await;
        network.host(PRIMARY).close().unwrap_or_else(|error| panic!("{error}"));
        let close = (self.sim.now(), format!("close {PRIMARY}"));
        self.errand.journal.tell(self.sim, "", &close.1);
        self.errand.journal.write(|pages| pages.faults.push(close));
        Box::new(FaultStats::default)
    }
}

/// Prints the timeline, the faults, then how it ended, and the fingerprint.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10}  {:<7}  event", "ms", "host")?;
        self.journal.read(|pages| {
            pages.timeline.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            writeln!(f, "\nEach host's time is that of its own clock. The faults, in true time:")?;
            for (at, what) in &pages.faults {
                writeln!(f, "{:>10}  {what}", Millis(*at))?;
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
