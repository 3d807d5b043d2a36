//! What a stalled run says of its tasks, which must be true and must come in bounded time.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::simnet::{Config, Network};
use virtnet::{Conn, Ending, Host, Outcome, Run, Sim, Stall, StalledState, join, pipenet};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

fn stall_of<T: std::fmt::Debug>(outcome: &Outcome<T>) -> &Stall {
    match &outcome.ending {
        Ending::Deadlock(stall)
        | Ending::Livelock(stall)
        | Ending::TimeLimit(stall)
        | Ending::StepLimit(stall) => stall,
        other => panic!("no stall: {other:?}"),
    }
}

/// What a stalled run says of each task: its path and its state.
fn task_states(stall: &Stall) -> Vec<(&str, String)> {
    stall.tasks.iter().map(|task| (task.task.as_str(), task.state.to_string())).collect()
}

/// Two hosts and a connection between them, on a network whose window is `window` bytes.
async fn connected_pair(window: usize) -> (Conn, Conn) {
    let net = Network::with("t", Config::new().window(window));
    let (a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
    let listener = b.listen(":1").await.unwrap();
    let (x, y) = join!(a.dial("b:1"), listener.accept());
    (x.unwrap(), y.unwrap())
}

/// Runs until `limit`, with a writer that loops and a reader that does not read, or reads all.
fn run_producer(run: Run, reader_reads: bool) -> Outcome<()> {
    run.execute(async move |sim: Sim| {
        let (mut x, mut y) = connected_pair(64 << 10).await;
        sim.task("producer").spawn(async move { while x.write_all(&[0; 1000]).await.is_ok() {} });
        let mut buf = [0; 4096];
        while reader_reads && y.read(&mut buf).await.is_ok_and(|count| count > 0) {}
        pending::<()>().await;
    })
}

#[test]
fn writer_in_a_loop_is_explained_at_each_ending() {
    let deadlock = run_producer(Run::new(1), false);
    let expected = [
        ("main", "waits for something unknown to virtnet (a channel? a lock?)".to_string()),
        ("main/producer", "waits for write simt a:1->b:2".to_string()),
    ];
    assert!(matches!(deadlock.ending, Ending::Deadlock(_)), "{deadlock}");
    assert_eq!(task_states(stall_of(&deadlock)), expected);
    assert_eq!(stall_of(&deadlock).lost_wakeup, None);
    for run in [Run::new(1).time_limit(10 * SEC), Run::new(1).step_limit(1000)] {
        let outcome = run_producer(run, true);
        assert!(matches!(outcome.ending, Ending::TimeLimit(_) | Ending::StepLimit(_)), "{outcome}");
        assert_eq!(stall_of(&outcome).lost_wakeup, None, "{outcome}");
    }
}

#[test]
fn program_behind_a_blocked_write_is_not_reached_by_the_explanation() {
    for busy in [false, true] {
        let reached = Rc::new(Cell::new(false));
        let flag = reached.clone();
        let outcome: Outcome<()> = Run::new(0).time_limit(60 * SEC).execute(async move |sim| {
            let (mut x, _y) = connected_pair(10).await;
            if busy {
                sim.spawn(async move {
                    loop {
                        sim.sleep(SEC).await;
                    }
                });
            }
            x.write_all(&[0; 20]).await.unwrap();
            flag.set(true);
            sim.sleep(SEC).await;
        });
        assert!(!reached.get(), "20 bytes were written, of which 10 have room");
        let stall = stall_of(&outcome);
        assert_eq!(task_states(stall)[0], ("main", "waits for write simt a:1->b:2".into()));
        assert_eq!(stall.lost_wakeup, None);
    }
}

/// What is waited for in [`waits`], and how a stall calls it on the simulated network and on
/// pipenet.
const WAITS: [(&str, &str, &str); 9] = [
    ("read", "read simt b:2->a:1", "read pipet b:2->a:1"),
    ("write", "write simt a:1->b:2", "write pipet a:1->b:2"),
    ("accept", "accept simt a:7", "accept pipet a:7"),
    ("incoming", "accept simt a:7", "accept pipet a:7"),
    ("join", "the end of task main/asleep", "the end of task main/asleep"),
    ("sleep", "sleep until", "sleep until"),
    ("interval", "sleep until", "sleep until"),
    ("timeout", "read simt b:2->a:1, or sleep until", "read pipet b:2->a:1, or sleep until"),
    ("select", "accept simt a:7", "accept pipet a:7"),
];

/// Parks in the wait of that name, and says so if it ever gets past it.
async fn park_in_wait(sim: Sim, name: &'static str, (mut x, _y): (Conn, Conn), host: Host) {
    use futures::StreamExt;
    let far = 1_000_000 * SEC;
    match name {
        "read" => drop(x.read(&mut [0]).await),
        "write" => drop(x.write_all(&[7; 1000]).await),
        "accept" => drop(host.listen(":7").await.unwrap().accept().await),
        "incoming" => drop(host.listen(":7").await.unwrap().incoming().next().await),
        "join" => drop(sim.task("asleep").spawn(sim.sleep(far)).await),
        "sleep" => sim.sleep(far).await,
        "interval" => {
            let mut interval = sim.interval(far);
            interval.tick().await;
            interval.tick().await;
        }
        "timeout" => drop(sim.timeout(far, x.read(&mut [0])).await),
        "select" => {
            let listener = host.listen(":7").await.unwrap();
            let mut buf = [0];
            virtnet::select! {
                _ = x.read(&mut buf) => (),
                _ = listener.accept() => (),
            }
        }
        _ => unreachable!("no such wait"),
    }
}

/// Each wait, at the time limit and at the step limit, followed by an endless loop of every
/// operation that could complete: nothing completes, nothing is called a lost wake-up.
#[test]
fn each_wait_is_named_and_holds_the_program_while_it_is_explained() {
    for (name, on_simnet, on_pipenet) in WAITS {
        for simulated in [true, false] {
            let passed = Rc::new(Cell::new(false));
            let flag = passed.clone();
            let outcome: Outcome<()> = Run::new(3).time_limit(9 * SEC).execute(async move |sim| {
                let (conns, host) = if simulated {
                    let net = Network::with("t", Config::new().window(10));
                    let hosts =
                        (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
                    let listener = hosts.1.listen(":1").await.unwrap();
                    let (x, y) = join!(hosts.0.dial("b:1"), listener.accept());
                    ((x.unwrap(), y.unwrap()), hosts.0)
                } else {
                    let net = pipenet::Network::new("t");
                    let hosts = (net.host("a"), net.host("b"));
                    let listener = hosts.1.listen(":1").await.unwrap();
                    let (x, y) = join!(hosts.0.dial("b:1"), listener.accept());
                    ((x.unwrap(), y.unwrap()), hosts.0)
                };
                sim.spawn(async move {
                    loop {
                        sim.sleep(SEC).await;
                    }
                });
                park_in_wait(sim, name, conns, host).await;
                flag.set(true);
            });
            assert!(!passed.get(), "{name}: the explanation moved the program on");
            let stall = stall_of(&outcome);
            let expected = if simulated { on_simnet } else { on_pipenet };
            assert!(task_states(stall)[0].1.contains(expected), "{name}: {:?}", task_states(stall));
            assert_eq!(stall.lost_wakeup, None, "{name}");
        }
    }
}

/// What a planted lost wake-up says as evidence: `past` runs behind a wait whose waker was dropped.
fn planted_lost_wakeup<F, Fut>(next_operation: F) -> Option<String>
where
    F: FnOnce(Sim, Host, Conn) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let outcome: Outcome<()> = Run::new(1).execute(async move |sim| {
        let net = Network::with("t", Config::new().window(10));
        let (a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
        let listener = b.listen(":1").await.unwrap();
        let (x, y) = join!(a.dial("b:1"), listener.accept());
        let (x, _y) = (x.unwrap(), y.unwrap());
        let open = Rc::new(Cell::new(false));
        let seen = open.clone();
        let keep = (a.clone(), x.clone());
        sim.task("careless").spawn(async move {
            let _keep = keep;
            poll_fn(|_| if seen.get() { Poll::Ready(()) } else { Poll::Pending }).await;
            next_operation(sim, a, x).await;
            panic!("the explanation moved the program past an operation");
        });
        sim.sleep(SEC).await;
        open.set(true);
        pending::<()>().await;
    });
    let lost = stall_of(&outcome).lost_wakeup.as_ref()?;
    assert_eq!(lost.task, "main/careless");
    Some(lost.evidence.clone())
}

#[test]
fn lost_wakeup_is_proved_by_each_operation_that_the_task_goes_on_to() {
    let evidence = [
        planted_lost_wakeup(|sim, _, _| sim.sleep_until(virtnet::Instant::ZERO + 5 * SEC)),
        planted_lost_wakeup(|sim, _, _| async move { sim.yield_now().await }),
        planted_lost_wakeup(|sim, _, _| async move { drop(sim.spawn(async {}).await) }),
        planted_lost_wakeup(|_, _, mut x| async move { drop(x.read(&mut [0]).await) }),
        planted_lost_wakeup(|_, _, mut x| async move { drop(x.write(&[0]).await) }),
        planted_lost_wakeup(|_, _, x| async move { drop(x.shutdown().await) }),
        planted_lost_wakeup(|_, _, x| async move {
            let _ = x.close();
            pending::<()>().await;
        }),
        planted_lost_wakeup(|_, a, _| async move { drop(a.dial("b:1").await) }),
        planted_lost_wakeup(|_, a, _| async move { drop(a.listen(":5").await) }),
        planted_lost_wakeup(|_, a, _| async move {
            let _ = a.close();
            pending::<()>().await;
        }),
    ];
    let expected = [
        "goes on to sleep until 5s",
        "goes on to its turn after `yield_now`",
        "goes on and spawns a task",
        "goes on to read simt b:2->a:1",
        "gets what it waited for",
        "goes on to half-close a:1->b:2",
        "goes on and closes a:1->b:2",
        "goes on to dial simt a:2->b:1",
        "goes on to listen simt a",
        "goes on and closes the host \"a\"",
    ];
    assert_eq!(evidence.map(Option::unwrap), expected);
}

/// A future that is made anew in every poll waits, and has not gone on.
#[test]
fn operation_that_each_poll_makes_anew_is_no_lost_wakeup() {
    let waits = |name: &'static str| {
        let outcome: Outcome<()> = Run::new(1).execute(async move |sim| {
            let net = Network::new("t");
            let host = net.new_host("a").await.unwrap();
            let listener = host.listen(":1").await.unwrap();
            let (x, y) = join!(host.dial("a:1"), listener.accept());
            let (mut x, _y) = (x.unwrap(), y.unwrap());
            poll_fn(|cx: &mut Context<'_>| {
                let mut buf = [0];
                let mut future: Pin<Box<dyn Future<Output = ()> + '_>> = match name {
                    "sleep" => Box::pin(sim.sleep(SEC)),
                    "accept" => Box::pin(async { drop(listener.accept().await) }),
                    "read" => Box::pin(async { drop(x.read(&mut buf).await) }),
                    _ => Box::pin(async { drop(host.dial("a:9").await) }),
                };
                future.as_mut().poll(cx)
            })
            .await;
        });
        let stall = stall_of(&outcome);
        assert_eq!(stall.lost_wakeup, None, "{name}: {outcome}");
        task_states(stall)[0].1.clone()
    };
    assert_eq!(waits("accept"), "waits for accept sima a:1".replace("sima", "simt"));
    assert_eq!(waits("read"), "waits for read simt a:3->a:2");
    assert_eq!(waits("dial"), "waits for dial simt a:4->a:9");
    assert!(waits("sleep").starts_with("waits for sleep until "));
}

