//! `TaskTable`: the tasks of a run, with their paths, states and wake-up counts.
//!
//! The identity of a task is its path: the path of its parent, its name, and its index among the
//! siblings of that name. The path depends on no address, no line number, and no counter that
//! unrelated code advances.

use crate::sim::task::name::{TaskName, short_type_name};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::panic::Location;

use rand_chacha::ChaCha8Rng;

use crate::util::cold::{ClearToCapacity, cold};
use crate::util::small_map::SmallMap;
use crate::util::waiter::Waiter;

use crate::sim::choice::hash::hash_name;
use crate::sim::choice::key::{HASH_PREFIX, PathHash, SOURCES, path_segment};
use crate::sim::choice::schedule::PctState;
use crate::sim::queue::entry::{EntryId, SLOT_BITS, too_many};
use crate::sim::report::trace::RecordIndex;
use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::world::node::{NODE_PATH, NodeDeath};

/// Names a task of one run: a slot, and how many tasks it has held before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TaskId {
    pub(crate) slot: u32,
    pub(crate) generation: Generation,
}

/// Counts the tasks of a slot; never 0, so that `Option<TaskId>` is one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Generation(NonZero<u32>);

impl Generation {
    const FIRST: Self = Self(NonZero::<u32>::MIN);

    const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(next) => Self(next),
            None => Self::FIRST,
        }
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self::FIRST
    }
}

impl TaskId {
    /// The task's number, as its waiters know it.
    #[inline]
    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation.0.get() as u64) << 32 | self.slot as u64
    }

    #[inline]
    pub(crate) const fn from_bits(number: u64) -> Self {
        let life = match NonZero::new((number >> 32) as u32) {
            Some(life) => Generation(life),
            None => Generation::FIRST,
        };
        Self { slot: number as u32, generation: life }
    }
}

const _: () = assert!(size_of::<TaskName>() == 16);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum TaskState {
    #[default]
    Free,
    /// Waits to be woken, or is being polled.
    Parked,
    /// A poll of it stands in the queue.
    Scheduled,
    /// Has completed, or was aborted.
    Done,
}

/// The origin of a task, with which its path begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// It is the main task.
    Run,
    Task(u32),
    /// It is all that runs on a node at first, in the how-manieth life of that.
    Node {
        life: u32,
    },
}

/// The data that each wake-up and each poll uses: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct TaskSlot {
    pub(crate) key: PathHash,
    /// The queue entry that will poll it, while it is scheduled.
    pub(crate) entry: EntryId,
    /// The source of the wake-up, and the number of its earlier wake-ups.
    pub(crate) woken_by: PathHash,
    pub(crate) ordinal: u32,
    pub(crate) generation: Generation,
    pub(crate) polled_at: u64,
    pub(crate) polls_at_instant: u32,
    /// The number of wake-ups by the last source. That of the source before is in [`TaskInfo`],
    /// those of all others in [`TaskTable::wake_counts`].
    last_source_count: u32,
    last_source: PathHash,
    /// The number of wake-ups from task to task that led to this one since a timer or another
    /// thread last woke a task of the chain.
    pub(crate) wake_chain: u32,
    pub(crate) state: TaskState,
    /// Whether `met`, `siblings` or `more_siblings` may have anything of it.
    has_side_tables: bool,
    /// The node that it runs on.
    pub(crate) node: u16,
}

const _: () = assert!(size_of::<TaskSlot>() == 64);

impl TaskSlot {
    /// Whether its last waker was this one.
    #[inline]
    pub(crate) fn was_woken_by(&self, source: PathHash) -> bool {
        self.last_source == source
    }

    /// Counts a wake-up by its last waker. Returns how many there were before.
    #[inline]
    pub(crate) fn count_wakeup(&mut self) -> u32 {
        self.last_source_count += 1;
        self.last_source_count - 1
    }

    /// Notes the queue entry by which the task is polled, and the number of earlier wake-ups by its
    /// source.
    #[inline]
    pub(crate) fn set_scheduled(
        &mut self,
        entry: EntryId,
        woken_by: PathHash,
        ordinal: u32,
        chain: u32,
    ) {
        self.state = TaskState::Scheduled;
        self.entry = entry;
        (self.woken_by, self.ordinal, self.wake_chain) = (woken_by, ordinal, chain);
    }
}

