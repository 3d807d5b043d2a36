//! The course of a test: a sweep, a replay or a judgement, and everything that is to be found out
//! about a failure.
//!
//! Knows what is done after what; refuses to know how each of it is done.

use std::fs::{create_dir_all, rename, write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sim::Tape;
use crate::simnet::Ledger;

use crate::check::analysis::determinism;
use crate::check::analysis::determinism::{Differs, Repeated};
use crate::check::analysis::earlier_runs::earlier;
use crate::check::analysis::shrink::shrink;
use crate::check::assertions::Reached;
use crate::check::exec::deadline::Patience;
use crate::check::exec::executor::Place;
use crate::check::exec::in_progress::{file_name, folder};
use crate::check::exec::panic_hook::quietly;
use crate::check::exec::run_once::{Played, TRACED};
use crate::check::exec::run_request::Order;
use crate::check::exec::subprocess::serve;
use crate::check::exec::watchdog::{At, signalled, watched};
use crate::check::failure::{Failure, Kind};
use crate::check::report::text::{Report, Wrong};
use crate::check::report::trace_file;
use crate::check::settings::{Determinism, Settings, Work, count, range_text};
use crate::check::shell_quote::shell_word;
use crate::check::sweep::{Failed, Subject, Swept, one, sweep};
use crate::check::sweep_results;
use crate::check::sweep_results::{Merged, Whose};
use crate::check::test_id::About;

/// A test under way.
pub(crate) struct Course<'a> {
    subject: Subject<'a>,
    settings: &'a Settings,
    about: About<'a>,
}

impl<'a> Course<'a> {
    pub(crate) const fn new(subject: Subject<'a>) -> Self {
        Self { subject, settings: subject.settings, about: subject.about }
    }

    /// Plays the one run that another process asks for.
    pub(crate) fn serve(&self) -> ! {
        let at = At::default();
        let place = self.subject.place(&at);
        let what = (self.subject.case, self.settings);
        serve(|order, tell| {
            signalled(&at, what, tell, || self.watched(&at, || place.on_a_fresh_thread(order)))
        })
    }

    /// A report of nothing, or of why there is nothing.
    pub(crate) fn nothing(&self, error: Option<String>) -> Report {
        self.report(Swept::default(), error.map(Wrong::Settings))
    }

    /// Does what the settings say.
    pub(crate) fn run(&self) -> Report {
        self.tell_what_was_left();
        match self.settings.work.clone() {
            Work::Seeds(seeds) => self.sweep(seeds),
            Work::Replay(seed) => self.replay(&Order::of_seed(seed)),
            Work::Given(tape) => self.replay(&Order::of_tape(tape)),
            Work::Tape(file) => match read_tape(&file, self.about.name) {
                // A tape without a seed is one of seed zero.
                Ok(tape) => self.replay(&Order::of_tape(tape)),
                Err(error) => self.nothing(Some(error)),
            },
            Work::Judge(file) => self.judge(&file),
        }
    }

    /// Says what earlier processes were at when they ended, by themselves or not.
    fn tell_what_was_left(&self) {
        for seed in &self.subject.running.lost {
            let what =
                format!("an earlier process ended, or was ended, in the run of seed {seed:#x}");
            self.about.say(&what, Some(*seed));
        }
        if let (Some(first), Work::Seeds(seeds)) =
            (self.subject.running.lost.first(), &self.settings.work)
            && (seeds.start + 1..seeds.end).contains(first)
        {
            // Seeds are run in order: whatever it had not come to is not smaller.
            let what = format!("if it was to run these seeds, all before {first:#x} were well");
            self.about.say_with(&what, "go on", &self.rest(*first..seeds.end));
        }
        for (seed, tape) in &self.subject.running.cut {
            let what = format!(
                "an earlier process found that seed {seed:#x} fails, and ended while it cut that \
                 down; it had come to {}",
                tape.display()
            );
            self.about.say_with(&what, "replay", &playing(tape));
        }
    }

