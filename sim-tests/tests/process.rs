//! This very program once more: one of its tests, in a process of its own, with other variables.
//!
//! Knows the arguments of the harness. Variables of ours and of nextest's that this process has do
//! not reach the other one.

use std::path::Path;
use std::process::{Command, Output};

/// Executes one test in a process of its own.
pub(crate) fn execute(test: &str, variables: &[(&str, &str)]) -> Output {
    execute_with(&[], test, variables)
}

/// The same with more arguments.
pub(crate) fn execute_with(more: &[&str], test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = command(&std::env::current_exe().unwrap(), test);
    command.args(more).envs(variables.iter().copied()).output().unwrap()
}

/// The command that executes one test of a program that is this one.
pub(crate) fn command(program: &Path, test: &str) -> Command {
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| {
        ["VIRTNET_", "NEXTEST_", "SLURM_", "JOB_"].iter().any(|start| name.starts_with(start))
    }) {
        command.env_remove(name);
    }
    command
}

/// What a process said on its standard error.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The last line of a report.
#[track_caller]
pub(crate) fn replay_line(text: &str) -> &str {
    text.lines().rev().find_map(|line| line.strip_prefix("replay: ")).expect(text)
}
