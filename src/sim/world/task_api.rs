//! What tasks ask of their world, by way of their handles.
//!
//! Knows requests; refuses to know who forwards them. Each acts for the task that
//! is being polled, and none has an effect once the run is over.

use std::panic::Location;

use rand_chacha::ChaCha8Rng;

use crate::util::cold::aside;
use crate::util::stall_probe::acts;
use crate::util::waiter::Waiter;

use crate::sim::choice::draw::{ChoiceKey, Key, Lateness, SPAWN, Shape, escape, generator, step};
use crate::sim::choice::family::ChoiceFamily;
use crate::sim::choice::hash::hash_name;
use crate::sim::choice::schedule::Standing;
use crate::sim::queue::entry::Act;
use crate::sim::queue::timer_table::TimerId;
use crate::sim::report::trace::RecordKind;
use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::task::table::{Dropped, LastSelect, Name, Origin, Stage, TaskId};
use crate::sim::world::deferred::Aborted;
use crate::sim::world::node::NOWHERE;
use crate::sim::world::state::{MAIN, Phase, World};
use crate::sim::world::step::awaited;

/// What a subject calls the `select!`s of a task, which have no names.
const SELECT: &str = "select";

/// Why a join gives nothing. A whole word, because it is read as one at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Unjoined {
    Pending,
    Aborted,
}

impl World {
    /// Takes in a task, which somebody is to have polled.
    #[inline(always)]
    pub(crate) fn enroll(
        &mut self,
        name: &Name,
        origin: Origin,
        node: u16,
        spawned_at: &'static Location<'static>,
    ) -> TaskId {
        let task = self.tasks.spawn(name, origin, node, spawned_at);
        if self.names.is_some() || self.scheduler.ranks() {
            self.introduce(task.slot);
        }
        task
    }

    /// Keeps the name of a task that is new, and gives it a standing. Cold, because it would be in
    /// the way of a run that needs neither.
    #[cold]
    fn introduce(&mut self, slot: u32) {
        let key = self.tasks.slots[slot as usize].key;
        if self.names.is_some() {
            let path = self.tasks.path(slot);
            self.remember(key, || path);
        }
        if self.scheduler.ranks() {
            let standing = self.scheduler.standing(&mut self.choices, key);
            let (slot, standings) = (slot as usize, &mut self.tasks.standings);
            standings.resize(standings.len().max(slot + 1), Standing::default());
            standings[slot] = standing;
        }
    }

    /// Spawns a child of the current task, or gives the future back if the run
    /// is over and nothing is spawned any more.
    #[inline]
    pub(crate) fn spawn(
        &mut self,
        name: &Name,
        future: BoxedTask,
        spawned_at: &'static Location<'static>,
    ) -> Result<TaskId, BoxedTask> {
        let parent = self.current().unwrap_or(MAIN);
        let node = self.tasks.slots[parent as usize].node;
        if self.phase != Phase::Running || self.nodes.is_dead(node) {
            acts(|| "goes on and spawns a task".into());
            return Err(future);
        }
        Ok(self.admit(node, Origin::Task(parent), name, future, spawned_at))
    }

    /// Spawns a task on a node, or gives the future back if nothing is spawned there any more.
    pub(crate) fn spawn_on(
        &mut self,
        node: u16,
        origin: Origin,
        name: &Name,
        future: BoxedTask,
        spawned_at: &'static Location<'static>,
    ) -> Result<TaskId, BoxedTask> {
        if !self.heeds() || self.nodes.is_dead(node) {
            acts(|| "goes on and spawns a task".into());
            return Err(future);
        }
        Ok(self.admit(node, origin, name, future, spawned_at))
    }

    /// The node that keeps a task from being spawned, because it is down: that of the current task,
    /// or `target`. No node if the run is over.
    #[cold]
    pub(crate) fn node_in_the_way(&self, target: u16) -> u16 {
        let own = self.tasks.slots[self.current().unwrap_or(MAIN) as usize].node;
        match self.phase {
            Phase::Running if self.nodes.is_dead(own) => own,
            Phase::Running => target,
            Phase::Asking | Phase::Closing => NOWHERE,
        }
    }

