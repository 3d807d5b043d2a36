//! Where panics happened, and that they are not printed a thousand times.
//!
//! Knows the panic hook of the process, which it takes once and calls for everybody else. A run
//! under test may panic in every seed and in every attempt to shrink one; only what the report
//! says of it should be read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::sim::WORDLESS;

use crate::check::exec::current_run::{is_child, say};
use crate::check::json::text;

thread_local! {
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// By what they said: others may have been caught before the one that counts, and destructors
    /// may panic after it.
    static SITES: RefCell<BTreeMap<String, Site>> = const { RefCell::new(BTreeMap::new()) };
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Where a panic happened.
#[derive(Clone, Debug)]
struct Site {
    place: String,
    /// How many others the thread had had before the last one that said this.
    number: u64,
}

/// What the line begins with by which a run in a process of its own tells of each panic: it cannot
/// know which one ends it.
pub(crate) const PANIC: &str = "virtnet-panic: ";

/// What the standard library says before it aborts because a panic must not go on.
const FATAL: [&str; 2] =
    ["panic in a destructor during cleanup", "panic in a function that cannot unwind"];

/// A panic of the thread that listens.
fn heard(said: &str, place: Option<String>) {
    if FATAL.contains(&said) {
        if !is_child() {
            say(&format!("ends the process: {said}{}", last_panics()));
        }
        return;
    }
    let Some(place) = place else { return };
    if is_child() {
        let mut line = String::from(PANIC);
        text(&mut line, &panicked(said, &place));
        line.push('\n');
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    let _ = SITES.try_with(|sites| {
        let number = PANICS.try_with(|panics| panics.replace(panics.get() + 1)).unwrap_or(0);
        sites.borrow_mut().insert(said.into(), Site { place, number });
    });
}

fn panicked(said: &str, place: &str) -> String {
    format!("panicked at {place}: {said}")
}

/// The last panics of this thread, in order, a line each.
#[cold]
fn last_panics() -> String {
    const TOLD: usize = 4;
    let panics = SITES.try_with(|sites| {
        let sites = sites.borrow();
        let mut panics: Vec<_> = sites.iter().map(|(said, site)| (site.number, said)).collect();
        panics.sort_unstable();
        let last = panics.split_off(panics.len().saturating_sub(TOLD));
        last.iter().map(|(_, said)| panicked(said, &sites[*said].place)).collect::<Vec<_>>()
    });
    panics.unwrap_or_default().iter().map(|panic| format!("\n  {panic}")).collect()
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
                    let said = info.payload_as_str().unwrap_or(WORDLESS);
                    heard(said, info.location().map(ToString::to_string));
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
        SITES.with_borrow(|sites| sites.get(said).map(|site| site.place.clone()))
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
