//! The journal: every event of a run, kept outside the hosts, where no fault can reach it.
//!
//! Every entry is also noted in the run's trace, and is therefore part of its fingerprint.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use futures::channel::oneshot;
use virtnet::{Instant, Sim};

use crate::digest::Digest;
use crate::plan::{CLIENT_HOST, Plan, SERVERS};

/// The journal of one run; a clone is another pen for it.
#[derive(Clone, Default)]
pub(crate) struct Journal {
    state: Rc<RefCell<JournalState>>,
}

#[derive(Default)]
pub(crate) struct JournalState {
    pub(crate) timeline: Vec<TimelineEntry>,
    /// One history for each request, by its number.
    pub(crate) histories: Vec<RequestHistory>,
    pub(crate) close_snapshot: Option<CloseSnapshot>,
    /// How many answers each server has begun.
    answers_begun: [usize; SERVERS.len()],
    /// The answer in whose middle the server is going to be closed, and who waits for its start.
    interrupted_answer: Option<AttemptId>,
    first_bytes_sender: Option<oneshot::Sender<AttemptId>>,
}

/// One line of the timeline.
pub(crate) struct TimelineEntry {
    pub(crate) at: Instant,
    pub(crate) host: &'static str,
    pub(crate) text: String,
}

/// A request on its way: what is asked, for the how-manieth time, and of whom.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct AttemptId {
    /// The number of the request.
    pub(crate) request: usize,
    /// Which attempt at it this is, from 1.
    pub(crate) attempt: usize,
    /// The server that is asked.
    pub(crate) server: usize,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.request, self.attempt)
    }
}

/// All that happened about one request.
#[derive(Default)]
pub(crate) struct RequestHistory {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) server_attempts: Vec<ServerAttempt>,
    pub(crate) outcomes: Vec<(Instant, RequestOutcome)>,
}

/// One attempt, as the client saw it.
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) at: Instant,
    /// What has been heard of the answer's body so far.
    pub(crate) bytes: usize,
    pub(crate) digest: Digest,
    pub(crate) end: Option<(Instant, AttemptEnd)>,
}

/// How an attempt ended for the client.
#[derive(PartialEq)]
pub(crate) enum AttemptEnd {
    /// The answer came to its end, and says that it is for this request.
    Complete { answered_request: Option<usize> },
    /// It broke, for this reason.
    Broken(String),
}

/// One attempt, as the server saw it.
pub(crate) struct ServerAttempt {
    pub(crate) id: AttemptId,
    pub(crate) began_at: Instant,
    /// When the whole answer had been handed to hyper.
    pub(crate) completed_at: Option<Instant>,
}

/// What the client says of a request in the end.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum RequestOutcome {
    /// That attempt was answered.
    Answered { attempt: usize },
    /// The client has given up, and has said so.
    Failed,
}

/// How it stood with the doomed answer when its server was closed.
#[derive(Clone, Copy)]
pub(crate) struct CloseSnapshot {
    pub(crate) at: Instant,
    pub(crate) id: AttemptId,
    /// How much of the body the client had.
    pub(crate) received_bytes: usize,
    /// How long the body is.
    pub(crate) total_bytes: usize,
    /// Whether the server had handed all of it to hyper.
    pub(crate) is_completed: bool,
}

impl Journal {
    /// Opens the journal. The first bytes of the doomed answer are made known by
    /// `first_bytes_sender`.
    pub(crate) fn init(&self, plan: &Plan, first_bytes_sender: oneshot::Sender<AttemptId>) {
        let mut state = self.state.borrow_mut();
        state.histories.resize_with(plan.requests.len(), RequestHistory::default);
        state.first_bytes_sender = Some(first_bytes_sender);
    }

