//! Plays one transcript, step by step, and compares what comes out.
//!
//! Knows the operations of the recording and what each is here. Time is a number of milliseconds
//! that only steps move: `is_blocked` waits for 25 of them, a join for 300. On a network of real
//! sockets they pass for real, and what was begun gets a moment to come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use virtnet::{Addr, Host, Listener, pipenet};

use crate::lonet::TempNetworks;
use crate::reference::outcome::{Object, OperationResult, conn_addrs, panic_result};
use crate::reference::pipe_flow::PipeFlow;
use crate::reference::recording::{ScenarioRecord, Step};
use crate::reference::rules::Mismatch;
use crate::reference::test_engine::CustomNetwork;
use crate::reference::{error_texts, pipe_flow, rules};
use crate::support::{ManualTask, TwoHosts};
use crate::{lonet, support};

/// How much was played.
#[derive(Debug, Default)]
pub(crate) struct ReplayCounts {
    pub(crate) steps: usize,
    /// How many of them differ from the reference, by a rule.
    pub(crate) by_rule: usize,
}

impl ReplayCounts {
    pub(crate) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.by_rule += other.by_rule;
    }
}

/// Plays a transcript; the error says which step went otherwise.
pub(crate) fn replay(record: &ScenarioRecord, steps: &[Step]) -> Result<ReplayCounts, String> {
    let mut player = Replayer::new(record);
    for (at, step) in steps.iter().enumerate() {
        player.replay_step(step, &steps[at + 1..]).map_err(|problem| {
            let Step { op, target: on, args, task, note, .. } = step;
            format!("  step {}: {op} {on} {args:?} {task:?} {note:?}: {problem}", at + 1)
        })?;
    }
    Ok(player.tally)
}

/// An operation under way, or over and not joined.
struct PendingOperation {
    step: Step,
    /// Empty once it is over or dropped.
    task: Option<ManualTask<OperationResult>>,
    is_unpolled: bool,
    result: Option<OperationResult>,
    /// When it is dropped, and what that is called.
    drop_at: Option<(u64, &'static str)>,
}

const HUNG_TEXT: &str = "still blocked after 300ms";

struct Replayer {
    objects: BTreeMap<String, Object>,
    /// What was made there, and by a rule not here.
    missing: BTreeSet<String>,
    closed: BTreeSet<String>,
    running: BTreeMap<String, PendingOperation>,
    /// The order in which operations began, which is that of polling.
    order: Vec<String>,
    flows: BTreeMap<(String, String), PipeFlow>,
    /// Deadlines, by the address of a connection and its operation.
    deadlines: BTreeMap<(String, &'static str), u64>,
    time: u64,
    custom: Option<CustomNetwork>,
    /// Where the network is, if it is one of real sockets.
    lonet_temp: Option<TempNetworks>,
    /// Whether a dial has left a queue of the reference without leaving it.
    has_stale_dial: bool,
    tally: ReplayCounts,
}

impl Replayer {
    fn new(record: &ScenarioRecord) -> Self {
        let mut player = Self {
            objects: BTreeMap::new(),
            missing: BTreeSet::new(),
            closed: BTreeSet::new(),
            running: BTreeMap::new(),
            order: Vec::new(),
            flows: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            time: 0,
            custom: None,
            lonet_temp: None,
            has_stale_dial: false,
            tally: ReplayCounts::default(),
        };
        match record.mode.as_str() {
            "custom" => player.custom = Some(CustomNetwork::default()),
            "pipenet" => player.set_up_pipenet(record),
            mode => player.set_up_lonet(record, mode),
        }
        player
    }

    fn set_up_pipenet(&mut self, record: &ScenarioRecord) {
        let pipes = pipenet::Network::new("t");
        self.objects.insert("subnet".into(), Object::Net(pipes.subnetwork()));
        if record.scenario.starts_with("matrix") {
            self.insert_two_hosts(support::two_hosts_on(pipes.subnetwork()));
        }
        self.objects.insert("pnet".into(), Object::Pipes(pipes));
    }

