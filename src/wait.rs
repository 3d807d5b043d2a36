//! What a pending operation waits for, told only to whoever asks.
//!
//! A stall report polls each waiting task once more and wants to know, in
//! words, what it is stuck on: `read pipet β:2->α:2`. The network knows, but
//! may not know the simulator; the simulator asks, but may not know the
//! network. Both know this file, which knows neither.

use std::cell::{Cell, RefCell};

thread_local! {
    static ASKING: Cell<bool> = const { Cell::new(false) };
    /// Whether something was got while somebody asked.
    static GOT: Cell<bool> = const { Cell::new(false) };
    static REASONS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Says what the caller waits for, if anybody is asking.
///
/// Call it where an operation is about to return `Poll::Pending`. It costs one
/// look at a thread-local flag; `describe` runs only for a stall report. Say it
/// as an operation on a thing, in the words of its error: `accept pipet α:1`.
///
/// ```
/// # use std::task::{Context, Poll};
/// # fn poll(cx: &mut Context<'_>) -> Poll<()> {
/// virtnet::waiting_for(|| "a permit of the semaphore `jobs`".to_string());
/// Poll::Pending
/// # }
/// ```
#[inline]
pub fn waiting_for(describe: impl FnOnce() -> String) {
    if ASKING.try_with(Cell::get).unwrap_or(false) {
        gather(describe);
    }
}

#[cold]
fn gather(describe: impl FnOnce() -> String) {
    let reason = describe();
    REASONS.with_borrow_mut(|reasons| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    });
}

/// Says that the caller gets what it has waited for: bytes, a connection, a task's output.
///
/// Whoever is asked and gets anything should have been woken before.
#[inline]
pub(crate) fn got() {
    if ASKING.get() {
        GOT.set(true);
    }
}

/// What came of asking.
pub(crate) struct Asked<R> {
    pub(crate) polled: R,
    /// What was said through [`waiting_for`] meanwhile.
    pub(crate) reasons: Vec<String>,
    /// Whether anything was got.
    pub(crate) got: bool,
}

/// Runs `poll` and gathers what is said meanwhile.
pub(crate) fn ask<R>(poll: impl FnOnce() -> R) -> Asked<R> {
    struct Quiet;
    impl Drop for Quiet {
        fn drop(&mut self) {
            ASKING.set(false);
        }
    }
    REASONS.take();
    GOT.set(false);
    ASKING.set(true);
    let quiet = Quiet;
    let polled = poll();
    drop(quiet);
    Asked { polled, reasons: REASONS.take(), got: GOT.get() }
}
