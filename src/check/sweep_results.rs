//! Results of sweeps as lines of JSON, and merging those of several machines.
//!
//! Files of several machines are merged by concatenation. The keys of a line are stable: see the
//! table in [`check`](super).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use crate::simnet::FaultStats;

use crate::check::assertions::AssertionCounts;
use crate::check::exec::in_progress::program_name;
use crate::check::exec::protocol::{
    fault_stats_from_json, fault_stats_to_json, labels_from_json, labels_to_json,
};
use crate::check::sweep::{FailedSeed, SweepResult};

/// Which test a line is of: the program that has it, without what the build adds to its name, and
/// the test's own name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResultKey {
    program: String,
    test: String,
}

impl ResultKey {
    pub(crate) fn new(test: &str) -> Self {
        Self { program: program_name(), test: test.into() }
    }

    fn matches(&self, line: &Value) -> bool {
        let has_value =
            |name, expected: &str| line.get(name).and_then(Value::as_str) == Some(expected);
        has_value("program", &self.program) && has_value("test", &self.test)
    }
}

fn open_for_append(file: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(file)
}

fn write_error(file: &Path, error: &std::io::Error) -> String {
    format!("virtnet: VIRTNET_RESULTS={}: {error}", file.display())
}

/// Makes sure that a line can be added to a file: before a long sweep, not after it.
pub(crate) fn check_writable(file: &Path) -> Result<(), String> {
    open_for_append(file).map(drop).map_err(|error| write_error(file, &error))
}

/// Adds the line of a sweep to a file.
pub(crate) fn append_line(
    file: &Path,
    key: &ResultKey,
    part: (&Range<u64>, Option<(u64, u64)>),
    result: &SweepResult,
) -> Result<(), String> {
    let line = format!("{}\n", line(key, part, result));
    let written = open_for_append(file).and_then(|mut file| {
        // Other tests and other processes write to it, too.
        file.lock()?;
        file.write_all(line.as_bytes())
    });
    written.map_err(|error| write_error(file, &error))
}

fn line(
    key: &ResultKey,
    (seeds, shard): (&Range<u64>, Option<(u64, u64)>),
    result: &SweepResult,
) -> Value {
    let hex = |number: u64| format!("{number:#x}");
    let failed = result.failed_seed.as_ref().map(|failed| {
        let FailedSeed { result, nondeterminism } = failed;
        let description = match (&result.failure, nondeterminism) {
            (Some(failure), _) => failure.text.clone(),
            (None, _) => "the same seed was not the same run".into(),
        };
        let fingerprint = result.fingerprint.to_string();
        json!({ "seed": hex(result.seed), "fingerprint": fingerprint, "what": description })
    });
    let passed = result.runs - result.failures;
    json!({
        "virtnet": 1,
        "program": key.program,
        "test": key.test,
        "seeds": [hex(seeds.start), hex(seeds.end)],
        "shard": shard.map(|(index, count)| format!("{}/{count}", index + 1)),
        "passed": passed,
        "failed": failed,
        "next": result.next_seed.map(hex),
        "sometimes": labels_to_json(&result.assertions.sometimes),
        "always": labels_to_json(&result.assertions.always),
        "fault_stats": fault_stats_to_json(&result.fault_stats),
        "millis": result.elapsed.as_millis() as u64,
    })
}

/// The sum of many sweeps of one test.
#[derive(Debug, Default)]
pub(crate) struct MergedResults {
    pub(crate) runs: u64,
    /// The smallest seed that failed anywhere, and what was said of it.
    pub(crate) failed: Option<(u64, String)>,
    pub(crate) fault_stats: FaultStats,
    pub(crate) assertions: AssertionCounts,
    /// Which seeds were run on which shard, of how many: of each count that occurs. What is no
    /// shard is the only one.
    seeds_by_shard: BTreeMap<(u64, u64), Vec<Range<u64>>>,
}

