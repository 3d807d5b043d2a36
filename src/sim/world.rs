//! One simulated world: the state of a run, and what may happen to it.
//!
//! Knows tasks, timers, choices and the clock as data; refuses to know futures
//! and threads. Nothing foreign runs in here: no waker, no destructor, no code
//! of the user. What must be woken or dropped is handed out to whoever called.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;
use std::task::Waker;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::waiter::{Waiter, foreign_count, foreign_since};

use super::choice::{
    Choices, FOREIGN, Family, Key, SOURCES, SPAWN, Shape, Subject, TIMER, escape, hash_name,
};
use super::clock;
use super::entry::{Act, END_OF_TIME, Serial};
use super::event::Queue;
use super::executor::{BoxedTask, Newborn};
use super::schedule::{Schedule, Scheduler, Slack, Standing, Wakeup};
use super::task::{Name, Slot, Stage, TaskId, Tasks};
use super::timer::{TimerId, Timers};
use super::trace::{Event, RecordKind, Tracer};

/// The name of a task's end, as a source of the wake-up of who joins it.
const ENDED: &str = "(end)";
/// The slot of the main task, which is the first.
pub(crate) const MAIN: u32 = 0;
/// Stands for "no task is being polled".
const NOBODY: u32 = u32::MAX;

/// How far a run may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Nanoseconds of virtual time.
    pub(crate) time: u64,
    pub(crate) steps: u64,
    /// Polls of one task at one instant.
    pub(crate) livelock: u64,
}

/// Why a run is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Done,
    Panicked,
    Deadlock,
    Livelock,
    TimeLimit,
    StepLimit,
}

/// What the run loop is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    Poll(TaskId),
    /// An aborted task.
    Drop(u32),
    /// A timer's waker that is not a task's own.
    Wake(Waker),
    End(End),
}

/// What became of a task that was polled or dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Polled {
    Pending,
    Done(u32),
    Dropped(u32),
}

/// Which requests the world heeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Running,
    /// The run is over and its tasks are asked what they wait for.
    Asking,
    /// The tasks are being dropped: whatever they ask for is inert.
    Closing,
}

/// How a join came out.
pub(crate) enum Joined {
    Pending,
    Done(Box<dyn Any>),
    Aborted(String),
}

/// What left the world and is to be dropped outside of it.
#[derive(Default)]
pub(crate) struct Leftovers {
    _waits: Vec<Waiter>,
    _outputs: Vec<Box<dyn Any>>,
    _born: Vec<Newborn>,
}

/// Whether a queue entry still stands for something.
#[inline]
fn awaited(tasks: &Tasks, timers: &mut Timers, serial: Serial, act: Act) -> bool {
    match act {
        Act::Poll(slot) => tasks.slots[slot as usize].pending == serial,
        Act::Fire(slot) => timers.waiter(TimerId { slot, serial }).is_some(),
    }
}

/// The state of one run.
pub(crate) struct World {
    /// Tells this run's handles from all others'; no decision depends on it.
    pub(crate) run: u64,
    pub(crate) seed: u64,
    pub(crate) now: u64,
    pub(crate) steps: u64,
    pub(crate) phase: Phase,
    pub(crate) tracer: Tracer,
    pub(crate) choices: Choices,
    pub(crate) tasks: Tasks,
    pub(crate) born: Vec<Newborn>,
    /// How many wake-ups came from other threads.
    pub(crate) foreign_wakes: u64,
    foreign_seen: u64,
    /// Whom the last poll woke, while tasks are asked.
    pub(crate) woken: Option<u32>,
    limits: Limits,
    scheduler: Scheduler,
    queue: Queue,
    timers: Timers,
    current: u32,
    /// Who acts: the task that is polled, or the timer that fires.
    actor: Key,
    aborted: VecDeque<TaskId>,
    /// Whether there may be entries whose instant has come.
    arriving: bool,
    /// Whether what woke itself has had its turn at this instant.
    spun: bool,
    /// How many choices each of the users' own subjects has made.
    chosen: BTreeMap<Key, u64>,
    /// The texts of keys, for whoever will want to read them.
    pub(crate) names: Option<BTreeMap<Key, String>>,
}