/// Whether a task is dropped before its end, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DropReason {
    No,
    /// Its handle aborted it.
    Aborted,
    /// Its node died.
    NodeDied(NodeDeath),
}

/// The data of a task that is used when it is spawned, joined, reported or dropped.
pub(crate) struct TaskInfo {
    pub(crate) name: TaskName,
    index: u32,
    /// [`NO_PARENT`] for the main task, and where the path is cut short.
    parent: u32,
    /// The path above this task.
    parent_hash: PathHash,
    /// The number of its ancestors that its path spells out.
    depth: u32,
    /// Tasks whose path goes through this one keep the slot from being reused.
    children: u32,
    /// The how-manieth task of the run it is.
    pub(crate) spawn_number: u64,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) has_handle: bool,
    pub(crate) drop_reason: DropReason,
    pub(crate) joiner: Option<Waiter>,
    /// Its box, once it has completed.
    pub(crate) output: Option<BoxedTask>,
    /// The data that few tasks need.
    extras: Option<Box<TaskExtras>>,
    /// The source before the last one, and the number of its wake-ups.
    previous_source: (PathHash, u32),
}

impl TaskInfo {
    /// Of a slot that has had no task.
    fn empty() -> Self {
        Self {
            name: TaskName::Type(|| ""),
            index: 0,
            parent: NO_PARENT,
            parent_hash: PathHash::NONE,
            depth: 0,
            children: 0,
            spawn_number: 0,
            spawned_at: Location::caller(),
            has_handle: false,
            drop_reason: DropReason::No,
            joiner: None,
            output: None,
            extras: None,
            previous_source: (PathHash::NONE, 0),
        }
    }

    /// Forgets the last task. Of what there is to be dropped nearly always nothing is left when a
    /// task is over.
    #[inline]
    fn recycle(&mut self) {
        self.children = 0;
        (self.has_handle, self.drop_reason) = (true, DropReason::No);
        self.previous_source = (PathHash::NONE, 0);
        if self.joiner.is_some() || self.output.is_some() || self.extras.is_some() {
            cold(|| {
                (self.joiner, self.output) = (None, None);
                self.clear_extras();
            });
        }
    }

    /// Forgets what few tasks need, and none that is over; the next in this slot may need it, too.
    #[inline]
    pub(crate) fn clear_extras(&mut self) {
        if let Some(rare) = &mut self.extras {
            cold(|| rare.clear());
        }
    }
}

/// The number of cached types: so many that the few types of a program rarely share a place.
const TYPE_CACHE: usize = 32;

/// Stands for no parent.
const NO_PARENT: u32 = u32::MAX;

/// The number of ancestors that the path of a task spells out.
const MAX_SPELLED_DEPTH: u32 = 32;

/// The number of slots that are kept from one run to the next.
pub(crate) const MAX_CAPACITY: usize = 1024;

/// The least number of remembered wakers at which to look which have ended.
const SWEEP_AT: usize = 4096;

/// The data that few tasks need. It is made on demand.
#[derive(Debug, Default)]
pub(crate) struct TaskExtras {
    pub(crate) rng: Option<Box<ChaCha8Rng>>,
    /// The number of its `select!`s, and its choices by name.
    pub(crate) selects: u32,
    pub(crate) user_choices: BTreeMap<PathHash, u64>,
    /// The number of repetitions of each question, and the instant of the last answer.
    pub(crate) queries: SmallMap<PathHash, (u64, u64)>,
    /// The `select!` that it completed last.
    pub(crate) last_select: Option<LastSelect>,
}

/// A `select!` that has completed: when and where, its branches as written, and which one it took;
/// `branches.len()` is the `else`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastSelect {
    pub(crate) at: u64,
    pub(crate) location: &'static Location<'static>,
    pub(crate) branches: &'static [&'static str],
    pub(crate) taken: usize,
}

impl TaskExtras {
    fn clear(&mut self) {
        (self.rng, self.selects, self.last_select) = (None, 0, None);
        self.user_choices.clear_to_capacity(0);
        self.queries.clear();
    }
}

