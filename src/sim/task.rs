//! The table of tasks: who they are, where they came from, who wakes them.
//!
//! Knows names, kinship and wake-ups as data; refuses to know futures, time and
//! the queue. A task's identity is its path: its parent's path, its name, and
//! its index among siblings of that name. No address, line number or counter
//! that unrelated code moves too has a part in it.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use rand_chacha::ChaCha8Rng;

use super::choice::{Key, SOURCES, hash_name, step};
use super::event::Serial;
use super::schedule::Slack;

/// Names a task of one run: a slot, and how many tasks it has held before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TaskId {
    pub(crate) slot: u32,
    pub(crate) life: u32,
}

/// Who is to be woken when something comes about.
///
/// A task is woken by its number, which costs no atomic operation; a waker that
/// some combinator has wrapped is kept as it is.
#[derive(Debug)]
pub(crate) enum Wait {
    Task(TaskId),
    Other(Waker),
}

/// What a task is called.
#[derive(Clone, Debug)]
pub(crate) enum Name {
    /// By the type of its future, which says the function and not the line.
    Type(&'static str),
    Given(Arc<str>),
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Type(text) => text,
            Self::Given(text) => text,
        }
    }
}

/// Wake-ups from other threads, which no seed decides.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The run that goes on, or 0.
    open: AtomicU64,
    any: AtomicBool,
    woken: Mutex<Vec<(u64, TaskId)>>,
}

impl Inbox {
    /// Lets in wake-ups of `run` and of no other; 0 lets in none.
    pub(crate) fn open_for(&self, run: u64) {
        self.open.store(run, Ordering::Release);
    }

    pub(crate) fn push(&self, run: u64, task: TaskId) {
        if self.open.load(Ordering::Acquire) != run {
            return;
        }
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((run, task));
        self.any.store(true, Ordering::Release);
    }

    /// Takes the wake-ups of `run` and drops those of runs that are over.
    pub(crate) fn take(&self, run: u64) -> Vec<TaskId> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.any.store(false, Ordering::Release);
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken
            .drain(..)
            .filter(|(of, _)| *of == run)
            .map(|(_, task)| task)
            .collect()
    }
}

/// What a task's `Waker` holds.
#[derive(Debug)]
pub(crate) struct TaskWaker {
    pub(crate) run: u64,
    pub(crate) task: TaskId,
    pub(crate) inbox: Arc<Inbox>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Stage {
    #[default]
    Free,
    /// Waits to be woken, or is being polled.
    Parked,
    /// A poll of it stands in the queue.
    Scheduled,
    /// Has completed, or was aborted.
    Done,
}

/// What is touched whenever the task is woken or polled.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) life: u32,
    pub(crate) stage: Stage,
    pub(crate) key: Key,
    /// The queue entry that will poll it, while it is scheduled.
    pub(crate) pending: Serial,
    /// Its place when that entry becomes due.
    pub(crate) place: u16,
    /// Who brought that about, and how often they had before.
    pub(crate) woken_by: Key,
    pub(crate) ordinal: u32,
    /// How many wake-ups of task by task, at no cost of time, led to this one.
    pub(crate) chain: u32,
    pub(crate) polled_at: u64,
    pub(crate) polls_at_instant: u64,
    /// The data pointer of its waker: tells it from any other untouched.
    pub(crate) waker_identity: usize,
    /// How often the last two wakers have woken it; the others are in `met`.
    recent: [(Key, u32); 2],
    /// Whether `met` has anything of it.
    has_met: bool,
    /// Whether `siblings` has anything of it.
    has_siblings: bool,
}

/// What is touched when the task is born, joined, reported or buried.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) name: Name,
    index: u32,
    parent: Option<u32>,
    /// Tasks whose path goes through this one keep the slot from being reused.
    children: u32,
    /// The how-manieth task of the run it is.
    pub(crate) born: u64,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) standing: Slack,
    pub(crate) has_handle: bool,
    pub(crate) aborted: bool,
    pub(crate) joiner: Option<Wait>,
    pub(crate) output: Option<Box<dyn Any>>,
    pub(crate) rng: Option<Box<ChaCha8Rng>>,
    /// How many times it looked where to begin a `select!`.
    pub(crate) selects: u64,
    pub(crate) waker: Arc<TaskWaker>,
}

/// The least number of remembered wakers at which to look which have ended.
const SWEEP_AT: usize = 4096;

