//! What one run is to be: what it is drawn from, what is kept of it, and what runs before it.
//!
//! Knows how that is written, for another process; refuses to know where it is executed.

use std::time::Duration;

use crate::sim::{Run, Tape, nanos};

use crate::check::exec::run_once::{Played, TRACED};
use crate::check::json::Json;
use crate::check::settings::Settings;

/// A run that is to be executed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Order {
    seed: u64,
    tape: Option<Tape>,
    keep_trace: bool,
    record_choices: bool,
    /// How much virtual time it may take, where that is less than the test allows.
    time_limit: Option<Duration>,
    /// How many steps it may take, where that is less than the test allows.
    step_limit: Option<u64>,
    /// The real time after which it is stopped.
    patience: Option<Duration>,
    /// Seeds that are run before, in the same process, for whatever they may leave behind.
    before: Vec<u64>,
}

impl Order {
    pub(crate) const fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            tape: None,
            keep_trace: false,
            record_choices: false,
            time_limit: None,
            step_limit: None,
            patience: None,
            before: Vec::new(),
        }
    }

    pub(crate) fn of_tape(tape: Tape) -> Self {
        let seed = tape.seed().unwrap_or(0);
        Self { tape: Some(tape), ..Self::of_seed(seed) }
    }

    /// The run of the same, with its records.
    pub(crate) fn keep_trace(mut self) -> Self {
        self.keep_trace = true;
        self
    }

    /// The same, unless the run is so long that nobody could read of it.
    pub(crate) fn keep_trace_of(self, played: &Played) -> Self {
        if played.steps > TRACED { self } else { self.keep_trace() }
    }

    /// The run of the same, with its choices.
    pub(crate) fn record_choices(mut self) -> Self {
        self.record_choices = true;
        self
    }

    /// The run of the same, of which only the result is wanted.
    pub(crate) fn bare(mut self) -> Self {
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

    /// The run of the same, which is stopped when it has taken so much real time.
    pub(crate) fn patience(mut self, patience: Option<Duration>) -> Self {
        self.patience = patience;
        self
    }

    /// The run of the same, in a process in which others were before.
    pub(crate) fn after(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.before.extend(seeds);
        self
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) const fn tape(&self) -> Option<&Tape> {
        self.tape.as_ref()
    }

    /// The real time after which it is stopped, if it is.
    pub(crate) const fn stops_after(&self) -> Option<Duration> {
        self.patience
    }

    pub(crate) fn before(&self) -> &[u64] {
        &self.before
    }

    /// The run, as the test wants its runs.
    pub(crate) fn run(&self, settings: &Settings) -> Run {
        let mut run = settings.run(self.seed);
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
            run = run.time_limit_at_most(limit);
        }
        if let Some(limit) = self.step_limit {
            run = run.step_limit_at_most(limit);
        }
        run
    }

    pub(crate) fn to_json(&self) -> Json {
        let tape = self.tape.as_ref().map_or(Json::Null, Json::text);
        let number = |number: Option<u64>| number.map_or(Json::Null, Json::Number);
        Json::map([
            ("seed", Json::Number(self.seed)),
            ("tape", tape),
            ("keep_trace", Json::Bool(self.keep_trace)),
            ("record_choices", Json::Bool(self.record_choices)),
            ("time_limit", number(self.time_limit.map(nanos))),
            ("step_limit", number(self.step_limit)),
            ("patience", number(self.patience.map(nanos))),
            ("before", Json::List(self.before.iter().copied().map(Json::Number).collect())),
        ])
    }

    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        let tape = match json.get("tape")? {
            Json::Null => None,
            tape => Some(tape.as_text()?.parse().ok()?),
        };
        let number = |name| match json.get(name)? {
            Json::Null => Some(None),
            number => Some(Some(number.as_number()?)),
        };
        let before = json.get("before")?.as_list()?.iter().map(Json::as_number);
        Some(Self {
            seed: json.get("seed")?.as_number()?,
            tape,
            keep_trace: json.get("keep_trace")?.as_bool()?,
            record_choices: json.get("record_choices")?.as_bool()?,
            time_limit: number("time_limit")?.map(Duration::from_nanos),
            step_limit: number("step_limit")?,
            patience: number("patience")?.map(Duration::from_nanos),
            before: before.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Order;
    use crate::sim::Tape;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let tape = Tape::zero().with("choose main coin", 3, 1);
        let order = Order::of_tape(tape).keep_trace().record_choices().after([7, u64::MAX]);
        let limited = order.clone().time_limit(Some(std::time::Duration::from_millis(3)));
        let stopped = limited.clone().step_limit(Some(7)).patience(limited.time_limit);
        for order in [order, limited, stopped, Order::of_seed(u64::MAX)] {
            let text = order.to_json().to_string();
            assert_eq!(Order::from_json(&text.parse().unwrap()), Some(order));
        }
    }
}
