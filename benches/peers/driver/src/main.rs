//! The driver: runs all contenders through all workloads, in turn, and reports.
//!
//! `benches/peers/run` builds the contenders and starts the driver.

mod chart;
mod number_format;
mod goals;
mod machine;
mod measure;
mod plan;
mod sample;
mod table;

use std::path::PathBuf;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use goals::Verdict;
use machine::Machine;
use measure::{Effort, Row, measure};
use plan::{NOTES, WORKLOADS};
use sample::Programs;

/// virtnet and its peers, side by side.
#[derive(Parser)]
struct Args {
    /// About a minute: shorter samples, fewer passes, without the slowest.
    #[arg(long)]
    quick: bool,
    /// Only the workloads that have this in their name; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Where the peers' programs are; may be given several times.
    #[arg(long, required = true)]
    programs: Vec<PathBuf>,
    /// Writes all samples there, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the chart there, as SVG.
    #[arg(long)]
    chart: Option<PathBuf>,
}

/// All that is known at the end.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    quick: bool,
    rows: Vec<Row>,
    verdicts: Vec<Verdict>,
    notes: &'static [&'static str],
}

fn main() {
    let args = Args::parse();
    let machine = Machine::look();
    let Machine { cpu, cores, load_before, .. } = &machine;
    println!("{}, {cores} cores, {cpu}, load {load_before}, {}", machine.date, machine.rustc);
    let versions = machine.versions.iter().map(|(name, version)| format!("{name} {version}"));
    println!("virtnet {}, {}\n", machine.commit, versions.collect::<Vec<_>>().join(", "));
    let rows = run(&args);
    table::set_ups(&rows);
    table::memory(&rows);
    let verdicts = goals::judge(&rows);
    goals::print(&verdicts);
    println!("\nwhat is not like for like\n");
    NOTES.iter().for_each(|note| println!("{}", indent(note)));
    let report = Report { machine, quick: args.quick, rows, verdicts, notes: NOTES };
    if let Some(path) = &args.json {
        let text = serde_json::to_string(&report).expect("plain data");
        write(path, &(text + "\n"));
    }
    if let Some(path) = &args.chart {
        write(path, &chart::draw(&report.machine, &report.rows));
    }
}

fn run(args: &Args) -> Vec<Row> {
    let effort = Effort::new(args.quick);
    let programs = Programs(args.programs.clone());
    let wanted = |name: &str| {
        let named = args.only.iter().any(|part| name.contains(part.as_str()));
        named || args.only.is_empty() && !(args.quick && plan::is_slow(name))
    };
    let workloads: Vec<_> = WORKLOADS.iter().filter(|work| wanted(work.name)).collect();
    let samples = |name| plan::contenders(name).len() * (effort.passes + 1);
    let ends: Vec<usize> = workloads
        .iter()
        .scan(0, |sum, work| {
            *sum += samples(work.name);
            Some(*sum)
        })
        .collect();
    let bar = ProgressBar::new(ends.last().copied().unwrap_or(0) as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} samples, {elapsed}  {msg}");
    bar.set_style(style.expect("a template that is fixed"));
    table::speed_head();
    let mut rows = Vec::new();
    for (workload, end) in workloads.into_iter().zip(ends) {
        let row = measure(workload, &programs, &effort, |of| {
            bar.set_message(format!("{}, {} {}", workload.title, of.name, of.variant));
            bar.inc(1);
        });
        // Slow ones took part in fewer passes.
        bar.set_position(end as u64);
        bar.suspend(|| table::speed_row(&row));
        rows.push(row);
    }
    bar.finish_and_clear();
    rows
}

fn write(path: &PathBuf, text: &str) {
    match std::fs::write(path, text) {
        Ok(()) => println!("\nwrote {}", path.display()),
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            std::process::exit(1);
        }
    }
}

/// A note, as an item of a list, in lines of at most 96 columns.
fn indent(note: &str) -> String {
    let mut lines = vec![String::from("-")];
    for word in note.split_whitespace() {
        let line = lines.last_mut().expect("it has one");
        if line.chars().count() + 1 + word.chars().count() > 96 {
            lines.push(format!("  {word}"));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}
