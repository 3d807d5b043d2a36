//! The deadline, in real time, that the analyses of one failure share.
//!
//! A run in progress at the deadline is stopped. The result of a run that finishes before it does
//! not depend on the deadline.

use std::time::{Duration, Instant};

use crate::check::exec::run_request::RunRequest;

/// Until when runs may go on; without an end they may go on as long as they like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline {
    end: Option<(Instant, Duration)>,
}

impl Deadline {
    /// From now on.
    pub(crate) fn after(time: Duration) -> Self {
        Self { end: Instant::now().checked_add(time).map(|end| (end, time)) }
    }

    /// The run, stopped when the time is over.
    pub(crate) fn apply_to(self, request: RunRequest) -> RunRequest {
        request.with_real_time_limit(
            self.end.map(|(end, _)| end.saturating_duration_since(Instant::now())),
        )
    }

    /// The time that there was, if it is over.
    pub(crate) fn expired_after(self) -> Option<Duration> {
        self.end.filter(|(end, _)| *end <= Instant::now()).map(|(_, time)| time)
    }
}