    /// Reads what has been written.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&JournalState) -> T) -> T {
        read(&self.state.borrow())
    }

    /// Adds a line to the timeline, and a note to the trace.
    pub(crate) fn log(&self, sim: Sim, host: &'static str, text: impl fmt::Display) {
        let text = text.to_string();
        sim.note(format_args!("{host}: {text}"));
        let at = sim.now();
        self.state.borrow_mut().timeline.push(TimelineEntry { at, host, text });
    }

    fn with_history<T>(&self, id: AttemptId, update: impl FnOnce(&mut RequestHistory) -> T) -> T {
        update(&mut self.state.borrow_mut().histories[id.request])
    }

    /// A client makes an attempt.
    pub(crate) fn record_attempt(&self, sim: Sim, id: AttemptId) {
        let attempt = Attempt { id, at: sim.now(), bytes: 0, digest: Digest::EMPTY, end: None };
        self.with_history(id, |history| history.attempts.push(attempt));
    }

    /// A client has heard some of an answer.
    pub(crate) fn record_received(&self, sim: Sim, id: AttemptId, bytes: &[u8]) {
        sim.note(format_args!("{CLIENT_HOST}: {id} hears {} bytes", bytes.len()));
        self.with_history(id, |history| {
            let attempt = &mut history.attempts[id.attempt - 1];
            attempt.bytes += bytes.len();
            attempt.digest.update(bytes);
        });
        let mut state = self.state.borrow_mut();
        if state.interrupted_answer == Some(id)
            && let Some(sender) = state.first_bytes_sender.take()
        {
            // The operator may be gone, when the run is over.
            let _ = sender.send(id);
        }
    }

    /// An attempt has come to its end.
    pub(crate) fn record_end(&self, sim: Sim, id: AttemptId, end: AttemptEnd) {
        self.with_history(id, |history| {
            history.attempts[id.attempt - 1].end = Some((sim.now(), end));
        });
    }

    /// A client has settled a request.
    pub(crate) fn record_outcome(&self, sim: Sim, request: usize, outcome: RequestOutcome) {
        let mut state = self.state.borrow_mut();
        state.histories[request].outcomes.push((sim.now(), outcome));
    }

    /// A server begins an answer, and learns the how-manieth it is for this server.
    pub(crate) fn record_answer_begin(&self, sim: Sim, id: AttemptId) -> usize {
        let server_attempt = ServerAttempt { id, began_at: sim.now(), completed_at: None };
        self.with_history(id, |history| history.server_attempts.push(server_attempt));
        let answers_begun = &mut self.state.borrow_mut().answers_begun[id.server];
        *answers_begun += 1;
        *answers_begun
    }

    /// A server is going to be closed in the middle of this answer.
    pub(crate) fn set_interrupted_answer(&self, id: AttemptId) {
        self.state.borrow_mut().interrupted_answer = Some(id);
    }

    /// A server has handed the whole answer to hyper.
    pub(crate) fn record_answer_complete(&self, sim: Sim, id: AttemptId) {
        self.with_history(id, |history| {
            let mut server_attempt = history.server_attempts.iter_mut().rev();
            if let Some(server_attempt) =
                server_attempt.find(|server_attempt| server_attempt.id == id)
            {
                server_attempt.completed_at = Some(sim.now());
            }
        });
    }

    /// The server of the doomed answer is closed, now.
    pub(crate) fn record_close(
        &self,
        sim: Sim,
        id: AttemptId,
        total_bytes: usize,
    ) -> CloseSnapshot {
        let snapshot = self.with_history(id, |history| CloseSnapshot {
            at: sim.now(),
            id,
            received_bytes: history.attempts[id.attempt - 1].bytes,
            total_bytes,
            is_completed: history.server_attempts.iter().any(|server_attempt| {
                server_attempt.id == id && server_attempt.completed_at.is_some()
            }),
        });
        self.state.borrow_mut().close_snapshot = Some(snapshot);
        snapshot
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

impl fmt::Display for TimelineEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10}  {:<4}  {}", Millis(self.at), self.host, self.text)
    }
}
