//! Handles outside their run: using one panics with the reason, dropping one has no effect.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use virtnet::rand_core::Rng;
use virtnet::{
    Conn, Host, Instant, Interval, JoinHandle, Listener, Run, Schedule, Sim, Sleep, pipenet, time,
};

fn panic_message(panicking: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(panicking)).expect_err("it did not panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().unwrap().to_string(),
    }
}

/// One handle of each kind.
type Handles = (Sim, Sleep, Interval, JoinHandle<u8>, Host, Listener, Conn, Waker);

async fn new_handles(sim: Sim) -> Handles {
    let net = pipenet::Network::new("t");
    let listener = net.host("β").listen("").await.unwrap();
    let accepting = listener.clone();
    let server = sim.spawn(async move { accepting.accept().await.unwrap() });
    let conn = net.host("α").dial("β:1").await.unwrap();
    std::mem::forget(server.await.unwrap());
    let mut sleep = sim.sleep(Duration::from_secs(100));
    let waker = poll_fn(|cx| {
        assert!(Pin::new(&mut sleep).poll(cx).is_pending());
        Poll::Ready(cx.waker().clone())
    })
    .await;
    let task = sim.spawn(std::future::pending());
    (sim, sleep, sim.interval(Duration::from_secs(1)), task, net.host("β"), listener, conn, waker)
}

#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Handles>();
    check::<JoinHandle<Rc<u8>>>();
    check::<virtnet::SimRng>();
    check::<virtnet::Timeout<Sleep>>();
    check::<virtnet::TaskBuilder>();
}

#[test]
fn handles_after_the_run_may_be_cloned_printed_woken_and_dropped() {
    let run = Run::new(1).schedule(Schedule::Fifo);
    let handles = run.execute(new_handles).unwrap();
    let (sim, sleep, interval, task, host, listener, conn, waker) = handles;
    assert_eq!(sim, sim.clone());
    assert_eq!(format!("{sim:?} {task:?}"), "Sim JoinHandle { .. }");
    assert_eq!(format!("{:?}", sleep.deadline() - Instant::ZERO), "100s");
    assert!(format!("{interval:?}").starts_with("Interval"));
    assert_eq!((host.name(), host.network(), host == host.clone()), ("β", "pipet", true));
    assert_eq!(listener.local_addr().to_string(), "β:1");
    assert_eq!(
        (conn.local_addr().to_string(), conn.peer_addr().to_string()),
        ("α:1".into(), "β:2".into())
    );
    assert!(!format!("{host:?} {listener:?} {conn:?}").is_empty());
    task.abort();
    assert!(task.is_finished());
    waker.wake_by_ref();
    drop((
        sleep,
        interval,
        task,
        host.clone(),
        host,
        listener.clone(),
        listener,
        conn.clone(),
        conn,
        waker,
    ));
}

