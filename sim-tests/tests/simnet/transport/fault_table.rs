//! Every fault, held against what TCP on Linux does: for a parked reader, a parked writer and an
//! idle connection, begun after the fault, before it, or when it is over.
//!
//! The expected column is written from what TCP does. Of each row it has the outcome at α and,
//! behind a bar, the one at β; the fault strikes β or the way between the two unless its name says
//! so.
//!
//! ```text
//! reader  both ends read, and nothing was written
//! writer  both ends have written as much as there is room for, and write one byte more
//! idle    α writes one byte and then reads; β reads it
//!
//! before  the fault strikes a second before the operations begin
//! during  the operations are parked, or α's byte is under way, when it strikes
//! after   it struck ten seconds before and was undone nine seconds later, if it can be
//!
//! W  waits, still after 200 s            1  one byte was read or written
//! E  the end of the stream               R  connection reset by peer
//! P  broken pipe                         T  timed out, after a minute
//! S  socket is down                      H  host is down      N  network is down
//! X  the task died with its node         -  no operation at this end
//! ```
//!
//! Whatever does not wait is over within a second, a timeout between 59 and 62 seconds, and a
//! number behind `~` says after how many seconds else.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join;
use virtnet::simnet::{ClockSkew, Latency, Network, Node};
use virtnet::{Cause, Conn, Host, JoinHandle, time};

use crate::simnet::{exact_config, ms, read, run_fifo, secs, timed, write, write_all};

/// A fault, and what comes of it in the three states, each before, during and after.
type Row = (&'static str, [[&'static str; 3]; 3]);

const UNTOUCHED: [[&str; 3]; 3] =
    [["W|W", "W|W", "W|W"], ["W|W", "W|W", "W|W"], ["W|1", "W|1", "W|1"]];

#[rustfmt::skip]
const TABLE: [Row; 26] = [
    // Without keep-alive an idle reader never learns of a partition.
    ("partition",         [["W|W", "W|W", "W|W"], ["T|T", "T|T", "W|W"], ["T|W", "T|W", "W|1"]]),
    ("one way there",     [["W|W", "W|W", "W|W"], ["T|T", "T|T", "W|W"], ["T|W", "T|W", "W|1"]]),
    // What α writes arrives, and its acknowledgement does not.
    ("one way back",      [["W|W", "W|W", "W|W"], ["T|T", "T|T", "W|W"], ["T|1", "T|1", "W|1"]]),
    ("hold",              [["W|W", "W|W", "W|W"], ["T|T", "T|T", "W|W"], ["T|W", "T|W", "W|1"]]),
    ("loss",              [["W|W", "W|W", "W|W"], ["T|T", "T|T", "W|W"], ["T|W", "T|W", "W|1"]]),
    ("reset",             [["R|R", "R|R", "R|R"], ["R|R", "R|R", "R|R"], ["R|R", "R|R", "R|R"]]),
    // A byte a second, which the byte of `during` has not to wait for.
    ("bandwidth",         [["W|W", "W|W", "W|W"], ["W|W", "W|W", "W|W"], ["W|1~1", "W|1", "W|1"]]),
    ("latency",           [["W|W", "W|W", "W|W"], ["W|W", "W|W", "W|W"], ["W|1~5", "W|1", "W|1"]]),
    ("short_io",          UNTOUCHED),
    // In the next life of the node its old connection is that of a host that is down.
    ("crash",             [["R|X", "R|X", "R|H"], ["R|X", "R|X", "R|H"], ["R|X", "R|X", "R|H"]]),
    ("restart",           [["R|H", "R|X", "R|H"], ["R|H", "R|X", "R|H"], ["R|H", "R|X", "R|H"]]),
    // Nothing answers, until the host is up again and knows nothing of the connection.
    ("power_off",         [["W|X", "W|X", "W|H"], ["T|X", "T|X", "R|H"], ["T|X", "T|X", "R|H"]]),
    // The kernel goes on: it takes and acknowledges what arrives.
    ("pause",             [["W|W", "W|W", "W|W"], ["W|W", "W|W", "W|W"], ["W|W", "W|W", "W|1"]]),
    ("clock",             UNTOUCHED),
    ("slow_node",         UNTOUCHED),
    ("registry",          UNTOUCHED),
    // Where all was read the end of the stream comes first, and late bytes are answered by a reset.
    ("close_host",        [["E|H", "E|H", "E|H"], ["R|H", "R|H", "R|H"], ["E|H", "E|H", "E|H"]]),
    ("close",             [["E|S", "E|S", "E|S"], ["R|S", "R|S", "R|S"], ["E|S", "E|S", "E|S"]]),
    ("drop",              [["E|-", "E|-", "E|-"], ["R|-", "R|-", "R|-"], ["E|-", "E|-", "E|-"]]),
    ("close unread",      [["R|-", "R|-", "R|-"], ["R|-", "R|-", "R|-"], ["R|-", "R|-", "R|-"]]),
    ("drop unread",       [["R|-", "R|-", "R|-"], ["R|-", "R|-", "R|-"], ["R|-", "R|-", "R|-"]]),
    ("half-close",        [["E|W", "E|W", "E|W"], ["W|P", "W|P", "W|P"], ["E|1", "E|1", "E|1"]]),
    ("half-close of α",   [["W|E", "W|E", "W|E"], ["P|W", "P|W", "P|W"], ["P|E", "W|1", "P|E"]]),
    ("close of α",        [["S|E", "S|E", "S|E"], ["S|R", "S|R", "S|R"], ["S|E", "S|1", "S|E"]]),
    ("host of α closed",  [["H|E", "H|E", "H|E"], ["H|R", "H|R", "H|R"], ["H|E", "H|1", "H|E"]]),
    ("network closed",    [["N|N", "N|N", "N|N"], ["N|N", "N|N", "N|N"], ["N|N", "N|N", "N|N"]]),
];

