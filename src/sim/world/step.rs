//! What happens next: the loop's half that knows the world.
//!
//! Knows the queue, the clock and the limits; refuses to know futures, which the
//! other half polls. A step takes no virtual time; when nothing is due any more,
//! the clock jumps to the next instant at which anything is.

use std::task::Waker;
use std::time::Duration;

use prefetch_index::prefetch_index;

use crate::util::waiter::Waiter;

use crate::sim::choice::draw::TIMER;
use crate::sim::queue::callback_timers::Alarms;
use crate::sim::queue::entry::{Act, END_OF_TIME, Entry, Kind, Serial};
use crate::sim::queue::timer_table::{TimerId, Timers};
use crate::sim::report::limit::Limit;
use crate::sim::report::trace::{Beside, Event, RecordKind};
use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::task::table::{KEPT, Stage, TaskId, Tasks};
use crate::sim::world::deferred::{Aborted, Errand, Urgent};
use crate::sim::world::livelock::Exceeded;
use crate::sim::world::progress::STOPPED;
use crate::sim::world::state::{End, Limits, MAIN, NOBODY, World};

/// What the run loop is to do next. Two words, of which the second is the number of a task where
/// there is one: so it stays in registers.
#[derive(Clone, Copy)]
pub(crate) enum Next {
    Poll(u64),
    Aside(Aside),
    End(End),
}

/// What happens rarely beside the polls.
#[derive(Clone, Copy)]
pub(crate) enum Aside {
    /// Drop what the task has returned: nobody will ask for it.
    Discard(u64),
    /// Drop an aborted task.
    Drop(u64),
    /// The same after a crash: what its destructors do is no concern of others.
    Bury(u64),
    /// Do what is in the hand.
    Outside,
}

/// What the halves of the loop hand each other, beside what is next.
#[derive(Default)]
pub(crate) struct Hand {
    /// The box of the task that is done.
    pub(crate) done: Option<BoxedTask>,
    /// What is to be done outside of the world.
    pub(crate) outside: Option<Outside>,
}

/// Something foreign.
pub(crate) enum Outside {
    /// A waker that is not a task's own.
    Wake(Waker),
    Errand(Errand),
}

/// A task that is over, because it was polled or dropped: its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Over(pub(crate) u32);

/// Whether a queue entry still stands for something.
#[inline]
pub(crate) fn awaited(
    tasks: &Tasks,
    timers: &mut Timers,
    alarms: &Alarms,
    serial: Serial,
    act: Act,
) -> bool {
    let slot = act.slot();
    match act.kind() {
        Kind::Poll => tasks.slots[slot as usize].pending == serial,
        Kind::Fire => timers.waiter(TimerId { slot, serial }).is_some(),
        Kind::Sound => alarms.awaits(slot, serial),
    }
}

impl World {
    /// Takes note of the last step and finds the next: the heart of a run.
    #[inline]
    pub(crate) fn next(&mut self, over: Option<Over>, hand: &mut Hand) -> Next {
        if let Some(Over(slot)) = over
            && let Some(next) = self.settle(slot, hand)
        {
            return next;
        }
        loop {
            if self.pressing.any()
                && let Some(next) = self.press(hand)
            {
                return next;
            }
            // A task is polled only when all that is due has arrived.
            if self.arriving && self.let_arrive(hand) {
                return Next::Aside(Aside::Outside);
            }
            if self.pressing.any() {
                continue;
            }
            if let Some((serial, slot)) = self.queue.pop_due() {
                match self.step(slot, serial) {
                    Some(next) => return next,
                    None => continue,
                }
            }
            if !self.advance()
                && let Err(end) = self.advance_with_care()
            {
                return Next::End(end);
            }
        }
    }

    /// Lets all arrive whose instant has come, but for what comes behind one who wakes somebody
    /// outside. Returns whether there is such a one.
    #[inline]
    fn let_arrive(&mut self, hand: &mut Hand) -> bool {
        while let Some(entry) = self.queue.pop_until(self.now) {
            self.arrive(entry);
            if self.pressing.any()
                && let Some(waker) = self.pressing.pop_waker()
            {
                self.act_outside();
                hand.outside = Some(Outside::Wake(waker));
                return true;
            }
        }
        self.arriving = false;
        false
    }

