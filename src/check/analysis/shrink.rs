//! Cuts a failing run down to the few choices that matter.
//!
//! Knows choices as text and values; refuses to know what they mean. Because each is keyed, leaving
//! one out, that is, making it 0, changes no other's value. So sets of them are tried: whole
//! families, then all of one host or task, then stretches of time, ever shorter, down to single
//! ones; and what is left is made smaller. Whatever still fails in the same way is better.
//!
//! A test that is given an input has that made simpler first, while all choices come from where
//! they came from: as they are keyed, what a simpler input still asks is answered as it was, and
//! what only it asks is answered as by any seed.
//!
//! Where everything hangs on everything, as when nodes elect a leader, whatever is left out early
//! makes another run of all that comes later, so that hardly any one thing can be left out of
//! thousands. But a run with half of them, any half, is then about as likely to fail as any run is.
//! So as long as there are many, halves and eighths are tried that are drawn at random.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::sim::{Choice, ChoiceFamily, ChoiceGroup, INPUT, Schedule, Tape, splitmix64};
use crate::simnet::strikes;

use crate::check::exec::deadline::Patience;
use crate::check::exec::executor::Place;
use crate::check::exec::panic_hook::quietly;
use crate::check::exec::run_once::{Played, TRACED};
use crate::check::exec::run_request::Order;
use crate::check::failure::Kind;

/// What a run was cut down to.
#[derive(Clone, Debug)]
pub(crate) struct Shrunk {
    /// The smallest run that fails the same way, with its trace.
    pub(crate) played: Played,
    /// How many choices there were, if they were recorded.
    pub(crate) of: Option<usize>,
    /// How many runs it took.
    pub(crate) runs: u64,
    pub(crate) took: Duration,
    /// Why it stopped before it was done, if it did.
    pub(crate) stopped: Option<&'static str>,
}

/// The choices by which time passes until a fault of a plan, which begins at a fixed instant.
const TIMES: [&[ChoiceGroup]; 2] =
    [&[ChoiceGroup::Schedule, ChoiceGroup::Timing], &[ChoiceGroup::Timing]];

const OUT_OF_TIME: &str = "the time for shrinking is used up: VIRTNET_SHRINK=60s is more";

/// What a run may take longer than twice the one that failed.
const SLACK: Duration = Duration::from_secs(1);

struct Shrinker<'a> {
    place: &'a Place<'a>,
    /// How it must fail.
    kind: Kind,
    seed: u64,
    schedule: Schedule,
    best: Played,
    /// How the input is simpler than what the seed draws.
    input: Vec<u64>,
    /// After how much virtual time a run is given up: one that is longer seldom fails the same way,
    /// and where a rule breaks early a run that goes on to its end takes many times as long.
    limit: Option<Duration>,
    /// After how many steps, for the same reason.
    step_limit: Option<u64>,
    runs: u64,
    start: Instant,
    /// How much real time the longest run has taken.
    longest: Duration,
    /// How long the slots of each plan are, in nanoseconds, by the beginning of its subjects.
    slots: BTreeMap<String, u64>,
    stopped: Option<&'static str>,
    /// Keeps the best so far, so that nothing is lost if this is interrupted.
    save: &'a dyn Fn(&Tape),
}

/// Cuts down a run that failed, and has each better one saved at once; `first` is the same run with
/// its choices. `None` if that did not fail in the same way.
pub(crate) fn shrink(
    place: &Place<'_>,
    failed: &Played,
    first: &Played,
    save: &dyn Fn(&Tape),
) -> Option<Shrunk> {
    let kind = failed.failure.as_ref()?.kind.clone();
    let (seed, start) = (failed.seed, Instant::now());
    let first = without_input(first.clone());
    // A process that died has not told what it chose.
    let is_same = first.failure.as_ref().is_some_and(|failure| failure.kind == kind);
    if !is_same || matches!(kind, Kind::Died(_)) {
        return None;
    }
    let schedule = first.tape.schedule().unwrap_or_default();
    let (of, input) = (first.choices.len(), first.tape.input());
    let breaks = matches!(kind, Kind::Panic(_) | Kind::Always(_) | Kind::Error(_));
    let limit = breaks.then(|| 2 * first.elapsed + SLACK);
    let step_limit = breaks.then(|| first.steps.saturating_mul(2).saturating_add(10_000));
    let is_long = first.steps > TRACED;
    let slots = first.choices.iter().filter_map(slot_of).collect();
    let (best, runs, stopped, longest) = (first, 1, None, Duration::ZERO);
    let mut shrinker = Shrinker {
        place,
        kind,
        seed,
        schedule,
        best,
        input,
        limit,
        step_limit,
        runs,
        start,
        longest,
        slots,
        stopped,
        save,
    };
    shrinker.simplify_input(&failed.tape);
    if is_long {
        // Its choices were not recorded: they are too many to be left out one by one.
        return shrinker.attempt_order(&shrinker.order(&[]), usize::MAX).then(|| {
            let (runs, took) = (shrinker.runs, start.elapsed());
            Shrunk { played: shrinker.best, of: None, runs, took, stopped: None }
        });
    }
    shrinker.cut_down();
    let traced = shrinker.order(&shrinker.best.choices).keep_trace_of(&shrinker.best);
    // It takes as long as without a trace, or somewhat longer.
    let patience = Patience::of(4 * shrinker.longest + SLACK);
    let traced = without_input(place.isolated(&patience.bound(traced)));
    let played = if shrinker.is_same(&traced) { traced } else { shrinker.best };
    let (runs, took, stopped) = (shrinker.runs + 1, start.elapsed(), shrinker.stopped);
    Some(Shrunk { played, of: Some(of), runs, took, stopped })
}

