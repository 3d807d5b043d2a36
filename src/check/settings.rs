//! What a sweep is to do: what the test says, and what the environment says over it.
//!
//! Knows the variables `VIRTNET_*`, and is the only place that reads them. What is malformed is an
//! error of one sentence that names the variable, what it held, and what was expected.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::sim::{Run, Schedule, Tape};

/// Where a run is executed, so that nothing of one reaches the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// On workers that go on from run to run: for runs of microseconds. What a dependency keeps in
    /// thread-locals survives into the next run.
    None,
    /// Each on a fresh thread, which costs some 30 µs a run.
    #[default]
    Thread,
    /// Each in a fresh process, which executes this test once more and costs some milliseconds a
    /// run. Nothing at all survives into the next one, and a run that takes its process with it is
    /// a seed that failed.
    ///
    /// There the test is executed up to this check and no further; checks before it are skipped,
    /// and report no runs.
    Process,
}

/// Against which repetitions of itself a run is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Determinism {
    /// Twice more in the same process.
    Warm,
    /// And once in a fresh process, where addresses are others and nothing was left by any run.
    Cold,
    /// And once in the same process after eight other seeds, which may have left something.
    Shuffled,
    /// All of these.
    All,
}

impl Determinism {
    /// Reads `cold` and so on.
    pub(crate) fn read(text: &str) -> Option<Self> {
        Some(match text {
            "1" | "true" | "warm" => Self::Warm,
            "cold" => Self::Cold,
            "shuffled" => Self::Shuffled,
            "all" => Self::All,
            _ => return None,
        })
    }

    /// Whether a fresh process is asked for.
    pub(crate) const fn is_cold(self) -> bool {
        matches!(self, Self::Cold | Self::All)
    }

    /// Whether other seeds are to be run before.
    pub(crate) const fn is_shuffled(self) -> bool {
        matches!(self, Self::Shuffled | Self::All)
    }

    /// What either asks for.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self.is_cold() || other.is_cold(), self.is_shuffled() || other.is_shuffled()) {
            (true, true) => Self::All,
            (true, false) => Self::Cold,
            (false, true) => Self::Shuffled,
            (false, false) => Self::Warm,
        }
    }
}

/// What is swept over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Seeds(Range<u64>),
    /// One seed again.
    Replay(u64),
    /// One tape again.
    Tape(PathBuf),
    /// One tape that the test has.
    Given(Tape),
    /// None: what other sweeps have come to is put together from these lines, and judged.
    Judge(PathBuf),
}

/// What a sweep is to do.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) work: Work,
    /// Whether the test says which seeds, and does not only begin with them.
    pub(crate) seeds_given: bool,
    /// Whether the seeds were drawn, so that nobody knows them who is not told.
    pub(crate) seeds_drawn: bool,
    /// The seeds that the test itself asks for, whatever the environment says.
    pub(crate) own_seeds: Range<u64>,
    /// Whether other seeds stand in for them, if there are as many.
    is_substitute: bool,
    /// The real time for which a sweep goes on.
    pub(crate) budget: Option<Duration>,
    pub(crate) jobs: Option<usize>,
    pub(crate) isolation: Isolation,
    /// How every seed is repeated.
    pub(crate) determinism: Option<Determinism>,
    /// How a seed that failed is repeated, at least.
    pub(crate) after_failure: Determinism,
    pub(crate) schedule: Schedule,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) step_limit: Option<u64>,
    /// How many runs shrinking may take; 0 is none.
    pub(crate) shrink: u64,
    /// The real time that shrinking may take.
    pub(crate) shrink_time: Duration,
    /// Which of how many shards this is.
    pub(crate) shard: Option<(u64, u64)>,
    pub(crate) trace: Option<PathBuf>,
    /// Where a sweep adds a line of what came of it.
    pub(crate) results: Option<PathBuf>,
    /// The real time that one poll may take before it is told.
    pub(crate) watchdog: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            work: Work::Seeds(0..64),
            seeds_given: false,
            seeds_drawn: false,
            own_seeds: 0..64,
            is_substitute: false,
            budget: None,
            jobs: None,
            isolation: Isolation::default(),
            determinism: None,
            after_failure: Determinism::Warm,
            schedule: Schedule::default(),
            time_limit: None,
            step_limit: None,
            shrink: 1000,
            shrink_time: Duration::from_secs(8),
            shard: None,
            trace: None,
            results: None,
            watchdog: Duration::from_secs(10),
        }
    }
}

/// Gives the value of a variable, if it is set to anything.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of this process. What is no text is wrong in it, and not as if it were not set.
pub(crate) fn environment(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    Some(value).filter(|value| !value.is_empty())
}

