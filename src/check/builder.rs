//! The builder [`Check`], and [`Attribute`], which `#[virtnet::test]` expands to.

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use crate::sim::Run;
use crate::sim::{Schedule, Sim, Tape};
use crate::simnet::NodeOutput;

use crate::check::exec::in_progress::{InProgressFiles, output_dir};
use crate::check::exec::run_once::TestFn;
use crate::check::exec::subprocess::{Role, Subprocess};
use crate::check::replay_command::ReplayCommand;
use crate::check::report::text::Report;
use crate::check::report::trace_file;
use crate::check::runner::Runner;
use crate::check::settings::{
    DeterminismCheck, Isolation, MAX_JOBS, Mode, Settings, env_var, find_misspelled,
};

use crate::check::shell_quote::escape_line;
use crate::check::sweep::TestContext;
use crate::check::test_id::TestId;

/// A test of many runs.
///
/// ```
/// use virtnet::check::Check;
///
/// let report = Check::new("coins").seeds(0..100).run(|sim| async move {
///     assert!((0..6).any(|_| sim.choose("coin", 2) == 0), "six heads in a row");
/// });
/// assert!(!report.is_ok());
/// assert_eq!(report.choices(), Some((6, 6)));
/// assert!(report.to_string().contains("6 of 6 choices matter"));
/// ```
///
/// The variables of the environment win over what is said here: see the [module](super).
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until `.run(test)`"]
pub struct Check {
    name: String,
    /// The test of the harness, where it is known.
    harness_test: Option<String>,
    replay_command: Option<String>,
    settings: Settings,
    /// The error of an option of the attribute.
    option_error: Option<String>,
}

impl Check {
    /// A test of that name, with the seeds from 0 to 63.
    ///
    /// In reports and files a name is one line: a backslash, and what ends a line or cannot be
    /// printed, is written with an escape, as `\\` and `\n`.
    pub fn new(name: &str) -> Self {
        let settings = Settings::default();
        Self {
            name: name.into(),
            harness_test: None,
            replay_command: None,
            settings,
            option_error: None,
        }
    }

