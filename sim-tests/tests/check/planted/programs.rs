//! Programs with a planted bug each.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::lock::Mutex;
use virtnet::simnet::{FaultKind, Faults, Network};
use virtnet::{Host, Sim};

/// What an edit adds to a program.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Noise {
    None,
    LogLine,
    Timer,
    Task,
    All,
}

impl Noise {
    /// Adds it to the program. A timer goes into a task that has none: all timers of a task are one
    /// waker, whose wake-ups are counted.
    async fn add(self, sim: Sim) {
        if matches!(self, Self::Timer | Self::All) {
            sim.task("patient").spawn(async move {
                sim.sleep(Duration::from_micros(3)).await;
            });
            sim.sleep(Duration::from_nanos(1)).await;
        }
        if matches!(self, Self::LogLine | Self::All) {
            sim.note("a log line that was not there before");
        }
        if matches!(self, Self::Task | Self::All) {
            sim.task("unrelated").spawn(async move {
                for _ in 0..20 {
                    sim.sleep(Duration::from_micros(700)).await;
                }
            });
        }
    }
}

pub(crate) type ProgramFuture = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// A program with a bug.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) main: fn(Sim, Noise) -> ProgramFuture,
    /// What the report must say.
    pub(crate) expected_phrases: &'static [&'static str],
}

pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        name: "lost_update",
        main: |sim, noise| Box::pin(lost_update(sim, noise)),
        expected_phrases: &["an update was lost", "main/"],
    },
    Program {
        name: "applied_twice",
        main: |sim, noise| Box::pin(applied_twice(sim, noise)),
        expected_phrases: &["applied twice", "is"],
    },
    Program {
        name: "early_ack",
        main: |sim, noise| Box::pin(early_ack(sim, noise)),
        expected_phrases: &["acknowledged and lost", "crash"],
    },
    Program {
        name: "lock_over_await",
        main: |sim, noise| Box::pin(lock_over_await(sim, noise)),
        expected_phrases: &["deadlock", "main/there", "main/back"],
    },
    Program {
        name: "dropped_wakeup",
        main: |sim, noise| Box::pin(dropped_wakeup(sim, noise)),
        expected_phrases: &["probably a lost wake-up: main/waiter"],
    },
    Program {
        name: "stale_leader",
        main: |sim, noise| Box::pin(stale_leader(sim, noise)),
        expected_phrases: &["two leaders", "partition"],
    },
];

/// Two tasks read, wait, and write what they read and one more.
async fn lost_update(sim: Sim, noise: Noise) -> Result<(), String> {
    noise.add(sim).await;
    let counter = Rc::new(Cell::new(0));
    // They take turns, so that they meet only if one of them is late.
    let tasks: Vec<_> = [("one", 1), ("other", 5)]
        .map(|(name, start)| {
            let counter = counter.clone();
            sim.task(name).spawn(async move {
                sim.sleep(Duration::from_millis(start)).await;
                for _ in 0..3 {
                    let read = counter.get();
                    sim.sleep(Duration::from_millis(1)).await;
                    counter.set(read + 1);
                    sim.sleep(Duration::from_millis(7)).await;
                }
            })
        })
        .into();
    for task in tasks {
        task.await.map_err(|error| error.to_string())?;
    }
    if counter.get() == 6 { Ok(()) } else { Err(format!("an update was lost: {}", counter.get())) }
}

async fn read_byte(conn: &mut virtnet::Conn) -> Option<u8> {
    let mut byte = [0];
    conn.read_exact(&mut byte).await.ok().map(|()| byte[0])
}