    fn sweep(&self, seeds: Range<u64>) -> Report {
        let settings = self.settings;
        let whose = Whose::new(self.about.name);
        if let Some(Err(error)) = settings.results.as_ref().map(|file| sweep_results::can_add(file))
        {
            return self.nothing(Some(error));
        }
        if settings.seeds_drawn {
            let again = self.variables_of(&range_text(&seeds));
            self.about.say_with("these seeds were drawn", "again", &again);
        }
        let swept = sweep(self.subject, seeds.clone());
        if let Some(error) = swept.failed.as_ref().and_then(Failed::want_of_a_process) {
            return self.nothing(Some(error.into()));
        }
        if let Some(file) = &settings.results
            && let Err(error) = sweep_results::add(file, &whose, (&seeds, settings.shard), &swept)
        {
            if swept.failed.is_none() {
                return self.nothing(Some(error));
            }
            // A failure that was found is worth more than its line.
            let again = self.variables_of(&range_text(&seeds));
            self.about.say_with(error.trim_start_matches("virtnet: "), "again", &again);
        }
        if let Some(next) = swept.next {
            self.tell_where_to_go_on(&seeds, next, &swept);
        }
        match &swept.failed {
            Some(failed) => {
                let order = Order::of_seed(failed.played.seed);
                let report = self.explain(&order, swept);
                self.traced(&order, report)
            }
            None => {
                let run = seeds.start..swept.next.unwrap_or(seeds.end);
                let is_whole = settings.is_whole(&run);
                let wrong = is_whole.then(|| whole(&swept.ledger, &swept.reached)).flatten();
                self.report(swept, wrong)
            }
        }
    }

    fn tell_where_to_go_on(&self, seeds: &Range<u64>, next: u64, swept: &Swept) {
        let (runs, took) = (swept.runs, swept.took.as_secs_f64());
        let what = format!("{runs} seeds from {:#x} on in {took:.1} s, all well", seeds.start);
        self.about.say_with(&what, "go on", &self.rest(next..seeds.end));
    }

    /// The variables with which a sweep goes on with what is left of it.
    fn rest(&self, seeds: Range<u64>) -> String {
        self.variables_of(&self.settings.rest(&seeds))
    }

    /// The variables with which these seeds are run, and otherwise as now.
    fn variables_of(&self, seeds: &str) -> String {
        let time = self.settings.budget.map(|time| format!("VIRTNET_TIME={}ms ", time.as_millis()));
        let shard = self.settings.shard.map(|(own, of)| format!("VIRTNET_SHARD={own}/{of} "));
        let [time, shard] = [time, shard].map(Option::unwrap_or_default);
        format!("{time}VIRTNET_SEEDS={seeds} {shard}")
    }

    fn replay(&self, order: &Order) -> Report {
        let at = At::default();
        let place = self.subject.place(&at);
        let swept = self.watched(&at, || one(&place, order));
        let report = match swept.failed {
            Some(_) => self.explain(order, swept),
            None => self.report(swept, None),
        };
        self.traced(order, report)
    }

    /// Writes the trace of a run that was replayed or has failed, if one is asked for.
    fn traced(&self, order: &Order, mut report: Report) -> Report {
        let unfit = matches!(report.wrong, Some(Wrong::Settings(_)));
        let Some(file) = self.settings.trace.as_ref().filter(|_| !unfit) else { return report };
        let hung = matches!(&report.wrong, Some(Wrong::Failed(how)) if how.is_hung());
        let kept = report.failed.take().filter(|failed| failed.trace.is_some() || hung);
        report.failed = Some(kept.unwrap_or_else(|| {
            let at = At::default();
            let place = self.subject.place(&at);
            self.watched(&at, || place.isolated(&order.clone().keep_trace().record_choices()))
        }));
        let written = trace_file::write(file, &report);
        if report.is_ok() {
            report.failed = None;
            report.wrong = written.err().map(Wrong::Settings);
        } else {
            report.trace_file = Some(written.map(|()| file.clone()));
        }
        report
    }

    /// Puts together what many sweeps have come to, and judges it as if it were one.
    fn judge(&self, file: &Path) -> Report {
        let merged = match Merged::read(file, &Whose::new(self.about.name)) {
            Ok(merged) => merged,
            Err(error) => return self.nothing(Some(error)),
        };
        let wrong = match &merged.failed {
            Some((_, what)) => Some(Wrong::Sweep(what.clone())),
            None if self.is_whole(&merged) => whole(&merged.ledger, &merged.reached),
            None => None,
        };
        let Merged { runs, failed, ledger, reached, .. } = merged;
        let mut report = self.report(Swept { runs, ledger, reached, ..Swept::default() }, wrong);
        if let Some((seed, _)) = failed {
            report.failed_seed = Some(seed);
            report.replay = format!("VIRTNET_SEED={seed:#x} {}", self.about.again.command());
        }
        report
    }

