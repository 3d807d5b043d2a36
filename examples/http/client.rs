//! The client: keeps its connection alive, and fails over when an answer breaks off.
//!
//! The client records what it receives. The oracle decides whether that is correct.

use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, body::Incoming};
use virtnet::{Host, Sim};

use crate::PlantedBugs;
use crate::body::{self, Body};
use crate::hyper_io::{HyperIo, format_error_chain};
use crate::journal::{AttemptEnd, AttemptId, Journal, RequestOutcome};
use crate::plan::{CLIENT_HOST, Method, Plan, SERVERS, home_server};

/// How many half answers a client puts up with before it reports a request as failed.
pub(crate) const TRUNCATION_LIMIT: usize = 2;

/// A client, and the connection that it has.
pub(crate) struct Client {
    pub(crate) sim: Sim,
    pub(crate) journal: Journal,
    pub(crate) plan: Rc<Plan>,
    pub(crate) bugs: PlantedBugs,
    pub(crate) host: Host,
    pub(crate) number: usize,
    pub(crate) connection: Option<Connection>,
    /// The servers that have refused a connection, and are not asked again.
    pub(crate) given_up: [bool; SERVERS.len()],
}

/// A connection to a server, on which one request after the other can be made.
pub(crate) struct Connection {
    server: usize,
    sender: SendRequest<Body>,
}

/// How far an attempt got before it broke.
enum AttemptError {
    /// No answer had begun. The same server may be asked again at once: it may only have closed
    /// a connection that was idle, at the moment when we began to use it.
    NoAnswer,
    /// Some of the answer had come.
    Truncated,
}

impl Client {
    /// Makes all its requests, one after the other.
    pub(crate) async fn run(mut self) {
        for request in self.plan.clone().clients[self.number].iter().copied() {
            // Some thoughts are longer than a server lets a connection lie idle, and some end at
            // the very instant at which it is closed: who is first is the schedule's choice.
            let think_time = self.sim.choose("think", 8) as u64 * 50;
            self.sim.sleep(Duration::from_millis(think_time)).await;
            self.run_request(request).await;
        }
    }

    /// Makes a request until it is answered, or has been cut off too often.
    async fn run_request(&mut self, request: usize) {
        let mut truncations = 0;
        let mut attempt = 0;
        let outcome = loop {
            let Some(server) = self.ensure_connected(home_server(self.number) + truncations).await
            else {
                break RequestOutcome::Failed;
            };
            attempt += 1;
            match self.attempt(AttemptId { request, attempt, server }).await {
                Ok(()) => break RequestOutcome::Answered { attempt },
                Err(AttemptError::NoAnswer) => {}
                Err(AttemptError::Truncated) => truncations += 1,
            }
            if truncations == TRUNCATION_LIMIT {
                break RequestOutcome::Failed;
            }
        };
        self.journal.record_outcome(self.sim, request, outcome);
        if self.bugs.settle_twice {
            self.journal.record_outcome(self.sim, request, outcome);
        }
        match outcome {
            RequestOutcome::Answered { .. } => self.log(format_args!("#{request} answered")),
            RequestOutcome::Failed => self.log(format_args!(
                "#{request} FAILED, and is reported: cut off {truncations} times"
            )),
        }
    }

    /// Sees to it that there is a connection, to the server preferred or to the next one.
    async fn ensure_connected(&mut self, preferred: usize) -> Option<usize> {
        for server in (preferred..preferred + SERVERS.len()).map(|n| n % SERVERS.len()) {
            if let Some(connection) = &mut self.connection
                && connection.server == server
                && connection.sender.ready().await.is_ok()
            {
                return Some(server);
            }
            if !self.given_up[server] && self.connect(server).await {
                return Some(server);
            }
        }
        None
    }

    /// Dials a server.
    async fn connect(&mut self, server: usize) -> bool {
        self.connection = None;
        let dial_result = self.host.dial(&format!("{}:80", SERVERS[server])).await;
        let conn = match dial_result {
            Ok(conn) => conn,
            Err(error) => {
                self.log(error);
                self.given_up[server] = true;
                return false;
            }
        };
        self.log(format_args!("connects {} to {}", conn.local_addr(), SERVERS[server]));
        match http1::handshake(HyperIo::new(conn)).await {
            Ok((sender, connection)) => {
                // What goes wrong on it is told to whoever waits for an answer.
                self.sim.task("connection").spawn(connection);
                self.connection = Some(Connection { server, sender });
                true
            }
            Err(error) => {
                self.log(format_error_chain(&error));
                false
            }
        }
    }

    /// Makes a request once, over the connection there is.
    async fn attempt(&mut self, id: AttemptId) -> Result<(), AttemptError> {
        let spec = &self.plan.requests[id.request];
        self.log(format_args!("{id} asks {} ({spec})", SERVERS[id.server]));
        self.journal.record_attempt(self.sim, id);
        let request = self.build_request(id);
        let Some(connection) = &mut self.connection else {
            unreachable!("`reach` has made a connection");
        };
        let (has_begun, failure) = match connection.sender.send_request(request).await {
            Ok(response) => (true, self.read_answer(id, response).await.err()),
            Err(error) => (false, Some(error)),
        };
        let Some(error) = failure else {
            return Ok(());
        };
        let reason = format_error_chain(&error);
        self.log(format_args!("{id} broken: {reason}"));
        self.journal.record_end(self.sim, id, AttemptEnd::Broken(reason));
        self.connection = None;
        Err(if has_begun { AttemptError::Truncated } else { AttemptError::NoAnswer })
    }

    fn build_request(&self, id: AttemptId) -> Request<Body> {
        let spec = &self.plan.requests[id.request];
        let (method, path, body) = match spec.method {
            Method::Get => ("GET", "objects", body::empty()),
            Method::Echo => ("POST", "echo", body::chunked(self.sim, spec.body.clone())),
        };
        Request::builder()
            .method(method)
            .uri(format!("/{path}/{}", id.request))
            .header("host", SERVERS[id.server])
            .header("x-attempt", id.attempt)
            .body(body)
            .unwrap_or_else(|error| panic!("a request of our own is malformed: {error}"))
    }

    /// Hears an answer to its end.
    async fn read_answer(
        &self,
        id: AttemptId,
        mut response: Response<Incoming>,
    ) -> hyper::Result<()> {
        while let Some(frame) = response.frame().await {
            match frame {
                Ok(frame) => {
                    let bytes = frame.data_ref().map_or(&[][..], |bytes| bytes);
                    self.journal.record_received(self.sim, id, bytes);
                }
                Err(_) if self.bugs.accept_truncated => break,
                Err(error) => return Err(error),
            }
        }
        let answered_request = response.headers().get("x-request");
        let answered_request = answered_request.and_then(|value| value.to_str().ok()?.parse().ok());
        self.journal.record_end(self.sim, id, AttemptEnd::Complete { answered_request });
        Ok(())
    }

    fn log(&self, text: impl std::fmt::Display) {
        let text = format_args!("client {}  {text}", self.number);
        self.journal.log(self.sim, CLIENT_HOST, text);
    }
}
