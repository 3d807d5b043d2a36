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

use crate::lonet::Place;
use crate::reference::outcome::{Done, Object, ends, panicked};
use crate::reference::pipe_flow::Flow;
use crate::reference::recording::{Record, Step};
use crate::reference::rules::Case;
use crate::reference::test_engine::Custom;
use crate::reference::{error_texts, pipe_flow, rules};
use crate::support::{ManualTask, TwoHosts};
use crate::{lonet, support};

/// How much was played.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) steps: usize,
    /// How many of them differ from the reference, by a rule.
    pub(crate) rewritten: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.rewritten += other.rewritten;
    }
}

/// Plays a transcript; the error says which step went otherwise.
pub(crate) fn play(record: &Record, steps: &[Step]) -> Result<Tally, String> {
    let mut player = Player::new(record);
    for (at, step) in steps.iter().enumerate() {
        player.play(step, &steps[at + 1..]).map_err(|problem| {
            let Step { op, on, args, task, note, .. } = step;
            format!("  step {}: {op} {on} {args:?} {task:?} {note:?}: {problem}", at + 1)
        })?;
    }
    Ok(player.tally)
}

/// An operation under way, or over and not joined.
struct Running {
    step: Step,
    /// Empty once it is over or dropped.
    task: Option<ManualTask<Done>>,
    fresh: bool,
    done: Option<Done>,
    /// When it is dropped, and what that is called.
    until: Option<(u64, &'static str)>,
}

const HUNG: &str = "still blocked after 300ms";

struct Player {
    objects: BTreeMap<String, Object>,
    /// What was made there, and by a rule not here.
    missing: BTreeSet<String>,
    closed: BTreeSet<String>,
    running: BTreeMap<String, Running>,
    /// The order in which operations began, which is that of polling.
    order: Vec<String>,
    flows: BTreeMap<(String, String), Flow>,
    /// Deadlines, by the address of a connection and its operation.
    deadlines: BTreeMap<(String, &'static str), u64>,
    time: u64,
    custom: Option<Custom>,
    /// Where the network is, if it is one of real sockets.
    real: Option<Place>,
    /// Whether a dial has left a queue of the reference without leaving it.
    ghost: bool,
    tally: Tally,
}

impl Player {
    fn new(record: &Record) -> Self {
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
            real: None,
            ghost: false,
            tally: Tally::default(),
        };
        match record.mode.as_str() {
            "custom" => player.custom = Some(Custom::default()),
            "pipenet" => player.on_pipenet(record),
            mode => player.on_lonet(record, mode),
        }
        player
    }

    fn on_pipenet(&mut self, record: &Record) {
        let pipes = pipenet::Network::new("t");
        self.objects.insert("subnet".into(), Object::Net(pipes.subnetwork()));
        if record.scenario.starts_with("matrix") {
            self.set_up(support::two_hosts_on(pipes.subnetwork()));
        }
        self.objects.insert("pnet".into(), Object::Pipes(pipes));
    }

    fn on_lonet(&mut self, record: &Record, mode: &str) {
        let place = Place::new();
        let join = || lonet::run(place.config().join("t")).unwrap();
        let net = join();
        self.objects.insert("subnet".into(), Object::Net(net.clone()));
        let other = if mode == "lonet2" { join() } else { net.clone() };
        if mode == "lonet2" {
            self.objects.insert("subnet2".into(), Object::Net(other.clone()));
        }
        if record.scenario.starts_with("matrix") {
            self.set_up(lonet::run(lonet::two_hosts(net, &other)));
        }
        self.real = Some(place);
    }

    fn set_up(&mut self, two: TwoHosts) {
        let set_up = [
            ("hα", Object::Host(two.a)),
            ("hβ", Object::Host(two.b)),
            ("lα", Object::Listener(two.la)),
            ("lβ", Object::Listener(two.lb)),
            ("cαβ", Object::Conn(two.ab)),
            ("cβα", Object::Conn(two.ba)),
        ];
        self.objects.extend(set_up.map(|(name, object)| (name.to_string(), object)));
    }