/// All tasks of one run, and the slots they leave behind.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) slots: Vec<Slot>,
    pub(crate) about: Vec<About>,
    free: Vec<u32>,
    born: u64,
    /// How many siblings of a name a task has spawned.
    siblings: BTreeMap<(u32, u64), u32>,
    last_sibling: Option<((u32, u64), u32)>,
    /// The type that the last unnamed task was called by, and its hash.
    last_type: Option<(&'static str, u64)>,
    /// How often a source has woken a task, where `recent` has no room.
    met: BTreeMap<(u32, Key), u32>,
    /// At how many entries `met` is cleared of sources that are no more.
    sweep_at: usize,
    /// How many slots this run has used.
    used: usize,
    inbox: Arc<Inbox>,
}

impl Tasks {
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Makes room for a new task, and says who it is.
    pub(crate) fn spawn(
        &mut self,
        run: u64,
        name: Name,
        parent: Option<u32>,
        spawned_at: &'static Location<'static>,
    ) -> TaskId {
        let hash = self.hash_of(&name);
        let index = parent.map_or(0, |parent| self.next_sibling(parent, hash));
        let above = parent.map_or(Key::NONE, |parent| self.slots[parent as usize].key);
        if let Some(parent) = parent {
            self.about[parent as usize].children += 1;
        }
        let slot = self.free.pop().unwrap_or(self.used as u32);
        if slot as usize == self.used {
            self.used += 1;
            if self.used > self.slots.len() {
                self.slots.push(Slot::default());
            }
        }
        let entry = &mut self.slots[slot as usize];
        entry.life = entry.life.wrapping_add(1);
        let id = TaskId {
            slot,
            life: entry.life,
        };
        *entry = Slot {
            life: id.life,
            stage: Stage::Parked,
            key: above.child(hash, index),
            polled_at: u64::MAX,
            ..Slot::default()
        };
        self.born += 1;
        let about = About {
            name,
            index,
            parent,
            children: 0,
            born: self.born,
            spawned_at,
            standing: Slack::default(),
            has_handle: false,
            aborted: false,
            joiner: None,
            output: None,
            rng: None,
            selects: 0,
            waker: self.waker_for(run, id),
        };
        self.slots[slot as usize].waker_identity = Arc::as_ptr(&about.waker) as usize;
        match self.about.get_mut(slot as usize) {
            Some(old) => *old = about,
            None => self.about.push(about),
        }
        id
    }

    /// Hashes a name; a type's only once while tasks of that type are spawned.
    #[inline]
    fn hash_of(&mut self, name: &Name) -> u64 {
        match (name, self.last_type) {
            (Name::Type(name), Some((last, hash))) if std::ptr::eq(*name, last) => hash,
            (Name::Type(name), _) => {
                let hash = hash_name(name);
                self.last_type = Some((name, hash));
                hash
            }
            (Name::Given(name), _) => hash_name(name),
        }
    }

    /// The waker of a slot serves its next task too, unless somebody kept it.
    fn waker_for(&mut self, run: u64, task: TaskId) -> Arc<TaskWaker> {
        if let Some(about) = self.about.get_mut(task.slot as usize)
            && let Some(waker) = Arc::get_mut(&mut about.waker)
        {
            waker.run = run;
            waker.task = task;
            return about.waker.clone();
        }
        Arc::new(TaskWaker {
            run,
            task,
            inbox: self.inbox.clone(),
        })
    }

    fn next_sibling(&mut self, parent: u32, hash: u64) -> u32 {
        let key = (parent, hash);
        if let Some((last, next)) = &mut self.last_sibling
            && *last == key
        {
            *next += 1;
            return *next - 1;
        }
        if let Some((last, next)) = self.last_sibling.take() {
            self.slots[last.0 as usize].has_siblings = true;
            self.siblings.insert(last, next);
        }
        let index = self.siblings.get(&key).copied().unwrap_or(0);
        self.last_sibling = Some((key, index + 1));
        index
    }

    /// The task, unless it is over or `task` names an earlier one of its slot.
    #[inline]
    pub(crate) fn live(&mut self, task: TaskId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(task.slot as usize)?;
        let live = slot.life == task.life && !matches!(slot.stage, Stage::Free | Stage::Done);
        live.then_some(slot)
    }

    /// What is known of `task`, as long as its slot is its own.
    pub(crate) fn known(&mut self, task: TaskId) -> Option<&mut About> {
        let slot = self.slots.get(task.slot as usize)?;
        let known = slot.life == task.life && slot.stage != Stage::Free;
        known.then(|| &mut self.about[task.slot as usize])
    }

    /// How many times `source` has woken the task in `slot` before.
    #[inline]
    pub(crate) fn meet(&mut self, slot: u32, source: Key) -> u32 {
        let recent = &mut self.slots[slot as usize].recent;
        if recent[0].0 != source {
            recent.swap(0, 1);
            if recent[0].0 != source {
                self.meet_again(slot, source);
            }
        }
        let count = &mut self.slots[slot as usize].recent[0].1;
        *count += 1;
        *count - 1
    }

