//! Control flow of a check: sweep, replay or merged results, then the analyses of a failure.
//!
//! The analyses run in this order: repetition (is it the same run?), state left by earlier runs,
//! shrinking, trace file.

use std::fs::{create_dir_all, rename, write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sim::Tape;
use crate::simnet::FaultStats;

use crate::check::analysis::determinism;
use crate::check::analysis::determinism::{Nondeterminism, RepeatResult};
use crate::check::analysis::earlier_runs::find_leaked_state;
use crate::check::analysis::shrink::shrink;
use crate::check::assertions::AssertionCounts;
use crate::check::exec::deadline::Deadline;
use crate::check::exec::executor::RunExecutor;
use crate::check::exec::in_progress::output_dir;
use crate::check::exec::panic_hook::catch_silently;
use crate::check::exec::run_once::{MAX_TRACED_STEPS, RunResult};
use crate::check::exec::run_request::RunRequest;
use crate::check::exec::subprocess::serve;
use crate::check::exec::watchdog::{WorkerProgress, with_watch_events, with_watchdog};
use crate::check::failure::{Failure, FailureKind};
use crate::check::report::text::{Report, TestFailure};
use crate::check::report::trace_file;
use crate::check::settings::{DeterminismCheck, Mode, Settings, format_seeds, seed_count};
use crate::check::shell_quote::shell_word;
use crate::check::sweep::{FailedSeed, SweepResult, TestContext, run_and_check, sweep};
use crate::check::sweep_results;
use crate::check::sweep_results::{MergedResults, ResultKey};
use crate::check::test_id::{TestId, test_file_name};

/// A test under way.
pub(crate) struct Runner<'a> {
    context: TestContext<'a>,
    settings: &'a Settings,
    test_id: TestId<'a>,
}

impl<'a> Runner<'a> {
    pub(crate) const fn new(context: TestContext<'a>) -> Self {
        Self { context, settings: context.settings, test_id: context.test_id }
    }

    /// Plays the one run that another process asks for.
    pub(crate) fn serve(&self) -> ! {
        let progress = WorkerProgress::default();
        let executor = self.context.executor(&progress);
        let test = (self.context.test_fn, self.settings);
        serve(|request, send_event| {
            with_watch_events(&progress, test, send_event, || {
                self.with_watchdog(&progress, || executor.on_fresh_thread(request))
            })
        })
    }

    /// A report of nothing, or of why there is nothing.
    pub(crate) fn empty_report(&self, error: Option<String>) -> Report {
        self.report(SweepResult::default(), error.map(TestFailure::Settings))
    }

    /// Does what the settings say.
    pub(crate) fn run(&self) -> Report {
        self.print_interrupted();
        match self.settings.mode.clone() {
            Mode::Seeds(seeds) => self.sweep(seeds),
            Mode::Replay(seed) => self.replay(&RunRequest::from_seed(seed)),
            Mode::ProvidedTape(tape) => self.replay(&RunRequest::from_tape(tape)),
            Mode::TapeFile(file) => match read_tape(&file, self.test_id.name) {
                // A tape without a seed is one of seed zero.
                Ok(tape) => self.replay(&RunRequest::from_tape(tape)),
                Err(error) => self.empty_report(Some(error)),
            },
            Mode::MergeResults(file) => self.merge_results(&file),
        }
    }

    /// Says what earlier processes were at when they ended, by themselves or not.
    fn print_interrupted(&self) {
        for seed in &self.context.in_progress.crashed_seeds {
            let message =
                format!("an earlier process ended, or was ended, in the run of seed {seed:#x}");
            self.test_id.eprint_replay(&message, Some(*seed));
        }
        if let (Some(first), Mode::Seeds(seeds)) =
            (self.context.in_progress.crashed_seeds.first(), &self.settings.mode)
            && (seeds.start + 1..seeds.end).contains(first)
        {
            // Seeds are run in order: whatever it had not come to is not smaller.
            let message = format!("if it was to run these seeds, all before {first:#x} were well");
            self.test_id.eprint_command(
                &message,
                "go on",
                &self.remaining_variables(*first..seeds.end),
            );
        }
        for (seed, tape) in &self.context.in_progress.interrupted_shrinks {
            let message = format!(
                "an earlier process found that seed {seed:#x} fails, and ended while it cut that \
                 down; it had come to {}",
                tape.display()
            );
            self.test_id.eprint_command(&message, "replay", &tape_variable(tape));
        }
    }