    /// Sees to the first of what presses.
    #[cold]
    fn press(&mut self, hand: &mut Hand) -> Option<Next> {
        loop {
            let outside = match self.pressing.pop()? {
                // Whoever was polled last is to blame.
                Urgent::Doom => return Some(Next::End(End::Panicked)),
                Urgent::StepLimit => return Some(Next::End(End::StepLimit)),
                // It may have completed since.
                Urgent::Drop(aborted) if self.tasks.live(aborted.task).is_none() => continue,
                Urgent::Drop(aborted) => return Some(self.step_drop(aborted)),
                Urgent::Wake(waker) => Outside::Wake(waker),
                Urgent::Errand(errand) => Outside::Errand(errand),
            };
            self.act_outside();
            hand.outside = Some(outside);
            return Some(Next::Aside(Aside::Outside));
        }
    }

    /// Buries a task that has completed or was aborted, and wakes its joiner.
    #[inline]
    fn settle(&mut self, slot: u32, hand: &mut Hand) -> Option<Next> {
        let about = &mut self.tasks.about[slot as usize];
        if hand.done.is_some() {
            if !about.has_handle {
                return Some(Next::Aside(Aside::Discard(self.tasks.id(slot).number())));
            }
            about.output = hand.done.take();
        }
        if self.pressing.is_doomed() {
            return Some(Next::End(End::Panicked));
        }
        if slot == MAIN {
            self.tasks.slots[MAIN as usize].stage = Stage::Done;
            return Some(Next::End(End::Done));
        }
        self.tasks.slots[slot as usize].pending = Serial::default();
        let (joiner, has_handle) = (about.joiner.take(), about.has_handle);
        about.forget_rare();
        if let Some(joiner) = joiner {
            self.wake_joiner(joiner, slot);
        }
        self.tasks.slots[slot as usize].stage = Stage::Done;
        if !has_handle {
            self.tasks.release(slot);
        }
        self.current = NOBODY;
        None
    }

    /// Whether a task woke itself and is still to be polled.
    #[inline(always)]
    pub(crate) fn spins(&mut self) -> bool {
        let tasks = &self.tasks;
        self.queue.has_behind(|serial, slot| tasks.slots[slot as usize].pending == serial)
    }

    /// The earliest entry ahead that still stands for something, and its instant.
    pub(crate) fn next_ahead(&mut self) -> Option<u64> {
        loop {
            let entry = self.queue.peek_ahead()?;
            if self.queue.has_fresh() {
                self.look_ahead();
            }
            if awaited(&self.tasks, &mut self.timers, &self.alarms, entry.serial(), entry.act()) {
                return Some(entry.key());
            }
            // It stands for nothing any more.
            self.queue.pop_ahead();
            if entry.act().kind() == Kind::Fire {
                self.timers.forget_cancelled();
            }
        }
    }

    /// Lets the next thing happen that lies ahead, if that is as simple as it is nearly always.
    /// Returns whether it is.
    #[inline]
    fn advance(&mut self) -> bool {
        if self.queue.has_any_behind() || self.has_foreign() {
            return false;
        }
        let Some(entry) = self.queue.peek_ahead() else { return false };
        if entry.key() > self.limits.time || self.queue.has_fresh() {
            return false;
        }
        self.queue.pop_ahead();
        self.arrive(entry);
        true
    }

    #[cold]
    fn advance_with_care(&mut self) -> Result<(), End> {
        if !self.spun && self.queue.has_any_behind() {
            self.bound_spins()?;
            self.queue.call_up_behind();
            self.spun = true;
            return Ok(());
        }
        if self.hear_foreign() {
            return Ok(());
        }
        self.spun = false;
        // A crowd that was born at once has been taken in.
        self.born.shrink_to(KEPT);
        // A task that spins waits for something: let time pass, but leap over
        // nothing that might be it.
        let spinning = self.spins().then_some(self.now + 1_000);
        let leaps = std::mem::take(&mut self.leaps);
        let at = match (spinning, self.next_ahead()) {
            (Some(_), Some(at)) if leaps => at,
            (Some(soon), Some(at)) => at.min(soon),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return Err(End::Deadlock),
        };
        if at > self.limits.time || at >= END_OF_TIME {
            self.set_now(self.limits.time.max(self.now));
            self.limit = Some(if self.limits.time >= END_OF_TIME - 1 {
                Limit::EndOfTime
            } else {
                Limit::Time(Duration::from_nanos(self.limits.time))
            });
            return Err(End::TimeLimit);
        }
        self.set_now(at);
        self.arriving = true;
        Ok(())
    }