impl World {
    /// A world that has run nothing and is to be begun.
    pub(crate) fn empty() -> Self {
        let choices = Choices::new(0, super::choice::Rest::Zero, std::iter::empty());
        Self {
            run: 0,
            seed: 0,
            now: 0,
            steps: 0,
            phase: Phase::Closing,
            tracer: Tracer::default(),
            scheduler: Scheduler::new(Schedule::Fifo),
            choices,
            tasks: Tasks::default(),
            born: Vec::new(),
            foreign_wakes: 0,
            foreign_seen: 0,
            woken: None,
            limits: Limits {
                time: 0,
                steps: 0,
                livelock: 0,
            },
            queue: Queue::default(),
            timers: Timers::default(),
            current: NOBODY,
            actor: Key::NONE,
            aborted: VecDeque::new(),
            arriving: false,
            spun: false,
            chosen: BTreeMap::new(),
            names: None,
        }
    }

    /// Begins a run, with its main task due and current.
    pub(crate) fn begin(
        &mut self,
        (run, seed): (u64, u64),
        limits: Limits,
        choices: Choices,
        schedule: Schedule,
        tracer: Tracer,
        spawned_at: &'static Location<'static>,
    ) -> (TaskId, Option<Waker>) {
        self.run = run;
        self.set_now(0);
        self.foreign_seen = foreign_count();
        self.seed = seed;
        self.steps = 0;
        self.phase = Phase::Running;
        self.names = (tracer.keeps() || choices.remembers()).then(BTreeMap::new);
        self.scheduler = Scheduler::new(schedule);
        self.choices = choices;
        self.tracer = tracer;
        self.limits = limits;
        self.foreign_wakes = 0;
        if self.names.is_some() {
            for (key, word) in SOURCES {
                self.remember(key, || word.into());
            }
        }
        self.actor = SPAWN;
        let (main, waker) = self.admit(Name::Type("main"), None, spawned_at);
        self.act_for(main.slot);
        (main, waker)
    }

    /// Ends the run and keeps the memory for the next one.
    pub(crate) fn clear(&mut self) -> Leftovers {
        self.queue.clear();
        let (mut waits, outputs) = self.tasks.clear();
        waits.extend(self.timers.clear());
        self.current = NOBODY;
        self.aborted.clear();
        self.arriving = false;
        self.spun = false;
        if !self.chosen.is_empty() {
            self.chosen.clear();
        }
        self.names = None;
        Leftovers {
            _waits: waits,
            _outputs: outputs,
            _born: std::mem::take(&mut self.born),
        }
    }

    fn remember(&mut self, key: Key, text: impl FnOnce() -> String) {
        if let Some(names) = &mut self.names {
            names.entry(key).or_insert_with(text);
        }
    }

    // ---- what the run loop asks ----

    /// Takes note of the last step and finds the next: the heart of a run.
    #[inline]
    pub(crate) fn next(&mut self, polled: Option<Polled>) -> Next {
        if let Some(end) = polled.and_then(|polled| self.settle(polled)) {
            return Next::End(end);
        }
        loop {
            if let Some(task) = self.aborted.pop_front() {
                if self.tasks.live(task).is_none() {
                    continue; // completed since
                }
                self.act_for(task.slot);
                return Next::Drop(task.slot);
            }
            if self.arriving
                && let Some(waker) = self.arrivals()
            {
                return Next::Wake(waker);
            }
            if let Some((serial, act)) = self.queue.pop_due() {
                let Act::Poll(slot) = act else {
                    unreachable!("timers fire as they arrive")
                };
                if self.tasks.slots[slot as usize].pending != serial {
                    continue; // aborted since
                }
                return self.step(slot);
            }
            if !self.spun && self.queue.call_up_behind() {
                self.spun = true;
            } else if !self.hear_foreign()
                && let Some(end) = self.advance()
            {
                return Next::End(end);
            }
        }
    }

    /// Moves the clock to the next instant at which anything happens.
    #[inline]
    fn advance(&mut self) -> Option<End> {
        self.spun = false;
        // A task that spins waits for something: let time pass, but leap over
        // nothing that might be it.
        let spinning = self.queue.has_behind().then_some(self.now + 1_000);
        while let Some(entry) = self.queue.peek_ahead()
            && !awaited(&self.tasks, &mut self.timers, entry.serial(), entry.act())
        {
            self.queue.pop_ahead();
            self.timers.cancelled = self.timers.cancelled.saturating_sub(1);
        }
        let next = self.queue.peek_ahead().map(|entry| entry.key());
        let at = match (spinning, next) {
            (Some(soon), Some(next)) => soon.min(next),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return Some(End::Deadlock),
        };
        if at > self.limits.time || at >= END_OF_TIME {
            self.set_now(self.limits.time.max(self.now));
            return Some(End::TimeLimit);
        }
        self.set_now(at);
        self.arriving = true;
        None
    }