    fn sweep(&self, seeds: Range<u64>) -> Report {
        let settings = self.settings;
        let key = ResultKey::new(self.test_id.name);
        if let Some(Err(error)) =
            settings.results_file.as_ref().map(|file| sweep_results::check_writable(file))
        {
            return self.empty_report(Some(error));
        }
        if settings.has_random_seeds {
            let variables = self.sweep_variables(&format_seeds(&seeds));
            self.test_id.eprint_command("these seeds were drawn", "again", &variables);
        }
        let result = sweep(self.context, seeds.clone());
        if let Some(error) = result.failed_seed.as_ref().and_then(FailedSeed::spawn_error) {
            return self.empty_report(Some(error.into()));
        }
        if let Some(file) = &settings.results_file
            && let Err(error) =
                sweep_results::append_line(file, &key, (&seeds, settings.shard), &result)
        {
            if result.failed_seed.is_none() {
                return self.empty_report(Some(error));
            }
            // A failure that was found is worth more than its line.
            let variables = self.sweep_variables(&format_seeds(&seeds));
            self.test_id.eprint_command(error.trim_start_matches("virtnet: "), "again", &variables);
        }
        if let Some(next) = result.next_seed {
            self.print_continuation(&seeds, next, &result);
        }
        match &result.failed_seed {
            Some(failed) => {
                let request = RunRequest::from_seed(failed.result.seed);
                let report = self.explain(&request, result);
                self.with_trace_file(&request, report)
            }
            None => {
                let covered = seeds.start..result.next_seed.unwrap_or(seeds.end);
                let is_whole = settings.is_whole(&covered);
                let failure = is_whole
                    .then(|| whole_sweep_failure(&result.fault_stats, &result.assertions))
                    .flatten();
                self.report(result, failure)
            }
        }
    }

    fn print_continuation(&self, seeds: &Range<u64>, next: u64, result: &SweepResult) {
        let (runs, elapsed) = (result.runs, result.elapsed.as_secs_f64());
        let message =
            format!("{runs} seeds from {:#x} on in {elapsed:.1} s, all well", seeds.start);
        self.test_id.eprint_command(&message, "go on", &self.remaining_variables(next..seeds.end));
    }

    /// The variables with which a sweep goes on with what is left of it.
    fn remaining_variables(&self, seeds: Range<u64>) -> String {
        self.sweep_variables(&self.settings.remaining_seeds(&seeds))
    }

    /// The variables with which these seeds are run, and otherwise as now.
    fn sweep_variables(&self, seeds: &str) -> String {
        let budget =
            self.settings.budget.map(|budget| format!("VIRTNET_BUDGET={}ms ", budget.as_millis()));
        let shard = self
            .settings
            .shard
            .map(|(index, count)| format!("VIRTNET_SHARD={}/{count} ", index + 1));
        let [budget, shard] = [budget, shard].map(Option::unwrap_or_default);
        format!("{budget}VIRTNET_SEEDS={seeds} {shard}")
    }

    fn replay(&self, request: &RunRequest) -> Report {
        let progress = WorkerProgress::default();
        let executor = self.context.executor(&progress);
        let result = self.with_watchdog(&progress, || run_and_check(&executor, request));
        let report = match result.failed_seed {
            Some(_) => self.explain(request, result),
            None => self.report(result, None),
        };
        self.with_trace_file(request, report)
    }

    /// Writes the trace of a run that was replayed or has failed, if one is asked for.
    fn with_trace_file(&self, request: &RunRequest, mut report: Report) -> Report {
        let is_invalid = matches!(report.failure, Some(TestFailure::Settings(_)));
        let Some(file) = self.settings.trace_file.as_ref().filter(|_| !is_invalid) else {
            return report;
        };
        let is_hung =
            matches!(&report.failure, Some(TestFailure::Run(failure)) if failure.is_hung());
        let usable_run =
            report.failed_run.take().filter(|failed| failed.trace.is_some() || is_hung);
        report.failed_run = Some(usable_run.unwrap_or_else(|| {
            let progress = WorkerProgress::default();
            let executor = self.context.executor(&progress);
            self.with_watchdog(&progress, || {
                executor.isolated(&request.clone().keep_trace().record_choices())
            })
        }));
        let written = trace_file::write(file, &report);
        if report.is_ok() {
            report.failed_run = None;
            report.failure = written.err().map(TestFailure::Settings);
        } else {
            report.trace_file = Some(written.map(|()| file.clone()));
        }
        report
    }

