//! Capture of panics in runs: where they happened, without printing them.
//!
//! The panic hook of the process is installed once and calls the previous hook for all other
//! threads. A run under test may panic in every seed and in every attempt to shrink it; the report
//! alone should be read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::sim::NO_MESSAGE;

use crate::check::exec::current_run::{eprint_process_end, is_child_process};

thread_local! {
    static CAPTURING: Cell<bool> = const { Cell::new(false) };
    /// By what they said: others may have been caught before the one that counts, and destructors
    /// may panic after it.
    static PANIC_SITES: RefCell<BTreeMap<String, PanicSite>> =
        const { RefCell::new(BTreeMap::new()) };
    static PANIC_COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The place of a panic.
#[derive(Clone, Debug)]
struct PanicSite {
    location: String,
    /// The number of panics of the thread before the last one with this message.
    index: u64,
}

/// The beginning of the line by which a run in a process of its own reports each panic: it cannot
/// know which one ends it.
pub(crate) const PANIC_PREFIX: &str = "virtnet-panic: ";

/// The messages of the standard library before it aborts because a panic must not go on.
const FATAL_MESSAGES: [&str; 2] =
    ["panic in a destructor during cleanup", "panic in a function that cannot unwind"];

/// A panic of the thread that listens.
fn on_panic(message: &str, location: Option<String>) {
    if FATAL_MESSAGES.contains(&message) {
        if !is_child_process() {
            eprint_process_end(&format!("ends the process: {message}{}", last_panics()));
        }
        return;
    }
    let Some(location) = location else { return };
    if is_child_process() {
        let text = serde_json::Value::from(panic_line(message, &location));
        let line = format!("{PANIC_PREFIX}{text}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    let _ = PANIC_SITES.try_with(|sites| {
        let index = PANIC_COUNT.try_with(|panics| panics.replace(panics.get() + 1)).unwrap_or(0);
        sites.borrow_mut().insert(message.into(), PanicSite { location, index });
    });
}

fn panic_line(message: &str, location: &str) -> String {
    format!("panicked at {location}: {message}")
}

/// The last panics of this thread, in order, a line each.
#[cold]
fn last_panics() -> String {
    const MAX_PANICS: usize = 4;
    let panics = PANIC_SITES.try_with(|sites| {
        let sites = sites.borrow();
        let mut panics: Vec<_> =
            sites.iter().map(|(message, site)| (site.index, message)).collect();
        panics.sort_unstable();
        let last = panics.split_off(panics.len().saturating_sub(MAX_PANICS));
        last.iter()
            .map(|(_, message)| panic_line(message, &sites[*message].location))
            .collect::<Vec<_>>()
    });
    panics.unwrap_or_default().iter().map(|panic| format!("\n  {panic}")).collect()
}

/// Listens to the panics of this thread until it is dropped.
pub(crate) struct PanicCapture(());

impl PanicCapture {
    pub(crate) fn new() -> Self {
        static HOOK_INSTALLED: Once = Once::new();
        HOOK_INSTALLED.call_once(|| {
            let previous_hook = take_hook();
            set_hook(Box::new(move |info| {
                if CAPTURING.try_with(Cell::get) == Ok(true) {
                    let payload = info.payload();
                    let text = payload.downcast_ref::<&str>().copied();
                    let text = text.or_else(|| payload.downcast_ref().map(String::as_str));
                    let message = text.unwrap_or(NO_MESSAGE);
                    on_panic(message, info.location().map(ToString::to_string));
                } else {
                    previous_hook(info);
                }
            }));
        });
        PANIC_SITES.take();
        CAPTURING.set(true);
        Self(())
    }

    /// The place of the panic with this message: file, line and column. It is unknown for a panic
    /// that was resumed, and if the hook is another's by now.
    pub(crate) fn panic_site(&self, message: &str) -> Option<String> {
        PANIC_SITES.with_borrow(|sites| sites.get(message).map(|site| site.location.clone()))
    }
}

/// Does something of the user's outside a run; if it panics there is nothing, and nothing is said.
pub(crate) fn catch_silently<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    let _capture = PanicCapture::new();
    catch_unwind(AssertUnwindSafe(work)).ok().flatten()
}

impl Drop for PanicCapture {
    fn drop(&mut self) {
        CAPTURING.set(false);
    }
}
