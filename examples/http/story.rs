//! One run: two servers, some clients, and an operator who closes a server in mid-answer.
//!
//! Knows who takes part and what is printed of it; the parts themselves stand in their own files.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{FutureExt, join_all};
use virtnet::pipenet::Network;
use virtnet::{Host, Outcome, Run, Schedule, Sim};

use crate::Lies;
use crate::client::Client;
use crate::journal::{Journal, Ticket};
use crate::oracle::{self, Tally};
use crate::plan::{CLIENTS, Plan, SERVERS};
use crate::service::Server;

/// A run that is over, and its journal.
pub(crate) struct Story {
    pub(crate) outcome: Outcome<Tally>,
    journal: Journal,
}

/// Plays the story of a seed.
pub(crate) fn play(run: Run, lies: Lies) -> Story {
    let journal = Journal::default();
    let outcome = run.execute(|sim| scenario(sim, journal.clone(), lies));
    Story { outcome, journal }
}

/// The run of a seed, and how it explores.
pub(crate) fn run(seed: u64, schedule: Schedule) -> Run {
    Run::new(seed).schedule(schedule)
}

async fn scenario(sim: Sim, journal: Journal, lies: Lies) -> Tally {
    let plan = Plan::draw(sim);
    let network = Network::new("http");
    let (first_bytes, heard) = oneshot::channel();
    let (closed, down) = oneshot::channel();
    let down = down.shared();
    journal.open(&plan, first_bytes);

    for (number, name) in SERVERS.iter().enumerate() {
        let (host, down) = (network.host(name), down.clone());
        // Before any client dials, so that who is refused knows that the server is gone.
        let listener = host.listen(":80").await.unwrap_or_else(|error| panic!("{error}"));
        let (journal, plan) = (journal.clone(), plan.clone());
        let server = Server { sim, journal, plan, lies, host, number, down };
        sim.task(name).spawn(server.serve(listener));
    }
    let victim = network.host(SERVERS[plan.victim]);
    let operator = operate(sim, journal.clone(), plan.clone(), victim, heard, closed);
    sim.task("operator").spawn(operator);

    let clients = (0..plan.clients.len()).map(|number| {
        let (journal, plan, host) = (journal.clone(), plan.clone(), network.host(CLIENTS));
        let (link, given_up) = (None, [false; SERVERS.len()]);
        let client = Client { sim, journal, plan, lies, host, number, link, given_up };
        sim.task("client").spawn(client.work())
    });
    for worked in join_all(clients).await {
        worked.unwrap_or_else(|error| panic!("a client did not finish: {error}"));
    }
    journal.read(|pages| oracle::judge(&plan, pages))
}

/// Closes a server once a client has had the beginning of the doomed answer.
///
/// The server holds the rest of that answer back until then, so this has all the time it likes.
async fn operate(
    sim: Sim,
    journal: Journal,
    plan: Rc<Plan>,
    victim: Host,
    heard: oneshot::Receiver<Ticket>,
    closed: oneshot::Sender<()>,
) {
    let Ok(ticket) = heard.await else {
        return;
    };
    let micros = sim.choose("strike", 30_000) as u64;
    sim.sleep(Duration::from_micros(micros)).await;
    let whole = plan.requests[ticket.request].body.len();
    let strike = journal.strikes(sim, ticket, whole);
    victim.close().unwrap_or_else(|error| panic!("{error}"));
    let text = format_args!("CLOSED in the middle of {ticket}: {strike}");
    journal.tell(sim, SERVERS[plan.victim], text);
    // Nobody listens if all the victim's connections are gone already.
    let _ = closed.send(());
}

/// Prints the timeline, then how it ended, and the fingerprint.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10}  {:<4}  event", "ms", "host")?;
        self.journal.read(|pages| {
            pages.timeline.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            writeln!(f)?;
            let virtnet::Ending::Done(tally) = &self.outcome.ending else {
                return writeln!(f, "{}", self.outcome.ending);
            };
            if let Some(strike) = &pages.strike {
                let server = SERVERS[strike.ticket.server];
                writeln!(f, "{server} was closed in the middle of {}: {strike}", strike.ticket)?;
            }
            writeln!(f, "{tally}")
        })?;
        let Outcome { seed, steps, elapsed, .. } = &self.outcome;
        writeln!(f, "seed {seed}: {steps} steps, {elapsed:?} of virtual time")?;
        writeln!(f, "fingerprint {}", self.outcome.fingerprint)
    }
}
