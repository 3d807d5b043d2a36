//! The server: hyper, unmodified, on a host of the network.
//!
//! Knows how an answer is made and how it may break off; refuses to know what clients make of it.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{FutureExt, Shared};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use virtnet::{Conn, Host, Listener, Sim};

use crate::Lies;
use crate::body::{self, Body, Piece};
use crate::io::{Io, SimTimer, why};
use crate::journal::{Journal, Ticket};
use crate::plan::{Method, Plan, SERVERS};

/// How long a connection may lie idle before hyper closes it, in virtual time.
const IDLE: Duration = Duration::from_millis(250);

/// One answer in so many breaks off because its worker dies.
const WORKER_DIES: usize = 8;

/// Told when the victim has been closed.
pub(crate) type Down = Shared<oneshot::Receiver<()>>;

/// A server; a clone is another handle to it.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) sim: Sim,
    pub(crate) journal: Journal,
    pub(crate) plan: Rc<Plan>,
    pub(crate) lies: Lies,
    pub(crate) host: Host,
    pub(crate) number: usize,
    pub(crate) down: Down,
}

impl Server {
    /// Accepts connections until the host is closed.
    pub(crate) async fn serve(self, listener: Listener) {
        self.tell(format_args!("listens at {}", listener.local_addr()));
        loop {
            match listener.accept().await {
                Ok(conn) => {
                    let connection = self.sim.task("connection");
                    connection.spawn(self.clone().converse(conn));
                }
                Err(error) => {
                    self.tell(error);
                    return;
                }
            }
        }
    }

    /// Answers what comes in over one connection, one request after the other.
    async fn converse(self, conn: Conn) {
        let peer = conn.peer_addr();
        let server = self.clone();
        let service = service_fn(move |request| server.clone().answer(request));
        let conversed = http1::Builder::new()
            .timer(SimTimer(self.sim))
            .header_read_timeout(IDLE)
            // The date is the real clock's, and would make each run another.
            .auto_date_header(false)
            .serve_connection(Io::new(conn), service)
            .await;
        match conversed {
            Ok(()) => self.tell(format_args!("connection from {peer} ends")),
            Err(error) => self.tell(format_args!("connection from {peer}: {}", why(&error))),
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let ticket = self.ticket(&request);
        let begun = self.journal.begins(self.sim, ticket);
        let asked = &self.plan.requests[ticket.request];
        self.tell(format_args!("{ticket} begins ({asked})"));
        let doomed = (self.number, begun) == (self.plan.victim, self.plan.doomed_answer);
        let body = match asked.method {
            Method::Get => asked.body.clone(),
            Method::Echo => request.into_body().collect().await?.to_bytes(),
        };
        let mut pieces = body::cut(self.sim, body.clone());
        if self.lies.answer_twice {
            pieces.push_back(body);
        }
        let fate = self.fate(doomed, pieces.len());
        if doomed {
            self.journal.dooms(ticket);
        }
        let answer = Answer { server: self, ticket, pieces, sent: 0, fate };
        let mut response = Response::new(body::streamed(answer, Answer::next));
        response.headers_mut().insert("x-request", ticket.request.into());
        Ok(response)
    }

    /// Chooses how an answer of so many pieces goes: 2 at least.
    fn fate(&self, doomed: bool, pieces: usize) -> Fate {
        let middle = || 1 + self.sim.choose("before piece", pieces - 1);
        if doomed {
            Fate::HeldBefore(middle())
        } else if self.sim.choose("worker dies", WORKER_DIES) == WORKER_DIES - 1 {
            Fate::DiesBefore(middle())
        } else {
            Fate::Whole
        }
    }

    /// Reads off a request which one it is: `GET /objects/3`, with `x-attempt: 1`.
    fn ticket(&self, request: &Request<Incoming>) -> Ticket {
        let attempt = request.headers().get("x-attempt");
        let attempt = attempt.and_then(|value| value.to_str().ok()?.parse().ok());
        let number = request.uri().path().rsplit('/').next().and_then(|last| last.parse().ok());
        match number.zip(attempt) {
            Some((request, attempt)) => Ticket { request, attempt, server: self.number },
            None => panic!("{} got a request that nobody made: {request:?}", self.host.name()),
        }
    }

    fn tell(&self, text: impl std::fmt::Display) {
        self.journal.tell(self.sim, SERVERS[self.number], text);
    }
}

/// How an answer goes.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Whole,
    /// The worker dies before this piece; hyper then drops the connection.
    DiesBefore(usize),
    /// This piece is held back until the host is down, so that the host goes down in the middle
    /// of this answer: its client has had its beginning, and can not have had its end.
    HeldBefore(usize),
}

/// An answer that is being sent.
struct Answer {
    server: Server,
    ticket: Ticket,
    pieces: VecDeque<Bytes>,
    sent: usize,
    fate: Fate,
}

impl Answer {
    /// Gives the next piece, in its time.
    async fn next(mut self) -> Option<(Piece, Self)> {
        let Server { sim, journal, down, .. } = &self.server;
        let ticket = self.ticket;
        let Some(piece) = self.pieces.pop_front() else {
            journal.completes(*sim, ticket);
            self.server.tell(format_args!("{ticket} completed"));
            return None;
        };
        if self.sent > 0 {
            body::pause(*sim).await;
        }
        if self.fate == Fate::DiesBefore(self.sent) {
            self.server.tell(format_args!("{ticket} breaks off: its worker dies"));
            return Some((Err(io::Error::other("the worker has died")), self));
        }
        if self.fate == Fate::HeldBefore(self.sent) {
            // An error says that the operator is gone, and with it the run.
            down.clone().map(|_| ()).await;
        }
        self.sent += 1;
        Some((Ok(Frame::data(piece)), self))
    }
}
