//! What sweeps have come to, as lines of JSON: those of many machines are put together by writing
//! one file after the other.
//!
//! Knows the keys of a line, which stay as they are; refuses to know how runs are executed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use crate::simnet::Ledger;

use crate::check::assertions::Reached;
use crate::check::exec::in_progress::program_name;
use crate::check::exec::protocol::{labels_from, labels_to, ledger_from, ledger_to};
use crate::check::json::Json;
use crate::check::sweep::{Failed, Swept};

/// Which test a line is of: the program that has it, without what the build adds to its name, and
/// the test's own name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Whose {
    program: String,
    test: String,
}

impl Whose {
    pub(crate) fn new(test: &str) -> Self {
        Self { program: program_name(), test: test.into() }
    }

    fn is_of(&self, line: &Json) -> bool {
        let is = |name, own: &str| line.get(name).and_then(Json::as_text) == Some(own);
        is("program", &self.program) && is("test", &self.test)
    }
}

fn open(file: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(file)
}

fn failed(file: &Path, error: &std::io::Error) -> String {
    format!("virtnet: VIRTNET_RESULTS={}: {error}", file.display())
}

/// Makes sure that a line can be added to a file: before a long sweep, not after it.
pub(crate) fn can_add(file: &Path) -> Result<(), String> {
    open(file).map(drop).map_err(|error| failed(file, &error))
}

/// Adds the line of a sweep to a file.
pub(crate) fn add(
    file: &Path,
    whose: &Whose,
    what: (&Range<u64>, Option<(u64, u64)>),
    swept: &Swept,
) -> Result<(), String> {
    let line = format!("{}\n", line(whose, what, swept));
    let written = open(file).and_then(|mut file| {
        // Other tests and other processes write to it, too.
        file.lock()?;
        file.write_all(line.as_bytes())
    });
    written.map_err(|error| failed(file, &error))
}

fn line(whose: &Whose, (seeds, shard): (&Range<u64>, Option<(u64, u64)>), swept: &Swept) -> Json {
    let hex = |number: u64| Json::Text(format!("{number:#x}"));
    let or_null = |value: Option<Json>| value.unwrap_or(Json::Null);
    let failed = swept.failed.as_ref().map(|failed| {
        let Failed { played, differs } = failed;
        let what = match (&played.failure, differs) {
            (Some(failure), _) => failure.text.clone(),
            (None, _) => "the same seed was not the same run".into(),
        };
        let fingerprint = Json::text(played.fingerprint);
        let entries = [("seed", hex(played.seed)), ("fingerprint", fingerprint)];
        Json::map(entries.into_iter().chain([("what", Json::text(what))]))
    });
    let passed = swept.runs - swept.failures;
    Json::map([
        ("virtnet", Json::Number(1)),
        ("program", Json::text(&whose.program)),
        ("test", Json::text(&whose.test)),
        ("seeds", Json::List(vec![hex(seeds.start), hex(seeds.end)])),
        ("shard", or_null(shard.map(|(own, of)| Json::Text(format!("{own}/{of}"))))),
        ("passed", Json::Number(passed)),
        ("failed", or_null(failed)),
        ("next", or_null(swept.next.map(hex))),
        ("sometimes", labels_to(&swept.reached.sometimes)),
        ("always", labels_to(&swept.reached.always)),
        ("ledger", ledger_to(&swept.ledger)),
        ("millis", Json::Number(swept.took.as_millis() as u64)),
    ])
}

/// What many sweeps of one test have come to together.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) runs: u64,
    /// The smallest seed that failed anywhere, and what was said of it.
    pub(crate) failed: Option<(u64, String)>,
    pub(crate) ledger: Ledger,
    pub(crate) reached: Reached,
    /// Which seeds were run on which shard, of how many: of each count that occurs. What is no
    /// shard is the only one.
    shards: BTreeMap<(u64, u64), Vec<Range<u64>>>,
}