    fn set_up_lonet(&mut self, record: &ScenarioRecord, mode: &str) {
        let temp = TempNetworks::new();
        let join = || lonet::run(temp.config().join("t")).unwrap();
        let net = join();
        self.objects.insert("subnet".into(), Object::Net(net.clone()));
        let other = if mode == "lonet2" { join() } else { net.clone() };
        if mode == "lonet2" {
            self.objects.insert("subnet2".into(), Object::Net(other.clone()));
        }
        if record.scenario.starts_with("matrix") {
            self.insert_two_hosts(lonet::run(lonet::two_hosts(net, &other)));
        }
        self.lonet_temp = Some(temp);
    }

    fn insert_two_hosts(&mut self, two: TwoHosts) {
        let objects = [
            ("hα", Object::Host(two.a)),
            ("hβ", Object::Host(two.b)),
            ("lα", Object::Listener(two.la)),
            ("lβ", Object::Listener(two.lb)),
            ("cαβ", Object::Conn(two.ab)),
            ("cβα", Object::Conn(two.ba)),
        ];
        self.objects.extend(objects.map(|(name, object)| (name.to_string(), object)));
    }

    fn replay_step(&mut self, step: &Step, next_steps: &[Step]) -> Result<(), String> {
        self.tally.steps += 1;
        let subject = step.task.as_ref().unwrap_or(&step.target);
        if self.missing.contains(&step.target) || self.missing.contains(subject) {
            // Nothing can be done with what, by a rule, never came into being.
            self.missing.extend(step.creates.iter().chain(&step.task).cloned());
            self.tally.by_rule += 1;
            return Ok(());
        }
        if let Some(note) = &step.note {
            if let Some(custom) = &mut self.custom
                && custom.apply_note(note, next_steps)
            {
                self.objects.insert("subnet".into(), Object::Net(custom.subnet()));
                self.closed.insert("subnet".into());
            }
            self.poll_woken();
            return Ok(());
        }
        if self.custom.is_some() {
            self.prepare_custom_network(step, next_steps);
        }
        match step.op.as_str() {
            "is_blocked" => self.check_is_blocked(step, next_steps),
            "join" => self.join(step),
            "cancel_ctx" => {
                self.drop_task(&task_name(step), "context canceled");
                self.poll_woken();
                Ok(())
            }
            "sleep_ms" => {
                self.pass_time(step.args.first().and_then(Value::as_u64).unwrap_or(0));
                Ok(())
            }
            op if rules::is_deadline_op(op) => self.set_deadline(step),
            _ => self.start_operation(step, next_steps),
        }
    }

    /// Starts an operation, and waits for it unless it is to go on in the background.
    fn start_operation(&mut self, step: &Step, next_steps: &[Step]) -> Result<(), String> {
        let name = step.task.clone().unwrap_or_default();
        let expected = step.out.as_ref().or_else(|| expected_join_result(next_steps, &name));
        let task = match catch_unwind(AssertUnwindSafe(|| self.start(step))) {
            Ok(task) => task?,
            Err(panic) => ManualTask::new(std::future::ready(panic_result(&*panic))),
        };
        let mut running = PendingOperation {
            step: step.clone(),
            task: Some(task),
            is_unpolled: true,
            result: None,
            drop_at: None,
        };
        running.drop_at = self.drop_deadline(step);
        // A context that is done already is a future that is dropped before it is polled; but
        // the reference does not always look at its context.
        let context_is_done = rules::context_is_done(step);
        let dropped = rules::drop_reason(expected.unwrap_or(&Value::Null));
        if let (Some(_), Some(drop_reason)) = (context_is_done, dropped) {
            running.task = None;
            running.result = Some(OperationResult::new(json!({ "dropped": drop_reason })));
        }
        self.running.insert(name.clone(), running);
        self.order.push(name.clone());
        // What goes on in the background on real sockets gets the time to reach the other side.
        self.pass_time(if self.lonet_temp.is_some() && step.task.is_some() { 10 } else { 0 });
        if step.task.is_some() { Ok(()) } else { self.join(step) }
    }

