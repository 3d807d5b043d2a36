//! An HTTP client for one server: unmodified hyper over one connection at a time.
//!
//! It connects on demand, waits for the whole answer up to a timeout, and drops the connection
//! when a request fails.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use virtnet::{JoinHandle, Networker, Sim};

use crate::body::Body;
use crate::hyper_io::{HyperIo, format_error_chain};

/// A way to a server, with the connection that there is, if there is one.
pub(crate) struct HttpClient {
    pub(crate) sim: Sim,
    pub(crate) host: Arc<dyn Networker>,
    pub(crate) server: &'static str,
    pub(crate) connection: Option<Connection>,
}

/// A connection, and the task that drives it.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    driver: JoinHandle<()>,
}

/// A connection that is not used any more is not waited for, either.
impl Drop for Connection {
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

impl HttpClient {
    pub(crate) fn new(sim: Sim, host: Arc<dyn Networker>, server: &'static str) -> Self {
        Self { sim, host, server, connection: None }
    }

    /// Asks, and hears the whole answer; or says why there is none. Then the connection is gone.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
        timeout: Duration,
    ) -> Result<Reply, String> {
        // Taken out until all is well: who is interrupted leaves none behind.
        let connection = self.connection.take();
        let result = self.sim.timeout(timeout, self.send_on(connection, request)).await;
        let (connection, reply) = match result {
            Ok(result) => result?,
            Err(_) => return Err("no answer in time".into()),
        };
        self.connection = Some(connection);
        Ok(reply)
    }

    async fn send_on(
        &self,
        connection: Option<Connection>,
        request: Request<Body>,
    ) -> Result<(Connection, Reply), String> {
        let connection = match connection {
            Some(mut connection) => connection.sender.ready().await.is_ok().then_some(connection),
            None => None,
        };
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let response = connection
            .sender
            .send_request(request)
            .await
            .map_err(|error| format_error_chain(&error))?;
        let (head, body) = response.into_parts();
        let epoch = head.headers.get("x-epoch");
        let epoch = epoch.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = body.collect().await.map_err(|error| format_error_chain(&error))?.to_bytes();
        Ok((connection, Reply { status: head.status, epoch, body }))
    }

    async fn connect(&self) -> Result<Connection, String> {
        let dial_result = self.host.dial(&format!("{}:80", self.server)).await;
        let conn = dial_result.map_err(|error| error.root().to_string())?;
        let handshake_result =
            http1::handshake(HyperIo::new(conn)).await.map_err(|error| format_error_chain(&error));
        let (sender, connection) = handshake_result?;
        let driver = self.sim.task("connection").spawn(async {
            // What goes wrong on it is told to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Connection { sender, driver })
    }
}
