//! A store that forgets too much: the system under the tests that are given inputs, and under a
//! fuzzer.
//!
//! Knows a store, a client that asks again when an answer is late, and what must be in the store
//! in the end. Requests are numbered, so that one that comes late does nothing; the planted bug is
//! that the store forgets, with what it deletes, which request that was.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::simnet::{Faults, Network};
use virtnet::{Conn, Host, Sim, time};

/// What the client does, and not before which hundredth of a second: so that to leave one out does
/// not move the others to where other faults are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Op {
    Put { at: u16, key: u8 },
    Delete { at: u16, key: u8 },
}

impl Op {
    /// The instant from the beginning, in hundredths of a second.
    pub(crate) const fn at(self) -> u16 {
        match self {
            Self::Put { at, .. } | Self::Delete { at, .. } => at,
        }
    }
}

/// Whether the bug is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Store {
    /// It forgets what it deletes.
    Forgets,
    /// It keeps the number of the request that has deleted.
    Remembers,
}

/// For each key the number of the last request, and whether it is there.
type Keys = BTreeMap<u8, (u8, bool)>;

const PUT: u8 = 1;
const DELETE: u8 = 2;

impl Store {
    fn apply(self, keys: &mut Keys, [number, what, key]: [u8; 3]) {
        if keys.get(&key).is_some_and(|(last, _)| *last >= number) {
            return;
        }
        if what == DELETE && self == Self::Forgets {
            keys.remove(&key);
        } else {
            keys.insert(key, (number, what == PUT));
        }
    }

    async fn serve(self, mut conn: Conn, keys: Rc<RefCell<Keys>>) {
        let mut request = [0; 3];
        while conn.read_exact(&mut request).await.is_ok() {
            self.apply(&mut keys.borrow_mut(), request);
            if conn.write_all(&[request[0]]).await.is_err() {
                return;
            }
        }
    }

    async fn run(self, host: Host, keys: Rc<RefCell<Keys>>) {
        let listener = host.listen(":1").await.unwrap();
        while let Ok(conn) = listener.accept().await {
            Sim::current().task("serve").spawn(self.serve(conn, keys.clone()));
        }
    }
}

/// Who asks, and asks again when an answer is late.
struct Client {
    host: Host,
    /// Kept as long as it answers.
    conn: Option<Conn>,
}

impl Client {
    async fn ask(&mut self, request: [u8; 3]) {
        let limit = Duration::from_millis(100);
        while !matches!(time::timeout(limit, self.ask_once(request)).await, Ok(Ok(()))) {
            // What it has sent may still arrive.
            self.conn = None;
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ask_once(&mut self, request: [u8; 3]) -> io::Result<()> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(self.host.dial("store:1").await?),
        };
        conn.write_all(&request).await?;
        conn.read_exact(&mut [0]).await
    }

    /// Does all operations, one after the other, and says which keys must be there then.
    async fn work(mut self, ops: Vec<Op>) -> BTreeMap<u8, bool> {
        let start = time::now();
        let mut expected = BTreeMap::new();
        for (op, number) in ops.into_iter().zip(1..) {
            time::sleep_until(start + Duration::from_millis(10) * u32::from(op.at())).await;
            let (what, key) = match op {
                Op::Put { key, .. } => (PUT, key),
                Op::Delete { key, .. } => (DELETE, key),
            };
            self.ask([number, what, key]).await;
            expected.insert(key, what == PUT);
        }
        expected
    }
}

/// Does those operations while there are those faults, and says what is wrong in the end.
pub(crate) async fn play(
    sim: Sim,
    store: Store,
    ops: Vec<Op>,
    faults: Faults,
) -> Result<(), String> {
    let net = Network::new("t");
    let keys = Rc::new(RefCell::new(Keys::new()));
    let kept = keys.clone();
    net.node("store", move |host| store.run(host, kept.clone()));
    let host = net.new_host("client").await.map_err(|error| error.to_string())?;
    sim.sleep(Duration::from_secs(1)).await;
    let client = sim.task("client").spawn(Client { host, conn: None }.work(ops));
    net.fault_plan(faults).run_for(Duration::from_secs(3)).await;
    let expected = client.await.map_err(|error| error.to_string())?;
    // What is late has all the time it needs.
    sim.sleep(Duration::from_secs(70)).await;
    let keys = keys.borrow();
    for (key, expected) in expected {
        let there = keys.get(&key).is_some_and(|(_, there)| *there);
        if there != expected {
            let what =
                if expected { "was put and is not there" } else { "was deleted and is back" };
            return Err(format!("key {key} {what}"));
        }
    }
    Ok(())
}
