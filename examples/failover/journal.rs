//! What everybody did, written down outside the hosts, where no fault can reach it.
//!
//! Knows events; refuses to judge them, which is the oracle's part. The clients' disk is in it as
//! well: which requests are settled, and how often each was tried, is known after a restart.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use futures::channel::mpsc;
use hyper::body::Bytes;
use virtnet::{Instant, Sim};

use crate::disk::Receipt;
use crate::plan::{CLIENTS, Plan};

/// The journal of one run; a clone is another pen for it.
#[derive(Clone, Default)]
pub(crate) struct Journal(Rc<RefCell<Pages>>);

#[derive(Default)]
pub(crate) struct Pages {
    /// In the order in which it happened; each line with the time on its host's own clock.
    pub(crate) timeline: Vec<Line>,
    /// One history for each request, by its number.
    pub(crate) histories: Vec<History>,
    /// The faults that struck, with the true time.
    pub(crate) faults: Vec<(Instant, String)>,
    /// When the faults were over, in true time.
    pub(crate) peace: Option<Instant>,
    /// How many times a server took over from the other.
    pub(crate) turns: u64,
    /// How many events there have been.
    events: u64,
    told: Option<mpsc::UnboundedSender<Event>>,
}

/// One line of the timeline.
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) host: &'static str,
    pub(crate) text: String,
}

/// All that happened about one request.
#[derive(Default)]
pub(crate) struct History {
    /// Which event it was when it was begun; set once.
    pub(crate) begun: Option<u64>,
    pub(crate) attempts: usize,
    /// Why the attempts failed that did.
    pub(crate) reasons: Vec<String>,
    /// What came of it in the end, and which event that was.
    pub(crate) verdicts: Vec<(u64, Verdict)>,
    /// The true time of both, as whoever is told of them sees it.
    pub(crate) began_at: Option<Instant>,
    pub(crate) settled_at: Option<Instant>,
}

/// What a client says of a request in the end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Verdict {
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
    pub(crate) fn open(&self, plan: &Plan) -> mpsc::UnboundedReceiver<Event> {
        let (told, events) = mpsc::unbounded();
        let mut pages = self.0.borrow_mut();
        pages.histories.resize_with(plan.requests.len(), History::default);
        pages.told = Some(told);
        events
    }

    /// Reads what has been written.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Pages) -> T) -> T {
        read(&self.0.borrow())
    }

    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut Pages) -> T) -> T {
        write(&mut self.0.borrow_mut())
    }

    /// Adds a line to the timeline, and a note to the trace.
    pub(crate) fn tell(&self, sim: Sim, host: &'static str, text: impl fmt::Display) {
        let text = text.to_string();
        sim.note(format_args!("{host}: {text}"));
        let at = sim.now();
        self.write(|pages| pages.timeline.push(Line { at, host, text }));
    }

    /// A client turns to a request, for the first time or after a restart.
    pub(crate) fn begins(&self, request: usize) {
        self.write(|pages| {
            if pages.histories[request].begun.is_none() {
                pages.histories[request].begun = Some(pages.event());
                pages.tell(Event::Begun(request));
            }
        });
    }

    /// A client makes an attempt, and learns the how-manieth it is.
    pub(crate) fn attempts(&self, request: usize) -> usize {
        self.write(|pages| {
            let history = &mut pages.histories[request];
            history.attempts += 1;
            history.attempts
        })
    }

    /// An attempt has failed.
    pub(crate) fn breaks(&self, request: usize, reason: String) {
        self.write(|pages| pages.histories[request].reasons.push(reason));
    }

    /// A client has settled a request.
    pub(crate) fn settles(&self, sim: Sim, request: usize, verdict: Verdict) {
        sim.note(format_args!("{CLIENTS}: #{request} is settled"));
        self.write(|pages| {
            let event = pages.event();
            pages.histories[request].verdicts.push((event, verdict));
            pages.tell(Event::Settled(request));
        });
    }

    pub(crate) fn is_settled(&self, request: usize) -> bool {
        self.read(|pages| !pages.histories[request].verdicts.is_empty())
    }
}

impl Pages {
    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn tell(&self, event: Event) {
        if let Some(told) = &self.told {
            // Nobody listens when the run is over.
            let _ = told.unbounded_send(event);
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

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10}  {:<7}  {}", Millis(self.at), self.host, self.text)
    }
}
