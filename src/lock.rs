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

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};
use std::thread::LocalKey;

use crate::waiter;

/// Clears a shelf, or whatever else a scope has, and drops what was left there.
type Clear = fn();

thread_local! {
    /// The scope that goes on in this thread; 0 is none.
    static SCOPE: Cell<u64> = const { Cell::new(0) };
    /// How to clear each shelf that the scope has put something on.
    static CLEAR: RefCell<Vec<Clear>> = const { RefCell::new(Vec::new()) };
}

/// Begins a scope of this thread; its number must not have been used before.
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
pub(crate) struct Shelf<T> {
    scope: u64,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
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
        impl $crate::lock::Shelved for $value {
            #[inline]
            fn key() -> &'static $crate::lock::ShelfKey<Self> {
                ::std::thread_local! {
                    static SHELF: ::std::cell::RefCell<$crate::lock::Shelf<$value>> =
                        const { ::std::cell::RefCell::new($crate::lock::Shelf::EMPTY) };
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
        shelf.free = Vec::new();
        std::mem::take(&mut shelf.slots)
    });
    drop(left);
}

impl<T> Shelf<T> {
    pub(crate) const EMPTY: Self = Self { scope: 0, slots: Vec::new(), free: Vec::new() };
}

impl<T: Shelved> Shelf<T> {
    /// Puts a value on this thread's shelf.
    #[inline]
    fn put(scope: u64, make: impl Fn() -> T) -> u32 {
        T::key().with_borrow_mut(|shelf| {
            if shelf.scope != scope {
                shelf.scope = scope;
                CLEAR.with_borrow_mut(|all| all.insert(0, clear::<T>));
            }
            let slot = shelf.free.pop().unwrap_or(shelf.slots.len() as u32);
            if slot as usize == shelf.slots.len() {
                shelf.slots.push(None);
            }
            shelf.slots[slot as usize].get_or_insert_with(make);
            slot
        })
    }

    /// Works on this thread's shelf, if it is that of the scope and nobody does already.
    #[inline(always)]
    fn of<R>(scope: u64, work: impl FnOnce(&mut Self) -> Option<R>) -> Option<R> {
        let work = |shelf: &RefCell<Self>| {
            let Ok(mut shelf) = shelf.try_borrow_mut() else {
                debug_assert!(false, "a lock is taken under another of its type");
                return None;
            };
            if shelf.scope == scope { work(&mut shelf) } else { None }
        };
        T::key().try_with(work).ok()?
    }
}

/// Guards a value, in one way or another.
///
/// Under a lock nothing foreign may run, and no other lock of the same type may
/// be taken.
pub(crate) trait Guard<T>: Send + Sync + 'static {
    /// Works on the value, or finds that its scope has ended or is another
    /// thread's.
    fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R>;

    /// Works on the value.
    ///
    /// # Panics
    ///
    /// If its scope has ended or is another thread's: what was made in a run must
    /// not be used outside of it.
    #[inline]
    #[track_caller]
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        match self.try_with(work) {
            Some(result) => result,
            None => outside(),
        }
    }
}

/// Guards a value on a shelf of the scope that it was made in.
pub(crate) struct OnShelf<T: Shelved> {
    scope: u64,
    slot: u32,
    value: PhantomData<fn() -> T>,
}

impl<T: Shelved> Guard<T> for OnShelf<T> {
    #[inline(always)]
    fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let slot = self.slot as usize;
        Shelf::of(self.scope, |shelf| shelf.slots.get_mut(slot)?.as_mut().map(work))
    }
}

impl<T: Shelved> Drop for OnShelf<T> {
    fn drop(&mut self) {
        // The value itself is dropped when the shelf is out of hand.
        let _value = Shelf::<T>::of(self.scope, |shelf| {
            shelf.free.push(self.slot);
            shelf.slots.get_mut(self.slot as usize)?.take()
        });
    }
}

/// Guards a value that several threads may have in hand.
///
/// Boxed, so that what has a lock in it is small to move in a run.
pub(crate) struct Shared<T>(Box<Mutex<T>>);

impl<T: Send + 'static> Guard<T> for Shared<T> {
    fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        // It can only be poisoned by a waker that panics while it is cloned, and what is guarded
        // is whole at every such point. To panic again in a destructor would turn one failure
        // into an abort.
        Some(work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Guards a value: on a shelf of the scope that it was made in, or, outside of
/// any, by a mutex.
///
/// What is in much use is better made for either of them: then what is done
/// under the lock is compiled into its user, and not called.
pub(crate) enum Lock<T: Shelved> {
    Shared(Shared<T>),
    OnShelf(OnShelf<T>),
}

impl<T: Shelved> Lock<T> {
    /// Guards what `make` makes, for the scope that goes on in this thread if
    /// one does. It is made where it stays, because much of it is large to move.
    #[inline]
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        match SCOPE.get() {
            0 => Self::Shared(Shared(Box::new(Mutex::new(make())))),
            scope => {
                let slot = Shelf::put(scope, make);
                Self::OnShelf(OnShelf { scope, slot, value: PhantomData })
            }
        }
    }

    /// See [`Guard::try_with`].
    #[inline(always)]
    pub(crate) fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        match self {
            Self::OnShelf(shelf) => shelf.try_with(work),
            Self::Shared(shared) => shared.try_with(work),
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

    /// See [`Guard::with`].
    #[inline]
    #[track_caller]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        match self.try_with(work) {
            Some(result) => result,
            None => outside(),
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
