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
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sim::Tape;

use crate::check::exec::current_run::begin_as_child;
use crate::check::exec::panic_hook::PANIC;
use crate::check::exec::protocol::{played_from, played_to};
use crate::check::exec::run_once::Played;
use crate::check::exec::run_request::Order;
use crate::check::exec::watchdog::Sign;
use crate::check::failure::{Failure, Kind};
use crate::check::json::Json;
use crate::check::replay_command::{CHILD, LISTS};
use crate::check::settings::{Settings, environment};

/// What the line of a result begins with.
const RESULT: &str = "virtnet-run: ";
/// The line after which whatever happens is the run's.
const BEGINS: &str = "virtnet-run begins";
/// The line that says that steps are made.
const GOES_ON: &str = "virtnet-run goes on";
/// What the line begins with that says that none is made any more.
const STUCK: &str = "virtnet-run is stuck: ";
/// What the line begins with that says in which task.
const WHOSE: &str = "virtnet-run is stuck in: ";

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
        let child = environment(CHILD).map(|value| value.to_string_lossy().into_owned());
        let role = match child.as_deref().and_then(own_child) {
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

    /// Plays a run in a fresh process. That the process dies, or that nothing goes on in it any
    /// more, is how the run failed.
    pub(crate) fn play(&self, order: &Order, settings: &Settings) -> Played {
        let mut tasks = Vec::new();
        let (kind, text): (Kind, String) = match self.execute(order, settings.poll_limit) {
            Err(error) => (Kind::NoProcess, error),
            Ok(mut ended) => match ended.said.result.take() {
                Some(Ok(played)) => return played,
                None if ended.why_ended == Some(WhyEnded::Stopped) => {
                    (Kind::Stopped, Failure::stopped().text)
                }
                Some(Err(error)) => (Kind::NoProcess, self.fails(&error)),
                None if ended.why_ended == Some(WhyEnded::Hung) => {
                    tasks.extend(ended.said.task.clone());
                    ended.hung()
                }
                None if ended.said.begun => ended.died(),
                None => (Kind::NoProcess, self.fails(&ended.why_not_begun(&self.test))),
            },
        };
        let tape = order.tape().cloned();
        // What a process says at its end has its number in it, and is no part of the result.
        let printed = match &kind {
            Kind::Died(how) | Kind::Hung(how) => how.clone(),
            _ => String::new(),
        };
        Played {
            printed,
            failure: Some(Failure { kind, text, tasks }),
            seed: order.seed(),
            tape: tape.unwrap_or_else(|| Tape::of_seed(order.seed(), settings.schedule)),
            ..Played::nothing()
        }
    }

    fn fails(&self, what: &str) -> String {
        format!("virtnet: a run in a process of its own, {}: {what}", self.program.display())
    }

    fn execute(&self, order: &Order, limit: Duration) -> Result<Ended, String> {
        let mut command = Command::new(&self.program);
        let child = format!("{} {}", std::process::id(), self.check);
        command.args(&self.arguments).env(CHILD, child);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.fails(&error.to_string()))?;
        let patience = order.stops_after();
        let order = order.to_json().to_string();
        // All three at once: a test may print before it reads, and much. What the run has begun
        // and left may hold them open for long, so that the threads that read are not waited for.
        let said = child.stdout.take().map(Said::read);
        let words = child.stderr.take().map(Words::read);
        thread::scope(|scope| {
            if let Some(mut stdin) = child.stdin.take() {
                // If it ends before it has read all, what it says tells more than this error.
                scope.spawn(move || drop(stdin.write_all(order.as_bytes())));
            }
            let heard = said.map(|said| hear(&mut child, &said, limit, patience));
            let (said, why_ended) = heard.unwrap_or_default();
            if why_ended.is_some() {
                let _ = child.kill();
            }
            let status = child.wait().map_err(|error| self.fails(&error.to_string()))?;
            let is_stopped = why_ended == Some(WhyEnded::Stopped);
            let words = words.filter(|_| said.result.is_none() && !is_stopped);
            let words = words.map(Words::to_the_end).unwrap_or_default();
            Ok(Ended { said, words, status, why_ended })
        })
    }
}

/// For how long it is waited for what a process has said that has ended, while another one holds
/// its output open.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a process may take longer than its run: it executes the test up to the check first.
const GRACE: Duration = Duration::from_secs(2);

/// Why a process is ended from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WhyEnded {
    /// Nothing goes on in it any more.
    Hung,
    /// It has taken longer than the run may take altogether.
    Stopped,
}

