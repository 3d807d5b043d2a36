//! What a sweep is to do: what the test says, and what the environment says over it.
//!
//! Knows the variables `VIRTNET_*`, and is the only place that reads them. What is malformed is an
//! error of one sentence that names the variable, what it held, and what was expected.

use std::ffi::OsString;
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
    /// The real time that one poll may take in a process of its own.
    pub(crate) poll_limit: Duration,
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
            poll_limit: Duration::from_secs(60),
        }
    }
}

/// Gives the value of a variable, if it is set to anything.
type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The variables of this process.
pub(crate) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The variables that there are.
const VARIABLES: [&str; 13] = [
    "CHECK",
    "CHILD",
    "JOBS",
    "JUDGE",
    "POLL_LIMIT",
    "RESULTS",
    "SEED",
    "SEEDS",
    "SHARD",
    "SHRINK",
    "TAPE",
    "TIME",
    "TRACE",
];
/// What begins the name of each.
const START: &str = "VIRTNET_";

/// Says which variable of this process looks like a misspelt one of ours. Others may be the test's.
pub(crate) fn misspelt(names: impl IntoIterator<Item = OsString>) -> Option<String> {
    let is_known = |own: &str| VARIABLES.contains(&own) || own.starts_with("TESTS_");
    names.into_iter().find_map(|name| {
        let name = name.into_string().ok()?;
        let own = name.strip_prefix(START).filter(|own| !is_known(own))?.to_uppercase();
        let near = |known: &&str| edits(&own, known) <= if known.len() > 4 { 2 } else { 1 };
        let nearest = VARIABLES.into_iter().filter(near).min_by_key(|known| edits(&own, known))?;
        Some(format!(
            "virtnet: {name}: there is no such variable; expected {START}{nearest}, or another name"
        ))
    })
}

