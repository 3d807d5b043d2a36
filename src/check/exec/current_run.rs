//! The run that a thread executes, for what ends the process in the middle of it.
//!
//! Knows two such ends. `std::process::exit` ends a process with the status that it is given, so
//! that a test which ends there looks as if it had passed. The C library executes the destructors
//! of the calling thread's locals before that; one of them finds the run under way, says so, and
//! aborts. Where destructors are not executed then, as with musl, the seed is still left on disk.
//! A panic that leaves a destructor while another panic unwinds aborts, after the panic hook.
//!
//! In a process of its own a run is watched by the parent, which says all of this.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::check::replay_command::Again;
use crate::check::test_id::About;

/// Whether this process plays one run for another one.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Says that this process plays one run for another one, which sees how it ends.
pub(crate) fn begin_as_child() {
    IS_CHILD.store(true, Relaxed);
}

/// Whether this process plays one run for another one.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Relaxed)
}

/// The test of a thread's runs, and the run that it executes.
struct UnderWay {
    /// The name of the test, and the command that runs it.
    test: RefCell<Option<(String, Arc<Again>)>>,
    /// The seed, and whether its tape is played.
    run: Cell<Option<(u64, bool)>>,
}

thread_local! {
    static UNDER_WAY: UnderWay = const {
        UnderWay { test: RefCell::new(None), run: Cell::new(None) }
    };
}

impl UnderWay {
    /// Says how the run ends the process, and how to replay it.
    fn say(&self, how: &str) {
        let (Some((seed, is_tape)), Ok(test)) = (self.run.get(), self.test.try_borrow()) else {
            return;
        };
        let cut = if is_tape { ", from a tape," } else { "" };
        let what = format!("the run of seed {seed:#x}{cut} {how}");
        match &*test {
            Some((name, again)) => About { name, again }.say(&what, Some(seed)),
            None => {
                let _ = writeln!(std::io::stderr(), "virtnet: {what}");
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.run.get().is_some() && !is_child() {
            self.say("ended the process by `std::process::exit`: the test did not come to its end");
            std::process::abort();
        }
    }
}

/// Says of which test the runs of this thread are.
pub(crate) fn of_test(about: About<'_>) {
    let _ = UNDER_WAY.try_with(|own| {
        let mut test = own.test.borrow_mut();
        if !test.as_ref().is_some_and(|(_, again)| Arc::ptr_eq(again, about.again)) {
            *test = Some((about.name.into(), Arc::clone(about.again)));
        }
    });
}

/// Says how the run of this thread ends the process.
#[cold]
pub(crate) fn say(how: &str) {
    let _ = UNDER_WAY.try_with(|own| own.say(how));
}

/// A run of this thread goes on until it is dropped.
pub(crate) struct Begun(());

impl Begun {
    pub(crate) fn new(seed: u64, is_tape: bool) -> Self {
        let _ = UNDER_WAY.try_with(|own| own.run.set(Some((seed, is_tape))));
        Self(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = UNDER_WAY.try_with(|own| own.run.set(None));
    }
}
