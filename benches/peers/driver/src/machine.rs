//! The machine, the toolchain and the versions that a measurement was made with.

use std::process::Command;

use serde::Serialize;

use crate::plan::CRATES;

#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) load_before: String,
    pub(crate) rustc: String,
    /// Of this repository.
    pub(crate) commit: String,
    /// Of the peers' crates.
    pub(crate) versions: Vec<(&'static str, String)>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let line = cpus.lines().find(|line| line.starts_with("model name"));
        let model = line.and_then(|line| line.split_once(": "));
        let load: Vec<String> =
            read("/proc/loadavg").split(' ').take(3).map(String::from).collect();
        Self {
            date: output("date", &["-u", "+%Y-%m-%d"]),
            cpu: model.map_or("unknown", |(_, model)| model).to_string(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            load_before: load.join(" "),
            rustc: output("rustc", &["--version"]),
            commit: output("git", &["describe", "--always", "--dirty", "--exclude=*"]),
            versions: CRATES.iter().map(|(name, of)| (*name, version(of))).collect(),
        }
    }

    pub(crate) fn version(&self, name: &str) -> Option<&str> {
        self.versions.iter().find(|(of, _)| *of == name).map(|(_, version)| version.as_str())
    }
}

/// What a program prints, on one line.
fn output(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output();
    out.map_or_else(
        |_| "unknown".into(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_string(),
    )
}

/// The version of a crate, as locked.
fn version(of: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let name = format!("name = \"{of}\"\nversion = \"");
    let rest = lock.split_once(&name).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default().to_string()
}
