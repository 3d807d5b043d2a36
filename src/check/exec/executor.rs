//! Execution of runs on this thread, on a fresh thread, or in a fresh process.
//!
//! The isolation that the test asks for decides which. The progress of each run is published for
//! the watchdog.

use std::thread;

use crate::check::exec::current_run::set_test;
use crate::check::exec::deadline::Deadline;
use crate::check::exec::run_once::{RunResult, TestFn};
use crate::check::exec::run_request::RunRequest;
use crate::check::exec::subprocess::Subprocess;
use crate::check::exec::watchdog::WorkerProgress;
use crate::check::settings::{Isolation, Settings};
use crate::check::test_id::TestId;

/// Why a run has no thread.
pub(crate) fn thread_error(error: &std::io::Error) -> String {
    format!("virtnet: no thread can be begun for a run: {error}; VIRTNET_JOBS=1 needs the fewest")
}

/// The executor of the runs of one worker.
#[derive(Clone, Copy)]
pub(crate) struct RunExecutor<'a> {
    pub(crate) test_fn: &'a dyn TestFn,
    pub(crate) settings: &'a Settings,
    pub(crate) subprocess: &'a Result<Subprocess, String>,
    pub(crate) test_id: TestId<'a>,
    pub(crate) progress: &'a WorkerProgress,
}

impl RunExecutor<'_> {
    /// Executes a run of a sweep.
    pub(crate) fn execute(&self, request: &RunRequest) -> RunResult {
        match self.settings.isolation {
            Isolation::Shared => self.on_this_thread(request),
            Isolation::Thread => self.on_fresh_thread(request),
            Isolation::Process => self.in_subprocess(request),
        }
    }

    /// Executes a run to which no run before has left anything, or as little as the test asks for.
    pub(crate) fn isolated(&self, request: &RunRequest) -> RunResult {
        match self.settings.isolation {
            Isolation::Shared | Isolation::Thread => self.on_fresh_thread(request),
            Isolation::Process => self.in_subprocess(request),
        }
    }

    /// Executes a run in a fresh process.
    pub(crate) fn in_subprocess(&self, request: &RunRequest) -> RunResult {
        match self.subprocess {
            Ok(subprocess) => subprocess.run(request, self.settings),
            Err(error) => RunResult::spawn_failed(request.seed(), error.clone()),
        }
    }

    /// Executes a run and those that are to be before it on one thread, which is fresh.
    pub(crate) fn in_sequence(&self, request: &RunRequest) -> RunResult {
        run_on_thread(request, || {
            self.after_earlier_seeds(request, |request| self.on_this_thread(request))
        })
    }

    /// Executes a run on a fresh thread of this process, and those that are to be before it.
    pub(crate) fn on_fresh_thread(&self, request: &RunRequest) -> RunResult {
        self.after_earlier_seeds(request, |request| {
            run_on_thread(request, || self.on_this_thread(request))
        })
    }

    /// Executes a run on this thread.
    fn on_this_thread(&self, request: &RunRequest) -> RunResult {
        let run = self.progress.begin_run(request, self.settings);
        set_test(self.test_id);
        let result = self.test_fn.execute(run);
        self.progress.end_run();
        result
    }

    /// Executes a run after those that are to be before it; all together have its real time.
    fn after_earlier_seeds(
        &self,
        request: &RunRequest,
        execute: impl Fn(&RunRequest) -> RunResult,
    ) -> RunResult {
        let deadline = request.real_time_limit().map(Deadline::after).unwrap_or_default();
        for seed in request.earlier_seeds() {
            execute(&deadline.apply_to(RunRequest::from_seed(*seed)));
        }
        execute(&deadline.apply_to(request.clone()))
    }
}

/// Executes a run on a fresh thread, where one can be had.
fn run_on_thread(request: &RunRequest, execute: impl FnOnce() -> RunResult + Send) -> RunResult {
    let joined = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, execute);
        thread.map(thread::ScopedJoinHandle::join)
    });
    match joined {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => RunResult::spawn_failed(request.seed(), thread_error(&error)),
    }
}
