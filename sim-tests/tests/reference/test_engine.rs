//! An engine and a registry that do what the driver of the recording did.
//!
//! Knows the few things that the reference's own test networks can do: hold an operation until it
//! is released, offer a dial to an accept and answer it, and fail to close. What the recording
//! does not say, such as that an engine blocks or that another subnetwork begins, is read off what
//! is expected next.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use futures::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};
use virtnet::{
    Accept, Addr, Args, Cause, Engine, Host, Notifier, RawConn, Registry, RegistryError, SubNetwork,
};

use crate::reference::error_texts;
use crate::reference::outcome::OperationResult;
use crate::reference::recording::Step;
use crate::support::{ManualTask, expect_ready_now};

/// The driver's side of a custom network.
#[derive(Default)]
pub(crate) struct CustomNetwork {
    net: Option<(SubNetwork, Notifier)>,
    stub: Arc<StubNetwork>,
    /// What closing came to, once it was closed.
    close_result: Option<Value>,
    /// Where the last accept waits.
    accept_addr: Option<Addr>,
    offered: Option<Accept>,
    offer_count: u16,
    conn: StubConn,
}

#[derive(Debug, Default)]
struct StubNetwork {
    shared: Mutex<StubState>,
}

#[derive(Debug, Default)]
struct StubState {
    is_holding: bool,
    held_wakers: Vec<Waker>,
    close_log: Vec<&'static str>,
    engine_error: Option<String>,
    registry_error: Option<String>,
    other_error: Option<String>,
}