    /// Takes in a task that is due at once, unless it is late.
    #[inline(always)]
    fn admit(
        &mut self,
        node: u16,
        origin: Origin,
        name: &Name,
        future: BoxedTask,
        spawned_at: &'static Location<'static>,
    ) -> TaskId {
        let task = self.enroll(name, origin, node, spawned_at);
        self.bear(task, future);
        self.schedule(task.slot, SPAWN, 0, Lateness::OFTEN);
        task
    }

    /// Has the executor take in a task that was enrolled.
    #[inline]
    pub(crate) fn bear(&mut self, task: TaskId, future: BoxedTask) {
        self.born.push((task.slot, future));
    }

    /// Takes what the main task has returned.
    pub(crate) fn take_result(&mut self) -> BoxedTask {
        match self.tasks.about[MAIN as usize].output.take() {
            Some(result) => result,
            None => unreachable!("a main task that is done has returned"),
        }
    }

    /// Takes what a task has returned, or has `wait` woken when it ends; leaves there who is not
    /// to be woken any more. A task that was aborted is forgotten by [`World::detach`].
    #[inline]
    pub(crate) fn join(
        &mut self,
        task: TaskId,
        wait: &mut Option<Waiter>,
    ) -> Result<BoxedTask, Unjoined> {
        let Some((stage, about)) = self.tasks.known(task) else {
            return Err(Unjoined::Aborted);
        };
        if stage != Stage::Done {
            if about.joiner.is_some() {
                aside(|| std::mem::swap(&mut about.joiner, wait));
            } else {
                about.joiner = wait.take();
            }
            return Err(Unjoined::Pending);
        }
        let output = about.output.take().ok_or(Unjoined::Aborted)?;
        about.has_handle = false;
        self.tasks.release(task.slot);
        Ok(output)
    }

    /// Forgets a task's handle. Returns what nobody will ask for any more.
    pub(crate) fn detach(&mut self, task: TaskId) -> (Option<BoxedTask>, Option<Waiter>) {
        let Some((_, about)) = self.tasks.known(task) else {
            return (None, None);
        };
        about.has_handle = false;
        let left = (about.output.take(), about.joiner.take());
        self.tasks.release(task.slot);
        left
    }

    /// Has a task dropped before anything else happens.
    pub(crate) fn abort(&mut self, task: TaskId) {
        if !self.heeds() || self.tasks.live(task).is_none() {
            acts(|| "goes on and aborts a task".into());
            return;
        }
        let about = &mut self.tasks.about[task.slot as usize];
        if about.dropped == Dropped::No {
            about.dropped = Dropped::Aborted;
            let (by, cause) = (self.actor, self.tracer.mark());
            self.pressing.abort(Aborted { task, by, cause });
        }
    }

    /// Arms a timer, or points one that is armed already to a new waiter.
    /// Returns whom it would have woken, to be dropped outside; or, if it has gone off, `wait`.
    ///
    /// The instant is that of the current task's clock, and is fixed by this.
    #[inline]
    pub(crate) fn arm(
        &mut self,
        timer: &mut Option<TimerId>,
        at: u64,
        wait: Waiter,
    ) -> Result<Option<Waiter>, Waiter> {
        if let Some(armed) = *timer {
            return match self.timers.waiter(armed) {
                Some(waiter) => Ok(Some(std::mem::replace(waiter, wait))),
                None => Err(wait),
            };
        }
        let at = if self.nodes.any_odd { self.truly(at) } else { at };
        let slot = self.timers.take_slot();
        let serial = self.queue.push_at(at, Act::fire(slot));
        let armed = TimerId { slot, serial };
        self.timers.arm(armed, wait);
        *timer = Some(armed);
        Ok(None)
    }

