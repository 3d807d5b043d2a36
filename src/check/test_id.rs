//! The name of a test and its command line, and notes about it on standard error.
//!
//! Notes are written to the standard error of the process, past the capture of the test harness: a
//! captured note is lost when the process dies.

use std::io::Write;
use std::sync::Arc;

use crate::check::replay_command::ReplayCommand;

/// A test, as one speaks of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestId<'a> {
    /// Its name, in one line.
    pub(crate) name: &'a str,
    /// The command that runs it.
    pub(crate) replay_command: &'a Arc<ReplayCommand>,
}

impl TestId<'_> {
    /// Says something, and how to run that seed.
    pub(crate) fn eprint_replay(self, message: &str, seed: Option<u64>) {
        let seed = seed.map(|seed| format!("VIRTNET_SEED={seed:#x} ")).unwrap_or_default();
        self.eprint_command(message, "replay", &seed);
    }

    /// Says something.
    pub(crate) fn eprint_note(self, message: &str) {
        let text = format!("virtnet: {}: {message}\n", self.name);
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Says something, and how to go on, with these variables.
    pub(crate) fn eprint_command(self, message: &str, label: &str, variables: &str) {
        let Self { name, replay_command } = self;
        let command = replay_command.command();
        let text = format!("virtnet: {name}: {message}\n  {label}: {variables}{command}\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