    /// Runs it once for each of these seeds.
    ///
    /// # Panics
    ///
    /// If there is none among them: a test that is never run would pass.
    #[track_caller]
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        assert!(!seeds.is_empty(), "virtnet: `seeds({seeds:?})`: there is no seed in it");
        self.settings.mode = Mode::Seeds(seeds);
        self.settings.has_fixed_seeds = true;
        self
    }

    /// Runs seeds for `time` of real time: those that were given, or as many as there is time for
    /// if none were. The report says which seed is next.
    pub fn budget(mut self, time: Duration) -> Self {
        self.settings.budget = Some(time);
        self
    }

    /// Runs it once, from this tape and not from seeds: for a fuzzer, whose bytes are one by
    /// [`Tape::from_bytes`], and for failures that are kept beside the test.
    ///
    /// ```
    /// use virtnet::{Tape, check::Check};
    ///
    /// let report = Check::new("bytes").tape(Tape::from_bytes(&[3])).run(|sim| async move {
    ///     assert_ne!(sim.choose("die", 6), 3);
    /// });
    /// assert!(report.to_string().contains("main chooses 3 as `die`"));
    /// ```
    pub fn tape(mut self, tape: Tape) -> Self {
        self.settings.mode = Mode::ProvidedTape(tape);
        self
    }

    /// Sets the number of threads, from 1 to 1024; by default, all cores if there are many seeds.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.settings.jobs = Some(jobs.clamp(1, MAX_JOBS));
        self
    }

    /// Sets the place in which each run is executed; by default, a fresh thread.
    pub fn isolate(mut self, isolation: Isolation) -> Self {
        self.settings.isolation = isolation;
        self
    }

    /// Executes every seed three times, and fails if they differ; after a failure that is done
    /// anyhow.
    pub fn check_determinism(self) -> Self {
        self.check_determinism_against(DeterminismCheck::SameProcess)
    }

    /// Executes every seed three times and as often as that asks for, and fails if they differ.
    pub fn check_determinism_against(mut self, check: DeterminismCheck) -> Self {
        self.settings.determinism = Some(check);
        self
    }

    /// Explores in another way than `Schedule::Random`.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.schedule = schedule;
        self
    }

    /// Ends each run when `limit` of virtual time has passed: see [`Run::time_limit`].
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = Some(limit);
        self
    }

    /// Ends each run after `steps` steps: see [`Run::step_limit`].
    pub fn step_limit(mut self, steps: u64) -> Self {
        self.settings.step_limit = Some(steps);
        self
    }

    /// Ends the process of a run when one poll takes more than this in real time, a minute unless
    /// said otherwise: then the seed has failed, and the report names the task.
    ///
    /// It has an effect where runs have processes of their own: see [`Isolation::Process`]. A
    /// thread cannot be ended; a poll that takes long there is only told on standard error.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[track_caller]
    pub fn poll_limit(mut self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "virtnet: `poll_limit({limit:?})`: no poll takes so little");
        self.settings.poll_limit = limit;
        self
    }

    /// Sets the maximum number of runs for shrinking a failure; 0 is none. The default is 1 000.
    pub fn shrink(mut self, runs: u64) -> Self {
        self.settings.shrink_runs = runs;
        self
    }

    /// Writes the trace of the run that fails there: what `VIRTNET_TRACE` does.
    ///
    /// `run.html` is a page to look at, `run.json` is for Perfetto, any other ending is text; see
    /// the [module](super). A run that does not fail leaves a trace only if it is replayed.
    pub fn trace(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.trace_file = Some(file.into());
        self
    }

    /// Sets the maximum real time for shrinking. The default is 8 s.
    pub fn shrink_time(mut self, time: Duration) -> Self {
        self.settings.shrink_time = time;
        self
    }

    /// Sets the time after which a poll is reported.
    #[cfg(test)]
    pub(crate) fn set_watchdog(&mut self, limit: Duration) {
        self.settings.watchdog_limit = limit;
    }

    /// Executes all of it, and explains the first failure.
    pub fn run<F, Fut>(self, test: F) -> Report
    where
        F: Fn(Sim) -> Fut + Sync,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        self.run_test_fn(&test)
    }

    pub(crate) fn run_test_fn(mut self, test_fn: &dyn TestFn) -> Report {
        let name = &escape_line(&self.name);
        let replay_command = &Arc::new(ReplayCommand::new(self.replay_command.take()));
        let test_id = TestId { name, replay_command };
        let (subprocess, role) = Subprocess::new(name, self.harness_test.as_deref());
        let subprocess = &subprocess;
        if is_harness_thread() {
            self.settings.determinism_after_failure = DeterminismCheck::FreshProcess;
        }
        if role != Role::Parent {
            // The parent has refused it if it is malformed.
            let _ = self.settings.read_run_options(&env_var);
            let in_progress = &InProgressFiles::default();
            let context =
                TestContext { test_fn, settings: &self.settings, subprocess, test_id, in_progress };
            return match role {
                Role::Child => Runner::new(context).serve(),
                _ => Runner::new(context).empty_report(None),
            };
        }
        let names = std::env::vars_os().map(|(name, _)| name);
        let settings = match find_misspelled(names) {
            Some(error) => Err(error),
            None => self.settings.with_environment(&env_var),
        };
        let settings = settings.and_then(|settings| {
            settings
                .trace_file
                .as_deref()
                .map_or(Ok(()), trace_file::check_writable)
                .map(|()| settings)
        });
        let (settings, error) = match self.option_error.take().map_or(settings, Err) {
            Ok(settings) => (settings, None),
            Err(error) => (Settings::default(), Some(error)),
        };
        let in_progress = match (&settings.mode, &error) {
            (Mode::Seeds(_), None) => {
                InProgressFiles::create(&output_dir(), name, settings.thread_count())
            }
            _ => InProgressFiles::default(),
        };
        let (settings, in_progress) = (&settings, &in_progress);
        let runner =
            Runner::new(TestContext { test_fn, settings, subprocess, test_id, in_progress });
        if error.is_some() { runner.empty_report(error) } else { runner.run() }
    }
}

/// Whether this is the thread of a test, which its harness can execute again in a process of its
/// own. A `main` may do anything before it comes to its check.
fn is_harness_thread() -> bool {
    std::thread::current().name().is_some_and(|name| name != "main")
}

