//! Settings of a check: what the test asks for, overridden by the environment.
//!
//! This is the only file that reads the variables `VIRTNET_*`. A malformed value is an error of
//! one sentence: the variable, its value, and what was expected.

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::check::shell_quote::shell_word;
use crate::sim::{Run, Schedule, Tape};

/// The place in which a run is executed, so that no state of one reaches the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// On workers that go on from run to run: for runs of microseconds. What a dependency keeps in
    /// thread-locals survives into the next run.
    Shared,
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
pub enum DeterminismCheck {
    /// Twice more in the same process.
    SameProcess,
    /// And once in a fresh process, where addresses are others and nothing was left by any run.
    FreshProcess,
    /// And once in the same process after eight other seeds, which may have left something.
    AfterOtherSeeds,
    /// All of these.
    All,
}

impl DeterminismCheck {
    /// Reads `fresh-process` and so on.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "1" | "true" | "same-process" => Self::SameProcess,
            "fresh-process" => Self::FreshProcess,
            "after-other-seeds" => Self::AfterOtherSeeds,
            "all" => Self::All,
            _ => return None,
        })
    }

    /// Whether a fresh process is asked for.
    pub(crate) const fn needs_fresh_process(self) -> bool {
        matches!(self, Self::FreshProcess | Self::All)
    }

    /// Whether other seeds are to be run before.
    pub(crate) const fn needs_other_seeds(self) -> bool {
        matches!(self, Self::AfterOtherSeeds | Self::All)
    }

    /// The checks of both.
    pub(crate) fn union(self, other: Self) -> Self {
        match (
            self.needs_fresh_process() || other.needs_fresh_process(),
            self.needs_other_seeds() || other.needs_other_seeds(),
        ) {
            (true, true) => Self::All,
            (true, false) => Self::FreshProcess,
            (false, true) => Self::AfterOtherSeeds,
            (false, false) => Self::SameProcess,
        }
    }
}

/// The runs of a sweep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Seeds(Range<u64>),
    /// One seed again.
    Replay(u64),
    /// One tape again.
    TapeFile(PathBuf),
    /// One tape that the test has.
    ProvidedTape(Tape),
    /// None: what other sweeps have come to is put together from these lines, and judged.
    MergeResults(PathBuf),
}

/// The settings of a sweep.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// Whether the test says which seeds, and does not only begin with them.
    pub(crate) has_fixed_seeds: bool,
    /// Whether the seeds were drawn, so that they have to be printed.
    pub(crate) has_random_seeds: bool,
    /// The seeds that the test itself asks for, whatever the environment says.
    pub(crate) test_seeds: Range<u64>,
    /// Whether other seeds stand in for them, if there are as many.
    replaces_test_seeds: bool,
    /// The real time for which a sweep goes on.
    pub(crate) budget: Option<Duration>,
    pub(crate) jobs: Option<usize>,
    pub(crate) isolation: Isolation,
    /// The way in which every seed is repeated.
    pub(crate) determinism: Option<DeterminismCheck>,
    /// The way in which a failed seed is repeated, at least.
    pub(crate) determinism_after_failure: DeterminismCheck,
    pub(crate) schedule: Schedule,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) step_limit: Option<u64>,
    /// The maximum number of runs for shrinking; 0 is none.
    pub(crate) shrink_runs: u64,
    /// The real time that shrinking may take.
    pub(crate) shrink_time: Duration,
    /// Which of how many shards this is.
    pub(crate) shard: Option<(u64, u64)>,
    pub(crate) trace_file: Option<PathBuf>,
    /// The file to which a sweep appends its result.
    pub(crate) results_file: Option<PathBuf>,
    /// The real time that one poll may take before it is told.
    pub(crate) watchdog_limit: Duration,
    /// The real time that one poll may take in a process of its own.
    pub(crate) poll_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Seeds(0..64),
            has_fixed_seeds: false,
            has_random_seeds: false,
            test_seeds: 0..64,
            replaces_test_seeds: false,
            budget: None,
            jobs: None,
            isolation: Isolation::default(),
            determinism: None,
            determinism_after_failure: DeterminismCheck::SameProcess,
            schedule: Schedule::default(),
            time_limit: None,
            step_limit: None,
            shrink_runs: 1000,
            shrink_time: Duration::from_secs(8),
            shard: None,
            trace_file: None,
            results_file: None,
            watchdog_limit: Duration::from_secs(10),
            poll_limit: Duration::from_secs(60),
        }
    }
}