const STATES: [&str; 3] = ["reader", "writer", "idle"];
const PHASES: [&str; 3] = ["before", "during", "after"];

/// Two ends of a connection, of which one is held by a node.
struct NodePair {
    net: Network,
    a: Host,
    ab: Conn,
    node: Node,
    /// The host of the node, in its first life.
    b: Rc<RefCell<Option<Host>>>,
    /// Empty once the last handle is to be dropped.
    ba: Rc<RefCell<Option<Conn>>>,
}

impl NodePair {
    async fn new() -> Self {
        let net = Network::with("t", exact_config().window(4));
        let ba: Rc<RefCell<Option<Conn>>> = Rc::default();
        let b: Rc<RefCell<Option<Host>>> = Rc::default();
        let (first_host, accepted) = (b.clone(), ba.clone());
        let node = net.node("β", move |host: Host| {
            let (first_host, accepted) = (first_host.clone(), accepted.clone());
            async move {
                first_host.borrow_mut().get_or_insert(host.clone());
                let listener = host.listen(":1").await.unwrap();
                while let Ok(conn) = listener.accept().await {
                    accepted.borrow_mut().replace(conn);
                }
            }
        });
        let a = net.new_host("α").await.unwrap();
        time::sleep(secs(1)).await;
        let ab = a.dial("β:1").await.unwrap();
        time::sleep(secs(1)).await;
        Self { net, a, ab, node, b, ba }
    }

    fn ba(&self) -> Conn {
        self.ba.borrow().clone().expect("it was accepted")
    }

    async fn apply(&self, fault: &str) {
        let Self { net, a, ab, node, .. } = self;
        match fault {
            "partition" => net.partition(&["α"], &["β"]),
            "one way there" => net.partition_one_way(&["α"], &["β"]),
            "one way back" => net.partition_one_way(&["β"], &["α"]),
            "hold" => net.hold("α", "β"),
            "loss" => drop(net.link("α", "β").loss(1.0)),
            "reset" => net.reset("α", "β"),
            "bandwidth" => drop(net.link("α", "β").bandwidth(1)),
            "latency" => drop(net.link("α", "β").latency(Latency::constant(secs(5)))),
            "short_io" => drop(net.link("α", "β").short_io(1.0)),
            "crash" => node.crash(),
            "restart" => node.restart(),
            "power_off" => node.power_off(),
            "pause" => node.pause(),
            "clock" => node.set_clock(ClockSkew::behind(Duration::from_secs(5)).drift_ppm(100_000)),
            "slow_node" => node.set_poll_cost(ms(100)),
            "registry" => net.registry_down(),
            "close_host" => self.b.borrow().as_ref().unwrap().close().unwrap(),
            "close" | "close unread" => self.ba().close().unwrap(),
            "drop" | "drop unread" => drop(self.ba.borrow_mut().take()),
            "half-close" => self.ba().shutdown().await.unwrap(),
            "half-close of α" => ab.shutdown().await.unwrap(),
            "close of α" => ab.close().unwrap(),
            "host of α closed" => a.close().unwrap(),
            "network closed" => net.region("").close().unwrap(),
            _ => panic!("there is no fault {fault}"),
        }
    }

    /// Undoes a fault, if it can be undone.
    fn undo(&self, fault: &str) {
        let Self { net, node, .. } = self;
        match fault {
            "partition" | "one way there" | "one way back" | "hold" | "registry" => net.heal(),
            "loss" => drop(net.link("α", "β").loss(0.0)),
            "bandwidth" => drop(net.link("α", "β").bandwidth(u64::MAX)),
            "latency" => drop(net.link("α", "β").latency(Latency::constant(ms(10)))),
            "short_io" => drop(net.link("α", "β").short_io(0.0)),
            "crash" | "power_off" => node.restart(),
            "pause" => node.resume(),
            "clock" => node.set_clock(ClockSkew::none()),
            "slow_node" => node.set_poll_cost(Duration::ZERO),
            _ => {}
        }
    }
}