/// How many letters are to be put in, taken out, replaced or swapped with the next to make one word
/// of another.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1);
            least = least.min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
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
        let text = |name| text(env, name);
        if let Some(text) = text("VIRTNET_SEED") {
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
        if let Some(text) = text("VIRTNET_JOBS") {
            self.jobs = Some(parse("VIRTNET_JOBS", &text, jobs)?);
        }
        if let Some(text) = text("VIRTNET_SHRINK") {
            parse("VIRTNET_SHRINK", &text, |text| self.set_shrink(text))?;
        }
        self.with_poll_limit(env)?;
        if let Some(text) = text("VIRTNET_CHECK").filter(|text| text != "0" && text != "false") {
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

    /// How long a poll may take: the process of a run watches itself, and heeds this variable too.
    pub(crate) fn with_poll_limit(&mut self, env: Env<'_>) -> Result<(), String> {
        if let Some(text) = text(env, "VIRTNET_POLL_LIMIT") {
            self.poll_limit = parse("VIRTNET_POLL_LIMIT", &text, poll_limit)?;
        }
        Ok(())
    }

    /// Which seeds there are, and for how long.
    ///
    /// With a budget, seeds end only where whoever gave it, or somebody after him, says so.
    fn seeds_of(&mut self, env: Env<'_>) -> Result<(), String> {
        if let Work::Seeds(seeds) = &self.work {
            self.own_seeds = seeds.clone();
        }
        let given = text(env, "VIRTNET_SEEDS");
        let mut is_open = self.budget.is_some() && !self.seeds_given && given.is_none();
        if let Some(text) = text(env, "VIRTNET_TIME") {
            self.budget = Some(parse("VIRTNET_TIME", &text, budget)?);
            is_open = given.is_none();
        }
        if let Some(text) = given {
            let rest = text.strip_prefix(REST).filter(|rest| !is_drawn(rest));
            let range = parse("VIRTNET_SEEDS", &text, |text| seeds(rest.unwrap_or(text)))?;
            self.is_substitute = rest.is_none() && range.end < u64::MAX;
            self.work = Work::Seeds(range);
            self.seeds_drawn = is_drawn(&text);
        }
        if let Work::Seeds(seeds) = &mut self.work {
            if is_open {
                seeds.end = u64::MAX;
            }
            // Fresh seeds for each iteration of a stress test of nextest's, whose number is from 0
            // on, or `none`. Its retries count elsewhere, and are the same seeds again.
            let number = text(env, "NEXTEST_STRESS_CURRENT").filter(|text| text != "none");
            let number = number.as_deref().map_or(Ok(0), |text| {
                parse("NEXTEST_STRESS_CURRENT", text, |text| digits(text).ok_or("a number or none"))
            });
            if let Some(fresh) = shifted(seeds.clone(), number?) {
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
        const EXPECTED: &str = "a number of runs, a time as 30s, or both as 500,30s; 0 is none";
        let (mut runs, mut time) = (None, None);
        for part in text.split(',').map(str::trim) {
            let had = match (digits(part), duration(part)) {
                (Some(number), _) => runs.replace(number).is_some(),
                (_, Some(length)) => time.replace(length).is_some(),
                _ => true,
            };
            if had {
                return Err(EXPECTED);
            }
        }
        self.shrink = runs.unwrap_or(self.shrink);
        self.shrink_time = time.unwrap_or(self.shrink_time);
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
    if let Some(text) = text(env, "VIRTNET_SHARD") {
        return parse("VIRTNET_SHARD", &text, |text| {
            let (own, of) = text.split_once('/').ok_or("i/n")?;
            match (digits(own), digits(of)) {
                (Some(own), Some(of)) if own < of => Ok((own, of)),
                _ => Err("i/n with i from 0 to n - 1"),
            }
        })
        .map(Some);
    }
    // One alone says nothing: which part is this of how many?
    if env("SLURM_ARRAY_TASK_ID").is_some() && env("SLURM_ARRAY_TASK_COUNT").is_some() {
        return slurm(env).map(Some);
    }
    let [own, of] = [foreign(env, "JOB_COMPLETION_INDEX")?, foreign(env, "JOB_COMPLETIONS")?];
    match own.zip(of) {
        // Two pods would be the same shard, and another would be none's.
        Some((own, of)) if own >= of => Err(format!(
            "virtnet: JOB_COMPLETION_INDEX=\"{own}\": expected a number below JOB_COMPLETIONS, \
             which is {of}; VIRTNET_SHARD=i/n says which shard it is"
        )),
        shard => Ok(shard),
    }
}

/// A number that another tool gives.
fn foreign(env: Env<'_>, name: &str) -> Result<Option<u64>, String> {
    let parsed = |text: String| {
        parse(name, &text, |text| {
            digits(text).ok_or("a number; VIRTNET_SHARD=i/n says which shard it is")
        })
    };
    text(env, name).map(parsed).transpose()
}

/// Which shard a task of Slurm's is: their numbers begin anywhere, and go in steps.
fn slurm(env: Env<'_>) -> Result<(u64, u64), String> {
    let number = |name| foreign(env, name);
    let [id, of] = [number("SLURM_ARRAY_TASK_ID")?, number("SLURM_ARRAY_TASK_COUNT")?];
    let [first, step] = [number("SLURM_ARRAY_TASK_MIN")?, number("SLURM_ARRAY_TASK_STEP")?];
    let (id, of) = (id.unwrap_or(0), of.unwrap_or(0));
    let (first, step) = (first.unwrap_or(0), step.unwrap_or(1).max(1));
    let past = id.checked_sub(first).filter(|past| past % step == 0);
    match past.map(|past| past / step).filter(|own| *own < of) {
        Some(own) => Ok((own, of)),
        // Two tasks would be the same shard, and another would be none's.
        None => Err(format!(
            "virtnet: SLURM_ARRAY_TASK_ID=\"{id}\": expected one of {of} numbers in even steps \
             from {first} on; VIRTNET_SHARD=i/{of} says which it is"
        )),
    }
}

/// The value of a variable as a text. What is no text is wrong, and not as if it were unset.
fn text(env: Env<'_>, name: &str) -> Option<String> {
    env(name).map(|value| value.to_string_lossy().into_owned())
}

fn parse<T>(
    name: &str,
    text: &str,
    read: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, String> {
    read(text).map_err(|expected| format!("virtnet: {name}={text:?}: expected {expected}"))
}

/// Reads digits, and nothing else: a sign is none.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Reads a number, decimal or hexadecimal.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')),
        None => digits(text),
    }
}

/// What seeds begin with that are to be drawn.
const DRAWN: &str = "random:";
/// What seeds begin with that are left of a sweep.
const REST: &str = "rest:";

/// Whether seeds are to be drawn.
pub(crate) fn is_drawn(text: &str) -> bool {
    text.starts_with(DRAWN)
}

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

/// How many threads a sweep has at most.
pub(crate) const MOST_JOBS: usize = 1024;

/// Reads how many threads there are to be: with none, no seed would be run.
pub(crate) fn jobs(text: &str) -> Result<usize, &'static str> {
    let jobs = digits(text).and_then(|jobs| usize::try_from(jobs).ok());
    jobs.filter(|jobs| (1..=MOST_JOBS).contains(jobs)).ok_or("a number of threads from 1 to 1024")
}

/// Reads how long one poll may take.
pub(crate) fn poll_limit(text: &str) -> Result<Duration, &'static str> {
    duration(text).filter(|time| !time.is_zero()).ok_or("a duration, as 60s")
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
    use super::{Determinism, Settings, VARIABLES, Work, duration, misspelt};
    use std::time::Duration;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        with(Settings::default(), variables)
    }

    fn with(own: Settings, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
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
        assert!(
            error.starts_with("virtnet: SLURM_ARRAY_TASK_ID=\"17\": expected one of 4"),
            "{error}"
        );
        assert_eq!(of(&[("VIRTNET_SEEDS", "5..")]).work, Work::Seeds(5..u64::MAX));
        assert_eq!(of(&[("VIRTNET_JUDGE", "x")]).work, Work::Judge("x".into()));
    }

    #[test]
    fn what_the_variable_asks_of_repetitions_is_added_to_what_the_test_does() {
        let of = |own, text: &str| {
            let own = Settings { determinism: own, ..Settings::default() };
            own.with_environment(&|name| (name == "VIRTNET_CHECK").then(|| text.into()))
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

    /// For each variable what it may hold, and what it may not.
    const VALUES: &[(&str, &[&str], &[&str], &str)] = &[
        (
            "VIRTNET_SEED",
            &["0", "500", "0x1f4", "0xFFFFFFFFFFFFFFFF", "18446744073709551615"],
            &["x", "+5", "-5", "0x+5", "0x", "0x-1", " 5", "5 ", "5.", "1_000", "1..2"],
            "expected a seed, decimal or 0x..",
        ),
        (
            "VIRTNET_SEEDS",
            &["1", "0x10", "5..105", "5..", "0x5..0x6", "random:10", "rest:5..6", "rest:5.."],
            &[
                "0",
                "5..5",
                "6..5",
                "..5",
                "5..=6",
                "5...6",
                "+5",
                "5..+6",
                "random:0",
                "random:+5",
                "random:",
                "random:5..6",
                "rest:",
                "rest:0",
                "rest:random:5",
                "random:rest:5",
                "5,6",
                "18446744073709551615..",
            ],
            "expected a number of seeds, a range as 5..105 or 5.., or random:1000",
        ),
        (
            "VIRTNET_TIME",
            &["1ns", "1us", "1µs", "60s", "5min", "8h"],
            &["60", "0s", "+5s", "-5s", "5 s", "s", "5S", "1.5s", "99999999999999h", "5s,5s"],
            "expected a duration, as 60s",
        ),
        (
            "VIRTNET_POLL_LIMIT",
            &["1ms", "60s"],
            &["60", "0s", "+5s", "never"],
            "expected a duration, as 60s",
        ),
        (
            "VIRTNET_SHARD",
            &["0/1", "3/16", "15/16"],
            &["16/16", "1", "1/", "/2", "0/0", "+1/4", "1/+4", "1/2/4", "a/b", "-1/4", "1 / 4"],
            "expected i/n",
        ),
        (
            "VIRTNET_JOBS",
            &["1", "64", "1024"],
            &["0", "1025", "200000", "+5", "-1", "0x4", "all", "18446744073709551616"],
            "expected a number of threads from 1 to 1024",
        ),
        (
            "VIRTNET_CHECK",
            &["1", "0", "true", "false", "warm", "cold", "shuffled", "all"],
            &["yes", "2", "Cold", "cold,shuffled", "+1"],
            "expected 1, cold, shuffled, all or 0",
        ),
        (
            "VIRTNET_SHRINK",
            &["0", "500", "30s", "0s", "500,30s", "30s,500", "500, 1min"],
            &["-1", "+5", "5,", ",", "1,2", "1,2,3", "1s,2s", "5,1s,2s", "5s 5", "none"],
            "expected a number of runs, a time as 30s, or both as 500,30s; 0 is none",
        ),
        (
            "NEXTEST_STRESS_CURRENT",
            &["0", "3", "none"],
            &["+1", "x", "-1"],
            "expected a number or none",
        ),
    ];

    #[test]
    fn each_variable_holds_what_it_is_for_and_says_of_all_else_what_it_expects() {
        for (name, good, bad, expected) in VALUES {
            for value in *good {
                assert!(settings(&[(name, value)]).is_ok(), "{name}={value}");
            }
            for value in *bad {
                let error = settings(&[(name, value)]).expect_err(value);
                let start = format!("virtnet: {name}={value:?}: {expected}");
                assert!(error.starts_with(&start), "{error}");
            }
        }
    }

    #[test]
    fn numbers_of_other_tools_are_shards_or_refused() {
        let pod = |index, of| {
            settings(&[("JOB_COMPLETION_INDEX", index), ("JOB_COMPLETIONS", of)])
                .map(|settings| settings.shard)
        };
        assert_eq!((pod("0", "4"), pod("3", "4")), (Ok(Some((0, 4))), Ok(Some((3, 4)))));
        let error = "virtnet: JOB_COMPLETION_INDEX=\"7\": expected a number below \
                     JOB_COMPLETIONS, which is 4; VIRTNET_SHARD=i/n says which shard it is";
        assert_eq!(pod("7", "4"), Err(error.into()));
        for (index, of) in [("4", "4"), ("0", "0"), ("+1", "4"), ("x", "4"), ("1", "four")] {
            assert!(pod(index, of).unwrap_err().contains("VIRTNET_SHARD=i/n"), "{index} of {of}");
        }
        let slurm = |id, of, first, step| {
            let row = [("SLURM_ARRAY_TASK_MIN", first), ("SLURM_ARRAY_TASK_STEP", step)];
            let own = [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_COUNT", of)];
            settings(&[row, own].concat()).map(|settings| settings.shard)
        };
        assert_eq!(slurm("4", "4", "1", "1"), Ok(Some((3, 4))));
        for (id, of, first, step) in [
            ("0", "4", "1", "1"),
            ("5", "4", "1", "1"),
            ("6", "4", "1", "4"),
            ("1", "0", "1", "1"),
            ("x", "4", "1", "1"),
            ("1", "+4", "1", "1"),
        ] {
            assert!(slurm(id, of, first, step).unwrap_err().contains("VIRTNET_SHARD=i/"), "{id}");
        }
        // A part of how many is not said, or of how many this one is.
        assert_eq!(settings(&[("JOB_COMPLETION_INDEX", "7")]).unwrap().shard, None);
        assert_eq!(settings(&[("SLURM_ARRAY_TASK_ID", "7")]).unwrap().shard, None);
        let both = [("VIRTNET_SHARD", "1/2"), ("JOB_COMPLETION_INDEX", "7")];
        assert_eq!(settings(&both).unwrap().shard, Some((1, 2)));
    }

    #[test]
    fn misspelt_variable_is_refused_with_the_nearest_that_there_is() {
        let of = |name: &str| misspelt([name.into()]);
        for (name, expected) in [
            ("VIRTNET_SEDE", "VIRTNET_SEED"),
            ("VIRTNET_SEEDSS", "VIRTNET_SEEDS"),
            ("VIRTNET_SHARDS", "VIRTNET_SHARD"),
            ("VIRTNET_JOB", "VIRTNET_JOBS"),
            ("VIRTNET_TIMES", "VIRTNET_TIME"),
            ("VIRTNET_Trace", "VIRTNET_TRACE"),
            ("VIRTNET_POLLLIMIT", "VIRTNET_POLL_LIMIT"),
        ] {
            let error = format!(
                "virtnet: {name}: there is no such variable; expected {expected}, or another name"
            );
            assert_eq!(of(name), Some(error));
        }
        for known in VARIABLES {
            assert_eq!(of(&format!("VIRTNET_{known}")), None);
        }
        // Those of somebody else, and of tests.
        for other in ["SEED", "VIRTNET", "VIRTNET_", "VIRTNET_ROUNDS", "VIRTNET_TESTS_SEED"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn seeds_that_are_a_whole_have_those_of_the_test_or_stand_in_for_them() {
        let own = Settings { work: Work::Seeds(10..20), ..Settings::default() };
        let whole =
            |variables: &[(&str, &str)], run| with(own.clone(), variables).unwrap().is_whole(&run);
        let seeds = |text| [("VIRTNET_SEEDS", text)];
        assert!(whole(&[], 10..20) && !whole(&[], 10..19) && !whole(&[], 11..20));
        assert!(whole(&seeds("30..40"), 30..40) && !whole(&seeds("30..40"), 30..39));
        assert!(whole(&seeds("random:10"), 90..100) && whole(&seeds("10"), 0..10));
        assert!(!whole(&seeds("11.."), 11..5000) && whole(&seeds("5.."), 5..20));
        assert!(!whole(&seeds("rest:15..90"), 15..90) && whole(&seeds("rest:9..90"), 9..90));
        assert!(whole(&[("NEXTEST_STRESS_CURRENT", "2")], 30..40));
        assert!(!whole(&[("VIRTNET_SHARD", "0/2")], 10..20));
        assert!(whole(&[("VIRTNET_SHARD", "0/1")], 10..20));
        let rest = |seeds| with(own.clone(), &[]).unwrap().rest(&seeds);
        assert_eq!((rest(15..20), rest(15..25)), ("0xf..0x14".into(), "rest:0xf..0x19".into()));
        assert_eq!((rest(15..u64::MAX), rest(9..90)), ("0xf..".into(), "0x9..0x5a".into()));
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("5min"), Some(Duration::from_secs(300)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!((duration("5"), duration("min"), duration("5 min")), (None, None, None));
    }
}