    /// Ends the run if tasks have woken themselves too often while nothing else has happened.
    #[inline(never)]
    fn bound_spins(&mut self) -> Result<(), End> {
        self.spins.count_round();
        let Limits { livelock, chain, .. } = self.limits;
        let Some(exceeded) = self.spins.exceeded(self.steps, livelock, chain) else {
            return Ok(());
        };
        let tasks = &self.tasks;
        // The schedule may hold a task back for seconds, for which others may spin: that is not
        // endless. What is next happens at once instead, so that the wait does not take millions
        // of polls.
        let is_late = |entry: Entry| {
            entry.act().kind() == Kind::Poll
                && tasks.slots[entry.act().slot() as usize].pending == entry.serial()
        };
        if exceeded == Exceeded::InARow && self.queue.ahead().any(is_late) {
            self.leaps = true;
            return Ok(());
        }
        let mut spinning: Vec<u32> = self.queue.behind().map(Act::slot).collect();
        spinning.sort_unstable_by_key(|slot| tasks.about[*slot as usize].born);
        self.culprits = spinning;
        self.limit = Some(match exceeded {
            Exceeded::InARow => Limit::SelfWokenPolls(livelock),
            Exceeded::InTotal => Limit::MixedPolls(chain),
        });
        Err(End::Livelock)
    }

    /// Has the processor load what the nearest events will need: where there are many, hardly any
    /// of it is in the caches. One event after the other would wait for each of its loads, which
    /// depend on each other; these do not, and so overlap. It changes nothing.
    #[cold]
    fn look_ahead(&mut self) {
        let Self { queue, timers, alarms, tasks, foreseen, .. } = self;
        for act in queue.nearest() {
            let slot = act.slot();
            match act.kind() {
                Kind::Poll => foreseen.tasks.push(slot),
                Kind::Fire => {
                    if let Some(Waiter::Task(who)) = timers.look(slot) {
                        foreseen.tasks.push(TaskId::of_number(who.task).slot);
                    }
                }
                Kind::Sound => {
                    alarms.prefetch(slot);
                    foreseen.alarms.push(slot);
                }
            }
        }
        (self.foresee)(self.run, foreseen);
        foreseen.alarms.clear();
        for slot in &foreseen.tasks {
            prefetch_index(&tasks.slots, *slot as usize);
        }
    }

    /// Lets an entry arrive, and the clock reach its instant, unless nobody awaits it any more.
    /// Not inlined, because the loop is faster the fewer registers it needs.
    #[inline(never)]
    fn arrive(&mut self, entry: Entry) {
        let (serial, slot) = (entry.serial(), entry.act().slot());
        match entry.act().kind() {
            Kind::Poll => self.arrive_poll(entry),
            Kind::Fire => self.fire(entry),
            Kind::Sound if self.alarms.take(slot, serial) => {
                self.reach(entry.key());
                self.spins.reset();
                self.tracer.begin_anew();
                (self.sound)(self, slot);
            }
            Kind::Sound => (),
        }
    }

    #[inline(never)]
    fn arrive_poll(&mut self, entry: Entry) {
        let (serial, slot) = (entry.serial(), entry.act().slot());
        if self.tasks.slots[slot as usize].pending != serial {
            return;
        }
        self.reach(entry.key());
        if self.queue.is_idle() {
            self.queue.arrive_lone(serial, entry.act());
        } else {
            self.arrive_among_others(serial, slot);
        }
    }

    #[inline(never)]
    fn fire(&mut self, entry: Entry) {
        let (serial, slot) = (entry.serial(), entry.act().slot());
        let Some(waiter) = self.timers.take(TimerId { slot, serial }) else {
            return self.timers.forget_cancelled();
        };
        self.reach(entry.key());
        self.spins.reset();
        self.tracer.begin_anew();
        self.act_as(TIMER);
        self.wake_waiter(waiter);
    }

    /// Lets the clock reach the instant of something that happens.
    #[inline]
    fn reach(&mut self, at: u64) {
        if at > self.now {
            self.set_now(at);
            self.arriving = true;
            self.spun = false;
        }
    }

    #[inline(never)]
    fn arrive_among_others(&mut self, serial: Serial, slot: u32) {
        self.place_lone();
        let place = self.place_of(slot);
        self.queue.arrive(place, serial, Act::poll(slot));
    }

    /// Does not let a task be polled whose node is paused, or busy with another poll.
    #[cold]
    fn is_held_up(&mut self, slot: u32, serial: Serial) -> bool {
        let task = &mut self.tasks.slots[slot as usize];
        if task.pending != serial {
            return false;
        }
        let Some(node) = self.nodes.get_mut(task.node) else {
            return false;
        };
        if node.paused {
            node.held.push((slot, serial));
            return true;
        }
        if self.now < node.busy_until {
            node.was_slow = true;
            task.pending = self.queue.push_at(node.busy_until, Act::poll(slot));
            return true;
        }
        node.busy_until = self.now.saturating_add(node.poll_cost).min(END_OF_TIME);
        false
    }

