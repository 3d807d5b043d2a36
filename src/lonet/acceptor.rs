//! The acceptor: serves dials that arrive from other processes.
//!
//! For each connection it reads a request, waits for an accept, and writes a reply. A task that
//! waits in an accept serves incoming dials for every listener. A dial must be answered even if
//! no task accepts, so a background thread serves dials otherwise. It ends with the network.

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use async_io::Timer;
use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::net::{Cause, Notifier};
use crate::os::{OsListener, Socket};

use crate::lonet::accept_signal::AcceptSignal;
use crate::lonet::framing::{read_line, with_context, with_timeout, write_line};
use crate::lonet::handshake;
use crate::lonet::handshake::Side;
use crate::lonet::secret::{ProofInput, Secret, nonce};

/// The pause after the system had no descriptor for a connection.
const NO_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(50);

/// Listens for the dials of all processes, on behalf of all hosts of a subnetwork.
pub(crate) struct Acceptor {
    /// Its listening address, for the registry.
    pub(crate) addr: SocketAddr,
    /// Closed with the network; then dials are refused at once.
    listener: OsListener,
    signal: Arc<AcceptSignal>,
    /// Used only by the worker that the signal lets begin.
    handshakes: Mutex<Handshakes>,
    config: OnceLock<Arc<AcceptorConfig>>,
}

/// The handshakes in progress.
#[derive(Default)]
struct Handshakes {
    in_progress: FuturesUnordered<BoxFuture<'static, ()>>,
    pause: Option<Timer>,
}

impl Acceptor {
    /// Begins to listen; dials wait until it is started.
    pub(crate) fn bind() -> io::Result<Arc<Self>> {
        let listener = OsListener::bind(&[(Ipv4Addr::LOCALHOST, 0).into()]);
        let (listener, addr) =
            listener.map_err(|error| with_context("listen on 127.0.0.1", &error))?;
        let (signal, handshakes, config) = Default::default();
        Ok(Arc::new(Self { addr, listener, signal, handshakes, config }))
    }

    /// Answers from now on, until it is closed.
    ///
    /// A request has to arrive, and a reply to be taken, within `limit`.
    pub(crate) fn start(
        self: &Arc<Self>,
        network: Arc<str>,
        notifier: Notifier,
        secret: Option<Secret>,
        timeout: Duration,
    ) -> io::Result<()> {
        let acceptor = self.clone();
        let signal_notifier = notifier.clone();
        // It starts once.
        let config = AcceptorConfig { network, addr: self.addr, notifier, secret, timeout };
        let _ = self.config.set(Arc::new(config));
        let serve = move || {
            acceptor.signal.attach_thread(signal_notifier);
            acceptor.serve();
        };
        let started = thread::Builder::new().name("lonet acceptor".to_string()).spawn(serve);
        started.map(drop).map_err(|error| with_context("start the thread that accepts", &error))
    }

    /// Refuses all dials from now on, and lets those go that wait.
    pub(crate) fn close(&self) {
        self.listener.close();
        self.signal.wake_thread();
    }

    /// Works in the turn of a task that waits in an accept; see `Engine::poll_incoming`.
    pub(crate) fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.signal.try_begin_work(false) {
            return Poll::Pending;
        }
        let progress = self.poll_handshakes();
        if self.signal.end_work(progress.is_ready()) {
            cx.waker().wake_by_ref();
        }
        progress
    }

    /// The thread: works whenever no task does.
    fn serve(&self) {
        loop {
            while !self.signal.try_begin_work(true) {
                // Somebody works who has not looked at what there was to do for the thread.
                thread::sleep(Duration::from_millis(1));
            }
            while self.poll_handshakes().is_ready() {}
            if self.listener.is_closed() {
                // The network is closed and no worker begins again. The waiting dials were told
                // just now.
                *self.handshakes() = Handshakes::default();
                return;
            }
            if !self.signal.end_work(false) {
                self.signal.wait_for_work();
            }
        }
    }

    /// Does something of what there is to do, and says whether there may be more.
    fn poll_handshakes(&self) -> Poll<()> {
        let Some(config) = self.config.get() else { return Poll::Pending };
        let waker = Waker::from(self.signal.clone());
        let mut cx = Context::from_waker(&waker);
        let poll = || self.handshakes().poll(&self.listener, config, &mut cx);
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|_| {
            // A waker of the program's panicked. To go deaf in silence would be worse.
            self.close();
            let text = "lonet: a waker of the program panicked while a connection was accepted";
            config.notifier.down(Some(Cause::engine(text)));
            Poll::Pending
        })
    }

    fn handshakes(&self) -> MutexGuard<'_, Handshakes> {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Handshakes {
    /// Continues the handshakes and takes new connections, until a handshake has ended.
    fn poll(
        &mut self,
        listener: &OsListener,
        config: &Arc<AcceptorConfig>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let mut any_finished = false;
            while let Poll::Ready(Some(())) = self.in_progress.poll_next_unpin(cx) {
                any_finished = true;
            }
            if any_finished {
                return Poll::Ready(());
            }
            if let Some(pause) = &mut self.pause {
                if Pin::new(pause).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            match listener.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                // One after the other, lest those wait who are here already.
                Poll::Ready(Ok(socket)) => {
                    self.in_progress.push(config.clone().serve_dial(socket).boxed());
                }
                Poll::Ready(Err(_)) if listener.is_closed() => return Poll::Pending,
                Poll::Ready(Err(_)) => self.pause = Some(Timer::after(NO_DESCRIPTORS_PAUSE)),
            }
        }
    }
}

