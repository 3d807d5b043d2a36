//! Asking a server something: hyper's client, unmodified, over one connection after the other.
//!
//! Knows how to connect, to wait and to give up; refuses to know what is asked.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use virtnet::{JoinHandle, Networker, Sim};

use crate::body::Body;
use crate::io::{Io, why};

/// A way to a server, with the connection that there is, if there is one.
pub(crate) struct Link {
    pub(crate) sim: Sim,
    pub(crate) host: Arc<dyn Networker>,
    pub(crate) server: &'static str,
    pub(crate) open: Option<Open>,
}

/// A connection, and the task that drives it.
pub(crate) struct Open {
    requests: SendRequest<Body>,
    driver: JoinHandle<()>,
}

/// A connection that is not used any more is not waited for, either.
impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What came back, whole.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) epoch: Option<u64>,
    pub(crate) body: Bytes,
}

impl Link {
    pub(crate) fn new(sim: Sim, host: Arc<dyn Networker>, server: &'static str) -> Self {
        Self { sim, host, server, open: None }
    }

    /// Asks, and hears the whole answer; or says why there is none. Then the connection is gone.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Body>,
        limit: Duration,
    ) -> Result<Reply, String> {
        // Taken out until all is well: who is interrupted leaves none behind.
        let open = self.open.take();
        let asked = self.sim.timeout(limit, self.converse(open, request)).await;
        let (open, reply) = match asked {
            Ok(asked) => asked?,
            Err(_) => return Err("no answer in time".into()),
        };
        self.open = Some(open);
        Ok(reply)
    }

    async fn converse(
        &self,
        open: Option<Open>,
        request: Request<Body>,
    ) -> Result<(Open, Reply), String> {
        let open = match open {
            Some(mut open) => open.requests.ready().await.is_ok().then_some(open),
            None => None,
        };
        let mut open = match open {
            Some(open) => open,
            None => self.connect().await?,
        };
        let response = open.requests.send_request(request).await.map_err(|error| why(&error))?;
        let (head, body) = response.into_parts();
        let epoch = head.headers.get("x-epoch");
        let epoch = epoch.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = body.collect().await.map_err(|error| why(&error))?.to_bytes();
        Ok((open, Reply { status: head.status, epoch, body }))
    }

    async fn connect(&self) -> Result<Open, String> {
        let dialed = self.host.dial(&format!("{}:80", self.server)).await;
        let conn = dialed.map_err(|error| error.root().to_string())?;
        let shaken = http1::handshake(Io::new(conn)).await.map_err(|error| why(&error));
        let (requests, connection) = shaken?;
        let driver = self.sim.task("connection").spawn(async {
            // What goes wrong on it is told to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Open { requests, driver })
    }
}