    /// Puts together what many sweeps have come to, and judges it as if it were one.
    fn merge_results(&self, file: &Path) -> Report {
        let merged = match MergedResults::read(file, &ResultKey::new(self.test_id.name)) {
            Ok(merged) => merged,
            Err(error) => return self.empty_report(Some(error)),
        };
        let failure = match &merged.failed {
            Some((_, message)) => Some(TestFailure::Sweep(message.clone())),
            None if self.is_whole(&merged) => {
                whole_sweep_failure(&merged.fault_stats, &merged.assertions)
            }
            None => None,
        };
        let MergedResults { runs, failed, fault_stats: stats, assertions: reached, .. } = merged;
        let mut report = self.report(
            SweepResult { runs, fault_stats: stats, assertions: reached, ..SweepResult::default() },
            failure,
        );
        if let Some((seed, _)) = failed {
            report.failed_seed = Some(seed);
            report.replay =
                format!("VIRTNET_SEED={seed:#x} {}", self.test_id.replay_command.command());
        }
        report
    }

    /// Whether results are of as many seeds as the test asks for, or of its own. Says if not.
    fn is_whole(&self, merged: &MergedResults) -> bool {
        let (covered, settings) = (merged.covered_seeds(), self.settings);
        let seeds = covered.iter().fold(0, |sum: u64, seeds| sum.saturating_add(seed_count(seeds)));
        let is_whole = settings.has_enough_seeds(seeds)
            || covered.iter().any(|covered| settings.covers_test_seeds(covered));
        if !is_whole {
            let expected = seed_count(&settings.test_seeds);
            self.test_id.eprint_note(&format!(
                "the results have {seeds} seeds, and the test asks for {expected}: they are \
                 judged as a part, by seeds that failed"
            ));
        }
        is_whole
    }

    /// Finds out all there is to know of a failure.
    fn explain(&self, request: &RunRequest, result: SweepResult) -> Report {
        let Some(failed) = result.failed_seed.clone() else { return self.report(result, None) };
        let progress = WorkerProgress::default();
        self.context.in_progress.set_only_seed(failed.result.seed);
        self.with_watchdog(&progress, || {
            self.explain_watched(&self.context.executor(&progress), request, failed, result)
        })
    }

    fn explain_watched(
        &self,
        executor: &RunExecutor<'_>,
        request: &RunRequest,
        failed: FailedSeed,
        sweep_result: SweepResult,
    ) -> Report {
        if let Some(error) = failed.spawn_error() {
            return self.empty_report(Some(error.into()));
        }
        let FailedSeed { result, nondeterminism } = failed;
        if result.failure.as_ref().is_some_and(Failure::is_hung) {
            return self.hung_report(result, sweep_result);
        }
        let repeated = match nondeterminism {
            Some(_) => None,
            None => Some(self.repeat(executor, request, &result)),
        };
        let nondeterminism =
            nondeterminism.or_else(|| repeated.as_ref().and_then(|one| one.nondeterminism.clone()));
        if let Some(error) =
            nondeterminism.as_ref().and_then(|nondeterminism| nondeterminism.spawn_error.clone())
        {
            return self.empty_report(Some(error));
        }
        let (Some(failure), Some(repeated)) = (&result.failure, repeated) else {
            let test_failure = nondeterminism
                .map(|nondeterminism| TestFailure::Nondeterminism(Box::new(nondeterminism)));
            return self.report(sweep_result, test_failure);
        };
        let test_failure = TestFailure::Run(Box::new(failure.clone()));
        let mut report = self.report(sweep_result, Some(test_failure));
        report.skipped.extend(interruption_text(&repeated).map(String::from));
        let first_repeat = repeated.first_repeat;
        let fails_same_way = first_repeat
            .failure
            .as_ref()
            .is_some_and(|first_repeat| first_repeat.kind == failure.kind);
        if let Some(nondeterminism) = nondeterminism {
            self.add_nondeterminism(executor, &result, nondeterminism, &mut report);
        }
        if fails_same_way
            && report
                .nondeterminism
                .as_ref()
                .is_none_or(|nondeterminism| nondeterminism.always_ends_same())
        {
            self.shrink_failure(executor, &result, first_repeat, &mut report);
        } else if fails_same_way {
            report.failed_run = Some(first_repeat);
        }
        report
    }