/// Takes in what a process says of its run, until that is over, the process has ended, or it is to
/// be ended; `stops_after` is how long the run may take, where that is bounded.
fn hear(
    child: &mut Child,
    lines: &Receiver<Line>,
    limit: Duration,
    stops_after: Option<Duration>,
) -> (Said, Option<WhyEnded>) {
    let began = Instant::now();
    const PAUSE: Duration = Duration::from_millis(100);
    // A process that is alive says so more often than that, however busy the machine is.
    let patience = 2 * limit + Duration::from_secs(2);
    let mut said = Said::default();
    // For how long the run has gone on, it was asked for its task, and nothing was heard: only
    // while this process was there to hear it.
    let [mut ran, mut asked, mut quiet, mut after] = [Duration::ZERO; 4];
    let mut looked = Instant::now();
    while said.result.is_none() {
        let line = lines.recv_timeout(PAUSE.min(limit));
        let is_closed = matches!(line, Err(RecvTimeoutError::Disconnected));
        let has_ended = line.is_err() && child.try_wait().is_ok_and(|status| status.is_some());
        let passed = std::mem::replace(&mut looked, Instant::now()).elapsed().min(2 * PAUSE);
        match line {
            Ok(line) => {
                said.add(line);
                quiet = Duration::ZERO;
            }
            Err(_) if has_ended && (is_closed || after > LAST_WORDS) => break,
            Err(_) => {
                quiet += passed;
                // What was said before it ended may be long, and may come late.
                after += if has_ended { passed } else { Duration::ZERO };
            }
        }
        if is_closed {
            thread::sleep(Duration::from_millis(1));
        }
        // The process finds out by itself which task it is, by running up to there once more.
        if said.stuck.is_some() {
            asked += passed;
        } else if said.begun {
            ran += passed;
        }
        let is_told = said.stuck.is_some() && (said.whose.is_some() || said.is_over);
        let is_dumb = said.begun && !has_ended && quiet > patience;
        if is_told || asked > ran + patience || is_dumb && said.stuck.is_none() {
            return (said, Some(WhyEnded::Hung));
        }
        if stops_after.is_some_and(|most| began.elapsed() > most.saturating_add(GRACE))
            && !has_ended
        {
            // It has not even come to its run, or its poll does not return.
            return (said, Some(WhyEnded::Stopped));
        }
    }
    (said, None)
}

/// Which check is asked for, if it is the parent who asks: a test may begin processes of its own,
/// which inherit the variable, and it must not make them skip anything.
fn own_child(value: &str) -> Option<&str> {
    let (parent, check) = value.split_once(' ')?;
    if value == LISTS {
        return Some(check);
    }
    #[cfg(unix)]
    let is_parent = parent == std::os::unix::process::parent_id().to_string();
    #[cfg(not(unix))]
    let is_parent = !parent.is_empty();
    is_parent.then_some(check)
}

/// The last that a process said on its standard error.
#[derive(Clone, Default)]
struct Words {
    lines: Vec<String>,
    /// What its run's panics said, and where they happened.
    panics: Vec<String>,
}

/// A thread that takes in what a process says, and passes on what is ours and cannot wait for its
/// end.
struct Listener {
    words: Arc<Mutex<Words>>,
    /// Disconnected at the end.
    end: Receiver<()>,
}

impl Words {
    fn read(stderr: ChildStderr) -> Listener {
        let (words, (running, end)) = (Arc::new(Mutex::new(Self::default())), channel());
        let own = Arc::clone(&words);
        thread::spawn(move || {
            listen(stderr, &own);
            drop(running);
        });
        Listener { words, end }
    }

    /// What was said when nothing more is to be expected.
    fn to_the_end(listener: Listener) -> Self {
        let _ = listener.end.recv_timeout(LAST_WORDS);
        listener.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn listen(stderr: ChildStderr, words: &Mutex<Words>) {
    const KEPT: usize = 12;
    const PANICS: usize = 4;
    let (mut passing, mut in_backtrace) = (false, false);
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let keep = |kept: fn(&mut Words) -> &mut Vec<String>, text: String, most: usize| {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept(&mut words);
        kept.push(text);
        kept.drain(..kept.len().saturating_sub(most));
    };
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).into_owned();
        let panic = text.trim_end().strip_prefix(PANIC).and_then(|text| text.parse().ok());
        let panic = panic.as_ref().and_then(Json::as_text);
        in_backtrace =
            text.starts_with("stack backtrace:") || in_backtrace && !text.starts_with("note: ");
        passing = text.starts_with("virtnet: ") || passing && text.starts_with("  ");
        if let Some(panic) = panic {
            keep(|words| &mut words.panics, panic.to_string(), PANICS);
        } else if passing {
            let _ = std::io::stderr().write_all(&line);
        } else if !in_backtrace && !text.starts_with("note: ") && !text.trim().is_empty() {
            keep(|words| &mut words.lines, text.trim_end().to_string(), KEPT);
        }
        line.clear();
    }
}

