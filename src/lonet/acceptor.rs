//! Where the other processes of a network knock.
//!
//! Knows how a connection of the operating system becomes one of the network: a request is read,
//! somebody accepts, a reply is written. It must be answered whether or not anybody accepts, so
//! this goes on in a thread of its own, which ends with the network.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use async_io::{Async, Timer};
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::AtomicWaker;

use crate::net::{Cause, Notifier};
use crate::os::Socket;

use super::line::{read_line, within, write_line};
use super::wire;

/// How many connections are taken before those that there are get their turn.
const AT_ONCE: usize = 64;

/// How long to wait when the system has no descriptor left for a connection.
const SHORT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Listens for the dials of all processes, on behalf of all hosts of a subnetwork.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// Where it listens, for the registry.
    pub(crate) addr: SocketAddr,
    /// Gone once it is closed; then dials are refused at once.
    listener: Mutex<Option<Async<TcpListener>>>,
    /// The thread, to be told that it is closed.
    thread: AtomicWaker,
}

impl Acceptor {
    /// Begins to listen; dials wait until it is started.
    pub(crate) fn bind() -> io::Result<Arc<Self>> {
        let listener = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.get_ref().local_addr()?;
        let (listener, thread) = (Mutex::new(Some(listener)), AtomicWaker::new());
        Ok(Arc::new(Self { addr, listener, thread }))
    }

    /// Answers from now on, until it is closed.
    ///
    /// A request has to arrive, and a reply to be taken, within `limit`.
    pub(crate) fn start(
        self: &Arc<Self>,
        network: Arc<str>,
        notifier: Notifier,
        limit: Duration,
    ) -> io::Result<()> {
        let acceptor = self.clone();
        let serve = move || {
            let served = Served { network, notifier, limit };
            let serve = AssertUnwindSafe(|| async_io::block_on(acceptor.serve(&served)));
            if catch_unwind(serve).is_err() {
                // A waker of the program's panicked. To go deaf in silence would be worse.
                acceptor.close();
                served.notifier.down(Some(Cause::engine("lonet: a panic while accepting")));
            }
        };
        thread::Builder::new().name("lonet acceptor".to_string()).spawn(serve).map(drop)
    }

    /// Refuses all dials from now on, and lets those go that wait.
    pub(crate) fn close(&self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(listener);
        self.thread.wake();
    }

    async fn serve(&self, served: &Served) {
        let mut guests = FuturesUnordered::new();
        let mut pause: Option<Timer> = None;
        poll_fn(|cx| {
            self.thread.register(cx.waker());
            let mut over = false;
            for turn in 0.. {
                if pause.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_pending()) {
                    break;
                }
                pause = None;
                match self.poll_accept(cx) {
                    Poll::Ready(None) => {
                        over = true;
                        break;
                    }
                    Poll::Ready(Some(Ok(stream))) => guests.push(served.welcome(stream)),
                    Poll::Ready(Some(Err(_))) => pause = Some(Timer::after(SHORT_OF_DESCRIPTORS)),
                    Poll::Pending => break,
                }
                if turn == AT_ONCE {
                    cx.waker().wake_by_ref();
                    break;
                }
            }
            // Also when it is over: those who wait are told that they are refused.
            while let Poll::Ready(Some(())) = guests.poll_next_unpin(cx) {}
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Takes the next connection; `None` once it is closed.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<TcpStream>>> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listener) = &*listener else { return Poll::Ready(None) };
        loop {
            match listener.get_ref().accept() {
                Ok((stream, _)) => return Poll::Ready(Some(Ok(stream))),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {}
                    // The dialer is gone already.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                    _ => return Poll::Ready(Some(Err(error))),
                },
            }
            match listener.poll_readable(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// On whose behalf connections are taken, and how.
struct Served {
    network: Arc<str>,
    notifier: Notifier,
    limit: Duration,
}

impl Served {
    /// Takes one connection as far as it goes. What goes wrong is told to the dialer alone.
    async fn welcome(&self, stream: TcpStream) {
        let Ok(stream) = Async::new(stream) else { return };
        let _ = stream.get_ref().set_nodelay(true);
        let Ok(line) = within(self.limit, read_line(&stream)).await else { return };
        let (src, dst) = match wire::read_request(&line, &self.network) {
            Ok(ends) => ends,
            Err(refusal) => return self.refuse(&stream, &refusal.reply()).await,
        };
        let accept = pin!(self.notifier.accept(&src, &dst));
        let accepted = match select(accept, pin!(hung_up(&stream))).await {
            Either::Left((accepted, _)) => accepted,
            // The dialer does not wait any more: nobody is to accept what is left of it.
            Either::Right(((), _)) => return,
        };
        match accepted {
            Ok(accept) => {
                let reply = wire::write_connected(accept.addr());
                match within(self.limit, write_line(&stream, &reply)).await {
                    Ok(()) => accept.confirm(Box::new(Socket::new(stream, None))),
                    Err(error) => accept.refuse(error.into()),
                }
            }
            // The dialer's network is not down, ours is; it hears the end of the stream.
            Err(Cause::NetDown) => {}
            Err(cause) => self.refuse(&stream, cause.to_string().as_bytes()).await,
        }
    }

    async fn refuse(&self, stream: &Async<TcpStream>, text: &[u8]) {
        let reply = wire::write_error(&self.network, text);
        // Who does not listen to the answer does not need it.
        let _ = within(self.limit, write_line(stream, &reply)).await;
    }
}

/// Waits until the dialer has closed its end.
///
/// One that has sent data already cannot be watched without reading them; none of ours does so
/// before it is accepted.
async fn hung_up(stream: &Async<TcpStream>) {
    match stream.peek(&mut [0]).await {
        Ok(0) | Err(_) => {}
        Ok(_) => pending().await,
    }
}
