//! A test of many runs: what `#[virtnet::test]` makes of a function, and the same by hand.

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::sim::{Run, Schedule, Sim, Tape};
use crate::simnet::{Ledger, NodeOutput};

use super::gather::Reached;
use super::panics::quietly;
use super::play::{Case, Played};
use super::report::{Report, Wrong};
use super::running::{file_name, target_folder};
use super::settings::{Isolation, Settings, Work, duration, environment, seeds};
use super::shrink::shrink;
use super::sweep::{About, Swept, isolated, sweep};
use super::trace_file;
use super::twice;

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
    replay: Option<String>,
    settings: Settings,
    /// What could not be read of an attribute.
    error: Option<String>,
}

impl Check {
    /// A test of that name, with the seeds from 0 to 63.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), replay: None, settings: Settings::default(), error: None }
    }

    /// Runs it once for each of these seeds.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.settings.work = Work::Seeds(seeds);
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
        self.settings.work = Work::Given(tape);
        self
    }

    /// On so many threads; unless said otherwise, on all cores if there are many seeds.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.settings.jobs = Some(jobs.max(1));
        self
    }

    /// Where each run is executed; unless said otherwise, on a fresh thread.
    pub fn isolate(mut self, isolation: Isolation) -> Self {
        self.settings.isolation = isolation;
        self
    }

    /// Executes every seed three times, and fails if they differ; after a failure that is done
    /// anyhow.
    pub fn check_determinism(mut self) -> Self {
        self.settings.check_determinism = true;
        self
    }

    /// Explores in another way than `Schedule::Random`.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.schedule = schedule;
        self
    }

    /// Ends each run when so much virtual time has passed: see [`Run::time_limit`].
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = Some(limit);
        self
    }

    /// Ends each run after so many steps: see [`Run::step_limit`].
    pub fn step_limit(mut self, steps: u64) -> Self {
        self.settings.step_limit = Some(steps);
        self
    }

    /// Spends so many runs on cutting a failure down; 0 is none, 1 000 unless said otherwise.
    pub fn shrink(mut self, runs: u64) -> Self {
        self.settings.shrink = runs;
        self
    }

    /// Writes the trace of the run that fails there: what `VIRTNET_TRACE` does.
    ///
    /// `run.html` is a page to look at, `run.json` is for Perfetto, any other ending is text; see
    /// the [module](super). A run that does not fail leaves a trace only if it is replayed.
    pub fn trace(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.trace = Some(file.into());
        self
    }

    /// Executes all of it, and explains the first failure.
    pub fn run<F, Fut>(self, test: F) -> Report
    where
        F: Fn(Sim) -> Fut + Sync,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        self.run_case(&test)
    }

    pub(crate) fn run_case(mut self, case: &dyn Case) -> Report {
        let settings = self.settings.clone().with_environment(&environment);
        let error = self.error.take();
        let settings = error.map_or(settings, Err).and_then(|settings| {
            settings.trace.as_deref().map_or(Ok(()), trace_file::look).map(|()| settings)
        });
        match settings {
            Ok(settings) => self.settings = settings,
            Err(error) => return self.report(Swept::default(), Some(Wrong::Settings(error))),
        }
        match self.settings.work.clone() {
            Work::Seeds(seeds) => self.sweep(case, seeds),
            Work::Replay(seed) => {
                let run = self.settings.run(seed);
                self.replay_one(case, &run)
            }
            Work::Given(tape) => {
                let run = self.settings.replay(&tape);
                self.replay_one(case, &run)
            }
            Work::Tape(file) => match read_tape(&file, &self.name) {
                Ok(tape) => {
                    let run = self.settings.replay(&tape);
                    self.replay_one(case, &run)
                }
                Err(error) => self.report(Swept::default(), Some(Wrong::Settings(error))),
            },
        }
    }

    fn sweep(&self, case: &dyn Case, seeds: Range<u64>) -> Report {
        let settings = &self.settings;
        let check = |played: &Played| {
            let differs = settings.check_determinism
                && twice::check(case, &settings.run(played.seed), played).is_some();
            differs.then(|| played.clone())
        };
        let (name, command) = (&*self.name, &*self.command());
        let swept = sweep(case, settings, seeds, About { name, command }, &check);
        match &swept.failed {
            Some(failed) => {
                let run = settings.run(failed.seed);
                let report = self.explain(case, &run, swept);
                self.traced(case, &run, report)
            }
            None => {
                let wrong = self.whole(&swept.ledger, &swept.reached);
                self.report(swept, wrong)
            }
        }
    }

    fn replay_one(&self, case: &dyn Case, run: &Run) -> Report {
        let played = match self.settings.isolation {
            Isolation::None => case.play(run.clone()),
            _ => isolated(case, run.clone()),
        };
        let failed = played.failure.is_some().then(|| played.clone());
        let Played { ledger, reached, .. } = played;
        let swept = Swept { runs: 1, failed, ledger, reached, took: Duration::ZERO };
        let report = match swept.failed {
            Some(_) => self.explain(case, run, swept),
            None => self.report(swept, None),
        };
        self.traced(case, run, report)
    }

    /// Writes the trace of a run that was replayed or has failed, if one is asked for.
    fn traced(&self, case: &dyn Case, run: &Run, mut report: Report) -> Report {
        let Some(file) = &self.settings.trace else { return report };
        let again = || isolated(case, run.clone().keep_trace().record_choices());
        let kept = report.failed.take().filter(|failed| failed.trace.is_some());
        report.failed = Some(kept.unwrap_or_else(again));
        let written = trace_file::write(file, &report);
        if report.is_ok() {
            report.failed = None;
            report.wrong = written.err().map(Wrong::Settings);
        } else {
            report.trace_file = Some(written.map(|()| file.clone()));
        }
        report
    }

    /// What is wrong with a sweep in which no run failed.
    fn whole(&self, ledger: &Ledger, reached: &Reached) -> Option<Wrong> {
        if !self.settings.is_whole_sweep() {
            return None;
        }
        let never: Vec<&str> =
            reached.iter().filter(|(_, count)| **count == 0).map(|(label, _)| *label).collect();
        if !never.is_empty() {
            let labels = never.join(", ");
            return Some(Wrong::Sweep(format!("sometimes! was never reached: {labels}")));
        }
        let idle = ledger.ineffective();
        (!idle.is_empty()).then(|| {
            let families = idle.join(", ");
            Wrong::Sweep(format!("faults were requested that never had an effect: {families}"))
        })
    }

    /// Finds out all there is to know of a failure.
    fn explain(&self, case: &dyn Case, run: &Run, swept: Swept) -> Report {
        let Some(failed) = swept.failed.clone() else {
            return self.report(swept, None);
        };
        if let Some(differs) = twice::check(case, run, &failed) {
            return self.report(swept, Some(Wrong::Differs(Box::new(differs))));
        }
        let wrong = failed.failure.clone().map(Box::new).map(Wrong::Failed);
        let mut report = self.report(swept, wrong);
        let traced = isolated(case, run.clone().keep_trace().record_choices());
        let file = self.tape_file(traced.seed);
        if self.settings.shrink > 0 {
            let place = file.as_ref().ok().map(PathBuf::as_path);
            report.shrunk = shrink(case, &self.settings, run, &failed, place);
        }
        report.failed = Some(traced);
        let words = report.tape().map(Tape::input).unwrap_or_default();
        report.input = quietly(|| Some(case.input(failed.seed, &words)?.text()));
        report.tape_file = Some(file.and_then(|file| self.write_tape(&file, &report)));
        if let (Work::Given(_), Some(Ok(file))) = (&self.settings.work, &report.tape_file) {
            report.replay = format!("VIRTNET_TAPE={} {}", file.display(), report.replay);
        }
        report
    }

    fn report(&self, swept: Swept, wrong: Option<Wrong>) -> Report {
        let failed_seed = swept.failed.as_ref().map(|failed| failed.seed);
        let again = match &self.settings.work {
            Work::Tape(file) => format!("VIRTNET_TAPE={} ", file.display()),
            Work::Replay(seed) => format!("VIRTNET_SEED={seed:#x} "),
            Work::Given(_) => String::new(),
            Work::Seeds(_) => {
                failed_seed.map(|seed| format!("VIRTNET_SEED={seed:#x} ")).unwrap_or_default()
            }
        };
        Report {
            name: self.name.clone(),
            runs: swept.runs,
            failed_seed,
            ledger: swept.ledger,
            reached: swept.reached,
            wrong,
            shrunk: None,
            input: None,
            failed: swept.failed,
            tape_file: None,
            trace_file: None,
            replay: again + &self.command(),
        }
    }

    /// The command that runs this test alone.
    fn command(&self) -> String {
        self.replay.clone().unwrap_or_else(|| {
            // The harness names the thread of a test after it.
            let thread = std::thread::current().name().unwrap_or("main").to_string();
            match thread.as_str() {
                "main" => "cargo test".into(),
                test => format!("cargo test {test} -- --exact"),
            }
        })
    }

    fn tape_file(&self, seed: u64) -> Result<PathBuf, String> {
        let folder = target_folder().join("virtnet");
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("no tape was written: {}: {error}", folder.display()))?;
        let name = file_name(&self.name);
        Ok(folder.join(format!("{name}-{seed:#x}.tape")))
    }

    fn write_tape(&self, file: &std::path::Path, report: &Report) -> Result<PathBuf, String> {
        let tape = report.tape().map(Tape::to_string).unwrap_or_default();
        // Of one line, whatever the test's types print.
        let input = report.input.as_ref().map(|text| format!("# input: {}\n", one_line(text)));
        let text = format!("# {TEST}{}\n{}{tape}", self.name, input.unwrap_or_default());
        std::fs::write(file, text)
            .map_err(|error| format!("no tape was written: {}: {error}", file.display()))?;
        Ok(file.to_path_buf())
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How a tape says which test it is of, in a comment.
const TEST: &str = "test: ";

/// Reads the tape of a test, unless it is another's.
fn read_tape(file: &std::path::Path, name: &str) -> Result<Tape, String> {
    let fail = |what: String| format!("virtnet: VIRTNET_TAPE={}: {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
    let of = text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(TEST));
    if let Some(of) = of.filter(|of| *of != name) {
        return Err(fail(format!("it is a tape of the test {of}, and this is {name}")));
    }
    text.parse().map_err(|error| fail(format!("{error}")))
}

/// What `#[virtnet::test]` knows of a function.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    pub package: &'static str,
    pub module: &'static str,
    pub function: &'static str,
    pub file: &'static str,
    /// What stands in its parentheses: names and values.
    pub options: &'static [(&'static str, &'static str)],
}

