//! `RunCell`: a lock that is almost free inside a run.
//!
//! The network is `Send + Sync` and runs on any executor, so its state is behind locks. In a
//! simulated run, one thread does all the work, and an uncontended `Mutex` costs more than
//! everything else that a message needs: 24 ns per lock and six locks per round trip, where a bare
//! executor takes 90 ns for the whole round trip.
//!
//! A cell that is created inside a run therefore keeps its value in a slab of the run's thread,
//! where no other thread can reach it, and to lock the cell is to borrow the slab. Outside a run,
//! the cell is a `Mutex`. The end of a run clears the slabs: a cell that outlives its run is
//! inert.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};
use std::thread::LocalKey;

use crate::util::waiter;

/// Clears a slab, or another part of a scope, and drops what was left there.
type Clear = fn();

/// The functions to be called when a thread ends.
struct AtExit(RefCell<Vec<Clear>>);

impl Drop for AtExit {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|clear| clear());
    }
}

thread_local! {
    /// The scope that goes on in this thread; 0 is none.
    static SCOPE: Cell<u64> = const { Cell::new(0) };
    /// The functions that clear the slabs that the scope has used.
    static CLEAR: RefCell<Vec<Clear>> = const { RefCell::new(Vec::new()) };
    /// The functions that free the slabs of the thread.
    static AT_EXIT: AtExit = const { AtExit(RefCell::new(Vec::new())) };
}

/// Begins a scope of this thread; its number must not have been used before.
#[inline]
pub(crate) fn enter_run(scope: u64) {
    SCOPE.set(scope);
}

/// Has something cleared when the scope of this thread ends, whatever it is.
pub(crate) fn on_run_end(clear: fn()) {
    CLEAR.with_borrow_mut(|all| all.push(clear));
}

/// Ends the scope of this thread, and drops the values of its cells and whatever else was to be
/// cleared. Slabs come last, because most of their values belong to something of the rest; a slab
/// that is empty is kept as it is. If a destructor panics, the next call continues with the others.
pub(crate) fn leave_run() {
    SCOPE.set(0);
    while let Some(clear) = CLEAR.with_borrow_mut(Vec::pop) {
        clear();
    }
}

/// The values of one type that the locks of this thread's scope guard.
///
/// It has no destructor, so that a lock has not to ask whether it is still there: it is taken down
/// when its thread ends.
pub(crate) struct RunSlab<T> {
    run: u64,
    slots: ManuallyDrop<Vec<Option<T>>>,
    free: ManuallyDrop<Vec<u32>>,
    /// Whether it will be.
    is_registered: bool,
}

/// The slab of a thread for values of one type. Borrowed while a cell is locked.
pub(crate) type RunSlabKey<T> = LocalKey<RefCell<RunSlab<T>>>;

/// A type whose values can be kept in a slab; implemented by [`run_local!`].
pub(crate) trait RunLocal: Send + Sized + 'static {
    fn key() -> &'static RunSlabKey<Self>;
}

/// Gives a type a slab in every thread. One slab for all types, of `Box<dyn Any>`, would cost an
/// allocation for each value and a type check for each lock.
macro_rules! run_local {
    ($value:ty) => {
        impl $crate::util::run_cell::RunLocal for $value {
            #[inline]
            fn key() -> &'static $crate::util::run_cell::RunSlabKey<Self> {
                ::std::thread_local! {
                    static SLAB: ::std::cell::RefCell<$crate::util::run_cell::RunSlab<$value>> =
                        const { ::std::cell::RefCell::new($crate::util::run_cell::RunSlab::EMPTY) };
                }
                &SLAB
            }
        }
    };
}
pub(crate) use run_local;

/// Clears this thread's slab of a type, and keeps its memory unless it is large.
fn clear<T: RunLocal>() {
    const MAX_CAPACITY: usize = 256;
    let left = T::key().with_borrow_mut(|slab| {
        slab.run = 0;
        if slab.free.len() == slab.slots.len() && slab.slots.len() <= MAX_CAPACITY {
            // Nothing is left, and every slot is free: so it can begin again as it is.
            return Vec::new();
        }
        slab.take_slots()
    });
    drop(left);
}