#[test]
fn handles_dropped_on_another_thread_or_in_another_run_do_nothing() {
    let handles_of = |seed| Run::new(seed).execute(new_handles).unwrap();
    let first = handles_of(1);
    std::thread::spawn(move || drop(first)).join().unwrap();
    let second = handles_of(2);
    let without_handles = Run::new(3).execute(async |sim| sim.sleep(Duration::from_secs(1)).await);
    let with_foreign_handles = Run::new(3).execute(async move |sim| {
        second.7.wake_by_ref();
        second.3.abort();
        drop(second);
        sim.sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(without_handles.fingerprint, with_foreign_handles.fingerprint);
}

#[test]
fn handles_dropped_while_unwinding_or_at_teardown_do_not_panic() {
    assert_drops_without_panic(new_handles);
}

/// Drops what is made in a run at its end, and while a panic unwinds.
pub(crate) fn assert_drops_without_panic<T: 'static>(
    make: impl AsyncFn(Sim) -> T + Copy + 'static,
) {
    let outcome = Run::new(1).execute(async move |sim: Sim| {
        let value = make(sim).await;
        sim.spawn(async move {
            let _held = value;
            std::future::pending::<()>().await;
        });
        sim.yield_now().await;
    });
    assert!(outcome.is_done(), "{}", outcome.ending);
    let outcome = Run::new(1).execute(async move |sim| {
        let _held = make(sim).await;
        panic!("on purpose");
    });
    let virtnet::Ending::<()>::Panicked(panic) = outcome.ending else { panic!() };
    assert_eq!(panic.message, "on purpose");
}

#[test]
fn calls_in_a_destructor_at_teardown_are_inert() {
    struct CallsOnDrop(Sim, Conn, Rc<RefCell<Vec<String>>>);
    impl Drop for CallsOnDrop {
        fn drop(&mut self) {
            let mut seen = self.2.borrow_mut();
            let mut cx = Context::from_waker(Waker::noop());
            seen.push(format!("{:?}", self.0.now()));
            seen.push(format!(
                "{:?}",
                Pin::new(&mut self.0.sleep(Duration::from_secs(1))).poll(&mut cx)
            ));
            let mut task = self.0.task("late").spawn(async { 1 });
            seen.push(format!("{:?}", Pin::new(&mut task).poll(&mut cx).map(|r| r.is_err())));
            seen.push(self.0.choose("anything", 5).to_string());
            self.0.note("unheard");
            let _ = self.0.rng().next_u64();
            let _ = self.1.close();
        }
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    let run = |log: Rc<RefCell<Vec<String>>>, with_calls: bool| {
        Run::new(1).schedule(Schedule::Fifo).keep_trace().execute(async move |sim| {
            let conn = new_handles(sim).await.6;
            let last = with_calls.then(|| CallsOnDrop(sim, conn, log));
            sim.task("last").spawn(async move {
                let _last = last;
                std::future::pending::<()>().await;
            });
            sim.yield_now().await;
        })
    };
    let with_calls = run(log, true);
    assert!(with_calls.is_done(), "{}", with_calls.ending);
    assert_eq!(*seen.borrow(), ["0ns", "Pending", "Ready(true)", "0"]);
    assert_eq!(with_calls.fingerprint, run(Rc::default(), false).fingerprint);
}

#[test]
fn network_made_after_a_run_belongs_to_no_run() {
    let _ = Run::new(1).execute(new_handles);
    let net = pipenet::Network::new("t");
    let listener = futures::executor::block_on(net.host("β").listen("")).unwrap();
    // On another thread: nothing of it was left on the shelf of a run.
    let accepted = std::thread::spawn(move || {
        let host = net.host("α");
        let both = futures::future::join(listener.accept(), host.dial("β:1"));
        futures::executor::block_on(both).0
    });
    assert_eq!(accepted.join().unwrap().unwrap().local_addr().to_string(), "β:2");
}

/// Asks for the time when it is dropped, as a destructor may in its run.
struct ReadsClockOnDrop(Sim);

impl Drop for ReadsClockOnDrop {
    fn drop(&mut self) {
        let _ = self.0.now();
    }
}

#[test]
fn unpolled_task_and_untaken_output_are_dropped_within_the_run() {
    let outcome = Run::new(0).execute(async |sim| {
        for _ in 0..3 {
            let reads_clock = ReadsClockOnDrop(sim);
            sim.spawn(async move {
                let _asks = reads_clock;
            });
        }
        panic!("right after spawning");
    });
    assert!(matches!(outcome.ending, virtnet::Ending::<()>::Panicked(_)));
    let untaken = Run::new(0).execute(async |sim| {
        let task = sim.spawn(async move { ReadsClockOnDrop(sim) });
        sim.yield_now().await;
        Some(task)
    });
    assert!(untaken.is_done());
}

#[test]
fn panic_payload_that_panics_on_drop_does_not_affect_later_runs() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("from the payload");
        }
    }
    let outcome = Run::new(0).execute(async |_| std::panic::panic_any(Bomb));
    let virtnet::Ending::<()>::Panicked(panic) = outcome.ending else { panic!() };
    assert_eq!(panic.message, "(a panic without a message)");
    assert!(Run::new(0).execute(async |_| ()).is_done());
}