/// A line of ours among what a process prints.
enum Line {
    Begins,
    RanNoTest,
    GoesOn,
    Stuck(String),
    Whose(String),
    Result(String),
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            BEGINS => Self::Begins,
            GOES_ON => Self::GoesOn,
            "running 0 tests" => Self::RanNoTest,
            _ => {
                let rest = |start| text.strip_prefix(start).map(String::from);
                let stuck = || rest(STUCK).map(Self::Stuck);
                let whose = || rest(WHOSE).map(Self::Whose);
                rest(RESULT).map(Self::Result).or_else(stuck).or_else(whose)?
            }
        })
    }
}

/// What a process has said of its run.
#[derive(Default)]
struct Said {
    begun: bool,
    result: Option<Result<Played, String>>,
    ran_no_test: bool,
    /// That it does not go on, and how.
    stuck: Option<String>,
    /// Whether no task is to be expected.
    is_over: bool,
    /// Where it does not, and the task, if it is known.
    whose: Option<String>,
    task: Option<String>,
}

impl Said {
    /// Reads until it is said how the run went, or to the end.
    fn read(stdout: ChildStdout) -> Receiver<Line> {
        let (lines, read) = channel();
        thread::spawn(move || {
            let (mut reader, mut line) = (BufReader::new(stdout), Vec::new());
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line);
                let own = Line::read(text.trim_end_matches(['\r', '\n']));
                let is_last = matches!(own, Some(Line::Result(_)));
                if own.is_some_and(|own| lines.send(own).is_err()) || is_last {
                    break;
                }
                line.clear();
            }
        });
        read
    }

    fn add(&mut self, line: Line) {
        let texts = |text: &str| -> Option<Vec<Option<String>>> {
            let list = text.parse::<Json>().ok()?;
            let text = |item: &Json| item.as_text().map(String::from);
            Some(list.as_list()?.iter().map(text).collect())
        };
        match line {
            Line::Begins => self.begun = true,
            Line::RanNoTest => self.ran_no_test = true,
            Line::GoesOn => {}
            Line::Result(text) => self.result = Some(played_from(&text)),
            Line::Stuck(text) => {
                if let Some([stuck, over]) = texts(&text).as_deref() {
                    (self.stuck, self.is_over) = (stuck.clone(), over.is_some());
                }
            }
            Line::Whose(text) => {
                if let Some([task, whose]) = texts(&text).as_deref() {
                    (self.task, self.whose) = (task.clone(), whose.clone());
                }
            }
        }
    }
}

/// A process that has ended.
struct Ended {
    said: Said,
    status: ExitStatus,
    words: Words,
    /// Why it was ended from here, if it was.
    why_ended: Option<WhyEnded>,
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
        text += &self.last_words();
        (Kind::Died(how), text)
    }

    fn hung(&self) -> (Kind, String) {
        let Said { stuck, whose, task, .. } = &self.said;
        let mut text = stuck.clone().unwrap_or_else(|| {
            "nothing was heard of the run any more, and its process was ended".into()
        });
        if let Some(whose) = whose {
            text += &format!("\n  {whose}");
        }
        text += &self.last_words();
        (Kind::Hung(task.clone().unwrap_or_default()), text)
    }

    /// What the process said last, with what its panics said.
    fn last_words(&self) -> String {
        let Words { lines, panics } = &self.words;
        let mut text = String::new();
        for (what, lines) in [("its last panics", panics), ("its last words", lines)] {
            for (place, line) in lines.iter().enumerate() {
                text += &if place == 0 { format!("\n  {what}:") } else { String::new() };
                text += &format!("\n    {}", line.replace('\n', "\n    "));
            }
        }
        text
    }

    fn why_not_begun(&self, test: &str) -> String {
        if self.said.ran_no_test {
            return format!(
                "it has no test named {test}; the check has to be called on the test's own thread"
            );
        }
        let words = &self.words.lines;
        let last = words[words.len().saturating_sub(3)..].join(" / ");
        let how = self.how();
        format!("the test {test} ended before it came to the check ({how}; it said {last:?})")
    }
}

/// Plays the run that is asked for by the standard input, says what came of it, and ends the
/// process.
///
/// `play` is given what passes on each sign that the run goes on or does not.
pub(crate) fn serve(play: impl FnOnce(&Order, &(dyn Fn(Sign) + Sync)) -> Played) -> ! {
    begin_as_child();
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
    let played = play(&order, &tell);
    say(&format!("\n{RESULT}{}\n", played_to(&played)));
    std::process::exit(0);
}

/// Tells the parent whether the run goes on.
fn tell(sign: Sign) {
    let or_null = |text: Option<String>| text.map_or(Json::Null, Json::Text);
    match sign {
        Sign::GoesOn => say(&format!("\n{GOES_ON}\n")),
        Sign::Stuck { what, is_over } => {
            let over = or_null(is_over.then(String::new));
            say(&format!("\n{STUCK}{}\n", Json::List(vec![Json::Text(what), over])));
        }
        Sign::Whose(task, whose) => {
            let list = Json::List(vec![or_null(task), Json::Text(whose)]);
            say(&format!("\n{WHOSE}{list}\n"));
        }
    }
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}
