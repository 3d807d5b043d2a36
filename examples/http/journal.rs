//! What everybody did, written down outside the hosts, where no fault can reach it.
//!
//! Knows events; refuses to judge them, which is the oracle's part. What is told here is also
//! noted in the run's trace, and so becomes part of its fingerprint.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use futures::channel::oneshot;
use virtnet::{Instant, Sim};

use crate::digest::Digest;
use crate::plan::{CLIENTS, Plan, SERVERS};

/// The journal of one run; a clone is another pen for it.
#[derive(Clone, Default)]
pub(crate) struct Journal {
    pages: Rc<RefCell<Pages>>,
}

#[derive(Default)]
pub(crate) struct Pages {
    pub(crate) timeline: Vec<Line>,
    /// One history for each request, by its number.
    pub(crate) histories: Vec<History>,
    pub(crate) strike: Option<Strike>,
    /// How many answers each server has begun.
    begun: [usize; SERVERS.len()],
    /// The answer in whose middle the server is going to be closed, and who waits for its start.
    doomed: Option<Ticket>,
    first_bytes: Option<oneshot::Sender<Ticket>>,
}

/// One line of the timeline.
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) host: &'static str,
    pub(crate) text: String,
}

/// A request on its way: what is asked, for the how-manieth time, and of whom.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Ticket {
    /// The number of the request.
    pub(crate) request: usize,
    /// Which attempt at it this is, from 1.
    pub(crate) attempt: usize,
    /// The server that is asked.
    pub(crate) server: usize,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.request, self.attempt)
    }
}

/// All that happened about one request.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) served: Vec<Served>,
    pub(crate) verdicts: Vec<(Instant, Verdict)>,
}

/// One attempt, as the client saw it.
pub(crate) struct Attempt {
    pub(crate) ticket: Ticket,
    pub(crate) at: Instant,
    /// What has been heard of the answer's body so far.
    pub(crate) bytes: usize,
    pub(crate) digest: Digest,
    pub(crate) end: Option<(Instant, End)>,
}

/// How an attempt ended for the client.
#[derive(PartialEq)]
pub(crate) enum End {
    /// The answer came to its end, and says that it is for this request.
    Whole { answers: Option<usize> },
    /// It broke, for this reason.
    Broken(String),
}

/// One attempt, as the server saw it.
pub(crate) struct Served {
    pub(crate) ticket: Ticket,
    pub(crate) began: Instant,
    /// When the whole answer had been handed to hyper.
    pub(crate) completed: Option<Instant>,
}

/// What the client says of a request in the end.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// That attempt was answered.
    Answered { attempt: usize },
    /// The client has given up, and has said so.
    Failed,
}

/// How it stood with the doomed answer when its server was closed.
#[derive(Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) at: Instant,
    pub(crate) ticket: Ticket,
    /// How much of the body the client had.
    pub(crate) heard: usize,
    /// How long the body is.
    pub(crate) of: usize,
    /// Whether the server had handed all of it to hyper.
    pub(crate) completed: bool,
}

impl Journal {
    /// Opens the journal. The first bytes of the doomed answer are made known by `first_bytes`.
    pub(crate) fn open(&self, plan: &Plan, first_bytes: oneshot::Sender<Ticket>) {
        let mut pages = self.pages.borrow_mut();
        pages.histories.resize_with(plan.requests.len(), History::default);
        pages.first_bytes = Some(first_bytes);
    }

    /// Reads what has been written.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Pages) -> T) -> T {
        read(&self.pages.borrow())
    }

    /// Adds a line to the timeline, and a note to the trace.
    pub(crate) fn tell(&self, sim: Sim, host: &'static str, text: impl fmt::Display) {
        let text = text.to_string();
        sim.note(format_args!("{host}: {text}"));
        let at = sim.now();
        self.pages.borrow_mut().timeline.push(Line { at, host, text });
    }

    fn history<T>(&self, ticket: Ticket, write: impl FnOnce(&mut History) -> T) -> T {
        write(&mut self.pages.borrow_mut().histories[ticket.request])
    }

    /// A client makes an attempt.
    pub(crate) fn attempts(&self, sim: Sim, ticket: Ticket) {
        let attempt = Attempt { ticket, at: sim.now(), bytes: 0, digest: Digest::EMPTY, end: None };
        self.history(ticket, |history| history.attempts.push(attempt));
    }

    /// A client has heard some of an answer.
    pub(crate) fn hears(&self, sim: Sim, ticket: Ticket, bytes: &[u8]) {
        sim.note(format_args!("{CLIENTS}: {ticket} hears {} bytes", bytes.len()));
        self.history(ticket, |history| {
            let attempt = &mut history.attempts[ticket.attempt - 1];
            attempt.bytes += bytes.len();
            attempt.digest.add(bytes);
        });
        let mut pages = self.pages.borrow_mut();
        if pages.doomed == Some(ticket)
            && let Some(first_bytes) = pages.first_bytes.take()
        {
            // The operator may be gone, when the run is over.
            let _ = first_bytes.send(ticket);
        }
    }

    /// An attempt has come to its end.
    pub(crate) fn ends(&self, sim: Sim, ticket: Ticket, end: End) {
        self.history(ticket, |history| {
            history.attempts[ticket.attempt - 1].end = Some((sim.now(), end));
        });
    }

    /// A client has settled a request.
    pub(crate) fn settles(&self, sim: Sim, request: usize, verdict: Verdict) {
        let mut pages = self.pages.borrow_mut();
        pages.histories[request].verdicts.push((sim.now(), verdict));
    }

    /// A server begins an answer, and learns the how-manieth it is for this server.
    pub(crate) fn begins(&self, sim: Sim, ticket: Ticket) -> usize {
        let served = Served { ticket, began: sim.now(), completed: None };
        self.history(ticket, |history| history.served.push(served));
        let begun = &mut self.pages.borrow_mut().begun[ticket.server];
        *begun += 1;
        *begun
    }

    /// A server is going to be closed in the middle of this answer.
    pub(crate) fn dooms(&self, ticket: Ticket) {
        self.pages.borrow_mut().doomed = Some(ticket);
    }

    /// A server has handed the whole answer to hyper.
    pub(crate) fn completes(&self, sim: Sim, ticket: Ticket) {
        self.history(ticket, |history| {
            let mut served = history.served.iter_mut().rev();
            if let Some(served) = served.find(|served| served.ticket == ticket) {
                served.completed = Some(sim.now());
            }
        });
    }

    /// The server of the doomed answer is closed, now.
    pub(crate) fn strikes(&self, sim: Sim, ticket: Ticket, of: usize) -> Strike {
        let strike = self.history(ticket, |history| Strike {
            at: sim.now(),
            ticket,
            heard: history.attempts[ticket.attempt - 1].bytes,
            of,
            completed: history
                .served
                .iter()
                .any(|served| served.ticket == ticket && served.completed.is_some()),
        });
        self.pages.borrow_mut().strike = Some(strike);
        strike
    }
}

/// Prints virtual time as the timeline does: milliseconds, to the microsecond.
pub(crate) struct Millis(pub(crate) Instant);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_nanos() / 1_000;
        f.pad(&format!("{}.{:03}", micros / 1_000, micros % 1_000))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10}  {:<4}  {}", Millis(self.at), self.host, self.text)
    }
}
