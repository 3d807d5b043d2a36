//! Measurement of one workload: all contenders in turn, pass after pass.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::plan::{BARE, Contender, OURS, Size, Workload, absent, contenders};
use crate::sample::{Programs, Sample, take};

/// How much is done.
pub(crate) struct Effort {
    pub(crate) quick: bool,
    pub(crate) passes: usize,
    /// How long a sample takes, where its size is free.
    pub(crate) sample: Duration,
    /// Who has used that much gets no further pass.
    pub(crate) budget: Duration,
    /// After that a sample is given up.
    pub(crate) limit: Duration,
}

impl Effort {
    pub(crate) fn new(quick: bool) -> Self {
        let (secs, millis) = (Duration::from_secs, Duration::from_millis);
        if quick {
            let (sample, budget, limit) = (millis(40), secs(1), secs(20));
            Self { quick, passes: 3, sample, budget, limit }
        } else {
            let (sample, budget, limit) = (millis(250), secs(15), secs(100));
            Self { quick, passes: 7, sample, budget, limit }
        }
    }
}

/// What one contender did in one workload.
#[derive(Serialize)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) variant: &'static str,
    /// Operations a second: the median.
    pub(crate) rate: Option<f64>,
    /// Why there is none.
    pub(crate) absent: Option<String>,
    /// The first, which decides how large the others are; its memory is that of one run.
    pub(crate) trial: Option<Sample>,
    /// A slow one takes part in the first passes only.
    pub(crate) samples: Vec<Sample>,
}

impl Cell {
    fn new(of: Contender) -> Self {
        let Contender { name, variant } = of;
        Self { name, variant, rate: None, absent: None, trial: None, samples: Vec::new() }
    }
}

/// What all did in one workload.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    /// The fastest set-up of somebody.
    pub(crate) fn best(&self, name: &str) -> Option<&Cell> {
        self.of(name)
            .filter(|cell| cell.rate.is_some())
            .max_by(|a, b| a.rate.unwrap_or(0.0).total_cmp(&b.rate.unwrap_or(0.0)))
    }

    /// All set-ups of somebody.
    pub(crate) fn of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Cell> {
        self.cells.iter().filter(move |cell| cell.name == name)
    }

    /// The fastest peer.
    pub(crate) fn best_peer(&self) -> Option<&Cell> {
        let peer = |cell: &&Cell| cell.name != OURS && cell.name != BARE && cell.rate.is_some();
        self.cells
            .iter()
            .filter(peer)
            .max_by(|a, b| a.rate.unwrap_or(0.0).total_cmp(&b.rate.unwrap_or(0.0)))
    }

    /// How many times as fast as another ours is: the median over the passes that both took.
    pub(crate) fn ratio_to(&self, other: &Cell) -> Option<f64> {
        let ours = self.best(OURS)?;
        let pairs = ours.samples.iter().zip(&other.samples);
        median(pairs.map(|(ours, other)| ours.rate() / other.rate()).collect())
    }
}

/// The one in the middle, or the mean of the two there.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// One contender on its way through a workload.
struct Runner {
    cell: Cell,
    of: Contender,
    path: PathBuf,
    /// Operations of a run, and runs of a sample.
    size: (u64, u64),
    used: Duration,
}

/// Measures a workload. `tell` hears of each sample to be taken.
pub(crate) fn measure(
    workload: &Workload,
    programs: &Programs,
    effort: &Effort,
    mut tell: impl FnMut(Contender),
) -> Row {
    let mut cells = Vec::new();
    let mut runners = Vec::new();
    for of in contenders(workload.name) {
        let mut cell = Cell::new(of);
        let reason = absent(of, workload.name, effort.quick).map(String::from);
        let found = programs.find(of.name).ok_or("not built".to_string());
        match reason.map_or(found, Err) {
            Err(reason) => cell.absent = Some(reason),
            Ok(path) => {
                tell(of);
                let mut runner = Runner { cell, of, path, size: (0, 1), used: Duration::ZERO };
                trial(&mut runner, workload, effort);
                runners.push(runner);
                continue;
            }
        }
        cells.push(cell);
    }
    for _ in 0..effort.passes {
        for runner in &mut runners {
            if runner.cell.absent.is_none() && runner.used < effort.budget {
                tell(runner.of);
                sample(runner, workload, effort);
            }
        }
    }
    for runner in runners {
        let mut cell = runner.cell;
        cell.rate = median(cell.samples.iter().map(Sample::rate).collect());
        cells.push(cell);
    }
    let place = |cell: &Cell| {
        let of = |of: &Contender| of.name == cell.name && of.variant == cell.variant;
        contenders(workload.name).iter().position(of)
    };
    cells.sort_by_key(place);
    Row { workload: workload.name, what: workload.what, unit: workload.unit, cells }
}

