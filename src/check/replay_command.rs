//! The command that executes a test once more.
//!
//! Knows how a test is named after the thread that it is called on, and where that says nothing: in
//! a program with a `main` of its own, and on a thread that the program has named. There the
//! program is executed as it was, with the same arguments.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

use crate::check::shell_quote::shell_word;

/// Says to a process that it is to play one run: whose child it is, and of which check.
pub(crate) const CHILD: &str = "VIRTNET_CHILD";
/// What [`CHILD`] is for a process that is to list its tests, and to execute no check of them: no
/// check has this name, and any process may be the parent.
pub(crate) const LISTS: &str = "any nothing";

/// The command that executes a test once more. It is found out when it is first needed.
#[derive(Debug)]
pub(crate) struct Again {
    /// The command, where the test knows it, and the name of the thread otherwise.
    known: Result<String, Option<String>>,
    command: OnceLock<String>,
}

impl Again {
    /// The command that runs a test of this thread; `known` says it where it is known.
    pub(crate) fn new(known: Option<String>) -> Self {
        let thread = || thread::current().name().map(String::from);
        Self { known: known.ok_or_else(thread), command: OnceLock::new() }
    }

    /// The command.
    pub(crate) fn command(&self) -> &str {
        self.command.get_or_init(|| match &self.known {
            Ok(command) => with_ignored(command.clone()),
            Err(Some(test)) if test != "main" && is_test(test) => {
                with_ignored(format!("cargo test {} -- --exact", shell_word(test)))
            }
            Err(_) => program(),
        })
    }
}

/// Where tests are run that are ignored as a rule, this may be one of them.
fn with_ignored(command: String) -> String {
    let is_asked = |argument| argument == "--ignored" || argument == "--include-ignored";
    if command.ends_with(" -- --exact") && std::env::args_os().any(is_asked) {
        return command + " --include-ignored";
    }
    command
}

/// This program with its arguments.
fn program() -> String {
    let arguments = std::env::args_os().collect::<Vec<_>>();
    let program = std::env::current_exe().unwrap_or_default();
    command_of(&program, arguments.get(1..).unwrap_or_default())
}

fn command_of(program: &Path, arguments: &[OsString]) -> String {
    let is_doctest = |step: &std::ffi::OsStr| step.to_string_lossy().starts_with("rustdoctest");
    if program.iter().any(is_doctest) {
        // It is gone with the process.
        return "cargo test --doc".into();
    }
    let words = std::iter::once(shell_word(program)).chain(arguments.iter().map(shell_word));
    words.collect::<Vec<_>>().join(" ")
}

/// Whether this program has a test of that name. A thread may have any name.
fn is_test(name: &str) -> bool {
    static TESTS: LazyLock<Option<BTreeSet<String>>> = LazyLock::new(tests);
    TESTS.as_ref().is_none_or(|tests| tests.contains(name))
}

/// The tests that the harness of this program lists, if it has one that answers.
fn tests() -> Option<BTreeSet<String>> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let program = std::env::current_exe().ok()?;
    let is_of_tests = program.parent().is_some_and(|folder| folder.ends_with("deps"));
    if !is_of_tests {
        return Some(BTreeSet::new());
    }
    let mut command = Command::new(program);
    command.args(["--list", "--format", "terse"]).env(CHILD, LISTS);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().ok()?;
    let (said, heard) = channel();
    thread::Builder::new().spawn(move || said.send(child.wait_with_output())).ok()?;
    let output =
        heard.recv_timeout(PATIENCE).ok()?.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().filter_map(|line| line.strip_suffix(": test")).map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::command_of;
    use std::path::Path;

    #[test]
    fn program_with_its_arguments_is_a_command() {
        let of = |program, arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
            command_of(Path::new(program), &arguments)
        };
        assert_eq!(of("/a/b c", &["x", "a b", ""]), "'/a/b c' x 'a b' ''");
        assert_eq!(of("/tmp/rustdoctestx1/rust_out", &["x"]), "cargo test --doc");
    }
}
