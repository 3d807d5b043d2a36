//! A run in a process of its own: the same program once more, told by a variable to play one run.
//!
//! Knows the arguments by which the harness executes one test, and what goes in and comes out of
//! that process; refuses to know what a run is. The order goes in by the standard input; what came
//! of it comes out by the standard output, in a line of its own among whatever the test prints.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

use crate::sim::Tape;

use super::failure::{Failure, Kind};
use super::order::Order;
use super::play::Played;
use super::settings::{Settings, environment};
use super::wire::{played_from, played_to};

/// Says to a process that it is to play one run: whose child it is, and of which check.
const CHILD: &str = "VIRTNET_CHILD";
/// What the line of a result begins with.
const RESULT: &str = "virtnet-run: ";
/// The line after which whatever happens is the run's.
const BEGINS: &str = "virtnet-run begins";

thread_local! {
    static CHECKS: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Whether this process is to play one run, and of whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// It is no child: it does whatever the test says.
    Parent,
    /// It is to play a run of another check than the one that asks.
    Another,
    /// It is to play a run of the check that asks.
    Child,
}

/// How to play the runs of a check in processes of their own.
#[derive(Clone, Debug)]
pub(crate) struct Apart {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Which check it is: its name, and the how-manieth of that name in its test.
    check: String,
    /// The name of the test, for messages.
    test: String,
}

impl Apart {
    /// Finds out how to execute the test of this thread once more, which the harness has named
    /// after it. `test` is used where it has not. Says what this process is to do, too.
    pub(crate) fn new(check: &str, test: Option<&str>) -> (Result<Self, String>, Role) {
        let number = CHECKS.with_borrow_mut(|checks| {
            let number = checks.entry(check.to_string()).or_insert(0);
            *number += 1;
            *number
        });
        let check = format!("{check}#{number}");
        let role = match environment(CHILD).as_deref().and_then(own_child) {
            None => Role::Parent,
            Some(wanted) if wanted == check => Role::Child,
            Some(_) => Role::Another,
        };
        (Self::find(check, test), role)
    }

    fn find(check: String, test: Option<&str>) -> Result<Self, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("virtnet: no process can be begun: this program: {error}"))?;
        let thread = thread::current();
        let (arguments, test) = match (thread.name(), test) {
            // Not of the harness: whoever has a `main` of its own gets the same arguments.
            (Some("main"), None) => (std::env::args_os().skip(1).collect(), "main".to_string()),
            (Some("main") | None, Some(test)) | (Some(test), _) => {
                let arguments = [test, "--exact", "--nocapture", "--include-ignored"];
                (arguments.map(OsString::from).into(), test.to_string())
            }
            (None, None) => {
                return Err("virtnet: no process can be begun for a run: this thread has no name \
                            and so no test to execute; call the check on the test's own thread"
                    .into());
            }
        };
        Ok(Self { program, arguments, check, test })
    }

    /// Plays a run in a fresh process. A process that dies is how the run failed.
    pub(crate) fn play(&self, order: &Order, settings: &Settings) -> Played {
        let (kind, text): (Kind, String) = match self.execute(order) {
            Err(error) => (Kind::NoProcess, error),
            Ok(ended) => match ended.said.result {
                Some(Ok(played)) => return played,
                Some(Err(error)) => (Kind::NoProcess, self.fails(&error)),
                None if ended.said.begun => ended.died(),
                None => (Kind::NoProcess, self.fails(&ended.why_not_begun(&self.test))),
            },
        };
        let tape = order.tape().cloned();
        // What a process says at its end has its number in it, and is no part of the result.
        let printed = if let Kind::Died(how) = &kind { how.clone() } else { String::new() };
        Played {
            printed,
            failure: Some(Failure { kind, text, tasks: Vec::new() }),
            seed: order.seed(),
            tape: tape.unwrap_or_else(|| Tape::of_seed(order.seed(), settings.schedule)),
            ..Played::nothing()
        }
    }

    fn fails(&self, what: &str) -> String {
        format!("virtnet: a run in a process of its own, {}: {what}", self.program.display())
    }

    fn execute(&self, order: &Order) -> Result<Ended, String> {
        let mut command = Command::new(&self.program);
        let child = format!("{} {}", std::process::id(), self.check);
        command.args(&self.arguments).env(CHILD, child);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.fails(&error.to_string()))?;
        let order = order.to_json().to_string();
        // All three at once: a test may print before it reads, and much.
        thread::scope(|scope| {
            let Child { stdin, stdout, stderr, .. } = &mut child;
            if let Some(mut stdin) = stdin.take() {
                // If it ends before it has read all, what it says tells more than this error.
                scope.spawn(move || drop(stdin.write_all(order.as_bytes())));
            }
            let heard = stderr.take().map(|stderr| thread::spawn(|| listen(stderr)));
            let said = stdout.take().map(Said::read).unwrap_or_default();
            // Whatever the run has begun and left may hold both open for long: who has told how it
            // went is not waited for.
            let heard = heard.filter(|_| said.result.is_none());
            let words = heard.and_then(|heard| heard.join().ok()).unwrap_or_default();
            let status = child.wait().map_err(|error| self.fails(&error.to_string()))?;
            Ok(Ended { said, words, status })
        })
    }
}

