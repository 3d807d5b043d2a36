//! Instructions counted by valgrind: they repeat, on a machine that others use as well.

use std::process::Command;

use crate::{Gate, WORKLOADS, Workload};

/// How much more than was counted before is a regression, in percent. Another compiler or C
/// library moves a count by one or two.
pub(crate) const MARGIN: u64 = 5;

/// Reports the instructions of all workloads, ours and the bare executor's.
pub(crate) fn report() {
    println!("{:<14} {:>9} {:>9} {:>7}", "workload", "ours", "bare", "ratio");
    for work in WORKLOADS {
        let (ours, bare) = (of(work, "ours"), of(work, "bare"));
        let ratio = ours as f64 / bare as f64;
        println!("{:<14} {ours:>9} {bare:>9} {ratio:>7.2}   a {}", work.name, work.unit);
    }
}

/// Reports those that have a gate, and tells whether none is over the bound in force: what was
/// counted before, and [`MARGIN`]. To miss what is asked in the end is told, and no failure.
pub(crate) fn check() -> bool {
    let mut fine = true;
    println!("instructions; the bound is {MARGIN} % over what was counted before\n");
    println!("{:<14} {:>9} {:>9} {:>9} {:>9}", "workload", "now", "before", "bound", "asked");
    for work in WORKLOADS {
        let Some(Gate { counted, asked }) = work.gate else { continue };
        let (now, bound) = (of(work, "ours"), counted * (100 + MARGIN) / 100);
        let mut words = vec![if now > bound { "REGRESSION" } else { "fine" }];
        if now * (100 + MARGIN) / 100 < counted {
            words.push("write the new count down");
        }
        if now > asked {
            words.push("misses what is asked");
        }
        fine &= now <= bound;
        let words = words.join(", ");
        println!("{:<14} {now:>9} {counted:>9} {bound:>9} {asked:>9}   {words}", work.name);
    }
    fine
}

/// Those of 2n operations less those of n, for each of the n.
fn of(work: &Workload, side: &str) -> u64 {
    let n = work.n / 10;
    let Some((twice, once)) = count(work, side, 2 * n).zip(count(work, side, n)) else {
        eprintln!("valgrind could not be run: install it to count instructions");
        std::process::exit(1);
    };
    twice.saturating_sub(once) / n
}

fn count(work: &Workload, side: &str, n: u64) -> Option<u64> {
    let this = std::env::current_exe().expect("a bench has a path");
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&this)
        .args(["--once", work.name, side, &n.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok())
}