/// All tasks of one run, and the slots they leave behind.
#[derive(Default)]
pub(crate) struct TaskTable {
    pub(crate) slots: Vec<TaskSlot>,
    pub(crate) info: Vec<TaskInfo>,
    /// By slot, under schedules that rank tasks; else empty.
    pub(crate) pct_states: Vec<PctState>,
    /// In which record each was last woken, by slot, where records are kept; else empty.
    wake_records: Vec<RecordIndex>,
    free: Vec<u32>,
    spawned: u64,
    /// The number of tasks of a name that a task has spawned, by its slot and the name's hash: the
    /// last few, and then the others.
    siblings: Vec<((u32, u64), u32)>,
    more_siblings: BTreeMap<(u32, u64), u32>,
    /// The types that unnamed tasks were called by lately, by where that is written, and the hashes
    /// of their names.
    type_hashes: [(usize, u64); TYPE_CACHE],
    /// The number of wake-ups of a task by a source, beside the last two sources.
    wake_counts: BTreeMap<(u32, PathHash), u32>,
    /// At how many entries `met` is cleared of sources that are no more, [`SWEEP_AT`] at least.
    sweep_at: usize,
    /// The number of slots that this run has used.
    used: usize,
}

impl TaskTable {
    /// Makes room for a new task.
    #[inline(always)]
    pub(crate) fn spawn(
        &mut self,
        name: &TaskName,
        origin: Origin,
        node: u16,
        spawned_at: &'static Location<'static>,
    ) -> TaskId {
        let hash = self.name_hash(name);
        let (mut parent, mut depth) = (NO_PARENT, 0);
        let (above, index) = match origin {
            Origin::Run => (PathHash::NONE, 0),
            Origin::Node { life } => (const { PathHash::of_name(NODE_PATH) }, life),
            Origin::Task(of) => {
                let (task, about) = (&mut self.slots[of as usize], &mut self.info[of as usize]);
                task.has_side_tables = true;
                let above = task.key;
                // A task that spawns its successor, for ever, must not keep all its ancestors:
                // the key of those far above says as much as their names.
                if about.depth < MAX_SPELLED_DEPTH {
                    (parent, depth) = (of, about.depth + 1);
                    about.children += 1;
                }
                (above, self.next_sibling(of, hash))
            }
        };
        let slot = self.insert_slot();
        let entry = &mut self.slots[slot as usize];
        let life = entry.generation.next();
        let key = above.child(hash, index);
        *entry = TaskSlot {
            key,
            generation: life,
            state: TaskState::Parked,
            polled_at: u64::MAX,
            node,
            ..TaskSlot::default()
        };
        self.spawned += 1;
        let about = &mut self.info[slot as usize];
        about.recycle();
        about.name = name.clone();
        (about.index, about.parent, about.parent_hash, about.depth) = (index, parent, above, depth);
        (about.spawn_number, about.spawned_at) = (self.spawned, spawned_at);
        TaskId { slot, generation: life }
    }