    /// Makes room for `source` among the recent wakers of `slot`.
    fn meet_again(&mut self, slot: u32, source: Key) {
        let recent = &mut self.slots[slot as usize].recent[0];
        let count = if recent.0 == Key::NONE {
            0 // a task with few wakers never touches the map
        } else {
            self.met.insert((slot, recent.0), recent.1);
            self.met.get(&(slot, source)).copied().unwrap_or(0)
        };
        *recent = (source, count);
        self.slots[slot as usize].has_met = true;
        if self.met.len() > self.sweep_at {
            self.sweep();
        }
    }

    /// Forgets wakers that have ended, so that the table does not grow with the
    /// number of tasks that there ever were.
    fn sweep(&mut self) {
        let live = |slot: &&Slot| matches!(slot.stage, Stage::Parked | Stage::Scheduled);
        let keys = self.slots[..self.used]
            .iter()
            .filter(live)
            .map(|slot| slot.key);
        let kept: BTreeSet<Key> = keys.chain(SOURCES.map(|(key, _)| key)).collect();
        self.met.retain(|(_, source), _| kept.contains(source));
        self.sweep_at = SWEEP_AT.max(2 * self.met.len());
    }

    /// Ends a task. Its slot is kept while a handle or a descendant needs it.
    pub(crate) fn finish(&mut self, slot: u32) {
        self.slots[slot as usize].stage = Stage::Done;
        self.about[slot as usize].rng = None;
        self.release(slot);
    }

    /// Frees the slot, and then its ancestors' slots, once nothing needs them.
    pub(crate) fn release(&mut self, slot: u32) {
        let mut next = Some(slot);
        while let Some(slot) = next {
            let about = &self.about[slot as usize];
            let entry = &mut self.slots[slot as usize];
            if about.children > 0 || about.has_handle || entry.stage != Stage::Done {
                return;
            }
            entry.stage = Stage::Free;
            self.free.push(slot);
            next = about.parent;
            self.forget(slot);
            if let Some(parent) = next {
                self.about[parent as usize].children -= 1;
            }
        }
    }

    /// Forgets whom the task of `slot` has met and spawned.
    fn forget(&mut self, slot: u32) {
        if matches!(self.last_sibling, Some(((parent, _), _)) if parent == slot) {
            self.last_sibling = None;
        }
        let Slot {
            has_met,
            has_siblings,
            ..
        } = self.slots[slot as usize];
        let own = (slot, 0)..=(slot, u64::MAX);
        while has_siblings && let Some((&key, _)) = self.siblings.range(own.clone()).next() {
            self.siblings.remove(&key);
        }
        let all = (slot, Key(0))..=(slot, Key(u64::MAX));
        while has_met && let Some((&key, _)) = self.met.range(all.clone()).next() {
            self.met.remove(&key);
        }
    }

    /// Writes a task's path: `main/client/worker#2`.
    pub(crate) fn path(&self, slot: u32) -> String {
        let about = &self.about[slot as usize];
        let own = step(about.name.text(), about.index);
        match about.parent {
            Some(parent) => format!("{}/{own}", self.path(parent)),
            None => own,
        }
    }

    /// The tasks that are not over, oldest first.
    pub(crate) fn in_spawn_order(&self) -> Vec<u32> {
        let live = |slot: &u32| {
            matches!(
                self.slots[*slot as usize].stage,
                Stage::Parked | Stage::Scheduled
            )
        };
        let mut slots: Vec<u32> = (0..self.used as u32).filter(live).collect();
        slots.sort_unstable_by_key(|slot| self.about[*slot as usize].born);
        slots
    }

    /// Makes every slot free, numbered from 0 again, for another run. Returns
    /// what waited for tasks and what they left, to be dropped elsewhere.
    pub(crate) fn clear(&mut self) -> (Vec<Wait>, Vec<Box<dyn Any>>) {
        const KEPT: usize = 1024;
        let mut left = (Vec::new(), Vec::new());
        for (slot, about) in self.slots.iter_mut().zip(&mut self.about).take(self.used) {
            slot.stage = Stage::Free;
            left.0.extend(about.joiner.take());
            left.1.extend(about.output.take());
        }
        if self.used > KEPT {
            self.slots.truncate(KEPT);
            self.about.truncate(KEPT);
            self.slots.shrink_to_fit();
            self.about.shrink_to_fit();
            self.free = Vec::new();
        }
        self.free.clear();
        self.used = 0;
        self.born = 0;
        self.siblings.clear();
        self.last_sibling = None;
        self.met.clear();
        self.sweep_at = SWEEP_AT;
        left
    }
}
