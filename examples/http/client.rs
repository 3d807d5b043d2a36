//! A client: keeps its connection alive, and fails over when an answer breaks.
//!
//! Knows what it was told to ask; refuses to know whether what it heard is right.

use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, body::Incoming};
use virtnet::{Host, Sim};

use crate::Lies;
use crate::body::{self, Body};
use crate::io::{Io, why};
use crate::journal::{End, Journal, Ticket, Verdict};
use crate::plan::{CLIENTS, Method, Plan, SERVERS, home};

/// How many half answers a client puts up with before it reports a request as failed.
pub(crate) const CUT_OFF_LIMIT: usize = 2;

/// A client, and the connection that it has.
pub(crate) struct Client {
    pub(crate) sim: Sim,
    pub(crate) journal: Journal,
    pub(crate) plan: Rc<Plan>,
    pub(crate) lies: Lies,
    pub(crate) host: Host,
    pub(crate) number: usize,
    pub(crate) link: Option<Link>,
    /// The servers that have refused a connection, and are not asked again.
    pub(crate) given_up: [bool; SERVERS.len()],
}

/// A connection to a server, on which one request after the other can be made.
pub(crate) struct Link {
    server: usize,
    requests: SendRequest<Body>,
}

/// How far an attempt got before it broke.
enum Broken {
    /// No answer had begun. The same server may be asked again at once: it may only have closed
    /// a connection that was idle, at the moment when we began to use it.
    Unheard,
    /// Some of the answer had come.
    CutOff,
}

impl Client {
    /// Makes all its requests, one after the other.
    pub(crate) async fn work(mut self) {
        for request in self.plan.clone().clients[self.number].iter().copied() {
            // Some thoughts are longer than a server lets a connection lie idle, and some end at
            // the very instant at which it is closed: who is first is the schedule's choice.
            let thought = self.sim.choose("think", 8) as u64 * 50;
            self.sim.sleep(Duration::from_millis(thought)).await;
            self.settle(request).await;
        }
    }

    /// Makes a request until it is answered, or has been cut off too often.
    async fn settle(&mut self, request: usize) {
        let mut cut_off = 0;
        let mut attempt = 0;
        let verdict = loop {
            let Some(server) = self.reach(home(self.number) + cut_off).await else {
                break Verdict::Failed;
            };
            attempt += 1;
            match self.attempt(Ticket { request, attempt, server }).await {
                Ok(()) => break Verdict::Answered { attempt },
                Err(Broken::Unheard) => {}
                Err(Broken::CutOff) => cut_off += 1,
            }
            if cut_off == CUT_OFF_LIMIT {
                break Verdict::Failed;
            }
        };
        self.journal.settles(self.sim, request, verdict);
        if self.lies.settle_twice {
            self.journal.settles(self.sim, request, verdict);
        }
        match verdict {
            Verdict::Answered { .. } => self.tell(format_args!("#{request} answered")),
            Verdict::Failed => self
                .tell(format_args!("#{request} FAILED, and is reported: cut off {cut_off} times")),
        }
    }

    /// Sees to it that there is a connection, to the server preferred or to the next one.
    async fn reach(&mut self, preferred: usize) -> Option<usize> {
        for server in (preferred..preferred + SERVERS.len()).map(|n| n % SERVERS.len()) {
            if let Some(link) = &mut self.link
                && link.server == server
                && link.requests.ready().await.is_ok()
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
        self.link = None;
        let dialed = self.host.dial(&format!("{}:80", SERVERS[server])).await;
        let conn = match dialed {
            Ok(conn) => conn,
            Err(error) => {
                self.tell(error);
                self.given_up[server] = true;
                return false;
            }
        };
        self.tell(format_args!("connects {} to {}", conn.local_addr(), SERVERS[server]));
        match http1::handshake(Io::new(conn)).await {
            Ok((requests, connection)) => {
                // What goes wrong on it is told to whoever waits for an answer.
                self.sim.task("connection").spawn(connection);
                self.link = Some(Link { server, requests });
                true
            }
            Err(error) => {
                self.tell(why(&error));
                false
            }
        }
    }

    /// Makes a request once, over the connection there is.
    async fn attempt(&mut self, ticket: Ticket) -> Result<(), Broken> {
        let asked = &self.plan.requests[ticket.request];
        self.tell(format_args!("{ticket} asks {} ({asked})", SERVERS[ticket.server]));
        self.journal.attempts(self.sim, ticket);
        let request = self.request(ticket);
        let Some(link) = &mut self.link else {
            unreachable!("`reach` has made a connection");
        };
        let (heard, broken) = match link.requests.send_request(request).await {
            Ok(response) => (true, self.listen(ticket, response).await.err()),
            Err(error) => (false, Some(error)),
        };
        let Some(error) = broken else {
            return Ok(());
        };
        let reason = why(&error);
        self.tell(format_args!("{ticket} broken: {reason}"));
        self.journal.ends(self.sim, ticket, End::Broken(reason));
        self.link = None;
        Err(if heard { Broken::CutOff } else { Broken::Unheard })
    }

    fn request(&self, ticket: Ticket) -> Request<Body> {
        let asked = &self.plan.requests[ticket.request];
        let (method, path, body) = match asked.method {
            Method::Get => ("GET", "objects", body::none()),
            Method::Echo => ("POST", "echo", body::chunked(self.sim, asked.body.clone())),
        };
        Request::builder()
            .method(method)
            .uri(format!("/{path}/{}", ticket.request))
            .header("host", SERVERS[ticket.server])
            .header("x-attempt", ticket.attempt)
            .body(body)
            .unwrap_or_else(|error| panic!("a request of our own is malformed: {error}"))
    }

    /// Hears an answer to its end.
    async fn listen(&self, ticket: Ticket, mut response: Response<Incoming>) -> hyper::Result<()> {
        while let Some(frame) = response.frame().await {
            match frame {
                Ok(frame) => {
                    let bytes = frame.data_ref().map_or(&[][..], |bytes| bytes);
                    self.journal.hears(self.sim, ticket, bytes);
                }
                Err(_) if self.lies.accept_truncated => break,
                Err(error) => return Err(error),
            }
        }
        let answers = response.headers().get("x-request");
        let answers = answers.and_then(|value| value.to_str().ok()?.parse().ok());
        self.journal.ends(self.sim, ticket, End::Whole { answers });
        Ok(())
    }

    fn tell(&self, text: impl std::fmt::Display) {
        let text = format_args!("client {}  {text}", self.number);
        self.journal.tell(self.sim, CLIENTS, text);
    }
}