/// Gives the value of a variable, if it is set to anything.
type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The variables of this process.
pub(crate) fn env_var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The variables that there are.
const VARIABLES: [&str; 17] = [
    "BUDGET",
    "CHECK_DETERMINISM",
    "CHILD",
    "ISOLATE",
    "JOBS",
    "MERGE",
    "POLL_LIMIT",
    "RESULTS",
    "SCHEDULE",
    "SEED",
    "SEEDS",
    "SHARD",
    "SHRINK",
    "STEP_LIMIT",
    "TAPE",
    "TIME_LIMIT",
    "TRACE",
];

/// The options that say how a run is executed. Each has the variable of its name, which a process
/// that executes single runs reads as well, and which a replay line repeats.
const RUN_OPTIONS: [&str; 5] = ["isolate", "poll_limit", "schedule", "step_limit", "time_limit"];

/// The prefix of all names.
const VARIABLE_PREFIX: &str = "VIRTNET_";

/// The values of `check_determinism`.
const DETERMINISM_VALUES: &str =
    "true, false, same-process, fresh-process, after-other-seeds or all";

/// The variable of an option: `VIRTNET_TIME_LIMIT` for `time_limit`.
fn variable_name(option: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", option.to_uppercase())
}

/// The variables of this process that say how runs are executed, as they stand before a command.
pub(crate) fn run_variables(env: Env<'_>) -> String {
    let variables = RUN_OPTIONS.into_iter().filter_map(|option| {
        let name = variable_name(option);
        let value = read_text(env, &name)?;
        Some(format!("{name}={} ", shell_word(value)))
    });
    variables.collect()
}

/// Says which variable of this process looks like a misspelt one of ours. Others may be the test's.
pub(crate) fn find_misspelled(names: impl IntoIterator<Item = OsString>) -> Option<String> {
    let is_known = |suffix: &str| VARIABLES.contains(&suffix) || suffix.starts_with("TESTS_");
    names.into_iter().find_map(|name| {
        let name = name.into_string().ok()?;
        let suffix = name.strip_prefix(VARIABLE_PREFIX).filter(|suffix| !is_known(suffix))?;
        let suffix = suffix.to_uppercase();
        let distance = |known: &str| edit_distance(&suffix, known);
        let is_near = |known: &&str| distance(known) <= if known.len() > 4 { 2 } else { 1 };
        let nearest = VARIABLES.into_iter().filter(is_near).min_by_key(|known| distance(known))?;
        Some(format!(
            "virtnet: {name}: there is no such variable; expected {VARIABLE_PREFIX}{nearest}, or \
             another name"
        ))
    })
}

/// The number of letters to insert, remove, replace or swap with the next to make one word of
/// another.
fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut min = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1);
            min = min.min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                min = min.min(rows[i - 1][j - 1] + 1);
            }
            row.push(min);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

impl Settings {
    /// A run of this seed.
    pub(crate) fn to_run(&self, seed: u64) -> Run {
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
        self.read_seeds(env)?;
        let text = |name| read_text(env, name);
        if let Some(text) = text("VIRTNET_SEED") {
            self.mode = Mode::Replay(parse_variable("VIRTNET_SEED", &text, |text| {
                parse_number(text).ok_or("a seed, decimal or 0x..")
            })?);
        }
        if let Some(text) = env("VIRTNET_TAPE") {
            self.mode = Mode::TapeFile(text.into());
        }
        // A run of a tape is not a sweep, and writes no result.
        if let Some(text) =
            env("VIRTNET_MERGE").filter(|_| !matches!(self.mode, Mode::ProvidedTape(_)))
        {
            self.mode = Mode::MergeResults(text.into());
        }
        for option in ["jobs", "shrink"] {
            self.read_option(env, option)?;
        }
        self.read_run_options(env)?;
        if let Some(text) =
            text("VIRTNET_CHECK_DETERMINISM").filter(|text| text != "0" && text != "false")
        {
            let requested = parse_variable("VIRTNET_CHECK_DETERMINISM", &text, |text| {
                DeterminismCheck::parse(text).ok_or(DETERMINISM_VALUES)
            })?;
            self.determinism =
                Some(self.determinism.map_or(requested, |configured| configured.union(requested)));
        }
        self.trace_file = env("VIRTNET_TRACE").map(PathBuf::from).or(self.trace_file);
        self.results_file = env("VIRTNET_RESULTS").map(PathBuf::from).or(self.results_file);
        self.shard = read_shard(env)?.or(self.shard);
        Ok(self)
    }

