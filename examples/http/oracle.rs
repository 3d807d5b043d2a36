//! The oracle: checks that every request was answered once and correctly, or reported as failed.
//!
//! It reads the plan and the journal after the run, and takes no part in it.

use std::fmt;
use std::ops::AddAssign;

use crate::client::TRUNCATION_LIMIT;
use crate::digest::Digest;
use crate::journal::{
    Attempt, AttemptEnd, CloseSnapshot, JournalState, Millis, RequestHistory, RequestOutcome,
};
use crate::plan::{Plan, RequestSpec, SERVERS};

/// How the requests of a run, or of many, came out.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    /// How many were made more than once, whatever came of it.
    pub(crate) retried: u64,
    pub(crate) failed: u64,
}

/// Judges a run.
///
/// # Panics
///
/// If a promise was broken: with the request, which promise, and what both sides saw.
pub(crate) fn judge(plan: &Plan, journal: &JournalState) -> Tally {
    let mut tally = Tally::default();
    for (number, (spec, history)) in plan.requests.iter().zip(&journal.histories).enumerate() {
        match judge_request(number, spec, history, journal.close_snapshot.as_ref()) {
            Ok(request_tally) => tally += request_tally,
            Err(violation) => panic!("request #{number} ({spec}): {violation}\n{history}"),
        }
    }
    if let Err(violation) = judge_close(plan, journal.close_snapshot.as_ref()) {
        panic!("{}: {violation}", SERVERS[plan.victim]);
    }
    tally
}

/// The server must have been closed in mid-answer: otherwise this run has shown nothing.
fn judge_close(plan: &Plan, snapshot: Option<&CloseSnapshot>) -> Result<(), String> {
    let Some(snapshot) = snapshot else {
        return Err("was never closed".into());
    };
    let is_mid_answer = 0 < snapshot.received_bytes
        && snapshot.received_bytes < snapshot.total_bytes
        && !snapshot.is_completed;
    if !is_mid_answer || snapshot.id.server != plan.victim {
        return Err(format!("was not closed in mid-answer: {}, {snapshot}", snapshot.id));
    }
    Ok(())
}

fn judge_request(
    number: usize,
    spec: &RequestSpec,
    history: &RequestHistory,
    snapshot: Option<&CloseSnapshot>,
) -> Result<Tally, String> {
    judge_server_attempts(history, snapshot)?;
    let (at, outcome) = match &history.outcomes[..] {
        [outcome] => outcome,
        outcomes => return Err(format!("has {} outcomes, not one", outcomes.len())),
    };
    if history.attempts.iter().any(|attempt| attempt.at > *at) {
        return Err("was made again after its outcome".into());
    }
    let answered = match outcome {
        RequestOutcome::Answered { attempt } => {
            judge_answer(number, spec, history, *attempt)?;
            1
        }
        RequestOutcome::Failed => {
            judge_failure(history)?;
            0
        }
    };
    Ok(Tally {
        requests: 1,
        answered,
        retried: u64::from(history.attempts.len() > 1),
        failed: 1 - answered,
    })
}

/// What the servers did must fit what the clients asked.
fn judge_server_attempts(
    history: &RequestHistory,
    snapshot: Option<&CloseSnapshot>,
) -> Result<(), String> {
    for server_attempt in &history.server_attempts {
        let id = server_attempt.id;
        if !history.attempts.iter().any(|attempt| attempt.id == id) {
            return Err(format!("{id} was served and never asked"));
        }
        if history.server_attempts.iter().filter(|other| other.id == id).count() > 1 {
            return Err(format!("{id} was served more than once"));
        }
        if snapshot.is_some_and(|s| s.id.server == id.server && s.at < server_attempt.began_at) {
            return Err(format!("{id} was begun by a server that was closed"));
        }
    }
    match history.attempts.iter().find(|attempt| attempt.end.is_none()) {
        Some(unfinished) => Err(format!("{} has no end", unfinished.id)),
        None => Ok(()),
    }
}