    /// Has an aborted task dropped, which is a step as well.
    fn step_drop(&mut self, aborted: Aborted) -> Next {
        if self.steps >= self.limits.steps {
            self.pressing.put_back(aborted);
            self.limit = Some(Limit::Steps(self.limits.steps));
            return Next::End(End::StepLimit);
        }
        let Aborted { task: TaskId { slot, .. }, by, cause } = aborted;
        self.steps += 1;
        let subject = self.tasks.slots[slot as usize].key;
        let (at, kind) = (self.now, RecordKind::Abort);
        let event = Event { at, kind, subject, source: by, ordinal: 0, digest: 0 };
        self.tracer.record(event, |_| Beside { text: None, cause });
        self.act_for(slot);
        let number = self.tasks.id(slot).number();
        if self.nodes.is_dead(self.tasks.slots[slot as usize].node) {
            Next::Aside(Aside::Bury(number))
        } else {
            Next::Aside(Aside::Drop(number))
        }
    }

    /// Ends the run because the thread that watches it asks for that: either to stop it, or to
    /// learn the name of the task whose turn it is.
    #[cold]
    fn end_for_pulse(&mut self, slot: u32) -> Next {
        let mut reason = "the name of a task was asked for";
        if let Some(pulse) = &self.pulse {
            if pulse.is_stopped() {
                reason = STOPPED;
            } else {
                pulse.set_name(self.tasks.path(slot));
            }
        }
        self.pressing.end(reason.into());
        Next::End(End::Panicked)
    }

    /// Ends the run before a task is polled, which is due still.
    #[cold]
    fn stop_before(&mut self, slot: u32) -> Next {
        self.tasks.slots[slot as usize].pending = self.queue.push_due(0, Act::poll(slot));
        self.limit = Some(Limit::Steps(self.limits.steps));
        Next::End(End::StepLimit)
    }

    /// Ends the run before a task is polled for the `polls`-th time at this instant, or at the end
    /// of too long a chain of wake-ups.
    #[cold]
    fn stop_endless(&mut self, slot: u32, polls: u64) -> Next {
        let Limits { livelock, chain, .. } = self.limits;
        let at_instant = polls > livelock;
        self.limit =
            Some(if at_instant { Limit::PollsAtInstant(livelock) } else { Limit::Chain(chain) });
        self.culprits = vec![slot];
        Next::End(End::Livelock)
    }

    /// Makes a task current and counts, limits and records its poll, unless that has been aborted
    /// since, or is held up.
    #[inline]
    fn step(&mut self, slot: u32, serial: Serial) -> Option<Next> {
        if self.nodes.any_odd && self.is_held_up(slot, serial) {
            return None;
        }
        let task = &mut self.tasks.slots[slot as usize];
        if task.pending != serial {
            return None;
        }
        if self.steps >= self.limits.steps {
            return Some(self.stop_before(slot));
        }
        if task.polled_at == self.now {
            task.polls_at_instant = task.polls_at_instant.saturating_add(1);
        } else {
            task.polled_at = self.now;
            task.polls_at_instant = 1;
        }
        // Where wake-ups may be late, tasks that wake each other for ever creep
        // through time; but no timer ever wakes them.
        let polls = u64::from(task.polls_at_instant);
        if polls > self.limits.livelock || u64::from(task.chain) > self.limits.chain {
            return Some(self.stop_endless(slot, polls));
        }
        self.steps += 1;
        if let Some(pulse) = &self.pulse
            && pulse.beat(self.steps, task.key)
        {
            return Some(self.end_for_pulse(slot));
        }
        task.stage = Stage::Parked;
        task.pending = Serial::default();
        let number = TaskId { slot, life: task.life }.number();
        let event = Event {
            at: self.now,
            kind: RecordKind::Poll,
            subject: task.key,
            source: task.woken_by,
            ordinal: task.ordinal.into(),
            digest: 0,
        };
        let (chain, node) = (task.chain, task.node);
        self.tracer.record(event, |_| Beside { text: None, cause: self.tasks.mark(slot) });
        if self.scheduler.ranks() {
            self.tasks.standings[slot as usize].count_poll();
        }
        self.act_for_known(slot, event.subject, chain, node);
        Some(Next::Poll(number))
    }
}
