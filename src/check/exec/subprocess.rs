//! Execution of a run in a subprocess.
//!
//! The subprocess is the same program, started with the harness arguments that select one test.
//! The variable `VIRTNET_CHILD` tells it which check to serve. The request goes in as JSON on
//! standard input. Progress and the result come back on standard output, one line each, among
//! whatever else the test prints.

use serde_json::{Value, json};
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

use crate::check::exec::current_run::mark_child_process;
use crate::check::exec::panic_hook::PANIC_PREFIX;
use crate::check::exec::protocol::{parse_run_result, run_result_to_json};
use crate::check::exec::run_once::RunResult;
use crate::check::exec::run_request::RunRequest;
use crate::check::exec::watchdog::WatchEvent;
use crate::check::failure::{Failure, FailureKind};
use crate::check::replay_command::{CHILD_VARIABLE, LIST_ONLY};
use crate::check::settings::{Settings, env_var};

/// The beginning of the line of a result.
const RESULT_PREFIX: &str = "virtnet-run: ";
/// The line after which whatever happens is the run's.
const BEGIN_LINE: &str = "virtnet-run begins";
/// The line that says that steps are made.
const PROGRESS_LINE: &str = "virtnet-run goes on";
/// The beginning of the line that reports a run without progress.
const STUCK_PREFIX: &str = "virtnet-run is stuck: ";
/// The beginning of the line that names the task of a run without progress.
const STUCK_TASK_PREFIX: &str = "virtnet-run is stuck in: ";

thread_local! {
    static CHECK_COUNTS: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Whether this process is to execute one run, and of which test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// It is no child: it does whatever the test says.
    Parent,
    /// It is to play a run of another check than the one that asks.
    OtherCheck,
    /// It is to play a run of the check that asks.
    Child,
}

/// The execution of the runs of a check in processes of their own.
#[derive(Clone, Debug)]
pub(crate) struct Subprocess {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Which check it is: its name, and the how-manieth of that name in its test.
    check: String,
    /// The name of the test, for messages.
    test: String,
}

impl Subprocess {
    /// Finds out how to execute the test of this thread once more, which the harness has named
    /// after it. `test` is used where it has not. Says what this process is to do, too.
    pub(crate) fn new(check: &str, test: Option<&str>) -> (Result<Self, String>, Role) {
        let number = CHECK_COUNTS.with_borrow_mut(|checks| {
            let number = checks.entry(check.to_string()).or_insert(0);
            *number += 1;
            *number
        });
        let check = format!("{check}#{number}");
        let child = env_var(CHILD_VARIABLE).map(|value| value.to_string_lossy().into_owned());
        let role = match child.as_deref().and_then(requested_check) {
            None => Role::Parent,
            Some(wanted) if wanted == check => Role::Child,
            Some(_) => Role::OtherCheck,
        };
        (Self::find_command(check, test), role)
    }

    fn find_command(check: String, test: Option<&str>) -> Result<Self, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("virtnet: no process can be begun: this program: {error}"))?;
        let thread = thread::current();
        let (arguments, test) = match (thread.name(), test) {
            // A program with a `main` of its own has no test harness: it gets the same arguments.
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
    pub(crate) fn run(&self, request: &RunRequest, settings: &Settings) -> RunResult {
        let mut tasks = Vec::new();
        let (kind, text): (FailureKind, String) =
            match self.spawn_and_wait(request, settings.poll_limit) {
                Err(error) => (FailureKind::SpawnFailed, error),
                Ok(mut exited) => match exited.messages.result.take() {
                    Some(Ok(result)) => return result,
                    None if exited.kill_reason == Some(KillReason::Stopped) => {
                        (FailureKind::Stopped, Failure::stopped().text)
                    }
                    Some(Err(error)) => (FailureKind::SpawnFailed, self.error_text(&error)),
                    None if exited.kill_reason == Some(KillReason::Hung) => {
                        tasks.extend(exited.messages.stuck_task.clone());
                        exited.hung_failure()
                    }
                    None if exited.messages.has_begun => exited.died_failure(),
                    None => (
                        FailureKind::SpawnFailed,
                        self.error_text(&exited.not_started_reason(&self.test)),
                    ),
                },
            };
        let tape = request.tape().cloned();
        // The text about the end of a process has its number in it, and is not part of the result.
        let printed_result = match &kind {
            FailureKind::ProcessDied(detail) | FailureKind::Hung(detail) => detail.clone(),
            _ => String::new(),
        };
        RunResult {
            printed_result,
            failure: Some(Failure { kind, text, tasks }),
            seed: request.seed(),
            tape: tape.unwrap_or_else(|| Tape::from_seed(request.seed(), settings.schedule)),
            ..RunResult::empty()
        }
    }

    fn error_text(&self, reason: &str) -> String {
        format!("virtnet: a run in a process of its own, {}: {reason}", self.program.display())
    }

    fn spawn_and_wait(
        &self,
        request: &RunRequest,
        poll_limit: Duration,
    ) -> Result<ExitedProcess, String> {
        let mut command = Command::new(&self.program);
        let child = format!("{} {}", std::process::id(), self.check);
        command.args(&self.arguments).env(CHILD_VARIABLE, child);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.error_text(&error.to_string()))?;
        let real_time_limit = request.real_time_limit();
        let request = request.to_json().to_string();
        // All three at once: a test may print before it reads, and much. What the run has begun
        // and left may hold them open for long, so that the threads that read are not waited for.
        let messages = child.stdout.take().map(RunMessages::spawn_reader);
        let stderr = child.stderr.take().map(StderrTail::spawn_reader);
        thread::scope(|scope| {
            if let Some(mut stdin) = child.stdin.take() {
                // If it ends before it has read all, what it says tells more than this error.
                scope.spawn(move || drop(stdin.write_all(request.as_bytes())));
            }
            let monitored = messages
                .map(|messages| monitor(&mut child, &messages, poll_limit, real_time_limit));
            let (messages, kill_reason) = monitored.unwrap_or_default();
            if kill_reason.is_some() {
                let _ = child.kill();
            }
            let status = child.wait().map_err(|error| self.error_text(&error.to_string()))?;
            let is_stopped = kill_reason == Some(KillReason::Stopped);
            let stderr = stderr.filter(|_| messages.result.is_none() && !is_stopped);
            let stderr = stderr.map(StderrTail::collect).unwrap_or_default();
            Ok(ExitedProcess { messages, stderr, status, kill_reason })
        })
    }
}