/// The input is no choice: it is made simpler by itself, and on the tape it is still there.
fn without_input(mut played: Played) -> Played {
    played.choices.retain(|choice| choice.subject != INPUT);
    played
}

/// What kind of decision a choice is, if its family is known.
fn group_of(choice: &Choice) -> Option<ChoiceGroup> {
    choice.family().map(ChoiceFamily::group)
}

/// What a choice about a strike of a plan is about, without its slot, and the slot.
fn strike_of(choice: &Choice) -> Option<(String, u64)> {
    let (strike, slot) = choice.subject.rsplit_once('#')?;
    let slot = slot.parse().ok().filter(|_| choice.family() == Some(ChoiceFamily::Fault))?;
    (!strike.ends_with(" quiet")).then(|| (strike.to_string(), slot))
}

/// The beginning of the subjects of a plan.
fn plan_of(strike: &str) -> &str {
    strike.rsplit_once(' ').map_or(strike, |(plan, _)| plan)
}

/// How long the slots of a plan are, if a choice shows it.
fn slot_of(choice: &Choice) -> Option<(String, u64)> {
    let (strike, _) = strike_of(choice)?;
    let slot = match choice.ordinal {
        strikes::AT => choice.options,
        strikes::LASTS => choice.options / strikes::LONGEST,
        _ => return None,
    };
    Some((plan_of(&strike).to_string(), slot))
}

/// Where a choice is made: a node, or the beginning of a path.
fn place_of(choice: &Choice) -> String {
    let who = choice.subject.split(' ').nth(1).unwrap_or_default();
    who.splitn(3, '/').take(2).collect::<Vec<_>>().join("/")
}

