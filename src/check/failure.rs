//! Failures of runs, and the key by which two failures count as the same.

use std::borrow::Cow;
use std::panic::Location;

use crate::sim::{Ending, STOPPED, Stall, TaskPanic};

use crate::check::assertions::ALWAYS_FAILED;

/// The kind of a failure: two failures of one kind count as the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum FailureKind {
    /// A panic, by where it happened, or by its text without digits where that is not known.
    Panic(String),
    /// An `always!` that did not hold, by its label.
    Always(Cow<'static, str>),
    /// An error that the test returned, by its text without digits.
    Error(String),
    /// The run ended short of its end: `deadlock` and so on.
    Ending(Cow<'static, str>),
    /// The process of the run was ended because nothing went on in it any more, in this task.
    Hung(String),
    /// The process of the run died, in this way.
    ProcessDied(String),
    /// The run was stopped after its real time: it says nothing of the program.
    Stopped,
    /// There was no run at all: no process could be had for it.
    SpawnFailed,
}

/// The failure of a run.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// The description, in as many lines as it takes.
    pub(crate) text: String,
    /// The paths of the tasks to which it happened.
    pub(crate) tasks: Vec<String>,
}

impl Failure {
    /// Whether the run did not come back, and its process was ended.
    pub(crate) const fn is_hung(&self) -> bool {
        matches!(self.kind, FailureKind::Hung(_))
    }

    /// The failure of a run with this ending, if it failed. `site` gives the place of a panic by
    /// its message.
    pub(crate) fn from_ending(
        ending: &Ending<Option<String>>,
        site: impl FnOnce(&str) -> Option<String>,
    ) -> Option<Self> {
        let stalled = |name: &'static str, stall: &Stall| Self {
            kind: FailureKind::Ending(name.into()),
            // The main task comes first.
            text: match stall.tasks.first() {
                Some(main) => strip_spawn_location(&ending.to_string(), main.spawned_at),
                None => ending.to_string(),
            },
            tasks: stall.tasks.iter().map(|task| task.task.clone()).collect(),
        };
        match ending {
            Ending::Done(None) => None,
            Ending::Done(Some(error)) => Some(Self {
                kind: FailureKind::Error(strip_digits(error)),
                text: format!("the test returned an error: {error}"),
                tasks: vec!["main".into()],
            }),
            Ending::Panicked(panic) => Some(Self::from_panic(panic, site(&panic.message))),
            Ending::Deadlock(stall)
            | Ending::Livelock(stall)
            | Ending::TimeLimit(stall)
            | Ending::StepLimit(stall) => Some(stalled(ending.name(), stall)),
        }
    }

    /// Of a run that was stopped.
    pub(crate) fn stopped() -> Self {
        Self { kind: FailureKind::Stopped, text: STOPPED.into(), tasks: Vec::new() }
    }

    fn from_panic(panic: &TaskPanic, site: Option<String>) -> Self {
        let mut text = match panic.task.as_str() {
            "main" => strip_spawn_location(&panic.to_string(), panic.spawned_at),
            _ => panic.to_string(),
        };
        if let Some(site) = &site {
            text += &format!("\n  panicked at {site}");
        }
        if panic.message == STOPPED {
            return Self::stopped();
        }
        let kind = match panic.message.strip_prefix(ALWAYS_FAILED) {
            Some(label) => FailureKind::Always(label.to_string().into()),
            None => FailureKind::Panic(site.unwrap_or_else(|| strip_digits(&panic.message))),
        };
        Self { kind, text, tasks: vec![panic.task.clone()] }
    }
}

/// The place where the main task is spawned is not in the test, and says nothing.
fn strip_spawn_location(text: &str, spawned_at: &Location<'_>) -> String {
    let location = format!("spawned at {spawned_at}");
    text.lines().filter(|line| line.trim_start() != location).collect::<Vec<_>>().join("\n")
}

/// A text in which numbers do not matter: ids, addresses and times differ from run to run.
fn strip_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}
