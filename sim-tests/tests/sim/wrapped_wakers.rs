//! Wrapped wakers: a combinator that polls with its own waker changes neither who wakes a task nor
//! when.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use futures::stream::FuturesUnordered;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use virtnet::simnet::{Config, Latency, Network};
use virtnet::{Host, Record, RecordKind, Run, Schedule, Sim};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// How a task waits for several futures.
type JoinAll = fn(Vec<LocalFuture>) -> LocalFuture;

fn in_futures_unordered(futures: Vec<LocalFuture>) -> LocalFuture {
    Box::pin(async {
        let mut futures: FuturesUnordered<_> = futures.into_iter().collect();
        while let Some(()) = futures.next().await {}
    })
}

/// An executor inside a task: it polls a future only when the waker of that future was called.
struct ReadyQueue {
    ready: Mutex<Vec<usize>>,
    parent: Mutex<Waker>,
}

struct ChildWaker {
    index: usize,
    queue: Arc<ReadyQueue>,
}

impl Wake for ChildWaker {
    fn wake(self: Arc<Self>) {
        self.queue.ready.lock().unwrap().push(self.index);
        let parent = self.queue.parent.lock().unwrap().clone();
        parent.wake();
    }
}

fn in_an_executor(futures: Vec<LocalFuture>) -> LocalFuture {
    let queue = Arc::new(ReadyQueue {
        ready: Mutex::new((0..futures.len()).collect()),
        parent: Mutex::new(Waker::noop().clone()),
    });
    let mut futures: Vec<Option<LocalFuture>> = futures.into_iter().map(Some).collect();
    Box::pin(poll_fn(move |cx| {
        cx.waker().clone_into(&mut queue.parent.lock().unwrap());
        loop {
            let ready = std::mem::take(&mut *queue.ready.lock().unwrap());
            if ready.is_empty() {
                break;
            }
            for index in ready {
                let waker = Waker::from(Arc::new(ChildWaker { index, queue: queue.clone() }));
                let Some(future) = &mut futures[index] else { continue };
                if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    futures[index] = None;
                }
            }
        }
        if futures.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    }))
}

const JOIN_ALL: [(&str, JoinAll); 2] =
    [("FuturesUnordered", in_futures_unordered), ("an executor", in_an_executor)];

/// A network with 10 ms of latency whose registry answers after 1 ms.
fn network() -> Network {
    let config = Config::new().latency(Latency::constant(ms(10)));
    Network::with("t", config.registry_latency(Latency::constant(ms(1))))
}

/// A server that sends `messages` messages to each client, 100 ms apart, and closes.
async fn serve(sim: Sim, net: &Network, messages: usize) {
    let listener = net.new_host("server").await.unwrap().listen(":1").await.unwrap();
    sim.task("server").spawn(async move {
        while let Ok(mut conn) = listener.accept().await {
            sim.task("session").spawn(async move {
                for _ in 0..messages {
                    sim.sleep(ms(100)).await;
                    conn.write_all(b"x").await.unwrap();
                }
            });
        }
    });
}

async fn read_to_end(host: Host) {
    let mut conn = host.dial("server:1").await.unwrap();
    while conn.read(&mut [0; 8]).await.unwrap() > 0 {}
}

/// A task `waiter` that waits all at once for timers, for a message and the end of two tasks, and
/// for two connections.
async fn program(sim: Sim, join_all: JoinAll) {
    let net = network();
    serve(sim, &net, 2).await;
    let [alpha, beta] = [net.new_host("α").await.unwrap(), net.new_host("β").await.unwrap()];
    let (to_waiter, message) = oneshot::channel();
    sim.task("sender").spawn(async move {
        sim.sleep(ms(60)).await;
        to_waiter.send(()).unwrap();
    });
    let [first, second] =
        [70, 80].map(|millis| sim.task("child").spawn(async move { sim.sleep(ms(millis)).await }));
    let futures: Vec<LocalFuture> = vec![
        Box::pin(async move {
            sim.sleep(ms(40)).await;
            sim.sleep(ms(10)).await;
        }),
        Box::pin(async { message.await.unwrap() }),
        Box::pin(async { first.await.unwrap() }),
        Box::pin(async { second.await.unwrap() }),
        Box::pin(read_to_end(alpha)),
        Box::pin(async move {
            sim.sleep(ms(5)).await;
            read_to_end(beta).await;
        }),
    ];
    sim.task("waiter").spawn(join_all(futures)).await.unwrap();
}

#[test]
fn wakeup_through_a_wrapped_waker_names_its_source_and_counts_by_it() {
    for (how, join_all) in JOIN_ALL {
        let run = Run::new(0).schedule(Schedule::Fifo).keep_trace();
        let outcome = run.execute(|sim| program(sim, join_all));
        assert!(outcome.is_done(), "{how}: {}", outcome.ending);
        let trace = outcome.trace.unwrap();
        let is_poll = |it: &&Record| it.kind == RecordKind::Poll && it.subject == "main/waiter";
        let polls = trace.records().iter().filter(is_poll);
        // `FuturesUnordered` is done with one poll when it has polled a future twice.
        let polls = polls.filter(|record| record.source != "main/waiter");
        let sources: Vec<_> = polls.map(|it| format!("{} {}", it.source, it.ordinal)).collect();
        let expected = [
            "spawn 0",
            "timer 0",
            "simt/α/server/reverse/syn 0",
            "simt/β/server/reverse/syn 0",
            "timer 1",
            "timer 2",
            "main/sender 0",
            "main/child/%exit 0",
            "main/child#1/%exit 0",
            "simt/α/server/reverse 0",
            "simt/β/server/reverse 0",
            "simt/α/server/reverse 1",
            "simt/β/server/reverse 1",
        ];
        assert_eq!(sources, expected, "{how}\n{trace}");
    }
}