impl Shrinker<'_> {
    fn cut_down(&mut self) {
        self.drop_families();
        self.thin_out();
        self.drop_groups(place_of);
        self.drop_groups(|choice| choice.subject.clone());
        self.move_strikes();
        self.drop_stretches();
        self.move_strikes();
        self.concentrate();
        self.lower_values();
        self.drop_stretches();
    }

    fn is_same(&self, played: &Played) -> bool {
        played.failure.as_ref().is_some_and(|failure| failure.kind == self.kind)
    }

    fn order(&self, choices: &[Choice]) -> Order {
        let tape = Tape::of_choices(self.seed, self.schedule, choices).with_input(&self.input);
        Order::of_tape(tape).record_choices().time_limit(self.limit).step_limit(self.step_limit)
    }

    /// Tries a run in which only these choices are not 0. If it fails the same way it is the best
    /// so far.
    fn attempt(&mut self, choices: &[Choice]) -> bool {
        let order = self.order(choices);
        // Those that were never asked for are left out by themselves.
        self.attempt_order(&order, self.best.choices.len())
    }

    /// Tries a run, which may make so many choices.
    fn attempt_order(&mut self, order: &Order, most: usize) -> bool {
        let settings = self.place.settings;
        if self.runs >= settings.shrink {
            self.stopped = Some("the runs for shrinking are used up: VIRTNET_SHRINK=5000 is more");
        } else if self.start.elapsed() >= settings.shrink_time {
            self.stopped = Some(OUT_OF_TIME);
        }
        if self.stopped.is_some() {
            return false;
        }
        self.runs += 1;
        let begun = Instant::now();
        let left = settings.shrink_time.saturating_sub(self.start.elapsed());
        let played = self.place.isolated(&order.clone().patience(Some(left)));
        let played = without_input(played);
        self.longest = self.longest.max(begun.elapsed());
        if played.failure.as_ref().is_some_and(|failure| failure.kind == Kind::Stopped) {
            self.stopped = Some(OUT_OF_TIME);
        }
        if !self.is_same(&played) || played.choices.len() > most {
            return false;
        }
        self.best = played;
        (self.save)(&self.best.tape);
        true
    }

    /// Tries to leave choices out, by their places and by themselves.
    fn attempt_without(&mut self, gone: impl Fn(usize, &Choice) -> bool) -> bool {
        if self.stopped.is_some() {
            return false;
        }
        let stay = self.best.choices.iter().enumerate().filter(|(n, choice)| !gone(*n, choice));
        let left: Vec<Choice> = stay.map(|(_, choice)| choice.clone()).collect();
        left.len() < self.best.choices.len() && self.attempt(&left)
    }

    /// Makes the input simpler, if there is one, as long as it fails the same way; `tape` is that
    /// of the run that failed. It leaves half of what may be spent to the choices.
    fn simplify_input(&mut self, tape: &Tape) {
        let (case, settings) = (self.place.case, self.place.settings);
        let mut input = quietly(|| case.input(self.seed, &self.input));
        let mut failed = true;
        while let Some(words) = input.as_mut().and_then(|input| quietly(|| input.simpler(failed))) {
            let order = Order::of_tape(tape.clone().with_input(&words)).record_choices();
            failed = self.attempt_order(&order, usize::MAX);
            if failed {
                self.input = words;
            }
            let spent = 2 * self.runs >= settings.shrink;
            if spent || self.start.elapsed() >= settings.shrink_time / 2 {
                return;
            }
        }
    }

    fn drop_families(&mut self) {
        if self.attempt(&[]) {
            return;
        }
        for group in ChoiceGroup::ALL {
            self.attempt_without(|_, choice| group_of(choice) == Some(group));
        }
        for family in ChoiceFamily::ALL {
            self.attempt_without(|_, choice| choice.family() == Some(*family));
        }
    }

    /// Leaves out as much as it can, drawn at random, until that was in vain for too long.
    fn thin_out(&mut self) {
        // How many eighths stay: of all choices, or of those alone that decide when what happens.
        const KEPT: [(u64, bool); 6] =
            [(4, true), (4, false), (2, true), (1, false), (6, true), (1, true)];
        const MANY: usize = 64;
        let patience = self.place.settings.shrink / 16;
        let (mut trial, mut vain) = (0, 0);
        while self.best.choices.len() > MANY && vain < patience && self.stopped.is_none() {
            let (kept, of_all) = KEPT[trial as usize % KEPT.len()];
            let better = self.attempt_without(|n, choice| {
                let counts =
                    of_all || group_of(choice).is_some_and(|group| TIMES[0].contains(&group));
                counts && splitmix64(trial << 32 | n as u64) % 8 >= kept
            });
            vain = if better { 0 } else { vain + 1 };
            trial += 1;
        }
    }

    fn drop_groups(&mut self, group: impl Fn(&Choice) -> String) {
        let groups: BTreeSet<String> = self.best.choices.iter().map(&group).collect();
        if groups.len() > 1 {
            for own in groups {
                self.attempt_without(|_, choice| group(choice) == own);
            }
        }
    }

    /// Lets the strikes of plans begin earlier and last longer, and leaves out what only passed the
    /// time until they struck.
    fn move_strikes(&mut self) {
        const FEW: usize = 4;
        const MANY: usize = 6;
        let strikes: BTreeSet<String> =
            self.best.choices.iter().filter_map(strike_of).map(|(strike, _)| strike).collect();
        if self.best.choices.len() <= FEW || strikes.len() > MANY {
            return;
        }
        let last = self.runs + self.place.settings.shrink / 8;
        for strike in strikes {
            let slots = self.best.choices.iter().filter_map(strike_of);
            let slots: BTreeSet<u64> =
                slots.filter(|(own, _)| *own == strike).map(|(_, slot)| slot).collect();
            for slot in slots {
                let begins = self.begin_of_strike(&strike, slot);
                let mut tries =
                    (1..=slot).flat_map(|to| TIMES.iter().map(move |times| (to, times)));
                while self.runs < last
                    && let Some((to, times)) = tries.next()
                {
                    let left = self.with_strike_at(&strike, slot, to).into_iter();
                    let passes = |choice: &Choice| {
                        choice.at.as_nanos() < begins
                            && group_of(choice).is_some_and(|group| times.contains(&group))
                    };
                    let left: Vec<Choice> = left.filter(|choice| !passes(choice)).collect();
                    if left.len() < self.best.choices.len() && self.attempt(&left) {
                        break;
                    }
                }
            }
        }
    }

    /// When a strike begins in the best run so far, in nanoseconds.
    fn begin_of_strike(&self, strike: &str, slot: u64) -> u64 {
        let subject = format!("{strike}#{slot}");
        let own = || self.best.choices.iter().filter(|choice| choice.subject == subject);
        let plan = own().next().map_or(0, |choice| choice.at.as_nanos());
        let length = self.slots.get(plan_of(strike)).copied().unwrap_or(0);
        let later = own().find(|choice| choice.ordinal == strikes::AT);
        plan + slot.saturating_sub(1) * length + later.map_or(0, |choice| choice.value)
    }

    /// The choices, with a strike at the beginning of another slot, certain, and as long as it can
    /// be. Unchanged where that is another strike's slot.
    fn with_strike_at(&self, strike: &str, slot: u64, to: u64) -> Vec<Choice> {
        let mut choices = self.best.choices.clone();
        let (from, to) = (format!("{strike}#{slot}"), format!("{strike}#{to}"));
        if from != to && choices.iter().any(|choice| choice.subject == to) {
            return choices;
        }
        // That it strikes more often is no matter where it strikes for certain.
        choices.retain(|choice| choice.subject != strike || choice.ordinal != 1);
        choices.retain(|choice| choice.subject != from || choice.ordinal != strikes::AT);
        for choice in choices.iter_mut().filter(|choice| choice.subject == from) {
            choice.subject.clone_from(&to);
            if choice.ordinal == strikes::WHETHER {
                choice.value = choice.options - 1;
            }
        }
        choices.retain(|choice| choice.subject != to || choice.ordinal != strikes::LASTS);
        let whether = choices.iter().find(|choice| choice.subject == to);
        if let (Some(whether), Some(slot)) = (whether, self.slots.get(plan_of(strike))) {
            let options = slot * strikes::LONGEST;
            let value = options - 1;
            let lasts = Choice { ordinal: strikes::LASTS, value, options, ..whether.clone() };
            choices.push(lasts);
        }
        choices
    }

    /// Leaves out stretches of time, ever shorter, until no single choice can be left out.
    fn drop_stretches(&mut self) {
        let mut length = self.best.choices.len().div_ceil(2);
        while length > 0 && self.stopped.is_none() {
            let (mut at, mut better) = (0, false);
            while at < self.best.choices.len() && self.stopped.is_none() {
                let end = (at + length).min(self.best.choices.len());
                if self.attempt_without(|n, _| (at..end).contains(&n)) {
                    better = true;
                } else {
                    at = end;
                }
            }
            length = match length {
                1 if better => 1,
                1 => 0,
                _ => length.div_ceil(2).min(self.best.choices.len().max(1)),
            };
        }
    }

    /// Where many small values add up, tries one that is larger in place of all others, of those
    /// before it, or of those after it.
    fn concentrate(&mut self) {
        const FEW: usize = 4;
        // What is beyond the options is taken modulo their number: another value, and as good.
        const LARGER: [u64; 3] = [3, 17, 1025];
        let mut at = 0;
        while self.best.choices.len() > at.max(FEW) && self.stopped.is_none() {
            let choices = self.best.choices.clone();
            let larger = LARGER.into_iter().any(|times| {
                let mut one = choices[at].clone();
                one.value = one.value.saturating_mul(times);
                let (before, after) = (&choices[..at], &choices[at + 1..]);
                [(&[][..], &[][..]), (before, &[][..]), (&[][..], after)].into_iter().any(
                    |(a, b)| {
                        let left = [a, std::slice::from_ref(&one), b].concat();
                        left.len() < choices.len() && self.attempt(&left)
                    },
                )
            });
            at = if larger { 0 } else { at + 1 };
        }
    }

    /// Moves values towards zero.
    fn lower_values(&mut self) {
        for at in 0..self.best.choices.len() {
            for shift in [63, 16, 8, 4, 2, 1, 1, 1, 1] {
                let choice = self.best.choices.get(at).filter(|_| self.stopped.is_none());
                let Some(choice) = choice else { return };
                let lower = (choice.value >> shift).max(1);
                if lower == choice.value {
                    break;
                }
                let mut choices = self.best.choices.clone();
                choices[at].value = lower;
                self.attempt(&choices);
            }
        }
    }
}
