//! Shrinking: reduces a failing run to the few choices that matter.
//!
//! Choices are subjects and values here; their meaning plays no part. Choices are keyed, so
//! resetting one to 0 changes no other value. Whole families are reset first, then all choices of
//! one host or task, then ranges of time that get shorter, down to single choices. The remaining
//! values are then lowered. A smaller run is kept if it still fails in the same way.
//!
//! If the test takes an input, the input is simplified first, with the choices still drawn from
//! their original source. Choices that a simpler input still makes keep their values; new ones are
//! drawn as in any run.
//!
//! In some systems every choice affects everything after it, as when nodes elect a leader. A
//! choice that is reset early makes another run of all that follows, so that hardly any of several
//! thousand choices can be removed alone. But a run with any half of them is about as likely to
//! fail as any other run. While there are many choices, random halves and eighths are tried as
//! well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::sim::{Choice, ChoiceFamily, ChoiceGroup, INPUT_SUBJECT, Schedule, Tape, splitmix64};
use crate::simnet::fault_ordinals;

use crate::check::exec::deadline::Deadline;
use crate::check::exec::executor::RunExecutor;
use crate::check::exec::panic_hook::catch_silently;
use crate::check::exec::run_once::{MAX_TRACED_STEPS, RunResult};
use crate::check::exec::run_request::RunRequest;
use crate::check::failure::FailureKind;

/// The result of shrinking.
#[derive(Clone, Debug)]
pub(crate) struct ShrinkResult {
    /// The smallest run that fails the same way, with its trace.
    pub(crate) result: RunResult,
    /// The number of choices before, if they were recorded.
    pub(crate) total: Option<usize>,
    /// The number of runs that it took.
    pub(crate) runs: u64,
    pub(crate) elapsed: Duration,
    /// Why it stopped before it was done, if it did.
    pub(crate) stop_reason: Option<&'static str>,
}

/// The choices by which time passes until a fault of a plan, which begins at a fixed instant.
const TIMING_GROUPS: [&[ChoiceGroup]; 2] =
    [&[ChoiceGroup::Schedule, ChoiceGroup::Timing], &[ChoiceGroup::Timing]];

const OUT_OF_TIME: &str = "the time for shrinking is used up: VIRTNET_SHRINK=60s is more";

/// The real time that a run may take beyond twice that of the failed run.
const TIME_MARGIN: Duration = Duration::from_secs(1);

struct Shrinker<'a> {
    executor: &'a RunExecutor<'a>,
    /// The kind of failure that is kept.
    kind: FailureKind,
    seed: u64,
    schedule: Schedule,
    best: RunResult,
    /// The steps by which the input is simpler than the drawn one.
    input: Vec<u64>,
    /// After how much virtual time a run is given up: one that is longer seldom fails the same way,
    /// and where a rule breaks early a run that goes on to its end takes many times as long.
    time_limit: Option<Duration>,
    /// After how many steps, for the same reason.
    step_limit: Option<u64>,
    runs: u64,
    start: Instant,
    /// The real time of the longest run.
    longest_run: Duration,
    /// The lengths of the slots of each plan, in nanoseconds, by the beginning of its subjects.
    slot_lengths: BTreeMap<String, u64>,
    stop_reason: Option<&'static str>,
    /// Keeps the best so far, so that nothing is lost if this is interrupted.
    save: &'a dyn Fn(&Tape),
}

