//! Files with the seeds in progress: a run that kills the process leaves its seed behind.
//!
//! Each worker of a sweep has one file below `target/virtnet`, locked during the sweep and removed
//! at its end. (With a single file the workers would wait for each other, a microsecond a run.) A
//! file that exists without a lock was left by a process that died. A folder that cannot be
//! written is not an error: then no seed is recorded.
//!
//! A file is locked before its name exists and until after its name is removed, and is empty by
//! then: another process that opened it in between finds nothing in it. A sweep that finds the
//! file of a dead process locks it, so that only one sweep reports it.

use std::fs::{File, OpenOptions, create_dir_all, read_dir, remove_file, rename};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::check::test_id::test_file_name;

/// The folder for files of the tests of this program: another program may have tests of the same
/// names. It is in Cargo's target folder, in which this program is.
pub(crate) fn output_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = target_dir(&program).unwrap_or_else(|| Path::new("target"));
    target.join("virtnet").join(program_name())
}

/// The name of this program as its author knows it, without what the build adds to it.
pub(crate) fn program_name() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    strip_build_hash(&stem).into()
}

/// As `sim` of `sim-3c254538fb30e394`.
fn strip_build_hash(stem: &str) -> &str {
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|c| c.is_ascii_hexdigit());
    stem.rsplit_once('-').filter(|(_, hash)| is_hash(hash)).map_or(stem, |(name, _)| name)
}

fn target_dir(program: &Path) -> Option<&Path> {
    let mut folders = program.ancestors().skip(1);
    if let Some(target) = folders.clone().filter(|folder| folder.ends_with("target")).last() {
        return Some(target);
    }
    // Below it there is a folder for each profile, and in that these.
    let profile_subdir =
        folders.find(|folder| folder.ends_with("deps") || folder.ends_with("examples"))?;
    profile_subdir.parent()?.parent()
}

const FILE_SUFFIX: &str = ".running";
/// The beginning of the line of a seed that has failed already.
const SHRINK_PREFIX: &str = "cut ";
/// A seed and the end of its line.
const LINE_LEN: usize = 19;

/// The files of one sweep.
#[derive(Debug, Default)]
pub(crate) struct InProgressFiles {
    files: Vec<(File, PathBuf)>,
    /// The files of dead processes, locked by this one.
    orphaned: Vec<(File, PathBuf)>,
    /// The seeds that were being run when other processes ended.
    pub(crate) crashed_seeds: Vec<u64>,
    /// The seeds that had failed and were being cut down when they ended, and the tapes they left.
    pub(crate) interrupted_shrinks: Vec<(u64, PathBuf)>,
}

impl InProgressFiles {
    /// Opens the files of a sweep of `test`, and looks for what others have left.
    pub(crate) fn create(folder: &Path, test: &str, workers: usize) -> Self {
        static SWEEP_COUNT: AtomicU64 = AtomicU64::new(0);
        let test = test_file_name(test);
        let mut in_progress = Self::default();
        in_progress.collect_orphaned(folder, &format!("{test}-"));
        let (process, number) = (std::process::id(), SWEEP_COUNT.fetch_add(1, Ordering::Relaxed));
        let name = |worker| format!("{test}-{process}-{number}-{worker}");
        // Descriptors are few, and a seed that is lost is most often one of many.
        let workers = workers.min(256);
        in_progress.files =
            (0..workers).map_while(|worker| create_locked(folder, &name(worker))).collect();
        in_progress
    }

