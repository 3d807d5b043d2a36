//! One run: two servers, some clients, and an operator that closes a server in mid-answer.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{FutureExt, join_all};
use virtnet::pipenet::Network;
use virtnet::{Host, Outcome, Run, Schedule, Sim};

use crate::PlantedBugs;
use crate::client::Client;
use crate::journal::{AttemptId, Journal};
use crate::oracle::{self, Tally};
use crate::plan::{CLIENT_HOST, Plan, SERVERS};
use crate::service::Server;

/// A run that is over, and its journal.
pub(crate) struct ScenarioResult {
    pub(crate) outcome: Outcome<Tally>,
    journal: Journal,
}

/// Plays the story of a seed.
pub(crate) fn run_scenario(run: Run, bugs: PlantedBugs) -> ScenarioResult {
    let journal = Journal::default();
    let outcome = run.execute(|sim| simulate(sim, journal.clone(), bugs));
    ScenarioResult { outcome, journal }
}

/// The run of a seed, and how it explores.
pub(crate) fn new_run(seed: u64, schedule: Schedule) -> Run {
    Run::new(seed).schedule(schedule)
}

async fn simulate(sim: Sim, journal: Journal, bugs: PlantedBugs) -> Tally {
    let plan = Plan::draw(sim);
    let network = Network::new("http");
    let (first_bytes_sender, first_bytes_receiver) = oneshot::channel();
    let (closed_sender, victim_closed) = oneshot::channel();
    let victim_closed = victim_closed.shared();
    journal.init(&plan, first_bytes_sender);

    for (number, name) in SERVERS.iter().enumerate() {
        let (host, victim_closed) = (network.host(name), victim_closed.clone());
        // Before any client dials, so that who is refused knows that the server is gone.
        let listener = host.listen(":80").await.unwrap_or_else(|error| panic!("{error}"));
        let (journal, plan) = (journal.clone(), plan.clone());
        let server = Server { sim, journal, plan, bugs, host, number, victim_closed };
        sim.task(name).spawn(server.serve(listener));
    }
    let victim = network.host(SERVERS[plan.victim]);
    let operator = run_operator(
        sim,
        journal.clone(),
        plan.clone(),
        victim,
        first_bytes_receiver,
        closed_sender,
    );
    sim.task("operator").spawn(operator);

    let clients = (0..plan.clients.len()).map(|number| {
        let (journal, plan, host) = (journal.clone(), plan.clone(), network.host(CLIENT_HOST));
        let (connection, given_up) = (None, [false; SERVERS.len()]);
        let client = Client { sim, journal, plan, bugs, host, number, connection, given_up };
        sim.task("client").spawn(client.run())
    });
    for result in join_all(clients).await {
        result.unwrap_or_else(|error| panic!("a client did not finish: {error}"));
    }
    journal.read(|state| oracle::judge(&plan, state))
}

/// Closes a server once a client has had the beginning of the doomed answer.
///
/// The server holds the rest of that answer back until then, so this has all the time it likes.
async fn run_operator(
    sim: Sim,
    journal: Journal,
    plan: Rc<Plan>,
    victim: Host,
    first_bytes_receiver: oneshot::Receiver<AttemptId>,
    closed_sender: oneshot::Sender<()>,
) {
    let Ok(id) = first_bytes_receiver.await else {
        return;
    };
    let micros = sim.choose("strike", 30_000) as u64;
    sim.sleep(Duration::from_micros(micros)).await;
    let total_bytes = plan.requests[id.request].body.len();
    let snapshot = journal.record_close(sim, id, total_bytes);
    victim.close().unwrap_or_else(|error| panic!("{error}"));
    let text = format_args!("CLOSED in the middle of {id}: {snapshot}");
    journal.log(sim, SERVERS[plan.victim], text);
    // Nobody listens if all the victim's connections are gone already.
    let _ = closed_sender.send(());
}

/// Prints the timeline, then how it ended, and the fingerprint.
impl fmt::Display for ScenarioResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10}  {:<4}  event", "ms", "host")?;
        self.journal.read(|state| {
            state.timeline.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            writeln!(f)?;
            let virtnet::Ending::Done(tally) = &self.outcome.ending else {
                return writeln!(f, "{}", self.outcome.ending);
            };
            if let Some(snapshot) = &state.close_snapshot {
                let server = SERVERS[snapshot.id.server];
                writeln!(f, "{server} was closed in the middle of {}: {snapshot}", snapshot.id)?;
            }
            writeln!(f, "{tally}")
        })?;
        let Outcome { seed, steps, elapsed, .. } = &self.outcome;
        writeln!(f, "seed {seed}: {steps} steps, {elapsed:?} of virtual time")?;
        writeln!(f, "fingerprint {}", self.outcome.fingerprint)
    }
}