/// Cuts down a run that failed, and has each better one saved at once; `first` is the same run with
/// its choices. `None` if that did not fail in the same way.
pub(crate) fn shrink(
    executor: &RunExecutor<'_>,
    failed: &RunResult,
    first: &RunResult,
    save: &dyn Fn(&Tape),
) -> Option<ShrinkResult> {
    let kind = failed.failure.as_ref()?.kind.clone();
    let (seed, start) = (failed.seed, Instant::now());
    let first = remove_input(first.clone());
    // A process that died has not told what it chose.
    let fails_same_way = first.failure.as_ref().is_some_and(|failure| failure.kind == kind);
    if !fails_same_way || matches!(kind, FailureKind::ProcessDied(_)) {
        return None;
    }
    let schedule = first.tape.schedule().unwrap_or_default();
    let (total, input) = (first.choices.len(), first.tape.input());
    let is_early_failure =
        matches!(kind, FailureKind::Panic(_) | FailureKind::Always(_) | FailureKind::Error(_));
    let time_limit = is_early_failure.then(|| 2 * first.elapsed + TIME_MARGIN);
    let step_limit = is_early_failure.then(|| first.steps.saturating_mul(2).saturating_add(10_000));
    let is_long = first.steps > MAX_TRACED_STEPS;
    let slot_lengths = first.choices.iter().filter_map(slot_length).collect();
    let (best, runs, stop_reason, longest_run) = (first, 1, None, Duration::ZERO);
    let mut shrinker = Shrinker {
        executor,
        kind,
        seed,
        schedule,
        best,
        input,
        time_limit,
        step_limit,
        runs,
        start,
        longest_run,
        slot_lengths,
        stop_reason,
        save,
    };
    shrinker.simplify_input(&failed.tape);
    if is_long {
        // Its choices were not recorded: they are too many to be left out one by one.
        return shrinker.attempt_request(&shrinker.request(&[]), usize::MAX).then(|| {
            let (runs, elapsed) = (shrinker.runs, start.elapsed());
            ShrinkResult { result: shrinker.best, total: None, runs, elapsed, stop_reason: None }
        });
    }
    shrinker.shrink_choices();
    let traced = shrinker.request(&shrinker.best.choices).keep_trace_unless_long(&shrinker.best);
    // It takes as long as without a trace, or somewhat longer.
    let deadline = Deadline::after(4 * shrinker.longest_run + TIME_MARGIN);
    let traced = remove_input(executor.isolated(&deadline.apply_to(traced)));
    let result = if shrinker.fails_same_way(&traced) { traced } else { shrinker.best };
    let (runs, elapsed, stop_reason) = (shrinker.runs + 1, start.elapsed(), shrinker.stop_reason);
    Some(ShrinkResult { result, total: Some(total), runs, elapsed, stop_reason })
}

/// The input is no choice: it is made simpler by itself, and on the tape it is still there.
fn remove_input(mut result: RunResult) -> RunResult {
    result.choices.retain(|choice| choice.subject != INPUT_SUBJECT);
    result
}

/// The group of a choice, if its family is known.
fn group_of(choice: &Choice) -> Option<ChoiceGroup> {
    choice.family().map(ChoiceFamily::group)
}

/// The fault of a plan that a choice is about, without its slot, and the slot.
fn planned_fault(choice: &Choice) -> Option<(String, u64)> {
    let (fault, slot) = choice.subject.rsplit_once('#')?;
    let slot = slot.parse().ok().filter(|_| choice.family() == Some(ChoiceFamily::Fault))?;
    (!fault.ends_with(" quiet")).then(|| (fault.to_string(), slot))
}

/// The beginning of the subjects of a plan.
fn plan_prefix(fault: &str) -> &str {
    fault.rsplit_once(' ').map_or(fault, |(plan, _)| plan)
}

/// The length of the slots of a plan, if a choice shows it.
fn slot_length(choice: &Choice) -> Option<(String, u64)> {
    let (fault, _) = planned_fault(choice)?;
    let slot = match choice.ordinal {
        fault_ordinals::START => choice.options,
        fault_ordinals::DURATION => choice.options / fault_ordinals::MAX_EXTRA_SLOTS,
        _ => return None,
    };
    Some((plan_prefix(&fault).to_string(), slot))
}

/// The owner of a choice: a node, or the beginning of a path.
fn choice_owner(choice: &Choice) -> String {
    let path = choice.subject.split(' ').nth(1).unwrap_or_default();
    path.splitn(3, '/').take(2).collect::<Vec<_>>().join("/")
}

