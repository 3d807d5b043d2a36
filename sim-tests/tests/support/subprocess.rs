//! Runs one test of this test binary in a subprocess, with other environment variables.
//!
//! Variables of virtnet, nextest, Slurm and Kubernetes that are set in this process are removed.

use std::path::Path;
use std::process::{Command, Output};

/// Executes one test in a process of its own.
pub(crate) fn run_test(test: &str, variables: &[(&str, &str)]) -> Output {
    run_test_with_args(&[], test, variables)
}

/// The same with more arguments.
pub(crate) fn run_test_with_args(
    extra_args: &[&str],
    test: &str,
    variables: &[(&str, &str)],
) -> Output {
    let mut command = test_command(&std::env::current_exe().unwrap(), test);
    command.args(extra_args).envs(variables.iter().copied()).output().unwrap()
}

/// The command that executes one test of a program that is this one.
pub(crate) fn test_command(program: &Path, test: &str) -> Command {
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
pub(crate) fn stderr_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The last line of a report.
#[track_caller]
pub(crate) fn replay_line(text: &str) -> &str {
    text.lines().rev().find_map(|line| line.strip_prefix("replay: ")).expect(text)
}
