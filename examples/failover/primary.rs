//! The primary: it leads, and acknowledges nothing that the standby has not got as well.
//!
//! Knows its disk, and of the standby only what it says. Whatever a client asks for waits for a
//! *round*: all that the standby lacks is sent to it, and its consent, in the same epoch, says
//! that nobody else leads. A round without records is the heartbeat, and serves reads.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::stream::StreamExt;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use virtnet::{Networker, Sim};

use crate::Lies;
use crate::body::Body;
use crate::disk::{self, Disk};
use crate::journal::Journal;
use crate::link::{Link, Reply};
use crate::plan::{PRIMARY, STANDBY};
use crate::service::{self, Answer, Call, Server, at_once};

/// How often the standby hears of the primary at least.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// How long the standby may take to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// Whoever waits for a round: told its epoch, or dropped if it failed.
type Waiter = oneshot::Sender<u64>;

/// The server; a clone is another handle to it.
#[derive(Clone)]
struct Primary {
    disk: Disk,
    lies: Lies,
    waiters: mpsc::UnboundedSender<Waiter>,
}

/// The program of the primary's host, in each of its lives.
pub(crate) async fn run(
    sim: Sim,
    host: Arc<dyn Networker>,
    disk: Disk,
    journal: Journal,
    lies: Lies,
) {
    let listener = match host.listen(":80").await {
        Ok(listener) => listener,
        Err(error) => return journal.tell(sim, PRIMARY, error),
    };
    journal.tell(sim, PRIMARY, format_args!("is up with {} records", disk.len()));
    let (waiters, waiting) = mpsc::unbounded();
    let link = Link::new(sim, host, STANDBY);
    let standby_has = disk.len();
    let replication =
        Replication { link, disk: disk.clone(), journal: journal.clone(), standby_has };
    sim.task("replication").spawn(replication.run(waiting));
    service::serve(sim, journal, listener, Primary { disk, lies, waiters }).await;
}

impl Server for Primary {
    const NAME: &'static str = PRIMARY;

    async fn answer(self, call: Call) -> Answer {
        let epoch = self.disk.epoch();
        match call {
            Call::Append { request, body } => {
                let known = self.disk.find(request).filter(|_| !self.lies.forget_requests);
                let receipt = match known {
                    Some((receipt, _)) => receipt,
                    None => self.disk.append(request, body),
                };
                if self.lies.acknowledge_early || self.confirm().await == Some(epoch) {
                    return Answer::ok(epoch, receipt.to_string());
                }
            }
            Call::Read { request } => {
                if self.lies.read_unconfirmed || self.confirm().await == Some(epoch) {
                    let found = self.disk.find(request);
                    return Answer::record(epoch, found.map(|(_, body)| body));
                }
            }
            Call::Replicate { .. } | Call::Sync => {
                return Answer::refuse(epoch, "this is the primary");
            }
        }
        Answer::refuse(epoch, "the standby has not consented")
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
    link: Link,
    disk: Disk,
    journal: Journal,
    /// How many records the standby said it has.
    standby_has: usize,
}

impl Replication {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Waiter>) {
        let sim = self.link.sim;
        loop {
            let first = sim.timeout(HEARTBEAT, waiting.next()).await;
            let mut waiters: Vec<Waiter> = first.ok().flatten().into_iter().collect();
            while let Ok(waiter) = waiting.try_recv() {
                waiters.push(waiter);
            }
            match self.round().await {
                Ok(epoch) => {
                    for waiter in waiters {
                        // It may have gone, with its connection.
                        let _ = waiter.send(epoch);
                    }
                }
                Err(()) => {
                    drop(waiters);
                    sim.sleep(HEARTBEAT).await;
                }
            }
        }
    }

    /// Brings the standby up to date, and gives the epoch in which it consented to that.
    async fn round(&mut self) -> Result<u64, ()> {
        let (epoch, target) = (self.disk.epoch(), self.disk.len());
        loop {
            let from = self.standby_has.min(target);
            let asked = Request::post("/replicate").header("x-epoch", epoch).header("x-from", from);
            let reply = self.ask(asked.body(at_once(self.disk.encode(from)))).await?;
            match (reply.status, number(&reply.body)) {
                (StatusCode::OK, Some(has)) => self.standby_has = has,
                (StatusCode::CONFLICT, _) => {
                    self.follow().await?;
                    return Err(());
                }
                _ => return Err(()),
            }
            if self.standby_has >= target {
                return Ok(epoch);
            }
        }
    }

    /// Learns what the standby has done since it took over, and takes the lead back.
    async fn follow(&mut self) -> Result<(), ()> {
        let reply = self.ask(Request::post("/sync").body(at_once(Bytes::new()))).await?;
        if let Some(epoch) = reply.epoch.filter(|epoch| *epoch > self.disk.epoch()) {
            self.disk.adopt(epoch, disk::decode(reply.body));
            self.standby_has = self.disk.len();
            let text =
                format_args!("LEADS again in epoch {epoch}, with {} records", self.disk.len());
            self.journal.tell(self.link.sim, PRIMARY, text);
        }
        Ok(())
    }

    async fn ask(&mut self, request: hyper::http::Result<Request<Body>>) -> Result<Reply, ()> {
        let request = request.unwrap_or_else(|error| panic!("a malformed request: {error}"));
        self.link.ask(request, LIMIT).await.map_err(|_| ())
    }
}

/// Reads a number off an answer.
fn number(bytes: &Bytes) -> Option<usize> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
