//! The journal: every event of a run, kept outside the hosts, where no fault can reach it.
//!
//! It is also the clients' disk: which requests are settled, and how often each was attempted, is
//! known after a restart.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use futures::channel::mpsc;
use hyper::body::Bytes;
use virtnet::{Instant, Sim};

use crate::disk::Receipt;
use crate::plan::{CLIENT_HOST, Plan};

/// The journal of one run; a clone is another pen for it.
#[derive(Clone, Default)]
pub(crate) struct Journal(Rc<RefCell<JournalState>>);

#[derive(Default)]
pub(crate) struct JournalState {
    /// In the order in which it happened; each line with the time on its host's own clock.
    pub(crate) timeline: Vec<TimelineEntry>,
    /// One history for each request, by its number.
    pub(crate) histories: Vec<RequestHistory>,
    /// The faults that struck, with the true time.
    pub(crate) faults: Vec<(Instant, String)>,
    /// When the faults were over, in true time.
    pub(crate) faults_over_at: Option<Instant>,
    /// How many times a server took over from the other.
    pub(crate) takeovers: u64,
    /// How many events there have been.
    event_count: u64,
    event_sender: Option<mpsc::UnboundedSender<Event>>,
}

/// One line of the timeline.
pub(crate) struct TimelineEntry {
    pub(crate) at: Instant,
    pub(crate) host: &'static str,
    pub(crate) text: String,
}

/// All that happened about one request.
#[derive(Default)]
pub(crate) struct RequestHistory {
    /// Which event it was when it was begun; set once.
    pub(crate) begun_event: Option<u64>,
    pub(crate) attempts: usize,
    /// Why the attempts failed that did.
    pub(crate) failure_reasons: Vec<String>,
    /// What came of it in the end, and which event that was.
    pub(crate) outcomes: Vec<(u64, RequestOutcome)>,
    /// The true time of both, as whoever is told of them sees it.
    pub(crate) began_at: Option<Instant>,
    pub(crate) settled_at: Option<Instant>,
}

/// What a client says of a request in the end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum RequestOutcome {
    /// The record was added.
    Added(Receipt),
    /// This is the record; or there is none.
    Read(Option<Bytes>),
    /// The client has given up, and has said so.
    Failed,
}

/// What is told outside the hosts at once.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Begun(usize),
    Settled(usize),
}

impl Journal {
    /// Opens the journal. What the clients begin and settle comes out of the channel.
    pub(crate) fn init(&self, plan: &Plan) -> mpsc::UnboundedReceiver<Event> {
        let (event_sender, events) = mpsc::unbounded();
        let mut state = self.0.borrow_mut();
        state.histories.resize_with(plan.requests.len(), RequestHistory::default);
        state.event_sender = Some(event_sender);
        events
    }

    /// Reads what has been written.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&JournalState) -> T) -> T {
        read(&self.0.borrow())
    }

    pub(crate) fn update<T>(&self, write: impl FnOnce(&mut JournalState) -> T) -> T {
        write(&mut self.0.borrow_mut())
    }

    /// Adds a line to the timeline, and a note to the trace.
    pub(crate) fn log(&self, sim: Sim, host: &'static str, text: impl fmt::Display) {
        let text = text.to_string();
        sim.note(format_args!("{host}: {text}"));
        let at = sim.now();
        self.update(|state| state.timeline.push(TimelineEntry { at, host, text }));
    }

    /// A client turns to a request, for the first time or after a restart.
    pub(crate) fn record_begin(&self, request: usize) {
        self.update(|state| {
            if state.histories[request].begun_event.is_none() {
                state.histories[request].begun_event = Some(state.next_event());
                state.send_event(Event::Begun(request));
            }
        });
    }

    /// A client makes an attempt, and learns the how-manieth it is.
    pub(crate) fn begin_attempt(&self, request: usize) -> usize {
        self.update(|state| {
            let history = &mut state.histories[request];
            history.attempts += 1;
            history.attempts
        })
    }

    /// An attempt has failed.
    pub(crate) fn record_failed_attempt(&self, request: usize, reason: String) {
        self.update(|state| state.histories[request].failure_reasons.push(reason));
    }

    /// A client has settled a request.
    pub(crate) fn record_outcome(&self, sim: Sim, request: usize, outcome: RequestOutcome) {
        sim.note(format_args!("{CLIENT_HOST}: #{request} is settled"));
        self.update(|state| {
            let event = state.next_event();
            state.histories[request].outcomes.push((event, outcome));
            state.send_event(Event::Settled(request));
        });
    }

    pub(crate) fn is_settled(&self, request: usize) -> bool {
        self.read(|state| !state.histories[request].outcomes.is_empty())
    }
}

impl JournalState {
    fn next_event(&mut self) -> u64 {
        self.event_count += 1;
        self.event_count
    }

    fn send_event(&self, event: Event) {
        if let Some(event_sender) = &self.event_sender {
            // Nobody listens when the run is over.
            let _ = event_sender.unbounded_send(event);
        }
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
        write!(f, "{:>10}  {:<7}  {}", Millis(self.at), self.host, self.text)
    }
}
