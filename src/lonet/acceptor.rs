//! Where the other processes of a network knock.
//!
//! Knows how a connection of the operating system becomes one of the network: a request is read,
//! somebody accepts, a reply is written. It must be answered whether or not anybody accepts, so
//! this goes on in a thread of its own, which ends with the network.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use mio::net::{TcpListener, TcpStream};

use crate::net::{Cause, Notifier};
use crate::os::Socket;

use super::door::{Bell, Door};
use super::line::{read_line, within, write_line};
use super::wire;

/// How long to wait when the system has no descriptor left for a connection.
const SHORT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Listens for the dials of all processes, on behalf of all hosts of a subnetwork.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// Where it listens, for the registry.
    pub(crate) addr: SocketAddr,
    /// Gone once it is closed; then dials are refused at once.
    listener: Mutex<Option<TcpListener>>,
    /// Tells the thread that it is closed.
    bell: Arc<Bell>,
}

impl Acceptor {
    /// Begins to listen; dials wait until it is started.
    pub(crate) fn bind() -> io::Result<(Arc<Self>, Door)> {
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let (door, bell) = Door::of(&mut listener)?;
        let addr = listener.local_addr()?;
        Ok((Arc::new(Self { addr, listener: Mutex::new(Some(listener)), bell }), door))
    }

    /// Answers from now on, until it is closed.
    ///
    /// A request has to arrive, and a reply to be taken, within `limit`.
    pub(crate) fn start(
        self: &Arc<Self>,
        door: Door,
        network: Arc<str>,
        notifier: Notifier,
        limit: Duration,
    ) -> io::Result<()> {
        let acceptor = self.clone();
        let serve = move || {
            let served = Served { network, notifier, limit };
            let why = match catch_unwind(AssertUnwindSafe(|| acceptor.serve(door, &served))) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => Cause::engine(error),
                // A waker of the program's panicked.
                Err(_) => Cause::engine("lonet: a panic while accepting"),
            };
            // To go deaf in silence would be worse.
            acceptor.close();
            served.notifier.down(Some(why));
        };
        thread::Builder::new().name("lonet acceptor".to_string()).spawn(serve).map(drop)
    }

    /// Refuses all dials from now on, and lets those go that wait.
    pub(crate) fn close(&self) {
        let listener = self.listener().take();
        drop(listener);
        self.bell.ring();
    }

    fn serve(&self, door: Door, served: &Served) -> io::Result<()> {
        let mut guests = FuturesUnordered::new();
        let mut pause: Option<Timer> = None;
        door.wait(&self.bell, |knocked, cx| {
            if pause.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready()) {
                pause = None;
            }
            let mut over = false;
            while *knocked && pause.is_none() && !over {
                match self.accept() {
                    None => over = true,
                    Some(Ok(stream)) => guests.push(served.welcome(stream)),
                    Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                        *knocked = false;
                    }
                    Some(Err(_)) => pause = Some(Timer::after(SHORT_OF_DESCRIPTORS)),
                }
                // One after the other, lest those wait who are here already.
                while let Poll::Ready(Some(())) = guests.poll_next_unpin(cx) {}
            }
            over |= self.is_closed();
            // Also when it is over: those who wait are told that they are refused.
            while let Poll::Ready(Some(())) = guests.poll_next_unpin(cx) {}
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// Takes the next connection; `None` once it is closed.
    fn accept(&self) -> Option<io::Result<TcpStream>> {
        loop {
            match self.listener().as_ref()?.accept() {
                Ok((stream, _)) => return Some(Ok(stream)),
                // The dialer is gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn listener(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.listener().is_none()
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
        let _ = stream.set_nodelay(true);
        let socket = Socket::new(stream.into());
        let Ok(line) = within(self.limit, read_line(&socket)).await else { return };
        let (src, dst) = match wire::read_request(&line, &self.network) {
            Ok(ends) => ends,
            Err(refusal) => return self.refuse(&socket, &refusal.reply()).await,
        };
        let accept = pin!(self.notifier.accept(&src, &dst));
        let accepted = match select(accept, pin!(hung_up(&socket))).await {
            Either::Left((accepted, _)) => accepted,
            // The dialer does not wait any more: nobody is to accept what is left of it.
            Either::Right(((), _)) => return,
        };
        match accepted {
            Ok(accept) => {
                let reply = wire::write_connected(accept.addr());
                match within(self.limit, write_line(&socket, &reply)).await {
                    Ok(()) => accept.confirm(Box::new(socket)),
                    Err(error) => accept.refuse(error.into()),
                }
            }
            // The dialer's network is not down, ours is; it hears the end of the stream.
            Err(Cause::NetDown) => {}
            Err(cause) => self.refuse(&socket, cause.to_string().as_bytes()).await,
        }
    }

    async fn refuse(&self, socket: &Socket, text: &[u8]) {
        let reply = wire::write_error(&self.network, text);
        // Who does not listen to the answer does not need it.
        let _ = within(self.limit, write_line(socket, &reply)).await;
    }
}

/// Waits until the dialer has closed its end.
///
/// One that has sent data already cannot be watched without reading them; none of ours does so
/// before it is accepted.
async fn hung_up(socket: &Socket) {
    match poll_fn(|cx| socket.poll_peek(cx, &mut [0])).await {
        Ok(0) | Err(_) => {}
        Ok(_) => pending().await,
    }
}
