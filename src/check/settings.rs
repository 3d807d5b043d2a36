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
}

/// What a sweep is to do.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) work: Work,
    pub(crate) jobs: Option<usize>,
    pub(crate) isolation: Isolation,
    pub(crate) check_determinism: bool,
    pub(crate) schedule: Schedule,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) step_limit: Option<u64>,
    /// How many runs shrinking may take; 0 is none.
    pub(crate) shrink: u64,
    /// Which of how many shards this is.
    pub(crate) shard: Option<(u64, u64)>,
    pub(crate) trace: Option<PathBuf>,
    /// The real time that one poll may take before it is told.
    pub(crate) watchdog: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            work: Work::Seeds(0..64),
            jobs: None,
            isolation: Isolation::default(),
            check_determinism: false,
            schedule: Schedule::default(),
            time_limit: None,
            step_limit: None,
            shrink: 1000,
            shard: None,
            trace: None,
            watchdog: Duration::from_secs(10),
        }
    }
}

/// Gives the value of a variable, if it is set to anything.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of this process.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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

    /// A run of this tape.
    pub(crate) fn replay(&self, tape: &Tape) -> Run {
        self.run(0).tape(tape.clone())
    }

    /// Whether it is a sweep, whose whole says more than its parts.
    pub(crate) fn is_whole_sweep(&self) -> bool {
        matches!(self.work, Work::Seeds(_)) && self.shard.is_none()
    }

    /// Lets the environment have its say.
    pub(crate) fn with_environment(mut self, env: Env<'_>) -> Result<Self, String> {
        if let Some(text) = env("VIRTNET_SEEDS") {
            self.work = Work::Seeds(parse("VIRTNET_SEEDS", &text, seeds)?);
        }
        if let Some(text) = env("VIRTNET_SEED") {
            self.work = Work::Replay(parse("VIRTNET_SEED", &text, |text| {
                number(text).ok_or("a seed, decimal or 0x..")
            })?);
        }
        if let Some(text) = env("VIRTNET_TAPE") {
            self.work = Work::Tape(text.into());
        }
        if let Some(text) = env("VIRTNET_JOBS") {
            self.jobs = Some(parse("VIRTNET_JOBS", &text, |text| {
                text.parse().ok().filter(|jobs| *jobs > 0).ok_or("a number of threads from 1")
            })?);
        }
        if let Some(text) = env("VIRTNET_SHRINK") {
            self.shrink = parse("VIRTNET_SHRINK", &text, |text| {
                text.parse().map_err(|_| "a number of runs; 0 turns shrinking off")
            })?;
        }
        if let Some(text) = env("VIRTNET_CHECK") {
            self.check_determinism |= parse("VIRTNET_CHECK", &text, |text| match text {
                "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err("1 or 0"),
            })?;
        }
        self.trace = env("VIRTNET_TRACE").map(PathBuf::from).or(self.trace);
        self.shard = shard(env)?.or(self.shard);
        Ok(self)
    }

    /// The seeds that are this shard's: every n-th.
    pub(crate) fn is_ours(&self, seed: u64) -> bool {
        self.shard.is_none_or(|(own, of)| seed % of == own)
    }
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
    let pairs = [
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
        ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
    ];
    for (own, of) in pairs {
        let count = env(of).and_then(|of| of.parse::<u64>().ok());
        if let (Some(own), Some(of)) = (env(own).and_then(|own| own.parse::<u64>().ok()), count)
            && of > 0
        {
            return Ok(Some((own % of, of)));
        }
    }
    Ok(None)
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

/// Reads a range of seeds: `1000`, `5..105` or `random:1000`.
pub(crate) fn seeds(text: &str) -> Result<Range<u64>, &'static str> {
    const EXPECTED: &str = "a number of seeds, a range as 5..105, or random:1000";
    if let Some(count) = text.strip_prefix("random:") {
        let count = number(count).ok_or(EXPECTED)?;
        // From outside, on purpose: each sweep is to be another. It is printed.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let start = now.map_or(0, |now| now.as_nanos() as u64) >> 8 & 0xFFFF_FFFF;
        return Ok(start..start.saturating_add(count));
    }
    let range = match text.split_once("..") {
        Some((start, end)) => number(start).zip(number(end)).map(|(start, end)| start..end),
        None => number(text).map(|count| 0..count),
    };
    range.filter(|range| !range.is_empty()).ok_or(EXPECTED)
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
    use super::{Settings, Work, duration};
    use std::time::Duration;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        Settings::default().with_environment(&value)
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
        assert!(of(&[("VIRTNET_CHECK", "1")]).check_determinism);
    }

    #[test]
    fn what_is_malformed_is_said_in_one_sentence() {
        for (name, value, expected) in [
            ("VIRTNET_SEED", "x", "expected a seed, decimal or 0x.."),
            ("VIRTNET_SEEDS", "5..5", "expected a number of seeds, a range"),
            ("VIRTNET_SHARD", "16/16", "expected i/n with i from 0 to n - 1"),
            ("VIRTNET_JOBS", "0", "expected a number of threads from 1"),
            ("VIRTNET_CHECK", "yes", "expected 1 or 0"),
            ("VIRTNET_SHRINK", "-1", "expected a number of runs"),
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