    fn set_now(&mut self, now: u64) {
        self.now = now;
        clock::set(self.run, now);
    }

    /// Deals with all entries whose instant has come, until one is a waker that
    /// must be woken outside. So a task is polled only when every timer that is
    /// due has fired.
    #[inline]
    fn arrivals(&mut self) -> Option<Waker> {
        while let Some(entry) = self.queue.peek_ahead()
            && entry.key() <= self.now
        {
            self.queue.pop_ahead();
            if let Some(waker) = self.arrive(entry.serial(), entry.act()) {
                return Some(waker);
            }
        }
        self.arriving = false;
        None
    }

    /// Deals with an entry whose instant has come.
    #[inline]
    fn arrive(&mut self, serial: Serial, act: Act) -> Option<Waker> {
        match act {
            Act::Poll(slot) => {
                let task = &self.tasks.slots[slot as usize];
                if task.pending == serial {
                    self.queue.arrive(task.place, serial, act);
                }
                None
            }
            Act::Fire(slot) => {
                let wait = self.timers.take(TimerId { slot, serial })?;
                self.current = NOBODY;
                self.actor = TIMER;
                match wait {
                    Waiter::Task(who) => {
                        self.wake(TaskId::of_number(who.task));
                        None
                    }
                    Waiter::Other(waker) => Some(waker),
                }
            }
        }
    }

    /// Makes a task current and counts, limits and records its poll.
    #[inline]
    fn step(&mut self, slot: u32) -> Next {
        if self.steps >= self.limits.steps {
            return Next::End(End::StepLimit);
        }
        let task = &mut self.tasks.slots[slot as usize];
        if task.polled_at == self.now {
            task.polls_at_instant = task.polls_at_instant.saturating_add(1);
            if u64::from(task.polls_at_instant) > self.limits.livelock {
                return Next::End(End::Livelock);
            }
        } else {
            task.polled_at = self.now;
            task.polls_at_instant = 1;
        }
        self.steps += 1;
        let id = TaskId {
            slot,
            life: task.life,
        };
        task.stage = Stage::Parked;
        task.pending = Serial::default();
        let event = Event {
            at: self.now,
            kind: RecordKind::Poll,
            subject: task.key,
            source: task.woken_by,
            ordinal: task.ordinal.into(),
            digest: 0,
        };
        self.tracer.record(event, || None);
        if self.scheduler.ranks() {
            self.tasks.about[slot as usize].standing.count_poll();
        }
        self.act_for(slot);
        Next::Poll(id)
    }

    /// Whatever happens until the next step is this task's doing.
    #[inline]
    fn act_for(&mut self, slot: u32) {
        self.current = slot;
        self.actor = self.tasks.slots[slot as usize].key;
    }

    /// Buries a task that has completed or was aborted, and wakes its joiner.
    #[inline]
    fn settle(&mut self, polled: Polled) -> Option<End> {
        let slot = match polled {
            Polled::Pending => {
                self.current = NOBODY;
                return None;
            }
            Polled::Done(slot) | Polled::Dropped(slot) => slot,
        };
        if slot == MAIN {
            return Some(End::Done);
        }
        let task = &mut self.tasks.slots[slot as usize];
        task.pending = Serial::default();
        let about = &mut self.tasks.about[slot as usize];
        match about.joiner.take() {
            Some(Waiter::Task(who)) => self.wake_joiner(TaskId::of_number(who.task), slot),
            // Nothing foreign runs in here: let the run loop wake it, at once.
            Some(Waiter::Other(waker)) => self.wake_later(waker),
            None => {}
        }
        self.tasks.finish(slot);
        self.current = NOBODY;
        None
    }