impl Settings {
    /// A run of this seed.
    pub(crate) fn run(&self, seed: u64) -> Run {
        let mut run = Run::new(seed).schedule(self.schedule);
        if let Some(limit) = self.time_limit {
            run = run.time_limit(limit);
        }
        if let Some(steps) = self.step_limit {
            run = run.step_limit(steps);
        }
        run
    }

    /// Lets the environment have its say.
    pub(crate) fn with_environment(mut self, env: Env<'_>) -> Result<Self, String> {
        self.seeds_of(env)?;
        if let Some(text) = env("VIRTNET_SEED") {
            self.work = Work::Replay(parse("VIRTNET_SEED", &text, |text| {
                number(text).ok_or("a seed, decimal or 0x..")
            })?);
        }
        if let Some(text) = env("VIRTNET_TAPE") {
            self.work = Work::Tape(text.into());
        }
        // What a test has on a tape is no sweep, and leaves no line that could be judged.
        if let Some(text) = env("VIRTNET_JUDGE").filter(|_| !matches!(self.work, Work::Given(_))) {
            self.work = Work::Judge(text.into());
        }
        if let Some(text) = env("VIRTNET_JOBS") {
            self.jobs = Some(parse("VIRTNET_JOBS", &text, jobs)?);
        }
        if let Some(text) = env("VIRTNET_SHRINK") {
            parse("VIRTNET_SHRINK", &text, |text| self.set_shrink(text))?;
        }
        if let Some(text) = env("VIRTNET_CHECK").filter(|text| text != "0" && text != "false") {
            let more = parse("VIRTNET_CHECK", &text, |text| {
                Determinism::read(text).ok_or("1, cold, shuffled, all or 0")
            })?;
            self.determinism = Some(self.determinism.map_or(more, |own| own.and(more)));
        }
        self.trace = env("VIRTNET_TRACE").map(PathBuf::from).or(self.trace);
        self.results = env("VIRTNET_RESULTS").map(PathBuf::from).or(self.results);
        self.shard = shard(env)?.or(self.shard);
        Ok(self)
    }

    /// Which seeds there are, and for how long.
    ///
    /// With a budget, seeds end only where whoever gave it, or somebody after him, says so.
    fn seeds_of(&mut self, env: Env<'_>) -> Result<(), String> {
        if let Work::Seeds(seeds) = &self.work {
            self.own_seeds = seeds.clone();
        }
        let given = env("VIRTNET_SEEDS");
        let mut is_open = self.budget.is_some() && !self.seeds_given && given.is_none();
        if let Some(text) = env("VIRTNET_TIME") {
            self.budget = Some(parse("VIRTNET_TIME", &text, budget)?);
            is_open = given.is_none();
        }
        if let Some(text) = given {
            let rest = text.strip_prefix(REST);
            let range = parse("VIRTNET_SEEDS", &text, |text| seeds(rest.unwrap_or(text)))?;
            self.is_substitute = rest.is_none() && range.end < u64::MAX;
            self.work = Work::Seeds(range);
            self.seeds_drawn = text.starts_with(DRAWN);
        }
        if let Work::Seeds(seeds) = &mut self.work {
            if is_open {
                seeds.end = u64::MAX;
            }
            // Fresh seeds for each iteration of a stress test of nextest's, whose number is from 0
            // on, or `none`. Its retries count elsewhere, and are the same seeds again.
            let number = env("NEXTEST_STRESS_CURRENT").and_then(|text| text.parse::<u64>().ok());
            if let Some(fresh) = shifted(seeds.clone(), number.unwrap_or(0)) {
                self.is_substitute |= fresh != *seeds;
                *seeds = fresh;
            }
        }
        Ok(())
    }

    /// Whether all of these seeds together, which were run, make a sweep of the whole test and not
    /// only a part of one. They do if the test's own seeds are among them.
    pub(crate) fn has_own_seeds(&self, run: &Range<u64>) -> bool {
        run.start <= self.own_seeds.start && self.own_seeds.end <= run.end
    }

    /// Whether a sweep that has run these seeds is judged as a whole: `sometimes!` and faults mean
    /// something only for as many seeds as the test asks for.
    ///
    /// Seeds that the environment gives as a range with an end, or draws, stand in for the test's
    /// own. A range without an end has one where its time is used up, and a rest has lost its
    /// beginning: each is a whole only with the test's own seeds in it.
    pub(crate) fn is_whole(&self, run: &Range<u64>) -> bool {
        let is_all = self.shard.is_none_or(|(_, of)| of == 1);
        is_all && (self.has_own_seeds(run) || self.is_substitute && self.is_as_many(count(run)))
    }

