//! A network of one's own: an `Engine` carries connections, and a `Registry` resolves names.
//!
//! Hosts, ports, listeners and errors come from `virtnet`. This network is an unbounded buffer in
//! memory.
//!
//! ```sh
//! cargo run --example own_engine
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use futures::future::{BoxFuture, FutureExt, ready};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use virtnet::{Addr, Cause, Engine, Notifier, RawConn, Registry, RegistryError, SubNetwork};

/// One direction of a connection.
#[derive(Default)]
struct Buffer {
    bytes: VecDeque<u8>,
    is_closed: bool,
    readers: Vec<Waker>,
}

/// One end of a connection: it reads from the first buffer and writes to the second.
struct End(Arc<Mutex<Buffer>>, Arc<Mutex<Buffer>>);

impl RawConn for End {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = self.0.lock().unwrap();
        if buffer.bytes.is_empty() && !buffer.is_closed {
            buffer.readers.push(cx.waker().clone()); // every waiting task is woken
            return Poll::Pending;
        }
        Poll::Ready(io::Read::read(&mut buffer.bytes, buf))
    }
    fn poll_write(&self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut buffer = self.1.lock().unwrap();
        if buffer.is_closed {
            return Poll::Ready(Err(Cause::BrokenPipe.into()));
        }
        buffer.bytes.extend(buf);
        buffer.readers.drain(..).for_each(Waker::wake);
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        close(&self.1);
        Poll::Ready(Ok(()))
    }
    fn abort(&self) {
        [&self.0, &self.1].into_iter().for_each(close);
    }
}

fn close(buffer: &Arc<Mutex<Buffer>>) {
    let mut buffer = buffer.lock().unwrap();
    buffer.is_closed = true;
    buffer.readers.drain(..).for_each(Waker::wake);
}

/// The engine tells the dialed host of a dial through its notifier.
#[derive(Default)]
struct BufferEngine(OnceLock<Notifier>);

impl Engine for BufferEngine {
    fn new_host<'a>(
        &'a self,
        name: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>> {
        async move { Ok(registry.announce(name, "").await?) }.boxed()
    }
    fn dial<'a>(
        &'a self,
        src: &'a Addr,
        dst: &'a Addr,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>> {
        async move {
            let accept = self.0.get().ok_or(Cause::NetDown)?.accept(src, dst).await?;
            let (there, back) = (Arc::default(), Arc::default());
            let peer = accept.addr().clone();
            accept.confirm(Box::new(End(Arc::clone(&there), Arc::clone(&back))));
            Ok((Box::new(End(back, there)) as Box<dyn RawConn>, peer))
        }
        .boxed()
    }
    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

/// A registry that resolves every name; `hostdata` would be an address on a real network.
struct AnyName;

impl Registry for AnyName {
    fn announce<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), RegistryError>> {
        ready(Ok(())).boxed()
    }
    fn query<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        ready(Ok(String::new())).boxed()
    }
    fn close(&self) -> Result<(), RegistryError> {
        Ok(())
    }
}

async fn hello() -> io::Result<String> {
    let engine = Arc::new(BufferEngine::default());
    let (net, notifier) = SubNetwork::new("buffers", engine.clone(), AnyName);
    engine.0.set(notifier).unwrap();
    let (client, server) = (net.new_host("client").await?, net.new_host("server").await?);
    let listener = server.listen(":1").await?;
    let (dialed, accepted) = futures::join!(client.dial("server:1"), listener.accept());
    accepted?.write_all(b"hello").await?; // dropped here: the end of the stream
    let mut text = String::new();
    dialed?.read_to_string(&mut text).await?;
    Ok(text)
}

fn main() {
    // The network runs on any executor, and inside a simulated run.
    println!("{}", futures::executor::block_on(hello()).unwrap());
    println!("{}", virtnet::Run::new(7).execute(async |_| hello().await).unwrap().unwrap());
}

#[test]
fn own_engine_carries_bytes() {
    main();
}
