//! A server in another process: this program again, which serves until it is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the other process is told with, to be a server and nothing else.
const SERVE_FLAG: &str = "--serve=";

/// Which server this process is to be, if it is one.
pub(crate) fn requested_role() -> Option<String> {
    std::env::args().find_map(|arg| Some(arg.strip_prefix(SERVE_FLAG)?.to_string()))
}

/// Tells those who started this process what they have to know.
pub(crate) fn announce(words: &[&str]) {
    let mut out = std::io::stdout();
    writeln!(out, "{}", words.join(" ")).and_then(|()| out.flush()).unwrap();
}

/// A process that serves; it ends with this.
pub(crate) struct ServerProcess {
    child: Child,
    /// What it said: where it is.
    pub(crate) announced: Vec<String>,
}

impl ServerProcess {
    pub(crate) fn start(role: &str) -> Self {
        Self::start_with_folder(role, Path::new(""))
    }

    /// Starts one that has to know a folder.
    pub(crate) fn start_with_folder(role: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg([SERVE_FLAG, role].concat())
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, announced: line.split_whitespace().map(String::from).collect() }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
