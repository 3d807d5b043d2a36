//! Speed and memory goals of virtnet, compared with the results.
//!
//! A missed goal is reported and is not an error: a benchmark is not a test.

use serde::Serialize;

use crate::number_format::{digits, short};
use crate::measure::Row;
use crate::plan::{BARE, OURS, WORKLOADS};
use crate::table::memory_of;

/// One thing asked.
#[derive(Serialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) is: f64,
    /// The bound, and whether more than that is asked, or less.
    pub(crate) bound: f64,
    pub(crate) at_least: bool,
    pub(crate) goal: Option<f64>,
    pub(crate) pass: bool,
    pub(crate) goal_reached: Option<bool>,
}

fn at_least(what: String, is: f64, bound: f64, goal: Option<f64>) -> Verdict {
    let goal_reached = goal.map(|goal| is >= goal);
    Verdict { what, is, bound, at_least: true, goal, pass: is >= bound, goal_reached }
}

fn at_most(what: &str, is: f64, bound: f64) -> Verdict {
    let (what, pass) = (what.to_string(), is <= bound);
    Verdict { what, is, bound, at_least: false, goal: None, pass, goal_reached: None }
}

/// Judges what was measured; what was not is not judged.
pub(crate) fn judge(rows: &[Row]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for row in rows {
        let workload = WORKLOADS.iter().find(|workload| workload.name == row.workload);
        let Some(workload) = workload else { continue };
        let (goal, title) = (workload.goal, workload.title);
        if let Some(ratio) = row.best(BARE).and_then(|bare| row.ratio_to(bare)) {
            let what = format!("{title}, times {BARE}");
            verdicts.push(at_least(what, ratio, goal.floor, Some(goal.goal)));
        }
        if let Some((peer, ratio)) =
            row.best_peer().and_then(|peer| Some((peer, row.ratio_to(peer)?)))
        {
            let what = format!("{title}, times {} {}", peer.name, peer.variant);
            verdicts.push(at_least(what, ratio, goal.peer, None));
        }
    }
    let row = |name: &str| rows.iter().find(|row| row.workload == name);
    let rate = |name: &str| row(name)?.best(OURS)?.rate;
    if let (Some(few), Some(many)) = (rate("many-10"), rate("many-10000")) {
        let what = "a round trip among 10 000 clients, times one among 10";
        verdicts.push(at_most(what, few / many, 6.0));
    }
    for (name, what, bound) in [
        ("many-10000", "bytes a client host, with its connection", 5.0 * 1024.0),
        ("timers-1000000", "bytes a sleeping task", 500.0),
        ("startup", "bytes that a run leaves behind", 1.0),
    ] {
        if let Some(is) = row(name).and_then(|row| memory_of(row, OURS)) {
            verdicts.push(at_most(what, is, bound));
        }
    }
    verdicts
}

pub(crate) fn print(verdicts: &[Verdict]) {
    println!("\nwhat is asked of virtnet\n");
    println!("{:<58}{:>9}{:>12}{:>8}", "", "is", "bound", "goal");
    let mut missed = 0;
    let (mut goals, mut goals_missed) = (0, 0);
    for verdict in verdicts {
        let show = if verdict.at_least { digits } else { short };
        let bound = [">=", "<="][usize::from(!verdict.at_least)];
        let bound = format!("{bound} {}", show(verdict.bound));
        let goal = verdict.goal.map_or(String::new(), digits);
        let word = match (verdict.pass, verdict.goal_reached) {
            (false, _) => "MISS",
            (true, Some(false)) => "pass, goal missed",
            (true, _) => "pass",
        };
        missed += u32::from(!verdict.pass);
        goals += u32::from(verdict.goal.is_some());
        goals_missed += u32::from(verdict.goal_reached == Some(false));
        println!("{:<58}{:>9}{bound:>12}{goal:>8}   {word}", verdict.what, show(verdict.is));
    }
    println!(
        "\n{missed} of {} bounds missed, {goals_missed} of {goals} goals missed",
        verdicts.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::tests::{cell, row};

    #[test]
    fn a_bound_is_missed_from_below_and_from_above() {
        let rows = |ours: u64, crowd: u64| {
            let cells = |name, ours| {
                let (bare, peer) = (cell(BARE, "default", &[100]), cell("bach", "same", &[10]));
                row(name, vec![cell(OURS, "default", &[ours]), bare, peer])
            };
            [cells("many-10", ours), cells("many-10000", crowd)]
        };
        let verdicts = |ours, crowd| -> Vec<(bool, Option<bool>)> {
            let verdicts = judge(&rows(ours, crowd));
            verdicts.iter().map(|verdict| (verdict.pass, verdict.goal_reached)).collect()
        };
        let (pass, miss) = ((true, None), (false, None));
        let (all, floor, none) = ((true, Some(true)), (true, Some(false)), (false, Some(false)));
        assert_eq!(verdicts(120, 110), [all, pass, all, pass, pass]);
        assert_eq!(verdicts(80, 70), [floor, pass, floor, pass, pass]);
        assert_eq!(verdicts(49, 8), [none, miss, none, miss, miss]);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert!(judge(&[row("pingpong", vec![cell(OURS, "default", &[5])])]).is_empty());
    }
}
