//! A server in another process: this program once more, which serves until it is ended.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the other process is told with, to be a server and nothing else.
const ROLE: &str = "--serve=";

/// Which server this process is to be, if it is one.
pub(crate) fn role() -> Option<String> {
    std::env::args().find_map(|arg| Some(arg.strip_prefix(ROLE)?.to_string()))
}

/// Tells those who started this process what they have to know.
pub(crate) fn told(words: &[&str]) {
    let mut out = std::io::stdout();
    writeln!(out, "{}", words.join(" ")).and_then(|()| out.flush()).unwrap();
}

/// A process that serves; it ends with this.
pub(crate) struct Server {
    child: Child,
    /// What it said: where it is.
    pub(crate) told: Vec<String>,
}

impl Server {
    pub(crate) fn start(role: &str) -> Self {
        Self::start_in(role, Path::new(""))
    }

    /// Starts one that has to know a folder.
    pub(crate) fn start_in(role: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg([ROLE, role].concat())
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, told: line.split_whitespace().map(String::from).collect() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
