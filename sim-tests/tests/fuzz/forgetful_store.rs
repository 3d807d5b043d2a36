//! A key-value store with a planted bug, tested with generated inputs and by a fuzzer.
//!
//! Requests are numbered, so that a late duplicate has no effect. The forgetful store deletes the
//! number together with the key, and a late `put` then brings the key back. The client repeats a
//! request when its answer is late; at the end the store must have the expected keys.

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
    Forgetful,
    /// It keeps the number of the request that has deleted.
    Correct,
}

/// For each key the number of the last request, and whether it is there.
type KeyTable = BTreeMap<u8, (u8, bool)>;

const PUT: u8 = 1;
const DELETE: u8 = 2;

impl Store {
    fn apply(self, keys: &mut KeyTable, [number, operation, key]: [u8; 3]) {
        if keys.get(&key).is_some_and(|(last, _)| *last >= number) {
            return;
        }
        if operation == DELETE && self == Self::Forgetful {
            keys.remove(&key);
        } else {
            keys.insert(key, (number, operation == PUT));
        }
    }

    async fn serve(self, mut conn: Conn, keys: Rc<RefCell<KeyTable>>) {
        let mut request = [0; 3];
        while conn.read_exact(&mut request).await.is_ok() {
            self.apply(&mut keys.borrow_mut(), request);
            if conn.write_all(&[request[0]]).await.is_err() {
                return;
            }
        }
    }

    async fn run(self, host: Host, keys: Rc<RefCell<KeyTable>>) {
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
    async fn send_until_answered(&mut self, request: [u8; 3]) {
        let limit = Duration::from_millis(100);
        while !matches!(time::timeout(limit, self.send_once(request)).await, Ok(Ok(()))) {
            // What it has sent may still arrive.
            self.conn = None;
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn send_once(&mut self, request: [u8; 3]) -> io::Result<()> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(self.host.dial("store:1").await?),
        };
        conn.write_all(&request).await?;
        conn.read_exact(&mut [0]).await
    }

    /// Does all operations, one after the other, and says which keys must be there then.
    async fn run_operations(mut self, ops: Vec<Op>) -> BTreeMap<u8, bool> {
        let start = time::now();
        let mut expected = BTreeMap::new();
        for (op, number) in ops.into_iter().zip(1..) {
            time::sleep_until(start + Duration::from_millis(10) * u32::from(op.at())).await;
            let (operation, key) = match op {
                Op::Put { key, .. } => (PUT, key),
                Op::Delete { key, .. } => (DELETE, key),
            };
            self.send_until_answered([number, operation, key]).await;
            expected.insert(key, operation == PUT);
        }
        expected
    }
}

/// Does those operations while there are those faults, and says what is wrong in the end.
pub(crate) async fn run_workload(
    sim: Sim,
    store: Store,
    ops: Vec<Op>,
    faults: Faults,
) -> Result<(), String> {
    let net = Network::new("t");
    let keys = Rc::new(RefCell::new(KeyTable::new()));
    let store_keys = keys.clone();
    net.node("store", move |host| store.run(host, store_keys.clone()));
    let host = net.new_host("client").await.map_err(|error| error.to_string())?;
    sim.sleep(Duration::from_secs(1)).await;
    let client = sim.task("client").spawn(Client { host, conn: None }.run_operations(ops));
    net.fault_plan(faults).run_for(Duration::from_secs(3)).await;
    let expected = client.await.map_err(|error| error.to_string())?;
    // What is late has all the time it needs.
    sim.sleep(Duration::from_secs(70)).await;
    let keys = keys.borrow();
    for (key, expected) in expected {
        let is_present = keys.get(&key).is_some_and(|(_, is_present)| *is_present);
        if is_present != expected {
            let problem =
                if expected { "was put and is not there" } else { "was deleted and is back" };
            return Err(format!("key {key} {problem}"));
        }
    }
    Ok(())
}