impl StubNetwork {
    fn lock_state(&self) -> MutexGuard<'_, StubState> {
        self.shared.lock().unwrap()
    }

    /// Waits while operations are held, if they are when it begins.
    async fn wait_while_held(&self) {
        poll_fn(|cx| {
            let mut shared = self.lock_state();
            if !shared.is_holding {
                return Poll::Ready(());
            }
            shared.held_wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl CustomNetwork {
    pub(crate) fn subnet(&self) -> SubNetwork {
        self.net.as_ref().expect("there is a subnetwork").0.clone()
    }

    fn notifier(&self) -> &Notifier {
        &self.net.as_ref().expect("there is a subnetwork").1
    }

    /// Begins another subnetwork where the recording tells of one without saying so.
    ///
    /// That is at the beginning, and at a close that gives something else than the close before.
    pub(crate) fn begin_if_implied(&mut self, step: &Step, next_steps: &[Step]) -> bool {
        let closes = step.op == "close" && step.target == "subnet";
        let is_another = closes && self.close_result.is_some() && self.close_result != step.out;
        let begins = self.net.is_none() || is_another;
        if begins {
            self.begin(std::iter::once(step).chain(next_steps));
        }
        if closes {
            self.close_result = step.out.clone();
            let problem = self.stub.lock_state().other_error.take();
            if let Some(problem) = problem {
                self.notifier().down(Some(Cause::engine(problem)));
            }
        }
        begins
    }

    fn begin<'a>(&mut self, steps: impl Iterator<Item = &'a Step>) {
        let mut shared = StubState::default();
        let text = |step: &Step| Some(step.out.as_ref()?["err"]["text"].as_str()?.to_string());
        let mut closes = steps.filter(|step| step.op == "close");
        let first = closes.find(|step| step.target == "subnet" || text(step).is_some());
        for problem in first.and_then(text).as_deref().map(close_errors).unwrap_or_default() {
            match problem {
                problem if problem.contains("engine") => shared.engine_error = Some(problem),
                problem if problem.contains("registry") => shared.registry_error = Some(problem),
                problem => shared.other_error = Some(problem),
            }
        }
        self.stub = Arc::new(StubNetwork { shared: Mutex::new(shared) });
        self.close_result = None;
        self.net = Some(SubNetwork::new("custx", self.stub.clone(), self.stub.clone()));
    }

    /// Holds an operation of the engine that is expected to block.
    pub(crate) fn hold_if_blocking(&mut self, step: &Step, blocked_query: Option<&Step>) {
        if ["new_host", "dial"].contains(&step.op.as_str()) {
            let blocks = blocked_query
                .is_some_and(|blocked_query| blocked_query.out == Some(Value::Bool(true)));
            self.stub.lock_state().is_holding = step.task.is_some() && blocks;
        }
    }

    /// Lets the network close with this host, if closing the host is to give an error.
    pub(crate) fn auto_close_if_failing(&self, host: &Host, step: &Step) {
        let fails = step.out.as_ref().is_some_and(|out| out.get("err").is_some());
        if fails && !host.is_closed() {
            self.subnet().auto_close();
        }
    }

    pub(crate) fn set_accept_addr(&mut self, addr: Addr) {
        self.accept_addr = Some(addr);
    }

    /// Does what a note says; true if the network went down by it.
    pub(crate) fn apply_note(&mut self, note: &str, next_steps: &[Step]) -> bool {
        if note.contains("released") {
            let mut shared = self.stub.lock_state();
            shared.is_holding = false;
            let held = std::mem::take(&mut shared.held_wakers);
            drop(shared);
            held.into_iter().for_each(Waker::wake);
        } else if note.starts_with("ack(nil)") {
            self.acknowledge();
        } else if note.starts_with("ack(") {
            if let Some(accept) = self.offered.take() {
                accept.refuse(Cause::engine("the driver refuses"));
            }
        } else if let Some(reason) = note.strip_prefix("VNetDown(") {
            if self.net.is_none() || self.close_result.is_some() {
                self.begin(next_steps.iter());
            }
            let problem = self.stub.lock_state().other_error.take();
            let reason =
                reason.split(')').next().filter(|reason| *reason != "nil").map(str::to_string);
            let cause = reason.map(|reason| Cause::engine(problem.unwrap_or(reason)));
            self.notifier().down(cause);
            return true;
        }
        false
    }

    /// Confirms the dial that was offered, if none has answered it.
    pub(crate) fn acknowledge(&mut self) {
        if let Some(accept) = self.offered.take() {
            accept.confirm(Box::new(self.conn.clone()));
        }
    }

    /// Does what only a custom network can do.
    pub(crate) fn start_operation(
        &mut self,
        step: &Step,
    ) -> Result<Option<ManualTask<OperationResult>>, String> {
        let out = match (step.op.as_str(), step.target.as_str()) {
            ("vnet_accept", "notifier") => {
                let (src, dst) = (addr_argument(step, "src=")?, addr_argument(step, "dst=")?);
                return Ok(Some(ManualTask::new(vnet_accept(self.notifier().clone(), src, dst))));
            }
            ("accept addr offered", "notifier") => {
                let dst = self.accept_addr.clone().ok_or("nobody accepts")?;
                let src = Addr::new("custx", "β", 44 + self.offer_count);
                self.offer_count += 1;
                self.conn = StubConn::default();
                let accept = expect_ready_now(self.notifier().accept(&src, &dst));
                let accept = accept.map_err(|cause| cause.to_string())?;
                let addr = accept.addr().to_string();
                self.offered = Some(accept);
                json!(addr)
            }
            ("sequence of closes", _) => json!(self.stub.lock_state().close_log),
            ("netconn was closed by virtnet", _) => json!(self.conn.is_closed()),
            (op, "") if op.starts_with("peer sees on its end") => {
                json!(if self.conn.is_closed() { "EOF" } else { "read pipe: i/o timeout" })
            }
            _ => return Ok(None),
        };
        Ok(Some(ManualTask::new(std::future::ready(OperationResult::new(out)))))
    }
}

/// Accepts a dial from outside, and confirms it at once.
async fn vnet_accept(notifier: Notifier, src: Addr, dst: Addr) -> OperationResult {
    OperationResult::new(match notifier.accept(&src, &dst).await {
        Ok(accept) => {
            let addr = accept.addr().to_string();
            accept.confirm(Box::new(StubConn::default()));
            json!({ "ok": { "accept_addr": addr } })
        }
        Err(cause) => json!({ "err": error_texts::cause_to_json(&cause) }),
    })
}

/// Reads `src=a:b:1`: what stands before the last colon is the host.
fn addr_argument(step: &Step, key: &str) -> Result<Addr, String> {
    let find = |arg: &Value| Some(arg.as_str()?.strip_prefix(key)?.to_string());
    let addr = step.args.iter().find_map(find).ok_or_else(|| format!("no {key}"))?;
    let (host, port) = addr.rsplit_once(':').ok_or_else(|| format!("no port in {addr}"))?;
    let port = port.parse().map_err(|_| format!("no port in {addr}"))?;
    Ok(Addr::new("custx", host, port))
}

/// Takes the single problems out of the text of an error of closing.
fn close_errors(text: &str) -> Vec<String> {
    let last = text.rsplit("close: ").next().unwrap_or(text);
    match last.split_once(" errors:\n") {
        None => vec![last.to_string()],
        Some((_, list)) => {
            list.lines().filter_map(|line| line.strip_prefix("\t- ")).map(str::to_string).collect()
        }
    }
}

impl Engine for StubNetwork {
    fn new_host<'a>(
        &'a self,
        hostname: &'a str,
        registry: &'a dyn Registry,
    ) -> BoxFuture<'a, Result<(), Cause>> {
        async move {
            self.wait_while_held().await;
            Ok(registry.announce(hostname, "").await?)
        }
        .boxed()
    }

    fn dial<'a>(
        &'a self,
        _src: &'a Addr,
        dst: &'a Addr,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(Box<dyn RawConn>, Addr), Cause>> {
        async move {
            self.wait_while_held().await;
            Ok((Box::new(StubConn::default()) as Box<dyn RawConn>, dst.clone()))
        }
        .boxed()
    }

    fn close(&self) -> Result<(), Cause> {
        let mut shared = self.lock_state();
        shared.close_log.push("engine.close");
        shared.engine_error.take().map_or(Ok(()), |problem| Err(Cause::engine(problem)))
    }
}

/// It lets every name pass, any number of times.
impl Registry for StubNetwork {
    fn announce<'a>(
        &'a self,
        _hostname: &'a str,
        _hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        async { Ok(()) }.boxed()
    }

    fn query<'a>(&'a self, _hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        async { Ok(String::new()) }.boxed()
    }

    fn close(&self) -> Result<(), RegistryError> {
        let mut shared = self.lock_state();
        shared.close_log.push("registry.close");
        shared.registry_error.take().map_or(Ok(()), |problem| {
            let cause = Cause::engine(problem);
            Err(RegistryError { registry: String::new(), op: "", args: Args::None, cause })
        })
    }
}

/// An end of a connection to nowhere, which tells whether it was closed.
#[derive(Clone, Debug, Default)]
struct StubConn {
    closed: Arc<OnceLock<()>>,
    data: Arc<Mutex<VecDeque<u8>>>,
}

impl StubConn {
    fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }
}

impl RawConn for StubConn {
    fn poll_read(&self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn poll_write(&self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.data.lock().unwrap().extend(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn abort(&self) {
        let _ = self.closed.set(());
    }
}
