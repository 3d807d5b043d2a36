//! Real sockets inside a simulated run are refused, whatever is done with them.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::os::{Tcp, Tls};
use virtnet::{Conn, Ending, Listener, Networker, Outcome, Run, Sim, simnet};

use crate::lonet::{TempNetworks, run};

const LOOPBACK: &str = "127.0.0.1:0";

/// Runs a program as the only task, and gives the message by which it ended.
fn ending_message<T: 'static>(main: impl AsyncFnOnce(Sim) -> T + 'static) -> String {
    panic_message(Run::new(0).execute(async move |sim: Sim| drop(main(sim).await)))
}

fn panic_message(outcome: Outcome<()>) -> String {
    match outcome.ending {
        Ending::Panicked(panic) => panic.message,
        ending => format!("no panic: {ending:?}"),
    }
}

const TCP: &str = "virtnet: os::Tcp needs real sockets and real time, and this is a \
                   simulated run: use `simnet` or `pipenet` in it, or `virtnet::os::run` in its \
                   place";

#[test]
fn tcp_inside_a_run_is_refused_by_dial_and_listen() {
    assert_eq!(ending_message(async |_| Tcp::new().listen(LOOPBACK).await), TCP);
    assert_eq!(ending_message(async |_| Tcp::new().dial("127.0.0.1:1").await), TCP);
    assert_eq!(
        ending_message(async |_| Tcp::new().dial("localhost:1").await),
        TCP,
        "and looks nothing up"
    );
    assert_eq!(ending_message(async |_| Tcp::new().dial("no address").await), TCP);
    assert_eq!(ending_message(async |_| Tls::new(Tcp::new()).listen(LOOPBACK).await), TCP);
}

#[test]
fn tcp_inside_a_node_is_refused() {
    let outcome = Run::new(0).execute(async |sim| {
        let net = simnet::Network::new("t");
        net.node("s", async |_| {
            let listener = Tcp::new().listen(LOOPBACK).await.unwrap();
            let _ = listener.accept().await;
        });
        sim.sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(panic_message(outcome), TCP);
}

/// A listener and a connection that were made outside of any run.
fn connect_outside_run() -> (Tcp, Listener, Conn, Conn) {
    async_io::block_on(async {
        let tcp = Tcp::new();
        let listener = tcp.listen(LOOPBACK).await.unwrap();
        let at = listener.local_addr().to_string();
        let (dialed, accepted) = futures::join!(tcp.dial(&at), listener.accept());
        (tcp, listener, dialed.unwrap(), accepted.unwrap())
    })
}

#[test]
fn tcp_made_outside_is_refused_inside_a_run_by_every_operation() {
    const SOCKET: &str = "virtnet: a socket of the operating system needs real sockets and real \
                          time, and this is a simulated run: use `simnet` or `pipenet` in it, or \
                          `virtnet::os::run` in its place";
    let (_tcp, listener, mut dialed, accepted) = connect_outside_run();
    assert_eq!(ending_message(async move |_| listener.accept().await), SOCKET);
    let (mut reader, mut writer) = (accepted.clone(), accepted.clone());
    assert_eq!(ending_message(async move |_| reader.read(&mut [0]).await), SOCKET);
    assert_eq!(ending_message(async move |_| writer.write(b"x").await), SOCKET);
    // Outside it goes on as before; inside a run it may be dropped.
    async_io::block_on(dialed.write_all(b"hello")).unwrap();
    let mut text = [0; 5];
    async_io::block_on((&accepted).read_exact(&mut text)).unwrap();
    assert_eq!(&text, b"hello");
    let ending = ending_message(async move |_| drop(accepted));
    assert!(ending.starts_with("no panic"), "{ending}");
    assert_eq!(async_io::block_on(dialed.read(&mut [0])).unwrap(), 0);
}

#[test]
fn lonet_inside_a_run_is_refused_by_every_operation() {
    let text = "virtnet: lonet needs real processes and real time, and this is a simulated run: \
                use `simnet` or `pipenet` in it, or `virtnet::os::run` in its place";
    assert_eq!(ending_message(async |_| virtnet::lonet::join("t").await), text);
    let place = TempNetworks::new();
    let net = run(place.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let listener = run(host.listen(":1")).unwrap();
    assert_eq!(ending_message(async move |_| listener.accept().await), text);
    let maker = net.clone();
    assert_eq!(ending_message(async move |_| host.dial(":1").await), text);
    assert_eq!(ending_message(async move |_| maker.new_host("β").await), text);
    run(net.new_host("β")).unwrap();
}

#[test]
fn tcp_inside_a_run_of_real_time_is_not_refused() {
    virtnet::os::run(async {
        let tcp = Arc::new(Tcp::new());
        let listener = tcp.listen(LOOPBACK).await.unwrap();
        let at = listener.local_addr().to_string();
        let (dialed, accepted) = futures::join!(tcp.dial(&at), listener.accept());
        dialed.unwrap().write_all(b"x").await.unwrap();
        let mut byte = [0];
        accepted.unwrap().read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"x");
    });
}

#[test]
fn tcp_in_another_thread_than_the_run_is_not_refused() {
    let outcome = Run::new(0).execute(async |_| {
        std::thread::spawn(|| drop(connect_outside_run()))
            .join()
            .map_err(|_: Box<dyn Any + Send>| ())
    });
    assert_eq!(outcome.unwrap(), Ok(()));
}