    /// Whether results are of as many seeds as the test asks for, or of its own. Says if not.
    fn is_whole(&self, merged: &Merged) -> bool {
        let (run, settings) = (merged.covered(), self.settings);
        let seeds = run.iter().fold(0, |sum: u64, seeds| sum.saturating_add(count(seeds)));
        let is_whole =
            settings.is_as_many(seeds) || run.iter().any(|run| settings.has_own_seeds(run));
        if !is_whole {
            let own = count(&settings.own_seeds);
            self.about.say_only(&format!(
                "the results have {seeds} seeds, and the test asks for {own}: they are judged as \
                 a part, by seeds that failed"
            ));
        }
        is_whole
    }

    /// Finds out all there is to know of a failure.
    fn explain(&self, order: &Order, swept: Swept) -> Report {
        let Some(failed) = swept.failed.clone() else { return self.report(swept, None) };
        let at = At::default();
        self.subject.running.note_alone(failed.played.seed);
        self.watched(&at, || self.explain_at(&self.subject.place(&at), order, failed, swept))
    }

    fn explain_at(&self, place: &Place<'_>, order: &Order, failed: Failed, swept: Swept) -> Report {
        if let Some(error) = failed.want_of_a_process() {
            return self.nothing(Some(error.into()));
        }
        let Failed { played, differs } = failed;
        if played.failure.as_ref().is_some_and(Failure::is_hung) {
            return self.hung(played, swept);
        }
        let repeated = match differs {
            Some(_) => None,
            None => Some(self.repeat(place, order, &played)),
        };
        let differs = differs.or_else(|| repeated.as_ref().and_then(|one| one.differs.clone()));
        if let Some(error) = differs.as_ref().and_then(|differs| differs.error.clone()) {
            return self.nothing(Some(error));
        }
        let (Some(failure), Some(repeated)) = (&played.failure, repeated) else {
            let wrong = differs.map(|differs| Wrong::Differs(Box::new(differs)));
            return self.report(swept, wrong);
        };
        let wrong = Wrong::Failed(Box::new(failure.clone()));
        let mut report = self.report(swept, Some(wrong));
        report.left_out.extend(cut_short(&repeated).map(String::from));
        let again = repeated.again;
        let is_same = again.failure.as_ref().is_some_and(|again| again.kind == failure.kind);
        if let Some(differs) = differs {
            self.tell_difference(place, &played, differs, &mut report);
        }
        if is_same && report.differs.as_ref().is_none_or(|differs| differs.always_ends_so()) {
            self.cut_down(place, &played, again, &mut report);
        } else if is_same {
            report.failed = Some(again);
        }
        report
    }

    /// Runs a seed that has failed again, as often as that is asked for or makes sense.
    fn repeat(&self, place: &Place<'_>, order: &Order, played: &Played) -> Repeated {
        let patience = self.patience_of_repetitions();
        let (asked, always) = (self.settings.determinism, self.settings.after_failure);
        let modes = asked.map_or(always, |asked| asked.and(always));
        let mut order = order.clone().keep_trace_of(played);
        if played.steps <= TRACED {
            order = order.record_choices();
        }
        let mut repeated = determinism::repeat(place, &order, played, modes, patience);
        // Where nobody has asked for a process, it is no matter that none can be had.
        if !asked.is_some_and(Determinism::is_cold) {
            repeated.differs = repeated.differs.filter(|differs| differs.error.is_none());
        }
        repeated
    }

    /// The real time for the repetitions of a failure. They are at least three, and a run that can
    /// be shrunk in time is to be repeated in time.
    fn patience_of_repetitions(&self) -> Patience {
        const LEAST: Duration = Duration::from_secs(1);
        Patience::of(self.settings.shrink_time.max(LEAST).saturating_mul(2))
    }

