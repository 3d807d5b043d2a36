//! The run that a thread executes, to be reported when the process ends in the middle of it.
//!
//! Two such ends are covered. `std::process::exit` ends the process with the given status, so that
//! the test may seem to have passed. The C library first runs the destructors of the calling
//! thread's locals; one of them finds the run in progress, reports it, and aborts. Where
//! destructors do not run at exit, as with musl, the seed is still on disk. The other end is a
//! panic that leaves a destructor during the unwinding of another panic: the process aborts after
//! the panic hook.
//!
//! In a subprocess nothing is reported here: its parent observes how the run ends.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::check::replay_command::ReplayCommand;
use crate::check::test_id::TestId;

/// Whether this process plays one run for another one.
static IS_CHILD_PROCESS: AtomicBool = AtomicBool::new(false);

/// Says that this process plays one run for another one, which sees how it ends.
pub(crate) fn mark_child_process() {
    IS_CHILD_PROCESS.store(true, Relaxed);
}

/// Whether this process plays one run for another one.
pub(crate) fn is_child_process() -> bool {
    IS_CHILD_PROCESS.load(Relaxed)
}

/// The test of a thread's runs, and the run that it executes.
struct CurrentRun {
    /// The name of the test, and the command that runs it.
    test: RefCell<Option<(String, Arc<ReplayCommand>)>>,
    /// The seed, and whether its tape is played.
    run: Cell<Option<(u64, bool)>>,
}

thread_local! {
    static CURRENT_RUN: CurrentRun = const {
        CurrentRun { test: RefCell::new(None), run: Cell::new(None) }
    };
}

impl CurrentRun {
    /// Says how the run ends the process, and how to replay it.
    fn eprint_process_end(&self, ending: &str) {
        let (Some((seed, is_tape)), Ok(test)) = (self.run.get(), self.test.try_borrow()) else {
            return;
        };
        let suffix = if is_tape { ", from a tape," } else { "" };
        let message = format!("the run of seed {seed:#x}{suffix} {ending}");
        match &*test {
            Some((name, replay_command)) => {
                TestId { name, replay_command }.eprint_replay(&message, Some(seed));
            }
            None => {
                let _ = writeln!(std::io::stderr(), "virtnet: {message}");
            }
        }
    }
}

impl Drop for CurrentRun {
    fn drop(&mut self) {
        if self.run.get().is_some() && !is_child_process() {
            self.eprint_process_end(
                "ended the process by `std::process::exit`: the test did not come to its end",
            );
            std::process::abort();
        }
    }
}

/// Says of which test the runs of this thread are.
pub(crate) fn set_test(test_id: TestId<'_>) {
    let _ = CURRENT_RUN.try_with(|current| {
        let mut test = current.test.borrow_mut();
        if !test
            .as_ref()
            .is_some_and(|(_, replay_command)| Arc::ptr_eq(replay_command, test_id.replay_command))
        {
            *test = Some((test_id.name.into(), Arc::clone(test_id.replay_command)));
        }
    });
}

/// Says how the run of this thread ends the process.
#[cold]
pub(crate) fn eprint_process_end(ending: &str) {
    let _ = CURRENT_RUN.try_with(|current| current.eprint_process_end(ending));
}

/// A run of this thread goes on until it is dropped.
pub(crate) struct RunGuard(());

impl RunGuard {
    pub(crate) fn new(seed: u64, is_tape: bool) -> Self {
        let _ = CURRENT_RUN.try_with(|current| current.run.set(Some((seed, is_tape))));
        Self(())
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let _ = CURRENT_RUN.try_with(|current| current.run.set(None));
    }
}
