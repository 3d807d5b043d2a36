//! One sample: starts a contender's program, which times itself, and parses its result line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::plan::{Contender, program};

/// What a program answered.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) operations: u64,
    /// What its threads ran; the measure, because others may be at the machine.
    pub(crate) cpu_ns: u64,
    pub(crate) wall_ns: u64,
    pub(crate) resident_before_kib: u64,
    pub(crate) resident_half_kib: u64,
    pub(crate) resident_after_kib: u64,
    pub(crate) resident_peak_kib: u64,
}

impl Sample {
    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 * 1e9 / self.cpu_ns.max(1) as f64
    }

    /// What it did beyond another one, which is part of it.
    pub(crate) fn beyond(self, first: Self) -> Self {
        Self {
            operations: self.operations - first.operations,
            cpu_ns: self.cpu_ns.saturating_sub(first.cpu_ns),
            wall_ns: self.wall_ns.saturating_sub(first.wall_ns),
            ..self
        }
    }

    /// What it had more at its peak than before.
    pub(crate) fn grown_bytes(&self) -> u64 {
        1024 * self.resident_peak_kib.saturating_sub(self.resident_before_kib)
    }

    /// How many bytes the operations of its second half left behind, for each of them.
    pub(crate) fn kept_bytes(&self) -> f64 {
        let kib = self.resident_after_kib.saturating_sub(self.resident_half_kib);
        1024.0 * kib as f64 / (self.operations as f64 / 2.0)
    }
}

/// Where the programs are.
pub(crate) struct Programs(pub(crate) Vec<PathBuf>);

impl Programs {
    /// Finds the program of somebody.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().map(|folder| folder.join(program(name))).find(|path| path.is_file())
    }
}

/// Takes one sample, or tells why there is none.
pub(crate) fn take(
    path: &Path,
    of: Contender,
    workload: &str,
    (n, times): (u64, u64),
    limit: Duration,
) -> Result<Sample, String> {
    let mut child = Command::new(path)
        .args([of.variant, workload, &n.to_string(), &times.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("over {} s", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut text = String::new();
    if !status.success() {
        let _ = child.stderr.take().map(|mut out| out.read_to_string(&mut text));
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(format!("{status}: {line}"));
    }
    let _ = child.stdout.take().map(|mut out| out.read_to_string(&mut text));
    let numbers: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
    let [cpu_ns, wall_ns, before, half, after, peak] = numbers[..] else {
        return Err(format!("answered {text:?}"));
    };
    Ok(Sample {
        operations: n * times,
        cpu_ns,
        wall_ns,
        resident_before_kib: before,
        resident_half_kib: half,
        resident_after_kib: after,
        resident_peak_kib: peak,
    })
}
