//! A stream is never wrong: whatever happens, what arrives is what was sent, in order and once, and
//! nobody waits past his timeout.
//!
//! Each byte tells its own place and that of its stream, so that a hole, a repeat or a swap is seen
//! here as well, and not only by the network's own oracle. What happens is drawn from the seed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::select;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::rand_core::Rng;
use virtnet::simnet::{Config, Latency, Network, Node};
use virtnet::{Cause, Conn, Ending, Host, Run, Schedule, Sim, time};

use crate::simnet::{cause, ms, secs};

/// How many seeds the suite plays; by hand, in release, 20 000 were played as well.
const SEEDS: u64 = 300;

/// How long a stream may go unacknowledged.
const STREAM_TIMEOUT: Duration = Duration::from_secs(8);

/// The longest that any operation takes: a minute between two attempts is never reached, because
/// the stream times out before; who pauses longest is part of the story.
const LONGEST: Duration = Duration::from_secs(60);

/// What all tasks of a run have seen.
#[derive(Debug, Default)]
struct Seen {
    /// How long a stream may be.
    most: u64,
    /// Whether it is late in the story, and nobody begins anything.
    late: Cell<bool>,
    bytes: Cell<u64>,
    ends: Cell<u64>,
    resets: Cell<u64>,
    timeouts: Cell<u64>,
    broken: Cell<u64>,
}

impl Seen {
    fn count(cell: &Cell<u64>, more: u64) {
        cell.set(cell.get() + more);
    }

    fn error(&self, cause: &Cause) {
        let cell = match cause {
            Cause::ConnReset => &self.resets,
            Cause::TimedOut => &self.timeouts,
            Cause::BrokenPipe | Cause::SockDown | Cause::HostDown => &self.broken,
            other => panic!("nothing in this story leads to {other}"),
        };
        Self::count(cell, 1);
    }
}

/// A number below another.
fn below(options: u64) -> u64 {
    virtnet::rng().next_u64() % options
}

/// The byte at a place of a stream.
fn byte(stream: u64, place: u64) -> u8 {
    let mixed =
        (place ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0x2545_f491_4f6c_dd1d);
    (mixed >> 32) as u8
}

/// Writes a stream, in pieces, with pauses, and ends it in one of the ways there are.
async fn writes(conn: Conn, stream: u64, seen: Rc<Seen>) {
    let (total, mut place) = (below(seen.most), 0);
    while place < total {
        let piece = (1 + below(3_000)).min(total - place);
        let piece: Vec<u8> = (place..place + piece).map(|place| byte(stream, place)).collect();
        match time::timeout(LONGEST, (&conn).write(&piece)).await {
            Err(_) => panic!("a write of stream {stream} waits past its timeout, at {place}"),
            Ok(Err(error)) => return seen.error(&cause(&error)),
            Ok(Ok(count)) => place += count as u64,
        }
        if below(4) == 0 {
            time::sleep(Duration::from_micros(below(300_000))).await;
        }
    }
    match below(3) {
        0 => drop(conn.close()),
        1 => drop(conn.shutdown().await),
        _ => {}
    }
}

/// Reads a stream to its end, and looks at every byte.
async fn reads(conn: Conn, stream: u64, seen: Rc<Seen>) {
    // Not byte by byte through a large window: `Pct` may hold each pause back for a second.
    let (mut place, mut buf) = (0, vec![0; (1 + seen.most / 100 + below(4_000)) as usize]);
    loop {
        // An idle reader may wait for ever, as in TCP; here it looks elsewhere after a while.
        match time::timeout(LONGEST * 2, (&conn).read(&mut buf)).await {
            Err(_) => return,
            Ok(Err(error)) => return seen.error(&cause(&error)),
            Ok(Ok(0)) => return Seen::count(&seen.ends, 1),
            Ok(Ok(count)) => {
                for got in &buf[..count] {
                    assert_eq!(*got, byte(stream, place), "stream {stream} at {place}");
                    place += 1;
                }
                Seen::count(&seen.bytes, count as u64);
            }
        }
        if below(8) == 0 {
            // The slower, the more it takes at once: no window stays shut for long.
            time::sleep(Duration::from_micros(below(500 * buf.len() as u64))).await;
        }
    }
}

/// Both ways of a connection, in two tasks; the ports tell which streams they are.
async fn talk(conn: Conn, seen: Rc<Seen>) {
    // Whoever wrote it has named it: the first eight bytes tell the stream.
    let own = virtnet::rng().next_u64();
    let named = async {
        let mut name = [0; 8];
        time::timeout(LONGEST, (&conn).write_all(&own.to_le_bytes())).await.ok()?.ok()?;
        time::timeout(LONGEST * 2, (&conn).read_exact(&mut name)).await.ok()?.ok()?;
        Some(u64::from_le_bytes(name))
    };
    let Some(other) = named.await else { return };
    let writing = writes(conn.clone(), own, seen.clone());
    let reading = reads(conn, other, seen);
    futures::join!(writing, reading);
}

