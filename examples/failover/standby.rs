//! The standby: has a copy of the log, and takes over when the primary is silent.
//!
//! The standby alone decides which server leads, by beginning an epoch. There are therefore never
//! two servers that acknowledge: the primary cannot do so without the standby, which tells it the
//! epoch. With only two servers, the price is that the standby is needed for every request.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use virtnet::{Instant, Networker, Sim};

use crate::PlantedBugs;
use crate::disk::{self, Disk};
use crate::journal::Journal;
use crate::plan::STANDBY;
use crate::service::{self, Answer, Call, Server};

/// How long the primary may be silent before the standby takes over, when a client asks it to.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(1);

/// The server; a clone is another handle to it.
#[derive(Clone)]
struct Standby {
    sim: Sim,
    disk: Disk,
    journal: Journal,
    bugs: PlantedBugs,
    /// When it last heard of the primary, on its own clock.
    last_contact: Rc<Cell<Instant>>,
}

/// The program of the standby's host, in each of its lives.
pub(crate) async fn run(
    sim: Sim,
    host: Arc<dyn Networker>,
    disk: Disk,
    journal: Journal,
    bugs: PlantedBugs,
) {
    let listener = match host.listen(":80").await {
        Ok(listener) => listener,
        Err(error) => return journal.log(sim, STANDBY, error),
    };
    journal.log(sim, STANDBY, format_args!("is up with {} records", disk.len()));
    let last_contact = Rc::new(Cell::new(sim.now()));
    let server = Standby { sim, disk, journal: journal.clone(), bugs, last_contact };
    service::serve(sim, journal, listener, server).await;
}

impl Server for Standby {
    const NAME: &'static str = STANDBY;

    async fn handle_call(self, call: Call) -> Answer {
        match call {
            Call::Replicate { epoch, start, records } => self.replicate(epoch, start, records),
            Call::Sync => self.hand_over(),
            _ if !self.try_lead() => Answer::unavailable(self.disk.epoch(), "the primary leads"),
            Call::Append { request, body } => {
                let existing = self.disk.find(request).filter(|_| !self.bugs.forget_requests);
                let receipt = match existing {
                    Some((receipt, _)) => receipt,
                    None => self.disk.append(request, body),
                };
                Answer::ok(self.disk.epoch(), receipt.to_string())
            }
            Call::Read { request } => {
                let record = self.disk.find(request);
                Answer::record(self.disk.epoch(), record.map(|(_, body)| body))
            }
        }
    }
}

impl Standby {
    /// Says whether it leads; takes over first if the primary has been silent for too long.
    fn try_lead(&self) -> bool {
        if standby_leads_in(self.disk.epoch()) {
            return true;
        }
        if self.sim.now() - self.last_contact.get() < TAKEOVER_TIMEOUT {
            return false;
        }
        let epoch = self.disk.begin_next_epoch();
        self.journal.update(|state| state.takeovers += 1);
        let text = format_args!("TAKES OVER in epoch {epoch}, with {} records", self.disk.len());
        self.journal.log(self.sim, STANDBY, text);
        true
    }

    /// Takes what it lacks, from a primary that leads.
    ///
    /// In one epoch the primary's log only grows, so that records it has already are the same.
    fn replicate(&self, epoch: u64, start: usize, records: Bytes) -> Answer {
        let current_epoch = self.disk.epoch();
        if epoch != current_epoch || standby_leads_in(current_epoch) {
            return Answer {
                status: StatusCode::CONFLICT,
                epoch: current_epoch,
                body: Bytes::new(),
            };
        }
        self.last_contact.set(self.sim.now());
        // From a place beyond its end it can take none; its answer says where to begin.
        if start <= self.disk.len() {
            for (request, body) in disk::decode(records).into_iter().skip(self.disk.len() - start) {
                self.disk.append(request, body);
            }
        }
        Answer::ok(current_epoch, self.disk.len().to_string())
    }

    /// Gives the lead back, and with it the whole log. If the answer is lost, the primary asks
    /// again; until it has the log it does not know the epoch, and nobody leads.
    fn hand_over(&self) -> Answer {
        if standby_leads_in(self.disk.epoch()) {
            let epoch = self.disk.begin_next_epoch();
            self.journal.log(self.sim, STANDBY, format_args!("hands over, in epoch {epoch}"));
        }
        self.last_contact.set(self.sim.now());
        Answer::ok(self.disk.epoch(), self.disk.encode(0))
    }
}

/// The standby leads in odd epochs.
fn standby_leads_in(epoch: u64) -> bool {
    epoch % 2 == 1
}
