//! What is asked for: drawn from the seed before anything happens.
//!
//! Knows requests and who makes them; refuses to know who serves them, and what goes wrong.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Bytes;
use virtnet::Sim;
use virtnet::rand_core::Rng;

/// The host that leads as long as it can.
pub(crate) const PRIMARY: &str = "primary";

/// The host that has a copy of everything, and takes over.
pub(crate) const STANDBY: &str = "standby";

/// The host where all clients run.
pub(crate) const CLIENTS: &str = "clients";

/// How long faults strike.
pub(crate) const TROUBLE: Duration = Duration::from_secs(30);

/// All that is decided before the run begins.
pub(crate) struct Plan {
    /// The requests, by their numbers, which are also their ids.
    pub(crate) requests: Vec<Request>,
    /// Which requests each client makes, one after the other.
    pub(crate) clients: Vec<Vec<usize>>,
}

/// One request. It may be made again without harm: its number tells the servers that it is one.
pub(crate) struct Request {
    pub(crate) verb: Verb,
    /// Whether it is made only when the faults are over; then it has to succeed.
    pub(crate) in_peace: bool,
}

pub(crate) enum Verb {
    /// Adds a record to the log: `POST /records/3`.
    Append(Bytes),
    /// Asks for what an earlier request of the same client added: `GET /records/3`.
    Read(usize),
}

impl Plan {
    pub(crate) fn draw(sim: Sim) -> Rc<Self> {
        let mut plan = Self { requests: Vec::new(), clients: Vec::new() };
        for _ in 0..2 + sim.choose("clients", 3) {
            let troubled = 6 + sim.choose("requests", 6);
            let first = plan.requests.len();
            for number in 0..troubled + 2 {
                let verb = match number > 0 && sim.choose("verb", 3) == 2 {
                    true => plan.read(sim, first),
                    false => append(sim),
                };
                plan.requests.push(Request { verb, in_peace: number >= troubled });
            }
            plan.clients.push((first..plan.requests.len()).collect());
        }
        Rc::new(plan)
    }

    /// A request for one of the records that were added from a request on, whose first adds one.
    fn read(&self, sim: Sim, first: usize) -> Verb {
        let adds = |number: &usize| matches!(self.requests[*number].verb, Verb::Append(_));
        let added: Vec<usize> = (first..self.requests.len()).filter(adds).collect();
        Verb::Read(added[sim.choose("record", added.len())])
    }
}

fn append(sim: Sim) -> Verb {
    let mut body = vec![0; 16 + sim.choose("bytes", 1500)];
    sim.rng().fill_bytes(&mut body);
    Verb::Append(body.into())
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verb {
            Verb::Append(body) => write!(f, "add {} bytes", body.len()),
            Verb::Read(record) => write!(f, "read #{record}"),
        }
    }
}
