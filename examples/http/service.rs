//! The server: unmodified hyper on a host of the network.
//!
//! An answer is sent in pieces. It may break off because its worker crashes, or be held back until
//! the host is closed.

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

use crate::PlantedBugs;
use crate::body::{self, Body, FrameResult};
use crate::hyper_io::{HyperIo, SimTimer, format_error_chain};
use crate::journal::{AttemptId, Journal};
use crate::plan::{Method, Plan, SERVERS};

/// How long a connection may lie idle before hyper closes it, in virtual time.
const IDLE_TIMEOUT: Duration = Duration::from_millis(250);

/// One answer in so many breaks off because its worker dies.
const WORKER_CRASH_ONE_IN: usize = 8;

/// Told when the victim has been closed.
pub(crate) type VictimClosed = Shared<oneshot::Receiver<()>>;

/// A server; a clone is another handle to it.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) sim: Sim,
    pub(crate) journal: Journal,
    pub(crate) plan: Rc<Plan>,
    pub(crate) bugs: PlantedBugs,
    pub(crate) host: Host,
    pub(crate) number: usize,
    pub(crate) victim_closed: VictimClosed,
}

impl Server {
    /// Accepts connections until the host is closed.
    pub(crate) async fn serve(self, listener: Listener) {
        self.log(format_args!("listens at {}", listener.local_addr()));
        loop {
            match listener.accept().await {
                Ok(conn) => {
                    let connection = self.sim.task("connection");
                    connection.spawn(self.clone().serve_conn(conn));
                }
                Err(error) => {
                    self.log(error);
                    return;
                }
            }
        }
    }

    /// Answers what comes in over one connection, one request after the other.
    async fn serve_conn(self, conn: Conn) {
        let peer = conn.peer_addr();
        let server = self.clone();
        let service = service_fn(move |request| server.clone().handle_request(request));
        let result = http1::Builder::new()
            .timer(SimTimer(self.sim))
            .header_read_timeout(IDLE_TIMEOUT)
            // The date is the real clock's, and would make each run another.
            .auto_date_header(false)
            .serve_connection(HyperIo::new(conn), service)
            .await;
        match result {
            Ok(()) => self.log(format_args!("connection from {peer} ends")),
            Err(error) => {
                self.log(format_args!("connection from {peer}: {}", format_error_chain(&error)));
            }
        }
    }

    async fn handle_request(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, hyper::Error> {
        let id = self.parse_attempt_id(&request);
        let answer_number = self.journal.record_answer_begin(self.sim, id);
        let spec = &self.plan.requests[id.request];
        self.log(format_args!("{id} begins ({spec})"));
        let is_interrupted =
            (self.number, answer_number) == (self.plan.victim, self.plan.interrupted_answer);
        let body = match spec.method {
            Method::Get => spec.body.clone(),
            Method::Echo => request.into_body().collect().await?.to_bytes(),
        };
        let mut pieces = body::split_randomly(self.sim, body.clone());
        if self.bugs.answer_twice {
            pieces.push_back(body);
        }
        let fault = self.choose_fault(is_interrupted, pieces.len());
        if is_interrupted {
            self.journal.set_interrupted_answer(id);
        }
        let answer = AnswerStream { server: self, id, pieces, pieces_sent: 0, fault };
        let mut response = Response::new(body::unfold(answer, AnswerStream::next_frame));
        response.headers_mut().insert("x-request", id.request.into());
        Ok(response)
    }

    /// Chooses how an answer of so many pieces goes: 2 at least.
    fn choose_fault(&self, is_interrupted: bool, pieces: usize) -> AnswerFault {
        let choose_piece = || 1 + self.sim.choose("before piece", pieces - 1);
        if is_interrupted {
            AnswerFault::HoldBefore(choose_piece())
        } else if self.sim.choose("worker dies", WORKER_CRASH_ONE_IN) == WORKER_CRASH_ONE_IN - 1 {
            AnswerFault::CrashBefore(choose_piece())
        } else {
            AnswerFault::NoFault
        }
    }

    /// Reads off a request which one it is: `GET /objects/3`, with `x-attempt: 1`.
    fn parse_attempt_id(&self, request: &Request<Incoming>) -> AttemptId {
        let attempt = request.headers().get("x-attempt");
        let attempt = attempt.and_then(|value| value.to_str().ok()?.parse().ok());
        let number = request.uri().path().rsplit('/').next().and_then(|last| last.parse().ok());
        match number.zip(attempt) {
            Some((request, attempt)) => AttemptId { request, attempt, server: self.number },
            None => panic!("{} got a request that nobody made: {request:?}", self.host.name()),
        }
    }

    fn log(&self, text: impl std::fmt::Display) {
        self.journal.log(self.sim, SERVERS[self.number], text);
    }
}

/// How an answer goes.
#[derive(Clone, Copy, PartialEq)]
enum AnswerFault {
    NoFault,
    /// The worker dies before this piece; hyper then drops the connection.
    CrashBefore(usize),
    /// This piece is held back until the host is down, so that the host goes down in the middle
    /// of this answer: its client has had its beginning, and can not have had its end.
    HoldBefore(usize),
}

/// An answer that is being sent.
struct AnswerStream {
    server: Server,
    id: AttemptId,
    pieces: VecDeque<Bytes>,
    pieces_sent: usize,
    fault: AnswerFault,
}

impl AnswerStream {
    /// Gives the next piece, in its time.
    async fn next_frame(mut self) -> Option<(FrameResult, Self)> {
        let Server { sim, journal, victim_closed, .. } = &self.server;
        let id = self.id;
        let Some(piece) = self.pieces.pop_front() else {
            journal.record_answer_complete(*sim, id);
            self.server.log(format_args!("{id} completed"));
            return None;
        };
        if self.pieces_sent > 0 {
            body::pause(*sim).await;
        }
        if self.fault == AnswerFault::CrashBefore(self.pieces_sent) {
            self.server.log(format_args!("{id} breaks off: its worker dies"));
            return Some((Err(io::Error::other("the worker has died")), self));
        }
        if self.fault == AnswerFault::HoldBefore(self.pieces_sent) {
            // An error says that the operator is gone, and with it the run.
            victim_closed.clone().map(|_| ()).await;
        }
        self.pieces_sent += 1;
        Some((Ok(Frame::data(piece)), self))
    }
}