/// The facts that `#[virtnet::test]` has about a function.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    pub package: &'static str,
    pub module: &'static str,
    pub function: &'static str,
    pub file: &'static str,
    /// The name of the program that it is compiled for, if that is a binary or an example.
    pub program: Option<&'static str>,
    /// Whether it is compiled for an integration test or a bench.
    pub is_apart: bool,
    /// The options in its parentheses: names and values.
    pub options: &'static [(&'static str, &'static str)],
}

impl Attribute {
    /// Runs the function as the attribute says, and passes on what comes of it.
    pub fn run<F, Fut>(self, test: F)
    where
        F: Fn(Sim) -> Fut + Sync,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        self.to_check().run_test_fn(&test).assert();
    }

    fn to_check(self) -> Check {
        let (name, module) = (self.function, self.module);
        let (crate_name, path) = match module.split_once("::") {
            Some((crate_name, module)) => (crate_name, format!("{module}::{name}")),
            None => (module, name.to_string()),
        };
        let mut check = Check::new(&path);
        check.harness_test = Some(path.clone());
        // Its name is known, and there is nothing around its runs that would be done twice.
        check.settings.determinism_after_failure = DeterminismCheck::FreshProcess;
        let (package, target) = (self.package, self.cargo_target(crate_name));
        check.replay_command = Some(format!("cargo test -p {package} {target} {path} -- --exact"));
        for (option, value) in self.options {
            if let Err(expected) = check.settings.set_option(option, value) {
                let error = format!("virtnet: {option} = {value:?}: expected {expected}");
                check.option_error.get_or_insert(error);
            }
        }
        check
    }
}

impl Attribute {
    /// Which of a package's targets it belongs to, as an argument of Cargo's.
    fn cargo_target(self, crate_name: &str) -> String {
        let file = format!("/{}", self.file.replace('\\', "/"));
        // The step of the path below a folder of targets, unless that is a module of that name, or
        // has packages in it.
        let target_name = |folder: &str| {
            let (before, after) = file.rsplit_once(folder)?;
            let is_target_dir = !before.ends_with("/src") && !after.contains("/src/");
            is_target_dir.then(|| after.split('/').next().unwrap_or(after).trim_end_matches(".rs"))
        };
        match (self.program, self.is_apart) {
            (Some(program), _) if target_name("/examples/").is_some() => {
                format!("--example {program}")
            }
            (Some(program), _) => format!("--bin {program}"),
            (None, false) => "--lib".into(),
            (None, true) => {
                let test = target_name("/tests/").map(|name| ("--test", name));
                let found = test.or_else(|| target_name("/benches/").map(|name| ("--bench", name)));
                let (option, name) = found.unwrap_or(("--test", crate_name));
                // Crates have no hyphens, targets may have. A target may have many files.
                let is_crate_name = name.replace('-', "_") == crate_name;
                format!("{option} {}", if is_crate_name { name } else { crate_name })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Attribute;

    #[test]
    fn replay_command_names_the_cargo_target() {
        for (file, crate_name, program, is_apart, expected) in [
            ("tests/my-sim.rs", "my_sim", None, true, "--test my-sim"),
            ("store/tests/main.rs", "sim", None, true, "--test sim"),
            ("store/tests/sim/paxos.rs", "sim", None, true, "--test sim"),
            ("store/tests/sim/tests/paxos.rs", "sim", None, true, "--test sim"),
            ("benches/my-bench.rs", "my_bench", None, true, "--bench my-bench"),
            ("it/far.rs", "far", None, true, "--test far"),
            ("examples/http/main.rs", "http", Some("http"), false, "--example http"),
            ("examples/my-http.rs", "my_http", Some("my-http"), false, "--example my-http"),
            ("examples/http/src/main.rs", "http", Some("http"), false, "--bin http"),
            ("store/src/examples/x.rs", "store", Some("store"), false, "--bin store"),
            ("src/main.rs", "my_store", Some("my-store"), false, "--bin my-store"),
            ("src/bin/my-tool.rs", "my_tool", Some("my-tool"), false, "--bin my-tool"),
            ("store/src/log.rs", "store", None, false, "--lib"),
            ("store/src/tests/log.rs", "store", None, false, "--lib"),
            ("tests/support/src/lib.rs", "support", None, false, "--lib"),
        ] {
            let (package, module, function) = ("", crate_name, "");
            let attribute =
                Attribute { package, module, function, file, program, is_apart, options: &[] };
            assert_eq!(attribute.cargo_target(crate_name), expected, "{file}");
        }
    }
}
