//! The client: tries the two servers in turn until it is answered or its attempts are used up.
//!
//! The client records what it receives. The oracle decides whether that is correct.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::Shared;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use virtnet::{Networker, Sim};

use crate::PlantedBugs;
use crate::body::{self, Body};
use crate::http_client::{HttpClient, Reply};
use crate::journal::{Journal, RequestOutcome};
use crate::plan::{CLIENT_HOST, Operation, PRIMARY, Plan, STANDBY};
use crate::service::chunked_if_large;

/// How often a client tries before it reports a request as failed.
pub(crate) const MAX_ATTEMPTS: usize = 8;

/// How long it waits for an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Told when the faults are over.
pub(crate) type FaultsOver = Shared<oneshot::Receiver<()>>;

/// What all clients are given.
#[derive(Clone)]
pub(crate) struct ClientContext {
    pub(crate) plan: Rc<Plan>,
    pub(crate) journal: Journal,
    pub(crate) bugs: PlantedBugs,
    pub(crate) faults_over: FaultsOver,
}

/// The program of the clients' host, in each of its lives.
pub(crate) async fn run(sim: Sim, host: Arc<dyn Networker>, context: ClientContext) {
    context.journal.log(sim, CLIENT_HOST, "are up");
    for number in 0..context.plan.clients.len() {
        let http_clients =
            [PRIMARY, STANDBY].map(|server| HttpClient::new(sim, host.clone(), server));
        let client = Client { sim, context: context.clone(), number, http_clients, next_server: 0 };
        sim.task("client").spawn(client.run_requests());
    }
}

/// A client, and its ways to the servers.
struct Client {
    sim: Sim,
    context: ClientContext,
    number: usize,
    http_clients: [HttpClient; 2],
    /// The server that is asked next.
    next_server: usize,
}

impl Client {
    /// Makes all its requests that are not settled yet, one after the other.
    async fn run_requests(mut self) {
        let ClientContext { plan, journal, faults_over, .. } = self.context.clone();
        for request in plan.clients[self.number].iter().copied() {
            if journal.is_settled(request) {
                continue;
            }
            if plan.requests[request].after_faults {
                // An error says that the run is over.
                let _ = faults_over.clone().await;
            } else {
                let think_time = self.sim.choose("think", 60) as u64 * 100;
                self.sim.sleep(Duration::from_millis(think_time)).await;
            }
            journal.record_begin(request);
            self.run_request(request).await;
        }
    }

    /// Makes a request until it is answered, or has failed too often.
    async fn run_request(&mut self, request: usize) {
        let journal = self.context.journal.clone();
        let outcome = loop {
            // Attempts in lives that are over count as well.
            let attempt = journal.begin_attempt(request);
            if attempt > MAX_ATTEMPTS {
                break RequestOutcome::Failed;
            }
            match self.attempt(request, attempt).await {
                Ok(outcome) => break outcome,
                Err(reason) => {
                    let server = self.http_clients[self.next_server].server;
                    self.log(format_args!("#{request}.{attempt} {server}: {reason}"));
                    journal.record_failed_attempt(request, format!("{server}: {reason}"));
                }
            }
            self.next_server = 1 - self.next_server;
            let pause_ms = 100 << attempt.min(4);
            self.sim.sleep(Duration::from_millis(pause_ms)).await;
        };
        let has_failed = outcome == RequestOutcome::Failed;
        self.log(format_args!("#{request} {}", if has_failed { "FAILED" } else { "answered" }));
        if has_failed && self.context.bugs.swallow_failures {
            // As a client that takes silence for success would.
            return;
        }
        journal.record_outcome(self.sim, request, outcome);
    }

    /// Makes a request once.
    async fn attempt(&mut self, request: usize, attempt: usize) -> Result<RequestOutcome, String> {
        let (http_request, http_client) =
            (self.build_request(request), &mut self.http_clients[self.next_server]);
        let spec = &self.context.plan.requests[request];
        let text = format_args!("#{request}.{attempt} asks {} to {spec}", http_client.server);
        let line = format_args!("client {}: {text}", self.number).to_string();
        self.context.journal.log(self.sim, CLIENT_HOST, line);
        let Reply { status, body, .. } = http_client.send(http_request, ANSWER_TIMEOUT).await?;
        match (status, &spec.operation) {
            (StatusCode::OK, Operation::Append(_)) => {
                Ok(RequestOutcome::Added(to_text(&body).parse()?))
            }
            (StatusCode::OK, Operation::Read(_)) => Ok(RequestOutcome::Read(Some(body))),
            (StatusCode::NOT_FOUND, Operation::Read(_)) => Ok(RequestOutcome::Read(None)),
            _ => Err(to_text(&body)),
        }
    }

    fn build_request(&self, request: usize) -> Request<Body> {
        let (method, record, body) = match &self.context.plan.requests[request].operation {
            Operation::Append(body) => ("POST", request, chunked_if_large(self.sim, body.clone())),
            Operation::Read(record) => ("GET", *record, body::empty()),
        };
        Request::builder()
            .method(method)
            .uri(format!("/records/{record}"))
            .body(body)
            .unwrap_or_else(|error| panic!("a request of our own is malformed: {error}"))
    }

    fn log(&self, text: impl std::fmt::Display) {
        let text = format_args!("client {}: {text}", self.number).to_string();
        self.context.journal.log(self.sim, CLIENT_HOST, text);
    }
}

fn to_text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