    fn join(&mut self, step: &Step) -> Result<(), String> {
        let name = task_name(step);
        let is_pending = |player: &Self| {
            player.running.get(&name).is_some_and(|operation| operation.result.is_none())
        };
        let expects_hang = step.out.as_ref().is_some_and(|out| out.get("hung").is_some());
        // What is to be over is waited for longer than what is to hang: machines are slow.
        let limit = if self.lonet_temp.is_some() && !expects_hang { 10_000 } else { 300 };
        let start = self.time;
        while is_pending(self) && self.time < start + limit {
            self.pass_time(if self.lonet_temp.is_some() { 1 } else { 300 });
        }
        let Some(mut running) = self.running.remove(&name) else {
            return Err(format!("there is no operation {name:?}"));
        };
        self.order.retain(|other| *other != name);
        let Some(expected) = &step.out else {
            return Err("no `out`".to_string());
        };
        let done = running
            .result
            .take()
            .unwrap_or_else(|| OperationResult::new(json!({ "hung": HUNG_TEXT })));
        let len = running
            .step
            .args
            .first()
            .and_then(Value::as_str)
            .map_or(0, |text| rules::expand_bytes(text).len());
        let out = rules::redact_partial_count(expected, &self.redact_places(&done.out), len);
        self.has_stale_dial |=
            self.lonet_temp.is_some() && running.step.op == "dial" && done.created.is_none();
        self.compare(&running.step, expected, &out)?;
        let makes = running.step.creates.clone().unwrap_or(name.clone());
        match done.created {
            Some(object) => {
                self.objects.insert(makes, object);
            }
            None if expected.get("ok").is_some() && done.out.get("err").is_some() => {
                self.mark_missing(&running.step, makes);
            }
            None => {}
        }
        if running.task.is_some() && step.task.is_some() {
            self.running.insert(name.clone(), running);
            self.order.push(name);
        }
        Ok(())
    }

    /// Notes that something does not exist here that exists there.
    fn mark_missing(&mut self, step: &Step, name: String) {
        if step.op == "new_host"
            && let Some(host) = step.args.first().and_then(Value::as_str)
        {
            self.missing.insert(format!("h{host}"));
        }
        if ["new_host", "listen", "dial", "accept"].contains(&step.op.as_str()) {
            self.missing.insert(name);
        }
    }

    fn check_is_blocked(&mut self, step: &Step, next_steps: &[Step]) -> Result<(), String> {
        self.pass_time(25);
        let name = task_name(step);
        let Some(running) = self.running.get(&name) else {
            return Err(format!("there is no operation {name:?}"));
        };
        let blocked = running.result.is_none();
        if step.out == Some(json!(blocked)) {
            return Ok(());
        }
        let explained = match (&running.result, expected_join_result(next_steps, &name)) {
            (Some(done), Some(expected)) => {
                rules::is_empty_io(&running.step)
                    || self.has_rule_for(&running.step, expected, &done.out)
            }
            (Some(_), None) => rules::is_empty_io(&running.step),
            // In the reference it has met a dial that was cancelled.
            (None, _) => self.has_stale_dial && running.step.op == "accept",
        };
        self.tally.by_rule += usize::from(explained);
        let actual =
            running.result.as_ref().map_or("it waits".to_string(), |done| done.out.to_string());
        if explained { Ok(()) } else { Err(format!("blocked is {blocked}: {actual}")) }
    }

    fn compare(&mut self, step: &Step, expected: &Value, actual: &Value) -> Result<(), String> {
        let expected = rules::without_go_types(expected);
        if expected == *actual || rules::is_summary(&expected, actual) {
            return Ok(());
        }
        let moved_up = self.has_stale_dial && rules::is_moved_up(step, &expected, actual);
        if moved_up
            || rules::is_same_text(&expected, actual)
            || self.has_rule_for(step, &expected, actual)
        {
            self.tally.by_rule += 1;
            return Ok(());
        }
        Err(format!("\n    expected {expected}\n    actual   {actual}"))
    }