/// For how long it is waited for what a process has said that has ended, while another one holds
/// its output open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that a process may take beyond its run: it executes the test up to the check first.
const STARTUP_GRACE: Duration = Duration::from_secs(2);

/// Why a process is ended from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum KillReason {
    /// Nothing goes on in it any more.
    Hung,
    /// It has taken longer than the run may take altogether.
    Stopped,
}

/// Takes in what a process says of its run, until that is over, the process has ended, or it is to
/// be ended; `real_time_limit` is how long the run may take, where that is bounded.
fn monitor(
    child: &mut Child,
    messages: &Receiver<Message>,
    poll_limit: Duration,
    real_time_limit: Option<Duration>,
) -> (RunMessages, Option<KillReason>) {
    let began = Instant::now();
    const INTERVAL: Duration = Duration::from_millis(100);
    // A process that is alive says so more often than that, however busy the machine is.
    let silence_limit = 2 * poll_limit + Duration::from_secs(2);
    let mut received = RunMessages::default();
    // For how long the run has gone on, it was asked for its task, and nothing was heard: only
    // while this process was there to hear it.
    let [mut running_for, mut naming_for, mut silent_for, mut since_exit] = [Duration::ZERO; 4];
    let mut last_check = Instant::now();
    while received.result.is_none() {
        let message = messages.recv_timeout(INTERVAL.min(poll_limit));
        let is_closed = matches!(message, Err(RecvTimeoutError::Disconnected));
        let has_exited = message.is_err() && child.try_wait().is_ok_and(|status| status.is_some());
        let elapsed =
            std::mem::replace(&mut last_check, Instant::now()).elapsed().min(2 * INTERVAL);
        match message {
            Ok(message) => {
                received.add(message);
                silent_for = Duration::ZERO;
            }
            Err(_) if has_exited && (is_closed || since_exit > DRAIN_TIMEOUT) => break,
            Err(_) => {
                silent_for += elapsed;
                // Output from before the end may be long, and may come late.
                since_exit += if has_exited { elapsed } else { Duration::ZERO };
            }
        }
        if is_closed {
            thread::sleep(Duration::from_millis(1));
        }
        // The process finds out by itself which task it is, by running up to there once more.
        if received.stuck_text.is_some() {
            naming_for += elapsed;
        } else if received.has_begun {
            running_for += elapsed;
        }
        let is_diagnosed = received.stuck_text.is_some()
            && (received.stuck_task_text.is_some() || received.is_over);
        let is_silent = received.has_begun && !has_exited && silent_for > silence_limit;
        if is_diagnosed
            || naming_for > running_for + silence_limit
            || is_silent && received.stuck_text.is_none()
        {
            return (received, Some(KillReason::Hung));
        }
        if real_time_limit.is_some_and(|max| began.elapsed() > max.saturating_add(STARTUP_GRACE))
            && !has_exited
        {
            // It has not even come to its run, or its poll does not return.
            return (received, Some(KillReason::Stopped));
        }
    }
    (received, None)
}

