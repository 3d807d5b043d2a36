//! A lock that costs next to nothing inside a run.
//!
//! Knows threads and scopes; refuses to know what it guards, and whose scope it
//! is. The network is `Send + Sync` and runs on any executor, so its state lies
//! behind locks. In a simulated run, though, one thread does everything, and an
//! uncontended `Mutex` is dearer than all else a message needs: 24 ns a lock,
//! six locks a round trip, where a bare executor takes 90 ns for the whole.
//!
//! So a lock that is made inside a *scope* (a run) keeps its value on a shelf of
//! the scope's thread, where no other thread can reach it, and locking is taking
//! the shelf in hand. Outside a scope it is a `Mutex`. The scope's end clears
//! the shelves: what outlives a run is inert.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};
use std::thread::LocalKey;

use crate::util::waiter;

/// Clears a shelf, or whatever else a scope has, and drops what was left there.
type Clear = fn();

/// What is to be done when a thread ends.
struct AtExit(RefCell<Vec<Clear>>);

impl Drop for AtExit {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|clear| clear());
    }
}

thread_local! {
    /// The scope that goes on in this thread; 0 is none.
    static SCOPE: Cell<u64> = const { Cell::new(0) };
    /// How to clear each shelf that the scope has put something on.
    static CLEAR: RefCell<Vec<Clear>> = const { RefCell::new(Vec::new()) };
    /// How to take each shelf down that the thread has.
    static AT_EXIT: AtExit = const { AtExit(RefCell::new(Vec::new())) };
}

/// Begins a scope of this thread; its number must not have been used before.
#[inline]
pub(crate) fn begin_scope(scope: u64) {
    SCOPE.set(scope);
}

/// Has something cleared when the scope of this thread ends, whatever it is.
pub(crate) fn at_scope_end(clear: fn()) {
    CLEAR.with_borrow_mut(|all| all.push(clear));
}

/// Ends the scope of this thread, and drops what its locks guarded and whatever
/// else was to be cleared: the shelves last, because most of what is on them
/// belongs to something of the rest, and a shelf from which all has been taken is
/// kept as it is. If a destructor panics, the next call goes on with the others.
pub(crate) fn end_scope() {
    SCOPE.set(0);
    while let Some(clear) = CLEAR.with_borrow_mut(Vec::pop) {
        clear();
    }
}

/// The values of one type that the locks of this thread's scope guard.
///
/// It has no destructor, so that a lock has not to ask whether it is still there: it is taken down
/// when its thread ends.
pub(crate) struct Shelf<T> {
    scope: u64,
    slots: ManuallyDrop<Vec<Option<T>>>,
    free: ManuallyDrop<Vec<u32>>,
    /// Whether it will be.
    listed: bool,
}

/// Where a thread keeps its shelf for values of a type. Borrowed while locked.
pub(crate) type ShelfKey<T> = LocalKey<RefCell<Shelf<T>>>;

/// A type whose values can be kept on a shelf; implemented by [`shelved!`].
pub(crate) trait Shelved: Send + Sized + 'static {
    fn key() -> &'static ShelfKey<Self>;
}

/// Gives a type its shelf in every thread. One shelf for all types, with
/// `Box<dyn Any>` on it, would cost a malloc a value and a look at its type a lock.
macro_rules! shelved {
    ($value:ty) => {
        impl $crate::util::run_cell::Shelved for $value {
            #[inline]
            fn key() -> &'static $crate::util::run_cell::ShelfKey<Self> {
                ::std::thread_local! {
                    static SHELF: ::std::cell::RefCell<$crate::util::run_cell::Shelf<$value>> =
                        const { ::std::cell::RefCell::new($crate::util::run_cell::Shelf::EMPTY) };
                }
                &SHELF
            }
        }
    };
}
pub(crate) use shelved;

/// Clears this thread's shelf of a type, and keeps its memory unless it is much.
fn clear<T: Shelved>() {
    const KEPT: usize = 256;
    let left = T::key().with_borrow_mut(|shelf| {
        shelf.scope = 0;
        if shelf.free.len() == shelf.slots.len() && shelf.slots.len() <= KEPT {
            // Nothing is left, and every slot is free: so it can begin again as it is.
            return Vec::new();
        }
        shelf.take_down()
    });
    drop(left);
}

/// Takes this thread's shelf of a type down.
fn take_down<T: Shelved>() {
    let left = T::key().with_borrow_mut(|shelf| {
        (shelf.scope, shelf.listed) = (0, false);
        shelf.take_down()
    });
    drop(left);
}

impl<T> Shelf<T> {
    pub(crate) const EMPTY: Self = Self {
        scope: 0,
        slots: ManuallyDrop::new(Vec::new()),
        free: ManuallyDrop::new(Vec::new()),
        listed: false,
    };

    /// Gives what is left on it, and its memory.
    fn take_down(&mut self) -> Vec<Option<T>> {
        drop(std::mem::take(&mut *self.free));
        std::mem::take(&mut *self.slots)
    }
}

impl<T: Shelved> Shelf<T> {
    /// Puts a value on this thread's shelf.
    #[inline]
    fn put(scope: u64, make: impl Fn() -> T) -> u32 {
        T::key().with_borrow_mut(|shelf| {
            if shelf.scope != scope {
                shelf.begin(scope);
            }
            let slot = shelf.free.pop().unwrap_or(shelf.slots.len() as u32);
            if slot as usize == shelf.slots.len() {
                shelf.slots.push(None);
            }
            shelf.slots[slot as usize].get_or_insert_with(make);
            slot
        })
    }