    /// Tells how the runs of a seed that failed differ, and which of them can be made to fail.
    fn tell_difference(
        &self,
        place: &Place<'_>,
        played: &Played,
        differs: Differs,
        report: &mut Report,
    ) {
        if let Work::Seeds(seeds) = &self.settings.work {
            let patience = self.patience_of_repetitions();
            report.earlier = earlier(place, (played, &differs), seeds.start, patience);
        }
        let again = report.earlier.as_ref().map(|earlier| earlier.seeds());
        match again {
            Some(Some(seeds)) => {
                let command = self.about.again.command();
                report.replay = format!("VIRTNET_SEEDS={seeds} VIRTNET_JOBS=1 {command}");
            }
            Some(None) => {}
            // It need not fail alone: it is to be held against the same again.
            None if !differs.always_ends_so() => {
                report.replay = format!("VIRTNET_CHECK={} {}", differs.shown_by(), report.replay);
            }
            None => {}
        }
        report.differs = Some(Box::new(differs));
    }

    /// Cuts a failure down that fails each time; `again` is its repetition, with its choices.
    fn cut_down(&self, place: &Place<'_>, played: &Played, again: Played, report: &mut Report) {
        let file = self.tape_file(again.seed);
        if self.settings.shrink > 0 {
            let save = |tape: &Tape| {
                if let Ok(file) = &file {
                    let _ = self.write_tape(file, tape);
                }
            };
            save(&again.tape);
            if let Ok(file) = &file {
                self.subject.running.cuts(again.seed, file);
            }
            report.shrunk = shrink(place, played, &again, &save);
            if report.shrunk.is_none() && played.steps > TRACED {
                report.left_out.push(format!(
                    "it was not shrunk: a run of {} steps makes too many choices; step_limit ends \
                     it sooner",
                    played.steps
                ));
            }
        }
        report.failed = Some(again);
        let tape = report.tape().cloned().unwrap_or_else(Tape::zero);
        report.input = self.text_of_input(&tape);
        report.tape_file = Some(file.and_then(|file| self.write_tape(&file, &tape)));
        if let (Work::Given(_), Some(Ok(file))) = (&self.settings.work, &report.tape_file) {
            report.replay = playing(file) + &report.replay;
        }
    }

    /// What is said of a run that did not come back. It is neither repeated nor cut down: each time
    /// it would be waited for as long.
    fn hung(&self, played: Played, swept: Swept) -> Report {
        let wrong = played.failure.clone().map(Box::new).map(Wrong::Failed);
        let mut report = self.report(swept, wrong);
        let file = self.tape_file(played.seed);
        report.tape_file = Some(file.and_then(|file| self.write_tape(&file, &played.tape)));
        report.failed = Some(played);
        report
    }

    /// Does something in the runs that `at` shows, and tells if one of them does not come back.
    fn watched<T>(&self, at: &At, work: impl FnOnce() -> T) -> T {
        watched(at, (self.subject.case, self.settings, self.about), work)
    }

    fn report(&self, swept: Swept, wrong: Option<Wrong>) -> Report {
        let About { name, again: test } = self.about;
        let failed = swept.failed.map(|failed| failed.played);
        let failed_seed = failed.as_ref().map(|failed| failed.seed);
        let again = match &self.settings.work {
            Work::Tape(file) => playing(file),
            Work::Replay(seed) => format!("VIRTNET_SEED={seed:#x} "),
            Work::Given(_) => String::new(),
            Work::Seeds(_) | Work::Judge(_) => {
                failed_seed.map(|seed| format!("VIRTNET_SEED={seed:#x} ")).unwrap_or_default()
            }
        };
        // A run that is repeated alone need not fail: it is to be held against the same again.
        let check = match &wrong {
            Some(Wrong::Differs(differs)) => format!("VIRTNET_CHECK={} ", differs.shown_by()),
            _ => String::new(),
        };
        // To find out how this test is called takes a while, and nobody reads it where all is well.
        let is_told = wrong.is_some() || self.settings.trace.is_some();
        let command = if is_told { test.command() } else { "" };
        Report {
            name: name.into(),
            runs: swept.runs,
            failed_seed,
            next_seed: swept.next,
            ledger: swept.ledger,
            reached: swept.reached,
            wrong,
            differs: None,
            earlier: None,
            shrunk: None,
            left_out: Vec::new(),
            input: None,
            failed,
            tape_file: None,
            trace_file: None,
            replay: check + &again + command,
        }
    }

    /// What a test is given on a tape, if it is given something.
    fn text_of_input(&self, tape: &Tape) -> Option<String> {
        let seed = tape.seed().unwrap_or(0);
        quietly(|| Some(self.subject.case.input(seed, &tape.input())?.text()))
    }