impl Merged {
    /// Puts the lines of a test together.
    pub(crate) fn read(file: &Path, whose: &Whose) -> Result<Self, String> {
        let fail = |what: String| format!("virtnet: VIRTNET_JUDGE={}: {what}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
        let (mut merged, mut lines) = (Self::default(), 0);
        for (place, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let at = |what: &str| fail(format!("line {}: {what}", place + 1));
            let line: Json = text.parse().map_err(|error: String| at(&error))?;
            if line.get("virtnet") != Some(&Json::Number(1)) {
                return Err(at("it is no line of VIRTNET_RESULTS, or of another version"));
            }
            if whose.is_of(&line) {
                merged.add(&line).ok_or_else(|| at("a key is missing, or has another type"))?;
                lines += 1;
            }
        }
        if lines == 0 {
            let Whose { program, test } = whose;
            return Err(fail(format!("it has no line of the test {test} of {program}")));
        }
        let missing = merged.missing();
        if missing.is_empty() { Ok(merged) } else { Err(fail(missing)) }
    }

    fn add(&mut self, line: &Json) -> Option<()> {
        self.runs += line.get("passed")?.as_number()?;
        self.ledger += &ledger_from(line.get("ledger")?)?;
        let sometimes = labels_from(line.get("sometimes")?)?;
        let always = labels_from(line.get("always")?)?;
        self.reached.add(Reached { sometimes, always });
        let shard = match line.get("shard")?.as_text() {
            Some(shard) => {
                let (own, of) = shard.split_once('/')?;
                (of.parse().ok()?, own.parse().ok()?)
            }
            None => (1, 0),
        };
        let [start, end] = line.get("seeds")?.as_list()? else { return None };
        let next = Some(line.get("next")?).filter(|next| **next != Json::Null);
        let seeds = seed(start)?..seed(next.unwrap_or(end))?;
        self.shards.entry(shard).or_default().push(seeds);
        let failed = line.get("failed")?;
        if *failed != Json::Null {
            let seed = seed(failed.get("seed")?)?;
            self.runs += 1;
            if self.failed.as_ref().is_none_or(|(least, _)| seed < *least) {
                self.failed = Some((seed, failed.get("what")?.as_text()?.into()));
            }
        }
        Some(())
    }

    /// Names the shards that are not there: nothing can be said of the whole without them.
    fn missing(&self) -> String {
        let missing: Vec<String> = self
            .counts()
            .flat_map(|of| (0..of).map(move |own| (of, own)))
            .filter(|shard| !self.shards.contains_key(shard))
            .take(10)
            .map(|(of, own)| format!("{own}/{of}"))
            .collect();
        if missing.is_empty() {
            return String::new();
        }
        format!("the results of these shards are missing: {}", missing.join(", "))
    }

    /// The numbers of shards that occur.
    fn counts(&self) -> impl Iterator<Item = u64> {
        self.shards.keys().map(|(of, _)| *of).collect::<BTreeSet<_>>().into_iter()
    }

    /// The seeds that were run on each shard that is to run them, in order.
    pub(crate) fn covered(&self) -> Vec<Range<u64>> {
        let of_count = |of: u64| {
            let shards = self.shards.range((of, 0)..=(of, u64::MAX));
            let runs = shards.map(|(_, seeds)| united(seeds.clone()));
            runs.reduce(|one, other| common(&one, &other)).unwrap_or_default()
        };
        united(self.counts().flat_map(of_count).collect())
    }
}

/// Reads a seed of a line.
fn seed(json: &Json) -> Option<u64> {
    u64::from_str_radix(json.as_text()?.strip_prefix("0x")?, 16).ok()
}

/// The same seeds, each once, in as few ranges as there can be.
fn united(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut united: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match united.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => united.push(range),
        }
    }
    united
}

/// The seeds that both have.
fn common(one: &[Range<u64>], other: &[Range<u64>]) -> Vec<Range<u64>> {
    let both = |a: &Range<u64>, b: &Range<u64>| a.start.max(b.start)..a.end.min(b.end);
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| both(a, b)));
    united(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::{Merged, common, united};

    #[test]
    fn seeds_of_shards_are_covered_where_each_shard_has_run_them() {
        let mut merged = Merged::default();
        assert!(merged.covered().is_empty());
        merged.shards.insert((2, 0), vec![0..10, 20..30]);
        merged.shards.insert((2, 1), vec![5..25, 0..0]);
        assert_eq!(merged.covered(), [5..10, 20..25]);
        merged.shards.insert((1, 0), vec![25..40, 10..20, 3..3]);
        assert_eq!(format!("{:?}", merged.covered()), "[5..40]");
    }

    #[test]
    fn ranges_that_touch_are_one_and_empty_ones_are_none() {
        assert_eq!(united(vec![5..9, 0..5, 7..8, 20..20, 11..12]), [0..9, 11..12]);
        assert_eq!(common(&[0..5, 8..20], &[4..9, 19..30]), [4..5, 8..9, 19..20]);
    }
}