    /// Reads the options of how a run is executed. The process of a single run calls it, too.
    pub(crate) fn read_run_options(&mut self, env: Env<'_>) -> Result<(), String> {
        RUN_OPTIONS.into_iter().try_for_each(|option| self.read_option(env, option))
    }

    /// Reads the variable of an option.
    fn read_option(&mut self, env: Env<'_>, option: &str) -> Result<(), String> {
        let name = variable_name(option);
        match read_text(env, &name) {
            Some(text) => parse_variable(&name, &text, |text| self.set_option(option, text)),
            None => Ok(()),
        }
    }

    /// Sets an option of the attribute, or from its variable.
    pub(crate) fn set_option(&mut self, option: &str, value: &str) -> Result<(), &'static str> {
        match option {
            "seeds" => {
                self.mode = Mode::Seeds(parse_seeds(value)?);
                self.has_fixed_seeds = true;
                self.has_random_seeds = is_random(value);
            }
            "poll_limit" => self.poll_limit = parse_poll_limit(value)?,
            "budget" => self.budget = Some(parse_budget(value)?),
            "jobs" => self.jobs = Some(parse_jobs(value)?),
            "time_limit" => {
                self.time_limit = Some(parse_duration(value).ok_or("a duration, as 5min")?);
            }
            "step_limit" => {
                self.step_limit = Some(parse_digits(value).ok_or("a number of steps")?);
            }
            "schedule" => self.schedule = value.parse().map_err(|_| "fifo, random or pct:N")?,
            "isolate" => {
                self.isolation = match value {
                    "shared" => Isolation::Shared,
                    "thread" => Isolation::Thread,
                    "process" => Isolation::Process,
                    _ => return Err("shared, thread or process"),
                };
            }
            "check_determinism" if value == "false" => self.determinism = None,
            "check_determinism" => {
                self.determinism = Some(DeterminismCheck::parse(value).ok_or(DETERMINISM_VALUES)?);
            }
            "shrink" => self.set_shrink(value)?,
            _ => return Err("an option of #[virtnet::test]"),
        }
        Ok(())
    }

    /// Which seeds there are, and for how long.
    ///
    /// With a budget, seeds end only where the source of the budget, or a later one, says so.
    fn read_seeds(&mut self, env: Env<'_>) -> Result<(), String> {
        if let Mode::Seeds(seeds) = &self.mode {
            self.test_seeds = seeds.clone();
        }
        let given = read_text(env, "VIRTNET_SEEDS");
        let mut is_unbounded = self.budget.is_some() && !self.has_fixed_seeds && given.is_none();
        if let Some(text) = read_text(env, "VIRTNET_BUDGET") {
            self.budget = Some(parse_variable("VIRTNET_BUDGET", &text, parse_budget)?);
            is_unbounded = given.is_none();
        }
        if let Some(text) = given {
            let remaining =
                text.strip_prefix(REST_PREFIX).filter(|remaining| !is_random(remaining));
            let range = parse_variable("VIRTNET_SEEDS", &text, |text| {
                parse_seeds(remaining.unwrap_or(text))
            })?;
            self.replaces_test_seeds = remaining.is_none() && range.end < u64::MAX;
            self.mode = Mode::Seeds(range);
            self.has_random_seeds = is_random(&text);
        }
        if let Mode::Seeds(seeds) = &mut self.mode {
            if is_unbounded {
                seeds.end = u64::MAX;
            }
            // Fresh seeds for each iteration of a stress test of nextest's, whose number is from 0
            // on, or `none`. Its retries count elsewhere, and are the same seeds again.
            let iteration = read_text(env, "NEXTEST_STRESS_CURRENT").filter(|text| text != "none");
            let iteration = iteration.as_deref().map_or(Ok(0), |text| {
                parse_variable("NEXTEST_STRESS_CURRENT", text, |text| {
                    parse_digits(text).ok_or("a number or none")
                })
            });
            if let Some(shifted_seeds) = shift_seeds(seeds.clone(), iteration?) {
                self.replaces_test_seeds |= shifted_seeds != *seeds;
                *seeds = shifted_seeds;
            }
        }
        Ok(())
    }

    /// Whether all of these seeds together, which were run, make a sweep of the whole test and not
    /// only a part of one. They do if the test's own seeds are among them.
    pub(crate) fn covers_test_seeds(&self, covered: &Range<u64>) -> bool {
        covered.start <= self.test_seeds.start && self.test_seeds.end <= covered.end
    }

    /// Whether a sweep that has run these seeds is judged as a whole: `sometimes!` and faults mean
    /// something only for as many seeds as the test asks for.
    ///
    /// Seeds that the environment gives as a range with an end, or draws, stand in for the test's
    /// own. A range without an end has one where its time is used up, and a rest has lost its
    /// beginning: each is a whole only with the test's own seeds in it.
    pub(crate) fn is_whole(&self, covered: &Range<u64>) -> bool {
        let is_only_shard = self.shard.is_none_or(|(_, shards)| shards == 1);
        is_only_shard
            && (self.covers_test_seeds(covered)
                || self.replaces_test_seeds && self.has_enough_seeds(seed_count(covered)))
    }

    /// Whether the test asks for no more seeds than this.
    pub(crate) const fn has_enough_seeds(&self, seeds: u64) -> bool {
        seeds >= seed_count(&self.test_seeds)
    }

    /// Seeds that are left of a sweep, as `VIRTNET_SEEDS` has them: marked where they would be
    /// taken for a whole one.
    pub(crate) fn remaining_seeds(&self, seeds: &Range<u64>) -> String {
        let is_unbounded = seeds.end == u64::MAX;
        let looks_whole = !is_unbounded
            && !self.covers_test_seeds(seeds)
            && self.has_enough_seeds(seed_count(seeds));
        format!("{}{}", if looks_whole { REST_PREFIX } else { "" }, format_seeds(seeds))
    }

    /// Takes how much shrinking may take: `500`, `30s`, or both with a comma.
    pub(crate) fn set_shrink(&mut self, text: &str) -> Result<(), &'static str> {
        const EXPECTED: &str = "a number of runs, a time as 30s, or both as 500,30s; 0 is none";
        let (mut runs, mut time) = (None, None);
        for part in text.split(',').map(str::trim) {
            let is_repeated = match (parse_digits(part), parse_duration(part)) {
                (Some(number), _) => runs.replace(number).is_some(),
                (_, Some(length)) => time.replace(length).is_some(),
                _ => true,
            };
            if is_repeated {
                return Err(EXPECTED);
            }
        }
        self.shrink_runs = runs.unwrap_or(self.shrink_runs);
        self.shrink_time = time.unwrap_or(self.shrink_time);
        Ok(())
    }

    /// The number of threads of a sweep: all cores for many seeds, and for processes. Few seeds are
    /// done before threads have begun.
    pub(crate) fn thread_count(&self) -> usize {
        let all_cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let is_long = match &self.mode {
            Mode::Seeds(seeds) => seeds.end - seeds.start >= 256,
            _ => false,
        };
        let use_all_cores = is_long || self.isolation == Isolation::Process;
        self.jobs.unwrap_or_else(|| if use_all_cores { all_cores() } else { 1 })
    }

    /// The seeds that are this shard's: every n-th.
    pub(crate) fn is_in_shard(&self, seed: u64) -> bool {
        self.shard.is_none_or(|(index, count)| seed % count == index)
    }
}

