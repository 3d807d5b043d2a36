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
const OTHER_UID: u32 = 1002;

/// A folder like `/tmp`, with a file that only its owner may change.
struct Sandbox(TempDir);

impl Sandbox {
    fn new() -> Self {
        let sandbox = Self(TempDir::new().unwrap());
        chmod(sandbox.0.path(), 0o755);
        for (folder, mode) in [("tmp", 0o1777), ("private", 0o700)] {
            fs::create_dir(sandbox.path(folder)).unwrap();
            chmod(&sandbox.path(folder), mode);
        }
        fs::write(sandbox.path("precious"), "configuration").unwrap();
        chmod(&sandbox.path("precious"), 0o644);
        sandbox
    }

    /// One with a second user; without the right to be another user there is none.
    fn with_two_users() -> Option<Self> {
        let sandbox = Self::new();
        if fs::metadata(sandbox.0.path()).unwrap().uid() != 0 {
            eprintln!("skipped: only root can act as another user");
            return None;
        }
        Some(sandbox)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Has the other user run a shell command in `tmp`.
    fn run_as_other(&self, command: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(self.path("tmp")).uid(OTHER_UID).gid(OTHER_UID);
        assert!(shell.status().unwrap().success(), "{command}");
    }

    /// Has the other user join a network, and gives what the process says.
    fn join_as_other(&self, folder: &Path, network: &str) -> String {
        let peer = self.path("peer");
        if !peer.exists() {
            // Not by this process: a child that another test starts meanwhile would have the file
            // open for writing for a moment, and it could not be executed.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_peer")).arg(&peer).status();
            assert!(copied.unwrap().success());
        }
        let mut join = Command::new(peer);
        join.arg(folder).args([network, "join"]).env("TMPDIR", self.path("tmp"));
        let output = join.uid(OTHER_UID).gid(OTHER_UID).output().unwrap().stdout;
        self.redact_path(str::from_utf8(&output).unwrap().trim_end())
    }

    /// Makes the folder of a network, which nobody has joined: whoever has may still be closing the
    /// registry, which removes files.
    fn make_empty_network(&self, name: &str) -> PathBuf {
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
            Err(error) => Err(self.redact_path(&error.to_string())),
        }
    }

    fn redact_path(&self, text: &str) -> String {
        text.replace(self.0.path().to_str().unwrap(), "<>")
    }

    /// Says that nothing happened outside of `tmp`.
    #[track_caller]
    fn assert_untouched(&self) {
        let precious = self.path("precious");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "configuration");
        assert_eq!(file_mode(&precious), 0o644);
        assert_eq!(file_names(&self.path("private")), Vec::<String>::new());
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn file_mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn file_names(folder: &Path) -> Vec<String> {
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
            let Some(sandbox) = Sandbox::with_two_users() else { return };
            sandbox
                .run_as_other(&format!("mkdir -m {folder_mode} lonet && mkdir -m 0777 lonet/demo"));
            let target = sandbox.path(target);
            sandbox.run_as_other(&format!("ln -s {} lonet/demo/registry.db", target.display()));
            let error = sandbox.join("demo").unwrap_err();
            let text = "lonet: join \"demo\": the folder \"<>/tmp/lonet\" belongs to user 1002, \
                        and this process runs as user 0: remove it, or name another folder by \
                        `Config::folder`";
            assert_eq!(error, text, "{folder_mode}");
            sandbox.assert_untouched();
        }
    }
}

#[test]
fn lonet_network_that_another_user_made_first_is_refused_and_stays_as_it_is() {
    let Some(sandbox) = Sandbox::with_two_users() else { return };
    sandbox.join("first").unwrap();
    sandbox
        .run_as_other("mkdir -m 0777 lonet/demo && ln -s ../../../precious lonet/demo/registry.db");
    let error = sandbox.join("demo").unwrap_err();
    assert!(error.contains("the folder \"<>/tmp/lonet/demo\" belongs to user 1002"), "{error}");
    assert_eq!(file_mode(&sandbox.path("tmp/lonet/demo")), 0o777);
    sandbox.assert_untouched();
}

#[test]
fn lonet_file_of_another_user_in_a_network_is_refused() {
    for file in ["registry.db", "registry.db-wal", "registry.db-shm", "registry.db-journal"] {
        let Some(sandbox) = Sandbox::with_two_users() else { return };
        let path = sandbox.make_empty_network("demo").join(file);
        fs::write(&path, "").unwrap();
        chmod(&path, 0o666);
        chown(&path, Some(OTHER_UID), Some(OTHER_UID)).unwrap();
        let error = sandbox.join("demo").unwrap_err();
        let text = format!("the file \"<>/tmp/lonet/demo/{file}\" belongs to user 1002");
        assert!(error.contains(&text), "{error}");
        assert_eq!((file_mode(&path), fs::metadata(&path).unwrap().len()), (0o666, 0));
    }
}

#[test]
fn lonet_link_or_fifo_in_the_place_of_a_file_is_refused_and_not_followed() {
    for file in ["registry.db", "registry.db-wal", "registry.db-shm", "registry.db-journal"] {
        for kind in ["ln -s {precious}", "ln -s {private}/made", "ln {precious}", "mkfifo"] {
            let sandbox = Sandbox::new();
            let path = sandbox.make_empty_network("demo").join(file);
            let precious = sandbox.path("precious");
            let private = sandbox.path("private");
            let make = kind
                .replace("{precious}", precious.to_str().unwrap())
                .replace("{private}", private.to_str().unwrap());
            let make = format!("{make} {}", path.display());
            assert!(Command::new("sh").args(["-c", &make]).status().unwrap().success());
            let error = sandbox.join("demo").unwrap_err();
            let problem = match kind {
                "mkfifo" => "is no regular file",
                _ if kind.starts_with("ln -s") => "is a symbolic link",
                _ => "has 2 names",
            };
            let text = format!("lonet: join \"demo\": \"<>/tmp/lonet/demo/{file}\" {problem}");
            assert!(error.starts_with(&text), "{error}");
            sandbox.assert_untouched();
        }
    }
}

