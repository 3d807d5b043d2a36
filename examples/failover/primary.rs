//! The primary: leads, and acknowledges nothing that the standby does not have as well.
//!
//! Every client request waits for a *round*. A round sends the standby all records it lacks. The
//! standby's consent, given in the same epoch, proves that no other server leads. A round without
//! records is the heartbeat, and confirms reads.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::stream::StreamExt;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use virtnet::{Networker, Sim};

use crate::PlantedBugs;
use crate::body::Body;
use crate::disk::{self, Disk};
use crate::http_client::{HttpClient, Reply};
use crate::journal::Journal;
use crate::plan::{PRIMARY, STANDBY};
use crate::service::{self, Answer, Call, Server, single_chunk};

/// How often the standby hears of the primary at least.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);

/// How long the standby may take to answer.
const STANDBY_TIMEOUT: Duration = Duration::from_secs(1);

/// Whoever waits for a round: told its epoch, or dropped if it failed.
type Waiter = oneshot::Sender<u64>;

/// The server; a clone is another handle to it.
#[derive(Clone)]
struct Primary {
    disk: Disk,
    bugs: PlantedBugs,
    waiters: mpsc::UnboundedSender<Waiter>,
}

/// The program of the primary's host, in each of its lives.
pub(crate) async fn run(
    sim: Sim,
    host: Arc<dyn Networker>,
    disk: Disk,
    journal: Journal,
    bugs: PlantedBugs,
) {
    let listener = match host.listen(":80").await {
        Ok(listener) => listener,
        Err(error) => return journal.log(sim, PRIMARY, error),
    };
    journal.log(sim, PRIMARY, format_args!("is up with {} records", disk.len()));
    let (waiters, waiter_receiver) = mpsc::unbounded();
    let standby_client = HttpClient::new(sim, host, STANDBY);
    let standby_len = disk.len();
    let replication =
        Replication { standby_client, disk: disk.clone(), journal: journal.clone(), standby_len };
    sim.task("replication").spawn(replication.run(waiter_receiver));
    service::serve(sim, journal, listener, Primary { disk, bugs, waiters }).await;
}

impl Server for Primary {
    const NAME: &'static str = PRIMARY;

    async fn handle_call(self, call: Call) -> Answer {
        let epoch = self.disk.epoch();
        match call {
            Call::Append { request, body } => {
                let existing = self.disk.find(request).filter(|_| !self.bugs.forget_requests);
                let receipt = match existing {
                    Some((receipt, _)) => receipt,
                    None => self.disk.append(request, body),
                };
                if self.bugs.acknowledge_early || self.confirm().await == Some(epoch) {
                    return Answer::ok(epoch, receipt.to_string());
                }
            }
            Call::Read { request } => {
                if self.bugs.read_unconfirmed || self.confirm().await == Some(epoch) {
                    let record = self.disk.find(request);
                    return Answer::record(epoch, record.map(|(_, body)| body));
                }
            }
            Call::Replicate { .. } | Call::Sync => {
                return Answer::unavailable(epoch, "this is the primary");
            }
        }
        Answer::unavailable(epoch, "the standby has not consented")
    }
}

impl Primary {
    /// Waits for a round that begins from now on, and gives its epoch.
    async fn confirm(&self) -> Option<u64> {
        let (waiter, confirmed) = oneshot::channel();
        self.waiters.unbounded_send(waiter).ok()?;
        confirmed.await.ok()
    }
}

/// What keeps the standby up to date.
struct Replication {
    standby_client: HttpClient,
    disk: Disk,
    journal: Journal,
    /// How many records the standby said it has.
    standby_len: usize,
}

impl Replication {
    async fn run(mut self, mut waiter_receiver: mpsc::UnboundedReceiver<Waiter>) {
        let sim = self.standby_client.sim;
        loop {
            let first = sim.timeout(HEARTBEAT_INTERVAL, waiter_receiver.next()).await;
            let mut waiters: Vec<Waiter> = first.ok().flatten().into_iter().collect();
            while let Ok(waiter) = waiter_receiver.try_recv() {
                waiters.push(waiter);
            }
            match self.run_round().await {
                Ok(epoch) => {
                    for waiter in waiters {
                        // It may have gone, with its connection.
                        let _ = waiter.send(epoch);
                    }
                }
                Err(()) => {
                    drop(waiters);
                    sim.sleep(HEARTBEAT_INTERVAL).await;
                }
            }
        }
    }

    /// Brings the standby up to date, and gives the epoch in which it consented to that.
    async fn run_round(&mut self) -> Result<u64, ()> {
        let (epoch, target_len) = (self.disk.epoch(), self.disk.len());
        loop {
            let start = self.standby_len.min(target_len);
            let request =
                Request::post("/replicate").header("x-epoch", epoch).header("x-from", start);
            let reply = self.send(request.body(single_chunk(self.disk.encode(start)))).await?;
            match (reply.status, parse_number(&reply.body)) {
                (StatusCode::OK, Some(standby_len)) => self.standby_len = standby_len,
                (StatusCode::CONFLICT, _) => {
                    self.take_lead_back().await?;
                    return Err(());
                }
                _ => return Err(()),
            }
            if self.standby_len >= target_len {
                return Ok(epoch);
            }
        }
    }

    /// Learns what the standby has done since it took over, and takes the lead back.
    async fn take_lead_back(&mut self) -> Result<(), ()> {
        let reply = self.send(Request::post("/sync").body(single_chunk(Bytes::new()))).await?;
        if let Some(epoch) = reply.epoch.filter(|epoch| *epoch > self.disk.epoch()) {
            self.disk.replace_log(epoch, disk::decode(reply.body));
            self.standby_len = self.disk.len();
            let text =
                format_args!("LEADS again in epoch {epoch}, with {} records", self.disk.len());
            self.journal.log(self.standby_client.sim, PRIMARY, text);
        }
        Ok(())
    }

    async fn send(&mut self, request: hyper::http::Result<Request<Body>>) -> Result<Reply, ()> {
        let request = request.unwrap_or_else(|error| panic!("a malformed request: {error}"));
        self.standby_client.send(request, STANDBY_TIMEOUT).await.map_err(|_| ())
    }
}

/// Reads a number off an answer.
fn parse_number(bytes: &Bytes) -> Option<usize> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
