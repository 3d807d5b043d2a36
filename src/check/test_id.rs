//! The name of a test, its file name and command line, and notes about it on standard error.
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

/// The name of a test as a part of a file's name, of which every system takes every letter. Where
/// that is not the whole name, a digest of it keeps different names apart.
pub(crate) fn test_file_name(test: &str) -> String {
    const MAX_LEN: usize = 100;
    let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let is_plain = test.split("::").all(|step| step.chars().all(is_allowed));
    let mut name = test.replace("::", ".");
    if is_plain && (1..=MAX_LEN).contains(&name.len()) {
        return name;
    }
    let mut ends = (0..=MAX_LEN.min(name.len())).rev();
    name.truncate(ends.find(|end| name.is_char_boundary(*end)).unwrap_or(0));
    let digest = test.bytes().fold(0xCBF2_9CE4_8422_2325, |digest: u64, byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    format!("{}-{digest:016x}", name.replace(|c| !is_allowed(c) && c != '.', "_"))
}

#[cfg(test)]
mod tests {
    use super::test_file_name;

    #[test]
    fn test_file_name_is_valid_and_unique_for_any_test() {
        assert_eq!(test_file_name("store::log::a_β-1"), "store.log.a_β-1");
        let escaped = test_file_name("store::a test/of <b>\"β\"\u{2028}");
        assert_eq!(escaped.rsplit_once('-').unwrap().0, "store.a_test_of__b__β__");
        let long = "β".repeat(5000);
        let names = ["", "a/b", "a_b", "a.b", "a::b", "a:b", "..", &long, &long[2..]];
        let files: std::collections::BTreeSet<_> = names.map(test_file_name).into();
        assert_eq!(files.len(), names.len(), "{files:?}");
        assert!(files.iter().all(|file| file.len() < 120 && !file.contains(['/', ':'])));
    }
}