/// The number of seeds.
pub(crate) const fn seed_count(seeds: &Range<u64>) -> u64 {
    seeds.end.saturating_sub(seeds.start)
}

/// A range as `VIRTNET_SEEDS` has it.
pub(crate) fn format_seeds(seeds: &Range<u64>) -> String {
    let Range { start, end } = seeds;
    if *end == u64::MAX { format!("{start:#x}..") } else { format!("{start:#x}..{end:#x}") }
}

/// The range of as many seeds that follows these after `times` such ranges.
fn shift_seeds(seeds: Range<u64>, times: u64) -> Option<Range<u64>> {
    // A range without an end has room.
    let is_unbounded = seeds.end == u64::MAX;
    let count = if is_unbounded { 1 << 32 } else { seeds.end - seeds.start };
    let shift = count.checked_mul(times)?;
    let end = if is_unbounded { seeds.end } else { seeds.end.checked_add(shift)? };
    Some(seeds.start.checked_add(shift)?..end).filter(|seeds| !seeds.is_empty())
}

/// Which shard this process is: by our own variable, or by those of Slurm and Kubernetes.
fn read_shard(env: Env<'_>) -> Result<Option<(u64, u64)>, String> {
    if let Some(text) = read_text(env, "VIRTNET_SHARD") {
        return parse_variable("VIRTNET_SHARD", &text, |text| {
            let (index, count) = text.split_once('/').ok_or("i/n")?;
            match (parse_digits(index), parse_digits(count)) {
                (Some(index), Some(count)) if (1..=count).contains(&index) => {
                    Ok((index - 1, count))
                }
                _ => Err("i/n with i from 1 to n"),
            }
        })
        .map(Some);
    }
    // One alone says nothing: which part is this of how many?
    if env("SLURM_ARRAY_TASK_ID").is_some() && env("SLURM_ARRAY_TASK_COUNT").is_some() {
        return slurm_shard(env).map(Some);
    }
    let [index, count] =
        [read_number(env, "JOB_COMPLETION_INDEX")?, read_number(env, "JOB_COMPLETIONS")?];
    match index.zip(count) {
        // Two pods would be the same shard, and another would be none's.
        Some((index, count)) if index >= count => Err(format!(
            "virtnet: JOB_COMPLETION_INDEX=\"{index}\": expected a number below JOB_COMPLETIONS, \
             which is {count}; VIRTNET_SHARD=i/n says which shard it is"
        )),
        shard => Ok(shard),
    }
}