    /// Takes the slot that was freed last, or another.
    #[inline(always)]
    fn insert_slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        let slot = self.used;
        self.used += 1;
        if self.used > self.slots.len() {
            cold(|| {
                if slot >> SLOT_BITS > 0 {
                    too_many("tasks", SLOT_BITS);
                }
                self.slots.push(TaskSlot::default());
                self.info.push(TaskInfo::empty());
            });
        }
        slot as u32
    }

    /// Notes in which record a task was woken.
    pub(crate) fn set_wake_record(&mut self, slot: u32, mark: RecordIndex) {
        let slot = slot as usize;
        self.wake_records.resize(self.wake_records.len().max(slot + 1), RecordIndex::default());
        self.wake_records[slot] = mark;
    }

    /// In which record a task was last woken, where that was noted.
    pub(crate) fn wake_record(&self, slot: u32) -> RecordIndex {
        self.wake_records.get(slot as usize).copied().unwrap_or_default()
    }

    /// Hashes a name; a type's only once while few types of tasks are spawned.
    #[inline(always)]
    fn name_hash(&mut self, name: &TaskName) -> u64 {
        let name = match name {
            TaskName::Type(name) => *name,
            TaskName::Given(name) => return hash_name(name),
        };
        // The place of a type in the cache depends on an address; its hash does not.
        let address = name as usize;
        let cached = &mut self.type_hashes[address / 16 % TYPE_CACHE];
        if cached.0 != address {
            *cached = (address, cold(|| hash_name(&short_type_name(name()))));
        }
        cached.1
    }

    /// Numbers a task among those of its name that its parent has spawned.
    #[inline(always)]
    fn next_sibling(&mut self, parent: u32, hash: u64) -> u32 {
        let key = (parent, hash);
        if let Some((_, next)) = self.siblings.iter_mut().find(|(other, _)| *other == key) {
            *next += 1;
            return *next - 1;
        }
        self.next_sibling_slow(key)
    }

    #[inline(never)]
    fn next_sibling_slow(&mut self, key: (u32, u64)) -> u32 {
        const FEW: usize = 8;
        if self.siblings.len() == FEW {
            let (other, next) = self.siblings.remove(0);
            self.more_siblings.insert(other, next);
        }
        let index = self.more_siblings.get(&key).copied().unwrap_or(0);
        self.siblings.push((key, index + 1));
        index
    }

    /// Names the task of a slot.
    #[inline]
    pub(crate) fn id(&self, slot: u32) -> TaskId {
        TaskId { slot, generation: self.slots[slot as usize].generation }
    }

    /// The task, unless it is over or `task` names an earlier one of its slot.
    #[inline]
    pub(crate) fn get_live(&mut self, task: TaskId) -> Option<&mut TaskSlot> {
        let slot = self.slots.get_mut(task.slot as usize)?;
        let live = slot.generation == task.generation
            && !matches!(slot.state, TaskState::Free | TaskState::Done);
        live.then_some(slot)
    }

    /// The data and the state of `task`, as long as its slot is its own.
    #[inline]
    pub(crate) fn get_info(&mut self, task: TaskId) -> Option<(TaskState, &mut TaskInfo)> {
        let slot = self.slots.get(task.slot as usize)?;
        let known = slot.generation == task.generation && slot.state != TaskState::Free;
        known.then(|| (slot.state, &mut self.info[task.slot as usize]))
    }

    /// The `select!` that a task completed last.
    pub(crate) fn last_select(&self, slot: u32) -> Option<LastSelect> {
        self.info[slot as usize].extras.as_ref()?.last_select
    }

    /// The rarely needed data of the task in `slot`.
    pub(crate) fn extras(&mut self, slot: u32) -> &mut TaskExtras {
        self.info[slot as usize].extras.get_or_insert_default()
    }

    /// Makes `source` the last waker of `slot`.
    #[inline(never)]
    pub(crate) fn switch_source(&mut self, slot: u32, source: PathHash) {
        let (task, about) = (&mut self.slots[slot as usize], &mut self.info[slot as usize]);
        let last = (task.last_source, task.last_source_count);
        let before = std::mem::replace(&mut about.previous_source, last);
        // Nobody has woken it never.
        if before.0 == source || before.1 == 0 {
            // A task with one or two wakers never touches the map.
            (task.last_source, task.last_source_count) =
                (source, if before.0 == source { before.1 } else { 0 });
            return;
        }
        task.has_side_tables = true;
        self.wake_counts.insert((slot, before.0), before.1);
        let count = self.wake_counts.get(&(slot, source)).copied().unwrap_or(0);
        (task.last_source, task.last_source_count) = (source, count);
        if self.wake_counts.len() > self.sweep_at.max(SWEEP_AT) {
            self.sweep_wake_counts();
        }
    }

    /// Forgets sources that are no live tasks, so that the table does not grow with the number of
    /// all tasks. A path of the network may wake again; its wake-ups are then counted from 0, in
    /// every run alike.
    fn sweep_wake_counts(&mut self) {
        let live =
            |slot: &&TaskSlot| matches!(slot.state, TaskState::Parked | TaskState::Scheduled);
        let keys = self.slots[..self.used].iter().filter(live).map(|slot| slot.key);
        let retained: BTreeSet<PathHash> = keys.chain(SOURCES.map(|(key, _)| key)).collect();
        self.wake_counts.retain(|(_, source), _| retained.contains(source));
        self.sweep_at = self.used.max(2 * self.wake_counts.len());
    }

    /// Frees the slot, and then its ancestors' slots, once nothing needs them.
    #[inline]
    pub(crate) fn release(&mut self, mut slot: u32) {
        while let Some(about) = self.info.get(slot as usize)
            && about.children == 0
            && !about.has_handle
            && let Some(entry) = self.slots.get_mut(slot as usize)
            && entry.state == TaskState::Done
        {
            entry.state = TaskState::Free;
            let (is_noted, parent) = (entry.has_side_tables, about.parent);
            self.free.push(slot);
            if is_noted {
                self.forget_side_tables(slot);
            }
            let Some(parent_about) = self.info.get_mut(parent as usize) else { return };
            parent_about.children -= 1;
            slot = parent;
        }
    }

    /// Forgets the sources and the children of the task in `slot`.
    #[cold]
    fn forget_side_tables(&mut self, slot: u32) {
        self.siblings.retain(|((parent, _), _)| *parent != slot);
        let own = (slot, 0)..=(slot, u64::MAX);
        while let Some((&key, _)) = self.more_siblings.range(own.clone()).next() {
            self.more_siblings.remove(&key);
        }
        let own = (slot, PathHash(0))..=(slot, PathHash(u64::MAX));
        while let Some((&key, _)) = self.wake_counts.range(own.clone()).next() {
            self.wake_counts.remove(&key);
        }
    }

    /// Writes a task's path: `main/client/worker#2`.
    pub(crate) fn path(&self, slot: u32) -> String {
        let mut steps = Vec::new();
        let mut next = slot;
        while let Some(about) = self.info.get(next as usize) {
            steps.push(path_segment(&about.name.text(), about.index));
            next = about.parent;
            if next == NO_PARENT && about.parent_hash == PathHash::of_name(NODE_PATH) {
                steps.push(NODE_PATH.to_string());
            } else if next == NO_PARENT && about.parent_hash != PathHash::NONE {
                steps.push(format!("{HASH_PREFIX}{:016x}", about.parent_hash.0));
            }
        }
        steps.reverse();
        steps.join("/")
    }

    /// The tasks that are not over, as far as they are asked for, oldest first.
    #[inline(always)]
    pub(crate) fn live_in_spawn_order(&self, requested: impl Fn(&TaskSlot) -> bool) -> Vec<u32> {
        if self.free.len() + 1 == self.used && self.slots[0].state == TaskState::Done {
            return Vec::new(); // all have ended, the main task last
        }
        let live = |slot: &u32| {
            let slot = &self.slots[*slot as usize];
            matches!(slot.state, TaskState::Parked | TaskState::Scheduled) && requested(slot)
        };
        let mut slots: Vec<u32> = (0..self.used as u32).filter(live).collect();
        let spawned = |slot: &u32| self.info[*slot as usize].spawn_number;
        if slots.is_sorted_by_key(spawned) {
            return slots;
        }
        slots.sort_unstable_by_key(|slot| self.info[*slot as usize].spawn_number);
        slots
    }

    /// Takes what waited for tasks and what they left, to be dropped elsewhere.
    pub(crate) fn take_undropped(&mut self, waits: &mut Vec<Waiter>, done: &mut Vec<BoxedTask>) {
        for about in self.info.iter_mut().take(self.used) {
            if let Some(joiner) = about.joiner.take() {
                waits.push(joiner);
            }
            if let Some(output) = about.output.take() {
                done.push(output);
            }
        }
    }

    /// Makes every slot free, numbered from 0 again, for another run.
    pub(crate) fn clear(&mut self) {
        for slot in self.slots.iter_mut().take(self.used) {
            slot.state = TaskState::Free;
        }
        if self.used > MAX_CAPACITY {
            cold(|| {
                self.slots.truncate(MAX_CAPACITY);
                self.slots.shrink_to_fit();
                self.info.truncate(MAX_CAPACITY);
                self.info.shrink_to_fit();
                self.pct_states = Vec::new();
                self.free = Vec::new();
            });
        }
        self.free.clear();
        self.used = 0;
        self.spawned = 0;
        self.pct_states.clear();
        self.wake_records.clear();
        self.more_siblings.clear_to_capacity(0);
        self.wake_counts.clear_to_capacity(0);
        self.siblings.clear();
        self.sweep_at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::short_type_name;

    #[test]
    fn type_name_of_a_future_is_shortened_to_its_function() {
        for (full, short) in [
            ("bank::serve::{{closure}}", "serve"),
            ("bank::tests::transfer::{{closure}}::{{closure}}", "transfer"),
            ("bank::Server::run::{{closure}}", "Server::run"),
            ("<bank::Server as bank::Service>::call::{{closure}}", "<Server as Service>::call"),
            ("bank::Pool<alloc::string::String>::fill::{{closure}}", "Pool<String>::fill"),
            ("futures::Map<bank::serve::{{closure}}, bank::main::{{closure}}>", "Map<serve, main>"),
            (
                "core::pin::Pin<alloc::boxed::Box<dyn core::future::Future<Output = ()>>>",
                "Pin<Box<dyn Future<Output = ()>>>",
            ),
        ] {
            assert_eq!(short_type_name(full), short);
        }
    }
}