    fn collect_orphaned(&mut self, folder: &Path, prefix: &str) {
        let Ok(files) = read_dir(folder) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let name = name.to_string_lossy();
            let suffix = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(FILE_SUFFIX));
            // A longer name of another test has more there than three numbers.
            let is_number = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
            if !suffix
                .is_some_and(|rest| rest.split('-').count() == 3 && rest.split('-').all(is_number))
            {
                continue;
            }
            let path = file.path();
            if let Some((file, text)) = lock_orphaned(&path) {
                let seed = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
                let shrink_entry = |line: &str| {
                    let (seed_text, tape) = line.strip_prefix(SHRINK_PREFIX)?.split_once(' ')?;
                    Some((seed(seed_text)?, folder.join(tape)))
                };
                self.crashed_seeds.extend(text.lines().filter_map(seed));
                self.interrupted_shrinks.extend(text.lines().filter_map(shrink_entry));
                self.orphaned.push((file, path));
            }
        }
        self.crashed_seeds.sort_unstable();
        self.crashed_seeds.dedup();
    }

    /// Says which seed a worker runs from now on, or that it runs none.
    #[inline]
    pub(crate) fn set_seed(&self, worker: usize, seed: Option<u64>) {
        let Some((file, _)) = self.files.get(worker) else { return };
        let mut line = [b' '; LINE_LEN];
        line[LINE_LEN - 1] = b'\n';
        if let Some(seed) = seed {
            line[..2].copy_from_slice(b"0x");
            for (index, digit) in line[2..LINE_LEN - 1].iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(seed >> (60 - 4 * index) & 15) as usize];
            }
        }
        write_at(file, &line, 0);
    }

    /// Says that a seed is run again, and no other.
    pub(crate) fn set_only_seed(&self, seed: u64) {
        for worker in 0..self.files.len() {
            self.set_seed(worker, (worker == 0).then_some(seed));
        }
    }

    /// Says that a seed has failed and is being cut down, and where the best so far is kept: in a
    /// file beside these.
    pub(crate) fn mark_shrinking(&self, seed: u64, tape: &Path) {
        let Some((file, _)) = self.files.first() else { return };
        // Only its name, which is plain text: the path of a folder need not be.
        let tape = tape.file_name().unwrap_or_default().to_string_lossy();
        let line = format!("{SHRINK_PREFIX}{seed:#x} {tape}\n");
        if file.set_len(0).is_ok() {
            write_at(file, line.as_bytes(), 0);
        }
    }
}

/// The content of a file, and the locked file, if the process that made it is dead.
fn lock_orphaned(path: &Path) -> Option<(File, String)> {
    let mut file = File::open(path).ok()?;
    file.try_lock().ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    // Removed since it was opened: its sweep has come to its end, or another tells of it.
    path.exists().then_some((file, text))
}

/// Makes a file that is locked from the moment at which others can find it.
fn create_locked(folder: &Path, name: &str) -> Option<(File, PathBuf)> {
    create_dir_all(folder).ok()?;
    let temporary = folder.join(format!("{name}.new"));
    let path = folder.join(format!("{name}{FILE_SUFFIX}"));
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary).ok()?;
    if file.try_lock().is_err() || rename(&temporary, &path).is_err() {
        let _ = remove_file(&temporary);
        return None;
    }
    Some((file, path))
}

#[cfg(unix)]
fn write_at(file: &File, line: &[u8], index: u64) {
    let _ = std::os::unix::fs::FileExt::write_at(file, line, index);
}

#[cfg(windows)]
fn write_at(file: &File, line: &[u8], place: u64) {
    let _ = std::os::windows::fs::FileExt::seek_write(file, line, place);
}

#[cfg(not(any(unix, windows)))]
fn write_at(_file: &File, _line: &[u8], _place: u64) {}

impl Drop for InProgressFiles {
    fn drop(&mut self) {
        for (file, path) in &self.files {
            let _ = file.set_len(0);
            let _ = remove_file(path);
        }
        for (_, path) in &self.orphaned {
            let _ = remove_file(path);
        }
        // The locks end with the files, when no name leads to them.
    }
}

#[cfg(test)]
mod tests {
    use super::{InProgressFiles, strip_build_hash, target_dir};
    use std::path::Path;