    /// Says whether a rule turns what is expected into what came.
    fn has_rule_for(&self, step: &Step, expected: &Value, actual: &Value) -> bool {
        let (mut host_down, mut listening) = (self.closed.contains(&step.target), None);
        match self.objects.get(&step.target) {
            Some(Object::Host(host)) => host_down |= host.is_closed(),
            Some(Object::Listener(listener)) => listening = Some(listener.local_addr()),
            _ => {}
        }
        let (expected, net_down) =
            (&rules::without_go_types(expected), self.closed.contains("subnet"));
        let case = Mismatch {
            step,
            expected,
            is_net_down: net_down,
            is_host_down: host_down,
            listen_addr: listening,
        };
        rules::RULES.iter().any(|(_, rule)| rule(&case).as_ref() == Some(actual))
    }

    fn set_deadline(&mut self, step: &Step) -> Result<(), String> {
        let was_set = step.out.as_ref().is_some_and(|out| out.get("ok").is_some());
        if let Some((kinds, after)) = rules::parse_deadline(&step.op)
            && was_set
            && let Some(Object::Conn(conn)) = self.objects.get(&step.target)
        {
            for kind in kinds {
                let key = (conn.local_addr().to_string(), *kind);
                match after {
                    Some(after) => self.deadlines.insert(key, self.time + after),
                    None => self.deadlines.remove(&key),
                };
            }
        }
        self.tally.by_rule += 1;
        Ok(())
    }

    /// Says when an operation is to be dropped, and what that is called.
    fn drop_deadline(&self, step: &Step) -> Option<(u64, &'static str)> {
        if let Some(after) = rules::context_timeout_ms(step) {
            return Some((self.time + after, "context deadline exceeded"));
        }
        let kind = ["read", "write"].into_iter().find(|kind| *kind == step.op)?;
        let Some(Object::Conn(conn)) = self.objects.get(&step.target) else {
            return None;
        };
        let key = (conn.local_addr().to_string(), kind);
        Some((*self.deadlines.get(&key)?, "i/o timeout"))
    }

    /// Lets time pass: operations go on, and those whose time is over are dropped.
    fn pass_time(&mut self, millis: u64) {
        // What is late before it has begun is never polled, unless it fails at once.
        let late =
            |running: &PendingOperation, time| running.drop_at.is_some_and(|(at, _)| at <= time);
        for name in self.order.clone() {
            let running = &self.running[&name];
            if running.is_unpolled
                && late(running, self.time)
                && !self.is_down(&running.step.target)
            {
                self.expire(&name);
            }
        }
        self.poll_woken();
        self.time += millis;
        if self.lonet_temp.is_some() {
            for _ in 0..millis {
                thread::sleep(Duration::from_millis(1));
                self.poll_woken();
            }
        }
        for name in self.order.clone() {
            if late(&self.running[&name], self.time) {
                self.expire(&name);
            }
        }
        self.poll_woken();
    }

    fn expire(&mut self, name: &str) {
        if let Some((_, word)) = self.running[name].drop_at {
            self.drop_task(name, word);
        }
    }

    fn is_down(&self, name: &str) -> bool {
        match self.objects.get(name) {
            Some(Object::Conn(conn)) => support::read(conn, 0).expect_ready().is_err(),
            _ => false,
        }
    }

    fn drop_task(&mut self, name: &str, word: &str) {
        if let Some(running) = self.running.get_mut(name)
            && running.result.is_none()
        {
            running.task = None;
            running.result = Some(OperationResult::new(json!({ "dropped": word })));
        }
    }

    /// Polls what was woken until nothing is.
    fn poll_woken(&mut self) {
        loop {
            let mut polled = false;
            for name in &self.order {
                let Some(running) = self.running.get_mut(name) else {
                    continue;
                };
                let Some(task) = &mut running.task else {
                    continue;
                };
                if task.take_wakes() == 0 && !running.is_unpolled {
                    continue;
                }
                running.is_unpolled = false;
                polled = true;
                let outcome = catch_unwind(AssertUnwindSafe(|| task.poll()));
                if let Poll::Ready(done) =
                    outcome.unwrap_or_else(|p| Poll::Ready(panic_result(&*p)))
                {
                    running.result = Some(done);
                    running.task = None;
                }
            }
            if !polled {
                return;
            }
        }
    }