/// A client asks again when an answer is late; the server does not notice that it is asked again.
async fn applied_twice(sim: Sim, noise: Noise) -> Result<(), String> {
    noise.add(sim).await;
    let net = Network::new("t");
    let balance = Rc::new(Cell::new(0));
    let applied = balance.clone();
    net.node("bank", move |host: Host| {
        let applied = applied.clone();
        async move {
            let listener = host.listen(":1").await.unwrap();
            while let Ok(mut conn) = listener.accept().await {
                let applied = applied.clone();
                Sim::current().task("serve").spawn(async move {
                    while let Some(amount) = read_byte(&mut conn).await {
                        applied.set(applied.get() + u64::from(amount));
                        if conn.write_all(&[1]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    let host = net.new_host("client").await.map_err(|error| error.to_string())?;
    sim.sleep(Duration::from_secs(1)).await;
    for _ in 0..5 {
        loop {
            let ask = async {
                let mut conn = host.dial("bank:1").await.ok()?;
                conn.write_all(&[7]).await.ok()?;
                read_byte(&mut conn).await
            };
            // The two round trips and a look-up take 45 ms at most, if nothing is late.
            if let Ok(Some(_)) = sim.timeout(Duration::from_millis(60), ask).await {
                break;
            }
        }
    }
    let balance = balance.get();
    if balance == 35 { Ok(()) } else { Err(format!("applied twice: {balance}")) }
}

/// A primary acknowledges before its backup has what it acknowledges, and may crash in between.
async fn early_ack(sim: Sim, noise: Noise) -> Result<(), String> {
    noise.add(sim).await;
    let net = Network::new("t");
    let stored = Rc::new(RefCell::new(BTreeMap::new()));
    let store = stored.clone();
    net.node("backup", move |host: Host| {
        let store = store.clone();
        async move {
            let listener = host.listen(":1").await.unwrap();
            while let Ok(mut conn) = listener.accept().await {
                while let Some(value) = read_byte(&mut conn).await {
                    store.borrow_mut().insert(value, ());
                }
            }
        }
    });
    let primary = net.node("primary", async |host: Host| {
        let listener = host.listen(":1").await.unwrap();
        while let Ok(mut conn) = listener.accept().await {
            while let Some(value) = read_byte(&mut conn).await {
                // The bug: the answer goes out first.
                if conn.write_all(&[1]).await.is_err() {
                    break;
                }
                if let Ok(mut backup) = host.dial("backup:1").await {
                    let _ = backup.write_all(&[value]).await;
                }
            }
        }
    });
    let host = net.new_host("client").await.map_err(|error| error.to_string())?;
    sim.sleep(Duration::from_secs(1)).await;
    let mut fault_plan = net.fault_plan(Faults::none().with(FaultKind::Crash).max_down(1));
    let mut acknowledged = Vec::new();
    let client = async {
        for value in 0..20 {
            sim.sleep(Duration::from_millis(40)).await;
            let Ok(mut conn) = host.dial("primary:1").await else { continue };
            if conn.write_all(&[value]).await.is_ok() && read_byte(&mut conn).await.is_some() {
                acknowledged.push(value);
            }
        }
    };
    futures::join!(fault_plan.run_for(Duration::from_secs(1)), client);
    drop(primary);
    sim.sleep(Duration::from_secs(5)).await;
    let stored = stored.borrow();
    match acknowledged.iter().find(|value| !stored.contains_key(value)) {
        None => Ok(()),
        Some(value) => Err(format!("acknowledged and lost: {value}")),
    }
}

/// Two tasks take two locks in different orders, and wait in between.
async fn lock_over_await(sim: Sim, noise: Noise) -> Result<(), String> {
    noise.add(sim).await;
    let locks = Rc::new((Mutex::new(()), Mutex::new(())));
    let lock_both = |name, reversed: bool| {
        let locks = locks.clone();
        sim.task(name).spawn(async move {
            let (first, second) =
                if reversed { (&locks.1, &locks.0) } else { (&locks.0, &locks.1) };
            let pause = Duration::from_micros(if reversed { 900 } else { 100 });
            sim.sleep(pause).await;
            let first_guard = first.lock().await;
            sim.sleep(Duration::from_micros(1)).await;
            drop((second.lock().await, first_guard));
        })
    };
    for task in [lock_both("there", false), lock_both("back", true)] {
        task.await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A task looks, and then says where it waits; whoever changes things in between wakes nobody.
async fn dropped_wakeup(sim: Sim, noise: Noise) -> Result<(), String> {
    noise.add(sim).await;
    let (ready, waker) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(None::<Waker>)));
    let waiter = sim.task("waiter").spawn({
        let (ready, waker) = (ready.clone(), waker.clone());
        async move {
            sim.sleep(Duration::from_micros(100)).await;
            let seen = ready.get();
            sim.sleep(Duration::from_micros(1)).await;
            if !seen {
                let mut first = true;
                poll_fn(|cx| {
                    if !std::mem::replace(&mut first, false) && ready.get() {
                        return Poll::Ready(());
                    }
                    *waker.borrow_mut() = Some(cx.waker().clone());
                    Poll::Pending
                })
                .await;
            }
        }
    });
    sim.task("setter").spawn(async move {
        sim.sleep(Duration::from_micros(900)).await;
        ready.set(true);
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    });
    waiter.await.map_err(|error| error.to_string())
}

/// A leader goes on leading when the others cannot hear it any more, and have elected another.
async fn stale_leader(sim: Sim, noise: Noise) -> Result<(), String> {
    noise.add(sim).await;
    let net = Network::new("t");
    let leads: Rc<[Cell<bool>; 2]> = Rc::new([Cell::new(true), Cell::new(false)]);
    let is_leading = leads.clone();
    net.node("leader", move |host: Host| {
        let is_leading = is_leading.clone();
        async move {
            let sim = Sim::current();
            loop {
                // The bug: it does not step down when its heartbeat gets nowhere.
                let heartbeat = async {
                    let mut conn = host.dial("follower:1").await.ok()?;
                    conn.write_all(&[1]).await.ok()?;
                    read_byte(&mut conn).await
                };
                if let Ok(Some(2)) = sim.timeout(Duration::from_millis(300), heartbeat).await {
                    is_leading[0].set(false);
                }
                sim.sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let is_leading = leads.clone();
    net.node("follower", move |host: Host| {
        let is_leading = is_leading.clone();
        async move {
            let sim = Sim::current();
            let listener = host.listen(":1").await.unwrap();
            loop {
                match sim.timeout(Duration::from_secs(2), listener.accept()).await {
                    Ok(Ok(mut conn)) => {
                        read_byte(&mut conn).await;
                        let answer = if is_leading[1].get() { 2 } else { 1 };
                        let _ = conn.write_all(&[answer]).await;
                    }
                    Ok(Err(error)) => return Err::<(), _>(error.to_string()),
                    Err(_) => is_leading[1].set(true),
                }
            }
        }
    });
    sim.sleep(Duration::from_secs(1)).await;
    let observer = async {
        for _ in 0..200 {
            sim.sleep(Duration::from_millis(100)).await;
            if leads.iter().all(Cell::get) {
                return Err("two leaders".to_string());
            }
        }
        Ok(())
    };
    let mut fault_plan = net.fault_plan(Faults::none().with(FaultKind::Partition));
    futures::join!(fault_plan.run_for(Duration::from_secs(15)), observer).1
}