    /// Wakes who joins a task. This comes about once, so nothing is counted.
    #[inline]
    fn wake_joiner(&mut self, joiner: TaskId, ended: u32) {
        let chain = self.chain_of_actor();
        if self
            .tasks
            .live(joiner)
            .is_none_or(|joiner| joiner.stage != Stage::Parked)
        {
            return;
        }
        let source = self.tasks.slots[ended as usize]
            .key
            .child(const { hash_name(ENDED) }, 0);
        if self.names.is_some() {
            let path = self.tasks.path(ended);
            self.remember(source, || format!("{path}/{ENDED}"));
        }
        self.schedule(joiner.slot, source, 0, chain);
    }

    /// Has the run loop wake a waker that is not a task's own.
    fn wake_later(&mut self, waker: Waker) {
        let slot = self.timers.take_slot();
        let serial = self.queue.push_at(self.now, Act::Fire(slot));
        self.arriving = true;
        self.timers
            .arm(TimerId { slot, serial }, Waiter::Other(waker));
    }

    /// Wakes whom other threads have woken. Returns whether there were any.
    fn hear_foreign(&mut self) -> bool {
        let woken = foreign_since(&mut self.foreign_seen, self.run);
        self.current = NOBODY;
        self.actor = FOREIGN;
        for who in &woken {
            let task = TaskId::of_number(who.task);
            self.foreign_wakes += 1;
            let subject = self.tasks.live(task).map_or(Key::NONE, |slot| slot.key);
            self.record(RecordKind::Foreign, subject, FOREIGN, 0, 0, || None);
            self.wake(task);
        }
        !woken.is_empty()
    }

    fn record(
        &mut self,
        kind: RecordKind,
        subject: Key,
        source: Key,
        ordinal: u64,
        digest: u64,
        text: impl FnOnce() -> Option<Box<str>>,
    ) {
        self.tracer.record(
            Event {
                at: self.now,
                kind,
                subject,
                source,
                ordinal,
                digest,
            },
            text,
        );
    }

    /// Records the ending, after which the fingerprint stands.
    pub(crate) fn record_ending(&mut self, text: &str) {
        let digest = hash_name(text);
        self.record(RecordKind::Ending, Key::NONE, Key::NONE, 0, digest, || {
            Some(text.into())
        });
    }

    // ---- what tasks ask, by way of their handles ----

    /// The text of a key, where texts are kept.
    pub(crate) fn name_of(&self, key: Key) -> String {
        let name = self.names.as_ref().and_then(|names| names.get(&key));
        name.cloned().unwrap_or_default()
    }

    /// The task that is being polled or dropped.
    pub(crate) fn current(&self) -> Option<u32> {
        (self.current != NOBODY).then_some(self.current)
    }

    /// Makes a task current that is polled or dropped outside of the run loop.
    pub(crate) fn set_current(&mut self, slot: u32) -> TaskId {
        self.act_for(slot);
        TaskId {
            slot,
            life: self.tasks.slots[slot as usize].life,
        }
    }

    /// Takes in a task that is due at once.
    fn admit(
        &mut self,
        name: Name,
        parent: Option<u32>,
        spawned_at: &'static Location<'static>,
    ) -> (TaskId, Option<Waker>) {
        let (task, waker) = self.tasks.spawn(self.run, name, parent, spawned_at);
        let key = self.tasks.slots[task.slot as usize].key;
        if self.names.is_some() {
            let path = self.tasks.path(task.slot);
            self.remember(key, || path);
        }
        if self.scheduler.ranks() {
            let standing = self.scheduler.standing(&mut self.choices, key);
            self.tasks.about[task.slot as usize].standing = standing;
        }
        if parent.is_some() {
            let chain = self.chain_of_actor();
            self.schedule(task.slot, SPAWN, 0, chain);
        } else {
            // The main task has nothing to be late for.
            let serial = self.queue.push_due(0, Act::Poll(task.slot));
            self.expect(task.slot, serial, SPAWN, 0, Slack::default());
        }
        (task, waker)
    }

    /// Spawns a child of the current task, or gives the future back if the run
    /// is over and nothing is spawned any more.
    pub(crate) fn spawn(
        &mut self,
        name: Name,
        future: BoxedTask,
        spawned_at: &'static Location<'static>,
    ) -> Result<TaskId, BoxedTask> {
        if self.phase != Phase::Running {
            return Err(future);
        }
        let parent = self.current().unwrap_or(MAIN);
        let (task, waker) = self.admit(name, Some(parent), spawned_at);
        self.tasks.about[task.slot as usize].has_handle = true;
        self.born.push(Newborn {
            task,
            future,
            waker,
        });
        Ok(task)
    }