    /// Leaves out what is different each time: folders and ports of the system.
    fn redact_places(&self, out: &Value) -> Value {
        let Some(temp) = &self.lonet_temp else { return out.clone() };
        match out {
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), self.redact_places(value))).collect()
            }
            Value::Array(values) => values.iter().map(|value| self.redact_places(value)).collect(),
            Value::String(text) => {
                json!(lonet::without_ports(&text.replace(&temp.temp_path(), "<tmp>")))
            }
            value => value.clone(),
        }
    }

    fn flow(&mut self, src: &Addr, dst: &Addr) -> PipeFlow {
        self.flows.entry((src.to_string(), dst.to_string())).or_default().clone()
    }

    fn object(&self, name: &str) -> Result<Object, String> {
        self.objects.get(name).cloned().ok_or_else(|| format!("there is no {name:?}"))
    }

    /// Makes the future of an operation, or does it if it is none.
    fn start(&mut self, step: &Step) -> Result<ManualTask<OperationResult>, String> {
        let arg = step.args.first().cloned().unwrap_or(Value::Null);
        let text = rules::expand_bytes(arg.as_str().unwrap_or_default());
        if let Some(custom) = &mut self.custom
            && let Some(task) = custom.start_operation(step)?
        {
            return Ok(task);
        }
        let object = match step.target.as_str() {
            "" => return self.answer_query(step),
            name => self.object(name)?,
        };
        Ok(match (step.op.as_str(), object) {
            ("new_host", Object::Net(net)) => {
                let ok = |host: &Host| json!({ "name": host.name(), "network": host.network() });
                ManualTask::new(async move {
                    OperationResult::from_result(net.new_host(&text).await, ok, Object::Host)
                })
            }
            ("listen", Object::Host(host)) => {
                let ok = |listener: &Listener| {
                    let addr = listener.local_addr();
                    json!({ "addr": addr.to_string(), "net": addr.network() })
                };
                ManualTask::new(async move {
                    OperationResult::from_result(host.listen(&text).await, ok, Object::Listener)
                })
            }
            ("dial", Object::Host(host)) => ManualTask::new(async move {
                OperationResult::from_result(host.dial(&text).await, conn_addrs, Object::Conn)
            }),
            ("accept", Object::Listener(listener)) => ManualTask::new(async move {
                OperationResult::from_result(listener.accept().await, conn_addrs, Object::Conn)
            }),
            ("read", Object::Conn(conn)) => {
                let flow = self.flow(&conn.peer_addr(), &conn.local_addr());
                ManualTask::new(pipe_flow::read_once(
                    conn,
                    flow,
                    arg.as_u64().unwrap_or(0) as usize,
                ))
                .map(OperationResult::new)
            }
            ("write", Object::Conn(conn)) => {
                let flow = self.flow(&conn.local_addr(), &conn.peer_addr());
                let waits = self.custom.is_none() && self.lonet_temp.is_none();
                ManualTask::new(pipe_flow::write_and_wait(conn, flow, text, waits))
                    .map(OperationResult::new)
            }
            ("close", object) => self.close(&step.target, object),
            ("autoclose", Object::Net(net)) => {
                net.auto_close();
                ManualTask::new(std::future::ready(OperationResult::new(json!({ "ok": true }))))
            }
            _ => return self.answer_query(step),
        })
    }

    fn close(&mut self, name: &str, object: Object) -> ManualTask<OperationResult> {
        self.closed.insert(if name == "pnet" { "subnet" } else { name }.to_string());
        let result = match object {
            Object::Net(net) => net.close(),
            Object::Pipes(pipes) => pipes.subnetwork().close(),
            Object::Host(host) => host.close(),
            Object::Listener(listener) => listener.close(),
            Object::Conn(conn) => conn.close(),
        };
        let out = match result {
            Ok(()) => json!({ "ok": true }),
            Err(error) => json!({ "err": error_texts::error_to_json(&error) }),
        };
        ManualTask::new(std::future::ready(OperationResult::new(out)))
    }

    /// Answers questions that are asked in words.
    fn answer_query(&mut self, step: &Step) -> Result<ManualTask<OperationResult>, String> {
        let op = step.op.as_str();
        let unknown = || format!("nobody knows the operation {op:?} on {:?}", step.target);
        let words: Vec<&str> =
            op.split([' ', '(', ')', '.']).filter(|word| !word.is_empty()).collect();
        let same = |host: Option<Host>, name: &str| match self.objects.get(&format!("h{name}")) {
            Some(Object::Host(known)) => Some(known) == host.as_ref(),
            _ => false,
        };
        let out = match (words.as_slice(), self.objects.get(&step.target)) {
            (["network", ..], Some(Object::Net(net))) => json!(net.network()),
            (["host_lookup", name, .., "nil"], Some(Object::Net(net))) => {
                json!(net.host(name).is_none())
            }
            (["host_lookup", name, .., "object"], Some(Object::Net(net))) => {
                json!(same(net.host(name), name))
            }
            ([_, "Name", ..], Some(Object::Host(host))) => json!(host.name()),
            ([_, "Network", ..], Some(Object::Host(host))) => json!(host.network()),
            (["pipenet", "New", name, "Network"], _) => {
                let net = pipenet::Network::new(name.trim_matches('"'));
                json!(net.subnetwork().network())
            }
            (
                ["second", "New", name, .., "Host", host, "is", "another", "object"],
                Some(Object::Pipes(pipes)),
            ) => {
                let other = pipenet::Network::new(name.trim_matches('"'));
                json!(other.host(host) != pipes.host(host))
            }
            (["Host", name, .., "object"], Some(Object::Pipes(pipes))) => {
                let (pipes, host) = (pipes.clone(), pipes.host(name));
                let known = self.objects.entry(format!("h{name}")).or_insert(Object::Host(host));
                json!(matches!(known, Object::Host(known) if *known == pipes.host(name)))
            }
            (["pnet", "Host", name, ..] | ["Host", name, ..], Some(Object::Pipes(pipes))) => {
                let host = pipes.host(name);
                json!({ "ok": { "name": host.name(), "network": host.network() } })
            }
            _ => return Err(unknown()),
        };
        Ok(ManualTask::new(std::future::ready(OperationResult::new(out))))
    }

    /// Gives the driver of a custom network what the recording does not say.
    fn prepare_custom_network(&mut self, step: &Step, next_steps: &[Step]) {
        let Some(custom) = &mut self.custom else {
            return;
        };
        if custom.begin_if_implied(step, next_steps) {
            self.closed.remove("subnet");
            self.objects.insert("subnet".into(), Object::Net(custom.subnet()));
        }
        if let Some(Object::Host(host)) = self.objects.get(&step.target)
            && step.op == "close"
        {
            custom.auto_close_if_failing(host, step);
        }
        custom.hold_if_blocking(
            step,
            next_steps.iter().find(|next| next.op == "is_blocked" && next.task == step.task),
        );
        if let Some(Object::Listener(listener)) = self.objects.get(&step.target)
            && step.op == "accept"
        {
            custom.set_accept_addr(listener.local_addr());
        }
        if step.op == "join" && step.out.as_ref().is_some_and(|out| out.get("ok").is_some()) {
            let accepts = self
                .running
                .get(&task_name(step))
                .is_some_and(|operation| operation.step.op == "accept");
            if accepts {
                custom.acknowledge();
                self.poll_woken();
            }
        }
    }
}

fn task_name(step: &Step) -> String {
    step.task.clone().unwrap_or_default()
}

/// Finds what the join of an operation is to give.
fn expected_join_result<'a>(rest: &'a [Step], name: &str) -> Option<&'a Value> {
    rest.iter().find(|step| step.op == "join" && step.task.as_deref() == Some(name))?.out.as_ref()
}