    /// The true time at which the clock of the current task comes to an instant.
    #[cold]
    fn truly(&mut self, at: u64) -> u64 {
        let truly = self.own_clock().map_or(at, |clock| clock.truly(at));
        if truly != at {
            self.mislead();
        }
        truly
    }

    /// Cancels a timer; its queue entry is forgotten, and swept up some time.
    pub(crate) fn cancel(&mut self, timer: TimerId) -> Option<Waiter> {
        let wait = self.timers.take(timer)?;
        self.timers.cancelled += 1;
        if self.timers.cancelled > 1024 && self.timers.cancelled > self.queue.ahead_len() / 2 {
            let (timers, tasks, alarms) = (&mut self.timers, &self.tasks, &self.alarms);
            self.queue.retain_ahead(|serial, act| awaited(tasks, timers, alarms, serial, act));
            self.timers.cancelled = 0;
        }
        Some(wait)
    }

    /// Makes a choice of the user's own.
    pub(crate) fn choose(&mut self, name: &str, options: usize) -> usize {
        if !self.is_heeded() {
            return 0;
        }
        let named = Key::word(name);
        self.remember(named, || escape(name));
        let subject = ChoiceKey::new(ChoiceFamily::Choose, self.actor, named);
        let slot = self.current().unwrap_or(MAIN);
        let next = self.tasks.rare(slot).chosen.entry(named).or_insert(0);
        let ordinal = std::mem::replace(next, *next + 1);
        let value = self.choices.draw(subject, ordinal, Shape::Uniform(options as u64));
        self.record(RecordKind::Choose, subject.who, named, ordinal, value, || None);
        value as usize
    }

    /// What the tape says of the input that the main task is given: the words of how it is simpler
    /// than what the seed draws, of which 0 is the end.
    #[cfg(feature = "proptest")]
    pub(crate) fn word_of_input(&mut self, ordinal: u64) -> u64 {
        let main = self.tasks.slots[MAIN as usize].key;
        let subject = ChoiceKey::new(ChoiceFamily::Input, main, Key::NONE);
        self.choices.overridden(subject, ordinal, Shape::Uniform(u64::MAX))
    }

    /// Numbers a `select!` of the current task.
    pub(crate) fn begin_select(&mut self) -> u32 {
        let Some(slot) = self.current() else { return 0 };
        let selects = &mut self.tasks.rare(slot).selects;
        *selects = selects.wrapping_add(1);
        *selects - 1
    }

    /// Chooses where a `select!` of so many branches begins to look, when it is
    /// polled for the `ordinal`-th time.
    pub(crate) fn turn_of_select(&mut self, select: u32, ordinal: u64, branches: u64) -> u64 {
        if !self.is_heeded() || self.current().is_none() {
            return 0;
        }
        let which = Key::NONE.child(const { hash_name(SELECT) }, select);
        self.remember(which, || step(SELECT, select));
        let subject = ChoiceKey::new(ChoiceFamily::Select, self.actor, which);
        self.scheduler.turn(&mut self.choices, subject, ordinal, branches)
    }

    /// Notes the `select!` that the current task has completed.
    pub(crate) fn end_select(&mut self, mut select: LastSelect) {
        if let Some(slot) = self.current().filter(|_| self.is_heeded()) {
            select.at = self.now;
            self.tasks.rare(slot).last_select = Some(select);
        }
    }

    /// Adds a note of the current task to the trace.
    pub(crate) fn note(&mut self, text: &str) {
        if self.is_heeded() {
            let (actor, digest) = (self.actor, hash_name(text));
            self.record(RecordKind::Note, actor, Key::NONE, 0, digest, || Some(text.into()));
        }
    }

    /// The current task's random generator.
    pub(crate) fn rng(&mut self) -> &mut ChaCha8Rng {
        let slot = self.current().unwrap_or(MAIN);
        let (seed, task) = (self.seed, self.tasks.slots[slot as usize].key);
        self.tasks.rare(slot).rng.get_or_insert_with(|| Box::new(generator(seed, task)))
    }
}