    /// Runs a seed that has failed again, as often as that is asked for or makes sense.
    fn repeat(
        &self,
        executor: &RunExecutor<'_>,
        request: &RunRequest,
        result: &RunResult,
    ) -> RepeatResult {
        let deadline = self.repetition_deadline();
        let (requested, minimum) =
            (self.settings.determinism, self.settings.determinism_after_failure);
        let modes = requested.map_or(minimum, |requested| requested.union(minimum));
        let mut request = request.clone().keep_trace_unless_long(result);
        if result.steps <= MAX_TRACED_STEPS {
            request = request.record_choices();
        }
        let mut repeated = determinism::repeat(executor, &request, result, modes, deadline);
        // If no process was requested, it does not matter that none can be started.
        if !requested.is_some_and(DeterminismCheck::needs_fresh_process) {
            repeated.nondeterminism =
                repeated.nondeterminism.filter(|difference| difference.spawn_error.is_none());
        }
        repeated
    }

    /// The real time for the repetitions of a failure. They are at least three, and a run that can
    /// be shrunk in time is to be repeated in time.
    fn repetition_deadline(&self) -> Deadline {
        const MIN: Duration = Duration::from_secs(1);
        Deadline::after(self.settings.shrink_time.max(MIN).saturating_mul(2))
    }

    /// Tells how the runs of a seed that failed differ, and which of them can be made to fail.
    fn add_nondeterminism(
        &self,
        executor: &RunExecutor<'_>,
        result: &RunResult,
        nondeterminism: Nondeterminism,
        report: &mut Report,
    ) {
        if let Mode::Seeds(seeds) = &self.settings.mode {
            let deadline = self.repetition_deadline();
            report.leaked_state =
                find_leaked_state(executor, (result, &nondeterminism), seeds.start, deadline);
        }
        let leaked_seeds = report.leaked_state.as_ref().map(|earlier| earlier.replay_seeds());
        match leaked_seeds {
            Some(Some(seeds)) => {
                let command = self.test_id.replay_command.command();
                report.replay = format!("VIRTNET_SEEDS={seeds} VIRTNET_JOBS=1 {command}");
            }
            Some(None) => {}
            // It need not fail alone: it is to be held against the same again.
            None if !nondeterminism.always_ends_same() => {
                report.replay = format!(
                    "VIRTNET_CHECK_DETERMINISM={} {}",
                    nondeterminism.variable_value(),
                    report.replay
                );
            }
            None => {}
        }
        report.nondeterminism = Some(Box::new(nondeterminism));
    }

    /// Cuts a failure down that fails each time; `again` is its repetition, with its choices.
    fn shrink_failure(
        &self,
        executor: &RunExecutor<'_>,
        result: &RunResult,
        first_repeat: RunResult,
        report: &mut Report,
    ) {
        let file = self.tape_file(first_repeat.seed);
        if self.settings.shrink_runs > 0 {
            let save = |tape: &Tape| {
                if let Ok(file) = &file {
                    let _ = self.write_tape(file, tape);
                }
            };
            save(&first_repeat.tape);
            if let Ok(file) = &file {
                self.context.in_progress.mark_shrinking(first_repeat.seed, file);
            }
            report.shrunk = shrink(executor, result, &first_repeat, &save);
            if report.shrunk.is_none() && result.steps > MAX_TRACED_STEPS {
                report.skipped.push(format!(
                    "it was not shrunk: a run of {} steps makes too many choices; step_limit ends \
                     it sooner",
                    result.steps
                ));
            }
        }
        report.failed_run = Some(first_repeat);
        let tape = report.tape().cloned().unwrap_or_else(Tape::zero);
        report.input = self.input_text(&tape);
        report.tape_file = Some(file.and_then(|file| self.write_tape(&file, &tape)));
        if let (Mode::ProvidedTape(_), Some(Ok(file))) = (&self.settings.mode, &report.tape_file) {
            report.replay = tape_variable(file) + &report.replay;
        }
    }

