//! The request for one run: what it is drawn from, what is recorded, and its limits.
//!
//! It also names the seeds that run before it, and has a JSON form for subprocesses.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sim::{Run, Tape, nanos};

use crate::check::exec::run_once::{MAX_TRACED_STEPS, RunResult};
use crate::check::settings::Settings;

/// A run that is to be executed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RunRequest {
    seed: u64,
    tape: Option<Tape>,
    keep_trace: bool,
    record_choices: bool,
    /// The limit of virtual time, if it is lower than the test's.
    time_limit: Option<Duration>,
    /// The limit of steps, if it is lower than the test's.
    step_limit: Option<u64>,
    /// The real time after which it is stopped.
    real_time_limit: Option<Duration>,
    /// Seeds that are run before, in the same process, for whatever they may leave behind.
    earlier_seeds: Vec<u64>,
}

impl RunRequest {
    pub(crate) const fn from_seed(seed: u64) -> Self {
        Self {
            seed,
            tape: None,
            keep_trace: false,
            record_choices: false,
            time_limit: None,
            step_limit: None,
            real_time_limit: None,
            earlier_seeds: Vec::new(),
        }
    }

    pub(crate) fn from_tape(tape: Tape) -> Self {
        let seed = tape.seed().unwrap_or(0);
        Self { tape: Some(tape), ..Self::from_seed(seed) }
    }

    /// The run of the same, with its records.
    pub(crate) fn keep_trace(mut self) -> Self {
        self.keep_trace = true;
        self
    }

    /// The same, unless the run is too long for its records to be readable.
    pub(crate) fn keep_trace_unless_long(self, previous: &RunResult) -> Self {
        if previous.steps > MAX_TRACED_STEPS { self } else { self.keep_trace() }
    }

    /// The run of the same, with its choices.
    pub(crate) fn record_choices(mut self) -> Self {
        self.record_choices = true;
        self
    }

    /// The run of the same, of which only the result is wanted.
    pub(crate) fn result_only(mut self) -> Self {
        (self.keep_trace, self.record_choices) = (false, false);
        self
    }

    /// The run of the same, which is given up when it takes longer than this.
    pub(crate) fn time_limit(mut self, limit: Option<Duration>) -> Self {
        self.time_limit = limit;
        self
    }

    /// The run of the same, which is given up when it takes more steps than this.
    pub(crate) fn step_limit(mut self, limit: Option<u64>) -> Self {
        self.step_limit = limit;
        self
    }

    /// The same request, stopped when it has taken `limit` of real time.
    pub(crate) fn with_real_time_limit(mut self, limit: Option<Duration>) -> Self {
        self.real_time_limit = limit;
        self
    }

    /// The run of the same, in a process in which others were before.
    pub(crate) fn after_seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.earlier_seeds.extend(seeds);
        self
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) const fn tape(&self) -> Option<&Tape> {
        self.tape.as_ref()
    }

    /// The real time after which it is stopped, if it is.
    pub(crate) const fn real_time_limit(&self) -> Option<Duration> {
        self.real_time_limit
    }

    pub(crate) fn earlier_seeds(&self) -> &[u64] {
        &self.earlier_seeds
    }

    /// The run, as the test wants its runs.
    pub(crate) fn to_run(&self, settings: &Settings) -> Run {
        let mut run = settings.to_run(self.seed);
        if let Some(tape) = &self.tape {
            run = run.tape(tape.clone());
        }
        if self.keep_trace {
            run = run.keep_trace();
        }
        if self.record_choices {
            run = run.record_choices();
        }
        if let Some(limit) = self.time_limit {
            run = run.cap_time_limit(limit);
        }
        if let Some(limit) = self.step_limit {
            run = run.cap_step_limit(limit);
        }
        run
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "seed": self.seed,
            "tape": self.tape.as_ref().map(Tape::to_string),
            "keep_trace": self.keep_trace,
            "record_choices": self.record_choices,
            "time_limit": self.time_limit.map(nanos),
            "step_limit": self.step_limit,
            "real_time_limit": self.real_time_limit.map(nanos),
            "earlier_seeds": self.earlier_seeds,
        })
    }

    pub(crate) fn from_json(json: &Value) -> Option<Self> {
        let tape = match json.get("tape")? {
            Value::Null => None,
            tape => Some(tape.as_str()?.parse().ok()?),
        };
        let number = |name| match json.get(name)? {
            Value::Null => Some(None),
            number => Some(Some(number.as_u64()?)),
        };
        let earlier_seeds = json.get("earlier_seeds")?.as_array()?.iter().map(Value::as_u64);
        Some(Self {
            seed: json.get("seed")?.as_u64()?,
            tape,
            keep_trace: json.get("keep_trace")?.as_bool()?,
            record_choices: json.get("record_choices")?.as_bool()?,
            time_limit: number("time_limit")?.map(Duration::from_nanos),
            step_limit: number("step_limit")?,
            real_time_limit: number("real_time_limit")?.map(Duration::from_nanos),
            earlier_seeds: earlier_seeds.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::RunRequest;
    use crate::sim::Tape;

    #[test]
    fn run_request_is_read_back_from_json() {
        let tape = Tape::zero().with("choose main coin", 3, 1);
        let request =
            RunRequest::from_tape(tape).keep_trace().record_choices().after_seeds([7, u64::MAX]);
        let limited = request.clone().time_limit(Some(std::time::Duration::from_millis(3)));
        let stopped = limited.clone().step_limit(Some(7)).with_real_time_limit(limited.time_limit);
        for request in [request, limited, stopped, RunRequest::from_seed(u64::MAX)] {
            let text = request.to_json().to_string();
            assert_eq!(RunRequest::from_json(&text.parse().unwrap()), Some(request));
        }
    }
}