    #[cold]
    fn begin(&mut self, scope: u64) {
        self.scope = scope;
        CLEAR.with_borrow_mut(|all| all.insert(0, clear::<T>));
        if !self.listed {
            // Whoever begins a run in a destructor of the thread itself leaves this memory.
            let listed = AT_EXIT.try_with(|all| all.0.borrow_mut().push(take_down::<T>));
            self.listed = listed.is_ok();
        }
    }
}

/// Guards a value: on a shelf of the scope that it was made in, or, outside of
/// any, by a mutex.
///
/// Under a lock nothing foreign may run, and no other lock of the same type may
/// be taken.
pub(crate) enum Lock<T: Shelved> {
    /// Boxed, so that what has a lock in it is small to move in a run.
    Shared(Box<Mutex<T>>),
    OnShelf(OnShelf<T>),
}

/// A place on a shelf, until it is dropped.
pub(crate) struct OnShelf<T: Shelved> {
    scope: u64,
    slot: u32,
    value: PhantomData<fn() -> T>,
}

impl<T: Shelved> Drop for OnShelf<T> {
    fn drop(&mut self) {
        // The value itself is dropped when the shelf is out of hand.
        let _value = T::key().with(|shelf| {
            let mut shelf = in_hand(shelf, self.scope)?;
            shelf.free.push(self.slot);
            shelf.slots.get_mut(self.slot as usize)?.take()
        });
    }
}

/// Takes a shelf in hand, if it is that of the scope and nobody has it.
#[inline(always)]
fn in_hand<T>(shelf: &RefCell<Shelf<T>>, scope: u64) -> Option<RefMut<'_, Shelf<T>>> {
    let shelf = shelf.try_borrow_mut().ok();
    debug_assert!(shelf.is_some(), "a lock is taken under another of its type");
    shelf.filter(|shelf| shelf.scope == scope)
}

impl<T: Shelved> Lock<T> {
    /// Guards what `make` makes, for the scope that goes on in this thread if
    /// one does. It is made where it stays, because much of it is large to move.
    #[inline]
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        match SCOPE.get() {
            0 => Self::Shared(Box::new(Mutex::new(make()))),
            scope => {
                let slot = Shelf::put(scope, make);
                Self::OnShelf(OnShelf { scope, slot, value: PhantomData })
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
        T::key().with(|shelf| {
            let (mut held, mut locked);
            let value = match self {
                Self::OnShelf(place) => {
                    held = in_hand(shelf, place.scope)?;
                    held.slots.get_mut(place.slot as usize)?.as_mut()?
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
            None => outside(),
        }
    }

    /// Says whether the value can be worked on: its scope goes on in this thread, or it has none.
    #[cfg(feature = "tls")]
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Self::OnShelf(place) => SCOPE.get() == place.scope,
            Self::Shared(_) => true,
        }
    }

    /// Makes sure that the value can be worked on, or will never be again.
    ///
    /// # Panics
    ///
    /// If its scope goes on in another thread.
    #[track_caller]
    pub(crate) fn assert_here(&self) {
        if let Self::OnShelf(OnShelf { scope, .. }) = self
            && SCOPE.get() != *scope
            && waiter::goes_on(*scope)
        {
            outside();
        }
    }
}

#[cold]
#[track_caller]
fn outside() -> ! {
    panic!(
        "virtnet: this host, listener or connection was made in a run that has ended or that goes \
         on in another thread; it may only be used inside that run"
    )
}

impl<T: Shelved + Default> Default for Lock<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: Shelved> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Lock, begin_scope, end_scope};

    shelved!(Vec<u8>);

    #[test]
    fn a_lock_of_a_scope_is_inert_after_it_and_elsewhere() {
        let shared = Lock::new(|| vec![0]);
        begin_scope(7);
        let lock = Lock::new(|| vec![1]);
        lock.with(|value| value.push(2));
        lock.with(|value| assert_eq!(*value, [1, 2]));
        std::thread::scope(|threads| {
            threads.spawn(|| assert!(lock.try_with(|_| ()).is_none()));
            threads.spawn(|| shared.with(|value| value.push(9)));
        });
        end_scope();
        assert!(lock.try_with(|_| ()).is_none());
        begin_scope(8);
        let other = Lock::new(|| vec![3]);
        assert!(lock.try_with(|_| ()).is_none(), "its slot is another's");
        drop(lock);
        other.with(|value| assert_eq!(*value, [3]));
        drop(other);
        end_scope();
        shared.with(|value| assert_eq!(*value, [0, 9]));
    }

    #[test]
    fn a_shelf_is_taken_down_when_its_thread_ends() {
        struct Held(Arc<()>);
        shelved!(Held);
        let held = Arc::new(());
        let theirs = held.clone();
        let thread = std::thread::spawn(move || {
            begin_scope(11);
            let lock = || Lock::new(|| Held(theirs.clone()));
            let [one, other] = [lock(), lock()];
            assert_eq!(one.with(|held| Arc::strong_count(&held.0)), 4);
            std::mem::forget([one, other]);
        });
        thread.join().expect("nothing panics");
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_panic_under_a_lock_leaves_it_usable() {
        begin_scope(9);
        let lock = Lock::new(|| vec![1]);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lock.with(|_| panic!("under the lock"));
        }));
        assert!(panicked.is_err());
        lock.with(|value| assert_eq!(*value, [1]));
        drop(lock);
        end_scope();
    }
}