/// A number that another tool gives.
fn read_number(env: Env<'_>, name: &str) -> Result<Option<u64>, String> {
    let parsed = |text: String| {
        parse_variable(name, &text, |text| {
            parse_digits(text).ok_or("a number; VIRTNET_SHARD=i/n says which shard it is")
        })
    };
    read_text(env, name).map(parsed).transpose()
}

/// Which shard a task of Slurm's is: their numbers begin anywhere, and go in steps.
fn slurm_shard(env: Env<'_>) -> Result<(u64, u64), String> {
    let number = |name| read_number(env, name);
    let [id, count] = [number("SLURM_ARRAY_TASK_ID")?, number("SLURM_ARRAY_TASK_COUNT")?];
    let [first, step] = [number("SLURM_ARRAY_TASK_MIN")?, number("SLURM_ARRAY_TASK_STEP")?];
    let (id, count) = (id.unwrap_or(0), count.unwrap_or(0));
    let (first, step) = (first.unwrap_or(0), step.unwrap_or(1).max(1));
    let offset = id.checked_sub(first).filter(|offset| offset % step == 0);
    match offset.map(|offset| offset / step).filter(|index| *index < count) {
        Some(index) => Ok((index, count)),
        // Two tasks would be the same shard, and another would be none's.
        None => Err(format!(
            "virtnet: SLURM_ARRAY_TASK_ID=\"{id}\": expected one of {count} numbers in even steps \
             from {first} on; VIRTNET_SHARD=i/{count} says which it is"
        )),
    }
}

/// The value of a variable as a text. What is no text is wrong, and not as if it were unset.
fn read_text(env: Env<'_>, name: &str) -> Option<String> {
    env(name).map(|value| value.to_string_lossy().into_owned())
}