    /// How long the chain of wake-ups is that whoever acts now continues.
    #[inline]
    fn chain_of_actor(&self) -> u16 {
        match self.tasks.slots.get(self.current as usize) {
            Some(actor) => actor.chain.saturating_add(1),
            None => 0,
        }
    }

    /// Wakes a task on behalf of whoever acts now.
    #[inline]
    pub(crate) fn wake(&mut self, task: TaskId) {
        let (actor, current) = (self.actor, self.current);
        let chain = self.chain_of_actor();
        let Some(slot) = self.tasks.live(task) else {
            return;
        };
        let parked = slot.stage == Stage::Parked;
        if self.phase != Phase::Running {
            if task.slot != current {
                self.woken = Some(task.slot);
            }
            return;
        }
        // Counted even if it changes nothing, so that whether another wake-up
        // came first does not shift the numbers of this pair.
        let ordinal = self.tasks.meet(task.slot, actor);
        if !parked {
            return;
        }
        if task.slot == current {
            self.go_behind(task.slot, ordinal);
        } else {
            self.schedule(task.slot, actor, ordinal, chain);
        }
    }

    /// Has a task polled at the place and with the delay that are chosen.
    #[inline]
    fn schedule(&mut self, slot: u32, source: Key, ordinal: u32, chain: u16) {
        let wakeup = self.wakeup(slot, source, ordinal, chain);
        let slack = self.scheduler.wake(&mut self.choices, wakeup);
        let act = Act::Poll(slot);
        let serial = match slack.delay {
            0 => self.queue.push_due(slack.place, act),
            delay => self.queue.push_at(self.now + delay, act),
        };
        self.tasks.slots[slot as usize].chain = chain;
        self.expect(slot, serial, source, ordinal, slack);
    }

    /// Has a task polled that woke itself: behind all else that is due.
    #[inline]
    fn go_behind(&mut self, slot: u32, ordinal: u32) {
        let wakeup = self.wakeup(slot, self.actor, ordinal, 0);
        let place = self.scheduler.place(&mut self.choices, wakeup);
        let serial = self.queue.push_behind(place, Act::Poll(slot));
        self.tasks.slots[slot as usize].chain = 0;
        self.expect(slot, serial, self.actor, ordinal, Slack { place, delay: 0 });
    }

    #[inline]
    fn wakeup(&self, slot: u32, source: Key, ordinal: u32, chain: u16) -> Wakeup {
        Wakeup {
            task: self.tasks.slots[slot as usize].key,
            source,
            ordinal: ordinal.into(),
            chain,
            standing: if self.scheduler.ranks() {
                self.tasks.about[slot as usize].standing
            } else {
                Standing::default()
            },
        }
    }

    #[inline]
    fn expect(&mut self, slot: u32, serial: Serial, source: Key, ordinal: u32, slack: Slack) {
        let task: &mut Slot = &mut self.tasks.slots[slot as usize];
        task.stage = Stage::Scheduled;
        task.pending = serial;
        task.place = slack.place;
        task.woken_by = source;
        task.ordinal = ordinal;
    }

    /// Arms a timer, or points one that is armed already to a new waiter.
    /// Returns whom it would have woken, to be dropped outside.
    #[inline]
    pub(crate) fn arm(
        &mut self,
        timer: &mut Option<TimerId>,
        at: u64,
        wait: Waiter,
    ) -> Option<Waiter> {
        if let Some(waiter) = timer.and_then(|timer| self.timers.waiter(timer)) {
            return Some(std::mem::replace(waiter, wait));
        }
        let slot = self.timers.take_slot();
        let serial = self.queue.push_at(at, Act::Fire(slot));
        let armed = TimerId { slot, serial };
        self.timers.arm(armed, wait);
        *timer = Some(armed);
        None
    }

    /// Cancels a timer; its queue entry is forgotten, and swept up some time.
    pub(crate) fn cancel(&mut self, timer: TimerId) -> Option<Waiter> {
        let wait = self.timers.take(timer)?;
        self.timers.cancelled += 1;
        if self.timers.cancelled > 1024 && self.timers.cancelled > self.queue.ahead_len() / 2 {
            let (timers, tasks) = (&mut self.timers, &self.tasks);
            self.queue
                .retain_ahead(|serial, act| awaited(tasks, timers, serial, act));
            self.timers.cancelled = 0;
        }
        Some(wait)
    }

