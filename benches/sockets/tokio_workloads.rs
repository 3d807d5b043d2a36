//! The workloads on tokio's TCP, each on a current-thread runtime.

use std::future::Future;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::join;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server_process::{ServerProcess, announce};

pub(crate) fn block_on_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.expect("a runtime").block_on(future)
}

async fn connect_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (dialed, accepted) = join(TcpStream::connect(addr), listener.accept()).await;
    let (dialed, (accepted, _)) = (dialed.unwrap(), accepted.unwrap());
    dialed.set_nodelay(true).unwrap();
    accepted.set_nodelay(true).unwrap();
    (dialed, accepted)
}

async fn echo(mut conn: TcpStream, times: u64) {
    let mut buf = [0; 64];
    for _ in 0..times {
        conn.read_exact(&mut buf).await.unwrap();
        conn.write_all(&buf).await.unwrap();
    }
}

async fn ping(mut conn: TcpStream, times: u64) -> Duration {
    let (mut buf, start) = ([7; 64], Instant::now());
    for _ in 0..times {
        conn.write_all(&buf).await.unwrap();
        conn.read_exact(&mut buf).await.unwrap();
    }
    start.elapsed()
}

pub(crate) fn pingpong(times: u64) -> Duration {
    block_on_tokio(async {
        let (dialed, accepted) = connect_pair().await;
        let echo = tokio::spawn(echo(accepted, times));
        let took = tokio::spawn(ping(dialed, times)).await.unwrap();
        echo.await.unwrap();
        took
    })
}

pub(crate) fn two_threads(times: u64) -> Duration {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let echo = thread::spawn(move || {
        block_on_tokio(async {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            let (conn, _) = listener.accept().await.unwrap();
            conn.set_nodelay(true).unwrap();
            echo(conn, times).await;
        });
    });
    let took = block_on_tokio(async {
        let conn = TcpStream::connect(addr).await.unwrap();
        conn.set_nodelay(true).unwrap();
        ping(conn, times).await
    });
    echo.join().unwrap();
    took
}

pub(crate) fn dials(times: u64) -> Duration {
    block_on_tokio(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let start = Instant::now();
        for _ in 0..times {
            let (dialed, accepted) = join(TcpStream::connect(addr), listener.accept()).await;
            drop((dialed.unwrap(), accepted.unwrap()));
        }
        start.elapsed()
    })
}

/// Serves in a process of its own, until that is ended: an echo on each connection.
pub(crate) fn serve(sends_greeting: bool) {
    block_on_tokio(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        announce(&[&listener.local_addr().unwrap().to_string()]);
        loop {
            let (mut conn, _) = listener.accept().await.unwrap();
            conn.set_nodelay(true).unwrap();
            if sends_greeting {
                conn.write_all(&[0]).await.unwrap();
            }
            let mut buf = [0; 64];
            while conn.read_exact(&mut buf).await.is_ok() {
                conn.write_all(&buf).await.unwrap();
            }
        }
    });
}

pub(crate) fn pingpong_processes(times: u64) -> Duration {
    let server = ServerProcess::start("tokio");
    block_on_tokio(async {
        let conn = TcpStream::connect(&server.announced[0]).await.unwrap();
        conn.set_nodelay(true).unwrap();
        ping(conn, times).await
    })
}

/// A dial of lonet's has been accepted when it returns; so here the server says as much.
pub(crate) fn dials_processes(times: u64) -> Duration {
    let server = ServerProcess::start("tokio that greets");
    block_on_tokio(async {
        let start = Instant::now();
        for _ in 0..times {
            let mut conn = TcpStream::connect(&server.announced[0]).await.unwrap();
            conn.set_nodelay(true).unwrap();
            conn.read_exact(&mut [0]).await.unwrap();
        }
        start.elapsed()
    })
}