fn parse_variable<T>(
    name: &str,
    text: &str,
    read: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, String> {
    read(text).map_err(|expected| format!("virtnet: {name}={text:?}: expected {expected}"))
}

/// Reads digits, and nothing else: a sign is none.
pub(crate) fn parse_digits(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Reads a number, decimal or hexadecimal.
fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')),
        None => parse_digits(text),
    }
}

/// The prefix of seeds that are to be drawn.
const RANDOM_PREFIX: &str = "random:";
/// The prefix of seeds that are left of a sweep.
const REST_PREFIX: &str = "rest:";

/// Whether seeds are to be drawn.
pub(crate) fn is_random(text: &str) -> bool {
    text.starts_with(RANDOM_PREFIX)
}

/// Reads a range of seeds: `1000`, `5..105`, `5..` or `random:1000`.
pub(crate) fn parse_seeds(text: &str) -> Result<Range<u64>, &'static str> {
    const EXPECTED: &str = "a number of seeds, a range as 5..105 or 5.., or random:1000";
    if let Some(count) = text.strip_prefix(RANDOM_PREFIX) {
        let count = parse_number(count).filter(|count| *count > 0).ok_or(EXPECTED)?;
        // From outside, on purpose: each sweep is to be another. It is told.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let start = now.map_or(0, |now| now.as_nanos() as u64) >> 8 & 0xFFFF_FFFF;
        return Ok(start..start.saturating_add(count));
    }
    let range = match text.split_once("..") {
        Some((start, "")) => parse_number(start).map(|start| start..u64::MAX),
        Some((start, end)) => {
            parse_number(start).zip(parse_number(end)).map(|(start, end)| start..end)
        }
        None => parse_number(text).map(|count| 0..count),
    };
    range.filter(|range| !range.is_empty()).ok_or(EXPECTED)
}

/// The maximum number of threads of a sweep.
pub(crate) const MAX_JOBS: usize = 1024;

/// Reads how many threads there are to be: with none, no seed would be run.
pub(crate) fn parse_jobs(text: &str) -> Result<usize, &'static str> {
    let jobs = parse_digits(text).and_then(|jobs| usize::try_from(jobs).ok());
    jobs.filter(|jobs| (1..=MAX_JOBS).contains(jobs)).ok_or("a number of threads from 1 to 1024")
}

/// Reads how long one poll may take.
pub(crate) fn parse_poll_limit(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).filter(|time| !time.is_zero()).ok_or("a duration, as 60s")
}

/// Reads for how long a sweep is to go on: not for no time, in which no seed may be run.
pub(crate) fn parse_budget(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).filter(|time| !time.is_zero()).ok_or("a duration, as 60s")
}

