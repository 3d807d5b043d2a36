//! HTTP for both servers: unmodified hyper on a host of any network.
//!
//! It accepts connections, parses each HTTP request into a `Dial`, and sends the server's `Answer`
//! as the HTTP response.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use virtnet::{Conn, Listener, Sim};

use crate::body::{self, Body};
use crate::hyper_io::{HyperIo, SimTimer};
use crate::journal::Journal;

/// How long a connection may lie idle before hyper closes it, in virtual time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a server is asked.
pub(crate) enum Call {
    /// By a client: `POST /records/3`.
    Append { request: usize, body: Bytes },
    /// By a client: `GET /records/3`.
    Read { request: usize },
    /// By the primary: `POST /replicate`, with records from a place on.
    Replicate { epoch: u64, start: usize, records: Bytes },
    /// By a primary that does not lead any more, and wants to: `POST /sync`.
    Sync,
}

/// What it answers.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) epoch: u64,
    pub(crate) body: Bytes,
}

/// A server; a clone is another handle to it.
pub(crate) trait Server: Clone + 'static {
    const NAME: &'static str;

    fn handle_call(self, call: Call) -> impl Future<Output = Answer> + 'static;
}

/// Answers all connections until the host is closed.
pub(crate) async fn serve(sim: Sim, journal: Journal, listener: Listener, server: impl Server) {
    loop {
        match listener.accept().await {
            Ok(conn) => {
                let conversation = serve_conn(sim, conn, server.clone());
                sim.task("connection").spawn(conversation);
            }
            Err(error) => {
                return journal.log(sim, server_name(&server), error);
            }
        }
    }
}

fn server_name<S: Server>(_: &S) -> &'static str {
    S::NAME
}

/// Answers what comes in over one connection, one request after the other.
async fn serve_conn(sim: Sim, conn: Conn, server: impl Server) {
    let service = service_fn(move |request| {
        let server = server.clone();
        async move {
            let answer = match parse_call(request).await {
                Some(call) => server.handle_call(call).await,
                None => Answer { status: StatusCode::BAD_REQUEST, epoch: 0, body: Bytes::new() },
            };
            Ok::<_, Infallible>(to_response(sim, answer))
        }
    });
    // Whoever asked will find out by themselves, if the connection breaks.
    let _ = http1::Builder::new()
        .timer(SimTimer(sim))
        .header_read_timeout(IDLE_TIMEOUT)
        // The date is the real clock's, and would make each run another.
        .auto_date_header(false)
        .serve_connection(HyperIo::new(conn), service)
        .await;
}

/// Reads a call off a request, if it is one and came whole.
async fn parse_call(request: Request<Incoming>) -> Option<Call> {
    let header = |name| request.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
    let (epoch, start) = (header("x-epoch"), header("x-from"));
    let (head, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let (method, path) = (head.method, head.uri.path());
    let record = || path.strip_prefix("/records/")?.parse().ok();
    match path {
        "/replicate" => {
            Some(Call::Replicate { epoch: epoch?, start: start? as usize, records: body })
        }
        "/sync" => Some(Call::Sync),
        _ if method == Method::POST => Some(Call::Append { request: record()?, body }),
        _ => Some(Call::Read { request: record()? }),
    }
}

fn to_response(sim: Sim, answer: Answer) -> Response<Body> {
    let mut response = Response::new(chunked_if_large(sim, answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().insert("x-epoch", answer.epoch.into());
    response
}

/// A body in pieces with pauses, unless it is too small to be cut.
pub(crate) fn chunked_if_large(sim: Sim, bytes: Bytes) -> Body {
    if bytes.len() < 16 { single_chunk(bytes) } else { body::chunked(sim, bytes) }
}

/// A body in one piece, at once.
pub(crate) fn single_chunk(bytes: Bytes) -> Body {
    let frame = |bytes: Option<Bytes>| async move { Some((Ok(Frame::data(bytes?)), None)) };
    body::unfold(Some(bytes).filter(|bytes| !bytes.is_empty()), frame)
}

impl Answer {
    pub(crate) fn ok(epoch: u64, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, epoch, body: body.into() }
    }

    /// Asks to be asked again, or to ask the other server.
    pub(crate) fn unavailable(epoch: u64, reason: &'static str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, epoch, body: reason.into() }
    }

    /// What there is of a record.
    pub(crate) fn record(epoch: u64, body: Option<Bytes>) -> Self {
        match body {
            Some(body) => Self::ok(epoch, body),
            None => Self { status: StatusCode::NOT_FOUND, epoch, body: Bytes::new() },
        }
    }
}