/// Frees this thread's slab of a type.
fn dealloc<T: RunLocal>() {
    let left = T::key().with_borrow_mut(|slab| {
        (slab.run, slab.is_registered) = (0, false);
        slab.take_slots()
    });
    drop(left);
}

impl<T> RunSlab<T> {
    pub(crate) const EMPTY: Self = Self {
        run: 0,
        slots: ManuallyDrop::new(Vec::new()),
        free: ManuallyDrop::new(Vec::new()),
        is_registered: false,
    };

    /// Gives what is left on it, and its memory.
    fn take_slots(&mut self) -> Vec<Option<T>> {
        drop(std::mem::take(&mut *self.free));
        std::mem::take(&mut *self.slots)
    }
}

impl<T: RunLocal> RunSlab<T> {
    /// Adds a value to this thread's slab.
    #[inline]
    fn put(scope: u64, make: impl Fn() -> T) -> u32 {
        T::key().with_borrow_mut(|slab| {
            if slab.run != scope {
                slab.begin(scope);
            }
            let slot = slab.free.pop().unwrap_or(slab.slots.len() as u32);
            if slot as usize == slab.slots.len() {
                slab.slots.push(None);
            }
            slab.slots[slot as usize].get_or_insert_with(make);
            slot
        })
    }

    #[cold]
    fn begin(&mut self, scope: u64) {
        self.run = scope;
        CLEAR.with_borrow_mut(|all| all.insert(0, clear::<T>));
        if !self.is_registered {
            // Whoever begins a run in a destructor of the thread itself leaves this memory.
            let listed = AT_EXIT.try_with(|all| all.0.borrow_mut().push(dealloc::<T>));
            self.is_registered = listed.is_ok();
        }
    }
}

/// Guards a value: in a slab of the scope in which it was made, or, outside of any scope, by a
/// mutex.
///
/// Under a lock nothing foreign may run, and no other lock of the same type may
/// be taken.
pub(crate) enum RunCell<T: RunLocal> {
    /// Boxed, so that what has a lock in it is small to move in a run.
    Shared(Box<Mutex<T>>),
    Local(SlabHandle<T>),
}

/// A slot of a slab; freed on drop.
pub(crate) struct SlabHandle<T: RunLocal> {
    run: u64,
    slot: u32,
    value: PhantomData<fn() -> T>,
}

impl<T: RunLocal> Drop for SlabHandle<T> {
    fn drop(&mut self) {
        // The value itself is dropped while the slab is not borrowed.
        let _value = T::key().with(|slab| {
            let mut slab = try_borrow_slab(slab, self.run)?;
            slab.free.push(self.slot);
            slab.slots.get_mut(self.slot as usize)?.take()
        });
    }
}

/// Borrows the slab, if it belongs to the scope and is not borrowed.
#[inline(always)]
fn try_borrow_slab<T>(slab: &RefCell<RunSlab<T>>, scope: u64) -> Option<RefMut<'_, RunSlab<T>>> {
    let slab = slab.try_borrow_mut().ok();
    debug_assert!(slab.is_some(), "a lock is taken under another of its type");
    slab.filter(|slab| slab.run == scope)
}