/// A program that takes whoever comes, and dials whom it likes.
async fn peer(host: Host, hosts: u64, seen: Rc<Seen>) {
    let Ok(listener) = host.listen(":1").await else { return };
    let accepted = seen.clone();
    virtnet::spawn(async move {
        while let Ok(conn) = listener.accept().await {
            virtnet::spawn(talk(conn, accepted.clone()));
        }
    });
    while !seen.late.get() {
        time::sleep(Duration::from_micros(below(6_000_000))).await;
        let whom = format!("h{}:1", below(hosts));
        match time::timeout(LONGEST, host.dial(&whom)).await {
            Err(_) => panic!("a dial waits past its timeout"),
            Ok(Ok(conn)) => drop(virtnet::spawn(talk(conn, seen.clone()))),
            Ok(Err(_)) => {}
        }
    }
}

/// Breaks something every now and then.
async fn breaks(net: Network, nodes: Vec<Node>, steps: u64) {
    let names: Vec<String> = nodes.iter().map(|node| node.name().into()).collect();
    for _ in 0..steps {
        time::sleep(Duration::from_micros(below(3_000_000))).await;
        let first = below(names.len() as u64) as usize;
        let second = (first + 1 + below(names.len() as u64 - 1) as usize) % names.len();
        let (node, a, b) = (&nodes[first], names[first].as_str(), names[second].as_str());
        match below(16) {
            0 | 1 => net.partition(&[a], &[b]),
            2 => net.partition_one_way(&[a], &[b]),
            3 => net.hold(a, b),
            4 => net.release(a, b),
            5 => net.reset(a, b),
            6 => node.crash(),
            7 => node.power_off(),
            8 => node.restart(),
            9 => node.close_host(),
            10 => drop(net.link(a, b).short_io(0.5).loss(0.1)),
            11 => drop(net.link(a, b).latency(Latency::uniform(ms(1), ms(1_500)))),
            12 => drop(net.link(a, b).bandwidth(10_000 + below(100_000))),
            13 => net.heal(),
            _ => {}
        }
        // Whoever is down comes back, mostly.
        if below(3) > 0 {
            nodes.iter().filter(|node| !node.is_up()).for_each(Node::restart);
        }
    }
    net.heal();
}

/// One seed's story.
async fn story(sim: Sim, window: usize, seen: Rc<Seen>) {
    let keep_alive = (below(2) == 0).then(|| secs(7));
    let config = Config::new().window(window);
    let config = config.user_timeout(Some(STREAM_TIMEOUT)).keep_alive(keep_alive);
    let net = Network::with("t", config.connect_timeout(secs(5)));
    let hosts = 2 + below(7);
    let nodes = (0..hosts).map(|number| {
        let seen = seen.clone();
        net.node(&format!("h{number}"), move |host| peer(host, hosts, seen.clone()))
    });
    let nodes = nodes.collect();
    let breaking = Box::pin(breaks(net, nodes, 20));
    select(breaking, sim.sleep(secs(120))).await;
    seen.late.set(true);
    sim.sleep(LONGEST + secs(1)).await;
}

/// Plays some seeds, and adds up what was seen.
fn play(seeds: std::ops::Range<u64>) -> [u64; 5] {
    let mut sum = [0; 5];
    for seed in seeds {
        let window = [8, 100, 4_096, 65_536][seed as usize % 4];
        let most = (20 * window as u64).clamp(400, 20_000);
        let seen = Rc::new(Seen { most, ..Seen::default() });
        let schedule = match seed % 3 {
            0 => Schedule::Fifo,
            1 => Schedule::Random,
            _ => Schedule::Pct { depth: 3 },
        };
        let told = seen.clone();
        let run = Run::new(seed).schedule(schedule).execute(|sim| story(sim, window, told));
        assert!(matches!(run.ending, Ending::Done(())), "{run}");
        let cells = [&seen.bytes, &seen.ends, &seen.resets, &seen.timeouts, &seen.broken];
        for (sum, cell) in sum.iter_mut().zip(cells) {
            *sum += cell.get();
        }
    }
    sum
}

#[test]
fn no_stream_is_ever_wrong_and_none_hangs() {
    let other = std::thread::spawn(|| play(SEEDS / 2..SEEDS));
    let [one, other] = [play(0..SEEDS / 2), other.join().unwrap()];
    for (what, (one, other)) in
        ["bytes", "ends", "resets", "timeouts", "broken pipes"].iter().zip(one.iter().zip(other))
    {
        assert!(one + other > SEEDS / 10, "only {} {what} were seen", one + other);
    }
}