    /// Whether the test asks for no more seeds than this.
    pub(crate) const fn is_as_many(&self, seeds: u64) -> bool {
        seeds >= count(&self.own_seeds)
    }

    /// Seeds that are left of a sweep, as `VIRTNET_SEEDS` has them: marked where they would be
    /// taken for a whole one.
    pub(crate) fn rest(&self, seeds: &Range<u64>) -> String {
        let is_open = seeds.end == u64::MAX;
        let stands_in = !is_open && !self.has_own_seeds(seeds) && self.is_as_many(count(seeds));
        format!("{}{}", if stands_in { REST } else { "" }, range_text(seeds))
    }

    /// Takes how much shrinking may take: `500`, `30s`, or both with a comma.
    pub(crate) fn set_shrink(&mut self, text: &str) -> Result<(), &'static str> {
        for part in text.split(',').map(str::trim) {
            match (part.parse(), duration(part)) {
                (Ok(runs), _) => self.shrink = runs,
                (_, Some(time)) => self.shrink_time = time,
                _ => return Err("a number of runs, a time as 30s, or both as 500,30s; 0 is none"),
            }
        }
        Ok(())
    }

    /// How many threads a sweep is to have: all cores for many seeds, and for processes; few are
    /// done before the threads have begun.
    pub(crate) fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        let is_long = match &self.work {
            Work::Seeds(seeds) => seeds.end - seeds.start >= 256,
            _ => false,
        };
        let is_all = is_long || self.isolation == Isolation::Process;
        self.jobs.unwrap_or_else(|| if is_all { all() } else { 1 })
    }

    /// The seeds that are this shard's: every n-th.
    pub(crate) fn is_ours(&self, seed: u64) -> bool {
        self.shard.is_none_or(|(own, of)| seed % of == own)
    }
}

/// How many seeds there are.
pub(crate) const fn count(seeds: &Range<u64>) -> u64 {
    seeds.end.saturating_sub(seeds.start)
}

/// A range as `VIRTNET_SEEDS` has it.
pub(crate) fn range_text(seeds: &Range<u64>) -> String {
    let Range { start, end } = seeds;
    if *end == u64::MAX { format!("{start:#x}..") } else { format!("{start:#x}..{end:#x}") }
}

/// The seeds that follow on as many as these, so many times.
fn shifted(seeds: Range<u64>, times: u64) -> Option<Range<u64>> {
    // Where there is no end there is room.
    let is_open = seeds.end == u64::MAX;
    let count = if is_open { 1 << 32 } else { seeds.end - seeds.start };
    let shift = count.checked_mul(times)?;
    let end = if is_open { seeds.end } else { seeds.end.checked_add(shift)? };
    Some(seeds.start.checked_add(shift)?..end).filter(|seeds| !seeds.is_empty())
}

/// Which shard this process is: by our own variable, or by those of Slurm and Kubernetes.
fn shard(env: Env<'_>) -> Result<Option<(u64, u64)>, String> {
    if let Some(text) = env("VIRTNET_SHARD") {
        return parse("VIRTNET_SHARD", &text, |text| {
            let (own, of) = text.split_once('/').ok_or("i/n")?;
            match (own.parse(), of.parse()) {
                (Ok(own), Ok(of)) if own < of => Ok((own, of)),
                _ => Err("i/n with i from 0 to n - 1"),
            }
        })
        .map(Some);
    }
    let number = |name| env(name).and_then(|text| text.parse::<u64>().ok());
    let of = |name| number(name).filter(|of| *of > 0);
    if let (Some(id), Some(of)) = (number("SLURM_ARRAY_TASK_ID"), of("SLURM_ARRAY_TASK_COUNT")) {
        return slurm(id, of, number("SLURM_ARRAY_TASK_MIN"), number("SLURM_ARRAY_TASK_STEP"));
    }
    let own = number("JOB_COMPLETION_INDEX").zip(of("JOB_COMPLETIONS"));
    Ok(own.map(|(own, of)| (own % of, of)))
}

/// Which of so many shards a task of Slurm's is: their numbers begin anywhere, and go in steps.
fn slurm(
    id: u64,
    of: u64,
    first: Option<u64>,
    step: Option<u64>,
) -> Result<Option<(u64, u64)>, String> {
    let Some(first) = first else { return Ok(Some((id % of, of))) };
    let (past, step) = (id.saturating_sub(first), step.unwrap_or(1).max(1));
    if past % step == 0 && past / step < of {
        return Ok(Some((past / step, of)));
    }
    // Two tasks would be the same shard, and another would be none's.
    Err(format!(
        "virtnet: SLURM_ARRAY_TASK_ID={id:?}: expected one of {of} numbers in even steps from \
         {first} on; VIRTNET_SHARD=i/{of} says which it is"
    ))
}

