//! The standby: it has a copy of everything, and takes over when it hears no more of the primary.
//!
//! Knows its disk. It alone decides who leads, by beginning an epoch, so that there are never two
//! who acknowledge: the primary can not do so without the standby, and is told the epoch. That
//! the standby is needed for everything is the price of there being only two.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use virtnet::{Instant, Networker, Sim};

use crate::Lies;
use crate::disk::{self, Disk};
use crate::journal::Journal;
use crate::plan::STANDBY;
use crate::service::{self, Answer, Call, Server};

/// How long the primary may be silent before the standby takes over, when a client asks it to.
const SILENCE: Duration = Duration::from_secs(1);

/// The server; a clone is another handle to it.
#[derive(Clone)]
struct Standby {
    sim: Sim,
    disk: Disk,
    journal: Journal,
    lies: Lies,
    /// When it last heard of the primary, on its own clock.
    heard: Rc<Cell<Instant>>,
}

/// The program of the standby's host, in each of its lives.
pub(crate) async fn run(
    sim: Sim,
    host: Arc<dyn Networker>,
    disk: Disk,
    journal: Journal,
    lies: Lies,
) {
    let listener = match host.listen(":80").await {
        Ok(listener) => listener,
        Err(error) => return journal.tell(sim, STANDBY, error),
    };
    journal.tell(sim, STANDBY, format_args!("is up with {} records", disk.len()));
    let heard = Rc::new(Cell::new(sim.now()));
    let server = Standby { sim, disk, journal: journal.clone(), lies, heard };
    service::serve(sim, journal, listener, server).await;
}

impl Server for Standby {
    const NAME: &'static str = STANDBY;

    async fn answer(self, call: Call) -> Answer {
        match call {
            Call::Replicate { epoch, from, records } => self.replicate(epoch, from, records),
            Call::Sync => self.hand_over(),
            _ if !self.leads() => Answer::refuse(self.disk.epoch(), "the primary leads"),
            Call::Append { request, body } => {
                let known = self.disk.find(request).filter(|_| !self.lies.forget_requests);
                let receipt = match known {
                    Some((receipt, _)) => receipt,
                    None => self.disk.append(request, body),
                };
                Answer::ok(self.disk.epoch(), receipt.to_string())
            }
            Call::Read { request } => {
                let found = self.disk.find(request);
                Answer::record(self.disk.epoch(), found.map(|(_, body)| body))
            }
        }
    }
}

impl Standby {
    /// Says whether it leads; takes over first if the primary has been silent for too long.
    fn leads(&self) -> bool {
        if leads(self.disk.epoch()) {
            return true;
        }
        if self.sim.now() - self.heard.get() < SILENCE {
            return false;
        }
        let epoch = self.disk.turn();
        self.journal.write(|pages| pages.turns += 1);
        let text = format_args!("TAKES OVER in epoch {epoch}, with {} records", self.disk.len());
        self.journal.tell(self.sim, STANDBY, text);
        true
    }

    /// Takes what it lacks, from a primary that leads.
    ///
    /// In one epoch the primary's log only grows, so that records it has already are the same.
    fn replicate(&self, epoch: u64, from: usize, records: Bytes) -> Answer {
        let own = self.disk.epoch();
        if epoch != own || leads(own) {
            return Answer { status: StatusCode::CONFLICT, epoch: own, body: Bytes::new() };
        }
        self.heard.set(self.sim.now());
        // From a place beyond its end it can take none; its answer says where to begin.
        if from <= self.disk.len() {
            for (request, body) in disk::decode(records).into_iter().skip(self.disk.len() - from) {
                self.disk.append(request, body);
            }
        }
        Answer::ok(own, self.disk.len().to_string())
    }

    /// Gives the lead back, and with it the whole log. If the answer is lost, the primary asks
    /// again; until it has the log it does not know the epoch, and nobody leads.
    fn hand_over(&self) -> Answer {
        if leads(self.disk.epoch()) {
            let epoch = self.disk.turn();
            self.journal.tell(self.sim, STANDBY, format_args!("hands over, in epoch {epoch}"));
        }
        self.heard.set(self.sim.now());
        Answer::ok(self.disk.epoch(), self.disk.encode(0))
    }
}

/// The standby leads in odd epochs.
fn leads(epoch: u64) -> bool {
    epoch % 2 == 1
}