/// Which check is asked for, if it is the parent who asks: a test may begin processes of its own,
/// which inherit the variable, and it must not make them skip anything.
fn own_child(value: &str) -> Option<&str> {
    let (parent, check) = value.split_once(' ')?;
    #[cfg(unix)]
    let is_parent = parent == std::os::unix::process::parent_id().to_string();
    #[cfg(not(unix))]
    let is_parent = !parent.is_empty();
    is_parent.then_some(check)
}

/// Takes in what a process says, and passes on what is ours and cannot wait for its end.
fn listen(stderr: ChildStderr) -> Vec<String> {
    const KEPT: usize = 12;
    let (mut words, mut passing, mut in_backtrace) = (Vec::new(), false, false);
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).into_owned();
        in_backtrace =
            text.starts_with("stack backtrace:") || in_backtrace && !text.starts_with("note: ");
        passing = text.starts_with("virtnet: ") || passing && text.starts_with("  ");
        if passing {
            let _ = std::io::stderr().write_all(&line);
        } else if !in_backtrace && !text.starts_with("note: ") && !text.trim().is_empty() {
            words.push(text.trim_end().to_string());
            let extra = words.len().saturating_sub(KEPT);
            words.drain(..extra);
        }
        line.clear();
    }
    words
}

/// What a process has said of its run.
#[derive(Default)]
struct Said {
    begun: bool,
    result: Option<Result<Played, String>>,
    ran_no_test: bool,
}

impl Said {
    /// Reads until it is said how the run went, or to the end.
    fn read(stdout: ChildStdout) -> Self {
        let (mut said, mut reader, mut line) =
            (Self::default(), BufReader::new(stdout), Vec::new());
        while said.result.is_none()
            && reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            said.begun |= text == BEGINS;
            said.ran_no_test |= text == "running 0 tests";
            said.result = text.strip_prefix(RESULT).map(played_from);
            line.clear();
        }
        said
    }
}

/// A process that has ended.
struct Ended {
    said: Said,
    status: ExitStatus,
    /// The last that it said on its standard error.
    words: Vec<String>,
}

impl Ended {
    /// How the status names what happened: `signal: 6 (SIGABRT)`.
    fn how(&self) -> String {
        self.status.to_string().replace(" (core dumped)", "")
    }

    fn died(&self) -> (Kind, String) {
        let how = self.how();
        let what = if self.status.success() { "ended in the middle of it" } else { "died" };
        let mut text = format!("the process of the run {what}: {how}");
        for (place, words) in self.words.iter().enumerate() {
            text += if place == 0 { "\n  its last words:" } else { "" };
            text += &format!("\n    {words}");
        }
        (Kind::Died(how), text)
    }

    fn why_not_begun(&self, test: &str) -> String {
        if self.said.ran_no_test {
            return format!(
                "it has no test named {test}; the check has to be called on the test's own thread"
            );
        }
        let last = self.words.iter().rev().take(3).rev().cloned().collect::<Vec<_>>().join(" / ");
        let how = self.how();
        format!("the test {test} ended before it came to the check ({how}; it said {last:?})")
    }
}

/// Plays the run that is asked for by the standard input, says what came of it, and ends the
/// process.
pub(crate) fn serve(play: impl FnOnce(&Order) -> Played) -> ! {
    let mut text = String::new();
    let order = match std::io::stdin().read_to_string(&mut text) {
        Ok(_) => text.parse().ok().as_ref().and_then(Order::from_json),
        Err(_) => None,
    };
    let Some(order) = order else {
        let _ = writeln!(std::io::stderr(), "{CHILD} is set, and no run is asked for: unset it");
        std::process::exit(2);
    };
    // A test may have printed half a line before.
    say(&format!("\n{BEGINS}\n"));
    let played = play(&order);
    say(&format!("\n{RESULT}{}\n", played_to(&played)));
    std::process::exit(0);
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}
