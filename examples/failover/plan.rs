//! The plan: the requests of all clients, drawn from the seed before the run begins.

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
pub(crate) const CLIENT_HOST: &str = "clients";

/// How long faults strike.
pub(crate) const FAULT_DURATION: Duration = Duration::from_secs(30);

/// All that is decided before the run begins.
pub(crate) struct Plan {
    /// The requests, by their numbers, which are also their ids.
    pub(crate) requests: Vec<RequestSpec>,
    /// Which requests each client makes, one after the other.
    pub(crate) clients: Vec<Vec<usize>>,
}

/// One request. It may be made again without harm: its number tells the servers that it is one.
pub(crate) struct RequestSpec {
    pub(crate) operation: Operation,
    /// Whether it is made only when the faults are over; then it has to succeed.
    pub(crate) after_faults: bool,
}

pub(crate) enum Operation {
    /// Adds a record to the log: `POST /records/3`.
    Append(Bytes),
    /// Asks for what an earlier request of the same client added: `GET /records/3`.
    Read(usize),
}

impl Plan {
    pub(crate) fn draw(sim: Sim) -> Rc<Self> {
        let mut plan = Self { requests: Vec::new(), clients: Vec::new() };
        for _ in 0..2 + sim.choose("clients", 3) {
            let during_faults = 6 + sim.choose("requests", 6);
            let first = plan.requests.len();
            for number in 0..during_faults + 2 {
                let operation = match number > 0 && sim.choose("verb", 3) == 2 {
                    true => plan.draw_read(sim, first),
                    false => draw_append(sim),
                };
                plan.requests
                    .push(RequestSpec { operation, after_faults: number >= during_faults });
            }
            plan.clients.push((first..plan.requests.len()).collect());
        }
        Rc::new(plan)
    }

    /// A request for one of the records that were added from a request on, whose first adds one.
    fn draw_read(&self, sim: Sim, first: usize) -> Operation {
        let is_append =
            |number: &usize| matches!(self.requests[*number].operation, Operation::Append(_));
        let appends: Vec<usize> = (first..self.requests.len()).filter(is_append).collect();
        Operation::Read(appends[sim.choose("record", appends.len())])
    }
}

fn draw_append(sim: Sim) -> Operation {
    let mut body = vec![0; 16 + sim.choose("bytes", 1500)];
    sim.rng().fill_bytes(&mut body);
    Operation::Append(body.into())
}

impl fmt::Display for RequestSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            Operation::Append(body) => write!(f, "add {} bytes", body.len()),
            Operation::Read(record) => write!(f, "read #{record}"),
        }
    }
}