/// What one end does in a state.
async fn perform(conn: Conn, state: &'static str, is_local: bool) -> Result<usize, Cause> {
    let count = |text: Result<String, Cause>| text.map(|text| text.len());
    match state {
        "writer" => write(&conn, "x").await.map(|count| count * 10),
        "idle" if is_local => match write(&conn, "x").await {
            Ok(_) => count(read(&conn).await),
            Err(cause) => Err(cause),
        },
        _ => count(read(&conn).await),
    }
}

/// How an operation ends, and after how long, in the words of the table.
async fn outcome_letter(operation: impl Future<Output = Result<usize, Cause>>) -> String {
    let (took, result) = timed(time::timeout(secs(200), operation)).await;
    let (letter, min, max) = match result {
        Err(_) => return "W".into(),
        Ok(Ok(0)) => ("E", ms(0), secs(1)),
        Ok(Ok(_)) => ("1", ms(0), secs(1)),
        Ok(Err(Cause::ConnReset)) => ("R", ms(0), secs(1)),
        Ok(Err(Cause::BrokenPipe)) => ("P", ms(0), secs(1)),
        Ok(Err(Cause::TimedOut)) => ("T", secs(59), secs(62)),
        Ok(Err(Cause::SockDown)) => ("S", ms(0), ms(0)),
        Ok(Err(Cause::HostDown)) => ("H", ms(0), ms(0)),
        Ok(Err(Cause::NetDown)) => ("N", ms(0), ms(0)),
        Ok(Err(cause)) => return format!("{cause}"),
    };
    // What was parked before the fault struck waited for that first: a second, and no more.
    let (min, max) = if letter == "T" { (min, max) } else { (min, max + secs(1)) };
    let is_late = !(min..=max).contains(&took) || (took > secs(1) && letter == "1");
    if is_late { format!("{letter}~{}", took.as_secs()) } else { letter.into() }
}

/// What β does as a task of its node, and how that ends.
async fn node_outcome_letter(task: JoinHandle<String>) -> String {
    let result = time::timeout(secs(300), task).await;
    result.map_or_else(|_| "W".into(), |joined| joined.unwrap_or_else(|_| "X".into()))
}

/// Plays one row.
async fn run_cell(fault: &'static str, state: &'static str, phase: &'static str) -> String {
    let ends = NodePair::new().await;
    let no_peer = fault.ends_with("unread") || fault.starts_with("drop");
    if state == "writer" {
        write_all(&ends.ab, b"full").await.unwrap();
        write_all(&ends.ba(), b"full").await.unwrap();
    } else if fault.ends_with("unread") {
        write_all(&ends.ab, b"u").await.unwrap();
    }
    time::sleep(secs(1)).await;
    let peer_conn = (!no_peer).then(|| ends.ba());
    match phase {
        "before" => {
            ends.apply(fault).await;
            time::sleep(secs(1)).await;
        }
        "after" => {
            ends.apply(fault).await;
            time::sleep(secs(9)).await;
            ends.undo(fault);
            time::sleep(secs(1)).await;
        }
        _ => {}
    }
    let peer = peer_conn.map(|peer_conn| {
        // The node's own clock may be wrong, and its polls slow: the time is taken outside.
        let operation = ends.node.spawn(async move { perform(peer_conn, state, false).await });
        virtnet::spawn(async move {
            let died = Cell::new(false);
            let operation = async {
                match operation.await {
                    Ok(result) => result,
                    Err(_) => {
                        died.set(true);
                        Ok(0)
                    }
                }
            };
            let outcome = outcome_letter(operation).await;
            if died.get() { "X".into() } else { outcome }
        })
    });
    let local = outcome_letter(perform(ends.ab.clone(), state, true));
    let injecting = async {
        if phase == "during" {
            time::sleep(if state == "idle" { ms(5) } else { secs(1) }).await;
            ends.apply(fault).await;
        }
    };
    let (local, ()) = join(local, injecting).await;
    let peer = match peer {
        Some(peer) => node_outcome_letter(peer).await,
        None => "-".into(),
    };
    format!("{local}|{peer}")
}

#[test]
fn faults_on_simnet_end_every_operation_as_tcp_does() {
    let (mut mismatches, mut cells) = (String::new(), 0);
    for (fault, states) in TABLE {
        for (state, phases) in STATES.into_iter().zip(states) {
            for (phase, expected) in PHASES.into_iter().zip(phases) {
                let actual = run_fifo(async move |_| run_cell(fault, state, phase).await);
                cells += 1;
                if actual != expected {
                    mismatches += &format!("\n{fault}, {state}, {phase}: {actual}, not {expected}");
                }
            }
        }
    }
    assert!(mismatches.is_empty(), "{mismatches}");
    assert_eq!(cells, 234);
}