    fn play(&mut self, step: &Step, rest: &[Step]) -> Result<(), String> {
        self.tally.steps += 1;
        let subject = step.task.as_ref().unwrap_or(&step.on);
        if self.missing.contains(&step.on) || self.missing.contains(subject) {
            // Nothing can be done with what, by a rule, never came into being.
            self.missing.extend(step.makes.iter().chain(&step.task).cloned());
            self.tally.rewritten += 1;
            return Ok(());
        }
        if let Some(note) = &step.note {
            if let Some(custom) = &mut self.custom
                && custom.note(note, rest)
            {
                self.objects.insert("subnet".into(), Object::Net(custom.subnet()));
                self.closed.insert("subnet".into());
            }
            self.settle();
            return Ok(());
        }
        if self.custom.is_some() {
            self.prepare_custom(step, rest);
        }
        match step.op.as_str() {
            "is_blocked" => self.is_blocked(step, rest),
            "join" => self.join(step),
            "cancel_ctx" => {
                self.drop_task(&id(step), "context canceled");
                self.settle();
                Ok(())
            }
            "sleep_ms" => {
                self.pass(step.args.first().and_then(Value::as_u64).unwrap_or(0));
                Ok(())
            }
            op if rules::is_deadline(op) => self.set_deadline(step),
            _ => self.operate(step, rest),
        }
    }

    /// Starts an operation, and waits for it unless it is to go on in the background.
    fn operate(&mut self, step: &Step, rest: &[Step]) -> Result<(), String> {
        let name = step.task.clone().unwrap_or_default();
        let expected = step.out.as_ref().or_else(|| joined(rest, &name));
        let task = match catch_unwind(AssertUnwindSafe(|| self.start(step))) {
            Ok(task) => task?,
            Err(panic) => ManualTask::new(std::future::ready(panicked(&*panic))),
        };
        let mut running =
            Running { step: step.clone(), task: Some(task), fresh: true, done: None, until: None };
        running.until = self.until(step);
        // A context that is done already is a future that is dropped before it is polled; but
        // the reference does not always look at its context.
        let done_already = rules::done_already(step);
        let dropped = rules::dropped(expected.unwrap_or(&Value::Null));
        if let (Some(_), Some(word)) = (done_already, dropped) {
            running.task = None;
            running.done = Some(Done::new(json!({ "dropped": word })));
        }
        self.running.insert(name.clone(), running);
        self.order.push(name.clone());
        // What goes on in the background on real sockets gets the time to reach the other side.
        self.pass(if self.real.is_some() && step.task.is_some() { 10 } else { 0 });
        if step.task.is_some() { Ok(()) } else { self.join(step) }
    }