#[test]
fn lonet_folder_that_is_a_link_is_refused_and_not_followed() {
    for link in ["tmp/lonet", "tmp/lonet/demo"] {
        let sandbox = Sandbox::new();
        if link != "tmp/lonet" {
            sandbox.join("first").unwrap();
        }
        symlink(sandbox.path("private"), sandbox.path(link)).unwrap();
        let error = sandbox.join("demo").unwrap_err();
        let text = format!("lonet: join \"demo\": \"<>/{link}\" is a symbolic link");
        assert!(error.starts_with(&text), "{error}");
        sandbox.assert_untouched();
        assert_eq!(file_mode(&sandbox.path("private")), 0o700);
    }
}

#[test]
fn lonet_folder_that_others_may_write_to_is_refused_and_keeps_its_mode() {
    for folder in ["tmp", "tmp/lonet", "tmp/lonet/demo"] {
        let sandbox = Sandbox::new();
        sandbox.join("demo").unwrap();
        let path = sandbox.path(folder);
        chmod(&path, 0o777);
        let error = sandbox.join("demo").unwrap_err();
        let text = format!("lonet: join \"demo\": the folder \"<>/{folder}\" has mode 0777: ");
        assert!(error.starts_with(&text), "{error}");
        assert_eq!(file_mode(&path), 0o777);
    }
}

#[test]
fn lonet_parent_that_others_may_write_to_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    chmod(&sandbox.path("tmp"), 0o777);
    sandbox.join("demo").unwrap_err();
    assert_eq!(file_names(&sandbox.path("tmp")), Vec::<String>::new());
    let Some(sandbox) = Sandbox::with_two_users() else { return };
    for owned in ["tmp", "."] {
        chown(sandbox.path(owned), Some(OTHER_UID), Some(OTHER_UID)).unwrap();
        let error = sandbox.join("demo").unwrap_err();
        assert!(error.contains("belongs to user 1002"), "{error}");
        assert_eq!(file_names(&sandbox.path("tmp")), Vec::<String>::new());
        chown(sandbox.path(owned), Some(0), Some(0)).unwrap();
    }
    sandbox.join("demo").unwrap();
}

#[test]
fn lonet_folders_made_by_hand_are_used_and_keep_their_modes() {
    let sandbox = Sandbox::new();
    let (all, demo) = (sandbox.path("tmp/lonet"), sandbox.path("tmp/lonet/demo"));
    fs::create_dir_all(&demo).unwrap();
    chmod(&all, 0o755);
    chmod(&demo, 0o755);
    sandbox.join("demo").unwrap();
    assert_eq!((file_mode(&all), file_mode(&demo)), (0o755, 0o755), "lonet has not made them");
    assert_eq!(file_mode(&demo.join("registry.db")), 0o600);
}

#[test]
fn lonet_of_an_ordinary_user_works_at_the_default_folder_beside_that_of_root() {
    let Some(sandbox) = Sandbox::with_two_users() else { return };
    // `-` is the default place: the folder `lonet` of the temporary folder.
    assert_eq!(sandbox.join_as_other(Path::new("-"), "own"), "ok");
    let networks = sandbox.path("tmp/lonet");
    assert_eq!((file_mode(&networks), fs::metadata(&networks).unwrap().uid()), (0o1777, OTHER_UID));
    assert!(sandbox.join("demo").unwrap_err().contains("belongs to user 1002"));

    let Some(sandbox) = Sandbox::with_two_users() else { return };
    sandbox.join("of root").unwrap();
    assert_eq!(sandbox.join_as_other(Path::new("-"), "own"), "ok");
    let folder = sandbox.path("tmp/lonet/own");
    assert_eq!((file_mode(&folder), fs::metadata(&folder).unwrap().uid()), (0o700, OTHER_UID));
    let output = sandbox.join_as_other(Path::new("-"), "of root");
    let text = "lonet: join \"of root\": the folder \"<>/tmp/lonet/of root\" belongs to user 0, \
                and this process runs as user 1002: ";
    assert!(output.starts_with(text), "{output}");
}

#[test]
fn lonet_system_error_names_the_path_and_the_operation() {
    let sandbox = Sandbox::new();
    let missing = sandbox.path("tmp/missing/lonet");
    let error = run(Config::new().folder(missing).join("demo")).unwrap_err();
    let text = "lonet: join \"demo\": find the folder \"<>/tmp/missing\": \
                No such file or directory (os error 2)";
    assert_eq!(sandbox.redact_path(&error.to_string()), text);
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    fs::write(sandbox.path("tmp/lonet"), "").unwrap();
    let error = sandbox.join("demo").unwrap_err();
    assert!(error.starts_with("lonet: join \"demo\": \"<>/tmp/lonet\" is no folder"), "{error}");
    if uid() != 0 {
        return;
    }
    let output = sandbox.join_as_other(&sandbox.path("private/lonet"), "demo");
    assert!(output.contains("\"<>/private/lonet\": Permission denied"), "{output}");
    fs::remove_file(sandbox.path("tmp/lonet")).unwrap();
    fs::create_dir(sandbox.path("tmp/lonet")).unwrap();
    let output = sandbox.join_as_other(&sandbox.path("tmp/lonet"), "demo");
    let text = "lonet: join \"demo\": make the folder \"<>/tmp/lonet/demo\": Permission denied";
    assert!(output.starts_with(text), "{output}");
}
