//! Terminal tables: speeds, all set-ups of the peers, and memory.

use crate::number_format::short;
use crate::measure::{Cell, Row, median};
use crate::plan::{NAMES, WORKLOADS, Workload};
use crate::sample::Sample;

fn workload(row: &Row) -> &'static Workload {
    let workload = WORKLOADS.iter().find(|workload| workload.name == row.workload);
    workload.expect("rows are of workloads")
}

fn rate(cell: Option<&Cell>) -> String {
    cell.and_then(|cell| cell.rate).map_or("-".into(), short)
}

pub(crate) fn speed_head() {
    let names: String = NAMES.iter().map(|name| format!("{name:>14}")).collect();
    println!("operations a second, each peer as fast as it can be set up; more is better\n");
    println!("{:<17}{names}", "");
}

pub(crate) fn speed_row(row: &Row) {
    let rates: String = NAMES.iter().map(|name| format!("{:>14}", rate(row.best(name)))).collect();
    println!("{:<17}{rates}   {} a second", workload(row).title, row.unit);
}

/// All set-ups of those who have several, and why somebody has no figure.
pub(crate) fn set_ups(rows: &[Row]) {
    println!("\nall set-ups, where there are several\n");
    for row in rows {
        let each = NAMES.iter().filter_map(|name| {
            let cells: Vec<&Cell> = row.of(name).collect();
            let plain = cells.len() == 1 && cells[0].rate.is_some();
            let set_up = |cell: &&Cell| {
                let why = cell.absent.clone().unwrap_or("-".into());
                format!("{} {}", cell.variant, cell.rate.map_or(why, short))
            };
            let list: Vec<String> = cells.iter().map(set_up).collect();
            (!plain).then(|| format!("{name}: {}", list.join(", ")))
        });
        let each: Vec<String> = each.collect();
        if !each.is_empty() {
            println!("{:<17}{}", workload(row).title, each.join("; "));
        }
    }
}

/// What the operations are divided by for the memory of one, and of what it is one.
fn shares(workload: &Workload) -> Option<(f64, &'static str)> {
    Some(match workload.name {
        "many-10000" => {
            (10_000.0, "bytes a client host, with its connection and a tenth of a server")
        }
        "timers-1000000" => (1e6, "bytes a sleeping task"),
        "bulk" => (1024.0 * 1024.0, "MiB at the peak"),
        _ => return None,
    })
}

/// The memory of one host, task and so on.
pub(crate) fn memory_of(row: &Row, name: &str) -> Option<f64> {
    if row.workload == "startup" {
        return median(row.best(name)?.samples.iter().map(Sample::kept_bytes).collect());
    }
    let (share, _) = shares(workload(row))?;
    let trial = row.best(name)?.trial?;
    Some(trial.grown_bytes() as f64 / share)
}

pub(crate) fn memory(rows: &[Row]) {
    println!("\nresident memory; less is better\n");
    let names: String = NAMES.iter().map(|name| format!("{name:>14}")).collect();
    println!("{:<17}{names}", "");
    for row in rows {
        let of = shares(workload(row)).map(|(_, of)| of);
        let of = of.or((row.workload == "startup").then_some("bytes that a run leaves behind"));
        if let Some(of) = of {
            let figure = |name: &&str| memory_of(row, name).map_or("-".into(), short);
            let list: String = NAMES.iter().map(|name| format!("{:>14}", figure(name))).collect();
            println!("{:<17}{list}   {of}", workload(row).title);
        }
    }
}
