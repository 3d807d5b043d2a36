//! `os::run`: a program written for simulated runs executes in real time.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{StreamExt, future, stream};
use virtnet::os::{self, Tcp};
use virtnet::rand_core::Rng;
use virtnet::{Networker, Run, Sim, lonet, pipenet, time};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn sleeps_timeouts_and_ticks_take_real_time_in_order() {
    let start = Instant::now();
    let order = os::run(async {
        let began = time::now();
        let waits = [30, 10, 20].map(|millis| {
            virtnet::spawn(async move {
                time::sleep(ms(millis)).await;
                millis
            })
        });
        assert!(time::timeout(ms(5), future::pending::<()>()).await.is_err());
        let order: Vec<u64> =
            stream::iter(waits).buffer_unordered(3).map(Result::unwrap).collect().await;
        assert!(began.elapsed() >= ms(30));
        let mut ticks = time::interval(ms(2));
        for _ in 0..5 {
            ticks.tick().await;
        }
        order
    });
    assert_eq!(order, [10, 20, 30]);
    assert!(start.elapsed() >= ms(38) && start.elapsed() < Duration::from_secs(20));
}

#[test]
fn sleeping_run_is_woken_by_another_thread() {
    let (send, receive) = oneshot::channel();
    let other = thread::spawn(move || {
        thread::sleep(ms(50));
        send.send(7).unwrap();
    });
    assert_eq!(os::run(receive), Ok(7));
    other.join().unwrap();
}

#[test]
fn spinning_task_blocks_neither_timers_nor_other_threads() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let (send, receive) = oneshot::channel();
    let other = thread::spawn(move || {
        thread::sleep(ms(30));
        send.send(()).unwrap();
    });
    let turns = os::run(async {
        let spinner = virtnet::spawn(async {
            let mut turns = 0_u64;
            while !STOP.load(Ordering::Relaxed) {
                time::yield_now().await;
                turns += 1;
            }
            turns
        });
        time::sleep(ms(10)).await;
        receive.await.unwrap();
        STOP.store(true, Ordering::Relaxed);
        spinner.await.unwrap()
    });
    assert!(turns > 100, "{turns}");
    other.join().unwrap();
}

/// Says hello over a network, server and client as tasks of one program.
async fn say_hello(server_network: impl Networker, client_network: impl Networker) -> String {
    let listener = server_network.listen("").await.unwrap();
    let addr = listener.local_addr().to_string().replace("[::]", "127.0.0.1");
    let server = virtnet::spawn(async move {
        let mut conn = listener.accept().await.unwrap();
        time::sleep(ms(1)).await;
        conn.write_all(b"hello").await.unwrap();
        conn.close().unwrap();
    });
    let mut text = String::new();
    client_network.dial(&addr).await.unwrap().read_to_string(&mut text).await.unwrap();
    server.await.unwrap();
    text
}

#[test]
fn program_in_real_time_runs_on_tcp_lonet_and_pipenet() {
    assert_eq!(os::run(async { say_hello(Tcp::new(), Tcp::new()).await }), "hello");
    let on_lonet = os::run(async {
        let net = lonet::join("").await.unwrap();
        let (a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
        let said = say_hello(a, b).await;
        net.close().unwrap();
        said
    });
    assert_eq!(on_lonet, "hello");
    let on_pipenet = os::run(async {
        let net = pipenet::Network::new("t");
        say_hello(net.host("a"), net.host("b")).await
    });
    assert_eq!(on_pipenet, "hello");
}

#[test]
fn task_panic_is_propagated_with_its_name_and_nested_run_is_refused() {
    let panic_message = |work: fn()| *catch_unwind(work).unwrap_err().downcast::<String>().unwrap();
    let text = panic_message(|| {
        os::run(async {
            let task = Sim::current().task("worker").spawn(async { panic!("no more ink") });
            let _: Result<(), _> = task.await;
        });
    });
    assert_eq!(text, "virtnet::os::run: the task main/worker panicked: no more ink");
    let text = panic_message(|| {
        os::run(async {
            let _ = Run::new(1).execute(async |_| {});
        });
    });
    assert!(text.contains("a run inside a run is refused"), "{text}");
}

#[test]
fn real_time_run_does_not_affect_later_simulated_runs() {
    let simulated = || {
        Run::new(7).execute(async |sim| {
            let net = pipenet::Network::new("t");
            let said = say_hello(net.host("a"), net.host("b")).await;
            (said, sim.rng().next_u64())
        })
    };
    let before = simulated();
    let (a, b) = os::run(async {
        let draw = || virtnet::rng().next_u64();
        virtnet::spawn(future::pending::<()>());
        (draw(), draw())
    });
    assert!(
        a != b
            && (a, b) != os::run(async { (virtnet::rng().next_u64(), virtnet::rng().next_u64()) })
    );
    let after = simulated();
    assert_eq!(before.fingerprint, after.fingerprint);
    assert_eq!(before.unwrap(), after.unwrap());
}