impl MergedResults {
    /// Puts the lines of a test together.
    pub(crate) fn read(file: &Path, key: &ResultKey) -> Result<Self, String> {
        let fail = |reason: String| format!("virtnet: VIRTNET_MERGE={}: {reason}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
        let (mut merged, mut lines) = (Self::default(), 0);
        for (index, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let error_at = |reason: &str| fail(format!("line {}: {reason}", index + 1));
            let line: Value = text.parse().map_err(|error: serde_json::Error| {
                let reason = error.to_string();
                let reason = reason.split(" at line ").next().unwrap_or_default();
                error_at(&format!("it is not JSON: {reason}, column {}", error.column()))
            })?;
            if line.get("virtnet") != Some(&Value::from(1)) {
                return Err(error_at("it is no line of VIRTNET_RESULTS, or of another version"));
            }
            if key.matches(&line) {
                merged
                    .add_line(&line)
                    .ok_or_else(|| error_at("a key is missing, or has another type"))?;
                lines += 1;
            }
        }
        if lines == 0 {
            let ResultKey { program, test } = key;
            return Err(fail(format!("it has no line of the test {test} of {program}")));
        }
        let missing = merged.missing_shards();
        if missing.is_empty() { Ok(merged) } else { Err(fail(missing)) }
    }

    fn add_line(&mut self, line: &Value) -> Option<()> {
        self.runs += line.get("passed")?.as_u64()?;
        self.fault_stats += &fault_stats_from_json(line.get("fault_stats")?)?;
        let sometimes = labels_from_json(line.get("sometimes")?)?;
        let always = labels_from_json(line.get("always")?)?;
        self.assertions.add(AssertionCounts { sometimes, always });
        let shard = match line.get("shard")?.as_str() {
            Some(shard) => {
                let (index, count) = shard.split_once('/')?;
                (count.parse().ok()?, index.parse::<u64>().ok()?.checked_sub(1)?)
            }
            None => (1, 0),
        };
        let [start, end] = &line.get("seeds")?.as_array()?[..] else { return None };
        let next = Some(line.get("next")?).filter(|next| **next != Value::Null);
        let seeds = parse_seed(start)?..parse_seed(next.unwrap_or(end))?;
        self.seeds_by_shard.entry(shard).or_default().push(seeds);
        let failed = line.get("failed")?;
        if *failed != Value::Null {
            let seed = parse_seed(failed.get("seed")?)?;
            self.runs += 1;
            if self.failed.as_ref().is_none_or(|(smallest, _)| seed < *smallest) {
                self.failed = Some((seed, failed.get("what")?.as_str()?.into()));
            }
        }
        Some(())
    }

    /// Names the shards that are not there: nothing can be said of the whole without them.
    fn missing_shards(&self) -> String {
        let missing: Vec<String> = self
            .shard_counts()
            .flat_map(|count| (0..count).map(move |index| (count, index)))
            .filter(|shard| !self.seeds_by_shard.contains_key(shard))
            .take(10)
            .map(|(count, index)| format!("{}/{count}", index + 1))
            .collect();
        if missing.is_empty() {
            return String::new();
        }
        format!("the results of these shards are missing: {}", missing.join(", "))
    }

    /// The numbers of shards that occur.
    fn shard_counts(&self) -> impl Iterator<Item = u64> {
        self.seeds_by_shard.keys().map(|(count, _)| *count).collect::<BTreeSet<_>>().into_iter()
    }

    /// The seeds that were run on each shard that is to run them, in order.
    pub(crate) fn covered_seeds(&self) -> Vec<Range<u64>> {
        let seeds_of_count = |count: u64| {
            let shards = self.seeds_by_shard.range((count, 0)..=(count, u64::MAX));
            let runs = shards.map(|(_, seeds)| merge_ranges(seeds.clone()));
            runs.reduce(|left, right| intersect_ranges(&left, &right)).unwrap_or_default()
        };
        merge_ranges(self.shard_counts().flat_map(seeds_of_count).collect())
    }
}

/// Reads a seed of a line.
fn parse_seed(json: &Value) -> Option<u64> {
    u64::from_str_radix(json.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// The same seeds, each once, in as few ranges as there can be.
fn merge_ranges(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The seeds that both have.
fn intersect_ranges(left: &[Range<u64>], right: &[Range<u64>]) -> Vec<Range<u64>> {
    let intersection = |a: &Range<u64>, b: &Range<u64>| a.start.max(b.start)..a.end.min(b.end);
    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| intersection(a, b)));
    merge_ranges(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::{MergedResults, intersect_ranges, merge_ranges};

    #[test]
    fn covered_seeds_are_those_that_every_shard_has_run() {
        let mut merged = MergedResults::default();
        assert!(merged.covered_seeds().is_empty());
        merged.seeds_by_shard.insert((2, 0), vec![0..10, 20..30]);
        merged.seeds_by_shard.insert((2, 1), vec![5..25, 0..0]);
        assert_eq!(merged.covered_seeds(), [5..10, 20..25]);
        merged.seeds_by_shard.insert((1, 0), vec![25..40, 10..20, 3..3]);
        assert_eq!(format!("{:?}", merged.covered_seeds()), "[5..40]");
    }

    #[test]
    fn merge_ranges_joins_touching_ranges_and_drops_empty_ones() {
        assert_eq!(merge_ranges(vec![5..9, 0..5, 7..8, 20..20, 11..12]), [0..9, 11..12]);
        assert_eq!(intersect_ranges(&[0..5, 8..20], &[4..9, 19..30]), [4..5, 8..9, 19..20]);
    }
}