fn parse<T>(
    name: &str,
    text: &str,
    read: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, String> {
    read(text).map_err(|expected| format!("virtnet: {name}={text:?}: expected {expected}"))
}

/// Reads a number, decimal or hexadecimal.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// What seeds begin with that are to be drawn.
const DRAWN: &str = "random:";
/// What seeds begin with that are left of a sweep.
const REST: &str = "rest:";

/// Reads a range of seeds: `1000`, `5..105`, `5..` or `random:1000`.
pub(crate) fn seeds(text: &str) -> Result<Range<u64>, &'static str> {
    const EXPECTED: &str = "a number of seeds, a range as 5..105 or 5.., or random:1000";
    if let Some(count) = text.strip_prefix(DRAWN) {
        let count = number(count).filter(|count| *count > 0).ok_or(EXPECTED)?;
        // From outside, on purpose: each sweep is to be another. It is told.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let start = now.map_or(0, |now| now.as_nanos() as u64) >> 8 & 0xFFFF_FFFF;
        return Ok(start..start.saturating_add(count));
    }
    let range = match text.split_once("..") {
        Some((start, "")) => number(start).map(|start| start..u64::MAX),
        Some((start, end)) => number(start).zip(number(end)).map(|(start, end)| start..end),
        None => number(text).map(|count| 0..count),
    };
    range.filter(|range| !range.is_empty()).ok_or(EXPECTED)
}

/// Reads how many threads there are to be: with none, no seed would be run.
pub(crate) fn jobs(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|jobs| *jobs > 0).ok_or("a number of threads from 1")
}

/// Reads for how long a sweep is to go on: not for no time, in which no seed may be run.
pub(crate) fn budget(text: &str) -> Result<Duration, &'static str> {
    duration(text).filter(|time| !time.is_zero()).ok_or("a duration, as 60s")
}

/// Reads a duration: `300ms`, `5s`, `5min`, `1h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = (text[..digits].parse::<u64>().ok()?, &text[digits..]);
    let nanos = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    Some(Duration::from_nanos(count.checked_mul(nanos)?))
}