#[test]
fn wakeup_through_a_wrapped_waker_is_caused_by_what_its_source_did() {
    for (how, join_all) in JOIN_ALL {
        let run = Run::new(0).schedule(Schedule::Fifo).keep_trace();
        let trace = run.execute(|sim| program(sim, join_all)).trace.unwrap();
        let records = trace.records();
        let is_poll = |it: &&Record| it.kind == RecordKind::Poll && it.subject == "main/waiter";
        let mut seen = Vec::new();
        for poll in records.iter().filter(is_poll) {
            let causes: Vec<_> = poll.causes.iter().map(|index| &records[*index]).collect();
            match (poll.source.strip_suffix("/%exit"), &causes[..]) {
                (Some(task), [cause]) => assert_eq!(cause.subject, task, "{how}: {poll}"),
                (None, [cause, ..]) if poll.source.ends_with("/reverse") => {
                    assert!(matches!(cause.kind, RecordKind::Deliver(_)), "{how}: {poll}");
                    assert_eq!(cause.subject, poll.source, "{how}: {poll}");
                }
                _ => continue,
            }
            seen.push(poll.source.as_str());
        }
        assert_eq!(seen.len(), 6, "{how}: {seen:?}\n{trace}");
    }
}

/// Polls a future, with a waker that wraps the task's if `wrapped`.
async fn wrap_if<F: Future>(wrapped: bool, future: F) -> F::Output {
    struct Wrapper(Waker);
    impl Wake for Wrapper {
        fn wake(self: Arc<Self>) {
            self.0.wake_by_ref();
        }
    }
    if !wrapped {
        return future.await;
    }
    let mut future = pin!(future);
    let mut waker = None;
    poll_fn(|cx| {
        let waker = waker.get_or_insert_with(|| Arc::new(Wrapper(cx.waker().clone())).into());
        future.as_mut().poll(&mut Context::from_waker(waker))
    })
    .await
}

/// Clients that talk to a server, sleep, yield, and spawn and join tasks.
async fn conversation(sim: Sim, wrapped: bool) {
    let net = Network::new("t");
    let listener = net.new_host("server").await.unwrap().listen(":1").await.unwrap();
    sim.task("server").spawn(wrap_if(wrapped, async move {
        while let Ok(mut conn) = listener.accept().await {
            sim.task("session").spawn(wrap_if(wrapped, async move {
                let mut buf = [0; 8];
                while let Ok(n @ 1..) = conn.read(&mut buf).await {
                    sim.sleep(Duration::from_micros(300)).await;
                    conn.write_all(&buf[..n]).await.unwrap();
                }
            }));
        }
    }));
    let mut clients = Vec::new();
    for name in ["α", "β", "γ"] {
        let host = net.new_host(name).await.unwrap();
        clients.push(sim.task(name).spawn(wrap_if(wrapped, async move {
            let mut conn = host.dial("server:1").await.unwrap();
            for _ in 0..5 {
                conn.write_all(b"ping").await.unwrap();
                conn.read_exact(&mut [0; 4]).await.unwrap();
                sim.yield_now().await;
                sim.task("child").spawn(async move { sim.yield_now().await }).await.unwrap();
                sim.sleep(ms(1)).await;
            }
        })));
    }
    for client in clients {
        client.await.unwrap();
    }
}

#[test]
fn fingerprint_is_the_same_with_wrapped_wakers() {
    for schedule in [Schedule::Fifo, Schedule::Random, Schedule::Pct { depth: 3 }] {
        for seed in 0..20 {
            let [direct, wrapped] = [false, true].map(|wrapped| {
                let run = Run::new(seed).schedule(schedule).keep_trace();
                let outcome = run.execute(|sim| conversation(sim, wrapped));
                assert!(outcome.is_done(), "{}", outcome.ending);
                (outcome.fingerprint, outcome.trace.unwrap())
            });
            let difference = direct.1.first_difference(&wrapped.1);
            assert!(difference.is_none(), "{schedule}, seed {seed}: {}", difference.unwrap());
            assert_eq!(direct.0, wrapped.0, "{schedule}, seed {seed}");
        }
    }
}

/// How late the task `waiter` is polled for each of 60 messages, 100 ms apart, in nanoseconds.
fn message_delays(seed: u64, join_all: JoinAll, other_wakeups: bool) -> Vec<u64> {
    let outcome = Run::new(seed).keep_trace().execute(async move |sim| {
        let net = network();
        serve(sim, &net, 60).await;
        let mut futures: Vec<LocalFuture> =
            vec![Box::pin(read_to_end(net.new_host("α").await.unwrap()))];
        if other_wakeups {
            futures.push(Box::pin(async move {
                for _ in 0..20 {
                    sim.sleep(ms(73)).await;
                    sim.task("child").spawn(async {}).await.unwrap();
                }
            }));
        }
        sim.task("waiter").spawn(join_all(futures)).await.unwrap();
    });
    let trace = outcome.trace.unwrap();
    let mut delivered_at = 0;
    let mut delays = Vec::new();
    for record in trace.records() {
        if record.subject == "simt/α/server/reverse" {
            delivered_at = record.at.as_nanos();
        }
        if record.subject == "main/waiter" && record.source == "simt/α/server/reverse" {
            delays.push(record.at.as_nanos() - delivered_at);
        }
    }
    delays
}

#[test]
fn other_wakeups_through_wrapped_wakers_change_no_delay_of_a_source() {
    for (how, join_all) in JOIN_ALL {
        let delays = message_delays(5, join_all, false);
        assert!(delays.iter().any(|delay| *delay > 0), "{how}: some wake-up is late");
        assert_eq!(delays, message_delays(5, join_all, true), "{how}");
    }
}