/// On whose behalf connections are taken, and how.
struct AcceptorConfig {
    network: Arc<str>,
    /// The listening address.
    addr: SocketAddr,
    notifier: Notifier,
    /// The secret that a dialer has to know.
    secret: Option<Secret>,
    timeout: Duration,
}

impl AcceptorConfig {
    /// Takes one connection as far as it goes. What goes wrong is told to the dialer alone.
    async fn serve_dial(self: Arc<Self>, socket: Socket) {
        if let Some(secret) = &self.secret {
            match with_timeout(self.timeout, self.authenticate_dialer(&socket, secret)).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return self.refuse(&socket, reason.as_bytes()).await,
                Err(_) => return,
            }
        }
        let Ok(line) = with_timeout(self.timeout, read_line(&socket, Vec::new())).await else {
            return;
        };
        let (src, dst) = match handshake::read_request(&line, &self.network) {
            Ok(addrs) => addrs,
            Err(error) => return self.refuse(&socket, &error.reply()).await,
        };
        let accept = pin!(self.notifier.accept(&src, &dst));
        let accepted = match select(accept, pin!(wait_for_disconnect(&socket))).await {
            Either::Left((accepted, _)) => accepted,
            // The dialer does not wait any more: the dial is not offered.
            Either::Right(((), _)) => return,
        };
        match accepted {
            Ok(accept) => {
                let reply = handshake::write_connected(accept.addr());
                match with_timeout(self.timeout, write_line(&socket, &reply)).await {
                    Ok(()) => accept.confirm(Box::new(socket)),
                    Err(error) => accept.refuse(error.into()),
                }
            }
            // Our network is down, not the dialer's, which reads the end of the stream.
            Err(Cause::NetDown) => {}
            Err(cause) => self.refuse(&socket, cause.to_string().as_bytes()).await,
        }
    }

    /// Has the dialer prove that it knows the secret, and proves it to the dialer.
    ///
    /// # Errors
    ///
    /// Errors of the system; or the reason why the dialer is refused, in words.
    async fn authenticate_dialer(
        &self,
        socket: &Socket,
        secret: &Secret,
    ) -> io::Result<Result<(), &'static str>> {
        let network = &*self.network;
        let line = read_line(socket, Vec::new()).await?;
        let Some(dialer_nonce) = handshake::read_auth_line(Side::Dialer, &line, network, "secret")
        else {
            return Ok(Err("this network has a secret, and the dialer has joined without it: \
                           join by `lonet::Config::secret`"));
        };
        let acceptor_nonce = nonce()?;
        let input = ProofInput {
            network,
            acceptor_addr: self.addr,
            dialer_nonce: &dialer_nonce,
            acceptor_nonce: &acceptor_nonce,
        };
        let reply = format!("{acceptor_nonce} {}", secret.prove(Side::Acceptor, &input));
        write_line(socket, &handshake::write_auth_line(Side::Acceptor, network, "secret", &reply))
            .await?;
        let line = read_line(socket, Vec::new()).await?;
        let proof = handshake::read_auth_line(Side::Dialer, &line, network, "proof");
        match proof.is_some_and(|proof| secret.verify(&proof, Side::Dialer, &input)) {
            true => Ok(Ok(())),
            false => Ok(Err("the dialer has another secret than this network")),
        }
    }

    async fn refuse(&self, socket: &Socket, text: &[u8]) {
        let reply = handshake::write_error(&self.network, text);
        // A dialer that does not read the reply does not need it.
        let _ = with_timeout(self.timeout, write_line(socket, &reply)).await;
    }
}

/// Waits until the dialer has closed its end.
///
/// One that has sent data already cannot be watched without reading them; none of ours does so
/// before it is accepted.
async fn wait_for_disconnect(socket: &Socket) {
    match poll_fn(|cx| socket.poll_readable(cx, |io| io.peek(&mut [0]))).await {
        Ok(0) | Err(_) => {}
        Ok(_) => pending().await,
    }
}