    #[test]
    fn target_dir_is_found_under_any_name() {
        for (program, target) in [
            ("/a/target/debug/deps/sim-1", Some("/a/target")),
            ("/a/target/x86_64-unknown-linux-musl/debug/deps/sim-1", Some("/a/target")),
            ("/a/built/debug/deps/sim-1", Some("/a/built")),
            ("/a/built/release/examples/http", Some("/a/built")),
            ("/usr/bin/sim", None),
        ] {
            assert_eq!(target_dir(Path::new(program)), target.map(Path::new));
        }
    }

    #[test]
    fn program_name_has_no_build_hash() {
        assert_eq!(strip_build_hash("sim-3c254538fb30e394"), "sim");
        assert_eq!(strip_build_hash("my-sim"), "my-sim");
        assert_eq!(strip_build_hash("my-sim-3c254538fb30e39"), "my-sim-3c254538fb30e39");
    }

    #[test]
    fn orphaned_files_are_reported_once_and_live_ones_never() {
        let folder = std::env::temp_dir().join(format!("virtnet-running-{}", std::process::id()));
        let live = InProgressFiles::create(&folder, "a::test", 2);
        live.set_seed(0, Some(3));
        live.set_seed(1, Some(7));
        std::fs::write(folder.join("a.test-1-0-0.running"), "0x00000000000001f4\n        \n")
            .unwrap();
        let shrinking = InProgressFiles::create(&folder, "a::cut", 1);
        shrinking.set_seed(0, Some(4));
        shrinking.mark_shrinking(5, &folder.join("x.tape"));
        let copy = std::fs::read(&shrinking.files[0].1).unwrap();
        drop(shrinking);
        std::fs::write(folder.join("a.cut-1-0-0.running"), copy).unwrap();
        let found = InProgressFiles::create(&folder, "a::cut", 0);
        assert_eq!(
            (&*found.crashed_seeds, &*found.interrupted_shrinks),
            (&[][..], &[(5, folder.join("x.tape"))][..])
        );
        drop(found);
        for other in ["a.test-more-1-0-0.running", "a.test-2-1-0-0.running"] {
            std::fs::write(folder.join(other), "0x0000000000000001\n").unwrap();
        }
        let first = InProgressFiles::create(&folder, "a::test", 1);
        assert_eq!(first.crashed_seeds, [500]);
        assert_eq!(
            InProgressFiles::create(&folder, "a::test", 1).crashed_seeds,
            [0_u64; 0],
            "it is told once"
        );
        drop(first);
        assert_eq!(InProgressFiles::create(&folder, "a::test", 1).crashed_seeds, [0_u64; 0]);
        drop(live);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }
    /// Opened by another while it was there, and looked at in each order.
    #[test]
    fn file_of_ending_sweep_opened_by_another_is_not_orphaned() {
        let folder = std::env::temp_dir().join(format!("virtnet-ends-{}", std::process::id()));
        let live = InProgressFiles::create(&folder, "a::test", 1);
        live.mark_shrinking(1, &folder.join("x.tape"));
        let path = live.files[0].1.clone();
        let opened = std::fs::File::open(&path).unwrap();
        assert!(opened.try_lock().is_err());
        drop(live);
        opened.try_lock().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut &opened, &mut text).unwrap();
        assert_eq!((text.as_str(), path.exists()), ("", false));
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Each thread is a process here: a lock is the file's that was opened.
    #[test]
    fn concurrent_sweeps_are_never_reported_as_orphaned() {
        let folder = std::env::temp_dir().join(format!("virtnet-beside-{}", std::process::id()));
        std::thread::scope(|scope| {
            for worker in 0..6 {
                let folder = &folder;
                scope.spawn(move || {
                    for seed in 0..300 {
                        let running = InProgressFiles::create(folder, "a::test", 2);
                        assert_eq!(
                            (&*running.crashed_seeds, &*running.interrupted_shrinks),
                            (&[][..], &[][..])
                        );
                        running.set_seed(1, Some(seed));
                        if worker % 2 == 0 {
                            running.mark_shrinking(seed, &folder.join("x.tape"));
                        }
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