/// An answer must be whole, right, this request's, and the only one that was taken.
fn judge_answer(
    number: usize,
    spec: &RequestSpec,
    history: &RequestHistory,
    accepted_attempt: usize,
) -> Result<(), String> {
    let is_complete =
        |attempt: &&Attempt| matches!(attempt.end, Some((_, AttemptEnd::Complete { .. })));
    let mut answers = history.attempts.iter().filter(is_complete);
    let (Some(answer), None) = (answers.next(), answers.next()) else {
        return Err("was not answered exactly once".into());
    };
    let id = answer.id;
    if id.attempt != accepted_attempt {
        return Err(format!(
            "took the answer of attempt {accepted_attempt}, and {id} was answered"
        ));
    }
    let expected_request = Some(number);
    if let Some((_, AttemptEnd::Complete { answered_request: answers })) = &answer.end
        && *answers != expected_request
    {
        return Err(format!("{id} took the answer of another request: {answers:?}"));
    }
    let mut digest = Digest::EMPTY;
    digest.update(&spec.body);
    if (answer.bytes, answer.digest) != (spec.body.len(), digest) {
        return Err(format!(
            "{id} took a wrong answer: {} bytes with digest {}, of {} with digest {digest}",
            answer.bytes,
            answer.digest,
            spec.body.len(),
        ));
    }
    let is_completed = |served: &&crate::journal::ServerAttempt| served.completed_at.is_some();
    match history.server_attempts.iter().filter(is_completed).find(|served| served.id == id) {
        Some(_) => Ok(()),
        None => Err(format!("{id} took an answer that no server completed")),
    }
}

/// Who gives up must have had reason to.
fn judge_failure(history: &RequestHistory) -> Result<(), String> {
    let is_broken = |attempt: &&Attempt| matches!(attempt.end, Some((_, AttemptEnd::Broken(_))));
    match history.attempts.iter().filter(is_broken).count() {
        count if count < history.attempts.len() => Err("was answered, and reported failed".into()),
        count if count < TRUNCATION_LIMIT => Err("was reported failed too early".into()),
        _ => Ok(()),
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.answered += other.answered;
        self.retried += other.retried;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, answered, retried, failed } = self;
        write!(f, "{requests} requests: {answered} answered, {failed} reported as failed; ")?;
        write!(f, "{retried} made more than once")
    }
}

impl fmt::Display for CloseSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let completed = if self.is_completed { "completed" } else { "not completed" };
        write!(f, "{} of {} bytes heard, {completed}", self.received_bytes, self.total_bytes)
    }
}

/// Prints what both sides saw of a request.
impl fmt::Display for RequestHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "what the client saw, in ms:")?;
        for Attempt { id, at, bytes, digest, end } in &self.attempts {
            let server = SERVERS[id.server];
            writeln!(f, "{:>12}  {id} asks {server}", Millis(*at))?;
            let (at, end) = match end {
                Some((at, AttemptEnd::Complete { .. })) => (*at, "whole"),
                Some((at, AttemptEnd::Broken(reason))) => (*at, &reason[..]),
                None => (*at, "no end yet"),
            };
            let received = format_args!("{bytes} bytes with digest {digest}");
            writeln!(f, "{:>12}  {id} heard {received}: {end}", Millis(at))?;
        }
        for (at, outcome) in &self.outcomes {
            match outcome {
                RequestOutcome::Answered { attempt } => {
                    writeln!(f, "{:>12}  answered by attempt {attempt}", Millis(*at))?;
                }
                RequestOutcome::Failed => writeln!(f, "{:>12}  reported as failed", Millis(*at))?,
            }
        }
        write!(f, "what the servers saw, in ms:")?;
        for server_attempt in &self.server_attempts {
            let (id, server) = (server_attempt.id, SERVERS[server_attempt.id.server]);
            write!(f, "\n{:>12}  {id} begun by {server}", Millis(server_attempt.began_at))?;
            match server_attempt.completed_at {
                Some(at) => write!(f, ", completed at {}", Millis(at))?,
                None => write!(f, ", never completed")?,
            }
        }
        Ok(())
    }
}