impl Attribute {
    /// Runs the function as the attribute says, and passes on what comes of it.
    pub fn run<F, Fut>(self, test: F)
    where
        F: Fn(Sim) -> Fut + Sync,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        self.check().run_case(&test).assert();
    }

    fn check(self) -> Check {
        let (name, module) = (self.function, self.module);
        let (crate_name, path) = match module.split_once("::") {
            Some((crate_name, module)) => (crate_name, format!("{module}::{name}")),
            None => (module, name.to_string()),
        };
        let mut check = Check::new(&path);
        let (package, target) = (self.package, target(self.file, crate_name));
        check.replay = Some(format!("cargo test -p {package} {target} {path} -- --exact"));
        for (option, value) in self.options {
            if let Err(expected) = check.set(option, value) {
                let error = format!("virtnet: {option} = {value:?}: expected {expected}");
                check.error.get_or_insert(error);
            }
        }
        check
    }
}

impl Check {
    /// Takes an option of the attribute.
    fn set(&mut self, option: &str, value: &str) -> Result<(), &'static str> {
        let settings = &mut self.settings;
        match option {
            "seeds" => settings.work = Work::Seeds(seeds(value)?),
            "jobs" => settings.jobs = Some(value.parse().map_err(|_| "a number of threads")?),
            "time_limit" => {
                settings.time_limit = Some(duration(value).ok_or("a duration, as 5min")?);
            }
            "step_limit" => {
                settings.step_limit = Some(value.parse().map_err(|_| "a number of steps")?);
            }
            "schedule" => {
                settings.schedule = value.parse().map_err(|_| "fifo, random or pct:N")?;
            }
            "isolate" => {
                settings.isolation = match value {
                    "none" => Isolation::None,
                    "thread" => Isolation::Thread,
                    _ => return Err("thread or none"),
                };
            }
            "check_determinism" => settings.check_determinism = value == "true",
            "shrink" => settings.shrink = value.parse().map_err(|_| "a number of runs")?,
            _ => return Err("an option of #[virtnet::test]"),
        }
        Ok(())
    }
}

/// Which of a package's targets a file belongs to, as an argument of Cargo's. A target may have
/// many files, but only one crate.
fn target(file: &str, crate_name: &str) -> String {
    let file = format!("/{}", file.replace('\\', "/"));
    let folders = [("/tests/", "--test"), ("/examples/", "--example"), ("/benches/", "--bench")];
    for (folder, option) in folders {
        if let Some((_, rest)) = file.rsplit_once(folder) {
            // Crates have no hyphens, targets may have.
            let name = rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs");
            let own = name.replace('-', "_") == crate_name;
            return format!("{option} {}", if own { name } else { crate_name });
        }
    }
    "--lib".into()
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn a_replay_names_the_target() {
        for (file, crate_name, expected) in [
            ("tests/my-sim.rs", "my_sim", "--test my-sim"),
            ("store/tests/main.rs", "sim", "--test sim"),
            ("store/tests/sim/paxos.rs", "sim", "--test sim"),
            ("examples/http/main.rs", "http", "--example http"),
            ("store/src/log.rs", "store", "--lib"),
        ] {
            assert_eq!(target(file, crate_name), expected);
        }
    }
}
