//! `lonet` on a machine with other users: what they make first is refused and never followed.
//!
//! A test that needs a second user runs as root, and says that it is skipped otherwise.

#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use virtnet::lonet::Config;

use crate::lonet::run;

/// The unprivileged user of these tests; no account is needed.
const OTHER: u32 = 1002;

/// A folder like `/tmp`, with a file that only its owner may change.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(TempDir::new().unwrap());
        chmod(machine.0.path(), 0o755);
        for (folder, mode) in [("tmp", 0o1777), ("private", 0o700)] {
            fs::create_dir(machine.path(folder)).unwrap();
            chmod(&machine.path(folder), mode);
        }
        fs::write(machine.path("precious"), "configuration").unwrap();
        chmod(&machine.path("precious"), 0o644);
        machine
    }

    /// One with a second user; without the right to be another user there is none.
    fn of_two_users() -> Option<Self> {
        let machine = Self::new();
        if fs::metadata(machine.0.path()).unwrap().uid() != 0 {
            eprintln!("skipped: only root can act as another user");
            return None;
        }
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Has the other user run a shell command in `tmp`.
    fn other(&self, command: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(self.path("tmp")).uid(OTHER).gid(OTHER);
        assert!(shell.status().unwrap().success(), "{command}");
    }

    /// Has the other user join a network, and gives what the process says.
    fn other_joins(&self, folder: &Path, network: &str) -> String {
        let peer = self.path("peer");
        if !peer.exists() {
            // Not by this process: a child that another test starts meanwhile would have the file
            // open for writing for a moment, and it could not be executed.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_peer")).arg(&peer).status();
            assert!(copied.unwrap().success());
        }
        let mut join = Command::new(peer);
        join.arg(folder).args([network, "join"]).env("TMPDIR", self.path("tmp"));
        let said = join.uid(OTHER).gid(OTHER).output().unwrap().stdout;
        self.without_place(str::from_utf8(&said).unwrap().trim_end())
    }

    /// Makes the folder of a network, which nobody has joined: whoever has may still be closing the
    /// registry, which removes files.
    fn empty_network(&self, name: &str) -> PathBuf {
        let folder = self.path("tmp/lonet").join(name);
        fs::create_dir_all(&folder).unwrap();
        chmod(&self.path("tmp/lonet"), 0o1777);
        chmod(&folder, 0o700);
        folder
    }

    /// Joins as the user of the test; what is wrong is said without the place of the machine.
    fn join(&self, network: &str) -> Result<(), String> {
        let config = Config::new().folder(self.path("tmp/lonet"));
        match run(config.join(network)) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.without_place(&error.to_string())),
        }
    }

    fn without_place(&self, text: &str) -> String {
        text.replace(self.0.path().to_str().unwrap(), "<>")
    }

    /// Says that nothing happened outside of `tmp`.
    #[track_caller]
    fn assert_untouched(&self) {
        let precious = self.path("precious");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "configuration");
        assert_eq!(mode(&precious), 0o644);
        assert_eq!(names(&self.path("private")), Vec::<String>::new());
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let names = fs::read_dir(folder).unwrap().map(|entry| name(entry).into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn lonet_folder_that_another_user_made_first_is_refused_and_its_links_are_not_followed() {
    for target in ["precious", "private/made"] {
        for folder_mode in ["0777", "1777", "0755"] {
            let Some(machine) = Machine::of_two_users() else { return };
            machine.other(&format!("mkdir -m {folder_mode} lonet && mkdir -m 0777 lonet/demo"));
            let target = machine.path(target);
            machine.other(&format!("ln -s {} lonet/demo/registry.db", target.display()));
            let error = machine.join("demo").unwrap_err();
            let text = "lonet: join \"demo\": the folder \"<>/tmp/lonet\" belongs to user 1002, \
                        and this process runs as user 0: remove it, or name another folder by \
                        `Config::folder`";
            assert_eq!(error, text, "{folder_mode}");
            machine.assert_untouched();
        }
    }
}

#[test]
fn lonet_network_that_another_user_made_first_is_refused_and_stays_as_it_is() {
    let Some(machine) = Machine::of_two_users() else { return };
    machine.join("first").unwrap();
    machine.other("mkdir -m 0777 lonet/demo && ln -s ../../../precious lonet/demo/registry.db");
    let error = machine.join("demo").unwrap_err();
    assert!(error.contains("the folder \"<>/tmp/lonet/demo\" belongs to user 1002"), "{error}");
    assert_eq!(mode(&machine.path("tmp/lonet/demo")), 0o777);
    machine.assert_untouched();
}

#[test]
fn lonet_file_of_another_user_in_a_network_is_refused() {
    for file in ["registry.db", "registry.db-wal", "registry.db-shm", "registry.db-journal"] {
        let Some(machine) = Machine::of_two_users() else { return };
        let path = machine.empty_network("demo").join(file);
        fs::write(&path, "").unwrap();
        chmod(&path, 0o666);
        chown(&path, Some(OTHER), Some(OTHER)).unwrap();
        let error = machine.join("demo").unwrap_err();
        let text = format!("the file \"<>/tmp/lonet/demo/{file}\" belongs to user 1002");
        assert!(error.contains(&text), "{error}");
        assert_eq!((mode(&path), fs::metadata(&path).unwrap().len()), (0o666, 0));
    }
}

#[test]
fn lonet_link_or_fifo_in_the_place_of_a_file_is_refused_and_not_followed() {
    for file in ["registry.db", "registry.db-wal", "registry.db-shm", "registry.db-journal"] {
        for kind in ["ln -s {precious}", "ln -s {private}/made", "ln {precious}", "mkfifo"] {
            let machine = Machine::new();
            let path = machine.empty_network("demo").join(file);
            let precious = machine.path("precious");
            let private = machine.path("private");
            let make = kind
                .replace("{precious}", precious.to_str().unwrap())
                .replace("{private}", private.to_str().unwrap());
            let make = format!("{make} {}", path.display());
            assert!(Command::new("sh").args(["-c", &make]).status().unwrap().success());
            let error = machine.join("demo").unwrap_err();
            let what = match kind {
                "mkfifo" => "is no regular file",
                _ if kind.starts_with("ln -s") => "is a symbolic link",
                _ => "has 2 names",
            };
            let text = format!("lonet: join \"demo\": \"<>/tmp/lonet/demo/{file}\" {what}");
            assert!(error.starts_with(&text), "{error}");
            machine.assert_untouched();
        }
    }
}

#[test]
fn lonet_folder_that_is_a_link_is_refused_and_not_followed() {
    for link in ["tmp/lonet", "tmp/lonet/demo"] {
        let machine = Machine::new();
        if link != "tmp/lonet" {
            machine.join("first").unwrap();
        }
        symlink(machine.path("private"), machine.path(link)).unwrap();
        let error = machine.join("demo").unwrap_err();
        let text = format!("lonet: join \"demo\": \"<>/{link}\" is a symbolic link");
        assert!(error.starts_with(&text), "{error}");
        machine.assert_untouched();
        assert_eq!(mode(&machine.path("private")), 0o700);
    }
}

#[test]
fn lonet_folder_that_others_may_write_to_is_refused_and_keeps_its_mode() {
    for folder in ["tmp", "tmp/lonet", "tmp/lonet/demo"] {
        let machine = Machine::new();
        machine.join("demo").unwrap();
        let path = machine.path(folder);
        chmod(&path, 0o777);
        let error = machine.join("demo").unwrap_err();
        let text = format!("lonet: join \"demo\": the folder \"<>/{folder}\" has mode 0777: ");
        assert!(error.starts_with(&text), "{error}");
        assert_eq!(mode(&path), 0o777);
    }
}

#[test]
fn lonet_parent_that_others_may_write_to_is_refused_before_anything_is_made() {
    let machine = Machine::new();
    chmod(&machine.path("tmp"), 0o777);
    machine.join("demo").unwrap_err();
    assert_eq!(names(&machine.path("tmp")), Vec::<String>::new());
    let Some(machine) = Machine::of_two_users() else { return };
    for owned in ["tmp", "."] {
        chown(machine.path(owned), Some(OTHER), Some(OTHER)).unwrap();
        let error = machine.join("demo").unwrap_err();
        assert!(error.contains("belongs to user 1002"), "{error}");
        assert_eq!(names(&machine.path("tmp")), Vec::<String>::new());
        chown(machine.path(owned), Some(0), Some(0)).unwrap();
    }
    machine.join("demo").unwrap();
}

#[test]
fn lonet_folders_made_by_hand_are_used_and_keep_their_modes() {
    let machine = Machine::new();
    let (all, demo) = (machine.path("tmp/lonet"), machine.path("tmp/lonet/demo"));
    fs::create_dir_all(&demo).unwrap();
    chmod(&all, 0o755);
    chmod(&demo, 0o755);
    machine.join("demo").unwrap();
    assert_eq!((mode(&all), mode(&demo)), (0o755, 0o755), "lonet has not made them");
    assert_eq!(mode(&demo.join("registry.db")), 0o600);
}

#[test]
fn lonet_of_an_ordinary_user_works_at_the_default_place_beside_that_of_root() {
    let Some(machine) = Machine::of_two_users() else { return };
    // `-` is the default place: the folder `lonet` of the temporary folder.
    assert_eq!(machine.other_joins(Path::new("-"), "own"), "ok");
    let made = machine.path("tmp/lonet");
    assert_eq!((mode(&made), fs::metadata(&made).unwrap().uid()), (0o1777, OTHER));
    assert!(machine.join("demo").unwrap_err().contains("belongs to user 1002"));

    let Some(machine) = Machine::of_two_users() else { return };
    machine.join("of root").unwrap();
    assert_eq!(machine.other_joins(Path::new("-"), "own"), "ok");
    let folder = machine.path("tmp/lonet/own");
    assert_eq!((mode(&folder), fs::metadata(&folder).unwrap().uid()), (0o700, OTHER));
    let said = machine.other_joins(Path::new("-"), "of root");
    let text = "lonet: join \"of root\": the folder \"<>/tmp/lonet/of root\" belongs to user 0, \
                and this process runs as user 1002: ";
    assert!(said.starts_with(text), "{said}");
}

#[test]
fn lonet_error_of_the_system_names_the_path_and_what_was_done() {
    let machine = Machine::new();
    let missing = machine.path("tmp/missing/lonet");
    let error = run(Config::new().folder(missing).join("demo")).unwrap_err();
    let text = "lonet: join \"demo\": find the folder \"<>/tmp/missing\": \
                No such file or directory (os error 2)";
    assert_eq!(machine.without_place(&error.to_string()), text);
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    fs::write(machine.path("tmp/lonet"), "").unwrap();
    let error = machine.join("demo").unwrap_err();
    assert!(error.starts_with("lonet: join \"demo\": \"<>/tmp/lonet\" is no folder"), "{error}");
    if uid() != 0 {
        return;
    }
    let said = machine.other_joins(&machine.path("private/lonet"), "demo");
    assert!(said.contains("\"<>/private/lonet\": Permission denied"), "{said}");
    fs::remove_file(machine.path("tmp/lonet")).unwrap();
    fs::create_dir(machine.path("tmp/lonet")).unwrap();
    let said = machine.other_joins(&machine.path("tmp/lonet"), "demo");
    let text = "lonet: join \"demo\": make the folder \"<>/tmp/lonet/demo\": Permission denied";
    assert!(said.starts_with(text), "{said}");
}