    fn join(&mut self, step: &Step) -> Result<(), String> {
        let name = id(step);
        let hung = |player: &Self| player.running.get(&name).is_some_and(|it| it.done.is_none());
        let waits = step.out.as_ref().is_some_and(|out| out.get("hung").is_some());
        // What is to be over is waited for longer than what is to hang: machines are slow.
        let patience = if self.real.is_some() && !waits { 10_000 } else { 300 };
        let start = self.time;
        while hung(self) && self.time < start + patience {
            self.pass(if self.real.is_some() { 1 } else { 300 });
        }
        let Some(mut running) = self.running.remove(&name) else {
            return Err(format!("there is no operation {name:?}"));
        };
        self.order.retain(|other| *other != name);
        let Some(expected) = &step.out else {
            return Err("no `out`".to_string());
        };
        let done = running.done.take().unwrap_or_else(|| Done::new(json!({ "hung": HUNG })));
        let len = running
            .step
            .args
            .first()
            .and_then(Value::as_str)
            .map_or(0, |text| rules::lengthened(text).len());
        let out = rules::some_of(expected, &self.without_places(&done.out), len);
        self.ghost |= self.real.is_some() && running.step.op == "dial" && done.makes.is_none();
        self.compare(&running.step, expected, &out)?;
        let makes = running.step.makes.clone().unwrap_or(name.clone());
        match done.makes {
            Some(object) => {
                self.objects.insert(makes, object);
            }
            None if expected.get("ok").is_some() && done.out.get("err").is_some() => {
                self.miss(&running.step, makes);
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
    fn miss(&mut self, step: &Step, name: String) {
        if step.op == "new_host"
            && let Some(host) = step.args.first().and_then(Value::as_str)
        {
            self.missing.insert(format!("h{host}"));
        }
        if ["new_host", "listen", "dial", "accept"].contains(&step.op.as_str()) {
            self.missing.insert(name);
        }
    }

    fn is_blocked(&mut self, step: &Step, rest: &[Step]) -> Result<(), String> {
        self.pass(25);
        let name = id(step);
        let Some(running) = self.running.get(&name) else {
            return Err(format!("there is no operation {name:?}"));
        };
        let blocked = running.done.is_none();
        if step.out == Some(json!(blocked)) {
            return Ok(());
        }
        let explained = match (&running.done, joined(rest, &name)) {
            (Some(done), Some(expected)) => {
                rules::is_empty(&running.step) || self.explain(&running.step, expected, &done.out)
            }
            (Some(_), None) => rules::is_empty(&running.step),
            // In the reference it has met a dial that was cancelled.
            (None, _) => self.ghost && running.step.op == "accept",
        };
        self.tally.rewritten += usize::from(explained);
        let how = running.done.as_ref().map_or("it waits".to_string(), |done| done.out.to_string());
        if explained { Ok(()) } else { Err(format!("blocked is {blocked}: {how}")) }
    }

    fn compare(&mut self, step: &Step, expected: &Value, actual: &Value) -> Result<(), String> {
        let expected = rules::normal(expected);
        if expected == *actual || rules::is_brief(&expected, actual) {
            return Ok(());
        }
        let moved_up = self.ghost && rules::moved_up(step, &expected, actual);
        if moved_up
            || rules::is_same_text(&expected, actual)
            || self.explain(step, &expected, actual)
        {
            self.tally.rewritten += 1;
            return Ok(());
        }
        Err(format!("\n    expected {expected}\n    actual   {actual}"))
    }

    /// Says whether a rule turns what is expected into what came.
    fn explain(&self, step: &Step, expected: &Value, actual: &Value) -> bool {
        let (mut host_down, mut listening) = (self.closed.contains(&step.on), None);
        match self.objects.get(&step.on) {
            Some(Object::Host(host)) => host_down |= host.is_closed(),
            Some(Object::Listener(listener)) => listening = Some(listener.local_addr()),
            _ => {}
        }
        let (expected, net_down) = (&rules::normal(expected), self.closed.contains("subnet"));
        let case = Case { step, expected, net_down, host_down, listening };
        rules::RULES.iter().any(|(_, rule)| rule(&case).as_ref() == Some(actual))
    }

    fn set_deadline(&mut self, step: &Step) -> Result<(), String> {
        let was_set = step.out.as_ref().is_some_and(|out| out.get("ok").is_some());
        if let Some((kinds, after)) = rules::deadline(&step.op)
            && was_set
            && let Some(Object::Conn(conn)) = self.objects.get(&step.on)
        {
            for kind in kinds {
                let key = (conn.local_addr().to_string(), *kind);
                match after {
                    Some(after) => self.deadlines.insert(key, self.time + after),
                    None => self.deadlines.remove(&key),
                };
            }
        }
        self.tally.rewritten += 1;
        Ok(())
    }

    /// Says when an operation is to be dropped, and what that is called.
    fn until(&self, step: &Step) -> Option<(u64, &'static str)> {
        if let Some(after) = rules::context_timeout(step) {
            return Some((self.time + after, "context deadline exceeded"));
        }
        let kind = ["read", "write"].into_iter().find(|kind| *kind == step.op)?;
        let Some(Object::Conn(conn)) = self.objects.get(&step.on) else {
            return None;
        };
        let key = (conn.local_addr().to_string(), kind);
        Some((*self.deadlines.get(&key)?, "i/o timeout"))
    }

    /// Lets time pass: operations go on, and those whose time is over are dropped.
    fn pass(&mut self, millis: u64) {
        // What is late before it has begun is never polled, unless it fails at once.
        let late = |running: &Running, time| running.until.is_some_and(|(at, _)| at <= time);
        for name in self.order.clone() {
            let running = &self.running[&name];
            if running.fresh && late(running, self.time) && !self.is_down(&running.step.on) {
                self.expire(&name);
            }
        }
        self.settle();
        self.time += millis;
        if self.real.is_some() {
            for _ in 0..millis {
                thread::sleep(Duration::from_millis(1));
                self.settle();
            }
        }
        for name in self.order.clone() {
            if late(&self.running[&name], self.time) {
                self.expire(&name);
            }
        }
        self.settle();
    }

    fn expire(&mut self, name: &str) {
        if let Some((_, word)) = self.running[name].until {
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
            && running.done.is_none()
        {
            running.task = None;
            running.done = Some(Done::new(json!({ "dropped": word })));
        }
    }

    /// Polls what was woken until nothing is.
    fn settle(&mut self) {
        loop {
            let mut polled = false;
            for name in &self.order {
                let Some(running) = self.running.get_mut(name) else {
                    continue;
                };
                let Some(task) = &mut running.task else {
                    continue;
                };
                if task.take_wakes() == 0 && !running.fresh {
                    continue;
                }
                running.fresh = false;
                polled = true;
                let outcome = catch_unwind(AssertUnwindSafe(|| task.poll()));
                if let Poll::Ready(done) = outcome.unwrap_or_else(|p| Poll::Ready(panicked(&*p))) {
                    running.done = Some(done);
                    running.task = None;
                }
            }
            if !polled {
                return;
            }
        }
    }

    /// Leaves out what is different each time: folders and ports of the system.
    fn without_places(&self, out: &Value) -> Value {
        let Some(place) = &self.real else { return out.clone() };
        match out {
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.clone(), self.without_places(value)))
                .collect(),
            Value::Array(values) => values.iter().map(|value| self.without_places(value)).collect(),
            Value::String(text) => {
                json!(lonet::without_ports(&text.replace(&place.path(), "<tmp>")))
            }
            value => value.clone(),
        }
    }

    fn flow(&mut self, src: &Addr, dst: &Addr) -> Flow {
        self.flows.entry((src.to_string(), dst.to_string())).or_default().clone()
    }

    fn object(&self, name: &str) -> Result<Object, String> {
        self.objects.get(name).cloned().ok_or_else(|| format!("there is no {name:?}"))
    }

    /// Makes the future of an operation, or does it if it is none.
    fn start(&mut self, step: &Step) -> Result<ManualTask<Done>, String> {
        let arg = step.args.first().cloned().unwrap_or(Value::Null);
        let text = rules::lengthened(arg.as_str().unwrap_or_default());
        if let Some(custom) = &mut self.custom
            && let Some(task) = custom.operate(step)?
        {
            return Ok(task);
        }
        let object = match step.on.as_str() {
            "" => return self.say(step),
            name => self.object(name)?,
        };
        Ok(match (step.op.as_str(), object) {
            ("new_host", Object::Net(net)) => {
                let ok = |host: &Host| json!({ "name": host.name(), "network": host.network() });
                ManualTask::new(
                    async move { Done::made(net.new_host(&text).await, ok, Object::Host) },
                )
            }
            ("listen", Object::Host(host)) => {
                let ok = |listener: &Listener| {
                    let addr = listener.local_addr();
                    json!({ "addr": addr.to_string(), "net": addr.network() })
                };
                ManualTask::new(async move {
                    Done::made(host.listen(&text).await, ok, Object::Listener)
                })
            }
            ("dial", Object::Host(host)) => {
                ManualTask::new(
                    async move { Done::made(host.dial(&text).await, ends, Object::Conn) },
                )
            }
            ("accept", Object::Listener(listener)) => {
                ManualTask::new(
                    async move { Done::made(listener.accept().await, ends, Object::Conn) },
                )
            }
            ("read", Object::Conn(conn)) => {
                let flow = self.flow(&conn.peer_addr(), &conn.local_addr());
                ManualTask::new(pipe_flow::read(conn, flow, arg.as_u64().unwrap_or(0) as usize))
                    .map(Done::new)
            }
            ("write", Object::Conn(conn)) => {
                let flow = self.flow(&conn.local_addr(), &conn.peer_addr());
                let waits = self.custom.is_none() && self.real.is_none();
                ManualTask::new(pipe_flow::write(conn, flow, text, waits)).map(Done::new)
            }
            ("close", object) => self.close(&step.on, object),
            ("autoclose", Object::Net(net)) => {
                net.auto_close();
                ManualTask::new(std::future::ready(Done::new(json!({ "ok": true }))))
            }
            _ => return self.say(step),
        })
    }

    fn close(&mut self, name: &str, object: Object) -> ManualTask<Done> {
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
            Err(error) => json!({ "err": error_texts::error(&error) }),
        };
        ManualTask::new(std::future::ready(Done::new(out)))
    }

    /// Answers questions that are asked in words.
    fn say(&mut self, step: &Step) -> Result<ManualTask<Done>, String> {
        let op = step.op.as_str();
        let unknown = || format!("nobody knows the operation {op:?} on {:?}", step.on);
        let words: Vec<&str> =
            op.split([' ', '(', ')', '.']).filter(|word| !word.is_empty()).collect();
        let same = |host: Option<Host>, name: &str| match self.objects.get(&format!("h{name}")) {
            Some(Object::Host(known)) => Some(known) == host.as_ref(),
            _ => false,
        };
        let out = match (words.as_slice(), self.objects.get(&step.on)) {
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
        Ok(ManualTask::new(std::future::ready(Done::new(out))))
    }

    /// Gives the driver of a custom network what the recording does not say.
    fn prepare_custom(&mut self, step: &Step, rest: &[Step]) {
        let Some(custom) = &mut self.custom else {
            return;
        };
        if custom.begins_anew(step, rest) {
            self.closed.remove("subnet");
            self.objects.insert("subnet".into(), Object::Net(custom.subnet()));
        }
        if let Some(Object::Host(host)) = self.objects.get(&step.on)
            && step.op == "close"
        {
            custom.closes_with(host, step);
        }
        custom
            .hold(step, rest.iter().find(|next| next.op == "is_blocked" && next.task == step.task));
        if let Some(Object::Listener(listener)) = self.objects.get(&step.on)
            && step.op == "accept"
        {
            custom.accepting(listener.local_addr());
        }
        if step.op == "join" && step.out.as_ref().is_some_and(|out| out.get("ok").is_some()) {
            let accepts = self.running.get(&id(step)).is_some_and(|it| it.step.op == "accept");
            if accepts {
                custom.acknowledge();
                self.settle();
            }
        }
    }
}

fn id(step: &Step) -> String {
    step.task.clone().unwrap_or_default()
}

/// Finds what the join of an operation is to give.
fn joined<'a>(rest: &'a [Step], name: &str) -> Option<&'a Value> {
    rest.iter().find(|step| step.op == "join" && step.task.as_deref() == Some(name))?.out.as_ref()
}