/// Which check is asked for, if it is the parent who asks: a test may begin processes of its own,
/// which inherit the variable, and it must not make them skip anything.
fn requested_check(value: &str) -> Option<&str> {
    let (parent, check) = value.split_once(' ')?;
    if value == LIST_ONLY {
        return Some(check);
    }
    #[cfg(unix)]
    let is_from_parent = parent == std::os::unix::process::parent_id().to_string();
    #[cfg(not(unix))]
    let is_parent = !parent.is_empty();
    is_from_parent.then_some(check)
}

/// The last that a process said on its standard error.
#[derive(Clone, Default)]
struct StderrTail {
    lines: Vec<String>,
    /// The messages of the panics of its run, with their places.
    panics: Vec<String>,
}

/// A thread that takes in what a process says, and passes on what is ours and cannot wait for its
/// end.
struct StderrReader {
    tail: Arc<Mutex<StderrTail>>,
    /// Disconnected at the end.
    done: Receiver<()>,
}

impl StderrTail {
    fn spawn_reader(stderr: ChildStderr) -> StderrReader {
        let (tail, (sender, done)) = (Arc::new(Mutex::new(Self::default())), channel());
        let writer_tail = Arc::clone(&tail);
        thread::spawn(move || {
            read_stderr(stderr, &writer_tail);
            drop(sender);
        });
        StderrReader { tail, done }
    }

    /// Collects the output when no more is to be expected.
    fn collect(reader: StderrReader) -> Self {
        let _ = reader.done.recv_timeout(DRAIN_TIMEOUT);
        reader.tail.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read_stderr(stderr: ChildStderr, tail: &Mutex<StderrTail>) {
    const MAX_LINES: usize = 12;
    const MAX_PANICS: usize = 4;
    let (mut is_forwarded, mut in_backtrace) = (false, false);
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let push_bounded =
        |retained: fn(&mut StderrTail) -> &mut Vec<String>, text: String, most: usize| {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            let retained = retained(&mut tail);
            retained.push(text);
            retained.drain(..retained.len().saturating_sub(most));
        };
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).into_owned();
        let panic = text.trim_end().strip_prefix(PANIC_PREFIX).and_then(|text| text.parse().ok());
        let panic = panic.as_ref().and_then(Value::as_str);
        in_backtrace =
            text.starts_with("stack backtrace:") || in_backtrace && !text.starts_with("note: ");
        is_forwarded = text.starts_with("virtnet: ") || is_forwarded && text.starts_with("  ");
        if let Some(panic) = panic {
            push_bounded(|tail| &mut tail.panics, panic.to_string(), MAX_PANICS);
        } else if is_forwarded {
            let _ = std::io::stderr().write_all(&line);
        } else if !in_backtrace && !text.starts_with("note: ") && !text.trim().is_empty() {
            push_bounded(|tail| &mut tail.lines, text.trim_end().to_string(), MAX_LINES);
        }
        line.clear();
    }
}

/// A line of ours among what a process prints.
enum Message {
    Begin,
    RanNoTest,
    Progress,
    Stuck(String),
    StuckTask(String),
    Result(String),
}

impl Message {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            BEGIN_LINE => Self::Begin,
            PROGRESS_LINE => Self::Progress,
            "running 0 tests" => Self::RanNoTest,
            _ => {
                let suffix = |start| text.strip_prefix(start).map(String::from);
                let stuck = || suffix(STUCK_PREFIX).map(Self::Stuck);
                let stuck_task = || suffix(STUCK_TASK_PREFIX).map(Self::StuckTask);
                suffix(RESULT_PREFIX).map(Self::Result).or_else(stuck).or_else(stuck_task)?
            }
        })
    }
}

/// The messages of a process about its run.
#[derive(Default)]
struct RunMessages {
    has_begun: bool,
    result: Option<Result<RunResult, String>>,
    ran_no_test: bool,
    /// The text about a run without progress.
    stuck_text: Option<String>,
    /// Whether no task is to be expected.
    is_over: bool,
    /// The place of the missing progress, with the task, if it is known.
    stuck_task_text: Option<String>,
    stuck_task: Option<String>,
}

