//! The command line that runs a test once more.
//!
//! The test harness names a test's thread after the test, and the command is built from that name.
//! In a program with its own `main`, and on a thread that the program has named, the command is
//! the program with its present arguments.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

use crate::check::settings::{env_var, run_variables};
use crate::check::shell_quote::shell_word;

/// Says to a process that it is to play one run: whose child it is, and of which check.
pub(crate) const CHILD_VARIABLE: &str = "VIRTNET_CHILD";
/// The value of [`CHILD_VARIABLE`] for a process that lists its tests and executes none of their
/// checks: no check has this name, and any process may be the parent.
pub(crate) const LIST_ONLY: &str = "any nothing";

/// The command that executes a test once more. It is found out when it is first needed.
#[derive(Debug)]
pub(crate) struct ReplayCommand {
    /// The command, where the test knows it, and the name of the thread otherwise.
    command_or_thread: Result<String, Option<String>>,
    command: OnceLock<String>,
}

impl ReplayCommand {
    /// The command that runs a test of this thread; `known` says it where it is known.
    pub(crate) fn new(command: Option<String>) -> Self {
        let thread = || thread::current().name().map(String::from);
        Self { command_or_thread: command.ok_or_else(thread), command: OnceLock::new() }
    }

    /// The command, after the variables that say how runs are executed.
    pub(crate) fn command(&self) -> &str {
        self.command.get_or_init(|| {
            let command = match &self.command_or_thread {
                Ok(command) => add_include_ignored(command.clone()),
                Err(Some(test)) if test != "main" && is_test(test) => {
                    add_include_ignored(format!("cargo test {} -- --exact", shell_word(test)))
                }
                Err(_) => program_command(),
            };
            run_variables(&env_var) + &command
        })
    }
}

/// If ignored tests are run, this may be one of them.
fn add_include_ignored(command: String) -> String {
    let is_ignored_flag = |argument| argument == "--ignored" || argument == "--include-ignored";
    if command.ends_with(" -- --exact") && std::env::args_os().any(is_ignored_flag) {
        return command + " --include-ignored";
    }
    command
}

/// This program with its arguments.
fn program_command() -> String {
    let arguments = std::env::args_os().collect::<Vec<_>>();
    let program = std::env::current_exe().unwrap_or_default();
    command_line(&program, arguments.get(1..).unwrap_or_default())
}

fn command_line(program: &Path, arguments: &[OsString]) -> String {
    let is_doctest =
        |component: &std::ffi::OsStr| component.to_string_lossy().starts_with("rustdoctest");
    if program.iter().any(is_doctest) {
        // It is gone with the process.
        return "cargo test --doc".into();
    }
    let words = std::iter::once(shell_word(program)).chain(arguments.iter().map(shell_word));
    words.collect::<Vec<_>>().join(" ")
}

/// Whether this program has a test of that name. A thread may have any name.
fn is_test(name: &str) -> bool {
    static TESTS: LazyLock<Option<BTreeSet<String>>> = LazyLock::new(list_tests);
    TESTS.as_ref().is_none_or(|tests| tests.contains(name))
}

/// The tests that the harness of this program lists, if it has one that answers.
fn list_tests() -> Option<BTreeSet<String>> {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let program = std::env::current_exe().ok()?;
    let is_test_binary = program.parent().is_some_and(|folder| folder.ends_with("deps"));
    if !is_test_binary {
        return Some(BTreeSet::new());
    }
    let mut command = Command::new(program);
    command.args(["--list", "--format", "terse"]).env(CHILD_VARIABLE, LIST_ONLY);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().ok()?;
    let (sender, receiver) = channel();
    thread::Builder::new().spawn(move || sender.send(child.wait_with_output())).ok()?;
    let output =
        receiver.recv_timeout(TIMEOUT).ok()?.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().filter_map(|line| line.strip_suffix(": test")).map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::command_line;
    use std::path::Path;

    #[test]
    fn command_line_quotes_program_and_arguments() {
        let line = |program, arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
            command_line(Path::new(program), &arguments)
        };
        assert_eq!(line("/a/b c", &["x", "a b", ""]), "'/a/b c' x 'a b' ''");
        assert_eq!(line("/tmp/rustdoctestx1/rust_out", &["x"]), "cargo test --doc");
    }
}