impl<T: RunLocal> RunCell<T> {
    /// Guards what `make` makes, for the scope that goes on in this thread if
    /// one does. It is made where it stays, because much of it is large to move.
    #[inline]
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        match SCOPE.get() {
            0 => Self::Shared(Box::new(Mutex::new(make()))),
            scope => {
                let slot = RunSlab::put(scope, make);
                Self::Local(SlabHandle { run: scope, slot, value: PhantomData })
            }
        }
    }

    /// Works on the value, or finds that its scope has ended or is another
    /// thread's.
    ///
    /// The work is called in one place, and so it is compiled into its user, and
    /// not called: whichever it is that guards the value, both are held from here.
    #[inline(always)]
    pub(crate) fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        T::key().with(|slab| {
            let (mut held, mut locked);
            let value = match self {
                Self::Local(index) => {
                    held = try_borrow_slab(slab, index.run)?;
                    held.slots.get_mut(index.slot as usize)?.as_mut()?
                }
                Self::Shared(shared) => {
                    // It can only be poisoned by a waker that panics while it is cloned, and what
                    // is guarded is whole at every such point. To panic again in a destructor would
                    // turn one failure into an abort.
                    locked = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    &mut *locked
                }
            };
            Some(work(value))
        })
    }

    /// Works on the value.
    ///
    /// # Panics
    ///
    /// If its scope has ended or is another thread's: what was made in a run must
    /// not be used outside of it.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        match self.try_with(work) {
            Some(result) => result,
            None => panic_outside_run(),
        }
    }

    /// Says whether the value can be worked on: its scope goes on in this thread, or it has none.
    #[cfg(feature = "tls")]
    pub(crate) fn is_accessible(&self) -> bool {
        match self {
            Self::Local(index) => SCOPE.get() == index.run,
            Self::Shared(_) => true,
        }
    }

    /// Makes sure that the value can be worked on, or will never be again.
    ///
    /// # Panics
    ///
    /// If its scope goes on in another thread.
    #[track_caller]
    pub(crate) fn assert_accessible(&self) {
        if let Self::Local(SlabHandle { run: scope, .. }) = self
            && SCOPE.get() != *scope
            && waiter::is_active(*scope)
        {
            panic_outside_run();
        }
    }
}

#[cold]
#[track_caller]
fn panic_outside_run() -> ! {
    panic!(
        "virtnet: this host, listener or connection was made in a run that has ended or that goes \
         on in another thread; it may only be used inside that run"
    )
}

impl<T: RunLocal + Default> Default for RunCell<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: RunLocal> fmt::Debug for RunCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{RunCell, enter_run, leave_run};

    run_local!(Vec<u8>);

    #[test]
    fn a_lock_of_a_scope_is_inert_after_it_and_elsewhere() {
        let shared = RunCell::new(|| vec![0]);
        enter_run(7);
        let lock = RunCell::new(|| vec![1]);
        lock.with(|value| value.push(2));
        lock.with(|value| assert_eq!(*value, [1, 2]));
        std::thread::scope(|threads| {
            threads.spawn(|| assert!(lock.try_with(|_| ()).is_none()));
            threads.spawn(|| shared.with(|value| value.push(9)));
        });
        leave_run();
        assert!(lock.try_with(|_| ()).is_none());
        enter_run(8);
        let other = RunCell::new(|| vec![3]);
        assert!(lock.try_with(|_| ()).is_none(), "its slot is another's");
        drop(lock);
        other.with(|value| assert_eq!(*value, [3]));
        drop(other);
        leave_run();
        shared.with(|value| assert_eq!(*value, [0, 9]));
    }

    #[test]
    fn a_shelf_is_taken_down_when_its_thread_ends() {
        struct Held(Arc<()>);
        run_local!(Held);
        let held = Arc::new(());
        let theirs = held.clone();
        let thread = std::thread::spawn(move || {
            enter_run(11);
            let lock = || RunCell::new(|| Held(theirs.clone()));
            let [one, other] = [lock(), lock()];
            assert_eq!(one.with(|held| Arc::strong_count(&held.0)), 4);
            std::mem::forget([one, other]);
        });
        thread.join().expect("nothing panics");
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_panic_under_a_lock_leaves_it_usable() {
        enter_run(9);
        let lock = RunCell::new(|| vec![1]);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lock.with(|_| panic!("under the lock"));
        }));
        assert!(panicked.is_err());
        lock.with(|value| assert_eq!(*value, [1]));
        drop(lock);
        leave_run();
    }
}