impl Shrinker<'_> {
    fn shrink_choices(&mut self) {
        self.drop_families();
        self.drop_random_subsets();
        self.drop_groups(choice_owner);
        self.drop_groups(|choice| choice.subject.clone());
        self.move_planned_faults();
        self.drop_ranges();
        self.move_planned_faults();
        self.merge_values();
        self.lower_values();
        self.drop_ranges();
    }

    fn fails_same_way(&self, result: &RunResult) -> bool {
        result.failure.as_ref().is_some_and(|failure| failure.kind == self.kind)
    }

    fn request(&self, choices: &[Choice]) -> RunRequest {
        let tape = Tape::from_choices(self.seed, self.schedule, choices).with_input(&self.input);
        RunRequest::from_tape(tape)
            .record_choices()
            .time_limit(self.time_limit)
            .step_limit(self.step_limit)
    }

    /// Tries a run in which only these choices are not 0. If it fails the same way it is the best
    /// so far.
    fn attempt(&mut self, choices: &[Choice]) -> bool {
        let request = self.request(choices);
        // Choices that the run does not ask for are left out by themselves.
        self.attempt_request(&request, self.best.choices.len())
    }

    /// Tries a run, which may make at most `max_choices` choices.
    fn attempt_request(&mut self, request: &RunRequest, max_choices: usize) -> bool {
        let settings = self.executor.settings;
        if self.runs >= settings.shrink_runs {
            self.stop_reason =
                Some("the runs for shrinking are used up: VIRTNET_SHRINK=5000 is more");
        } else if self.start.elapsed() >= settings.shrink_time {
            self.stop_reason = Some(OUT_OF_TIME);
        }
        if self.stop_reason.is_some() {
            return false;
        }
        self.runs += 1;
        let run_start = Instant::now();
        let remaining = settings.shrink_time.saturating_sub(self.start.elapsed());
        let result = self.executor.isolated(&request.clone().with_real_time_limit(Some(remaining)));
        let result = remove_input(result);
        self.longest_run = self.longest_run.max(run_start.elapsed());
        if result.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Stopped) {
            self.stop_reason = Some(OUT_OF_TIME);
        }
        if !self.fails_same_way(&result) || result.choices.len() > max_choices {
            return false;
        }
        self.best = result;
        (self.save)(&self.best.tape);
        true
    }

    /// Tries to leave choices out, by their places and by themselves.
    fn attempt_without(&mut self, is_dropped: impl Fn(usize, &Choice) -> bool) -> bool {
        if self.stop_reason.is_some() {
            return false;
        }
        let retained =
            self.best.choices.iter().enumerate().filter(|(n, choice)| !is_dropped(*n, choice));
        let remaining: Vec<Choice> = retained.map(|(_, choice)| choice.clone()).collect();
        remaining.len() < self.best.choices.len() && self.attempt(&remaining)
    }

    /// Makes the input simpler, if there is one, as long as it fails the same way; `tape` is that
    /// of the run that failed. It leaves half of what may be spent to the choices.
    fn simplify_input(&mut self, tape: &Tape) {
        let (test_fn, settings) = (self.executor.test_fn, self.executor.settings);
        let mut input = catch_silently(|| test_fn.input(self.seed, &self.input));
        let mut failed = true;
        while let Some(words) =
            input.as_mut().and_then(|input| catch_silently(|| input.simplify(failed)))
        {
            let request = RunRequest::from_tape(tape.clone().with_input(&words)).record_choices();
            failed = self.attempt_request(&request, usize::MAX);
            if failed {
                self.input = words;
            }
            let is_half_spent = 2 * self.runs >= settings.shrink_runs;
            if is_half_spent || self.start.elapsed() >= settings.shrink_time / 2 {
                return;
            }
        }
    }

    fn drop_families(&mut self) {
        if self.attempt(&[]) {
            return;
        }
        // A group of one family is tried as that family.
        for group in ChoiceGroup::ALL.into_iter().filter(|group| group.families().count() > 1) {
            self.attempt_without(|_, choice| group_of(choice) == Some(group));
        }
        for family in ChoiceFamily::ALL {
            self.attempt_without(|_, choice| choice.family() == Some(*family));
        }
    }

    /// Leaves out as much as it can, drawn at random, until that was in vain for too long.
    fn drop_random_subsets(&mut self) {
        // The eighths that stay: of all choices, or of those of timing and schedule alone.
        const SUBSETS: [(u64, bool); 6] =
            [(4, true), (4, false), (2, true), (1, false), (6, true), (1, true)];
        const MIN_CHOICES: usize = 64;
        let max_failures = self.executor.settings.shrink_runs / 16;
        let (mut trial, mut failures) = (0, 0);
        while self.best.choices.len() > MIN_CHOICES
            && failures < max_failures
            && self.stop_reason.is_none()
        {
            let (kept_eighths, of_all) = SUBSETS[trial as usize % SUBSETS.len()];
            let improved = self.attempt_without(|n, choice| {
                let is_candidate = of_all
                    || group_of(choice).is_some_and(|group| TIMING_GROUPS[0].contains(&group));
                is_candidate && splitmix64(trial << 32 | n as u64) % 8 >= kept_eighths
            });
            failures = if improved { 0 } else { failures + 1 };
            trial += 1;
        }
    }

    fn drop_groups(&mut self, group: impl Fn(&Choice) -> String) {
        let groups: BTreeSet<String> = self.best.choices.iter().map(&group).collect();
        if groups.len() > 1 {
            for dropped in groups {
                self.attempt_without(|_, choice| group(choice) == dropped);
            }
        }
    }

    /// Moves the faults of plans to earlier slots, makes them last longer, and leaves out what only
    /// passed the time until they began.
    fn move_planned_faults(&mut self) {
        const MIN_CHOICES: usize = 4;
        const MAX_FAULTS: usize = 6;
        let faults: BTreeSet<String> =
            self.best.choices.iter().filter_map(planned_fault).map(|(fault, _)| fault).collect();
        if self.best.choices.len() <= MIN_CHOICES || faults.len() > MAX_FAULTS {
            return;
        }
        let max_runs = self.runs + self.executor.settings.shrink_runs / 8;
        for fault in faults {
            let slots = self.best.choices.iter().filter_map(planned_fault);
            let slots: BTreeSet<u64> =
                slots.filter(|(candidate, _)| *candidate == fault).map(|(_, slot)| slot).collect();
            for slot in slots {
                let start = self.fault_start(&fault, slot);
                let mut tries = (1..=slot)
                    .flat_map(|to| TIMING_GROUPS.iter().map(move |families| (to, families)));
                while self.runs < max_runs
                    && let Some((to, families)) = tries.next()
                {
                    let remaining = self.with_fault_at(&fault, slot, to).into_iter();
                    let only_passes_time = |choice: &Choice| {
                        choice.at.as_nanos() < start
                            && group_of(choice).is_some_and(|group| families.contains(&group))
                    };
                    let remaining: Vec<Choice> =
                        remaining.filter(|choice| !only_passes_time(choice)).collect();
                    if remaining.len() < self.best.choices.len() && self.attempt(&remaining) {
                        break;
                    }
                }
            }
        }
    }

    /// The instant at which a fault begins in the best run so far, in nanoseconds.
    fn fault_start(&self, fault: &str, slot: u64) -> u64 {
        let subject = format!("{fault}#{slot}");
        let own_choices = || self.best.choices.iter().filter(|choice| choice.subject == subject);
        let plan_start = own_choices().next().map_or(0, |choice| choice.at.as_nanos());
        let length = self.slot_lengths.get(plan_prefix(fault)).copied().unwrap_or(0);
        let delay = own_choices().find(|choice| choice.ordinal == fault_ordinals::START);
        plan_start + slot.saturating_sub(1) * length + delay.map_or(0, |choice| choice.value)
    }

    /// The choices with a fault at the beginning of another slot, certain, and as long as possible.
    /// Unchanged if that slot has such a fault.
    fn with_fault_at(&self, fault: &str, slot: u64, to: u64) -> Vec<Choice> {
        let mut choices = self.best.choices.clone();
        let (from, to) = (format!("{fault}#{slot}"), format!("{fault}#{to}"));
        if from != to && choices.iter().any(|choice| choice.subject == to) {
            return choices;
        }
        // The odds of the kind do not matter if this fault is certain.
        choices.retain(|choice| choice.subject != fault || choice.ordinal != 1);
        choices.retain(|choice| choice.subject != from || choice.ordinal != fault_ordinals::START);
        for choice in choices.iter_mut().filter(|choice| choice.subject == from) {
            choice.subject.clone_from(&to);
            if choice.ordinal == fault_ordinals::OCCURS {
                choice.value = choice.options - 1;
            }
        }
        choices.retain(|choice| choice.subject != to || choice.ordinal != fault_ordinals::DURATION);
        let whether = choices.iter().find(|choice| choice.subject == to);
        if let (Some(whether), Some(slot)) = (whether, self.slot_lengths.get(plan_prefix(fault))) {
            let options = slot * fault_ordinals::MAX_EXTRA_SLOTS;
            let value = options - 1;
            let lasts =
                Choice { ordinal: fault_ordinals::DURATION, value, options, ..whether.clone() };
            choices.push(lasts);
        }
        choices
    }

    /// Leaves out stretches of time, ever shorter, until no single choice can be left out.
    fn drop_ranges(&mut self) {
        let mut length = self.best.choices.len().div_ceil(2);
        while length > 0 && self.stop_reason.is_none() {
            let (mut start, mut improved) = (0, false);
            while start < self.best.choices.len() && self.stop_reason.is_none() {
                let end = (start + length).min(self.best.choices.len());
                if self.attempt_without(|n, _| (start..end).contains(&n)) {
                    improved = true;
                } else {
                    start = end;
                }
            }
            length = match length {
                1 if improved => 1,
                1 => 0,
                _ => length.div_ceil(2).min(self.best.choices.len().max(1)),
            };
        }
    }

    /// If many small values add up, tries one larger value in place of all others, of those before
    /// it, or of those after it.
    fn merge_values(&mut self) {
        const MIN_CHOICES: usize = 4;
        // A value beyond the options is taken modulo their number: another value, and as good.
        const FACTORS: [u64; 3] = [3, 17, 1025];
        let mut index = 0;
        while self.best.choices.len() > index.max(MIN_CHOICES) && self.stop_reason.is_none() {
            let choices = self.best.choices.clone();
            let improved = FACTORS.into_iter().any(|factor| {
                let mut larger_choice = choices[index].clone();
                larger_choice.value = larger_choice.value.saturating_mul(factor);
                let (before, after) = (&choices[..index], &choices[index + 1..]);
                [(&[][..], &[][..]), (before, &[][..]), (&[][..], after)].into_iter().any(
                    |(a, b)| {
                        let remaining = [a, std::slice::from_ref(&larger_choice), b].concat();
                        remaining.len() < choices.len() && self.attempt(&remaining)
                    },
                )
            });
            index = if improved { 0 } else { index + 1 };
        }
    }

    /// Moves values towards zero.
    fn lower_values(&mut self) {
        for index in 0..self.best.choices.len() {
            for shift in [63, 16, 8, 4, 2, 1, 1, 1, 1] {
                let choice = self.best.choices.get(index).filter(|_| self.stop_reason.is_none());
                let Some(choice) = choice else { return };
                let lower = (choice.value >> shift).max(1);
                if lower == choice.value {
                    break;
                }
                let mut choices = self.best.choices.clone();
                choices[index].value = lower;
                self.attempt(&choices);
            }
        }
    }
}