    /// The report of a run that did not end. The run is neither repeated nor shrunk: each attempt
    /// would take as long.
    fn hung_report(&self, result: RunResult, sweep_result: SweepResult) -> Report {
        let test_failure = result.failure.clone().map(Box::new).map(TestFailure::Run);
        let mut report = self.report(sweep_result, test_failure);
        let file = self.tape_file(result.seed);
        report.tape_file = Some(file.and_then(|file| self.write_tape(&file, &result.tape)));
        report.failed_run = Some(result);
        report
    }

    /// Does something in the runs that `at` shows, and tells if one of them does not come back.
    fn with_watchdog<T>(&self, progress: &WorkerProgress, work: impl FnOnce() -> T) -> T {
        with_watchdog(progress, (self.context.test_fn, self.settings, self.test_id), work)
    }

    fn report(&self, sweep_result: SweepResult, failure: Option<TestFailure>) -> Report {
        let TestId { name, replay_command } = self.test_id;
        let failed = sweep_result.failed_seed.map(|failed| failed.result);
        let failed_seed = failed.as_ref().map(|failed| failed.seed);
        let variables = match &self.settings.mode {
            Mode::TapeFile(file) => tape_variable(file),
            Mode::Replay(seed) => format!("VIRTNET_SEED={seed:#x} "),
            Mode::ProvidedTape(_) => String::new(),
            Mode::Seeds(_) | Mode::MergeResults(_) => {
                failed_seed.map(|seed| format!("VIRTNET_SEED={seed:#x} ")).unwrap_or_default()
            }
        };
        // A run that is repeated alone need not fail: it is to be held against the same again.
        let check_variable = match &failure {
            Some(TestFailure::Nondeterminism(difference)) => {
                format!("VIRTNET_CHECK_DETERMINISM={} ", difference.variable_value())
            }
            _ => String::new(),
        };
        // Finding out the command of this test takes a while, and a sweep without failures does not
        // print it.
        let is_printed = failure.is_some() || self.settings.trace_file.is_some();
        let command = if is_printed { replay_command.command() } else { "" };
        Report {
            name: name.into(),
            runs: sweep_result.runs,
            failed_seed,
            next_seed: sweep_result.next_seed,
            fault_stats: sweep_result.fault_stats,
            assertions: sweep_result.assertions,
            failure,
            nondeterminism: None,
            leaked_state: None,
            shrunk: None,
            skipped: Vec::new(),
            input: None,
            failed_run: failed,
            tape_file: None,
            trace_file: None,
            replay: check_variable + &variables + command,
        }
    }

    /// The input of a test on a tape, if it takes one.
    fn input_text(&self, tape: &Tape) -> Option<String> {
        let seed = tape.seed().unwrap_or(0);
        catch_silently(|| Some(self.context.test_fn.input(seed, &tape.input())?.text()))
    }

    fn tape_file(&self, seed: u64) -> Result<PathBuf, String> {
        let folder = output_dir();
        create_dir_all(&folder)
            .map_err(|error| format!("no tape was written: {}: {error}", folder.display()))?;
        let name = test_file_name(self.test_id.name);
        Ok(folder.join(format!("{name}-{seed:#x}.tape")))
    }

    /// Writes a tape, so that there is a whole one at any moment.
    fn write_tape(&self, file: &Path, tape: &Tape) -> Result<PathBuf, String> {
        // In one line, whatever the test's types print.
        let input = self.input_text(tape);
        let input = input.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        let input = input.map(|text| format!("# input: {text}\n")).unwrap_or_default();
        let text = format!("# {TEST_PREFIX}{}\n{input}{tape}", self.test_id.name);
        let temporary = file.with_extension("tape.new");
        write(&temporary, text)
            .and_then(|()| rename(&temporary, file))
            .map_err(|error| format!("no tape was written: {}: {error}", file.display()))?;
        Ok(file.to_path_buf())
    }
}

