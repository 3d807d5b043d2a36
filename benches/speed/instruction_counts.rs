//! Instruction counts by valgrind, which repeat even on a busy machine.

use std::process::Command;

use crate::{Gate, WORKLOADS, Workload};

/// How much more than was counted before is a regression, in percent. Another compiler or C
/// library moves a count by one or two.
pub(crate) const MARGIN_PERCENT: u64 = 5;

/// Reports the instructions of all workloads, ours and the bare executor's.
pub(crate) fn report() {
    println!("{:<14} {:>9} {:>9} {:>7}", "workload", "ours", "bare", "ratio");
    for workload in WORKLOADS {
        let (virtnet, bare) = (
            instructions_per_operation(workload, "ours"),
            instructions_per_operation(workload, "bare"),
        );
        let ratio = virtnet as f64 / bare as f64;
        println!("{:<14} {virtnet:>9} {bare:>9} {ratio:>7.2}   a {}", workload.name, workload.unit);
    }
}

/// Reports those that have a gate, and tells whether none is over the bound in force: what was
/// counted before, and [`MARGIN`]. To miss what is asked in the end is told, and no failure.
pub(crate) fn check_gates() -> bool {
    let mut passed = true;
    println!("instructions; the bound is {MARGIN_PERCENT} % over what was counted before\n");
    println!("{:<14} {:>9} {:>9} {:>9} {:>9}", "workload", "now", "before", "bound", "asked");
    for workload in WORKLOADS {
        let Some(Gate { previous, goal }) = workload.gate else { continue };
        let (current, bound) =
            (instructions_per_operation(workload, "ours"), previous * (100 + MARGIN_PERCENT) / 100);
        let mut remarks = vec![if current > bound { "REGRESSION" } else { "fine" }];
        if current * (100 + MARGIN_PERCENT) / 100 < previous {
            remarks.push("write the new count down");
        }
        if current > goal {
            remarks.push("misses what is asked");
        }
        passed &= current <= bound;
        let remarks = remarks.join(", ");
        println!(
            "{:<14} {current:>9} {previous:>9} {bound:>9} {goal:>9}   {remarks}",
            workload.name
        );
    }
    passed
}

/// Those of 2n operations less those of n, for each of the n.
fn instructions_per_operation(workload: &Workload, side: &str) -> u64 {
    let n = workload.n / 10;
    let Some((twice, once)) =
        count_instructions(workload, side, 2 * n).zip(count_instructions(workload, side, n))
    else {
        eprintln!("valgrind could not be run: install it to count instructions");
        std::process::exit(1);
    };
    twice.saturating_sub(once) / n
}

fn count_instructions(workload: &Workload, side: &str, n: u64) -> Option<u64> {
    let program = std::env::current_exe().expect("a bench has a path");
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&program)
        .args(["--once", workload.name, side, &n.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok())
}