#[cfg(test)]
mod tests {
    use super::{Determinism, Settings, Work, duration};
    use std::time::Duration;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        with(Settings::default(), variables)
    }

    fn with(own: Settings, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        own.with_environment(&value)
    }

    #[test]
    fn the_environment_has_the_last_word() {
        let of = |variables: &[(&str, &str)]| settings(variables).unwrap();
        assert_eq!(of(&[]).work, Work::Seeds(0..64));
        assert_eq!(of(&[("VIRTNET_SEEDS", "10000")]).work, Work::Seeds(0..10_000));
        assert_eq!(of(&[("VIRTNET_SEEDS", "5..105")]).work, Work::Seeds(5..105));
        assert_eq!(of(&[("VIRTNET_SEED", "0x1f4")]).work, Work::Replay(500));
        assert_eq!(of(&[("VIRTNET_SHARD", "3/16")]).shard, Some((3, 16)));
        let slurm = [("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_COUNT", "4")];
        assert_eq!(of(&slurm).shard, Some((2, 4)));
        let stepped = |id| {
            let row = [("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_STEP", "4")];
            let own = [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_COUNT", "4")];
            settings(&[row, own].concat()).map(|settings| settings.shard)
        };
        let shards = ["1", "5", "9", "13"].map(|id| stepped(id).unwrap().unwrap().0);
        assert_eq!(shards, [0, 1, 2, 3]);
        let error = stepped("17").unwrap_err();
        assert!(error.starts_with("virtnet: SLURM_ARRAY_TASK_ID=17: expected one of 4"), "{error}");
        assert_eq!(of(&[("VIRTNET_SEEDS", "5..")]).work, Work::Seeds(5..u64::MAX));
        assert_eq!(of(&[("VIRTNET_JUDGE", "x")]).work, Work::Judge("x".into()));
    }

    #[test]
    fn what_the_variable_asks_of_repetitions_is_added_to_what_the_test_does() {
        let of = |own, text| {
            let own = Settings { determinism: own, ..Settings::default() };
            own.with_environment(&|name| (name == "VIRTNET_CHECK").then(|| String::from(text)))
        };
        let (cold, shuffled) = (Some(Determinism::Cold), Some(Determinism::Shuffled));
        assert_eq!(of(None, "1").unwrap().determinism, Some(Determinism::Warm));
        assert_eq!(of(None, "0").unwrap().determinism, None);
        assert_eq!(of(cold, "0").unwrap().determinism, cold);
        assert_eq!(of(cold, "1").unwrap().determinism, cold);
        assert_eq!(of(cold, "shuffled").unwrap().determinism, Some(Determinism::All));
        assert_eq!(of(shuffled, "1").unwrap().determinism, shuffled);
    }

    #[test]
    fn with_a_budget_seeds_end_only_where_somebody_says_so() {
        let of = |own: &Settings, variables: &[_]| with(own.clone(), variables).unwrap().work;
        let (test, all) = (Settings::default(), Work::Seeds(0..u64::MAX));
        let time = ("VIRTNET_TIME", "60s");
        assert_eq!(with(test.clone(), &[time]).unwrap().budget, Some(Duration::from_secs(60)));
        assert_eq!(of(&test, &[time]), all);
        assert_eq!(of(&test, &[time, ("VIRTNET_SEEDS", "9")]), Work::Seeds(0..9));
        let budget = Settings { budget: Some(Duration::from_secs(1)), ..test };
        assert_eq!(of(&budget, &[]), all);
        assert_eq!(of(&budget, &[("VIRTNET_SEEDS", "9")]), Work::Seeds(0..9));
        let both = Settings { seeds_given: true, ..budget };
        assert_eq!(of(&both, &[]), Work::Seeds(0..64));
        assert_eq!(of(&both, &[time]), all);
    }

    #[test]
    fn stress_iterations_have_fresh_seeds_and_retries_have_the_same() {
        let of = |variables: &[(&str, &str)]| settings(variables).unwrap().work;
        let number = |number| ("NEXTEST_STRESS_CURRENT", number);
        assert_eq!(of(&[number("none"), ("NEXTEST_ATTEMPT", "1")]), Work::Seeds(0..64));
        assert_eq!(of(&[number("0")]), Work::Seeds(0..64));
        assert_eq!(of(&[number("2"), ("NEXTEST_ATTEMPT", "3")]), Work::Seeds(128..192));
        assert_eq!(of(&[number("3"), ("VIRTNET_SEEDS", "5..15")]), Work::Seeds(35..45));
        let open = of(&[number("1"), ("VIRTNET_SEEDS", "5..")]);
        assert_eq!(open, Work::Seeds(5 + (1 << 32)..u64::MAX));
        assert_eq!(of(&[number("1"), ("VIRTNET_SEED", "7")]), Work::Replay(7));
        assert_eq!(of(&[number("18446744073709551615")]), Work::Seeds(0..64));
    }

    #[test]
    fn shrinking_has_a_budget_of_runs_and_of_time() {
        let of = |text| {
            let settings = settings(&[("VIRTNET_SHRINK", text)]).unwrap();
            (settings.shrink, settings.shrink_time)
        };
        assert_eq!(of("500"), (500, Duration::from_secs(8)));
        assert_eq!(of("30s"), (1000, Duration::from_secs(30)));
        assert_eq!(of("500, 1min"), (500, Duration::from_secs(60)));
    }

    #[test]
    fn what_is_malformed_is_said_in_one_sentence() {
        for (name, value, expected) in [
            ("VIRTNET_SEED", "x", "expected a seed, decimal or 0x.."),
            ("VIRTNET_SEEDS", "5..5", "expected a number of seeds, a range"),
            ("VIRTNET_SEEDS", "random:0", "expected a number of seeds, a range"),
            ("VIRTNET_SHARD", "16/16", "expected i/n with i from 0 to n - 1"),
            ("VIRTNET_JOBS", "0", "expected a number of threads from 1"),
            ("VIRTNET_CHECK", "yes", "expected 1, cold, shuffled, all or 0"),
            ("VIRTNET_SHRINK", "-1", "expected a number of runs"),
            ("VIRTNET_SHRINK", "5,", "expected a number of runs, a time as 30s, or both"),
            ("VIRTNET_TIME", "60", "expected a duration, as 60s"),
            ("VIRTNET_TIME", "0s", "expected a duration, as 60s"),
        ] {
            let error = settings(&[(name, value)]).unwrap_err();
            assert!(
                error.starts_with(&format!("virtnet: {name}={value:?}: {expected}")),
                "{error}"
            );
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("5min"), Some(Duration::from_secs(300)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!((duration("5"), duration("min"), duration("5 min")), (None, None, None));
    }
}