impl RunMessages {
    /// Reads until it is said how the run went, or to the end.
    fn spawn_reader(stdout: ChildStdout) -> Receiver<Message> {
        let (sender, read) = channel();
        thread::spawn(move || {
            let (mut reader, mut line) = (BufReader::new(stdout), Vec::new());
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line);
                let message = Message::parse(text.trim_end_matches(['\r', '\n']));
                let is_last = matches!(message, Some(Message::Result(_)));
                if message.is_some_and(|message| sender.send(message).is_err()) || is_last {
                    break;
                }
                line.clear();
            }
        });
        read
    }

    fn add(&mut self, message: Message) {
        let texts = |text: &str| -> Option<Vec<Option<String>>> { serde_json::from_str(text).ok() };
        match message {
            Message::Begin => self.has_begun = true,
            Message::RanNoTest => self.ran_no_test = true,
            Message::Progress => {}
            Message::Result(text) => self.result = Some(parse_run_result(&text)),
            Message::Stuck(text) => {
                if let Some([stuck, over]) = texts(&text).as_deref() {
                    (self.stuck_text, self.is_over) = (stuck.clone(), over.is_some());
                }
            }
            Message::StuckTask(text) => {
                if let Some([task, task_text]) = texts(&text).as_deref() {
                    (self.stuck_task, self.stuck_task_text) = (task.clone(), task_text.clone());
                }
            }
        }
    }
}

/// A process that has ended.
struct ExitedProcess {
    messages: RunMessages,
    status: ExitStatus,
    stderr: StderrTail,
    /// Why it was ended from here, if it was.
    kill_reason: Option<KillReason>,
}

impl ExitedProcess {
    /// The status in words: `signal: 6 (SIGABRT)`.
    fn status_text(&self) -> String {
        self.status.to_string().replace(" (core dumped)", "")
    }

    fn died_failure(&self) -> (FailureKind, String) {
        let status = self.status_text();
        let verb = if self.status.success() { "ended in the middle of it" } else { "died" };
        let mut text = format!("the process of the run {verb}: {status}");
        text += &self.stderr_excerpt();
        (FailureKind::ProcessDied(status), text)
    }

    fn hung_failure(&self) -> (FailureKind, String) {
        let RunMessages { stuck_text: stuck, stuck_task_text: task_text, stuck_task: task, .. } =
            &self.messages;
        let mut text = stuck.clone().unwrap_or_else(|| {
            "nothing was heard of the run any more, and its process was ended".into()
        });
        if let Some(task_text) = task_text {
            text += &format!("\n  {task_text}");
        }
        text += &self.stderr_excerpt();
        (FailureKind::Hung(task.clone().unwrap_or_default()), text)
    }

    /// The last output of the process, with the messages of its panics.
    fn stderr_excerpt(&self) -> String {
        let StderrTail { lines, panics } = &self.stderr;
        let mut text = String::new();
        for (title, lines) in [("its last panics", panics), ("its last words", lines)] {
            for (index, line) in lines.iter().enumerate() {
                text += &if index == 0 { format!("\n  {title}:") } else { String::new() };
                text += &format!("\n    {}", line.replace('\n', "\n    "));
            }
        }
        text
    }

    fn not_started_reason(&self, test: &str) -> String {
        if self.messages.ran_no_test {
            return format!(
                "it has no test named {test}; the check has to be called on the test's own thread"
            );
        }
        let stderr_lines = &self.stderr.lines;
        let last = stderr_lines[stderr_lines.len().saturating_sub(3)..].join(" / ");
        let status = self.status_text();
        format!("the test {test} ended before it came to the check ({status}; it said {last:?})")
    }
}

/// Plays the run that is asked for by the standard input, says what came of it, and ends the
/// process.
///
/// `play` is given what passes on each sign that the run goes on or does not.
pub(crate) fn serve(
    execute: impl FnOnce(&RunRequest, &(dyn Fn(WatchEvent) + Sync)) -> RunResult,
) -> ! {
    mark_child_process();
    let mut text = String::new();
    let request = match std::io::stdin().read_to_string(&mut text) {
        Ok(_) => text.parse().ok().as_ref().and_then(RunRequest::from_json),
        Err(_) => None,
    };
    let Some(request) = request else {
        let _ = writeln!(
            std::io::stderr(),
            "{CHILD_VARIABLE} is set, and no run is asked for: unset it"
        );
        std::process::exit(2);
    };
    // A test may have printed half a line before.
    print_line(&format!("\n{BEGIN_LINE}\n"));
    let result = execute(&request, &send_event);
    print_line(&format!("\n{RESULT_PREFIX}{}\n", run_result_to_json(&result)));
    std::process::exit(0);
}

/// Tells the parent whether the run goes on.
fn send_event(event: WatchEvent) {
    match event {
        WatchEvent::Progress => print_line(&format!("\n{PROGRESS_LINE}\n")),
        WatchEvent::Stuck { description, is_over } => {
            let list = json!([description, is_over.then_some("")]);
            print_line(&format!("\n{STUCK_PREFIX}{list}\n"));
        }
        WatchEvent::StuckTask(task, task_text) => {
            let list = json!([task, task_text]);
            print_line(&format!("\n{STUCK_TASK_PREFIX}{list}\n"));
        }
    }
}

fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}
