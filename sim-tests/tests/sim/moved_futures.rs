//! Every wait of the API, first polled by one task and then awaited by another.
//!
//! A waker belongs to the task that polled last: a wait that keeps the first one wakes a task that
//! does not care, and the other one sleeps on.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::oneshot;
use futures::future::{FutureExt, LocalBoxFuture};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::check::eventually;
use virtnet::simnet::{Config, Faults, Network};
use virtnet::{Conn, Host, Listener, Run, Schedule, Sim, SubNetwork, pipenet};

use crate::support::test_network::TestNetwork;

const SEC: Duration = Duration::from_secs(1);
/// The window of a direction on simnet.
const WINDOW: usize = 10;

/// What a wait needs.
#[derive(Clone)]
struct WaitEnv {
    sim: Sim,
    net: SubNetwork,
    a: Host,
    b: Host,
    listener: Listener,
    /// A connection from `a` to `b`.
    near: Conn,
    far: Conn,
}

impl WaitEnv {
    async fn new(sim: Sim, net: SubNetwork) -> Self {
        let (a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
        let listener = b.listen(":1").await.unwrap();
        let (near, far) = futures::join!(a.dial("b:1"), listener.accept());
        let (near, far) = (near.unwrap(), far.unwrap());
        Self { sim, net, a, b, listener, near, far }
    }
}

/// What is waited for, in words, once it has come.
type Wait = LocalBoxFuture<'static, String>;
/// What brings it about.
type Trigger = LocalBoxFuture<'static, ()>;

/// Lets a wait say what it has come to.
fn boxed_wait<T: Debug>(future: impl Future<Output = T> + 'static) -> Wait {
    async move { format!("{:?}", future.await) }.boxed_local()
}

fn boxed_trigger(future: impl Future<Output = ()> + 'static) -> Trigger {
    future.boxed_local()
}

/// A wait, what brings it about, and what it comes to.
type Case = (&'static str, fn(WaitEnv) -> (Wait, Trigger), &'static str);

/// Nothing has to be done: time passes.
fn no_trigger() -> Trigger {
    boxed_trigger(async {})
}

const TIME_CASES: [Case; 13] = [
    ("sleep", |env| (boxed_wait(env.sim.sleep(2 * SEC)), no_trigger()), "()"),
    (
        "sleep, reset after it was polled",
        |env| {
            let mut sleep = env.sim.sleep(SEC / 2);
            let again = env.sim.now() + 2 * SEC;
            let mut polled = false;
            let wait = boxed_wait(poll_fn(move |cx| {
                let poll = sleep.poll_unpin(cx);
                if !std::mem::replace(&mut polled, true) {
                    sleep.reset(again);
                    return sleep.poll_unpin(cx);
                }
                poll
            }));
            (wait, no_trigger())
        },
        "()",
    ),
    (
        "timeout",
        |env| (boxed_wait(env.sim.timeout(2 * SEC, pending::<()>())), no_trigger()),
        "Err(Elapsed(()))",
    ),
    (
        "timeout of what comes in time",
        |env| {
            let (to, from) = oneshot::channel();
            let wait = boxed_wait(env.sim.timeout(50 * SEC, from));
            (wait, boxed_trigger(async move { to.send(7).unwrap() }))
        },
        "Ok(Ok(7))",
    ),
    (
        "interval",
        |env| {
            let mut ticks = env.sim.interval(2 * SEC);
            let wait = boxed_wait(async move {
                ticks.tick().await;
                ticks.tick().await;
                ticks.next().await.is_some()
            });
            (wait, no_trigger())
        },
        "true",
    ),
    ("yield_now", |env| (boxed_wait(env.sim.yield_now()), no_trigger()), "()"),
    (
        "join handle",
        |env| {
            let sim = env.sim;
            (boxed_wait(sim.spawn(async move { sim.sleep(2 * SEC).await })), no_trigger())
        },
        "Ok(())",
    ),
    (
        "join handle of a task that is aborted",
        |env| {
            let task = Rc::new(RefCell::new(env.sim.spawn(pending::<()>())));
            let joined = task.clone();
            let wait = boxed_wait(async move {
                poll_fn(|cx| joined.borrow_mut().poll_unpin(cx)).await.unwrap_err();
            });
            (wait, boxed_trigger(async move { task.borrow().abort() }))
        },
        "()",
    ),
    (
        "join handle of a task of a node that crashes",
        |env| {
            let net = Network::new("nodes");
            let node = net.node("n", async |_| {});
            let sim = env.sim;
            let other = node.clone();
            let task = node.spawn(pending::<()>());
            let wait = boxed_wait(async move { task.await.is_err() });
            let cause = boxed_trigger(async move {
                sim.sleep(SEC).await;
                other.crash();
            });
            (wait, cause)
        },
        "true",
    ),
    (
        "select!",
        |env| {
            let sim = env.sim;
            let wait = boxed_wait(async move {
                virtnet::select! {
                    () = sim.sleep(2 * SEC) => "sleep",
                    () = pending::<()>() => "pending",
                }
            });
            (wait, no_trigger())
        },
        "\"sleep\"",
    ),
    (
        "join!",
        |env| {
            let sim = env.sim;
            let wait =
                boxed_wait(async move { virtnet::join!(sim.sleep(2 * SEC), sim.sleep(3 * SEC)) });
            (wait, no_trigger())
        },
        "((), ())",
    ),
    (
        "eventually",
        |_| {
            let is_so = Rc::new(Cell::new(false));
            let seen = is_so.clone();
            let wait = boxed_wait(async move {
                let seen = &seen;
                eventually(50 * SEC, || async move { seen.get() }).await
            });
            (wait, boxed_trigger(async move { is_so.set(true) }))
        },
        "Ok(())",
    ),
    (
        "plan of faults",
        |_| {
            let net = Network::new("chaos");
            (
                boxed_wait(async move { net.fault_plan(Faults::none()).run_for(2 * SEC).await }),
                no_trigger(),
            )
        },
        "()",
    ),
];

/// Reads some bytes, in words.
async fn read_text(mut conn: Conn) -> String {
    let mut bytes = [0; 5];
    match conn.read(&mut bytes).await {
        Ok(count) => String::from_utf8_lossy(&bytes[..count]).into_owned(),
        Err(error) => error.to_string(),
    }
}

const NETWORK_CASES: [Case; 14] = [
    (
        "read",
        |env| {
            let mut far = env.far;
            (
                boxed_wait(read_text(env.near)),
                boxed_trigger(async move { far.write_all(b"hello").await.unwrap() }),
            )
        },
        "\"hello\"",
    ),
    (
        "read of what ends",
        |env| {
            let far = env.far;
            (
                boxed_wait(read_text(env.near)),
                boxed_trigger(async move { far.shutdown().await.unwrap() }),
            )
        },
        "\"\"",
    ),
    (
        "read by a half",
        |env| {
            let ((mut reads, _writes), mut far) = (env.near.split(), env.far);
            let wait = boxed_wait(async move {
                let mut bytes = [0; 5];
                reads.read_exact(&mut bytes).await.unwrap();
                bytes
            });
            (wait, boxed_trigger(async move { far.write_all(b"hello").await.unwrap() }))
        },
        "[104, 101, 108, 108, 111]",
    ),
    (
        "write while there is no room",
        |env| {
            let (mut near, far) = (env.near, env.far);
            let wait = boxed_wait(async move { near.write_all(&[7; 3 * WINDOW]).await.is_ok() });
            let cause = boxed_trigger(async move {
                let mut far = far;
                far.read_exact(&mut [0; 3 * WINDOW]).await.unwrap();
                // It stays open.
                pending::<()>().await;
            });
            (wait, cause)
        },
        "true",
    ),
    (
        "write while there is no room, until the other end is gone",
        |env| {
            let (mut near, far) = (env.near, env.far);
            let wait = boxed_wait(async move { near.write_all(&[7; 3 * WINDOW]).await.is_err() });
            (wait, boxed_trigger(async move { drop(far) }))
        },
        "true",
    ),
    (
        "flush and close",
        |env| {
            let (mut near, far) = (env.near, env.far);
            let wait = boxed_wait(async move {
                near.flush().await.unwrap();
                AsyncWriteExt::close(&mut near).await.is_ok()
            });
            (wait, boxed_trigger(async move { drop(far) }))
        },
        "true",
    ),
    (
        "shutdown",
        |env| {
            let (near, far) = (env.near, env.far);
            let wait = boxed_wait(async move { near.shutdown().await.is_ok() });
            (wait, boxed_trigger(async move { drop(far) }))
        },
        "true",
    ),
    (
        "accept",
        |env| {
            let (listener, a) = (env.listener, env.a);
            let wait = boxed_wait(async move { listener.accept().await.is_ok() });
            (wait, boxed_trigger(async move { drop(a.dial("b:1").await) }))
        },
        "true",
    ),
    (
        "accept of a listener that is closed",
        |env| {
            let (listener, b) = (env.listener, env.b);
            let wait = boxed_wait(async move { listener.accept().await.is_err() });
            (wait, boxed_trigger(async move { b.close().unwrap() }))
        },
        "true",
    ),
    (
        "incoming",
        |env| {
            let (listener, a) = (env.listener, env.a);
            let wait = boxed_wait(async move {
                let mut incoming = listener.incoming();
                incoming.next().await.is_some_and(|conn| conn.is_ok())
            });
            (wait, boxed_trigger(async move { drop(a.dial("b:1").await) }))
        },
        "true",
    ),
    (
        "dial",
        |env| {
            let (listener, a) = (env.listener, env.a);
            let wait = boxed_wait(async move { a.dial("b:1").await.is_ok() });
            (wait, boxed_trigger(async move { drop(listener.accept().await) }))
        },
        "true",
    ),
    (
        "dial of a host that is closed meanwhile",
        |env| {
            let (b, a) = (env.b, env.a);
            let wait = boxed_wait(async move { a.dial("b:1").await.is_err() });
            (wait, boxed_trigger(async move { b.close().unwrap() }))
        },
        "true",
    ),
    (
        "new_host",
        |env| (boxed_wait(async move { env.net.new_host("c").await.is_ok() }), no_trigger()),
        "true",
    ),
    (
        "listen",
        |env| (boxed_wait(async move { env.a.listen(":7").await.is_ok() }), no_trigger()),
        "true",
    ),
];

/// Polls a future once, and says whether it waits.
async fn poll_once(wait: &mut Wait) -> Option<String> {
    poll_fn(|cx| match wait.poll_unpin(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// What becomes of the task that polled first.
#[derive(Clone, Copy, Debug)]
enum FirstTask {
    /// It waits for something else.
    WaitsElsewhere,
    Ends,
    /// It polls once more, after the other one has.
    PollsAgain,
}

/// Has one task poll a wait, then another, and then lets it come about.
async fn poll_then_move(sim: Sim, (wait, trigger): (Wait, Trigger), first: FirstTask) -> String {
    let (to_second, from_first) = oneshot::channel::<Wait>();
    let (to_first, from_second) = oneshot::channel::<Wait>();
    let (done, output) = oneshot::channel::<String>();
    let done = Rc::new(RefCell::new(Some(done)));
    let finish = move |output| {
        let done = done.borrow_mut().take().expect("it comes about once");
        done.send(output).unwrap();
    };
    let finish_first = finish.clone();
    sim.task("first").spawn(async move {
        let mut wait = wait;
        if let Some(output) = poll_once(&mut wait).await {
            return finish_first(output);
        }
        to_second.send(wait).unwrap_or_else(|_| panic!("the second task has ended"));
        match first {
            FirstTask::WaitsElsewhere => pending().await,
            FirstTask::Ends => {}
            // Unless it came about when the second task polled.
            FirstTask::PollsAgain => {
                if let Ok(wait) = from_second.await {
                    finish_first(wait.await);
                }
            }
        }
    });
    sim.task("second").spawn(async move {
        let Ok(mut wait) = from_first.await else { return };
        if !matches!(first, FirstTask::PollsAgain) {
            return finish(wait.await);
        }
        match poll_once(&mut wait).await {
            Some(output) => finish(output),
            None => {
                to_first.send(wait).unwrap_or_else(|_| panic!("the first task has ended"));
                pending::<()>().await;
            }
        }
    });
    sim.sleep(SEC).await;
    // What brings it about may have to wait itself, as a write does.
    sim.spawn(trigger);
    match sim.timeout(100 * SEC, output).await {
        Ok(output) => output.unwrap(),
        Err(_) => "it was not woken".into(),
    }
}

/// Goes through a table, with all that may become of the first task.
fn assert_cases(cases: &'static [Case], net: fn() -> SubNetwork) {
    let mut failures = Vec::new();
    for (name, case, expected) in cases {
        for first in [FirstTask::WaitsElsewhere, FirstTask::Ends, FirstTask::PollsAgain] {
            for (seed, schedule) in
                [(0, Schedule::Fifo), (1, Schedule::Random), (2, Schedule::Random)]
            {
                let outcome = Run::new(seed).schedule(schedule).execute(async move |sim| {
                    let env = WaitEnv::new(sim, net()).await;
                    let hosts = (env.a.clone(), env.b.clone(), env.listener.clone());
                    let result = poll_then_move(sim, case(env), first).await;
                    drop(hosts);
                    result
                });
                let result = format!("{:?}", outcome.ending);
                if result != format!("Done({expected:?})") {
                    failures.push(format!("{name}, {first:?}, {schedule}: {result}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn new_simnet() -> SubNetwork {
    Network::with("t", Config::new().window(WINDOW)).region("")
}

fn new_pipenet() -> SubNetwork {
    pipenet::Network::new("t").subnetwork()
}

#[test]
fn wait_for_time_or_a_task_moved_to_another_task_wakes_that_task() {
    assert_cases(&TIME_CASES, new_pipenet);
}

#[test]
fn simnet_wait_moved_to_another_task_wakes_that_task() {
    assert_cases(&NETWORK_CASES, new_simnet);
}

#[test]
fn pipenet_wait_moved_to_another_task_wakes_that_task() {
    assert_cases(&NETWORK_CASES, new_pipenet);
}

#[test]
fn engine_wait_moved_to_another_task_wakes_that_task() {
    for first in [FirstTask::WaitsElsewhere, FirstTask::Ends, FirstTask::PollsAgain] {
        let result = Run::new(1).execute(async move |sim| {
            let network = TestNetwork::new(0);
            let (a, b) = (network.host("a"), network.host("b"));
            let listener = b.listen(":1").await.unwrap();
            let src = a.listen("").await.unwrap().local_addr();
            let dst = listener.local_addr();
            let (notifier, wire) = (network.notifier.clone(), network.new_conn());
            let wait = boxed_wait(async move {
                notifier.accept(&src, &dst).await.unwrap().confirm(wire);
            });
            let trigger = boxed_trigger(async move { drop(listener.accept().await.unwrap()) });
            poll_then_move(sim, (wait, trigger), first).await
        });
        assert_eq!(result.unwrap(), "()", "{first:?}");
    }
}
