//! The program: a server that stores values under keys, and a client that uses it.
//!
//! Both are written against [`Networker`]. They contain no executor, clock or process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

use futures::future::try_join_all;
use futures::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use futures::stream::{FuturesUnordered, StreamExt};
use virtnet::{Conn, Listener, Networker, select};

/// What the store has, and has done.
#[derive(Default)]
struct Store {
    values: RefCell<BTreeMap<String, String>>,
    requests: Cell<usize>,
    connections: Cell<usize>,
    stop_requested: Cell<bool>,
}

/// Serves until it is told to stop; returns what it has to say.
pub(crate) async fn serve(listener: Listener) -> io::Result<String> {
    let store = Store::default();
    let mut incoming = listener.incoming();
    let mut in_progress = FuturesUnordered::new();
    while !store.stop_requested.get() {
        select! {
            conn = incoming.next() => match conn {
                Some(conn) => {
                    store.connections.set(store.connections.get() + 1);
                    in_progress.push(store.serve_conn(conn?));
                }
                None => break,
            },
            Some(result) = in_progress.next(), if !in_progress.is_empty() => result?,
        }
    }
    // Those who are still connected may finish.
    while let Some(result) = in_progress.next().await {
        result?;
    }
    let (requests, connections) = (store.requests.get(), store.connections.get());
    Ok(format!("store   served {requests} requests on {connections} connections\n"))
}

impl Store {
    async fn serve_conn(&self, conn: Conn) -> io::Result<()> {
        let mut lines = BufReader::new(&conn).lines();
        while let Some(line) = lines.next().await {
            self.requests.set(self.requests.get() + 1);
            let reply = self.handle_request(&line?);
            (&conn).write_all(reply.as_bytes()).await?;
            if self.stop_requested.get() {
                break;
            }
        }
        conn.shutdown().await
    }

    fn handle_request(&self, line: &str) -> String {
        let mut values = self.values.borrow_mut();
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["set", key, value] => {
                values.insert((*key).to_string(), (*value).to_string());
                "ok\n".to_string()
            }
            ["get", key] => match values.get(*key) {
                Some(value) => format!("is {value}\n"),
                None => "none\n".to_string(),
            },
            ["stop"] => {
                self.stop_requested.set(true);
                "ok\n".to_string()
            }
            _ => "what?\n".to_string(),
        }
    }
}

/// Sends a request on a connection of its own, or on one that there is.
async fn send_request(conn: &Conn, request: &str) -> io::Result<String> {
    let mut writer = conn;
    writer.write_all(format!("{request}\n").as_bytes()).await?;
    writer.flush().await?;
    let mut reply = String::new();
    BufReader::new(conn).read_line(&mut reply).await?;
    Ok(reply.trim_end().to_string())
}

/// Uses the store at an address; returns what it has to say.
pub(crate) async fn run_client(network: &dyn Networker, store_addr: &str) -> io::Result<String> {
    let set = async |(key, value)| {
        let conn = network.dial(store_addr).await?;
        send_request(&conn, &format!("set {key} {value}")).await
    };
    let set = try_join_all([("α", 1), ("β", 2), ("γ", 3)].map(set)).await?;
    let mut output = format!("client  set {} keys at once\n", set.len());
    let conn = network.dial(store_addr).await?;
    let mut values = Vec::new();
    for key in ["α", "β", "γ", "δ"] {
        values.push(match send_request(&conn, &format!("get {key}")).await?.strip_prefix("is ") {
            Some(value) => format!("{key} = {value}"),
            None => format!("{key} is not there"),
        });
    }
    output += &format!("client  get {}\n", values.join(", "));
    send_request(&network.dial(store_addr).await?, "stop").await?;
    output += "client  told it to stop\n";
    Ok(output)
}