/// Finds out how large a sample is to be.
fn trial(runner: &mut Runner, workload: &Workload, effort: &Effort) {
    // Of runs there are two lots, to see what the second leaves behind.
    runner.size.1 = if workload.name == "startup" { 2 } else { 1 };
    runner.size.0 = match workload.size {
        Size::Fill { step, least } => step * least,
        // There it is given up soon: one round trip of each of its clients.
        Size::Beyond { first, .. } if runner.of.name == "turmoil" && first == 1_000 => first,
        Size::Beyond { quick, .. } if effort.quick => quick,
        Size::Fixed { n } | Size::Beyond { n, .. } => n,
    };
    let result = take(&runner.path, runner.of, workload.name, runner.size, effort.limit);
    let trial = match result {
        Ok(trial) => trial,
        Err(reason) => {
            runner.cell.absent = Some(reason);
            return;
        }
    };
    runner.cell.trial = Some(trial);
    let times = effort.sample.as_nanos() as f64 / trial.cpu_ns.max(1) as f64;
    match workload.size {
        Size::Fill { step, least } => {
            runner.size.0 = step * ((least as f64 * times) as u64).max(least);
        }
        Size::Fixed { .. } | Size::Beyond { .. } => runner.size.1 = (times as u64).max(1),
    }
    // What takes longer than all its passes may is not done once more.
    let took = Duration::from_nanos(trial.cpu_ns);
    let whole = !matches!(workload.size, Size::Beyond { first, .. } if first < runner.size.0);
    if whole && took >= effort.budget {
        runner.cell.samples.push(trial);
        runner.used = took;
    }
}

fn sample(runner: &mut Runner, workload: &Workload, effort: &Effort) {
    let (n, times) = runner.size;
    let of = |n| take(&runner.path, runner.of, workload.name, (n, times), effort.limit);
    let both = of(n).and_then(|all| match workload.size {
        Size::Beyond { first, .. } if first < n => Ok((all, Some(of(first)?))),
        _ => Ok((all, None)),
    });
    match both {
        Ok((all, first)) => {
            let wall = all.wall_ns + first.map_or(0, |first| first.wall_ns);
            runner.used += Duration::from_nanos(wall);
            runner.cell.samples.push(first.map_or(all, |first| all.beyond(first)));
        }
        Err(reason) => runner.cell.absent = Some(reason),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cell with a sample of each of these rates.
    pub(crate) fn cell(name: &'static str, variant: &'static str, rates: &[u64]) -> Cell {
        let sample = |rate: &u64| Sample {
            operations: *rate,
            cpu_ns: 1_000_000_000,
            wall_ns: 1_000_000_000,
            resident_before_kib: 0,
            resident_half_kib: 0,
            resident_after_kib: 0,
            resident_peak_kib: 0,
        };
        let mut cell = Cell::new(Contender { name, variant });
        cell.samples = rates.iter().map(sample).collect();
        cell.rate = median(cell.samples.iter().map(Sample::rate).collect());
        cell
    }

    pub(crate) fn row(workload: &'static str, cells: Vec<Cell>) -> Row {
        Row { workload, what: "", unit: "things", cells }
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(vec![9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 8.0]), Some(3.0));
    }

    #[test]
    fn what_is_beyond_the_first_is_what_it_takes_longer() {
        let all = Sample { resident_peak_kib: 9, ..cell(OURS, "default", &[50]).samples[0] };
        let first = Sample { cpu_ns: 750_000_000, operations: 10, ..all };
        let beyond = all.beyond(first);
        assert_eq!((beyond.rate(), beyond.resident_peak_kib), (160.0, 9));
    }

    #[test]
    fn ratios_are_of_the_same_pass() {
        let cells = vec![
            cell(OURS, "default", &[100, 10, 1_000]),
            cell(BARE, "default", &[200, 20, 2_000]),
            cell("madsim", "default", &[50]),
            cell("turmoil", "default", &[10, 1, 100]),
            cell("turmoil", "tuned", &[70, 80, 75]),
        ];
        let row = row("pingpong", cells);
        // The machine went ten times slower in the second pass, and ours half as fast in each.
        assert_eq!(row.ratio_to(row.best(BARE).unwrap()), Some(0.5));
        assert_eq!(row.best("turmoil").unwrap().variant, "tuned");
        assert_eq!(row.best_peer().unwrap().name, "turmoil");
        // Who took part in the first pass only is compared with ours there.
        assert_eq!(row.ratio_to(row.best("madsim").unwrap()), Some(2.0));
    }
}