    fn tape_file(&self, seed: u64) -> Result<PathBuf, String> {
        let folder = folder();
        create_dir_all(&folder)
            .map_err(|error| format!("no tape was written: {}: {error}", folder.display()))?;
        let name = file_name(self.about.name);
        Ok(folder.join(format!("{name}-{seed:#x}.tape")))
    }

    /// Writes a tape, so that there is a whole one at any moment.
    fn write_tape(&self, file: &Path, tape: &Tape) -> Result<PathBuf, String> {
        // In one line, whatever the test's types print.
        let input = self.text_of_input(tape);
        let input = input.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        let input = input.map(|text| format!("# input: {text}\n")).unwrap_or_default();
        let text = format!("# {TEST}{}\n{input}{tape}", self.about.name);
        let new = file.with_extension("tape.new");
        write(&new, text)
            .and_then(|()| rename(&new, file))
            .map_err(|error| format!("no tape was written: {}: {error}", file.display()))?;
        Ok(file.to_path_buf())
    }
}

/// Says that repetitions were ended, if they were.
fn cut_short(repeated: &Repeated) -> Option<&'static str> {
    let is_stopped =
        repeated.again.failure.as_ref().is_some_and(|again| again.kind == Kind::Stopped);
    repeated.is_cut_short.then_some(if is_stopped {
        "it was neither repeated nor shrunk: a repetition was stopped after its real time; \
         VIRTNET_SHRINK=60s\nis more, step_limit and time_limit end a run sooner"
    } else {
        "whether it is the same run each time is not known: the real time for repetitions was over \
         before\nall were done; VIRTNET_SHRINK=60s is more"
    })
}

/// What is wrong with a whole sweep in which no run failed.
fn whole(ledger: &Ledger, reached: &Reached) -> Option<Wrong> {
    let labels = reached.sometimes.iter();
    let never: Vec<&str> =
        labels.filter(|(_, count)| **count == 0).map(|(label, _)| &**label).collect();
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

/// The variable with which a tape is played.
fn playing(tape: &Path) -> String {
    format!("VIRTNET_TAPE={} ", shell_word(tape))
}

/// How a tape says which test it is of, in a comment.
const TEST: &str = "test: ";

/// Reads the tape of a test, unless it is another's.
fn read_tape(file: &Path, name: &str) -> Result<Tape, String> {
    let fail = |what: String| format!("virtnet: VIRTNET_TAPE={}: {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
    let of = text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(TEST));
    if let Some(of) = of.filter(|of| *of != name) {
        return Err(fail(format!("it is a tape of the test {of}, and this is {name}")));
    }
    text.parse().map_err(|error| fail(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use crate::check::check::Check;
    use crate::check::settings::Isolation;
    use std::process::Command;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    const HANGS: &str = "VIRTNET_TESTS_HANGS";

    /// In a process of its own, whose standard error can be read: a run that fails and does not
    /// come back soon, either in all its runs or from the fifth on.
    fn hang(what: &str) {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let apart = what == "apart";
        let isolation = if apart { Isolation::Process } else { Isolation::Thread };
        let check = Check::new(&format!("hangs-{what}")).seeds(0..1);
        let mut check = check.isolate(isolation).shrink(if apart { 0 } else { 3 });
        check.set_watchdog(Duration::from_millis(50));
        let _ = check.run(move |sim| async move {
            let coin = sim.choose("coin", 1000);
            if apart || RUNS.fetch_add(1, Relaxed) >= 5 {
                std::thread::sleep(Duration::from_millis(400));
            }
            assert_eq!(coin, 0, "it fails");
        });
    }

    #[test]
    fn runs_that_repeat_a_failure_are_watched_and_so_are_those_in_processes() {
        if let Ok(what) = std::env::var(HANGS) {
            return hang(&what);
        }
        let thread = std::thread::current();
        let test = thread.name().expect("a test's thread has the name of the test");
        for (what, expected) in [
            ("shrinking", "the run of seed 0x0, cut down, has been in one poll for 0."),
            ("apart", "the run of seed 0x0 has been in one poll for 0."),
        ] {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([test, "--exact", "--nocapture"]).env(HANGS, what);
            let text = String::from_utf8(command.output().unwrap().stderr).unwrap();
            assert!(text.contains(expected), "{what}: {text}");
            assert!(text.contains("step 1 polls task main\n  replay: "), "{what}: {text}");
        }
    }
}
