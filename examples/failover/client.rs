//! A client: asks one server, then the other, until it is answered or out of patience.
//!
//! Knows what it was told to ask; refuses to know whether what it heard is right.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::Shared;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use virtnet::{Networker, Sim};

use crate::Lies;
use crate::body::{self, Body};
use crate::journal::{Journal, Verdict};
use crate::link::{Link, Reply};
use crate::plan::{CLIENTS, PRIMARY, Plan, STANDBY, Verb};
use crate::service::in_pieces;

/// How often a client tries before it reports a request as failed.
pub(crate) const PATIENCE: usize = 8;

/// How long it waits for an answer.
pub(crate) const LIMIT: Duration = Duration::from_millis(1_500);

/// Told when the faults are over.
pub(crate) type Peace = Shared<oneshot::Receiver<()>>;

/// What all clients are given.
#[derive(Clone)]
pub(crate) struct Errand {
    pub(crate) plan: Rc<Plan>,
    pub(crate) journal: Journal,
    pub(crate) lies: Lies,
    pub(crate) peace: Peace,
}

/// The program of the clients' host, in each of its lives.
pub(crate) async fn run(sim: Sim, host: Arc<dyn Networker>, errand: Errand) {
    errand.journal.tell(sim, CLIENTS, "are up");
    for number in 0..errand.plan.clients.len() {
        let links = [PRIMARY, STANDBY].map(|server| Link::new(sim, host.clone(), server));
        let client = Client { sim, errand: errand.clone(), number, links, turn: 0 };
        sim.task("client").spawn(client.work());
    }
}

/// A client, and its ways to the servers.
struct Client {
    sim: Sim,
    errand: Errand,
    number: usize,
    links: [Link; 2],
    /// The server that is asked next.
    turn: usize,
}

impl Client {
    /// Makes all its requests that are not settled yet, one after the other.
    async fn work(mut self) {
        let Errand { plan, journal, peace, .. } = self.errand.clone();
        for request in plan.clients[self.number].iter().copied() {
            if journal.is_settled(request) {
                continue;
            }
            if plan.requests[request].in_peace {
                // An error says that the run is over.
                let _ = peace.clone().await;
            } else {
                let thought = self.sim.choose("think", 60) as u64 * 100;
                self.sim.sleep(Duration::from_millis(thought)).await;
            }
            journal.begins(request);
            self.settle(request).await;
        }
    }

    /// Makes a request until it is answered, or has failed too often.
    async fn settle(&mut self, request: usize) {
        let journal = self.errand.journal.clone();
        let verdict = loop {
            // Attempts in lives that are over count as well.
            let attempt = journal.attempts(request);
            if attempt > PATIENCE {
                break Verdict::Failed;
            }
            match self.attempt(request, attempt).await {
                Ok(verdict) => break verdict,
                Err(reason) => {
                    let server = self.links[self.turn].server;
                    self.tell(format_args!("#{request}.{attempt} {server}: {reason}"));
                    journal.breaks(request, format!("{server}: {reason}"));
                }
            }
            self.turn = 1 - self.turn;
            let pause = 100 << attempt.min(4);
            self.sim.sleep(Duration::from_millis(pause)).await;
        };
        let failed = verdict == Verdict::Failed;
        self.tell(format_args!("#{request} {}", if failed { "FAILED" } else { "answered" }));
        if failed && self.errand.lies.swallow_failures {
            // As a client that takes silence for success would.
            return;
        }
        journal.settles(self.sim, request, verdict);
    }

    /// Makes a request once.
    async fn attempt(&mut self, request: usize, attempt: usize) -> Result<Verdict, String> {
        let (asked, link) = (self.request(request), &mut self.links[self.turn]);
        let what = &self.errand.plan.requests[request];
        let text = format_args!("#{request}.{attempt} asks {} to {what}", link.server);
        let who = format_args!("client {}: {text}", self.number).to_string();
        self.errand.journal.tell(self.sim, CLIENTS, who);
        let Reply { status, body, .. } = link.ask(asked, LIMIT).await?;
        match (status, &what.verb) {
            (StatusCode::OK, Verb::Append(_)) => Ok(Verdict::Added(text_of(&body).parse()?)),
            (StatusCode::OK, Verb::Read(_)) => Ok(Verdict::Read(Some(body))),
            (StatusCode::NOT_FOUND, Verb::Read(_)) => Ok(Verdict::Read(None)),
            _ => Err(text_of(&body)),
        }
    }

    fn request(&self, request: usize) -> Request<Body> {
        let (method, record, body) = match &self.errand.plan.requests[request].verb {
            Verb::Append(body) => ("POST", request, in_pieces(self.sim, body.clone())),
            Verb::Read(record) => ("GET", *record, body::none()),
        };
        Request::builder()
            .method(method)
            .uri(format!("/records/{record}"))
            .body(body)
            .unwrap_or_else(|error| panic!("a request of our own is malformed: {error}"))
    }

    fn tell(&self, text: impl std::fmt::Display) {
        let text = format_args!("client {}: {text}", self.number).to_string();
        self.errand.journal.tell(self.sim, CLIENTS, text);
    }
}

fn text_of(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
