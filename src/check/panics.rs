//! Where a panic happened, and that it is not printed a thousand times.
//!
//! Knows the panic hook of the process, which it takes once and calls for everybody else. A run
//! under test may panic in every seed and in every attempt to shrink one; only what the report
//! says of it should be read.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    static SITE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Listens to the panics of this thread until it is dropped.
pub(crate) struct Ear(());

impl Ear {
    pub(crate) fn new() -> Self {
        static HOOKED: Once = Once::new();
        HOOKED.call_once(|| {
            let others = take_hook();
            set_hook(Box::new(move |info| {
                if LISTENING.try_with(Cell::get) == Ok(true) {
                    let site = info.location().map(ToString::to_string);
                    let _ = SITE.try_with(|place| place.replace(site));
                } else {
                    others(info);
                }
            }));
        });
        SITE.take();
        LISTENING.set(true);
        Self(())
    }

    /// Where the last panic happened: file, line and column.
    pub(crate) fn site(&self) -> Option<String> {
        SITE.with_borrow(Clone::clone)
    }
}

/// Does something of the user's outside a run; if it panics there is nothing, and nothing is said.
pub(crate) fn quietly<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    let _ear = Ear::new();
    catch_unwind(AssertUnwindSafe(work)).ok().flatten()
}

impl Drop for Ear {
    fn drop(&mut self) {
        LISTENING.set(false);
    }
}
