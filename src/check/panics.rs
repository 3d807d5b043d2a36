//! Where panics happened, and that they are not printed a thousand times.
//!
//! Knows the panic hook of the process, which it takes once and calls for everybody else. A run
//! under test may panic in every seed and in every attempt to shrink one; only what the report
//! says of it should be read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::sim::WORDLESS;

thread_local! {
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// By what they said: others may have been caught before the one that counts, and destructors
    /// may panic after it.
    static SITES: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
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
                    let said = info.payload_as_str().unwrap_or(WORDLESS).to_string();
                    let site = info.location().map(ToString::to_string);
                    let _ = SITES.try_with(|sites| Some(sites.borrow_mut().insert(said, site?)));
                } else {
                    others(info);
                }
            }));
        });
        SITES.take();
        LISTENING.set(true);
        Self(())
    }

    /// Where the panic happened that said this: file, line and column. Nobody was told of one that
    /// only goes on, nor where the hook is another's by now.
    pub(crate) fn site_of(&self, said: &str) -> Option<String> {
        SITES.with_borrow(|sites| sites.get(said).cloned())
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