/// Reads a duration: `300ms`, `5s`, `5min`, `1h`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
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
    use super::{DeterminismCheck, Mode, Settings, VARIABLES, find_misspelled, parse_duration};
    use std::time::Duration;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        with(Settings::default(), variables)
    }

    fn with(base: Settings, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        base.with_environment(&value)
    }

    #[test]
    fn environment_overrides_the_settings_of_the_test() {
        let of = |variables: &[(&str, &str)]| settings(variables).unwrap();
        assert_eq!(of(&[]).mode, Mode::Seeds(0..64));
        assert_eq!(of(&[("VIRTNET_SEEDS", "10000")]).mode, Mode::Seeds(0..10_000));
        assert_eq!(of(&[("VIRTNET_SEEDS", "5..105")]).mode, Mode::Seeds(5..105));
        assert_eq!(of(&[("VIRTNET_SEED", "0x1f4")]).mode, Mode::Replay(500));
        assert_eq!(of(&[("VIRTNET_SHARD", "3/16")]).shard, Some((2, 16)));
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
        assert_eq!(of(&[("VIRTNET_SEEDS", "5..")]).mode, Mode::Seeds(5..u64::MAX));
        assert_eq!(of(&[("VIRTNET_MERGE", "x")]).mode, Mode::MergeResults("x".into()));
    }

    #[test]
    fn check_variable_is_added_to_the_check_of_the_test() {
        let of = |own, text: &str| {
            let own = Settings { determinism: own, ..Settings::default() };
            own.with_environment(&|name| (name == "VIRTNET_CHECK_DETERMINISM").then(|| text.into()))
        };
        let (cold, shuffled) =
            (Some(DeterminismCheck::FreshProcess), Some(DeterminismCheck::AfterOtherSeeds));
        assert_eq!(of(None, "1").unwrap().determinism, Some(DeterminismCheck::SameProcess));
        assert_eq!(of(None, "0").unwrap().determinism, None);
        assert_eq!(of(cold, "0").unwrap().determinism, cold);
        assert_eq!(of(cold, "1").unwrap().determinism, cold);
        assert_eq!(of(cold, "after-other-seeds").unwrap().determinism, Some(DeterminismCheck::All));
        assert_eq!(of(shuffled, "1").unwrap().determinism, shuffled);
    }

    #[test]
    fn budget_leaves_seeds_unbounded_unless_an_end_is_given() {
        let of = |own: &Settings, variables: &[_]| with(own.clone(), variables).unwrap().mode;
        let (test, all) = (Settings::default(), Mode::Seeds(0..u64::MAX));
        let time = ("VIRTNET_BUDGET", "60s");
        assert_eq!(with(test.clone(), &[time]).unwrap().budget, Some(Duration::from_secs(60)));
        assert_eq!(of(&test, &[time]), all);
        assert_eq!(of(&test, &[time, ("VIRTNET_SEEDS", "9")]), Mode::Seeds(0..9));
        let budget = Settings { budget: Some(Duration::from_secs(1)), ..test };
        assert_eq!(of(&budget, &[]), all);
        assert_eq!(of(&budget, &[("VIRTNET_SEEDS", "9")]), Mode::Seeds(0..9));
        let both = Settings { has_fixed_seeds: true, ..budget };
        assert_eq!(of(&both, &[]), Mode::Seeds(0..64));
        assert_eq!(of(&both, &[time]), all);
    }

    #[test]
    fn stress_iterations_have_new_seeds_and_retries_repeat_them() {
        let of = |variables: &[(&str, &str)]| settings(variables).unwrap().mode;
        let number = |number| ("NEXTEST_STRESS_CURRENT", number);
        assert_eq!(of(&[number("none"), ("NEXTEST_ATTEMPT", "1")]), Mode::Seeds(0..64));
        assert_eq!(of(&[number("0")]), Mode::Seeds(0..64));
        assert_eq!(of(&[number("2"), ("NEXTEST_ATTEMPT", "3")]), Mode::Seeds(128..192));
        assert_eq!(of(&[number("3"), ("VIRTNET_SEEDS", "5..15")]), Mode::Seeds(35..45));
        let open = of(&[number("1"), ("VIRTNET_SEEDS", "5..")]);
        assert_eq!(open, Mode::Seeds(5 + (1 << 32)..u64::MAX));
        assert_eq!(of(&[number("1"), ("VIRTNET_SEED", "7")]), Mode::Replay(7));
        assert_eq!(of(&[number("18446744073709551615")]), Mode::Seeds(0..64));
    }

    #[test]
    fn shrink_variable_sets_runs_and_time() {
        let of = |text| {
            let settings = settings(&[("VIRTNET_SHRINK", text)]).unwrap();
            (settings.shrink_runs, settings.shrink_time)
        };
        assert_eq!(of("500"), (500, Duration::from_secs(8)));
        assert_eq!(of("30s"), (1000, Duration::from_secs(30)));
        assert_eq!(of("500, 1min"), (500, Duration::from_secs(60)));
    }

    const DETERMINISM_VALUES_EXPECTED: &str =
        "expected true, false, same-process, fresh-process, after-other-seeds or all";

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
            "VIRTNET_BUDGET",
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
        ("VIRTNET_ISOLATE", &["shared", "thread", "process"], &["none", "1"], "expected shared, "),
        (
            "VIRTNET_SCHEDULE",
            &["fifo", "random", "pct:3"],
            &["pct", "pct:0", "lifo"],
            "expected fifo, random or pct:N",
        ),
        ("VIRTNET_STEP_LIMIT", &["1", "100000"], &["+1", "1s"], "expected a number of steps"),
        ("VIRTNET_TIME_LIMIT", &["1ms", "5min"], &["5", "+5s"], "expected a duration, as 5min"),
        (
            "VIRTNET_SHARD",
            &["1/1", "3/16", "16/16"],
            &[
                "0/16", "17/16", "1", "1/", "/2", "0/0", "+1/4", "1/+4", "1/2/4", "a/b", "-1/4",
                "1 / 4",
            ],
            "expected i/n",
        ),
        (
            "VIRTNET_JOBS",
            &["1", "64", "1024"],
            &["0", "1025", "200000", "+5", "-1", "0x4", "all", "18446744073709551616"],
            "expected a number of threads from 1 to 1024",
        ),
        (
            "VIRTNET_CHECK_DETERMINISM",
            &[
                "1",
                "0",
                "true",
                "false",
                "same-process",
                "fresh-process",
                "after-other-seeds",
                "all",
            ],
            &["yes", "2", "All", "fresh-process,all", "+1"],
            DETERMINISM_VALUES_EXPECTED,
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
    fn each_variable_accepts_valid_values_and_names_what_it_expects() {
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
    fn slurm_and_kubernetes_numbers_become_shards_or_errors() {
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
        let both = [("VIRTNET_SHARD", "2/2"), ("JOB_COMPLETION_INDEX", "7")];
        assert_eq!(settings(&both).unwrap().shard, Some((1, 2)));
    }

    #[test]
    fn misspelled_variable_is_an_error_with_the_nearest_name() {
        let of = |name: &str| find_misspelled([name.into()]);
        for (name, expected) in [
            ("VIRTNET_SEDE", "VIRTNET_SEED"),
            ("VIRTNET_SEEDSS", "VIRTNET_SEEDS"),
            ("VIRTNET_SHARDS", "VIRTNET_SHARD"),
            ("VIRTNET_JOB", "VIRTNET_JOBS"),
            ("VIRTNET_BUDGTE", "VIRTNET_BUDGET"),
            ("VIRTNET_CHECK_DETERMINSM", "VIRTNET_CHECK_DETERMINISM"),
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
        // The variables of other programs, and of tests.
        for other in ["SEED", "VIRTNET", "VIRTNET_", "VIRTNET_ROUNDS", "VIRTNET_TESTS_SEED"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn whole_sweep_covers_or_replaces_the_seeds_of_the_test() {
        let own = Settings { mode: Mode::Seeds(10..20), ..Settings::default() };
        let whole =
            |variables: &[(&str, &str)], run| with(own.clone(), variables).unwrap().is_whole(&run);
        let seeds = |text| [("VIRTNET_SEEDS", text)];
        assert!(whole(&[], 10..20) && !whole(&[], 10..19) && !whole(&[], 11..20));
        assert!(whole(&seeds("30..40"), 30..40) && !whole(&seeds("30..40"), 30..39));
        assert!(whole(&seeds("random:10"), 90..100) && whole(&seeds("10"), 0..10));
        assert!(!whole(&seeds("11.."), 11..5000) && whole(&seeds("5.."), 5..20));
        assert!(!whole(&seeds("rest:15..90"), 15..90) && whole(&seeds("rest:9..90"), 9..90));
        assert!(whole(&[("NEXTEST_STRESS_CURRENT", "2")], 30..40));
        assert!(!whole(&[("VIRTNET_SHARD", "1/2")], 10..20));
        assert!(whole(&[("VIRTNET_SHARD", "1/1")], 10..20));
        let rest = |seeds| with(own.clone(), &[]).unwrap().remaining_seeds(&seeds);
        assert_eq!((rest(15..20), rest(15..25)), ("0xf..0x14".into(), "rest:0xf..0x19".into()));
        assert_eq!((rest(15..u64::MAX), rest(9..90)), ("0xf..".into(), "0x9..0x5a".into()));
    }

    #[test]
    fn duration_needs_a_unit() {
        assert_eq!(parse_duration("5min"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(
            (parse_duration("5"), parse_duration("min"), parse_duration("5 min")),
            (None, None, None)
        );
    }
}
