//! The plan: the requests of all clients, drawn from the seed before the run begins.

use std::fmt;
use std::rc::Rc;

use hyper::body::Bytes;
use virtnet::Sim;
use virtnet::rand_core::Rng;

/// The hosts that serve.
pub(crate) const SERVERS: [&str; 2] = ["α", "β"];

/// The host where all clients run.
pub(crate) const CLIENT_HOST: &str = "γ";

/// All that is decided before the run begins.
pub(crate) struct Plan {
    /// The requests, by their numbers.
    pub(crate) requests: Vec<RequestSpec>,
    /// Which requests each client makes, one after the other; the first server it turns to is
    /// that of its own number.
    pub(crate) clients: Vec<Vec<usize>>,
    /// The server that is going to be closed.
    pub(crate) victim: usize,
    /// It is closed in the middle of its answer with this number, from 1.
    pub(crate) interrupted_answer: usize,
}

/// One request. It may be made twice without harm, which is what makes failing over allowed.
#[derive(Clone)]
pub(crate) struct RequestSpec {
    pub(crate) method: Method,
    /// What the answer has to be, byte for byte; an echo sends it too.
    pub(crate) body: Bytes,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Method {
    /// Both servers have the same objects: `GET /objects/3`.
    Get,
    /// What is sent comes back: `POST /echo/3`.
    Echo,
}

impl Plan {
    pub(crate) fn draw(sim: Sim) -> Rc<Self> {
        let mut requests = Vec::new();
        let clients = 3 + sim.choose("clients", 2);
        let clients: Vec<Vec<usize>> = (0..clients)
            .map(|_| {
                let count = 3 + sim.choose("requests", 4);
                let first = requests.len();
                requests.extend((0..count).map(|_| RequestSpec::draw(sim)));
                (first..first + count).collect()
            })
            .collect();
        let victim = sim.choose("victim", SERVERS.len());
        // Every client at home there makes all its requests there, as long as the server is up:
        // so many answers are begun for certain, and any of them may be the one.
        let is_homed_at_victim =
            |(client, _): &(usize, &Vec<usize>)| home_server(*client) == victim;
        let guaranteed_answers: usize =
            clients.iter().enumerate().filter(is_homed_at_victim).map(|(_, r)| r.len()).sum();
        Rc::new(Self {
            interrupted_answer: 1 + sim.choose("doomed answer", guaranteed_answers),
            requests,
            clients,
            victim,
        })
    }
}

/// The server to which a client turns first.
pub(crate) fn home_server(client: usize) -> usize {
    client % SERVERS.len()
}

impl RequestSpec {
    fn draw(sim: Sim) -> Self {
        let method = [Method::Get, Method::Echo][sim.choose("method", 2)];
        let mut body = vec![0; 16 + sim.choose("bytes", 4096)];
        sim.rng().fill_bytes(&mut body);
        Self { method, body: body.into() }
    }
}

impl fmt::Display for RequestSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Get => "GET",
            Method::Echo => "POST",
        };
        write!(f, "{method}, {} bytes", self.body.len())
    }
}