/// What the program was told before it is told again: it may ask in every poll.
#[test]
fn completed_operation_polled_again_in_each_poll_is_no_lost_wakeup() {
    let outcome: Outcome<()> = Run::new(1).execute(async move |sim| {
        let (x, y) = connected_pair(10).await;
        drop(y);
        sim.sleep(SEC).await;
        let (mut x, mut elapsed_sleep) = (x, sim.sleep(SEC));
        let mut never = pin!(pending::<()>());
        poll_fn(move |cx| {
            let _ = Pin::new(&mut x).poll_read_some(cx);
            let _ = Pin::new(&mut elapsed_sleep).poll(cx);
            never.as_mut().poll(cx)
        })
        .await;
    });
    assert_eq!(stall_of(&outcome).lost_wakeup, None, "{outcome}");
    assert_eq!(
        task_states(stall_of(&outcome))[0].1,
        "waits for something unknown to virtnet (a channel? a lock?)"
    );
}

trait ReadSome {
    fn poll_read_some(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>>;
}

impl ReadSome for Conn {
    fn poll_read_some(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        futures::io::AsyncRead::poll_read(self, cx, &mut [0; 8])
    }
}

/// Loops that never leave the poll as long as an operation stays pending, which in a run that goes
/// on it does not.
#[test]
fn poll_that_loops_while_an_operation_is_pending_is_ended() {
    for operation in ["sleep", "write", "half-close"] {
        let outcome: Outcome<()> = Run::new(1).execute(async move |sim| {
            let (mut x, _y) = connected_pair(10).await;
            let open = Rc::new(Cell::new(false));
            let seen = open.clone();
            sim.task("looping").spawn(poll_fn(move |_| {
                if !seen.get() {
                    return Poll::Pending;
                }
                let mut cx = Context::from_waker(Waker::noop());
                loop {
                    let is_pending = match operation {
                        "sleep" => {
                            Pin::new(&mut sim.sleep(Duration::ZERO)).poll(&mut cx).is_pending()
                        }
                        "write" => {
                            let x = Pin::new(&mut x);
                            futures::io::AsyncWrite::poll_write(x, &mut cx, b"x").is_pending()
                        }
                        _ => {
                            let x = Pin::new(&mut x);
                            futures::io::AsyncWrite::poll_close(x, &mut cx).is_pending()
                        }
                    };
                    if !is_pending {
                        return Poll::Ready(());
                    }
                }
            }));
            sim.sleep(SEC).await;
            open.set(true);
            pending::<()>().await;
        });
        let StalledState::Endless { operations, .. } = &stall_of(&outcome).tasks[1].state else {
            panic!("{operation}: {outcome}");
        };
        assert!(*operations > 0, "{operation}: {operations}");
    }
}

#[test]
fn stalled_task_of_a_paused_node_is_reported_with_the_pause_and_its_waker() {
    let outcome: Outcome<()> = Run::new(0).execute(async |sim| {
        let net = Network::new("t");
        let node = net.node("b", async |host: Host| {
            let listener = host.listen(":1").await.unwrap();
            let mut conn = listener.accept().await.unwrap();
            conn.write_all(b"x").await.unwrap();
        });
        let a = net.new_host("a").await.unwrap();
        sim.sleep(SEC).await;
        node.pause();
        let mut conn = a.dial("b:1").await.unwrap();
        conn.read_exact(&mut [0]).await.unwrap();
    });
    let task = &stall_of(&outcome).tasks[1];
    assert_eq!(
        task.to_string().lines().next().unwrap(),
        "node/b was woken by the handshake of a:1->b:2, and its node is paused"
    );
    assert!(task.paused);
}

#[test]
fn unknown_wait_is_reported_with_its_history_and_a_hint_at_threads() {
    let outcome: Outcome<()> = Run::new(1).execute(async |sim| {
        let (sender, receiver) = futures::channel::oneshot::channel::<()>();
        sim.task("waiting").spawn(async move {
            sim.sleep(1500 * MS).await;
            let _ = receiver.await;
        });
        sim.sleep(9 * SEC).await;
        let _sender = sender;
        pending::<()>().await;
    });
    let text = outcome.to_string();
    let history = stall_of(&outcome).tasks[1].history.clone().expect("it is parked");
    assert_eq!(history.woken_by, "a timer");
    assert!(history.polled_at.as_nanos() >= 1_500_000_000, "{history}");
    assert!(history.polled_at.as_nanos() < 1_501_000_000, "{history}");
    assert!(text.contains("woken by a timer; not woken since"), "{text}");
    assert!(text.contains("may also be another thread or a real timer"), "{text}");
}

/// What a task of a random program is stuck in, as its stall report has to say it.
fn expected_state(kind: usize, host: &str) -> String {
    match kind {
        0 => format!("waits for accept simt {host}:7"),
        1 => "waits for sleep until 777600s".into(),
        2 => format!("waits for accept simt {host}:7, or accept simt {host}:6"),
        3 => format!("waits for read simt {host}:1->{host}:2"),
        4 => format!("waits for write simt {host}:1->{host}:2"),
        _ => "waits for something unknown to virtnet (a channel? a lock?)".into(),
    }
}

/// Random deadlocks and runs that are cut off: each task makes some harmless steps and stops in a
/// wait that is known, at each kind of ending. No report calls one of them a lost wake-up, each
/// names what its task waits for, and no task goes on. A lost wake-up that is planted is named.
#[test]
fn random_stalls_are_reported_with_their_true_waits() {
    for seed in 0..500_u64 {
        let planted = seed % 5 == 4;
        let run = match seed % 3 {
            0 => Run::new(seed),
            1 => Run::new(seed).time_limit(300 * SEC),
            _ => Run::new(seed).step_limit(500),
        };
        let endless = seed % 3 != 0;
        let passed = Rc::new(Cell::new(0));
        let count = passed.clone();
        let kinds = Rc::new(Cell::new(Vec::new()));
        let chosen = kinds.clone();
        let outcome: Outcome<()> = run.execute(async move |sim| {
            let net = Network::with("t", Config::new().window(10));
            let mut kinds = Vec::new();
            let mut keep = Vec::new();
            for n in 0..2 + sim.choose("tasks", 5) {
                let kind = sim.choose("kind", 6);
                kinds.push(kind);
                let name = format!("h{n}");
                let host = net.new_host(&name).await.unwrap();
                let passed = count.clone();
                let (sender, receiver) = futures::channel::oneshot::channel::<()>();
                keep.push(sender);
                sim.task(&name).spawn(async move {
                    park(sim, kind, host, receiver).await;
                    passed.set(passed.get() + 1);
                });
            }
            chosen.set(kinds);
            let open = Rc::new(Cell::new(false));
            let seen = open.clone();
            if planted {
                sim.task("careless").spawn(async move {
                    poll_fn(|_| if seen.get() { Poll::Ready(()) } else { Poll::Pending }).await;
                    sim.sleep(SEC).await;
                });
            }
            sim.sleep(60 * SEC).await;
            open.set(true);
            if !endless {
                pending::<()>().await;
            }
            loop {
                sim.sleep(SEC).await;
            }
        });
        assert_eq!(passed.get(), 0, "seed {seed}: a task went on");
        let stall = stall_of(&outcome);
        for (n, kind) in kinds.take().into_iter().enumerate() {
            let task = &stall.tasks[n + 1];
            let state = task.state.to_string();
            let expected = expected_state(kind, &format!("h{n}"));
            assert!(state.starts_with(&expected), "seed {seed}: {task}, not {expected}");
        }
        let lost = stall.lost_wakeup.as_ref().map(|lost| lost.task.as_str());
        assert_eq!(lost, planted.then_some("main/careless"), "seed {seed}: {outcome}");
    }
}

/// Makes some steps on a host of its own, and parks in a wait of that kind.
async fn park(sim: Sim, kind: usize, host: Host, never: futures::channel::oneshot::Receiver<()>) {
    use futures::future::select;
    let listener = host.listen(":7").await.unwrap();
    let other = host.listen(":6").await.unwrap();
    let address = format!("{}:7", host.name());
    for _ in 0..sim.choose("steps", 4) {
        let (x, y) = join!(host.dial(&address), listener.accept());
        let (mut x, mut y) = (x.unwrap(), y.unwrap());
        x.write_all(b"well").await.unwrap();
        y.read_exact(&mut [0; 4]).await.unwrap();
        sim.sleep(sim.choose("pause", 1000) as u32 * MS).await;
    }
    let far = virtnet::Instant::ZERO + 9 * 24 * 3600 * SEC;
    match kind {
        0 => drop(listener.accept().await),
        1 => sim.sleep_until(far).await,
        2 => drop(select(pin!(listener.accept()), pin!(other.accept())).await),
        3 | 4 => {
            let (x, y) = join!(host.dial(&address), listener.accept());
            let (mut x, mut y) = (x.unwrap(), y.unwrap());
            if kind == 3 { drop(y.read(&mut [0]).await) } else { drop(x.write_all(&[1; 20]).await) }
        }
        _ => drop(never.await),
    }
}

/// The bound in real time: a poll that takes longer is the last one.
#[test]
fn explanation_that_takes_longer_than_two_seconds_is_cut_short_and_says_so() {
    let outcome: Outcome<()> = Run::new(1).execute(async |sim| {
        let open = Rc::new(Cell::new(false));
        let seen = open.clone();
        sim.task("slow").spawn(poll_fn(move |_| {
            if seen.get() {
                std::thread::sleep(Duration::from_millis(2100));
            }
            Poll::<()>::Pending
        }));
        sim.task("after").spawn(pending::<()>());
        sim.sleep(SEC).await;
        open.set(true);
        pending::<()>().await;
    });
    let stall = stall_of(&outcome);
    assert!(stall.cut_short);
    assert_eq!(task_states(stall)[2], ("main/after", "waits (not asked for what)".into()));
    assert!(outcome.to_string().contains("asking the tasks was ended after 2 s of real time"));
}

/// What another thread brings about after the end was not lost before it.
#[test]
fn wakeup_by_a_thread_after_the_run_is_no_lost_wakeup() {
    let (waker_sender, waker_receiver) = std::sync::mpsc::channel::<Waker>();
    let (answer, answered) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        waker_receiver.recv().unwrap().wake();
        answer.send(()).unwrap();
    });
    let outcome: Outcome<()> = Run::new(1).execute(async move |sim| {
        let open = Rc::new(Cell::new(false));
        let (seen, mut stored_waker) = (open.clone(), None);
        sim.task("waiting").spawn(poll_fn(move |cx| {
            if !seen.get() {
                stored_waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            // Polled once more, after the run has ended: the thread answers now.
            waker_sender.send(cx.waker().clone()).unwrap();
            answered.recv().unwrap();
            drop(stored_waker.take());
            Poll::Ready(())
        }));
        sim.sleep(SEC).await;
        open.set(true);
        pending::<()>().await;
    });
    thread.join().unwrap();
    let stall = stall_of(&outcome);
    assert_eq!(stall.lost_wakeup, None, "{outcome}");
    assert_eq!(task_states(stall)[1].1, "was woken by another thread, after the run had ended");
    assert_eq!(outcome.foreign_wakes, 1);
}

