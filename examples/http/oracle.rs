//! The judge: was every request answered once and rightly, or reported as failed?
//!
//! Knows the plan and the journal; took no part in the run.

use std::fmt;
use std::ops::AddAssign;

use crate::client::CUT_OFF_LIMIT;
use crate::digest::Digest;
use crate::journal::{Attempt, End, History, Millis, Pages, Strike, Verdict};
use crate::plan::{Plan, Request, SERVERS};

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
pub(crate) fn judge(plan: &Plan, pages: &Pages) -> Tally {
    let mut tally = Tally::default();
    for (number, (asked, history)) in plan.requests.iter().zip(&pages.histories).enumerate() {
        match judge_request(number, asked, history, pages.strike.as_ref()) {
            Ok(one) => tally += one,
            Err(broken) => panic!("request #{number} ({asked}): {broken}\n{history}"),
        }
    }
    if let Err(broken) = judge_strike(plan, pages.strike.as_ref()) {
        panic!("{}: {broken}", SERVERS[plan.victim]);
    }
    tally
}

/// The server must have been closed in mid-answer: otherwise this run has shown nothing.
fn judge_strike(plan: &Plan, strike: Option<&Strike>) -> Result<(), String> {
    let Some(strike) = strike else {
        return Err("was never closed".into());
    };
    let middle = 0 < strike.heard && strike.heard < strike.of && !strike.completed;
    if !middle || strike.ticket.server != plan.victim {
        return Err(format!("was not closed in mid-answer: {}, {strike}", strike.ticket));
    }
    Ok(())
}

fn judge_request(
    number: usize,
    asked: &Request,
    history: &History,
    strike: Option<&Strike>,
) -> Result<Tally, String> {
    judge_sides(history, strike)?;
    let (at, verdict) = match &history.verdicts[..] {
        [verdict] => verdict,
        verdicts => return Err(format!("has {} outcomes, not one", verdicts.len())),
    };
    if history.attempts.iter().any(|attempt| attempt.at > *at) {
        return Err("was made again after its outcome".into());
    }
    let answered = match verdict {
        Verdict::Answered { attempt } => {
            judge_answer(number, asked, history, *attempt)?;
            1
        }
        Verdict::Failed => {
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
fn judge_sides(history: &History, strike: Option<&Strike>) -> Result<(), String> {
    for served in &history.served {
        let ticket = served.ticket;
        if !history.attempts.iter().any(|attempt| attempt.ticket == ticket) {
            return Err(format!("{ticket} was served and never asked"));
        }
        if history.served.iter().filter(|other| other.ticket == ticket).count() > 1 {
            return Err(format!("{ticket} was served more than once"));
        }
        if strike.is_some_and(|s| s.ticket.server == ticket.server && s.at < served.began) {
            return Err(format!("{ticket} was begun by a server that was closed"));
        }
    }
    match history.attempts.iter().find(|attempt| attempt.end.is_none()) {
        Some(open) => Err(format!("{} has no end", open.ticket)),
        None => Ok(()),
    }
}

/// An answer must be whole, right, this request's, and the only one that was taken.
fn judge_answer(
    number: usize,
    asked: &Request,
    history: &History,
    taken: usize,
) -> Result<(), String> {
    let whole = |attempt: &&Attempt| matches!(attempt.end, Some((_, End::Whole { .. })));
    let mut answers = history.attempts.iter().filter(whole);
    let (Some(answer), None) = (answers.next(), answers.next()) else {
        return Err("was not answered exactly once".into());
    };
    let ticket = answer.ticket;
    if ticket.attempt != taken {
        return Err(format!("took the answer of attempt {taken}, and {ticket} was answered"));
    }
    let own = Some(number);
    if let Some((_, End::Whole { answers })) = &answer.end
        && *answers != own
    {
        return Err(format!("{ticket} took the answer of another request: {answers:?}"));
    }
    let mut digest = Digest::EMPTY;
    digest.add(&asked.body);
    if (answer.bytes, answer.digest) != (asked.body.len(), digest) {
        return Err(format!(
            "{ticket} took a wrong answer: {} bytes with digest {}, of {} with digest {digest}",
            answer.bytes,
            answer.digest,
            asked.body.len(),
        ));
    }
    let completed = |served: &&crate::journal::Served| served.completed.is_some();
    match history.served.iter().filter(completed).find(|served| served.ticket == ticket) {
        Some(_) => Ok(()),
        None => Err(format!("{ticket} took an answer that no server completed")),
    }
}

/// Who gives up must have had reason to.
fn judge_failure(history: &History) -> Result<(), String> {
    let broken = |attempt: &&Attempt| matches!(attempt.end, Some((_, End::Broken(_))));
    match history.attempts.iter().filter(broken).count() {
        count if count < history.attempts.len() => Err("was answered, and reported failed".into()),
        count if count < CUT_OFF_LIMIT => Err("was reported failed too early".into()),
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

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let completed = if self.completed { "completed" } else { "not completed" };
        write!(f, "{} of {} bytes heard, {completed}", self.heard, self.of)
    }
}

/// Prints what both sides saw of a request.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "what the client saw, in ms:")?;
        for Attempt { ticket, at, bytes, digest, end } in &self.attempts {
            let server = SERVERS[ticket.server];
            writeln!(f, "{:>12}  {ticket} asks {server}", Millis(*at))?;
            let (at, end) = match end {
                Some((at, End::Whole { .. })) => (*at, "whole"),
                Some((at, End::Broken(reason))) => (*at, &reason[..]),
                None => (*at, "no end yet"),
            };
            let heard = format_args!("{bytes} bytes with digest {digest}");
            writeln!(f, "{:>12}  {ticket} heard {heard}: {end}", Millis(at))?;
        }
        for (at, verdict) in &self.verdicts {
            match verdict {
                Verdict::Answered { attempt } => {
                    writeln!(f, "{:>12}  answered by attempt {attempt}", Millis(*at))?;
                }
                Verdict::Failed => writeln!(f, "{:>12}  reported as failed", Millis(*at))?,
            }
        }
        write!(f, "what the servers saw, in ms:")?;
        for served in &self.served {
            let (ticket, server) = (served.ticket, SERVERS[served.ticket.server]);
            write!(f, "\n{:>12}  {ticket} begun by {server}", Millis(served.began))?;
            match served.completed {
                Some(at) => write!(f, ", completed at {}", Millis(at))?,
                None => write!(f, ", never completed")?,
            }
        }
        Ok(())
    }
}