#[test]
fn handle_used_outside_its_run_panics_with_the_reason() {
    let rng_and_handles = async |sim: Sim| (sim.rng(), new_handles(sim).await);
    let (mut rng, handles) = Run::new(1).execute(rng_and_handles).unwrap();
    let (sim, mut sleep, _interval, mut task, _host, _listener, mut conn, _waker) = handles;
    let message_text = "virtnet: this handle belongs to a run that has ended or that goes on in \
                 another thread; handles may only be used inside the run that made them";
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(panic_message(|| _ = sim.now()), message_text);
    assert_eq!(panic_message(|| drop(sim.yield_now())), message_text);
    assert_eq!(panic_message(|| drop(sim.sleep_until(Instant::ZERO))), message_text);
    assert_eq!(panic_message(|| _ = sim.rng()), message_text);
    assert_eq!(panic_message(|| drop(sim.spawn(async {}))), message_text);
    assert_eq!(panic_message(|| _ = sim.choose("a", 2)), message_text);
    assert_eq!(panic_message(|| _ = rng.next_u64()), message_text);
    assert_eq!(panic_message(|| _ = Pin::new(&mut sleep).poll(&mut cx)), message_text);
    assert_eq!(panic_message(|| drop(Pin::new(&mut task).poll(&mut cx))), message_text);
    let mut buf = [0];
    let text = panic_message(|| drop(Pin::new(&mut conn.read(&mut buf)).poll(&mut cx)));
    assert!(
        text.starts_with("virtnet: this host, listener or connection was made in a run"),
        "{text}"
    );
    // In another run, too.
    let text = Run::new(2).execute(async move |_| panic_message(|| _ = sim.now())).unwrap();
    assert_eq!(text, message_text);
}

#[test]
fn close_from_another_thread_panics_during_the_run_and_not_after_it() {
    type Close = fn(&Handles);
    let closes: [Close; 6] = [
        |handles| handles.4.close().unwrap(),
        |handles| handles.5.close().unwrap(),
        |handles| handles.6.close().unwrap(),
        |handles| drop(futures::executor::block_on(handles.6.shutdown())),
        |handles| drop(futures::executor::block_on(AsyncWriteExt::close(&mut &handles.6))),
        |handles| drop(futures::executor::block_on((&handles.6).flush())),
    ];
    let panic_on_other_thread = |handles: &Handles, close: Close| {
        std::thread::scope(|threads| threads.spawn(|| panic_message(|| close(handles))).join())
    };
    let run = async move |sim| {
        let handles = new_handles(sim).await;
        for close in closes {
            let text = panic_on_other_thread(&handles, close).unwrap();
            assert!(text.starts_with("virtnet: this host, listener or connection"), "{text}");
        }
        assert!(!handles.4.is_closed(), "it says so and is not");
        handles
    };
    let handles = Run::new(1).execute(run).unwrap();
    for close in &closes[..3] {
        std::thread::scope(|threads| threads.spawn(|| close(&handles)).join()).unwrap();
    }
}

#[test]
fn free_function_called_outside_a_run_panics_with_its_name() {
    for (name, text) in [
        ("virtnet::spawn", panic_message(|| drop(virtnet::spawn(async {})))),
        ("virtnet::rng", panic_message(|| _ = virtnet::rng())),
        ("virtnet::time::now", panic_message(|| _ = time::now())),
        ("virtnet::time::sleep", panic_message(|| drop(time::sleep(Duration::ZERO)))),
        ("virtnet::time::sleep_until", panic_message(|| drop(time::sleep_until(Instant::ZERO)))),
        ("virtnet::time::timeout", panic_message(|| drop(time::timeout(Duration::ZERO, async {})))),
        ("virtnet::time::interval", panic_message(|| drop(time::interval(Duration::ZERO)))),
        ("virtnet::time::yield_now", panic_message(|| drop(time::yield_now()))),
        ("Sim::current()", panic_message(|| _ = Sim::current())),
    ] {
        let rest = "was called outside a simulated run; \
                    call it in a future that `virtnet::Run::execute` runs";
        assert_eq!(text, format!("virtnet: `{name}` {rest}"));
    }
    assert_eq!(Sim::try_current(), None);
}

#[test]
fn foreign_wake_is_delivered_counted_and_traced() {
    let outcome = Run::new(1).keep_trace().execute(async |sim| {
        let slot: Arc<Mutex<(bool, Option<Waker>)>> = Arc::default();
        let shared = slot.clone();
        let waiting = sim.task("waiting").spawn(poll_fn(move |cx| {
            let mut slot = shared.lock().unwrap();
            slot.1 = Some(cx.waker().clone());
            if slot.0 { Poll::Ready(()) } else { Poll::Pending }
        }));
        sim.sleep(Duration::from_secs(1)).await;
        let thread_slot = slot.clone();
        std::thread::spawn(move || {
            let mut slot = thread_slot.lock().unwrap();
            slot.0 = true;
            slot.1.take().unwrap().wake();
        })
        .join()
        .unwrap();
        waiting.await.unwrap();
    });
    assert!(outcome.is_done(), "{}", outcome.ending);
    assert_eq!(outcome.foreign_wakes, 1);
    let trace = outcome.trace.unwrap().to_string();
    assert!(trace.contains("foreign main/waiting"), "{trace}");
}
