//! What is said of a test beside its runs, and said at once.
//!
//! Knows the test's name and the command that runs it, and the standard error: what is said here
//! goes past whatever captures the output of tests, where it would be lost with the process.

use std::io::Write;
use std::sync::Arc;

use crate::check::replay_command::Again;

/// A test, as one speaks of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// Its name, in one line.
    pub(crate) name: &'a str,
    /// The command that runs it.
    pub(crate) again: &'a Arc<Again>,
}

impl About<'_> {
    /// Says something, and how to run that seed.
    pub(crate) fn say(self, what: &str, seed: Option<u64>) {
        let seed = seed.map(|seed| format!("VIRTNET_SEED={seed:#x} ")).unwrap_or_default();
        self.say_with(what, "replay", &seed);
    }

    /// Says something.
    pub(crate) fn say_only(self, what: &str) {
        let text = format!("virtnet: {}: {what}\n", self.name);
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Says something, and how to go on, with these variables.
    pub(crate) fn say_with(self, what: &str, how: &str, variables: &str) {
        let Self { name, again } = self;
        let command = again.command();
        let text = format!("virtnet: {name}: {what}\n  {how}: {variables}{command}\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