    /// Whether somebody may still ask for what the current task returns.
    pub(crate) fn is_awaited(&self) -> bool {
        self.phase == Phase::Running
            && self
                .current()
                .is_some_and(|slot| self.tasks.about[slot as usize].has_handle)
    }

    /// Keeps what the current task returns for whoever joins it.
    pub(crate) fn deliver(&mut self, output: Box<dyn Any>) {
        if let Some(slot) = self.current() {
            self.tasks.about[slot as usize].output = Some(output);
        }
    }

    /// Looks how a task has ended, or has `wait` woken when it does. Returns
    /// the waiter that is not needed, too.
    pub(crate) fn join(&mut self, task: TaskId, wait: Waiter) -> (Joined, Option<Waiter>) {
        let live = self.tasks.live(task).is_some();
        let Some(about) = self.tasks.known(task) else {
            return (Joined::Aborted(String::new()), Some(wait));
        };
        if live {
            return (Joined::Pending, about.joiner.replace(wait));
        }
        about.has_handle = false;
        let joined = match about.output.take() {
            Some(output) => Joined::Done(output),
            None => Joined::Aborted(self.tasks.path(task.slot)),
        };
        self.tasks.release(task.slot);
        (joined, Some(wait))
    }

    /// Forgets a task's handle. Returns what nobody will ask for any more.
    pub(crate) fn detach(&mut self, task: TaskId) -> (Option<Box<dyn Any>>, Option<Waiter>) {
        let Some(about) = self.tasks.known(task) else {
            return (None, None);
        };
        about.has_handle = false;
        let left = (about.output.take(), about.joiner.take());
        self.tasks.release(task.slot);
        left
    }

    /// Has a task dropped before anything else happens.
    pub(crate) fn abort(&mut self, task: TaskId) {
        if self.phase != Phase::Running || self.tasks.live(task).is_none() {
            return;
        }
        let about = &mut self.tasks.about[task.slot as usize];
        if !std::mem::replace(&mut about.aborted, true) {
            self.aborted.push_back(task);
        }
    }

    /// Makes a choice of the user's own.
    pub(crate) fn choose(&mut self, name: &str, options: usize) -> usize {
        if self.phase != Phase::Running {
            return 0;
        }
        let named = Key::word(name);
        self.remember(named, || escape(name));
        let subject = Subject::new(Family::Choose, self.actor, named);
        let next = self.chosen.entry(subject.key()).or_insert(0);
        let ordinal = std::mem::replace(next, *next + 1);
        let value = self
            .choices
            .draw(subject, ordinal, Shape::Uniform(options as u64));
        self.record(
            RecordKind::Choose,
            subject.who,
            named,
            ordinal,
            value,
            || None,
        );
        value as usize
    }

    /// Chooses where a `select!` of so many branches begins to look.
    #[inline]
    pub(crate) fn select(&mut self, branches: u64) -> u64 {
        let Some(slot) = self.current().filter(|_| self.phase == Phase::Running) else {
            return 0;
        };
        let about = &mut self.tasks.about[slot as usize];
        let ordinal = about.selects;
        about.selects += 1;
        if self.scheduler.schedule() == Schedule::Fifo {
            return 0;
        }
        let subject = Subject::new(Family::Select, self.actor, Key::NONE);
        self.choices
            .draw(subject, ordinal, Shape::Uniform(branches))
    }

    /// Adds a note of the current task to the trace.
    pub(crate) fn note(&mut self, text: &str) {
        if self.phase == Phase::Running {
            let (actor, digest) = (self.actor, hash_name(text));
            self.record(RecordKind::Note, actor, Key::NONE, 0, digest, || {
                Some(text.into())
            });
        }
    }

    /// The current task's random generator.
    pub(crate) fn rng(&mut self) -> &mut ChaCha8Rng {
        let slot = self.current().unwrap_or(MAIN) as usize;
        let (seed, stream) = (self.seed, self.tasks.slots[slot].key.0);
        self.tasks.about[slot].rng.get_or_insert_with(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            Box::new(rng)
        })
    }
}