/// A destructor that writes as long as it can, at each ending: the window fills, and that is all.
#[test]
fn destructor_that_writes_in_a_loop_ends_at_each_ending() {
    struct WriteOnDrop(Conn, Rc<Cell<usize>>);
    impl Drop for WriteOnDrop {
        fn drop(&mut self) {
            let mut cx = Context::from_waker(Waker::noop());
            let mut conn = Pin::new(&mut self.0);
            loop {
                match futures::io::AsyncWrite::poll_write(conn.as_mut(), &mut cx, &[1; 7]) {
                    Poll::Ready(Ok(count)) => self.1.set(self.1.get() + count),
                    Poll::Ready(Err(_)) | Poll::Pending => return,
                }
            }
        }
    }
    for ending in ["done", "panicked", "deadlock", "time limit", "step limit", "livelock"] {
        let written = Rc::new(Cell::new(0));
        let count = written.clone();
        let steps = if ending == "step limit" { 300 } else { 1_000_000 };
        let run = Run::new(1).time_limit(60 * SEC).step_limit(steps).livelock_limit(100);
        let outcome: Outcome<()> = run.execute(async move |sim| {
            let (x, y) = connected_pair(100).await;
            let writes = WriteOnDrop(x, count);
            sim.spawn(async move {
                let _writes = (writes, y);
                pending::<()>().await;
            });
            sim.sleep(SEC).await;
            match ending {
                "done" => {}
                "panicked" => panic!("as planned"),
                "deadlock" => pending().await,
                "time limit" => sim.sleep(100 * SEC).await,
                "step limit" => loop {
                    sim.sleep(MS).await;
                },
                _ => loop {
                    sim.yield_now().await;
                },
            }
        });
        assert_eq!(outcome.ending.name(), ending);
        assert_eq!(written.get(), 100, "{ending}");
    }
}

/// A task that waits behind a `select!` for what a dropped branch was to bring about: the report
/// names the branch.
#[test]
fn dropped_select_branch_is_named_for_a_task_in_an_unknown_wait() {
    let outcome: Outcome<()> = Run::new(1).execute(async |sim| {
        let (sender, receiver) = futures::channel::oneshot::channel::<()>();
        let work = async move {
            sim.sleep(10 * SEC).await;
            let _ = sender.send(());
        };
        virtnet::select! {
            () = work => unreachable!(),
            () = sim.sleep(SEC) => (),
        }
        // The sender was dropped with the branch; another one never sends.
        let _ = receiver.await;
        let (_sender, receiver) = futures::channel::oneshot::channel::<()>();
        let _ = receiver.await;
    });
    let task = &stall_of(&outcome).tasks[0];
    let select = task.last_select.clone().expect("it completed one");
    assert_eq!((select.taken.as_str(), select.dropped), ("sim.sleep(SEC)", vec!["work".into()]));
    assert!(select.location.file().ends_with("stalls.rs"), "{}", select.location);
    let text = task.to_string();
    assert!(text.contains("its last select! took `sim.sleep(SEC)`, dropped `work` at 1"), "{text}");
}