/// Says that repetitions were ended, if they were.
fn interruption_text(repeated: &RepeatResult) -> Option<&'static str> {
    let is_stopped = repeated
        .first_repeat
        .failure
        .as_ref()
        .is_some_and(|again| again.kind == FailureKind::Stopped);
    repeated.is_interrupted.then_some(if is_stopped {
        "it was neither repeated nor shrunk: a repetition was stopped after its real time; \
         VIRTNET_SHRINK=60s\nis more, step_limit and time_limit end a run sooner"
    } else {
        "whether it is the same run each time is not known: the real time for repetitions was over \
         before\nall were done; VIRTNET_SHRINK=60s is more"
    })
}

/// The failure of a whole sweep in which no run failed.
fn whole_sweep_failure(
    fault_stats: &FaultStats,
    assertions: &AssertionCounts,
) -> Option<TestFailure> {
    let labels = assertions.sometimes.iter();
    let unreached: Vec<&str> =
        labels.filter(|(_, count)| **count == 0).map(|(label, _)| &**label).collect();
    if !unreached.is_empty() {
        let labels = unreached.join(", ");
        return Some(TestFailure::Sweep(format!("sometimes! was never reached: {labels}")));
    }
    let ineffective = fault_stats.ineffective();
    (!ineffective.is_empty()).then(|| {
        let families = ineffective.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        TestFailure::Sweep(format!("faults were requested that never had an effect: {families}"))
    })
}

/// The variable with which a tape is played.
fn tape_variable(tape: &Path) -> String {
    format!("VIRTNET_TAPE={} ", shell_word(tape))
}

/// The beginning of the comment of a tape that names its test.
const TEST_PREFIX: &str = "test: ";

/// Reads the tape of a test, unless it is another's.
fn read_tape(file: &Path, name: &str) -> Result<Tape, String> {
    let fail = |reason: String| format!("virtnet: VIRTNET_TAPE={}: {reason}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
    let recorded_name =
        text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(TEST_PREFIX));
    if let Some(recorded_name) = recorded_name.filter(|recorded_name| *recorded_name != name) {
        return Err(fail(format!("it is a tape of the test {recorded_name}, and this is {name}")));
    }
    text.parse().map_err(|error| fail(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use crate::check::builder::Check;
    use crate::check::settings::Isolation;
    use std::process::Command;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    const HANG_VARIABLE: &str = "VIRTNET_TESTS_HANGS";

    /// In a process of its own, whose standard error can be read: a run that fails and does not
    /// come back soon, either in all its runs or from the fifth on.
    fn hang(mode: &str) {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let in_process = mode == "apart";
        let isolation = if in_process { Isolation::Process } else { Isolation::Thread };
        let check = Check::new(&format!("hangs-{mode}")).seeds(0..1);
        let mut check = check.isolate(isolation).shrink(if in_process { 0 } else { 3 });
        check.set_watchdog(Duration::from_millis(50));
        let _ = check.run(move |sim| async move {
            let coin = sim.choose("coin", 1000);
            if in_process || RUNS.fetch_add(1, Relaxed) >= 5 {
                std::thread::sleep(Duration::from_millis(400));
            }
            assert_eq!(coin, 0, "it fails");
        });
    }

    #[test]
    fn watchdog_covers_repetitions_and_subprocesses() {
        if let Ok(description) = std::env::var(HANG_VARIABLE) {
            return hang(&description);
        }
        let thread = std::thread::current();
        let test = thread.name().expect("a test's thread has the name of the test");
        for (description, expected) in [
            ("shrinking", "the run of seed 0x0, cut down, has been in one poll for 0."),
            ("apart", "the run of seed 0x0 has been in one poll for 0."),
        ] {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([test, "--exact", "--nocapture"]).env(HANG_VARIABLE, description);
            let text = String::from_utf8(command.output().unwrap().stderr).unwrap();
            assert!(text.contains(expected), "{description}: {text}");
            assert!(text.contains("step 1 polls task main\n  replay: "), "{description}: {text}");
        }
    }
}
