//! The program: a store that keeps values under keys, and a client that uses it.
//!
//! Knows [`Networker`] and nothing of which network that is, nor of executors, time or processes.

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
    over: Cell<bool>,
}

/// Serves until it is told to stop; returns what it has to say.
pub(crate) async fn serve(listener: Listener) -> io::Result<String> {
    let store = Store::default();
    let mut incoming = listener.incoming();
    let mut served = FuturesUnordered::new();
    while !store.over.get() {
        select! {
            conn = incoming.next() => match conn {
                Some(conn) => {
                    store.connections.set(store.connections.get() + 1);
                    served.push(store.talk(conn?));
                }
                None => break,
            },
            Some(done) = served.next(), if !served.is_empty() => done?,
        }
    }
    // Those who are still connected may finish.
    while let Some(done) = served.next().await {
        done?;
    }
    let (requests, connections) = (store.requests.get(), store.connections.get());
    Ok(format!("store   served {requests} requests on {connections} connections\n"))
}

impl Store {
    async fn talk(&self, conn: Conn) -> io::Result<()> {
        let mut lines = BufReader::new(&conn).lines();
        while let Some(line) = lines.next().await {
            self.requests.set(self.requests.get() + 1);
            let answer = self.answer(&line?);
            (&conn).write_all(answer.as_bytes()).await?;
            if self.over.get() {
                break;
            }
        }
        conn.shutdown().await
    }

    fn answer(&self, line: &str) -> String {
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
                self.over.set(true);
                "ok\n".to_string()
            }
            _ => "what?\n".to_string(),
        }
    }
}

/// Sends a request on a connection of its own, or on one that there is.
async fn ask(conn: &Conn, request: &str) -> io::Result<String> {
    let mut to = conn;
    to.write_all(format!("{request}\n").as_bytes()).await?;
    to.flush().await?;
    let mut answer = String::new();
    BufReader::new(conn).read_line(&mut answer).await?;
    Ok(answer.trim_end().to_string())
}

/// Uses the store at an address; returns what it has to say.
pub(crate) async fn use_it(network: &dyn Networker, at: &str) -> io::Result<String> {
    let set = async |(key, value)| {
        let conn = network.dial(at).await?;
        ask(&conn, &format!("set {key} {value}")).await
    };
    let set = try_join_all([("α", 1), ("β", 2), ("γ", 3)].map(set)).await?;
    let mut said = format!("client  set {} keys at once\n", set.len());
    let conn = network.dial(at).await?;
    let mut got = Vec::new();
    for key in ["α", "β", "γ", "δ"] {
        got.push(match ask(&conn, &format!("get {key}")).await?.strip_prefix("is ") {
            Some(value) => format!("{key} = {value}"),
            None => format!("{key} is not there"),
        });
    }
    said += &format!("client  get {}\n", got.join(", "));
    ask(&network.dial(at).await?, "stop").await?;
    said += "client  told it to stop\n";
    Ok(said)
}
