//! Where runs are executed: on this thread, on a fresh one, or in a fresh process.
//!
//! Knows the isolation that a test asks for, and shows whoever watches what it is at.

use std::thread;

use crate::check::exec::current_run::of_test;
use crate::check::exec::deadline::Patience;
use crate::check::exec::run_once::{Case, Played};
use crate::check::exec::run_request::Order;
use crate::check::exec::subprocess::Apart;
use crate::check::exec::watchdog::At;
use crate::check::settings::{Isolation, Settings};
use crate::check::test_id::About;

/// Why a run has no thread.
pub(crate) fn no_thread(error: &std::io::Error) -> String {
    format!("virtnet: no thread can be begun for a run: {error}; VIRTNET_JOBS=1 needs the fewest")
}

/// Where the runs of one worker are executed.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) case: &'a dyn Case,
    pub(crate) settings: &'a Settings,
    pub(crate) apart: &'a Result<Apart, String>,
    pub(crate) about: About<'a>,
    pub(crate) at: &'a At,
}

impl Place<'_> {
    /// Executes a run of a sweep.
    pub(crate) fn play(&self, order: &Order) -> Played {
        match self.settings.isolation {
            Isolation::None => self.here(order),
            Isolation::Thread => self.on_a_fresh_thread(order),
            Isolation::Process => self.cold(order),
        }
    }

    /// Executes a run to which no run before has left anything, or as little as the test asks for.
    pub(crate) fn isolated(&self, order: &Order) -> Played {
        match self.settings.isolation {
            Isolation::None | Isolation::Thread => self.on_a_fresh_thread(order),
            Isolation::Process => self.cold(order),
        }
    }

    /// Executes a run in a fresh process.
    pub(crate) fn cold(&self, order: &Order) -> Played {
        match self.apart {
            Ok(apart) => apart.play(order, self.settings),
            Err(error) => Played::without_process(order.seed(), error.clone()),
        }
    }

    /// Executes a run and those that are to be before it on one thread, which is fresh.
    pub(crate) fn in_a_row(&self, order: &Order) -> Played {
        on_a_thread(order, || self.row(order, |order| self.here(order)))
    }

    /// Executes a run on a fresh thread of this process, and those that are to be before it.
    pub(crate) fn on_a_fresh_thread(&self, order: &Order) -> Played {
        self.row(order, |order| on_a_thread(order, || self.here(order)))
    }

    /// Executes a run on this thread.
    fn here(&self, order: &Order) -> Played {
        let run = self.at.begin(order, self.settings);
        of_test(self.about);
        let played = self.case.play(run);
        self.at.end();
        played
    }

    /// Executes a run after those that are to be before it; all together have its real time.
    fn row(&self, order: &Order, play: impl Fn(&Order) -> Played) -> Played {
        let patience = order.stops_after().map(Patience::of).unwrap_or_default();
        for seed in order.before() {
            play(&patience.bound(Order::of_seed(*seed)));
        }
        play(&patience.bound(order.clone()))
    }
}

/// Executes a run on a fresh thread, where one can be had.
fn on_a_thread(order: &Order, play: impl FnOnce() -> Played + Send) -> Played {
    let ended = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, play);
        thread.map(thread::ScopedJoinHandle::join)
    });
    match ended {
        Ok(Ok(played)) => played,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => Played::without_process(order.seed(), no_thread(&error)),
    }
}
